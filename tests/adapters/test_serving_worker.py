"""Agents that serve, and the real supervisor that hands workflows out, on the bus between them."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from agents_adapter import Assignment, Done, OpsClient, current_approval, serves
from ops_stream.contract.settings import Settings
from tests.adapters.flows import Application
from tests.adapters.real import Operator, real_worker
from tests.survival.process import WorkerProcess

pytestmark = pytest.mark.bus


@pytest.fixture(scope="module")
def worker(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[WorkerProcess, Settings]]:
    """Give a running worker with short leases and few rules."""
    with real_worker(kafka, tmp_path_factory.mktemp("worker")) as made:
        yield made


@pytest.fixture
def settings(worker: tuple[WorkerProcess, Settings]) -> Settings:
    """Give the settings of one test's tenant at that worker."""
    return worker[1].model_copy(update={"tenant": f"team-{secrets.token_hex(4)}"})


@pytest.fixture
async def application(settings: Settings) -> AsyncIterator[Application]:
    """Give somebody who hands workflows in and reads how they stand."""
    async with Application(settings) as made:
        yield made


@pytest.fixture
async def operator(settings: Settings) -> AsyncIterator[Operator]:
    """Give somebody who pulls plugs."""
    async with Operator(settings) as made:
        yield made


def step(name: str, *needs: str, kind: str | None = None, **fields: Any) -> dict[str, Any]:
    """Write a step; its task type is its name unless told."""
    return {
        "step_id": name,
        "task_type": kind or name,
        "task_description": f"Do {name}.",
        "depends_on": list(needs),
        "estimated_cost_usd": 0.1,
        "estimated_time_s": 1,
        **fields,
    }


async def test_a_workflow_of_three_steps_runs_through_three_agents(
    settings: Settings, application: Application
) -> None:
    """Each gets the outputs of those before it; text, JSON and measures arrive, from what awaits and what blocks."""
    client = OpsClient(settings=settings, timeout_s=20.0)
    seen: list[Assignment] = []

    @serves(client, agent="architect-1", role="architect", capabilities=["design"])
    async def design(assignment: Assignment) -> str:
        seen.append(assignment)
        assert current_approval() is assignment.approval
        return "a plan"

    @serves(client, agent="engineer-1", role="engineer", capabilities=["build"])
    def build(assignment: Assignment) -> dict[str, Any]:
        seen.append(assignment)
        assert current_approval() is assignment.approval
        return {"from": assignment.inputs["design"]}

    @serves(client, agent="operator-1", role="operator", capabilities=["ship"])
    async def ship(assignment: Assignment) -> Done:
        seen.append(assignment)
        return Done("shipped", cost_usd=0.02)

    async with client, client.serving():
        flow = await application.hand_in(
            step("design"), step("build", "design"), step("ship", "design", "build")
        )
        status = await application.ended(flow)
    assert status.state == "completed"
    assert [each.step_id for each in seen] == ["design", "build", "ship"]
    assert [each.inputs for each in seen] == [
        {},
        {"design": "a plan"},
        {"design": "a plan", "build": '{"from":"a plan"}'},
    ]
    assert {each.workflow_id for each in seen} == {flow}
    assert [each.agent for each in status.steps] == ["architect-1", "engineer-1", "operator-1"]
    assert status.steps[2].cost_micros == 20_000
