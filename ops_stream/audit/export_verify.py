"""`audit verify --file`: an export put to the proof, without the cluster that it was made of.

With the journal key every record's seal and place is checked, and what can be is decided again; without it, that each
follows the one before. Of a record without its body the seal covers what is left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias, get_args

import msgspec

from ops_stream.audit.cluster import BundleDoc, Compile, Progress, rules_of_files
from ops_stream.audit.export_file import Reader, reading
from ops_stream.audit.export_lines import (
    Begin,
    Bodiless,
    BodilessVoid,
    Bundle,
    End,
    Entry,
    Head,
    PartitionEnd,
    proves,
    summary,
)
from ops_stream.audit.heads import Heads
from ops_stream.audit.published import Outputs
from ops_stream.audit.report import Finding, PartitionReport
from ops_stream.audit.verify import Verifier
from ops_stream.contract.clocktext import parse_time
from ops_stream.core.journal import record as rec
from ops_stream.core.journal.chain import GENESIS_HASH, JournalKey
from ops_stream.core.journal.record import OutputDoc
from ops_stream.core.rules_model import Rules

TOLD_EVERY: Final = 1_000
"""Records between two reports of progress."""


@dataclass(frozen=True, slots=True)
class Proof:
    """By what a file is proved."""

    engine: str
    compile: Compile
    key: JournalKey | None = None
    """Without it nothing but the chain can be followed."""
    trusted: Mapping[str, bytes] = field(default_factory=dict)
    kept: tuple[bytes, ...] = ()
    """Checkpoints that a third party has kept, one JSON object each."""


@dataclass(frozen=True, slots=True)
class FileReport:
    """What was found out about a file; its digest is right, or it could not have been read."""

    head: Head
    end: End
    parts: tuple[PartitionReport, ...]
    signed: bool | None
    """Whether the signature of its last line is right; None where no key here can tell."""
    with_key: bool

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return self.signed is not False and all(part.passed for part in self.parts)

    def as_dict(self) -> dict[str, Any]:
        """Give what the file says of itself and what was found, as a JSON-shaped object."""
        return {
            **summary(self.head, self.end),
            "passed": self.passed,
            "signature_holds": self.signed,
            "checked_with_key": self.with_key,
        }


class ChainOnly:
    """Follows a partition without the journal key: each record that stands in its place has to follow the last."""

    def __init__(self, partition: int, begin: int) -> None:
        self.report: Final = PartitionReport(partition)
        self._last = GENESIS_HASH if not begin else ""
        self._last_offset = -1

    @property
    def head(self) -> tuple[int, str]:
        """Where the last record that counts stands, and its hash."""
        return self._last_offset, self._last or GENESIS_HASH

    def take(self, offset: int, value: bytes | None) -> None:
        """Look at the record at `offset`."""
        try:
            record = rec.read(value)
        except rec.Unreadable:
            self._void("foreign")
            return
        self._take(offset, record.header, record.hash)

    def take_digests(self, offset: int, header: rec.Header, hash_: str, digests: rec.Digests) -> None:
        """Look at a record without its body."""
        self._take(offset, header, hash_)

    def finish(self) -> PartitionReport:
        """Give what was found."""
        return self.report

    def _take(self, offset: int, header: rec.Header, hash_: str) -> None:
        if header.partition != self.report.partition or header.expected_offset != offset:
            self._void("late")
            return
        if self._last and header.previous_hash != self._last:
            self._void("misplaced")
            place = f"journal {self.report.partition}:{offset}"
            text = "It does not follow the last record that stands in its place."
            self.report.add(Finding(place, offset, "follows", text))
            return
        self.report.records += 1
        self.report.sealed_only += 1
        self._last, self._last_offset = hash_, offset

    def _void(self, why: str) -> None:
        self.report.voids[why] = self.report.voids.get(why, 0) + 1


class _Nowhere(Outputs):
    """Counts outputs: beside the file there are no topics to compare them with."""

    def recorded(self, partition: int, offset: int, outputs: Iterable[OutputDoc]) -> int:
        return sum(1 for _ in outputs)


def verify_file(path: Path, proof: Proof, progress: Progress) -> FileReport:
    """Read a whole file and check it. Raises BrokenFile where it is not what was written."""
    with reading(path) as reader:
        parts = tuple(_parts(reader, proof, progress))
        end = reader.end
        assert end is not None  # `lines` ends with it, or raises
    for part, said in zip(parts, end.parts, strict=True):
        _same_head(part, said)
    signed = proves(end, reader.head.prefix, proof.key, proof.trusted)
    return FileReport(reader.head, end, tuple(part.finish() for part in parts), signed, proof.key is not None)


_Part: TypeAlias = Verifier | ChainOnly


def _parts(reader: Reader, proof: Proof, progress: Progress) -> list[_Part]:
    files: dict[str, Mapping[str, str]] = {}
    rules_of = rules_of_files(files, proof.compile)
    heads = None
    if proof.key is not None:
        heads = Heads(f"{reader.head.prefix}checkpoints", proof.key, proof.trusted)
        heads.take_all(proof.kept)
    parts: list[_Part] = []
    begun = Begin(0, 0, 0)
    for line in reader.lines():
        if isinstance(line, Bundle):
            take_bundle(files, line)
        elif isinstance(line, Begin):
            begun = line
            parts.append(_part(reader.head, proof, line, rules_of, heads))
        elif isinstance(line, Entry | Bodiless | BodilessVoid):
            _take(parts[-1], line)
            if line.offset % TOLD_EVERY == 0 or line.offset + 1 == begun.end:
                done = line.offset + 1 - begun.begin
                progress(f"partition {begun.partition}", done, begun.end - begun.begin)
    return parts


def take_bundle(files: dict[str, Mapping[str, str]], line: Bundle) -> None:
    """Take a bundle in, by its digest; what is none is passed over, as on the topic."""
    try:
        doc = msgspec.json.decode(line.value, type=BundleDoc)
    except msgspec.MsgspecError:
        return
    files[doc.digest] = doc.files


def _part(
    head: Head, proof: Proof, begun: Begin, rules_of: Callable[[str], Rules | None], heads: Heads | None
) -> _Part:
    if proof.key is None or heads is None:
        return ChainOnly(begun.partition, begun.begin)
    fits = heads.of(begun.partition)
    # What was signed of other records than those that are here says nothing of these.
    fits.left = {offset: one for offset, one in fits.left.items() if begun.begin <= offset < begun.end}
    return Verifier(
        begun.partition,
        head.partitions,
        proof.key,
        rules_of,
        proof.engine,
        _Nowhere((begun.partition,)),
        fits,
        begun.begin,
    )


def _take(part: _Part, line: Entry | Bodiless | BodilessVoid) -> None:
    if isinstance(line, BodilessVoid):
        part.report.voids["dropped"] = part.report.voids.get("dropped", 0) + 1
    elif isinstance(line, Entry):
        part.take(line.offset, value_of(line))
    else:
        try:
            header, digests = _header(part.report.partition, line)
        except ValueError as error:
            place = f"journal {part.report.partition}:{line.offset}"
            text = f"What is left of the record cannot be read: {error}."
            part.report.add(Finding(place, line.offset, "changed", text))
            return
        part.take_digests(line.offset, header, line.hash, digests)


def value_of(line: Entry) -> bytes | None:
    """Give the value of a line; what is no base64 is no journal record either."""
    try:
        return line.bytes()
    except ValueError:
        return None


def _header(partition: int, line: Bodiless) -> tuple[rec.Header, rec.Digests]:
    """Give what the seal of a record without body covers."""
    if line.kind not in get_args(rec.Kind):
        raise ValueError(f"there are no records of the kind {line.kind!r}")
    header = rec.Header(
        partition,
        line.offset,
        line.kind,  # type: ignore[arg-type]  # it is one
        parse_time(line.at),
        line.engine_version,
        line.rules_digest,
        line.published_through,
        line.state_digest,
        line.previous_hash,
        line.key_id,
    )
    texts = (line.input_sha256, line.outputs_sha256, line.changes_sha256)
    one, two, three = (bytes.fromhex(text) for text in texts)
    return header, (one, two, three)


def _same_head(part: _Part, said: PartitionEnd) -> None:
    """The last line says where the chain ends; what is found has to be that."""
    if part.head != (said.last_offset, said.last_hash) and part.report.passed:
        place = f"journal {said.partition}:{said.last_offset}"
        text = (
            "By the file's last line this is the last record that counts; by the records it is that at offset "
            f"{part.head[0]}."
        )
        part.report.add(Finding(place, said.last_offset, "head", text))
