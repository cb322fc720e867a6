"""What all agents of a tenant measured of a model at a type of work: one small row for each, so that a new agent begins
with what the others know.

Only what a choice of models looks at is counted (`core/evidence.py`), and only while models are chosen or it is looked
for what could be better, and of models of the catalogue. All of it decays as memory does; it makes room and is
forgotten by the same rule.
"""

from __future__ import annotations

from collections.abc import Sequence

from ops_stream.core.decay import decayed, steps_between
from ops_stream.core.draft import Draft
from ops_stream.core.learning_room import make_room
from ops_stream.core.recall import SUM_MAX
from ops_stream.core.rows import POOLED, Ask
from ops_stream.core.rows_learning import (
    HOUR_MS,
    THOUSAND,
    Counts,
    Pool,
    Pooled,
    looked_at,
    pooled_key,
    whole_name,
)


def pool(draft: Draft, ask: Ask, model: str, before: Counts, after: Counts) -> None:
    """Count for all agents of a tenant what has just been counted for one of them."""
    rules = draft.rules
    if rules.routing.mode == "off" and rules.optimization.mode == "off":
        return
    if model not in rules.routing.cards:
        return
    key = pooled_key(ask.tenant, ask.task_type, model)
    row = draft.get(POOLED, key)
    if row is None:
        make_room(draft, f"{ask.tenant}|")
        row = Pooled(draft.now)
    steps = steps_between(hour_of(row.used), hour_of(draft.now), rules.telemetry.memory.half_life_s)
    kept: Sequence[int] = looked_at(row.pool)
    if steps:
        kept = [decayed(sum_, steps) for sum_ in kept]
    sums = [
        sum_ + (new - old) * THOUSAND
        for sum_, old, new in zip(kept, looked_at(before), looked_at(after), strict=True)
    ]
    if max(sums) > SUM_MAX:
        sums = [min(sum_, SUM_MAX) for sum_ in sums]
    draft.put(key, Pooled(draft.now, Pool(*sums), whole_name(ask.task_type)))


def hour_of(moment: int) -> int:
    """Give the beginning of an hour: everything in it is as old as that, here as in the rows of each agent."""
    return moment // HOUR_MS * HOUR_MS
