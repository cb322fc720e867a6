"""The file that `audit export` writes, written and read back: whole, or refused.

Lines are taken in one order only, no offset may be passed over, each line has the one form in which it is written,
and the digest in the last one has to be that of all before it.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

import msgspec

from ops_stream.audit.export_lines import (
    FORMAT,
    Begin,
    Bodiless,
    BodilessVoid,
    Bundle,
    End,
    Entry,
    Head,
    Hole,
    Line,
    decode_line,
    encode_line,
)
from ops_stream.contract.errors import NotSo

LINE_BYTES_MAX: Final = 64 * 1024 * 1024
"""A journal record has up to 4 MiB, and JSON may write a byte of it in six."""
_GZIP_LEVEL: Final = 6

# -- writing


class Writer:
    """Writes lines, and digests them."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self._path = path
        self._file = file
        self._digest = hashlib.sha256()

    def write(self, line: Line) -> None:
        """Write a line."""
        text = encode_line(line) + b"\n"
        self._digest.update(text)
        with _said(self._path):
            self._file.write(text)

    @property
    def digest(self) -> str:
        """The digest of all that was written."""
        return f"sha256:{self._digest.hexdigest()}"


@contextmanager
def writing(path: Path) -> Iterator[Writer]:
    """Write a file that is there whole or not at all, for its owner's eyes; compressed where its name ends in .gz."""
    if path.exists():
        raise _is_there(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with _said(path):
        raw = os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
    try:
        file: IO[bytes] = raw
        if path.suffix == ".gz":
            file = gzip.GzipFile("", "wb", _GZIP_LEVEL, raw, 0)  # type: ignore[assignment]  # has what is used of it
        yield Writer(path, file)
        with _said(path):
            if file is not raw:
                file.close()
            raw.flush()
            os.fsync(raw.fileno())
            _put_in_place(partial, path)
    finally:
        raw.close()
        partial.unlink(missing_ok=True)


@contextmanager
def _said(path: Path) -> Iterator[None]:
    """Turn what a file system answers into a sentence."""
    try:
        yield
    except OSError as error:
        raise NotSo(f"The file cannot be written: {error.strerror or error}.", where=str(path)) from None


def _put_in_place(partial: Path, path: Path) -> None:
    """Give the file its name, unless somebody has made another under it meanwhile."""
    try:
        os.link(partial, path)
    except FileExistsError:
        raise _is_there(path) from None
    except OSError:  # a file system without links
        partial.rename(path)


def _is_there(path: Path) -> NotSo:
    return NotSo(
        "There is a file of this name already, and an export overwrites nothing.",
        where=str(path),
        next_step="Give another name with --out.",
    )


# -- reading


class BrokenFile(NotSo):
    """The file is not what an export has written."""


class Reader:
    """Gives the lines of a file in the order in which they must come. Raises BrokenFile."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self.number = 0
        self.end: End | None = None
        """The last line, once it was read."""
        self._path = path
        self._file = file
        self._digest = hashlib.sha256()
        self.head = self._head()

    @property
    def path(self) -> Path:
        """Where the file lies."""
        return self._path

    def lines(self) -> Iterator[Line]:
        """Give the lines between head and end."""
        place = _Place(self)
        while True:
            before = self._digest.hexdigest()
            line = self._read()
            if line is None:
                raise self.broken("The file was cut: its last line is missing")
            if isinstance(line, End):
                place.end()
                if line.digest != f"sha256:{before}":
                    raise self.broken(
                        "The file was changed: its digest is not the one that its last line gives"
                    )
                self.end = line
                if self._read() is not None:
                    raise self.broken("Something follows the last line")
                return
            place.take(line)
            yield line

    def broken(self, what: str) -> BrokenFile:
        """Give the error of what is wrong with the line that was read last."""
        return BrokenFile(
            f"{what}.",
            where=f"{self._path}:{self.number}",
            next_step="Take another copy of it, or export again.",
        )

    def _head(self) -> Head:
        try:
            line = self._read()
        except BrokenFile:
            line = None
        if not isinstance(line, Head):
            raise BrokenFile(
                "This is no export of a journal.",
                where=str(self._path),
                next_step="Make one with: ops-stream audit export",
            )
        if line.format != FORMAT:
            raise BrokenFile(
                f"The file has format {line.format}; this program reads format {FORMAT}.",
                where=str(self._path),
                next_step="Read it with the version of ops-stream that wrote it.",
            )
        return line

    def _read(self) -> Line | None:
        self.number += 1
        try:
            text = self._file.readline(LINE_BYTES_MAX)
        except (OSError, EOFError, zlib.error) as error:
            raise self.broken(f"The file cannot be read: {error}") from None
        if not text:
            return None
        if not text.endswith(b"\n"):
            raise self.broken("The file was cut in this line, or the line is too long")
        self._digest.update(text)
        try:
            line: Line = decode_line(text)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise self.broken(f"The line cannot be read: {error}") from None
        if encode_line(line) + b"\n" != text:
            raise self.broken("The line is not written as an export writes it")
        return line


class _Place:
    """Sees to it that lines come in order, and that no offset is passed over."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._left = list(reader.head.chosen)
        self._next = self._until = 0
        self._begun = False

    def take(self, line: Line) -> None:
        if isinstance(line, Head):
            raise self._reader.broken("A second head stands here")
        if isinstance(line, Bundle):
            if self._begun:
                raise self._reader.broken("A bundle stands between records")
        elif isinstance(line, Begin):
            self._finished()
            if not self._left or line.partition != self._left.pop(0) or not 0 <= line.begin <= line.end:
                raise self._reader.broken("A partition stands here that is not the next one of the head")
            self._begun, self._next, self._until = True, line.begin, line.end
        elif isinstance(line, Hole):
            self._reach(line.first, line.last + 1)
        elif isinstance(line, Entry | Bodiless | BodilessVoid):
            self._reach(line.offset, line.offset + 1)

    def end(self) -> None:
        self._finished()
        if self._left:
            raise self._reader.broken(f"Partition {self._left[0]} is missing")

    def _reach(self, first: int, next_: int) -> None:
        if first != self._next or not first < next_ <= self._until:
            raise self._reader.broken(f"Offset {self._next} should stand here")
        self._next = next_

    def _finished(self) -> None:
        if self._next != self._until:
            raise self._reader.broken(f"Offset {self._next} should stand here")


@contextmanager
def reading(path: Path) -> Iterator[Reader]:
    """Open an export. Raises BrokenFile where it is none."""
    try:
        raw = open(path, "rb")  # noqa: SIM115
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
    except OSError as error:
        raise NotSo(f"The file cannot be read: {error.strerror or error}.", where=str(path)) from None
    with raw:
        yield Reader(path, gzip.GzipFile("", "rb", fileobj=raw) if packed else raw)  # type: ignore[arg-type]
