"""The engine of every question about other rules: one partition's journal, lived through a second time.

The recorded world is folded, the other one decided, record by record, with `step` itself: budgets, rates, lifecycles,
queues, workflows and approvals are carried along. Time passes there as it did then: recorded ticks are taken as they
are; what is due only in the other world is done when it is due, once all that was written before has been taken in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import msgspec
from msgspec.structs import replace as replace_row

from ops_stream.audit.whatif.offpolicy import OffPolicy
from ops_stream.audit.whatif.reports import Factor, Reports
from ops_stream.audit.whatif.tally import Flips, Side
from ops_stream.audit.whatif.treatment import ran, treat, unsigned
from ops_stream.audit.whatif.world import World
from ops_stream.contract.clocktext import format_time
from ops_stream.contract.models import Telemetry
from ops_stream.core.amend import base_of
from ops_stream.core.decision import InvariantBroken
from ops_stream.core.draft import ITEMS_MAX
from ops_stream.core.inputs import EventInput, Input, RecordInput, Tick
from ops_stream.core.intake import read_input
from ops_stream.core.journal import record as rec
from ops_stream.core.rows import ASKS, RULES, Ask, encode_row
from ops_stream.core.rules_model import Rules

ACTS_MAX: Final = 1_000_000
"""Reports and ticks between two records of the journal; more mean that time does not pass."""
AHEAD: Final = 500
"""So many records are read ahead, to know that nothing older is still to come before time acts."""


@dataclass(frozen=True, slots=True)
class _Ahead:
    record: rec.Record
    written_ms: int


class _Answer(msgspec.Struct):
    tenant: str
    request_id: str
    decision: str
    reason: str
    sequence: int = 0


class _Called(msgspec.Struct):
    escalation_id: str
    status: str


_answer: Final = msgspec.json.Decoder(_Answer).decode
_called: Final = msgspec.json.Decoder(_Called).decode


@dataclass(slots=True)
class WhatIf:
    """One partition, in both worlds."""

    partition: int
    partitions: int
    rules: Rules
    from_ms: int = 0
    """Until then both worlds are the recorded one; from then on the other rules hold, and asks are compared."""
    recorded: World = field(init=False)
    other: World = field(init=False)
    reports: Reports = field(init=False)
    then: Side = field(default_factory=Side)
    here: Side = field(default_factory=Side)
    records: int = 0
    failed: int = 0
    """Records that the supervisor failed on in the other world."""
    routers: OffPolicy = field(default_factory=OffPolicy)
    factor: Factor | None = None
    """What an ask costs with another model; without it reports cost what they did."""
    _ahead: deque[_Ahead] = field(default_factory=deque)
    _diverged: bool = False

    def __post_init__(self) -> None:
        """Begin at the journal's beginning."""
        rules = unsigned(self.rules) if self.rules.people.require_signatures else self.rules
        self.recorded = World(self.partition, self.partitions)
        self.other = World(self.partition, self.partitions, rules)
        self.reports = Reports(self.recorded, self.other, self.factor)

    def take(self, record: rec.Record) -> None:
        """Take in the next record that counts."""
        self._ahead.append(_Ahead(record, _written(record)))
        if len(self._ahead) > AHEAD:
            self._live(self._ahead.popleft().record)

    def finish(self) -> None:
        """Live through what was read ahead."""
        while self._ahead:
            self._live(self._ahead.popleft().record)

    def compare(self, flips: Flips) -> None:
        """Compare the answers of both worlds."""
        flips.compare(self.then, self.here)

    # -- one record

    def _live(self, record: rec.Record) -> None:
        self.records += 1
        at_ms, kind = record.header.at_ms, record.header.kind
        changes = rec.decode_changes(record.changes)
        if at_ms < self.from_ms:
            self.recorded.take(changes, at_ms)
            self.other.take(changes, at_ms)
            return
        if not self._diverged:
            self._diverge()
        self._pass_time(at_ms)
        read = read_input(rec.decode_input(record.input)) if kind == "input" else None
        fed: Input | None = None if read is None else self._fed(read, at_ms)
        self._count_recorded(record, read, changes)
        self.recorded.take(changes, at_ms)
        if kind == "tick":
            self._keep_alive(at_ms)
            fed = rec.decode_tick(record.input)
        elif kind == "gap":
            fed = rec.decode_gap(record.input)
        elif kind == "rebase":
            fed = rec.decode_rebase(record.input)
        elif kind == "takeover":
            fed = replace(rec.decode_takeover(record.input), rules_digest=self.rules.digest)
        if fed is not None:
            self._happen(fed, at_ms)
        for key in changes:
            if key.startswith(ASKS.prefix):
                self.reports.settled_then(key)

    def _diverge(self) -> None:
        """From here on the other rules hold."""
        self._diverged = True
        row = self.other.state.rows.get("rules")
        if row is not None:
            active, base = RULES.decode(row), self.rules.digest
            if base_of(active) != base:  # as an activation, which takes back what was tried under other rules
                active = replace_row(active, digest=base, base="", amended=())
            self.other.state.apply({"rules": encode_row(active)})

    def _fed(self, read: RecordInput, at_ms: int) -> RecordInput | None:
        """Give what the other world gets of an input."""
        if isinstance(read, EventInput) and isinstance(read.event, Telemetry):
            return self.reports.take(read, read.event, at_ms)
        fed = treat(read, self.recorded, self.other)
        if fed.treated is not None:
            self.reports.count(fed.treated)
        return fed.input

    # -- time

    def _pass_time(self, at_ms: int) -> None:
        """Let come in the other world what comes before a moment: moved reports, and what is due only there."""
        for _ in range(ACTS_MAX):
            report_ms, due_ms = self.reports.next_ms(), self._due_here(at_ms)
            if report_ms is not None and report_ms <= at_ms and (due_ms is None or report_ms <= due_ms):
                for when, read in self.reports.due(report_ms):
                    self._happen(read, when)
            elif due_ms is not None:
                self._keep_alive(due_ms)
                self._happen(Tick(), max(due_ms, self.other.now_ms))
            else:
                return
        raise InvariantBroken(f"time does not pass in the other world at {format_time(at_ms)}")

    def _due_here(self, at_ms: int) -> int | None:
        """Say when something is due in the other world alone, where that is by then, and nothing older is to come."""
        due = self.other.state.next_due_ms()
        if due is None or due > at_ms:
            return None
        then = self.recorded.state.next_due_ms()
        if then is not None and then <= max(due, self.recorded.now_ms):
            return None  # a recorded tick will come for it
        return due if all(ahead.written_ms >= due for ahead in self._ahead) else None

    def _keep_alive(self, until_ms: int) -> None:
        """Renew the leases that end by then although the report that was recorded is still to come."""
        other = self.other
        for _, _, _, key in other.state.due.earliest(ITEMS_MAX, until_ms):
            if key.startswith(ASKS.prefix):
                ask = ASKS.decode(other.state.rows[key])
                sign = self.reports.kept_alive(ask) if ask.phase == "running" else None
                if sign is not None:
                    origin = replace_row(sign.origin, timestamp_ms=ask.until - 1)
                    self._happen(replace_row(sign, origin=origin), other.now_ms)

    # -- counting

    def _happen(self, fed: Input, at_ms: int) -> None:
        """Decide in the other world, and count what comes of it."""
        decision, before = self.other.decide(fed, at_ms)
        for output in decision.outputs:
            if output.type == "TaskApproval":
                value = output.value
                name = (str(value["tenant"]), str(value["request_id"]))
                verdict = (str(value["decision"]), str(value["reason"]))
                self.here.answered(name, verdict, value["sequence"])
            elif output.type == "Escalation" and output.value["status"] == "open":
                self.here.called(str(output.value["escalation_id"]), self.other.now_ms)
            elif output.type == "DeadLetter" and output.value["reason"] == "internal_error":
                self.failed += 1
        event = fed.event if isinstance(fed, EventInput) else None
        for key, old in before.items():
            value_after = decision.changes[key]
            if value_after is None:
                continue
            ask = ASKS.decode(value_after)
            was = None if old is None else ASKS.decode(old)
            if _begins(was, ask):
                self.here.let_go(ask)
                self.reports.ran_here(key, ask)
            elif ask.phase == "ended" and not ran(ask):
                self.reports.over_here(ask)
            if isinstance(event, Telemetry) and _ends(was, ask, event):
                self.here.ended(ask, event, self.other.now_ms)

    def _count_recorded(
        self, record: rec.Record, read: RecordInput | None, changes: Mapping[str, bytes | None]
    ) -> None:
        for output in rec.decode_outputs(record.outputs):
            if output.type == "TaskApproval":
                said = _answer(output.value)
                self.then.answered(
                    (said.tenant, said.request_id), (said.decision, said.reason), said.sequence
                )
            elif output.type == "Escalation":
                called = _called(output.value)
                if called.status == "open":
                    self.then.called(called.escalation_id, record.header.at_ms)
        event = read.event if isinstance(read, EventInput) else None
        for key, value in changes.items():
            if value is None or not key.startswith(ASKS.prefix):
                continue
            old = self.recorded.state.rows.get(key)
            was, ask = None if old is None else ASKS.decode(old), ASKS.decode(value)
            if _begins(was, ask):
                self.then.let_go(ask)
            if isinstance(event, Telemetry) and _ends(was, ask, event):
                self.then.ended(ask, event, record.header.at_ms)
                if was is not None and was.answer.propensity:
                    self._judge(was, event, was.answer.propensity)

    def _judge(self, ask: Ask, event: Telemetry, propensity: int) -> None:
        """Let the outcome of a choice that was drawn speak for the router which would have made it without drawing."""
        if event.kind == "cancelled":
            return
        outcome = {"success": float(event.kind == "completed" and event.success is not False)}
        if event.cost_micros is not None:
            outcome["cost_usd"] = event.cost_micros / 1_000_000
        if event.quality_score is not None:
            outcome["quality"] = event.quality_score
        here = self.other.ask(ask.tenant, ask.request_id)
        same = here is not None and here.model == ask.model
        # Where the other rules draw as well, as in a trial that goes on there, only the difference of the odds counts.
        odds = (here.answer.propensity if same and here is not None else None) or 1_000_000
        self.routers.add(propensity / odds, outcome, same=same)


def _begins(was: Ask | None, ask: Ask) -> bool:
    return ask.phase == "running" and (was is None or was.phase != "running")


def _ends(was: Ask | None, ask: Ask, event: Telemetry) -> bool:
    return ask.report == event.event_id and (was is None or was.report != event.event_id)


def _written(record: rec.Record) -> int:
    """When the broker took in what a record is about; of what has no such time, the record's own."""
    if record.header.kind != "input":
        return record.header.at_ms
    return rec.decode_input(record.input).timestamp_ms
