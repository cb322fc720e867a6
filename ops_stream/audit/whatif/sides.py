"""The two sides of an optimization, counted again from the journal: each ask by its report, none of the row's sums.

An ask says on which side it is (`Ask.arms`), the record of its report what it cost. The row of the optimization is read
for what it claims and when; what happened is added up here, without the row's units, clipping and rounding.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NamedTuple

from ops_stream.audit.whatif.offpolicy import Estimate
from ops_stream.contract.models import Telemetry
from ops_stream.contract.reasons import STOPPED_BY_PEOPLE, Reason
from ops_stream.core.amend import base_of
from ops_stream.core.comparing import Difference, Sample, difference, sample, share
from ops_stream.core.inputs import EventInput
from ops_stream.core.intake import read_input
from ops_stream.core.journal import record as rec
from ops_stream.core.rows import ASKS, OPTIMIZATIONS, RULES, Ask, OptimizationRow
from ops_stream.core.rows_optimization import Amended

REPORTS: Final = (b'{"topic":"telemetry"', b'{"topic":"forwarded"')
USUAL_MAX: Final = 10_000
"""Types of work with models of which it is remembered what they cost."""
ACTIVE: Final = ("trial", "applied")
_COST_DOUBTED: Final = frozenset(("cost_range", "cost_per_token"))
_TIME_DOUBTED: Final = frozenset(
    ("latency_range", "latency_too_long", "latency_too_short", "tokens_per_second")
)
"""Rules of `conf/telemetry.yaml` that a report breaks whose cost or time is not believed."""


@dataclass(slots=True)
class Sums:
    """What was reported on one side; floating-point, so that older reports can count for less."""

    asks: int = 0
    reports: float = 0.0
    good: float = 0.0
    cost: float = 0.0
    cost_squares: float = 0.0
    timed: float = 0.0
    taken: float = 0.0
    taken_squares: float = 0.0
    over: float = 0.0
    overrun: float = 0.0

    def add(self, ended: Ended) -> None:
        """Take an end in."""
        self.reports += 1
        self.good += ended.good
        self.cost += ended.cost
        self.cost_squares += ended.cost * ended.cost
        if ended.taken_ms is not None:
            self.timed += 1
            self.taken += ended.taken_ms
            self.taken_squares += ended.taken_ms * ended.taken_ms
        if ended.over:
            self.over += 1
            self.overrun += ended.over

    def halve(self) -> None:
        """Let what was count for half."""
        for name in self.__slots__:
            if name != "asks":
                setattr(self, name, getattr(self, name) / 2)


class Ended(NamedTuple):
    """How an ask ended, as its report says."""

    good: bool
    cost: int
    """In micro-dollars."""
    taken_ms: float | None
    over: int
    """What it cost beyond what was held."""


class Judgement(NamedTuple):
    """What the row claims at some moment, and what the journal says of the sides until then."""

    at_ms: int
    state: str
    row: OptimizationRow
    found: Difference | None
    """None where a side has no report yet."""
    changed: int
    kept: int
    """Reports."""

    @property
    def agrees(self) -> bool | None:
        """Say whether the claim lies within the interval; None where nothing can be said."""
        if self.found is None:
            return None
        return self.found.low - 1 <= self.row.effect <= self.found.high + 1  # the claim is a whole number


@dataclass(slots=True)
class Sides:
    """One optimization in one partition's journal."""

    id: str
    key: str = ""
    row: OptimizationRow | None = None
    base: str = ""
    """The digest of the bundle in force when the change began, or as the journal ends where it has not."""
    began_ms: int = 0
    """When it was tried or put into force first; 0 where it was not."""
    amended: Amended | None = None
    changed: Sums = field(default_factory=Sums)
    kept: Sums = field(default_factory=Sums)
    judgements: list[Judgement] = field(default_factory=list)
    drawn: dict[str, Estimate] = field(default_factory=dict)
    """Of each model that chance had a part in choosing: what asks of this type cost with it."""
    usual: dict[str, Estimate] = field(default_factory=dict)
    """What asks of each type cost with each model, before the change began."""
    _asks: dict[str, Ask] = field(default_factory=dict)
    _drawn: dict[str, Ask] = field(default_factory=dict)

    def take(self, record: rec.Record) -> None:
        """Take in the next record that counts."""
        raw = record.changes
        if b'"rules"' not in raw and b"optimization/" not in raw and b'"ask/' not in raw:
            return
        changes = rec.decode_changes(raw)
        event = self._report(record)
        before = self.row
        for key, value in changes.items():
            if key.startswith(ASKS.prefix):
                self._ask(key, value, event)
        for key, value in changes.items():
            if value is not None and key.startswith(OPTIMIZATIONS.prefix) and key.endswith(f"|{self.id}"):
                self.key, self.row = key, OPTIMIZATIONS.decode(value)
        if self.row is not before and before is not None and self.row is not None:
            self._moved(before, self.row, record.header.at_ms)
        value = changes.get(RULES.prefix)
        if value is not None:
            self._rules(value, record.header.at_ms)

    def finish(self) -> None:
        """Judge what was not judged yet, as the journal leaves it."""
        if self.row is not None and not self.judgements:
            self._judge(0, self.row.state, self.row)

    # -- what the journal says

    def _report(self, record: rec.Record) -> Telemetry | None:
        if record.header.kind != "input" or not record.input.startswith(REPORTS):
            return None
        read = read_input(rec.decode_input(record.input))
        event = read.event if isinstance(read, EventInput) else None
        return event if isinstance(event, Telemetry) else None

    def _rules(self, value: bytes, at_ms: int) -> None:
        row = RULES.decode(value)
        ours = next((one for one in row.amended if one.optimization_id == self.id), None)
        if not self.began_ms:
            self.base = base_of(row)
        if ours is not None:
            self.amended = ours
            self.began_ms = self.began_ms or at_ms

    def _ask(self, key: str, value: bytes | None, event: Telemetry | None) -> None:
        arms = value is not None and f'"{self.id}'.encode() in value
        drawn = value is not None and b'"propensity"' in value
        if event is not None and value is not None and not self.began_ms:
            self._was_usual(ASKS.decode(value), event)
        if not arms and not drawn and key not in self._asks and key not in self._drawn:
            return
        ask = None if value is None else ASKS.decode(value)
        self._on_side(key, ask, event)
        if drawn or key in self._drawn:
            self._was_drawn(key, ask, event)

    def _on_side(self, key: str, ask: Ask | None, event: Telemetry | None) -> None:
        was = self._asks.pop(key, None)
        side = None if ask is None else _side(ask, self.id)
        if ask is None or side is None:
            return
        self._asks[key] = ask
        row = self.row
        if row is None or row.state not in ACTIVE:
            return
        sums = self.changed if side else self.kept
        if was is None:
            sums.asks += 1
        ended = ended_by(was, ask, event)
        if ended is not None and not (row.kind == "retry_plan" and ask.retry_count < int(row.after)):
            sums.add(ended)

    def _was_usual(self, ask: Ask, event: Telemetry) -> None:
        ended = ended_by(None, ask, event)
        name = named(ask.tenant, ask.task_type, ask.model)
        if ended is not None and (name in self.usual or len(self.usual) < USUAL_MAX):
            self.usual.setdefault(name, Estimate()).add(1.0, ended.cost)

    def _was_drawn(self, key: str, ask: Ask | None, event: Telemetry | None) -> None:
        was = self._drawn.pop(key, None)
        if ask is None:
            return
        self._drawn[key] = ask
        ended = ended_by(was, ask, event)
        if ended is not None and ask.answer.propensity:
            weight = 1_000_000 / ask.answer.propensity
            self.drawn.setdefault(f"{ask.tenant}|{ask.task_type}|{ask.model}", Estimate()).add(
                weight, ended.cost
            )

    # -- what the row claims

    def _moved(self, before: OptimizationRow, now: OptimizationRow, at_ms: int) -> None:
        """Compare a claim that is new, or is acted on, with what was counted until then."""
        if before.state not in ACTIVE:
            if now.state in ACTIVE and not now.changed.asks and not now.kept.asks:
                self.changed, self.kept = Sums(), Sums()
            return
        figures = (now.samples, now.effect, now.low, now.high)
        if figures != (before.samples, before.effect, before.low, before.high):
            self._judge(at_ms, now.state, now)
        if now.state in ACTIVE and not now.changed.asks and not now.kept.asks:
            self.changed, self.kept = (
                Sums(),
                Sums(),
            )  # what was tried is made: the shares are others from here on
        elif now.state in ACTIVE:  # each side forgets by itself
            for sums, was, is_ in (
                (self.changed, before.changed, now.changed),
                (self.kept, before.kept, now.kept),
            ):
                if is_.reports < was.reports:
                    sums.halve()

    def _judge(self, at_ms: int, state: str, row: OptimizationRow) -> None:
        counted = (round(self.changed.reports), round(self.kept.reports))
        self.judgements.append(Judgement(at_ms, state, row, saved(row, self.changed, self.kept), *counted))


def _side(ask: Ask, id_: str) -> bool | None:
    for arm in ask.arms:
        if arm[:-1] == id_:
            return arm[-1] == "+"
    return None


def ended_by(was: Ask | None, ask: Ask, event: Telemetry | None) -> Ended | None:
    """Say how an ask ended, where it does by this record and that says anything of how it went."""
    if ask.answer.reason == Reason.LEASE_EXPIRED and (
        was is None or was.answer.reason != Reason.LEASE_EXPIRED
    ):
        return Ended(False, ask.held or 0, None, 0)
    if event is None or ask.report != event.event_id or (was is not None and was.report == ask.report):
        return None
    stands = ask if was is None else was
    if event.kind == "cancelled" or stands.answer.reason in (*STOPPED_BY_PEOPLE, Reason.LEASE_EXPIRED):
        return None
    held = stands.held
    told = None if _COST_DOUBTED & set(ask.flags) else event.cost_micros
    cost = held or 0 if told is None else told
    taken = None if _TIME_DOUBTED & set(ask.flags) else event.latency_ms
    good = event.kind == "completed" and event.success is not False
    return Ended(good, cost, taken, max(0, cost - held) if held is not None else 0)


def saved(row: OptimizationRow, changed: Sums, kept: Sums) -> Difference | None:
    """Give what an ask saves on the changed side: micro-dollars or, of what is faster, milliseconds."""
    if row.kind == "retry_plan":
        if not kept.reports:
            return None
        cost, each = difference(_cost(kept), Sample(1, 0, 0)), kept.reports / max(kept.asks, kept.reports)
        return Difference(cost.value * each, cost.error * each)
    if not changed.reports or not kept.reports:
        return None
    if row.kind == "hold_safety":
        fewer = difference(share(kept.reports, kept.over), share(changed.reports, changed.over))
        mean = kept.overrun / kept.over if kept.over else 0.0
        return Difference(fewer.value * mean, fewer.error * mean)
    if row.kind == "faster_model":
        return difference(_time(kept), _time(changed)) if changed.timed and kept.timed else None
    return difference(_cost(kept), _cost(changed))


def _cost(sums: Sums) -> Sample:
    return sample(sums.reports, sums.cost, sums.cost_squares)


def _time(sums: Sums) -> Sample:
    return sample(sums.timed, sums.taken, sums.taken_squares)


def named(tenant: str, task_type: str, model: str) -> str:
    """Name a type of work with a model."""
    return f"{tenant}|{task_type}|{model}"
