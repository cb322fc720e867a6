"""What is expected of each model at a type of work: what the catalogue says, and what was measured since.

The catalogue's own figures count as `evidence_weight` imagined reports that went well. What was measured is that of the
same agent, task type and model, decayed (`core/recall.py`), as it stood before the record that is being decided. It is
worked out again only where a row or the time makes another of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Final, NamedTuple

import msgspec

from ops_stream.core.decay import STEPS, decayed, steps_between
from ops_stream.core.draft import Draft
from ops_stream.core.recall import SUM_MAX
from ops_stream.core.rows_learning import HOUR_MS, NO_COUNTS, THOUSAND, Counts, key_of
from ops_stream.core.rules_routing import ModelCard

BEST: Final = 1_000_000
"""The best quality: decayed sums lose less to rounding than decayed numbers do."""
MEMO_MAX: Final = 20_000
"""Expectations that are kept at a time, whatever their number of models."""


_looked_at: Final = attrgetter(
    "good",
    "failed",
    "lost",
    "found",
    "costed",
    "cost",
    "held",
    "timed",
    "taken_ms",
    "rated",
    "quality_milli",
)
_NOTHING: Final = _looked_at(NO_COUNTS)


class _Stats(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Stats without their latencies, which take longer to read than all the rest."""

    counts: Counts = NO_COUNTS


class _Learned(msgspec.Struct, frozen=True, gc=False):
    used: int
    stats: _Stats = _Stats()


class _Past(msgspec.Struct, frozen=True, gc=False):
    hour: int
    decayed: _Stats = _Stats()


_learned: Final = msgspec.json.Decoder(_Learned).decode
_past: Final = msgspec.json.Decoder(_Past).decode


class Expected(NamedTuple):
    """What is expected of a model. Numbers of reports are in thousandths, as they are decayed."""

    card: ModelCard
    quality: int
    """In millionths."""
    latency_ms: int | None
    """None where nobody knows."""
    runs: int
    """Runs, and those of them that went well, imagined ones among them: the quotient is how often one has to try."""
    good: int
    costed: int = 0
    """Reports that told a cost, what they told, and what had been held for them."""
    cost: int = 0
    held: int = 0


@dataclass(slots=True)
class _Slot:
    """One model of an entry, with the rows that it was made from."""

    card: ModelCard
    learned_key: str
    past_key: str
    learned: bytes | None = None
    past: bytes | None = None
    expected: Expected | None = None


@dataclass(slots=True)
class _Entry:
    """What is expected of the models that an agent of a tenant may be given for a type of work."""

    era: tuple[int, int]
    """The half-life, and the step of time in which decay makes no other number of it."""
    slots: list[_Slot] = field(default_factory=list)


def expected_of_all(draft: Draft, tenant: str, agent: str, task_type: str) -> list[Expected]:
    """Give what is expected of every model that may be chosen by default for a tenant and a type of work."""
    routing = draft.rules.routing
    memo, key, era = routing.memo, (tenant, agent, task_type), _era(draft)
    entry: _Entry | None = memo.get(key)
    if entry is None:
        if (len(memo) + 1) * max(1, len(routing.cards)) > MEMO_MAX:
            memo.clear()
        entry = memo[key] = _Entry(
            era,
            [
                _slot(tenant, agent, task_type, card)
                for card in routing.cards.values()
                if card.by_default and suits(card, tenant, task_type)
            ],
        )
    aged = entry.era != era
    entry.era = era
    rows, found = draft.state.rows, []
    for slot in entry.slots:
        learned = rows.get(slot.learned_key)
        known = slot.expected
        if known is None or slot.learned is not learned or (learned is not None and _stale(rows, slot, aged)):
            slot.learned, slot.past = learned, rows.get(slot.past_key)
            known = slot.expected = _worked_out(draft, slot)
        found.append(known)
    return found


def expected_of(draft: Draft, tenant: str, agent: str, task_type: str, card: ModelCard) -> Expected:
    """Give what is expected of one model."""
    slot = _slot(tenant, agent, task_type, card)
    slot.learned, slot.past = draft.state.rows.get(slot.learned_key), draft.state.rows.get(slot.past_key)
    return _worked_out(draft, slot)


def suits(card: ModelCard, tenant: str, task_type: str) -> bool:
    """Say whether a model is for a tenant and a type of work."""
    return (not card.tenants or tenant in card.tenants) and (
        not card.task_types or task_type in card.task_types
    )


def _stale(rows: dict[str, bytes], slot: _Slot, aged: bool) -> bool:
    return aged or rows.get(slot.past_key) is not slot.past


def _era(draft: Draft) -> tuple[int, int]:
    half_life_s = draft.rules.telemetry.memory.half_life_s
    return half_life_s, draft.now // max(1, half_life_s * THOUSAND // STEPS)


def _slot(tenant: str, agent: str, task_type: str, card: ModelCard) -> _Slot:
    key = key_of(tenant, agent, task_type, card.name)
    return _Slot(card, f"learned/{key}", f"past/{key}")


def _worked_out(draft: Draft, slot: _Slot) -> Expected:
    """Weigh what was measured against what the catalogue says."""
    card, weight = slot.card, draft.rules.routing.evidence_weight * THOUSAND
    good, failed, lost, found, costed, cost, held, timed, taken_ms, rated, quality = _counts(draft, slot)
    if card.latency_ms is not None:
        latency: int | None = (weight * card.latency_ms + taken_ms) // (weight + timed)
    else:
        latency = taken_ms // timed if timed else None
    return Expected(
        card,
        min((weight * card.quality_percent * 10 + quality) * THOUSAND // (weight + rated), BEST),
        latency,
        weight + good + failed + max(0, lost - found),
        weight + good,
        costed,
        cost,
        held,
    )


def _counts(draft: Draft, slot: _Slot) -> Sequence[int]:
    """Give the decayed counts of a key, in thousandths: those of `core/recall.py`, as far as they are looked at."""
    if slot.learned is None:
        return _NOTHING
    half_life_s, now = draft.rules.telemetry.memory.half_life_s, draft.now
    row = _learned(slot.learned)
    steps = steps_between(row.used // HOUR_MS * HOUR_MS, now, half_life_s)
    present = [decayed(min(count * THOUSAND, SUM_MAX), steps) for count in _looked_at(row.stats.counts)]
    if slot.past is None:
        return present
    past = _past(slot.past)
    steps = steps_between(past.hour * HOUR_MS, now, half_life_s)
    before = [decayed(count, steps) for count in _looked_at(past.decayed.counts)]
    return [min(one + other, SUM_MAX) for one, other in zip(before, present, strict=True)]
