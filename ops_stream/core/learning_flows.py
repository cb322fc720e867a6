"""How workflows go: what they cost, how long they take, and the type of work that takes longest.

A step is a *type of work* and not a task: types recur from one workflow to the next, so that what is slow in one can be
held beside the same in others and beside what agents do at it; tasks are new each time, and without number.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from ops_stream.core.draft import Draft
from ops_stream.core.ids import derived_id
from ops_stream.core.learning_room import make_room_for_flow
from ops_stream.core.recall import SUM_MAX
from ops_stream.core.rows import FLOWS_LEARNED, Ask, FlowLearned
from ops_stream.core.rows_learning import NAME_MAX, FlowStep

STEPS_MAX: Final = 8
"""Types of work that a workflow's row tells apart."""
AGENTS_MAX: Final = 8
"""Agents that a workflow's row names."""


def flow_key(tenant: str, workflow: str) -> str:
    """Give the key of the row of a workflow."""
    return f"flowlearned/{tenant}|{workflow}"


def bottleneck(row: FlowLearned) -> FlowStep | None:
    """Give the type of work that took longest; None where no time is known."""
    slowest = max(row.steps, key=lambda step: (step.taken_ms, step.cost, step.task_type), default=None)
    return slowest if slowest is not None and slowest.taken_ms else None


def flow_ended(
    draft: Draft, ask: Ask, outcome: tuple[int, int, int], found: int, cost: int, latency_ms: int | None
) -> None:
    """Count an ask that ended: well, failed or cancelled; `found` says that its lease had ended before."""
    good, failed, cancelled = outcome
    running = ask.phase == "running"
    took = latency_ms
    if took is None:
        took = max(0, draft.written_ms - (ask.started_at or ask.answer.at)) if running else 0
    waited = max(0, ask.answer.at - ask.asked_at) if running and ask.asked_at else 0
    row = _row(draft, ask)
    steps, rest = _stepped(row, FlowStep(_step_name(ask.task_type), 1, took, cost))
    _put(
        draft,
        ask,
        FlowLearned(
            row.began,
            draft.now,
            row.good + good,
            row.failed + failed,
            row.cancelled + cancelled,
            max(0, row.lost - found),
            min(row.cost + cost, SUM_MAX),
            row.taken_ms + took,
            row.waited_ms + waited,
            steps,
            rest,
            row.agents if ask.agent in row.agents else _with(row.agents, ask.agent),
        ),
    )


def flow_lost(draft: Draft, ask: Ask) -> None:
    """Count an ask that was taken from its agent without a report."""
    row = _row(draft, ask)
    _put(draft, ask, replace(row, used=draft.now, lost=row.lost + 1, agents=_with(row.agents, ask.agent)))


def _row(draft: Draft, ask: Ask) -> FlowLearned:
    """Give the row of an ask's workflow; the first to end need not be the first that was asked."""
    row = draft.get(FLOWS_LEARNED, flow_key(ask.tenant, ask.workflow))
    asked = ask.asked_at or ask.answer.at
    if row is None:
        make_room_for_flow(draft)
        return FlowLearned(asked, draft.now)
    return row if row.began <= asked else replace(row, began=asked)


def _put(draft: Draft, ask: Ask, row: FlowLearned) -> None:
    draft.put(flow_key(ask.tenant, ask.workflow), row)


def _with(agents: tuple[str, ...], agent: str) -> tuple[str, ...]:
    if agent in agents or len(agents) >= AGENTS_MAX:
        return agents
    return tuple(sorted((*agents, agent)))


def _stepped(row: FlowLearned, new: FlowStep) -> tuple[tuple[FlowStep, ...], FlowStep | None]:
    """Add to a type of work; where there are too many, the one that took least is told with the rest."""
    steps = {step.task_type: step for step in row.steps}
    before = steps.get(new.task_type)
    steps[new.task_type] = new if before is None else _sum(new.task_type, before, new)
    rest = row.rest
    if len(steps) > STEPS_MAX:
        least = min(steps.values(), key=lambda step: (step.taken_ms, step.cost, step.task_type))
        del steps[least.task_type]
        rest = _sum("", rest or FlowStep(""), least)
    return tuple(steps[name] for name in sorted(steps)), rest


def _sum(name: str, one: FlowStep, other: FlowStep) -> FlowStep:
    return FlowStep(
        name,
        one.ended + other.ended,
        min(one.taken_ms + other.taken_ms, SUM_MAX),
        min(one.cost + other.cost, SUM_MAX),
    )


def _step_name(task_type: str) -> str:
    """Give what a row keeps of a type's name: all of it, or where it is long its beginning and a hash."""
    return (
        task_type if len(task_type) <= NAME_MAX else derived_id(f"{task_type[: NAME_MAX - 26]}~", task_type)
    )
