"""Serving from threads and loops: functions that block, clients that block, many agents, a connection that was lost."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import time
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer

from agents_adapter import Approval, Assignment, OpsClient, SyncOpsClient, current_approval, serves
from ops_stream.contract.digest import action_digest
from ops_stream.contract.errors import WrongUse
from ops_stream.contract.models import AgentRegistration, RevocationAck, TaskRequest, Telemetry
from ops_stream.contract.settings import Settings
from tests.adapters.engineer import Engineer
from tests.adapters.responder import Responder
from tests.adapters.steps import a_step, hand_out

pytestmark = pytest.mark.bus

AGENTS = 500
TOLD: dict[str, Any] = {"agent": "engineer-1", "role": "engineer", "capabilities": ["build"]}


@pytest.fixture(autouse=True)
def no_wait_for_a_status(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scripted supervisor says nothing to registrations."""
    monkeypatch.setattr("agents_adapter._serving._STATUS_S", 0.01)


async def test_a_blocking_function_runs_in_a_thread_and_holds_nobody_up(
    client: OpsClient, responder: Responder
) -> None:
    """Two of them wait for each other, which they could not on one thread."""
    meet = threading.Barrier(2, timeout=20)

    @serves(client, **TOLD, max_concurrency=2)
    def work(assignment: Assignment) -> str:
        assert current_approval() is assignment.approval
        meet.wait()
        return threading.current_thread().name

    async with client.serving():
        for name in ("one", "two"):
            await hand_out(responder, a_step(responder, name))
        await responder.wait_for(Telemetry, 2, kind="completed")
    assert {each.output for each in responder.all(Telemetry, kind="completed")} == {"ops-stream-step"}


async def test_a_revoked_blocking_step_ends_when_it_ends_and_is_acknowledged_then(
    client: OpsClient, responder: Responder
) -> None:
    """It sees that it is revoked; the clean-up and the acknowledgement follow its end."""
    events: list[str] = []

    def clean_up(approval: Approval) -> None:
        events.append("cleaned up")

    @serves(client, **TOLD, cleanup=clean_up)
    def work(assignment: Assignment) -> str:
        until = time.monotonic() + 20
        while not assignment.approval.revoked and time.monotonic() < until:
            time.sleep(0.01)
        assert not responder.all(RevocationAck)
        events.append("saw it")
        return "half of it"

    step = a_step(responder)
    async with client.serving():
        await hand_out(responder, step)
        await responder.report("started")
        await responder.answer(step, "revoked", sequence=1)
        await responder.ack(step.request_id)
    assert events == ["saw it", "cleaned up"]


async def test_a_blocking_function_that_gives_something_to_await_is_awaited(
    client: OpsClient, responder: Responder
) -> None:
    """A lambda, a partial, a decorated one: what it says only when it is called."""

    async def later(assignment: Assignment) -> str:
        return f"{assignment.step_id} later"

    serves(client, **TOLD)(lambda assignment: later(assignment))
    async with client.serving():
        await hand_out(responder, a_step(responder))
        assert (await responder.report("completed")).output == "build later"


async def test_a_blocking_client_serves_in_the_background(settings: Settings, responder: Responder) -> None:
    """Both kinds of functions; on leaving what runs ends, and an error in the block is the block's."""
    client = SyncOpsClient(settings=settings, timeout_s=5.0)
    serves(client, **TOLD)(lambda assignment: "blocked")

    @serves(client, agent="engineer-2", role="engineer", capabilities=["build"])
    async def wait(assignment: Assignment) -> str:
        await asyncio.sleep(0.1)
        return "awaited"

    done, left = threading.Event(), threading.Event()

    def program() -> None:
        with pytest.raises(WrongUse, match="not open"), client.serving():
            pass
        with client:
            with client.serving():
                assert done.wait(20)
            with pytest.raises(LookupError), client.serving():
                raise LookupError
        left.set()

    running = asyncio.create_task(asyncio.to_thread(program))
    await responder.registration("engineer-1")
    await responder.registration("engineer-2")
    await hand_out(responder, a_step(responder, "one"))
    await hand_out(responder, a_step(responder, "two", agent="engineer-2"))
    one = await responder.report("completed", agent="engineer-1")
    two = await responder.report("completed", agent="engineer-2")
    done.set()
    await running
    assert left.is_set()
    assert (one.output, two.output) == ("blocked", "awaited")


async def test_after_a_lost_connection_what_runs_is_asked_for_again(
    client: OpsClient, responder: Responder, engineer: Engineer
) -> None:
    """A revocation may have been missed. The same ask tells it, which the supervisor knows as the step's own."""
    engineer.may_end.clear()
    step = a_step(responder)
    async with client.serving():
        await hand_out(responder, step)
        await engineer.began.get()
        background, session = client._at_work()
        background.call(session.desk.ask_again)
        again = await responder.wait_for(TaskRequest, request_id=step.request_id)
        assert action_digest(again) == action_digest(step)
        await responder.answer(again, "revoked", sequence=1)
        await responder.ack(step.request_id)
    assert engineer.ran == ["build"]


async def test_a_step_that_a_person_has_changed_is_not_asked_for_again(
    client: OpsClient, responder: Responder, engineer: Engineer
) -> None:
    """To the supervisor it would be another body under a known id: a conflict, and no answer to the step."""
    engineer.may_end.clear()
    edited = {"reason": "approved_with_changes", "edits": {"priority": 3}}
    async with client.serving():
        await hand_out(responder, a_step(responder), approval=edited)
        await engineer.began.get()
        background, session = client._at_work()
        background.call(session.desk.ask_again)
        await client.flush()
        asked = asyncio.create_task(client.ask("engineer-1", "Anything else", request_id="r-else"))
        await responder.answer(await responder.wait_for(TaskRequest, request_id="r-else"))
        await asked
        assert not responder.all(TaskRequest, request_id="wr-build")
        engineer.may_end.set()
        await responder.report("completed", request_id="wr-build")


@pytest.fixture
def engineer(client: OpsClient) -> Engineer:
    """Give an agent that this client serves."""
    return Engineer(client)


async def test_500_agents_are_served_by_one_consumer_and_cost_nothing_while_idle(
    settings: Settings, responder: Responder
) -> None:
    """Each gets its own step, once; the consumer is the one that there is anyway."""
    client = OpsClient(settings=settings, timeout_s=60.0)
    ran: list[tuple[str, str]] = []

    async def work(assignment: Assignment) -> str:
        ran.append((assignment.approval.agent, assignment.step_id))
        return "done"

    for number in range(AGENTS):
        serves(client, agent=f"agent-{number}", role="engineer", capabilities=["build"])(work)
    async with client, client.serving():
        await responder.wait_for(AgentRegistration, AGENTS, timeout_s=30.0)
        gc.collect()
        # The responder has the other one.
        assert sum(isinstance(o, AIOKafkaConsumer) and not o._closed for o in gc.get_objects()) == 2
        began = time.process_time()
        await asyncio.sleep(1.0)
        idle_s = time.process_time() - began
        began = time.process_time()
        for number in range(AGENTS):
            await hand_out(responder, a_step(responder, f"s{number}", agent=f"agent-{number}"))
        await responder.wait_for(Telemetry, AGENTS, timeout_s=30.0, kind="completed")
        busy_s = time.process_time() - began
    print(
        f"{AGENTS} served agents: {idle_s * 1000:.0f} ms of processor time a second while idle, "
        f"{busy_s / AGENTS * 1000:.1f} ms a step with the test's own part",
        file=sys.stderr,
    )
    assert idle_s < 0.25
    assert sorted(ran) == sorted((f"agent-{number}", f"s{number}") for number in range(AGENTS))
