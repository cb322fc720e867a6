"""Handing steps out as the supervisor does, one record at a time, with whatever is wrong with it."""

from __future__ import annotations

from typing import Any

from ops_stream.contract.models import TaskRequest
from tests.adapters.responder import Responder


def a_step(
    responder: Responder, name: str = "build", agent: str = "engineer-1", **fields: Any
) -> TaskRequest:
    """Make the ask that a step became."""
    return TaskRequest.from_wire(
        {
            "request_id": f"wr-{name}",
            "task_id": f"flow-1/{name}",
            "agent": agent,
            "tenant": responder.settings.tenant,
            "workflow_id": "flow-1",
            "task_type": name,
            "task_description": f"Do {name}.",
            **fields,
        }
    )


def assignment(responder: Responder, step: TaskRequest, **fields: Any) -> dict[str, Any]:
    """Make the body that hands a step out; `approval` in the fields are fields of its approval."""
    approval = responder.approval(step, **fields.pop("approval", {}))
    return {
        "assignment_id": f"ta-{step.request_id}",
        "workflow_id": "flow-1",
        "step_id": step.task_id.rpartition("/")[2],
        "request": step.wire(),
        "approval": approval,
        "inputs": {},
        **fields,
    }


async def hand_out(
    responder: Responder,
    step: TaskRequest,
    *,
    position: tuple[int, int] | None = None,
    addressed: str | None = None,
    **fields: Any,
) -> dict[str, Any]:
    """Hand a step out, and give the body; `addressed` is the agent that the header names, where it is another."""
    body = assignment(responder, step, **fields)
    await publish(responder, body, position=position, addressed=addressed or step.agent)
    return body


async def publish(
    responder: Responder,
    body: dict[str, Any],
    *,
    position: tuple[int, int] | None = None,
    addressed: str = "engineer-1",
) -> None:
    """Publish the body of an assignment."""
    await responder.publish(
        "assignments",
        "TaskAssignment",
        body["approval"]["request_id"],
        body,
        position,
        more=[("ops-agent", addressed.encode())],
    )
