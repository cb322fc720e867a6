"""Agents that serve, and the real supervisor that hands workflows out, on the bus between them."""

from __future__ import annotations

import asyncio
import secrets
import signal
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from agents_adapter import Assignment, Done, OpsClient, current_approval, serves
from ops_stream.contract.settings import Settings
from tests.adapters.flows import Application
from tests.adapters.real import Operator, real_worker
from tests.adapters.served import served
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
        "effect": "none",
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


async def test_a_kill_during_a_step_stops_it_and_its_workflow(
    settings: Settings, application: Application, operator: Operator
) -> None:
    """The step is cancelled and cleaned up after, the agent goes on; the workflow ends cancelled."""
    client = OpsClient(settings=settings, timeout_s=20.0)
    began, cleaned = asyncio.Event(), asyncio.Event()
    ran: list[str] = []

    async def clean_up(approval: Any) -> None:
        cleaned.set()

    @serves(client, agent="engineer-1", role="engineer", capabilities=["build", "ship"], cleanup=clean_up)
    async def work(assignment: Assignment) -> str:
        ran.append(assignment.step_id)
        if assignment.step_id == "build":
            began.set()
            await asyncio.sleep(60)
        return "done"

    async with client, client.serving():
        flow = await application.hand_in(step("build"), step("ship", "build"))
        await began.wait()
        await operator.command("cancel_workflow", target=flow)
        async with asyncio.timeout(20):
            await cleaned.wait()
        assert (await application.ended(flow)).state == "cancelled"
        assert ran == ["build"]
        other = await application.hand_in(step("ship"))
        assert (await application.ended(other)).state == "completed"


async def test_the_step_of_an_agent_that_dies_goes_to_another(
    settings: Settings, application: Application
) -> None:
    """kill -9 under a running step: its lease ends unreported, and the other agent does it."""
    client = OpsClient(settings=settings, timeout_s=20.0)

    @serves(client, agent="engineer-2", role="engineer", capabilities=["build"])
    async def work(assignment: Assignment) -> str:
        return "done after all"

    async with served(settings, "engineer-1", 60) as one, client:
        flow = await handed_in(application)  # alone, so that it is the one who gets it
        await one.says("began build")
        async with client.serving():
            one.process.kill()
            status = await application.ended(flow)
    assert status.state == "completed"
    assert (status.steps[0].agent, status.steps[0].attempts) == ("engineer-2", 2)


async def handed_in(application: Application, **fields: Any) -> str:
    """Hand in a workflow of one step as soon as somebody is there who can do it."""
    async with asyncio.timeout(40):
        while True:
            flow = await application.hand_in(step("build", **fields))
            if (await application.status(flow, lambda status: True)).state != "rejected":
                return flow
            await asyncio.sleep(0.2)


async def test_a_restarted_agent_does_not_run_its_step_again(
    settings: Settings, application: Application
) -> None:
    """Killed and started anew under the same name: the first attempt is over with its lease, the second is its own."""
    async with served(settings, "engineer-1", 60) as one:
        flow = await handed_in(application, estimated_time_s=12)
        await one.says("began build")
        one.process.kill()
    async with served(settings, "engineer-1", 0) as again:
        await again.says("began build")
        status = await application.ended(flow)
        assert again.said == ["began build"]
    assert (status.state, status.steps[0].attempts) == ("completed", 2)


@pytest.mark.parametrize("kind", ["awaiting", "blocking"])
async def test_a_process_told_to_end_finishes_its_step_and_ends(
    settings: Settings, application: Application, kind: str
) -> None:
    """SIGTERM: what runs goes on to its end and is reported, and the exit is clean."""
    async with served(settings, "engineer-1", 1.5, kind) as process:
        flow = await handed_in(application)
        await process.says("began build")
        process.process.send_signal(signal.SIGTERM)
        await process.says("ended")
        assert await process.ended() == 0
    assert (await application.ended(flow)).state == "completed"


async def test_a_second_signal_ends_what_runs(settings: Settings, application: Application) -> None:
    """Ctrl-C twice: the step is cancelled and given up, and the exit is clean all the same."""
    async with served(settings, "engineer-1", 60) as process:
        await handed_in(application)
        await process.says("began build")
        process.process.send_signal(signal.SIGINT)
        process.process.send_signal(signal.SIGINT)
        await process.says("ended")
        assert await process.ended() == 0


async def test_steps_survive_a_worker_killed_under_them(
    worker: tuple[WorkerProcess, Settings], settings: Settings, application: Application
) -> None:
    """kill -9 of the supervisor while twenty workflows run: each step runs once, and all are completed."""
    process, _ = worker
    client = OpsClient(settings=settings, timeout_s=60.0)
    ran: list[str] = []
    begun = asyncio.Event()

    @serves(client, agent="engineer-1", role="engineer", capabilities=["build", "ship"], max_concurrency=8)
    async def work(assignment: Assignment) -> str:
        ran.append(assignment.request.request_id)
        begun.set()
        await asyncio.sleep(0.05)
        return "done"

    longer = {"estimated_time_s": 60, "estimated_cost_usd": 0.001}
    async with client, client.serving():
        flows = [
            await application.hand_in(step("build", **longer), step("ship", "build", **longer))
            for _ in range(20)
        ]
        await begun.wait()
        process.kill9()
        process.start()
        states = {}
        async with asyncio.timeout(90):
            while len(states) < len(flows):
                status = await application.status(None, lambda status: True, 90)
                if status.workflow_id in flows and status.state in ("completed", "failed", "cancelled"):
                    states[status.workflow_id] = status
    assert {each.state for each in states.values()} == {"completed"}
    assert {attempt.attempts for each in states.values() for attempt in each.steps} == {1}
    assert len(ran) == len(set(ran)) == 40
