"""Finds that asks cost more than they estimate, so that holding more for them would keep budgets from being overrun.

It is read from the records of agents: what was estimated for their asks that have ended, and what these cost. Records
do not fade, and do not tell how costs are spread; only agents whose holds the learned factor would raise
(`budgets.hold_for`) are counted. It saves no money by itself: what is beyond the hold is spent before a budget can say
no to it. `effect` is how much of that would be held in time.
"""

from __future__ import annotations

from typing import Final

from ops_stream.core.attempts import PLACES, faded
from ops_stream.core.budgets import FACTOR_MAX, SAMPLES_MIN
from ops_stream.core.comparing import confidence_above, difference
from ops_stream.core.draft import Draft
from ops_stream.core.learned_index import attempts_of
from ops_stream.core.optimization_finds_figures import (
    asks_in_30_days,
    first,
    latest,
    shown,
    spread_around,
    unit_of,
    whole,
)
from ops_stream.core.optimization_found import Found
from ops_stream.core.rows import ATTEMPTS, RECORDS, Record
from ops_stream.core.words import dollars

READ_MAX: Final = 300
"""Rows that are read: half of them records of agents, the first by name, and half of attempts."""


def estimates(draft: Draft, tenant: str) -> list[Found]:
    """Give what learned holds would be good for."""
    rules = draft.rules
    amended = rules.amended.get(tenant, ())
    if rules.supervisor.hold_safety != "off" or any(one.kind == "hold_safety" for one in amended):
        return []
    all_, low = _records(draft, tenant)
    ended = sum(record.done + record.failed for record in low)
    if ended < rules.optimization.samples_min:
        return []
    held, cost = sum(record.held for record in low), sum(record.cost for record in low)
    short = difference(spread_around(ended, cost / ended), spread_around(ended, held / ended))
    bound = held / ended * rules.optimization.saving_min_percent / 100
    overrun = sum(_avoided(record) for record in low)
    effect = overrun // ended
    reports = sum(record.done + record.failed for record in all_)
    asks = _asks(draft, tenant) * ended // max(1, reports)
    if not effect:
        return []
    why = (
        f"{ended:,} asks of agents that estimate too little ({len(low)} of them) cost {dollars(cost // ended)} each "
        f"where {dollars(held // ended)} was estimated; {dollars(effect)} of an ask would be held before it is spent."
    )
    return [
        Found(
            kind="hold_safety",
            task_type="",
            scope=f"tenant {shown(tenant)}",
            path="supervisor.hold_safety",
            before="off",
            after="learned",
            samples=ended,
            effect=effect,
            low=min(effect, whole(short.low)),
            high=max(effect, whole(short.high)),
            confidence=confidence_above(short, bound),
            saving_micros=effect * asks,
            why=why,
            risk="none",
            asks_30d=asks,
            cost_unit=unit_of(cost / ended),
        )
    ]


def _records(draft: Draft, tenant: str) -> tuple[list[Record], list[Record]]:
    """Give the records of agents, and those of them that the learned factor would do something for."""
    rows, found = draft.state.rows, []
    for key in first(draft.state.agents.get(tenant), READ_MAX // 2):
        raw = rows.get(RECORDS.prefix + key.partition("/")[2])
        if raw is not None:
            found.append(RECORDS.decode(raw))
    low = [one for one in found if one.held and one.cost > one.held and one.done + one.failed >= SAMPLES_MIN]
    return found, low


def _avoided(record: Record) -> int:
    """Give how much of what went beyond its holds an agent's learned factor would have held: by the mean, not more."""
    more = min(record.cost, FACTOR_MAX * record.held) - record.held
    return min(record.overrun, more)


def _asks(draft: Draft, tenant: str) -> int:
    """Give how many asks 30 days bring to a tenant, by all attempts that are remembered of it."""
    rows, half_life_s = draft.state.rows, draft.rules.telemetry.memory.half_life_s
    ended = 0
    for key in latest(draft.state.learned.of_agent.get(attempts_of(tenant)), READ_MAX // 2):
        ended += sum(faded(ATTEMPTS.decode(rows[key]), draft.now, half_life_s)[0][:PLACES])
    return asks_in_30_days(ended, half_life_s)
