"""Workflows as the command line holds them: rows made of the journal's, with what their story adds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from ops_stream.audit.fold import PartitionFold
from ops_stream.cli.workflows_story import Story
from ops_stream.contract.clocktext import format_time
from ops_stream.contract.money import usd
from ops_stream.core.rows import NOTHING, STEP_BODIES, STEPS, WORKFLOWS, WorkflowRow
from ops_stream.core.rows_workflows import body_key, names_of, step_key, workflow_key

PREFIXES: Final = (WORKFLOWS.prefix, STEPS.prefix, STEP_BODIES.prefix)


def prefixes(tenant: str | None, workflow_id: str) -> tuple[str, ...]:
    """Give how the keys begin that hold a workflow; of all tenants' where none is named."""
    return PREFIXES if tenant is None else tuple(f"{one}{tenant}|{workflow_id}" for one in PREFIXES)


def listed(folded: PartitionFold) -> Iterator[dict[str, Any]]:
    """Give a partition's workflows, each without its steps."""
    for key, raw in folded.rows.items():
        if key.startswith(WORKFLOWS.prefix):
            yield _head(*names_of(key), WORKFLOWS.decode(raw))


def tenants_with(folded: PartitionFold, workflow_id: str) -> list[str]:
    """Give the tenants on a partition that have a workflow of an id."""
    names = (names_of(key) for key in folded.rows if key.startswith(WORKFLOWS.prefix))
    return sorted(tenant for tenant, name in names if name == workflow_id)


def whole(
    folded: PartitionFold, tenant: str, workflow_id: str, story: Story, now_ms: int
) -> dict[str, Any] | None:
    """Give one workflow with its steps, as it stands; None once it is forgotten."""
    key = workflow_key(tenant, workflow_id)
    raw = folded.rows.get(key)
    if raw is None:
        return None
    flow = WORKFLOWS.decode(raw)
    row = _head(tenant, workflow_id, flow)
    row["lasted_s"] = _seconds((flow.ended_at or max(now_ms, flow.accepted_at)) - flow.accepted_at)
    if flow.deadline:
        row["deadline"] = flow.deadline
    if flow.status is NOTHING:
        row["problems"] = [
            {"code": one.code, "explanation": one.text, "step_id": one.step} for one in flow.troubles
        ]
        steps = list(_steps(folded, key, flow.size))
    else:
        row |= msgspec.json.decode(flow.status)
        steps = list(enumerate(row["steps"], start=1))
    now_ms = flow.ended_at or now_ms
    row["steps"] = [_told(step, story, number, now_ms) for number, step in steps]
    return row


def _head(tenant: str, name: str, flow: WorkflowRow) -> dict[str, Any]:
    row: dict[str, Any] = {
        "workflow_id": name,
        "tenant": tenant,
        "state": flow.state,
        "size": flow.size,
        "left": flow.left,
        "cost_usd": usd(flow.cost),
        "accepted_at": format_time(flow.accepted_at),
    }
    if flow.budget is not None:
        row["budget_usd"] = usd(flow.budget)
    if flow.held:
        row["held_usd"] = usd(flow.held)
    if flow.stopping and not flow.ended_at:
        row["will_be"] = flow.stopping
    if flow.ended_at:
        row["ended_at"] = format_time(flow.ended_at)
    return row


def _steps(folded: PartitionFold, workflow: str, size: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Give the steps of a workflow that runs, with their numbers."""
    found = {number: folded.rows.get(step_key(workflow, number)) for number in range(1, size + 1)}
    known = {number: STEPS.decode(raw) for number, raw in found.items() if raw is not None}
    for number, step in known.items():
        row: dict[str, Any] = {
            "step_id": step.step,
            "state": step.state,
            "attempts": step.attempts,
            "cost_usd": usd(step.cost),
        }
        body = folded.rows.get(body_key(workflow, number))
        if body is not None:
            needs = STEP_BODIES.decode(body).needs
            row["depends_on"] = [known[other].step for other in needs if other in known]
        for field, value in (("agent", step.agent), ("request_id", step.request), ("reason", step.reason)):
            if value:
                row[field] = value
        if step.state == "backing_off":
            row["again_at"] = format_time(step.until)
        yield number, row


def _told(step: dict[str, Any], story: Story, number: int, now_ms: int) -> dict[str, Any]:
    """Add to a step what only its story tells: its times, and once its workflow has ended what it depended on."""
    told = story.steps.get(number)
    if told is None or told.name != step["step_id"]:
        return step
    step = {**step, "depends_on": step.get("depends_on", story.needs_of(number))}
    if told.ready_ms:
        moments = (("ready_at", told.ready_ms), ("started_at", told.started_ms), ("ended_at", told.ended_ms))
        step |= {name: format_time(moment) for name, moment in moments if moment}
        step["waited_s"] = _seconds(told.waited_ms(now_ms))
        step["ran_s"] = _seconds(told.ran_ms(now_ms))
    return step


def _seconds(milliseconds: int) -> float:
    return milliseconds / 1000
