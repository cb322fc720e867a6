"""What goes into an agent's scores, and when: reports that end an ask, and violations (`docs/rankings.md`)."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from ops_stream.contract.models import Telemetry
from ops_stream.contract.reasons import STOPPED_BY_PEOPLE
from ops_stream.core.decay import decayed, steps_between
from ops_stream.core.draft import Draft
from ops_stream.core.peers import PAR, Needed, compare
from ops_stream.core.rows import RECORDS, Ask, Lately, Record, record_key
from ops_stream.core.rules_lifecycle import Violation
from ops_stream.core.scores import ONE, faded, lately_of

_UNPERMITTED: Final = frozenset(("denied", "escalated", "queued"))


def held_against(draft: Draft, record: Record, kind: Violation) -> Lately:
    """Count a violation: as one more ask that did not go well, at the usual cost and in the usual time."""
    lately = _now(draft, record)
    if kind == "over_time":
        return replace(lately, timed=lately.timed + ONE, took=lately.took + PAR)
    if kind == "over_cost":
        return replace(lately, priced=lately.priced + ONE, cost=lately.cost + PAR)
    return replace(lately, tried=lately.tried + ONE)


def taken_back(draft: Draft, record: Record, at: int) -> Lately:
    """Take back that a report was missing, which was counted at `at`."""
    lately = _now(draft, record)
    left = decayed(ONE, steps_between(at, draft.now, draft.rules.telemetry.memory.half_life_s))
    return replace(lately, tried=max(lately.good, lately.tried - left))


def went(
    draft: Draft, ask: Ask, event: Telemetry, believed: Telemetry, counted: frozenset[Violation]
) -> None:
    """Count how an ask ended; `ask` is its row before that, `counted` the violations that are held against it.

    What was never permitted counts by its violation alone, and what people had stopped has not failed.
    """
    good = event.kind == "completed" and event.success is not False
    stopped = not good and ask.answer.reason in STOPPED_BY_PEOPLE
    key = record_key(ask.tenant, ask.agent)
    record = draft.get(RECORDS, key)
    if record is None or event.kind == "cancelled" or ask.answer.decision in _UNPERMITTED or stopped:
        return
    needed = _needed(draft, ask, event, believed, good=good)
    cost, took = compare(draft, ask, needed)
    lately, quality = _now(draft, record), believed.quality_score
    won = ONE if good else 0
    priced, cheap, cost = _added(needed.cost is not None, cost, won, "over_cost" in counted)
    timed, quick, took = _added(needed.took is not None, took, won, "over_time" in counted)
    lately = Lately(
        lately.at,
        lately.tried + ONE,
        lately.good + won,
        lately.rated + (0 if quality is None else ONE),
        lately.quality + (0 if quality is None else round(quality * ONE)),
        lately.priced + priced,
        lately.cheap + cheap,
        lately.cost + cost,
        lately.timed + timed,
        lately.quick + quick,
        lately.took + took,
    )
    draft.put(key, replace(record, lately=lately))


def _added(known: bool, relative: int, won: int, spoilt: bool) -> tuple[int, int, int]:
    """Give how many reports, successes and costs (or times) one report adds.

    Where a violation stands it is no success. That has counted once already, as usual: only what is more comes on top.
    """
    if not known:
        return 0, 0, 0
    return (0, 0, max(0, relative - PAR)) if spoilt else (ONE, won, relative)


def _needed(draft: Draft, ask: Ask, event: Telemetry, believed: Telemetry, *, good: bool) -> Needed:
    """Find what an ask has needed.

    Without a word about its cost it is taken to have cost what was held, as its budgets take it; a word that is not
    believed says nothing. The time is the broker's, from the approval on, or the agent's own where that says more.
    """
    told = believed.cost_micros is not None
    cost = believed.cost_micros if event.cost_micros is not None else ask.held
    took = None
    if ask.answer.decision == "approved":
        took = max(1, draft.written_ms - ask.answer.at, round(believed.latency_ms or 0))
    return Needed(good, cost, told, took)


def _now(draft: Draft, record: Record) -> Lately:
    return faded(lately_of(record), draft.now, draft.rules.telemetry.memory.half_life_s)
