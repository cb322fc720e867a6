"""The journal's rows, for people who want to see, not for a worker that must be sure.

Without the journal key a record counts here by its place in the chain alone, so whoever may write to the
journal can mislead this fold; `audit verify` is what nobody can mislead. With the key MACs are checked too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from ops_stream.core.inputs import Takeover
from ops_stream.core.journal import record as rec
from ops_stream.core.journal.chain import GENESIS_HASH, JournalKey
from ops_stream.core.journal.ledger import Position
from ops_stream.core.rows import R, Table

POSITION: Final = "position/"


@dataclass(frozen=True, slots=True)
class TakenOver:
    """The last takeover of a partition."""

    takeover: Takeover
    offset: int
    at_ms: int


class PartitionFold:
    """One partition's journal, folded as its records come."""

    def __init__(
        self, partition: int, *, prefixes: tuple[str, ...] = ("",), key: JournalKey | None = None
    ) -> None:
        """Keep only rows whose key begins with one of `prefixes`."""
        self.partition: Final = partition
        self.rows: dict[str, bytes] = {}
        self.positions: dict[str, int] = {}
        self.taken_over: TakenOver | None = None
        self.counted = 0
        self.voids = 0
        self.astray = 0
        """Records since the last that counts which expected to stand where they do, and do not count."""
        self.at_ms = 0
        self.published_through = 0
        self.next_offset = 0
        self._prefixes = prefixes
        self._key = key
        self._last_hash = GENESIS_HASH

    def take(self, offset: int, value: bytes | None) -> rec.Record | None:
        """Fold the record at `offset`; give it where it counts."""
        first = self.next_offset == 0 and self.counted == 0
        self.next_offset = offset + 1
        try:
            record = rec.read(value)
            trusted = first and offset > 0
            if not counts(record, self.partition, offset, self._last_hash, self._key, trusted=trusted):
                self.astray += record.header.expected_offset == offset
                raise rec.Unreadable("it does not count")
            changes = rec.decode_changes(record.changes)
            self._note(offset, record)
        except rec.Unreadable:
            self.voids += 1
            return None
        self._apply(changes)
        self.counted += 1
        self.astray = 0
        self._last_hash = record.hash
        self.at_ms = record.header.at_ms
        self.published_through = record.header.published_through
        return record

    def table(self, table: Table[R]) -> dict[str, R]:
        """Give the rows of one kind, by key without the prefix."""
        start = len(table.prefix)
        return {
            key[start:]: table.decode(value)
            for key, value in self.rows.items()
            if key.startswith(table.prefix)
        }

    def _note(self, offset: int, record: rec.Record) -> None:
        kind = record.header.kind
        if kind == "takeover":
            taken = rec.decode_takeover(record.input)
            self.taken_over = TakenOver(taken, offset, record.header.at_ms)
        elif kind == "input":
            raw = rec.decode_input(record.input)
            self.positions[raw.topic] = raw.offset + 1
        elif kind == "gap":
            gap = rec.decode_gap(record.input)
            self.positions[gap.topic] = gap.last + 1
        elif kind == "rebase":
            self.positions.update(dict.fromkeys(rec.decode_rebase(record.input).reached, 0))

    def _apply(self, changes: Mapping[str, bytes | None]) -> None:
        for row, value in changes.items():
            if row.startswith(POSITION) and value is not None:
                self.positions[row[len(POSITION) :]] = msgspec.json.decode(value, type=Position).next
            elif not row.startswith(self._prefixes):
                continue
            elif value is None:
                self.rows.pop(row, None)
            else:
                self.rows[row] = value


def counts(
    record: rec.Record, partition: int, offset: int, last_hash: str, key: JournalKey | None, *, trusted: bool
) -> bool:
    """Say whether the record at `offset` counts after the one with `last_hash`.

    `trusted` is the first where the journal's beginning is gone; without `key` MACs are not checked.
    """
    header = record.header
    return (
        header.partition == partition
        and header.expected_offset == offset
        and (trusted or header.previous_hash == last_hash)
        and (key is None or rec.mac_of(record, key) == record.hash)
    )
