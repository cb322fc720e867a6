"""Workflows for tests: built in a line, worked off as a test says, and held against the promises."""

from __future__ import annotations

from typing import Any

from ops_stream.core.rows import ASKS, STEPS, WORKFLOWS
from ops_stream.core.rows_workflows import OPEN, StepRow, WorkflowRow
from ops_stream.core.state import State
from tests.core.world import TENANT, World


def step(step_id: str, *depends_on: str, **fields: Any) -> dict[str, Any]:
    """Give a step that takes 10 s and a dollar, unless it is said otherwise."""
    return {
        "step_id": step_id,
        "task_type": "general",
        "task_description": f"Do {step_id}.",
        "depends_on": list(depends_on),
        "estimated_cost_usd": 1,
        "estimated_time_s": 10,
        **fields,
    }


def hand_in(world: World, *steps: dict[str, Any], workflow_id: str = "w1", **fields: Any) -> None:
    """Hand a workflow in."""
    world.now += 1
    body = {
        "workflow_id": workflow_id,
        "objective_id": "o1",
        "tenant": TENANT,
        "steps": list(steps),
        **fields,
    }
    world.send("workflows", body)


def register(world: World, agent: str, *capabilities: str, tenant: str = TENANT, **fields: Any) -> None:
    """Register an agent; without capabilities it does the type `general`."""
    world.now += 1
    body = {"agent": agent, "role": "worker", "capabilities": list(capabilities or ("general",)), **fields}
    world.send("agents", {"event": "AgentRegistration", "tenant": tenant, **body})


def report(world: World, step_id: str, kind: str = "completed", **fields: Any) -> None:
    """Let the agent that a step was handed to last report."""
    world.now += 1
    given = [out for out in world.of("TaskAssignment") if out["step_id"] == step_id][-1]
    request = given["request"]
    body = {
        "event_id": f"e-{len(world.partitions[0].journal)}",
        "request_id": request["request_id"],
        "task_id": request["task_id"],
        "agent": request["agent"],
        "tenant": request["tenant"],
        "kind": kind,
        "cost_usd": 0.5,
        **fields,
    }
    world.send("telemetry", body)


def command(world: World, name: str, **fields: Any) -> None:
    """Give a command."""
    world.now += 1
    id_ = f"c-{len(world.partitions[0].journal)}"
    world.send("control", {"command_id": id_, "command": name, "issued_by": "olga", **fields})


def status(world: World, workflow_id: str = "w1") -> dict[str, Any]:
    """Give what was told last of a workflow."""
    return [out for out in world.of("WorkflowStatus") if out["workflow_id"] == workflow_id][-1]


def states(world: World, workflow_id: str = "w1") -> dict[str, str]:
    """Give where each step of a workflow stood when that was told last."""
    return {one["step_id"]: one["state"] for one in status(world, workflow_id)["steps"]}


def given(world: World) -> list[tuple[str, str]]:
    """Give every step that was handed out, and to whom."""
    return [(out["step_id"], out["request"]["agent"]) for out in world.of("TaskAssignment")]


def flow_of(world: World, workflow_id: str = "w1", tenant: str = TENANT) -> WorkflowRow:
    """Give a workflow's row."""
    return WORKFLOWS.decode(world.state.rows[f"workflow/{tenant}|{workflow_id}"])


def check_flows(state: State) -> None:
    """Hold the rows of workflows against each other, against their asks and against the indexes."""
    steps: dict[str, list[StepRow]] = {}
    for key, raw in state.rows.items():
        if key.startswith("step/"):
            steps.setdefault("workflow/" + key[5:].rpartition("|")[0], []).append(STEPS.decode(raw))
    for key, raw in state.rows.items():
        if not key.startswith("workflow/"):
            continue
        flow = WORKFLOWS.decode(raw)
        rows = steps.pop(key, [])
        if flow.ended_at:
            assert not rows, f"{key} has ended and keeps steps"
            continue
        assert len(rows) == flow.size
        tenant = key[9 : key.index("|")]
        open_ = [row for row in rows if row.state in OPEN]
        assert flow.open == len(open_), key
        assert flow.held == sum(row.hold for row in rows), key
        assert flow.cost == sum(row.cost for row in rows), key
        assert flow.left == sum(row.state not in ("completed", "failed", "cancelled") for row in rows), key
        assert (
            flow.budget is None or flow.stopping or flow.held <= max(0, flow.budget - flow.cost) or flow.cost
        )
        for row in open_:
            ask = ASKS.decode(state.rows[f"ask/{tenant}|{row.request}"])
            assert (ask.phase, ask.agent) == (row.state, row.agent), (
                f"{key} {row.step}: {ask.phase} is {row.state}"
            )
            assert ask.phase != "running" or row.hold == (ask.held or 0), (
                f"{key} {row.step} sets aside {row.hold}"
            )
        if flow.until == 0:
            assert flow.open, f"{key} waits for nothing"
    assert not steps, f"steps without their workflow: {steps.keys()}"
