"""How far a journal was proved, kept in a file between two runs of `audit verify`."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Final

import msgspec

from ops_stream.audit.span import Proved
from ops_stream.contract.errors import NotSo
from ops_stream.core.journal.chain import JournalKey

VERSION: Final = 1
FILE_BYTES_MAX: Final = 1024 * 1024
EVERY_S: Final = 5.0
"""How often the file is written while a run goes on."""


class _File(msgspec.Struct):
    version: int
    proved: tuple[Proved, ...]


@dataclass(slots=True)
class Resume:
    """What is proved, by partition; written as it grows."""

    path: Path
    key: JournalKey
    proved: dict[int, Proved] = field(default_factory=dict)
    _written_at: float = 0.0

    @classmethod
    def read(cls, path: Path, key: JournalKey) -> Resume:
        """Read the file, if it is there. Raises NotSo where it is not what a holder of the journal key has written."""
        try:
            if path.stat().st_size > FILE_BYTES_MAX:
                raise ValueError("it is too large")
            found = msgspec.json.decode(path.read_bytes(), type=_File)
        except FileNotFoundError:
            return cls(path, key)
        except (OSError, ValueError) as error:
            said = error.strerror if isinstance(error, OSError) else str(error)
            raise NotSo(f"What was proved before cannot be read: {said}.", where=str(path)) from None
        if found.version != VERSION or not all(one.holds(key) for one in found.proved):
            raise NotSo(
                "What was proved before was not written with this journal key, or it was changed since.",
                where=str(path),
                next_step="Remove the file: everything is decided again then.",
            )
        return cls(path, key, {one.partition: one for one in found.proved})

    def grown(self, mark: Proved) -> None:
        """Take note that a partition is proved up to a record; written now and then, and by `write`."""
        before = self.proved.get(mark.partition)
        if before is None or mark.offset > before.offset:
            self.proved[mark.partition] = mark.sealed(self.key)
        if monotonic() - self._written_at >= EVERY_S:
            self.write()

    def write(self) -> None:
        """Write the file, whole or not at all. Raises NotSo where it cannot be written."""
        self._written_at = monotonic()
        partial = self.path.with_name(f"{self.path.name}.partial")
        try:
            partial.write_bytes(msgspec.json.encode(_File(VERSION, _in_order(self.proved.values()))))
            os.replace(partial, self.path)
        except OSError as error:
            raise NotSo(f"What is proved cannot be kept: {error.strerror}.", where=str(self.path)) from None


def _in_order(marks: Iterable[Proved]) -> tuple[Proved, ...]:
    return tuple(sorted(marks, key=lambda mark: mark.partition))
