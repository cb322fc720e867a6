"""Sees everything that lands on the broker, folds the journal by itself and objects to whatever breaks a promise.

It shares no code with the ledger: the rule by which a record counts is written here once more.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Final

import msgspec

from ops_stream.contract.avro import decode_avro
from ops_stream.contract.models import EVENTS
from ops_stream.core.inputs import EventInput, MalformedInput, RecordInput
from ops_stream.core.intake import read_input
from ops_stream.core.journal import record as rec
from ops_stream.core.journal.chain import JournalKey
from ops_stream.core.rows import BUDGETS, LIMITS, RULES, Budget
from ops_stream.core.state import State
from ops_stream.core.step import step
from tests.flowproof import FlowProof
from tests.simulation.broker import Broker, Stored
from tests.simulation.loadproof import LoadProof
from tests.simulation.rules import of_row

OUTSIDE_THE_LINE: Final = ("duplicate_conflict", "malformed_request")
Position = tuple[int, int]


class Objection(AssertionError):
    """A promise is broken."""


@dataclass(slots=True)
class Fold:
    """One partition of the journal, as the referee sees it."""

    state: State
    last_hash: str = "0" * 64
    at_ms: int = 0
    counted: int = 0
    next_place: int = 0
    """The offset after the last record that counts."""
    through: int = 0
    positions: dict[str, int] = field(default_factory=dict)
    landed: dict[int, int] = field(default_factory=dict)
    """When each record that counts landed."""
    outputs: dict[Position, rec.OutputDoc] = field(default_factory=dict)
    unpublished: dict[Position, None] = field(default_factory=dict)
    highest: dict[tuple[str, int], Position] = field(default_factory=dict)
    """The highest position that went to each partition of each topic."""
    via: dict[tuple[str, int], Position] = field(default_factory=dict)
    lines: dict[tuple[str, str], list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    answered: dict[tuple[str, str], None] = field(default_factory=dict)
    voids: int = 0
    flows: FlowProof = field(default_factory=FlowProof)
    load: LoadProof = field(init=False)

    def __post_init__(self) -> None:
        self.load = LoadProof(self.state.partition, self.state.partitions)


class Referee:
    """Watches a broker."""

    def __init__(self, broker: Broker, key: JournalKey, partitions: int, inputs: tuple[str, ...]) -> None:
        self.folds = [Fold(State(number, partitions)) for number in range(partitions)]
        self.trace = blake2b(digest_size=16)
        self.reasons: dict[str, int] = defaultdict(int)
        """How often each reason was given: what the histories are made of."""
        self._broker = broker
        self._key = key
        self._inputs = inputs
        broker.watch = self.see

    def see(self, topic: str, partition: int, stored: Stored, sent: int | None) -> None:
        """A record has landed."""
        self.trace.update(f"{topic}|{partition}|{stored.offset}|{stored.at_ms}|".encode())
        self.trace.update(stored.value or b"-")
        if topic == "journal":
            self._journal(self.folds[partition], stored)
        elif sent is not None and topic != "snapshots":
            self._output(topic, partition, stored, sent)

    # -- the journal

    def _journal(self, fold: Fold, stored: Stored) -> None:
        record = self._counting(fold, stored)
        if record is None:
            fold.voids += 1
            return
        header = record.header
        changes = rec.decode_changes(record.changes)
        self._demand(header.at_ms >= fold.at_ms, "time goes on", stored)
        self._demand(header.published_through <= stored.offset, "only what is journaled is published", stored)
        self._demand(header.published_through >= fold.through, "what was published stays so", stored)
        early = [place for place in fold.unpublished if place[0] < header.published_through]
        self._demand(not early, f"everything below published_through went out, not so {early}", stored)
        self._decide_again(fold, record, changes, stored)
        self._money(fold, changes, stored)
        fold.state.apply(changes)
        fold.last_hash, fold.at_ms, fold.through = record.hash, header.at_ms, header.published_through
        fold.counted += 1
        fold.next_place = stored.offset + 1
        fold.landed[stored.offset] = self._broker.moment
        outputs = rec.decode_outputs(record.outputs)
        self._flows(fold, record, changes, outputs, stored)
        for index, output in enumerate(outputs):
            fold.outputs[stored.offset, index] = output
            fold.unpublished[stored.offset, index] = None
            if output.type == "TaskApproval":
                self._line(fold, msgspec.json.decode(output.value), stored)
        for row, value in changes.items():
            if value is None and row.startswith("ask/"):
                tenant, _, request_id = row[4:].partition("|")
                fold.lines.pop((tenant, request_id), None)

    def _flows(
        self,
        fold: Fold,
        record: rec.Record,
        changes: dict[str, bytes | None],
        outputs: Sequence[rec.OutputDoc],
        stored: Stored,
    ) -> None:
        """Hold the promises about workflows, and let no error of the supervisor's pass for a refusal."""
        read = read_input(rec.decode_input(record.input)) if record.header.kind == "input" else None
        event = read.event if isinstance(read, EventInput) else None
        fold.flows.take(event, changes, outputs, lambda so, what: self._demand(so, what, stored))
        active = changes.get(RULES.prefix) or fold.state.rows.get(RULES.prefix)
        rules = of_row(active)
        fold.load.take(changes, rules, record.header.at_ms, lambda so, what: self._demand(so, what, stored))
        failed = [bytes(one.value) for one in outputs if one.type == "DeadLetter"]
        failed = [value for value in failed if b'"internal_error"' in value]
        self._demand(not failed, f"no record makes the supervisor fail, as {failed} did", stored)

    def _counting(self, fold: Fold, stored: Stored) -> rec.Record | None:
        try:
            record = rec.read(stored.value)
        except rec.Unreadable:
            return None
        header = record.header
        if header.partition != fold.state.partition or header.key_id != self._key.key_id:
            return None
        if rec.mac_of(record, self._key) != record.hash or header.expected_offset != stored.offset:
            return None
        self._demand(header.previous_hash == fold.last_hash, "a record at its place follows", stored)
        return record

    def _decide_again(
        self, fold: Fold, record: rec.Record, changes: dict[str, bytes | None], stored: Stored
    ) -> None:
        """Whatever was decided is decided so again, on what was there and nothing else."""
        header = record.header
        active = fold.state.rows.get(RULES.prefix)
        rules = of_row(active)
        self._demand(header.rules_digest == rules.digest, "the rules are those of the journal", stored)
        if header.kind == "input":
            raw = rec.decode_input(record.input)
            read = read_input(raw)
            self._take(fold, raw, read, changes, record, stored)
            decision = step(fold.state, read, rules, max(fold.at_ms, raw.timestamp_ms))
        elif header.kind == "tick":
            tick = rec.decode_tick(record.input)
            moment = header.at_ms if tick.until_ms is None else tick.until_ms
            self._nothing_overtaken(fold, moment, stored)
            decision = step(fold.state, tick, rules, header.at_ms)
        elif header.kind == "gap":
            gap = rec.decode_gap(record.input)
            self._reach(fold, gap.topic, gap.first, gap.last + 1, stored)
            log = self._broker.log(gap.topic, gap.partition)
            holes = all(at is None for at in log[gap.first : gap.last + 1])
            self._demand(holes, "a gap is a hole that the broker has", stored)
            decision = step(fold.state, gap, rules, header.at_ms)
        else:
            decision = step(fold.state, rec.decode_takeover(record.input), rules, header.at_ms)
        shell = {row: value for row, value in changes.items() if row.startswith("position/")}
        self._demand(not shell, "positions follow from the input and are not recorded twice", stored)
        self._demand(decision.changes == changes, "replay gives the same changes", stored)
        again = rec.encode_outputs(decision.outputs)[0]
        self._demand(again == record.outputs, "replay gives the same outputs, byte for byte", stored)

    def _take(
        self,
        fold: Fold,
        raw: rec.RawInput,
        read: RecordInput,
        changes: dict[str, bytes | None],
        record: rec.Record,
        stored: Stored,
    ) -> None:
        """Every input is taken once, in its order, as it was."""
        self._reach(fold, raw.topic, raw.offset, raw.offset + 1, stored)
        original = self._broker.log(raw.topic, raw.partition)[raw.offset]
        same = original is not None and (original.value, original.at_ms) == (raw.value, raw.timestamp_ms)
        self._demand(same, "the journal holds the input as it was", stored)
        if isinstance(read, EventInput | MalformedInput) and read.via is not None:
            source, *place = read.via
            if fold.via.get((raw.topic, source), (-1, -1)) >= tuple(place):
                # Any record may find that too many ended asks are remembered, and forget some.
                kept = ("ask/", "budget/", "containment/", "alert/remember_max", "alarm/", "gathered/")
                forgotten = all(row.startswith(kept) for row in changes)
                told = {output.type for output in rec.decode_outputs(record.outputs)}
                self._demand(forgotten and told <= {"Alert"}, "what was forwarded is decided once", stored)
            else:
                fold.via[raw.topic, source] = (place[0], place[1])

    def _reach(self, fold: Fold, topic: str, first: int, next_offset: int, stored: Stored) -> None:
        expected = fold.positions.get(topic, 0)
        self._demand(first == expected, f"{topic} goes on at {expected}, not at {first}", stored)
        fold.positions[topic] = next_offset

    def _nothing_overtaken(self, fold: Fold, until_ms: int, stored: Stored) -> None:
        """What was on an input before the moment that a tick is about was read before the tick."""
        for topic in self._inputs:
            for waiting in self._broker.log(topic, fold.state.partition)[fold.positions.get(topic, 0) :]:
                if waiting is not None:
                    self._demand(
                        waiting.at_ms >= until_ms, f"a tick for {until_ms} overtook {topic} {waiting}", stored
                    )
                    break

    def _line(self, fold: Fold, value: dict[str, Any], stored: Stored) -> None:
        """The decisions of a request are one line: 0, 1, 2, … and each always the same."""
        self.reasons[value["reason"]] += 1
        fold.answered[value["tenant"], value["request_id"]] = None
        if value["reason"] in OUTSIDE_THE_LINE:
            return
        line = fold.lines[value["tenant"], value["request_id"]]
        sequence = value["sequence"]
        if sequence == len(line):
            line.append(value)
        else:
            self._demand(
                sequence == len(line) - 1 and line[sequence] == value, "one line of decisions", stored
            )

    def _money(self, fold: Fold, changes: dict[str, bytes | None], stored: Stored) -> None:
        """Promise 3: what is used grows beyond a limit only by a recorded overrun. Nothing is negative."""
        for key, value in changes.items():
            if not key.startswith("budget/") or value is None:
                continue
            old, new = fold.state.rows.get(key), BUDGETS.decode(value)
            before = Budget() if old is None else BUDGETS.decode(old)
            least = min(new.held, new.unknown, new.spent, new.overrun, new.asks)
            self._demand(least >= 0, f"nothing is negative: {key} {new}", stored)
            limit = self._limit(fold, changes, key)
            if limit is not None and _used(new) > limit:
                grown = _used(new) - _used(before)
                self._demand(
                    grown <= new.overrun - before.overrun,
                    f"promise 3: {key} {before} became {new}, beyond {limit}",
                    stored,
                )

    def _limit(self, fold: Fold, changes: dict[str, bytes | None], key: str) -> int | None:
        level, *names = key.removeprefix("budget/").split("|")
        budgets = of_row(fold.state.rows.get(RULES.prefix)).budgets
        if level == "tenant":
            rows, limit = [f"limit/tenant|{names[0]}"], budgets.tenant_limit(names[0])
        else:
            rows = [f"limit/task|{names[0]}|{names[1]}", f"limit/task|{names[0]}|*"]
            limit = budgets.task_limit(names[0])
        for row in rows:
            value = changes[row] if row in changes else fold.state.rows.get(row)
            if value is not None:
                return LIMITS.decode(value).limit
        return None if limit is None else limit.limit_micros

    # -- what goes out

    def _output(self, topic: str, partition: int, stored: Stored, sent: int) -> None:
        """An output is in the journal, to the byte, and went out after its record was acknowledged."""
        source, offset, index = map(int, dict(stored.headers)["ops-journal"].split(b":"))
        fold = self.folds[source]
        output = fold.outputs.get((offset, index))
        self._demand(output is not None, f"{topic} {partition}: {source}:{offset}:{index} counts", stored)
        assert output is not None
        self._demand(
            fold.landed[offset] <= sent, "nothing is sent before its record is on the journal", stored
        )
        target = source if output.partition is None else output.partition
        self._demand((output.topic, target) == (topic, partition), "it goes where the journal says", stored)
        if output.encoding == "avro":
            assert stored.value is not None
            name, value = decode_avro(stored.value)
            self._demand(name == output.type, "its type is the journal's", stored)
            body, read = msgspec.json.decode(output.value), EVENTS[name].from_wire  # Avro has every default
            self._demand(read(value).wire() == read(body).wire(), "Avro says the same", stored)
        else:
            self._demand(bytes(output.value) == stored.value, "it is the journal's to the byte", stored)
        place = (offset, index)
        highest = fold.highest.get((topic, partition), (-1, -1))
        new = place in fold.unpublished
        self._demand(not new or place > highest, "readers that drop what is late miss nothing", stored)
        fold.unpublished.pop(place, None)
        fold.highest[topic, partition] = max(place, highest)

    def _demand(self, so: bool, what: str, stored: Stored) -> None:
        if not so:
            raise Objection(f"not so: {what} (at {stored.offset}, {(stored.value or b'')[:300]!r})")


def _used(row: Budget) -> int:
    return row.held + row.unknown + row.spent
