"""One partition's journal and the state that is its fold.

`Ledger` is used three times with the same code: by the live worker (`write_*`), by recovery (`fold`) and by the
simulator. Writing a record and folding it leave the same ledger.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ops_stream.contract.clocktext import format_time
from ops_stream.core.inputs import Gap, Rebase, Takeover, Tick
from ops_stream.core.journal import record as rec
from ops_stream.core.journal.chain import GENESIS_HASH, JournalKey, RowNumbers, short_digest, sum_of, sum_text
from ops_stream.core.journal.record import OutputDoc, RawInput
from ops_stream.core.journal.watermark import Watermark
from ops_stream.core.state import State
from ops_stream.core.step import Decision

POSITION_PREFIX = "position/"
_PLAIN_TICK = Tick()
_ASTRAY = "it does not follow the last record that counts"
GAP_DIGEST = "-gap-"
"""Stands for the record before a position that a gap reached: there is none to compare."""


class Position(msgspec.Struct, frozen=True):
    """How far an input partition has been journaled: `next` offset, and the digest of the record before it."""

    next: int
    digest: str


class Written(msgspec.Struct, frozen=True):
    """A record to append, and what goes out once it is acknowledged."""

    offset: int
    at_ms: int
    value: bytes
    outputs: tuple[OutputDoc, ...]


class Prepared(msgspec.Struct, frozen=True):
    """A record and what it will do to the ledger, not yet done."""

    written: Written
    changes: Mapping[str, bytes | None]
    state_sum: int
    header: rec.Header
    hash: str


class Void(msgspec.Struct, frozen=True):
    """A record that does not count, and why."""

    offset: int
    reason: str
    foreign_key_id: str = ""
    """Set where it stands where it should and is sealed under a key that is not ours."""
    astray: bool = False
    """Sealed under our key, at its place, and not following: no lost race does that, only a changed journal."""


class Folded(msgspec.Struct, frozen=True):
    """A record that counts, folded into the ledger."""

    offset: int
    record: rec.Record


class BrokenChain(Exception):
    """The journal contradicts itself: a record counts by its MAC but cannot be folded."""


class Ledger:
    """The journal position, the chain and the state of one partition."""

    def __init__(self, state: State, key: JournalKey) -> None:
        self.state = state
        self.key = key
        self.next_offset = 0
        self.last_offset = -1
        """Where the last record that counts stands: what comes after it, below `next_offset`, is void."""
        self.last_hash = GENESIS_HASH
        self.at_ms = 0
        self._numbers = RowNumbers(key.sum_key)
        self.state_sum = sum_of(self._numbers, state.rows)
        self.published_through = 0
        self.last_engine_version = ""
        self.voids = 0
        self.proved = True
        """False while the rows come from a snapshot that the journal has not confirmed yet; see `prove`."""
        self._state_digest = sum_text(self.state_sum)
        self.touched: dict[str, int] = {}
        """Rows that folding changed, with the offset of the change: what a snapshot does not hold yet."""

    # -- positions

    def position(self, topic: str) -> Position | None:
        """How far `topic` has been journaled on this partition; `None` before its first record."""
        value = self.state.rows.get(POSITION_PREFIX + topic)
        return msgspec.json.decode(value, type=Position) if value is not None else None

    @classmethod
    def from_watermark(
        cls, rows: dict[str, bytes], partitions: int, key: JournalKey, watermark: Watermark
    ) -> Ledger:
        """A ledger over the rows of a snapshot, to be folded on from its watermark and then proved.

        Until then the rows are bytes that anybody may have written: nothing is read from them, nothing derived.
        """
        state = State(watermark.partition, partitions)
        state.rows = rows
        ledger = cls.__new__(cls)
        ledger.state = state
        ledger.key = key
        ledger.next_offset = watermark.next_offset
        ledger.last_offset = watermark.next_offset - 1
        ledger.last_hash = watermark.last_hash
        ledger.at_ms = watermark.at_ms
        ledger._numbers = RowNumbers(key.sum_key)
        ledger.state_sum = 0
        ledger.published_through = watermark.published_through
        ledger.last_engine_version = watermark.engine_version
        ledger.voids = 0
        ledger.proved = False
        ledger._state_digest = watermark.state_digest
        ledger.touched = {}
        return ledger

    # -- writing

    def prepare_input(
        self,
        raw: RawInput,
        decision: Decision,
        at_ms: int,
        engine: str,
        rules: str,
        found: rec.Record | None = None,
    ) -> Prepared:
        """The record of an input and its decision. `found` is what `_prepare` may give instead of sealing again."""
        position = Position(raw.offset + 1, short_digest(raw.value))
        return self._prepare(
            "input", rec.encode_input(raw), decision, at_ms, engine, rules, {raw.topic: position}, found
        )

    def prepare_tick(
        self,
        decision: Decision,
        at_ms: int,
        engine: str,
        rules: str,
        tick: Tick = _PLAIN_TICK,
        found: rec.Record | None = None,
    ) -> Prepared:
        """The record of time passing."""
        return self._prepare("tick", rec.encode_tick(tick), decision, at_ms, engine, rules, {}, found)

    def prepare_takeover(self, takeover: Takeover, decision: Decision, at_ms: int, rules: str) -> Prepared:
        """The record by which a worker takes the partition over. It may land elsewhere and then never have been."""
        part = rec.encode_takeover(takeover)
        return self._prepare("takeover", part, decision, at_ms, takeover.engine_version, rules, {})

    def prepare_gap(self, gap: Gap, decision: Decision, at_ms: int, engine: str, rules: str) -> Prepared:
        """The record that offsets of an input partition hold nothing."""
        position = Position(gap.last + 1, GAP_DIGEST)
        return self._prepare(
            "gap", rec.encode_gap(gap), decision, at_ms, engine, rules, {gap.topic: position}
        )

    def rebase_of(self, source: str) -> Rebase:
        """How far each input has been journaled, as a rebase says it of an export."""
        start = len(POSITION_PREFIX)
        topics = sorted(row[start:] for row in self.state.rows if row.startswith(POSITION_PREFIX))
        positions = ((topic, self.position(topic)) for topic in topics)
        return Rebase(source, {topic: found.next for topic, found in positions if found is not None})

    def prepare_rebase(
        self, rebase: Rebase, decision: Decision, at_ms: int, engine: str, rules: str
    ) -> Prepared:
        """The record by which the journal goes on in another cluster: each input begins at 0 there."""
        part = rec.encode_rebase(rebase)
        return self._prepare("rebase", part, decision, at_ms, engine, rules, _begun(rebase))

    def commit(self, prepared: Prepared) -> None:
        """Take a prepared record as written: its changes are now the state."""
        if prepared.written.offset != self.next_offset or prepared.header.previous_hash != self.last_hash:
            raise BrokenChain(
                f"a record prepared for offset {prepared.written.offset} was committed out of turn"
            )
        self.state.apply(prepared.changes)
        self.state_sum = prepared.state_sum
        self._state_digest = prepared.header.state_digest
        self._advance(prepared.header, prepared.hash)

    def _prepare(
        self,
        kind: rec.Kind,
        input_part: bytes,
        decision: Decision,
        at_ms: int,
        engine: str,
        rules: str,
        positions: Mapping[str, Position],
        found: rec.Record | None = None,
    ) -> Prepared:
        """Draw up a record and seal it.

        `found` was read from the journal and carries the MAC that it ought to: where all that a seal covers is the
        same, so is the seal, and nothing is sealed again.
        """
        outputs_part, docs = rec.encode_outputs(decision.outputs)
        changes_part = rec.encode_changes(decision.changes)
        changes = _with_positions(decision.changes, positions)
        state_sum = self._numbers.after(self.state_sum, self.state.rows, changes)
        header = rec.Header(
            partition=self.state.partition,
            expected_offset=self.next_offset,
            kind=kind,
            at_ms=at_ms,
            engine_version=engine,
            rules_digest=rules,
            published_through=self.published_through,
            state_digest=sum_text(state_sum),
            previous_hash=self.last_hash,
            key_id=self.key.key_id,
        )
        if found is not None and rec.holds(found, header, input_part, outputs_part, changes_part):
            sealed = rec.Sealed(found.value, found.hash)
        else:
            sealed = rec.seal(header, input_part, outputs_part, changes_part, self.key)
        written = Written(self.next_offset, at_ms, sealed.value, docs)
        return Prepared(written, changes, state_sum, header, sealed.hash)

    # -- folding

    def fold(self, offset: int, value: bytes | None) -> Folded | Void:
        """Take the journal's record at `offset`. Raises `BrokenChain` where a counting record cannot be folded."""
        try:
            record = rec.read(value)
        except rec.Unreadable as error:
            return self._void(offset, str(error))
        reason = self._why_void(offset, record)
        if reason:
            other = record.header.key_id if record.header.key_id != self.key.key_id else ""
            at_its_place = record.header.expected_offset == offset
            return self._void(offset, reason, other if at_its_place else "", reason == _ASTRAY)
        try:
            changes = _with_positions(rec.decode_changes(record.changes), _positions_of(record))
        except rec.Unreadable as error:
            raise BrokenChain(f"journal partition {self.state.partition} offset {offset}: {error}") from error
        if self.proved:
            self.state_sum = self._numbers.after(self.state_sum, self.state.rows, changes)
            self.state.apply(changes)
        else:
            self._put(changes)
        self.touched.update(dict.fromkeys(changes, offset))
        self._state_digest = record.header.state_digest
        if self.proved and sum_text(self.state_sum) != record.header.state_digest:
            raise BrokenChain(
                f"journal partition {self.state.partition} offset {offset} at {format_time(record.header.at_ms)}: "
                "the state after it has another digest than the record says"
            )
        self.next_offset = offset
        self.published_through = record.header.published_through
        self._advance(record.header, record.hash)
        return Folded(offset, record)

    def prove(self) -> None:
        """Sum the rows themselves and compare with the last record that counts. Raises `BrokenChain`."""
        self.state_sum = sum_of(self._numbers, self.state.rows)
        if sum_text(self.state_sum) != self._state_digest:
            raise BrokenChain(
                f"journal partition {self.state.partition} before offset {self.next_offset}: the rows do not "
                "sum to the digest that the last record gives"
            )
        if not self.proved:
            rows, self.state.rows = self.state.rows, {}
            self.state.apply(rows)
        self.proved = True

    def _put(self, changes: Mapping[str, bytes | None]) -> None:
        rows = self.state.rows
        for row, value in changes.items():
            if value is None:
                rows.pop(row, None)
            else:
                rows[row] = value

    def _void(self, offset: int, reason: str, foreign_key_id: str = "", astray: bool = False) -> Void:
        self.voids += 1
        self.next_offset = offset + 1
        return Void(offset, reason, foreign_key_id, astray)

    def _why_void(self, offset: int, record: rec.Record) -> str:
        header = record.header
        if header.partition != self.state.partition:
            return f"it was written for partition {header.partition}"
        if header.expected_offset != offset:
            return f"it expected to land at offset {header.expected_offset}"
        if header.key_id != self.key.key_id:
            return f"it is sealed under another journal key ({header.key_id})"
        if rec.mac_of(record, self.key) != record.hash:
            return "its MAC is wrong"
        if header.previous_hash != self.last_hash:
            return _ASTRAY
        return ""

    # -- both

    def _advance(self, header: rec.Header, hash_: str) -> None:
        self.next_offset += 1
        self.last_offset = header.expected_offset
        self.last_hash = hash_
        self.at_ms = header.at_ms
        self.last_engine_version = header.engine_version


def _positions_of(record: rec.Record) -> Mapping[str, Position]:
    if record.header.kind == "input":
        raw = rec.decode_input(record.input)
        return {raw.topic: Position(raw.offset + 1, short_digest(raw.value))}
    if record.header.kind == "gap":
        gap = rec.decode_gap(record.input)
        return {gap.topic: Position(gap.last + 1, GAP_DIGEST)}
    if record.header.kind == "rebase":
        return _begun(rec.decode_rebase(record.input))
    return {}


def _begun(rebase: Rebase) -> Mapping[str, Position]:
    return {topic: Position(0, GAP_DIGEST) for topic in rebase.reached}


def _with_positions(
    changes: Mapping[str, bytes | None], positions: Mapping[str, Position]
) -> Mapping[str, bytes | None]:
    if not positions:
        return changes
    reached = {POSITION_PREFIX + topic: msgspec.json.encode(found) for topic, found in positions.items()}
    return {**changes, **reached}
