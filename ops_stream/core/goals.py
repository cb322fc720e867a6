"""Objectives and failures: when an objective is completed, and how long a failure waited for the next success.

How many asks are open for an objective is an index (`state.tenants`); a row is kept only of what the reports said.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from ops_stream.core.draft import Draft
from ops_stream.core.notices import alert
from ops_stream.core.rows import FIRINGS, GOALS, Ask, Firing, Goal, ask_key
from ops_stream.core.rows_kpis import goal_of
from ops_stream.core.workflows_status import steps_left

IDLE_DAYS: Final = 7
"""An objective or a failure of which nothing was heard for so long is forgotten."""
MINUTE_MS: Final = 60_000
DAY_MS: Final = 86_400_000
EVICTIONS_MAX: Final = 100
"""Rows that one record forgets to keep the bound."""
_BOUND_KEY: Final = "alert/goals_max"


def ended(draft: Draft, ask: Ask, good: bool | None) -> bool:
    """Take in that an ask has ended, and say whether that completes its objective, which counts once.

    `good` says whether it went well, None where it did not run. An ask of no objective and no workflow is an objective
    of its own; one that descends from another belongs to that one's.
    """
    goal = goal_of(ask.objective, ask.workflow)
    if not goal:
        return good is True and not ask.depth
    left = _others(draft, ask, goal)
    key = f"goal/{ask.tenant}|{goal}"
    row = draft.get(GOALS, key)
    if row is None:
        if good is None:
            return False
        row = Goal(0)
    elif good is None:
        if row.completed or not row.good or left:
            return False
        good = True
    done = good and not left and not row.completed
    _write(draft, key, row, Goal(_until(draft), draft.now // MINUTE_MS, good, row.completed or done))
    return done


def mended(draft: Draft, ask: Ask, good: bool) -> int | None:
    """Take in how an ask of a task went; gives for how many milliseconds a failure of the task has been resolved.

    A failure begins with the first that fails after a success, and lasts until the next success.
    """
    key = f"goal/{ask.tenant}|f|{goal_of(ask.objective, ask.workflow)}|{ask.task_id}"
    row = draft.get(GOALS, key)
    if good:
        if row is None:
            return None
        draft.delete(key)
        return draft.now - row.since
    since = draft.now if row is None else row.since
    _write(draft, key, row, Goal(_until(draft), draft.now // MINUTE_MS, since=since))
    return None


def goal_due(draft: Draft, key: str) -> None:
    """Forget what nothing was heard of for long; an objective with open asks is kept."""
    row = draft.get(GOALS, key)
    if row is None:
        return
    tenant, goal = key.removeprefix(GOALS.prefix).split("|", 1)
    open_ = draft.state.tenants.get(tenant)
    if open_ is not None and goal in open_.goals:
        draft.put(key, replace(row, until=_until(draft)))
    else:
        draft.delete(key)


def keep_goals(draft: Draft) -> None:
    """Forget those that were not used for longest where there are too many, and say so."""
    most = draft.rules.telemetry.kpis.goals_max
    known = draft.state.goals
    over = len(known) - most
    if over <= 0:
        if _BOUND_KEY in draft.state.rows and len(known) <= most * 9 // 10:
            _resolve(draft)
        return
    for _, _, _, key in known.earliest(min(over, EVICTIONS_MAX)):
        if not draft.touched(key):
            draft.delete(key)
    firing = draft.get(FIRINGS, _BOUND_KEY)
    if firing is None:
        where = f"partition {draft.state.partition}"
        text = (
            f"More than {most:,} objectives, workflows and failures are followed: those that were not used for longest "
            "are forgotten, and what becomes of them is not counted."
        )
        id_ = alert(draft, "default", "goals_max", text, dedupe=where, seed=(where, draft.now))
        draft.put(_BOUND_KEY, Firing(draft.now, id_))


def _resolve(draft: Draft) -> None:
    firing = draft.get(FIRINGS, _BOUND_KEY)
    if firing is None:
        return
    where = f"partition {draft.state.partition}"
    alert(
        draft,
        "default",
        "goals_max",
        "All objectives, workflows and failures are followed again.",
        dedupe=where,
        seed=(where, firing.since),
        severity="info",
        status="resolved",
        since=firing.since,
    )
    draft.delete(_BOUND_KEY)


def _others(draft: Draft, ask: Ask, goal: str) -> int:
    """Give how many other asks of an objective are open when this one has ended.

    The index does not know yet what the draft has ended; it knows an ask by what it worked for before an edit.
    """
    tenant = draft.state.tenants.get(ask.tenant)
    if tenant is None:
        return 0
    if ask.step and steps_left(draft, ask):
        return 1  # those that are to come
    gone = draft.ended_asks
    key = ask_key(ask.tenant, ask.request_id)
    facts = tenant.open.get(key)
    if facts is not None:
        was = goal_of(facts.objective, facts.workflow)
        if was:
            gone.setdefault((ask.tenant, was), set()).add(key)
    return tenant.goals.get(goal, 0) - len(gone.get((ask.tenant, goal), ()))


def _write(draft: Draft, key: str, old: Goal | None, new: Goal) -> None:
    if old != new:
        draft.put(key, new)


def _until(draft: Draft) -> int:
    """Round up to a midnight, so that the row of what is used often rarely changes."""
    return (draft.now // DAY_MS + IDLE_DAYS + 1) * DAY_MS
