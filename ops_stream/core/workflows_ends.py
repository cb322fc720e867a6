"""How a workflow ends: nothing of it begins any more, what waits is withdrawn, what runs goes on or is revoked."""

from __future__ import annotations

from typing import Final, Literal

from msgspec.structs import replace

from ops_stream.contract.reasons import Reason
from ops_stream.core.budgets import make_unknown, release
from ops_stream.core.draft import Draft
from ops_stream.core.escalation import withdraw
from ops_stream.core.lines import end, follow
from ops_stream.core.rows import ASKS, STEPS, WORKFLOWS, Ask, ask_key
from ops_stream.core.rows_workflows import (
    OPEN,
    PENDING,
    StepRow,
    Trouble,
    WorkflowRow,
    body_key,
    names_of,
    output_key,
    step_key,
)
from ops_stream.core.unsure import lost_sight, never_ran
from ops_stream.core.words import clip
from ops_stream.core.workflows_status import closed, forgotten_at, tell

PIECE_MAX: Final = 250
"""Open steps that one record stops."""
TROUBLES_MAX: Final = 100
"""Troubles that are told of one workflow."""


def stop(draft: Draft, key: str, how: Literal["failed", "cancelled"], *troubles: Trouble) -> None:
    """Let no step of a workflow begin any more. Where it is cancelled what runs is revoked, else it goes on."""
    flow = draft.get(WORKFLOWS, key)
    if flow is None or flow.ended_at:
        return
    known = (*flow.troubles, *(Trouble(one.code, clip(one.text, 300), one.step) for one in troubles))
    flow = replace(flow, troubles=known[:TROUBLES_MAX])
    if how != flow.stopping and flow.stopping != "cancelled":
        flow = replace(flow, stopping=how, cursor=0)
    draft.put(key, flow)
    advance(draft, key)


def advance(draft: Draft, key: str) -> None:
    """Do what follows from how a workflow's steps stand now, and say when time acts on it."""
    flow = draft.get(WORKFLOWS, key)
    if flow is None or flow.ended_at:
        return
    if flow.stopping and flow.cursor < flow.size:
        flow = _stop_some(draft, key, flow)
    over = not flow.left or (flow.stopping and flow.cursor == flow.size and not flow.open)
    if over and not draft.full():
        _finish(draft, key, flow)
        return
    if over or (flow.stopping and flow.cursor < flow.size) or 0 < flow.until <= draft.now:
        until = draft.now
    else:
        until = until_of(draft, flow)
    draft.put(key, replace(flow, until=until))


def until_of(draft: Draft, flow: WorkflowRow) -> int:
    """Say when time acts on a workflow that runs: at its deadline, or when nobody was free for too long."""
    idle = 0 if flow.open else flow.idle_since + draft.rules.supervisor.workflow_wait_s * 1000
    due = 0 if flow.stopping else flow.due
    woken = 0 if flow.stopping else flow.wake
    return min((moment for moment in (idle, due, woken) if moment), default=0)


def _stop_some(draft: Draft, key: str, flow: WorkflowRow) -> WorkflowRow:
    """Look at the next steps of a workflow that ends, as many as one record takes."""
    tenant, _ = names_of(key)
    stopped = 0
    while flow.cursor < flow.size and stopped < PIECE_MAX and not (stopped and draft.full()):
        number = flow.cursor + 1
        step = draft.get(STEPS, step_key(key, number))
        if step is not None and (step.state in OPEN or step.state in PENDING):
            flow, done = _stop_step(draft, flow, tenant, step)
            if done is not step:
                stopped += 1
                draft.put(step_key(key, number), done)
        flow = replace(flow, cursor=number)
    draft.put(key, flow)
    return flow


def _stop_step(draft: Draft, flow: WorkflowRow, tenant: str, step: StepRow) -> tuple[WorkflowRow, StepRow]:
    if step.state in PENDING:
        return replace(flow, left=flow.left - 1), replace(step, state="cancelled")
    ask = draft.get(ASKS, ask_key(tenant, step.request))
    if step.state == "running" and flow.stopping == "failed":
        return flow, step
    if ask is not None and ask.phase in OPEN:
        _stop_ask(draft, ask, f"Its workflow {ask.workflow} is {flow.stopping}.")
    flow = replace(flow, left=flow.left - 1, open=flow.open - 1, held=flow.held - step.hold)
    if not flow.open:
        flow = replace(flow, idle_since=draft.now)
    return flow, replace(step, state="cancelled", hold=0)


def _stop_ask(draft: Draft, ask: Ask, why: str) -> None:
    """Take an ask back. What was held is released where the agent never said that it had started."""
    key = ask_key(ask.tenant, ask.request_id)
    if ask.phase == "running":
        (lost_sight if ask.started else never_ran)(draft, ask)
        ask = make_unknown(draft, ask) if ask.started else release(draft, ask)
        follow(draft, key, end(draft, ask, "revoked"), "revoked", Reason.WORKFLOW_CANCELLED, why)
        return
    if ask.phase == "escalated":
        withdraw(draft, ask)
    follow(draft, key, end(draft, ask), "denied", Reason.WITHDRAWN, why)


def _finish(draft: Draft, key: str, flow: WorkflowRow) -> None:
    """End a workflow for good: one row says how, until it is forgotten; nothing of its steps is kept."""
    until = forgotten_at(draft, draft.now)
    state = flow.stopping or "completed"
    flow = replace(flow, state=state, until=until, ended_at=draft.now, left=0, held=0)
    draft.put(key, closed(draft, key, flow))
    for number in range(1, flow.size + 1):
        draft.delete(step_key(key, number))
        draft.delete(body_key(key, number))
        if output_key(key, number) in draft.state.rows or draft.touched(output_key(key, number)):
            draft.delete(output_key(key, number))
    tell(draft, key)
