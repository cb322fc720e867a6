"""What is expected of each model at a type of work: what the catalogue says, and what was measured since.

There are three voices. The catalogue's own figures count as `evidence_weight` imagined reports that went well. What
the other agents of the tenant measured with the model at the same type of work is weighed against these. What comes of
both stands behind what the agent itself measured: as so many reports as it is made of, but no more than `pool_weight`.
What was measured is decayed (`core/recall.py`, `core/pooled.py`), and as it stood before the record that is decided.
It is worked out again only where a row or the time makes another of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

import msgspec

from ops_stream.core.decay import STEPS, decayed, steps_between
from ops_stream.core.draft import Draft
from ops_stream.core.pooled import hour_of
from ops_stream.core.recall import SUM_MAX
from ops_stream.core.rows_learning import (
    HOUR_MS,
    NO_COUNTS,
    THOUSAND,
    Counts,
    Pooled,
    key_of,
    looked_at,
    pooled_key,
)
from ops_stream.core.rules_routing import ModelCard, Routing

BEST: Final = 1_000_000
"""The best quality: decayed sums lose less to rounding than decayed numbers do."""
PICO: Final = 1_000_000
"""Parts of a micro-dollar in which costs are compared."""
WHOLE_BITS: Final = 64
WHOLE: Final = 1 << WHOLE_BITS
"""What counts in full, in parts so small that rounding them makes no other micro-dollar of any cost."""
MEMO_MAX: Final = 20_000
"""Expectations that are kept at a time, whatever their number of models."""
_Era: TypeAlias = tuple[int, int]
"""The half-life, and the step of time in which decay makes no other number of anything."""
_Rows: TypeAlias = tuple[bytes | None, bytes | None, bytes | None]
NOTHING: Final[Sequence[int]] = looked_at(NO_COUNTS)


class _Stats(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Stats without their latencies, which take longer to read than all the rest."""

    counts: Counts = NO_COUNTS


class _Learned(msgspec.Struct, frozen=True, gc=False):
    used: int
    stats: _Stats = _Stats()


class _Past(msgspec.Struct, frozen=True, gc=False):
    hour: int
    decayed: _Stats = _Stats()


read_learned: Final = msgspec.json.Decoder(_Learned).decode
"""Reads a row `learned/`, without its latencies."""
read_past: Final = msgspec.json.Decoder(_Past).decode
"""Reads a row `past/` likewise."""
_pooled: Final = msgspec.json.Decoder(Pooled).decode


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
    listed: int = WHOLE
    """How much its list price counts for what a run costs, of `WHOLE`."""
    held: int = 0
    """How much what is held for an ask counts: what was measured is what asks cost for each dollar that was held."""
    flat: int = 0
    """What was measured where nothing was held, likewise, in millionths of a micro-dollar."""

    def cost(self, listed: int, hold: int) -> int:
        """Give what a run is expected to cost, in millionths of a micro-dollar, as the list price is."""
        return (self.listed * listed + self.held * hold * PICO + self.flat) >> WHOLE_BITS


@dataclass(slots=True)
class _Shared:
    """What all agents of a tenant measured of a model at a type of work, and what one without own figures expects."""

    card: ModelCard
    key: str
    era: _Era = (0, 0)
    row: bytes | None = None
    all: Sequence[int] = ()
    """Empty before it was read; of who has figures of its own these are taken away."""
    expected: Expected | None = None
    """None until somebody without own figures wants to know it."""


@dataclass(slots=True)
class _Slot:
    """One model of an entry, with the rows that its own figures were made from."""

    shared: _Shared
    learned_key: str
    past_key: str
    era: _Era = (0, 0)
    learned: bytes | None = None
    past: bytes | None = None
    own: Sequence[int] = ()


@dataclass(slots=True)
class _Entry:
    """What one agent expects of each model at a type of work, and the rows and the time that make it so."""

    slots: list[_Slot]
    keys: tuple[str, ...]
    """The keys of the rows of each slot: what all measured, what the agent did in the present hour, and before."""
    rows: Sequence[_Rows] = ()
    """What these held, by slot."""
    era: _Era = (0, 0)
    found: Sequence[Expected] = ()


def expected_of_all(draft: Draft, tenant: str, agent: str, task_type: str) -> Sequence[Expected]:
    """Give what is expected of every model that may be chosen by default for a tenant and a type of work."""
    entry: _Entry | None = draft.rules.routing.memo.get((tenant, agent, task_type))
    if entry is None:
        entry = _entry(draft, tenant, agent, task_type)
    era = _era(draft)
    each = map(draft.state.rows.get, entry.keys)
    rows = list(zip(each, each, each, strict=True))
    if entry.era != era or not entry.found:
        entry.found = [
            _expected(draft, slot, of_slot, era) for slot, of_slot in zip(entry.slots, rows, strict=True)
        ]
        entry.rows, entry.era = rows, era
    elif entry.rows != rows:
        found = [
            known if of_slot == before else _expected(draft, slot, of_slot, era)
            for slot, of_slot, before, known in zip(entry.slots, rows, entry.rows, entry.found, strict=True)
        ]
        entry.rows, entry.found = rows, found
    return entry.found


def _expected(draft: Draft, slot: _Slot, rows: _Rows, era: _Era) -> Expected:
    """Work out what is expected of one model of an entry, as far as others have not done so for what all measured."""
    shared = slot.shared
    if rows[0] is not shared.row or shared.era != era or not shared.all:
        _read_shared(draft, shared, era)
    if rows[1] is None:
        if shared.expected is None:
            shared.expected = weighed(draft.rules.routing, shared.card, NOTHING, shared.all)
        return shared.expected
    return _worked_out(draft, slot, era)


def expected_of(draft: Draft, tenant: str, agent: str, task_type: str, card: ModelCard) -> Expected:
    """Give what is expected of one model."""
    era = _era(draft)
    slot = _slot(tenant, agent, task_type, _Shared(card, pooled_key(tenant, task_type, card.name)))
    _read_shared(draft, slot.shared, era)
    return _worked_out(draft, slot, era)


def suits(card: ModelCard, tenant: str, task_type: str) -> bool:
    """Say whether a model is for a tenant and a type of work."""
    return (not card.tenants or tenant in card.tenants) and (
        not card.task_types or task_type in card.task_types
    )


def _era(draft: Draft) -> _Era:
    half_life_s = draft.rules.telemetry.memory.half_life_s
    return half_life_s, draft.now // max(1, half_life_s * THOUSAND // STEPS)


def _entry(draft: Draft, tenant: str, agent: str, task_type: str) -> _Entry:
    """Make room for what one agent expects; what it has in common with others is kept once."""
    routing = draft.rules.routing
    memo = routing.memo
    if (len(memo) + 2) * max(1, len(routing.cards)) > MEMO_MAX:
        memo.clear()
    shared: list[_Shared] | None = memo.get((tenant, task_type))
    if shared is None:
        shared = memo[tenant, task_type] = [
            _Shared(card, pooled_key(tenant, task_type, card.name))
            for card in routing.cards.values()
            if card.by_default and suits(card, tenant, task_type)
        ]
    slots = [_slot(tenant, agent, task_type, one) for one in shared]
    keys = [key for slot in slots for key in (slot.shared.key, slot.learned_key, slot.past_key)]
    entry = memo[tenant, agent, task_type] = _Entry(slots, tuple(keys))
    return entry


def _slot(tenant: str, agent: str, task_type: str, shared: _Shared) -> _Slot:
    key = key_of(tenant, agent, task_type, shared.card.name)
    return _Slot(shared, f"learned/{key}", f"past/{key}")


def _read_shared(draft: Draft, shared: _Shared, era: _Era) -> None:
    """Read anew what all agents measured."""
    row = shared.row = draft.state.rows.get(shared.key)
    shared.era, shared.all, shared.expected = era, NOTHING, None
    if row is not None:
        pooled = _pooled(row)
        steps = steps_between(hour_of(pooled.used), draft.now, era[0])
        shared.all = (
            [decayed(sum_, steps) for sum_ in looked_at(pooled.pool)] if steps else looked_at(pooled.pool)
        )


def _worked_out(draft: Draft, slot: _Slot, era: _Era) -> Expected:
    """Read the rows of a slot anew where they are others, and weigh what they say."""
    rows, shared = draft.state.rows, slot.shared
    learned, past = rows.get(slot.learned_key), rows.get(slot.past_key)
    if not slot.own or learned is not slot.learned or past is not slot.past or slot.era != era:
        slot.learned, slot.past, slot.era = learned, past, era
        slot.own = _counts(draft, slot)
    others = [all_ - mine if all_ > mine else 0 for all_, mine in zip(shared.all, slot.own, strict=True)]
    return weighed(draft.rules.routing, shared.card, slot.own, others)


def weighed(routing: Routing, card: ModelCard, own: Sequence[int], others: Sequence[int]) -> Expected:
    """Weigh what an agent and the others measured, each by `looked_at`, against what the catalogue says."""
    weight = routing.evidence_weight * THOUSAND
    most = max(weight, routing.pool_weight * THOUSAND)
    good, failed, lost, found, costed, cost, held, timed, taken_ms, rated, quality = own
    ogood, ofailed, olost, ofound, ocosted, ocost, oheld, otimed, otaken_ms, orated, oquality = others

    prior = (weight * card.quality_percent * 10 + oquality) * THOUSAND // (weight + orated)
    behind = min(weight + orated, most)
    expected = (behind * prior + quality * THOUSAND) // (behind + rated)

    listed = card.latency_ms
    behind = 0 if listed is None else weight
    usual = (behind * (listed or 0) + otaken_ms) // (behind + otimed) if behind + otimed else 0
    behind = min(behind + otimed, most)
    latency = (behind * usual + taken_ms) // (behind + timed) if behind + timed else None

    oruns = weight + ogood + ofailed + max(0, olost - ofound)
    behind = min(oruns, most)
    return Expected(
        card,
        min(expected, BEST),
        latency,
        behind + good + failed + max(0, lost - found),
        max(1, behind * (weight + ogood) // oruns + good),
        *_shares(weight, most, (ocosted, ocost, oheld), (costed, cost, held)),
    )


def _shares(
    weight: int, most: int, others: tuple[int, int, int], own: tuple[int, int, int]
) -> tuple[int, int, int]:
    """Say how much the list price and what is held count for what a run costs, and what comes to it."""
    shares = WHOLE, 0, 0
    for behind, (costed, cost, held) in ((weight, others), (min(weight + others[0], most), own)):
        if not costed:
            continue
        of_list, of_hold, flat = shares[0] * behind, shares[1] * behind, shares[2] * behind
        if held:
            of_hold += WHOLE * costed * cost // held
        else:
            flat += WHOLE * PICO * cost
        whole = behind + costed
        shares = of_list // whole, of_hold // whole, flat // whole
    return shares


def _counts(draft: Draft, slot: _Slot) -> Sequence[int]:
    """Give the decayed counts of a key, in thousandths: those of `core/recall.py`, as far as they are looked at."""
    if slot.learned is None:
        return NOTHING
    half_life_s, now = draft.rules.telemetry.memory.half_life_s, draft.now
    row = read_learned(slot.learned)
    steps = steps_between(hour_of(row.used), now, half_life_s)
    present = [count * THOUSAND for count in looked_at(row.stats.counts)]
    if max(present) > SUM_MAX:
        present = [min(count, SUM_MAX) for count in present]
    if steps:
        present = [decayed(count, steps) for count in present]
    if slot.past is None:
        return present
    past = read_past(slot.past)
    steps = steps_between(past.hour * HOUR_MS, now, half_life_s)
    before = [decayed(count, steps) for count in looked_at(past.decayed.counts)]
    return [min(one + other, SUM_MAX) for one, other in zip(before, present, strict=True)]
