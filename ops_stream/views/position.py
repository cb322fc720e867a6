"""Where a view stands in one partition of the journal, and which records count from there on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from ops_stream.audit.fold import counts
from ops_stream.core.journal import record as rec
from ops_stream.core.journal.chain import GENESIS_HASH, JournalKey

NOWHERE: Final = -1


@dataclass(frozen=True, slots=True)
class Position:
    """What was taken in of a partition."""

    next: int = 0
    """The offset of the next record."""
    last: int = NOWHERE
    """The offset of the last record that counts; -1 where none has come yet."""
    hash: str = GENESIS_HASH
    at_ms: int = 0
    counted: int = 0
    voids: int = 0
    astray: int = 0
    """Records since the last that counts which expected to stand where they do, and do not count."""

    def write(self) -> str:
        """Give it as Redis keeps it."""
        parts = (self.next, self.last, self.hash, self.at_ms, self.counted, self.voids, self.astray)
        return "|".join(map(str, parts))

    @classmethod
    def read(cls, text: str) -> Position | None:
        """Read it back; None where it is none."""
        parts = text.split("|")
        try:
            next_, last, hash_, *others = parts
            at_ms, counted, voids, astray = map(int, others)
            return cls(int(next_), int(last), hash_, at_ms, counted, voids, astray)
        except ValueError:
            return None


class Chain:
    """Follows one partition's chain of records, as `PartitionFold` does, from any position on."""

    def __init__(self, partition: int, position: Position, key: JournalKey | None) -> None:
        """Begin at a position; with `key` MACs are checked too."""
        self._partition = partition
        self._key = key
        self.position = position

    def take(self, offset: int, value: bytes | None) -> tuple[rec.Record, dict[str, bytes | None]] | None:
        """Pass the record at `offset`; give it and its changes where it counts."""
        before = self.position
        first = before.next == 0 and before.last == NOWHERE
        try:
            record = rec.read(value)
            trusted = first and offset > 0
            if counts(record, self._partition, offset, before.hash, self._key, trusted=trusted):
                changes = rec.decode_changes(record.changes)
                at_ms, counted = record.header.at_ms, before.counted + 1
                self.position = Position(offset + 1, offset, record.hash, at_ms, counted, before.voids)
                return record, changes
            astray = before.astray + (record.header.expected_offset == offset)
        except rec.Unreadable:
            astray = before.astray
        self.position = replace(before, next=offset + 1, voids=before.voids + 1, astray=astray)
        return None
