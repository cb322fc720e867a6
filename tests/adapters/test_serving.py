"""Serving assignments: what runs, how often, and what does not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agents_adapter import Approval, OpsClient
from agents_adapter import _assignments as taking
from ops_stream.contract.models import Heartbeat, RevocationAck, TaskRequest, Telemetry
from tests.adapters.engineer import Engineer
from tests.adapters.responder import Responder
from tests.adapters.steps import a_step, assignment, hand_out, publish

pytestmark = pytest.mark.bus


@pytest.fixture
def engineer(client: OpsClient) -> Engineer:
    """Give an agent that this client serves."""
    return Engineer(client)


@pytest.fixture(autouse=True)
def no_wait_for_a_status(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scripted supervisor says nothing to registrations."""
    monkeypatch.setattr("agents_adapter._serving._STATUS_S", 0.01)


async def test_a_step_is_run_and_told_of(client: OpsClient, responder: Responder, engineer: Engineer) -> None:
    """Registered, started, completed with the output, under the step's own ids; all that it came with is there."""
    async with client.serving():
        registration = await responder.registration("engineer-1")
        assert (registration.role, registration.capabilities) == ("engineer", ("build",))
        assert registration.max_concurrency == 1
        await hand_out(
            responder, a_step(responder), inputs={"design": "a plan", "draw": "…"}, clipped=["draw"]
        )
        given = await engineer.began.get()
        started = await responder.report("started")
        completed = await responder.report("completed")
    assert (given.workflow_id, given.step_id) == ("flow-1", "build")
    assert given.request.task_description == "Do build."
    assert (given.inputs, given.clipped) == ({"design": "a plan", "draw": "…"}, ("draw",))
    assert given.approval.decision == "approved"
    assert started.request_id == completed.request_id == "wr-build"
    assert (completed.task_id, completed.agent) == ("flow-1/build", "engineer-1")
    assert completed.output == "build done"
    assert completed.success is True
    assert completed.latency_ms is not None


async def test_no_more_run_at_once_than_the_agent_said(client: OpsClient, responder: Responder) -> None:
    """Of five steps two run, the others wait for a place, and each runs once."""
    engineer = Engineer(client, max_concurrency=2)
    engineer.may_end.clear()
    async with client.serving():
        assert (await responder.registration("engineer-1")).max_concurrency == 2
        for number in range(5):
            await hand_out(responder, a_step(responder, f"s{number}"))
        await responder.wait_for(Telemetry, 2, kind="started")
        engineer.may_end.set()
        await responder.wait_for(Telemetry, 5, kind="completed")
    assert engineer.most == 2
    assert sorted(engineer.ran) == [f"s{number}" for number in range(5)]


async def test_handed_over_twice_it_runs_once(
    client: OpsClient, responder: Responder, engineer: Engineer
) -> None:
    """The same record once more, at its position and at a later one, while it runs and after."""
    async with client.serving():
        body = await hand_out(responder, a_step(responder), position=(50, 1))
        await publish(responder, body, position=(50, 1))
        await responder.report("completed")
        await publish(responder, body, position=(60, 1))
        responder.journal_offset = 70
        await hand_out(responder, a_step(responder, "next"))
        await responder.report("completed", task_id="flow-1/next")
    assert engineer.ran == ["build", "next"]
    assert len(responder.all(Telemetry, kind="started")) == 2


async def test_a_running_step_has_its_lease_renewed(
    client: OpsClient, responder: Responder, engineer: Engineer
) -> None:
    """Heartbeats name it as long as it runs, and no longer."""
    engineer.may_end.clear()
    async with client.serving():
        await hand_out(responder, a_step(responder), approval={"lease_s": 0.9})
        beat = await responder.heartbeat(2)
        engineer.may_end.set()
        await responder.report("completed")
        beats = len(responder.all(Heartbeat))
        await asyncio.sleep(0.5)
        assert len(responder.all(Heartbeat)) == beats
    assert beat.running == ("wr-build",)
    assert not responder.all(RevocationAck)


@pytest.mark.parametrize(
    "reason", ["kill_revoked", "workflow_cancelled", "lease_expired", "brand_new_reason"]
)
async def test_a_revoked_step_is_stopped_cleaned_up_after_and_acknowledged(
    client: OpsClient, responder: Responder, reason: str
) -> None:
    """Cancelled where it stands; the clean-up comes before the report and the acknowledgement. Any reason will do."""
    cleaned: list[str] = []

    async def clean_up(approval: Approval) -> None:
        assert not responder.all(RevocationAck)
        cleaned.append(approval.request_id)

    engineer = Engineer(client, cleanup=clean_up)
    engineer.may_end.clear()
    step = a_step(responder)
    async with client.serving():
        await hand_out(responder, step)
        await engineer.began.get()
        await responder.answer(step, "revoked", sequence=1, reason=reason)
        await responder.ack("wr-build")
        await responder.report("cancelled")
        assert cleaned == ["wr-build"]
        engineer.may_end.set()
        await hand_out(responder, a_step(responder, "next"))  # and its place is free
        await responder.report("completed", task_id="flow-1/next")
    assert not responder.all(Telemetry, kind="completed", task_id="flow-1/build")


async def test_what_was_revoked_before_its_assignment_came_does_not_run(
    client: OpsClient, responder: Responder, engineer: Engineer
) -> None:
    """Two topics have no order between them: the revocation may be read first, and still counts."""
    step = a_step(responder)
    async with client.serving():
        await responder.registration("engineer-1")
        body = assignment(responder, step)
        await responder.answer(step, "revoked", sequence=1, position=(20, 0))
        ask = asyncio.create_task(client.ask("engineer-1", "Anything"))  # its answer is read behind that
        asked = await responder.wait_for(TaskRequest)
        await responder.answer(asked, position=(21, 0))
        await ask
        await publish(responder, body, position=(10, 1))
        await responder.ack("wr-build")
        await responder.report("cancelled", request_id="wr-build")
    assert engineer.ran == []
    assert not responder.all(Telemetry, kind="started", request_id="wr-build")


async def test_what_comes_so_late_that_nobody_knows_is_handed_back(
    client: OpsClient, responder: Responder, engineer: Engineer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More was decided since than is remembered here, maybe also about this step: it does not run."""
    monkeypatch.setattr("agents_adapter._reader.LATELY_MAX", 2)
    step = a_step(responder)
    async with client.serving():
        await responder.registration("engineer-1")
        body = assignment(responder, step)
        for number in range(4):
            ask = asyncio.create_task(client.ask("engineer-1", "Anything", request_id=f"r-{number}"))
            await responder.answer(await responder.wait_for(TaskRequest, request_id=f"r-{number}"))
            await ask
        await publish(responder, body)
        await responder.report("cancelled", request_id="wr-build")
    assert engineer.ran == []


async def test_a_step_whose_lease_is_over_does_not_run(
    client: OpsClient, responder: Responder, engineer: Engineer, caplog: pytest.LogCaptureFixture
) -> None:
    """Published late by a supervisor that was away; the next one runs."""
    async with client.serving():
        await responder.registration("engineer-1")
        await hand_out(responder, a_step(responder), approval={"lease_s": -1.0})
        await hand_out(responder, a_step(responder, "next"))
        await responder.report("completed", task_id="flow-1/next")
    assert engineer.ran == ["next"]
    assert "when its lease was over" in caplog.text


async def test_a_step_that_waited_for_a_place_longer_than_its_lease_is_handed_back(
    client: OpsClient, responder: Responder, engineer: Engineer
) -> None:
    """Nothing renews the lease of what has not begun."""
    engineer.may_end.clear()
    async with client.serving():
        await hand_out(responder, a_step(responder))
        await engineer.began.get()
        await hand_out(responder, a_step(responder, "late"), approval={"lease_s": 0.3})
        await asyncio.sleep(0.4)  # the lease is time, and nothing tells of its end
        engineer.may_end.set()
        await responder.report("cancelled", request_id="wr-late")
    assert engineer.ran == ["build"]


async def test_what_was_handed_out_before_this_process_served_is_not_its_own(
    client: OpsClient, responder: Responder, engineer: Engineer
) -> None:
    """The process before may have begun it: a restarted agent runs nothing a second time."""
    before = assignment(responder, a_step(responder))
    await asyncio.sleep(0.01)  # the two clocks are one, and count milliseconds
    async with client.serving():
        await responder.registration("engineer-1")
        await publish(responder, before)
        await hand_out(responder, a_step(responder, "next"))
        await responder.report("completed", task_id="flow-1/next")
    assert engineer.ran == ["next"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"approval": {"decision": "denied"}},
        {"approval": {"decision": "queued"}},
        {"approval": {"action_digest": "sha256:" + "1" * 64}},
        {"approval": {"agent": "engineer-2"}},
        {"approval": {"request_id": "wr-other"}},
        {"approval": {"task_id": "flow-1/other"}},
        {"approval": {"tenant": "another"}},
        {"approval": {"reason": "never_heard_of"}},
        {"workflow_id": "flow-2"},
        {"request": {"event": "nonsense"}},
    ],
    ids=str,
)
async def test_an_assignment_that_is_not_approved_as_it_stands_does_not_run(
    client: OpsClient, responder: Responder, engineer: Engineer, wrong: dict[str, Any]
) -> None:
    """Another decision, another action, somebody else's, a reason that nobody here knows, or no assignment at all."""
    async with client.serving():
        await responder.registration("engineer-1")
        await hand_out(responder, a_step(responder), **wrong)
        await hand_out(responder, a_step(responder, "next"))
        await responder.report("completed", task_id="flow-1/next")
    assert engineer.ran == ["next"]


async def test_another_tenants_or_agents_step_does_not_run_whatever_the_header_says(
    client: OpsClient, responder: Responder, engineer: Engineer
) -> None:
    """The header only says who should look; the body says whose it is."""
    async with client.serving():
        await responder.registration("engineer-1")
        await hand_out(responder, a_step(responder, agent="engineer-2"), addressed="engineer-1")
        other = a_step(responder, tenant="another")
        await hand_out(responder, other)
        await hand_out(responder, a_step(responder, "next"))
        await responder.report("completed", task_id="flow-1/next")
    assert engineer.ran == ["next"]


async def test_bodies_for_others_are_not_read(
    client: OpsClient, responder: Responder, engineer: Engineer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The header names the agent; what is for agents served elsewhere is passed over by it."""
    read: list[bytes] = []
    decode = taking.decode

    def counted(topic: str, value: bytes, headers: Any) -> Any:
        read.append(value)
        return decode(topic, value, headers)

    monkeypatch.setattr(taking, "decode", counted)
    async with client.serving():
        await responder.registration("engineer-1")
        for number in range(20):
            await hand_out(responder, a_step(responder, f"s{number}", agent="engineer-2"))
        await hand_out(responder, a_step(responder))
        await responder.report("completed")
    assert len(read) == 1
    assert engineer.ran == ["build"]


async def test_an_assignment_older_than_what_was_seen_is_dropped(
    client: OpsClient, responder: Responder, engineer: Engineer
) -> None:
    """A supervisor that was replaced hands out late (promise 4)."""
    async with client.serving():
        await responder.registration("engineer-1")
        await hand_out(responder, a_step(responder), position=(50, 1))
        await hand_out(responder, a_step(responder, "stale"), position=(49, 1))
        await hand_out(responder, a_step(responder, "next"), position=(51, 1))
        await responder.report("completed", task_id="flow-1/next")
    assert engineer.ran == ["build", "next"]
