"""Finds types of work at which further attempts seldom go well, so that fewer of them would save their cost.

No choice made these attempts what they are: all that fails is tried again as far as the plan goes, so that what comes
of the third attempt is what would not have come without it. Hence this counts in full. What cannot be seen is what
failed for a reason that is not tried again; it is no attempt of these, and stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import Final

from ops_stream.core.attempts import PLACES, faded
from ops_stream.core.comparing import Z95, Difference, confidence_above, share
from ops_stream.core.draft import Draft
from ops_stream.core.learned_index import attempts_of
from ops_stream.core.optimization_finds_figures import (
    SPREAD,
    asks_in_30_days,
    latest,
    percent,
    shown,
    unit_of,
    whole,
)
from ops_stream.core.optimization_found import Found
from ops_stream.core.rows import ATTEMPTS
from ops_stream.core.rows_learning import THOUSAND
from ops_stream.core.rows_retries import ErrorClass
from ops_stream.core.rules_optimization import TRIAL
from ops_stream.core.words import dollars

READ_MAX: Final = 100
"""Rows that are read: those that were used last."""
CLASSES: Final[tuple[ErrorClass, ...]] = ("transient", "rate_limit")
"""Failures that are tried again with nothing changed: for these alone there may be fewer attempts."""


def retries(draft: Draft, tenant: str) -> list[Found]:
    """Give the plans that could do with fewer attempts."""
    rules = draft.rules
    if not rules.retries.on:
        return []
    plans = [rules.retries.plans[class_] for class_ in CLASSES if class_ in rules.retries.plans]
    most = max((plan.max_attempts for plan in plans), default=1)
    if rules.supervisor.retries_max is not None:
        most = min(most, rules.supervisor.retries_max + 1)
    changed = {one.task_type for one in rules.amended.get(tenant, ()) if one.kind == "retry_plan"}
    found = []
    for key in latest(draft.state.learned.of_agent.get(attempts_of(tenant)), READ_MAX):
        row = ATTEMPTS.decode(draft.state.rows[key])
        task_type = row.task_type or key.split("|")[1]
        ended, good, cost = faded(row, draft.now, rules.telemetry.memory.half_life_s)
        one = None if task_type in changed else _found(draft, task_type, most, ended, good, cost)
        if one is not None:
            found.append(one)
    return found


def _found(
    draft: Draft, task_type: str, most: int, ended: Sequence[int], good: Sequence[int], cost: Sequence[int]
) -> Found | None:
    """Give the first attempt from which on they are not worth making."""
    for number in range(2, min(most, PLACES - 1) + 1):
        at = number - 1
        sure = min(_sure(draft, ended[at], good[at]), _sure(draft, sum(ended[at:]), sum(good[at:])))
        if sure >= TRIAL:
            return _plan(draft, task_type, most, at, sure, ended, good, cost)
    return None


def _sure(draft: Draft, ended: int, good: int) -> int:
    """Say how sure it is that attempts go well less often than makes them worth while; 0 where too few were made."""
    rules = draft.rules.optimization
    if ended < rules.samples_min * THOUSAND:
        return 0
    known = share(ended / THOUSAND, good / THOUSAND)
    below = Difference(-known.mean, sqrt(known.variance / known.number))
    return confidence_above(below, -rules.retry_worth_percent / 100)


def _plan(
    draft: Draft,
    task_type: str,
    most: int,
    at: int,
    confidence: int,
    ended: Sequence[int],
    good: Sequence[int],
    cost: Sequence[int],
) -> Found:
    """Say what fewer attempts would save for each ask: what all attempts beyond have cost, by all first attempts."""
    beyond, well, spent = sum(ended[at:]), sum(good[at:]), sum(cost[at:])
    firsts = max(THOUSAND, ended[0])
    effect = spent // firsts
    off = Z95 * SPREAD / sqrt(beyond / THOUSAND)
    asks = asks_in_30_days(firsts, draft.rules.telemetry.memory.half_life_s)
    why = (
        f"From attempt {at + 1} on {percent(well / beyond)} of {beyond // THOUSAND} attempts went well, less than the "
        f"{draft.rules.optimization.retry_worth_percent} % that make one worth while; they cost "
        f"{dollars(spent // beyond)} each."
    )
    return Found(
        kind="retry_plan",
        task_type=task_type,
        scope=f"task type {shown(task_type)}",
        path=f"retries.max_attempts.{task_type}",
        before=str(most),
        after=str(at),
        samples=beyond // THOUSAND,
        effect=effect,
        low=max(0, whole(effect * (1 - off))),
        high=whole(effect * (1 + off)),
        confidence=confidence,
        saving_micros=effect * asks,
        why=why,
        asks_30d=asks,
        cost_unit=unit_of(sum(cost) / max(1, sum(ended))),
        certain=True,
    )
