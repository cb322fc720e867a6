"""Signed checkpoints against the journal: a tail that was cut, or sealed again, does not fit them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

from ops_stream.audit.report import Finding
from ops_stream.contract.clocktext import format_time, parse_time
from ops_stream.core.journal.chain import JournalKey
from ops_stream.core.journal.checkpoint import Head, proves

FOREIGN_MAX: Final = 1_000_000


class _Doc(msgspec.Struct):
    partition: int
    offset: int
    hash: str
    time: str
    key_id: str = ""
    signature: str = ""


@dataclass(slots=True)
class Heads:
    """The checkpoints that are proved, by partition and offset."""

    topic: str
    journal_key: JournalKey
    trusted: Mapping[str, bytes] = field(default_factory=dict)
    """Public keys by key id, of which a checkpoint's signature may be."""
    known: dict[int, dict[int, Head]] = field(default_factory=dict)
    unproved: int = 0
    """Those that no key here proves: somebody else's, or signed with a key that is not trusted here."""

    def take(self, value: bytes | None) -> None:
        """Take a checkpoint in, if it is one and is proved."""
        try:
            doc = msgspec.json.decode(value or b"", type=_Doc)
            head = Head(doc.partition, doc.offset, doc.hash, parse_time(doc.time))
        except (msgspec.MsgspecError, ValueError):
            self.unproved += 1
            return
        if proves(head, doc.signature, doc.key_id, self.topic, self.journal_key, self.trusted):
            self.known.setdefault(head.partition, {})[head.offset] = head
        else:
            self.unproved += 1

    def take_all(self, values: Iterable[bytes]) -> None:
        """Take the lines of a file in."""
        for value in values:
            if value.strip():
                self.take(value)

    def of(self, partition: int) -> Fits:
        """Give what one partition's journal has to fit."""
        return Fits(partition, dict(self.known.get(partition, {})))


@dataclass(slots=True)
class Fits:
    """Compares one partition's records that count with its checkpoints."""

    partition: int
    left: dict[int, Head]
    fitted: int = 0
    broken: bool = False

    def record(self, offset: int, hash_: str) -> Finding | None:
        """Compare a record that counts; only the first that does not fit is told."""
        head = self.left.pop(offset, None)
        if head is None:
            return None
        if head.hash == hash_:
            self.fitted += 1
            return None
        return self._wrong(
            head,
            "The journal was sealed again: another record stands here than the one whose head was signed",
        )

    def end(self) -> Finding | None:
        """Say what is left over when the journal has been read."""
        if not self.left:
            return None
        return self._wrong(
            self.left[min(self.left)],
            "A record that counted is missing here, or counts no longer: its head was signed",
        )

    def _wrong(self, head: Head, text: str) -> Finding | None:
        if self.broken:
            return None
        self.broken = True
        place = f"journal {self.partition}:{head.offset}"
        return Finding(place, head.offset, "checkpoint", f"{text} at {format_time(head.at_ms)}.")
