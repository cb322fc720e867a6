"""WorkflowStatus: what a workflow's rows say of it, told when its state changes and when steps end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from ops_stream.contract.clocktext import format_time
from ops_stream.contract.models import Workflow
from ops_stream.contract.money import usd
from ops_stream.core.draft import Draft
from ops_stream.core.ids import derived_id
from ops_stream.core.inputs import EventInput
from ops_stream.core.rows import NOTHING, STEPS, WORKFLOWS, Ask, encode_row
from ops_stream.core.rows_workflows import (
    OPEN,
    PENDING,
    StepRow,
    Trouble,
    WorkflowRow,
    names_of,
    place_in,
    step_key,
)

TOLD_PARTS: Final = 20
"""How many times, about, the steps that end are told of: a status names all of them."""
REASON_MAX: Final = 300
"""Characters of why a step has failed that are kept."""
REASONS_BYTES_MAX: Final = 131_072
"""What the reasons in one status may take; those of the last steps are left out where that is too little."""


def told_at(flow: WorkflowRow) -> bool:
    """Say whether a workflow one more step of which has ended is to be told of."""
    return (flow.size - flow.left) % -(-flow.size // TOLD_PARTS) == 0


def steps_left(draft: Draft, ask: Ask) -> bool:
    """Say whether the workflow of a step is not done although this step is."""
    key, _, accepted = place_in(ask.tenant, ask.step)
    flow = draft.get(WORKFLOWS, key)
    if flow is None or flow.accepted_at != accepted or flow.ended_at:
        return False
    return flow.left > 1 or flow.stopping != ""


def tell(draft: Draft, key: str) -> None:
    """Let it be told, when the record is done, where a workflow stands."""
    draft.workflows[key] = True


def publish(draft: Draft, key: str, flow: WorkflowRow) -> None:
    """Say where a workflow stands."""
    if flow.owed and flow.ended_at:
        flow = replace(flow, until=forgotten_at(draft, flow.ended_at))
    flow = replace(flow, told=flow.told + 1, owed=False)
    draft.put(key, flow)
    value = msgspec.json.decode(flow.status) if flow.status is not NOTHING else status_of(draft, key, flow)
    tenant, workflow_id = names_of(key)
    _emit(draft, value, derived_id("ws_", tenant, workflow_id, flow.accepted_at, flow.told), flow)


def forgotten_at(draft: Draft, ended_at: int) -> int:
    """Say when a workflow that has ended is forgotten."""
    return ended_at + max(1, draft.rules.supervisor.remember_s) * 1000


def refuse(draft: Draft, event: Workflow, troubles: Sequence[Trouble]) -> None:
    """Say why a workflow is not accepted; nothing of it is kept."""
    input_ = draft.input
    assert isinstance(input_, EventInput)
    origin = input_.forwarded_from or input_.origin
    value = {
        "workflow_id": event.workflow_id,
        "tenant": event.tenant,
        "state": "rejected",
        "problems": _problems(troubles),
        "steps": [],
        "cost_usd": 0,
        "blamed": [],
    }
    id_ = derived_id("ws_", event.tenant, event.workflow_id, "rejected", origin.topic, origin.offset)
    draft.emit(
        "workflow-status",
        event.tenant,
        "WorkflowStatus",
        id_,
        value,
        encoding=input_.encoding,
        traceparent=input_.traceparent,
        subject=event.workflow_id,
    )


def closed(draft: Draft, key: str, flow: WorkflowRow) -> WorkflowRow:
    """Give the row of a workflow that has ended, with all that will be told of it."""
    return replace(flow, status=Raw(encode_row(status_of(draft, key, flow))))


def mended(flow: WorkflowRow, number: int, micros: int) -> WorkflowRow:
    """Add to the cost of a workflow that has ended what a late report tells of one of its steps."""
    value = msgspec.json.decode(flow.status, type=dict[str, Raw])
    steps = msgspec.json.decode(value["steps"], type=list[Raw])  # those of the others are not looked at
    step = msgspec.json.decode(steps[number - 1])
    step["cost_usd"] = usd(max(0, round(step["cost_usd"] * 1_000_000) + micros))
    steps[number - 1] = Raw(encode_row(step))
    cost = max(0, flow.cost + micros)
    value |= {"steps": Raw(encode_row(steps)), "cost_usd": Raw(encode_row(usd(cost)))}
    return replace(flow, cost=cost, status=Raw(encode_row(value)))


def status_of(draft: Draft, key: str, flow: WorkflowRow) -> dict[str, Any]:
    """Build the WorkflowStatus of a workflow from the rows of its steps."""
    tenant, workflow_id = names_of(key)
    steps = [draft.get(STEPS, step_key(key, number)) for number in range(1, flow.size + 1)]
    known = [step for step in steps if step is not None]
    value: dict[str, Any] = {
        "workflow_id": workflow_id,
        "tenant": tenant,
        "state": flow.state,
        "problems": _problems(flow.troubles),
        "steps": _bounded([_step(step, over=bool(flow.ended_at)) for step in known]),
        "cost_usd": usd(flow.cost),
        "blamed": list(dict.fromkeys(trouble.step for trouble in flow.troubles if trouble.step)),
        "accepted_at": format_time(flow.accepted_at),
    }
    if flow.ended_at:
        value["ended_at"] = format_time(flow.ended_at)
    return value


def tell_all(draft: Draft) -> None:
    """Publish what was to be told of workflows, each once; what the record has no room for is due at once."""
    for key, wanted in draft.workflows.items():
        flow = draft.get(WORKFLOWS, key) if wanted else None
        if flow is None:
            continue
        if draft.full():
            draft.put(key, replace(flow, owed=True, until=draft.now))
        else:
            publish(draft, key, flow)
    draft.workflows.clear()


def _step(step: StepRow, *, over: bool) -> dict[str, Any]:
    state = (
        "cancelled" if over and (step.state in OPEN or step.state in {"waiting"} | PENDING) else step.state
    )
    value: dict[str, Any] = {
        "step_id": step.step,
        "state": state,
        "attempts": step.attempts,
        "cost_usd": usd(step.cost),
    }
    if step.agent:
        value["agent"] = step.agent
    if step.request:
        value["request_id"] = step.request
    if step.reason:
        value["reason"] = step.reason
    return value


def _bounded(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    room = REASONS_BYTES_MAX
    for step in steps:
        if "reason" in step:
            room -= len(encode_row(step["reason"]))
            if room < 0:
                del step["reason"]
    return steps


def _problems(troubles: Sequence[Trouble]) -> list[dict[str, Any]]:
    return [
        {"code": one.code, "explanation": one.text, **({"step_id": one.step} if one.step else {})}
        for one in troubles
    ]


def _emit(draft: Draft, value: dict[str, Any], id_: str, flow: WorkflowRow) -> None:
    draft.emit(
        "workflow-status",
        value["tenant"],
        "WorkflowStatus",
        id_,
        value,
        encoding=flow.encoding,
        traceparent=flow.traceparent or None,
        subject=value["workflow_id"],
    )
