"""Work that goes in circles: an agent that tries the same thing in vain, two that hand one task back and forth.

Tries in a row are asks of which each was let go after the one before had ended without success; of those that
run side by side only one is in the row, and a success begins anew. A task is handed over when another agent asks for
it while nothing is held for it any more; agents that work on one task at the same time hand nothing over. For work
that goes well nothing is written but the agent's name in its task's budget row.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from ops_stream.contract.models import TaskRequest
from ops_stream.core.budgets_scope import Scope
from ops_stream.core.draft import Draft
from ops_stream.core.rows import HANDOVERS, TRIES, Ask, Handovers, Tries
from ops_stream.core.rules_escalations import Trigger

COUNT_MAX: Final = 100
"""The highest threshold, and how many tries or handovers of one kind are remembered."""
ROWS_MAX: Final = 100_000
"""Rows of each kind in a partition; beyond them no further loop is noticed until some of them are over."""


def tries_key(tenant: str, task_id: str, agent: str, task_type: str) -> str:
    """Give the key of the row that counts an agent's tries at one task type of a task."""
    return f"tries/{tenant}|{task_id}|{agent}|{task_type}"


def handover_key(tenant: str, task_id: str) -> str:
    """Give the key of the row that counts how often a task changes hands."""
    return f"handover/{tenant}|{task_id}"


# What an ask would make it


def tries_with(draft: Draft, request: TaskRequest, rule: Trigger) -> int:
    """Give which try in a row an ask is: 1 for the first, or the first after a success."""
    key = tries_key(request.tenant, request.task_id, request.agent, request.task_type)
    row = draft.get(TRIES, key)
    return 1 if row is None else 1 + _recent(draft, row.ends, rule)


def handovers_with(draft: Draft, request: TaskRequest, task: Scope, rule: Trigger) -> tuple[int, str]:
    """Give how often the task has changed hands with this ask, and from whom it comes; 0 where it does not now."""
    other = task.row.by
    if not other or other == request.agent or task.held:
        return 0, ""
    row = draft.get(HANDOVERS, handover_key(request.tenant, request.task_id))
    if row is None or (row.one, row.other) != _pair(request.agent, other):
        return 1, other
    return 1 + _recent(draft, row.times, rule), other


# What happens


def admitted(draft: Draft, request: TaskRequest, task: Scope, rule: Trigger, *, by_person: bool) -> None:
    """Take note of an ask that may run, before it is held. What a person let go begins anew."""
    if by_person:
        tries = tries_key(request.tenant, request.task_id, request.agent, request.task_type)
        if draft.get(TRIES, tries) is not None:
            draft.delete(tries)
        handovers = handover_key(request.tenant, request.task_id)
        if draft.get(HANDOVERS, handovers) is not None:
            draft.delete(handovers)
    elif rule.handovers:
        _hand_over(draft, request, task, rule)
    if rule.handovers and task.row.by != request.agent:
        task.row = replace(task.row, by=request.agent)


def ended(draft: Draft, ask: Ask, rule: Trigger, *, well: bool) -> None:
    """Count an ask that ended without success, unless it ran beside one that is counted; a success wipes the count.

    `ask` is as it was while it ran, so that its answer says when it was let go.
    """
    key = tries_key(ask.tenant, ask.task_id, ask.agent, ask.task_type)
    row = draft.get(TRIES, key)
    if well:
        if row is not None:
            draft.delete(key)
        return
    if not rule.repeats or (row is not None and ask.answer.at <= row.ends[-1]):
        return
    if row is None and draft.state.counts["tries/"] >= ROWS_MAX:
        return
    ends = (*(() if row is None else row.ends), draft.now)[-COUNT_MAX:]
    draft.put(key, Tries(draft.now + rule.within_s * 1000, ends))


def _hand_over(draft: Draft, request: TaskRequest, task: Scope, rule: Trigger) -> None:
    count, other = handovers_with(draft, request, task, rule)
    if not count:
        return
    key = handover_key(request.tenant, request.task_id)
    row = draft.get(HANDOVERS, key)
    if row is None and draft.state.counts["handover/"] >= ROWS_MAX:
        return
    pair = _pair(request.agent, other)
    before = () if row is None or (row.one, row.other) != pair else row.times
    times = (*before, draft.now)[-COUNT_MAX:]
    draft.put(key, Handovers(draft.now + rule.within_s * 1000, *pair, times))


def _pair(one: str, other: str) -> tuple[str, str]:
    return (one, other) if one < other else (other, one)


def _recent(draft: Draft, times: tuple[int, ...], rule: Trigger) -> int:
    since = draft.now - rule.within_s * 1000
    return sum(time > since for time in times)
