"""How the first, the second and each further attempt at a type of work went, over all agents of a tenant.

It is counted only while it is looked for what could be better. Attempts are told apart by the `retry_count` of their
asks. A lease that ends without a report counts only if one comes later. Everything decays as memory does; the rows make
room and are forgotten by the same rule.
"""

from __future__ import annotations

from typing import Final

from ops_stream.core.decay import decayed, steps_between
from ops_stream.core.draft import Draft
from ops_stream.core.learned_index import attempts_of
from ops_stream.core.learning_room import make_room
from ops_stream.core.pooled import hour_of
from ops_stream.core.recall import SUM_MAX
from ops_stream.core.rows import ATTEMPTS, Ask
from ops_stream.core.rows_learning import THOUSAND, part, whole_name
from ops_stream.core.rows_optimization import Attempts

PLACES: Final = 10
"""Attempts that are told apart: the last of these places is for all further ones too."""
_NONE: Final = (0,) * PLACES


def attempts_key(tenant: str, task_type: str) -> str:
    """Give the key of the row of a type of work."""
    return f"attempts/{tenant}|{part(task_type)}"


def attempted(draft: Draft, ask: Ask, good: int, failed: int, cost: int | None) -> None:
    """Count an attempt that went well or failed; what was cancelled says nothing."""
    if draft.rules.optimization.mode == "off" or not good + failed:
        return
    key = attempts_key(ask.tenant, ask.task_type)
    row = draft.get(ATTEMPTS, key)
    if row is None:
        make_room(draft, attempts_of(ask.tenant))
        row = Attempts(draft.now)
    place = min(ask.retry_count, PLACES - 1)
    ended, well, spent = faded(row, draft.now, draft.rules.telemetry.memory.half_life_s)
    ended[place] += THOUSAND
    well[place] += THOUSAND * good
    spent[place] = min(spent[place] + THOUSAND * (cost or 0), SUM_MAX)
    used = PLACES
    while not ended[used - 1]:
        used -= 1
    name = whole_name(ask.task_type)
    draft.put(key, Attempts(draft.now, tuple(ended[:used]), tuple(well[:used]), tuple(spent[:used]), name))


def faded(row: Attempts, now_ms: int, half_life_s: int) -> tuple[list[int], list[int], list[int]]:
    """Give what is left by now of a row: attempts that ended, those that went well, and what they cost, by place."""
    steps = steps_between(hour_of(row.used), hour_of(now_ms), half_life_s)
    ended, good, cost = [[*places, *_NONE][:PLACES] for places in (row.ended, row.good, row.cost)]
    if steps:
        ended, good, cost = [[decayed(value, steps) for value in places] for places in (ended, good, cost)]
    return ended, good, cost
