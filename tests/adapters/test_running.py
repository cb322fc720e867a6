"""While a call runs: its lease is renewed, a revocation stops it, and its end is reported."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from agents_adapter import Approval, OpsClient, Revoked, SyncOpsClient, current_approval, supervise
from ops_stream.contract.models import Heartbeat, RevocationAck, TaskRequest, Telemetry
from ops_stream.contract.settings import Settings
from tests.adapters.responder import Responder

pytestmark = pytest.mark.bus


class Worker:
    """An agent that knows nothing of supervision."""

    name = "worker"

    def __init__(self) -> None:
        """Set up the events that the tests use to see and steer it."""
        self.began = asyncio.Event()
        self.go_on = asyncio.Event()
        self.cleaned_up = False

    async def execute(self, task: str) -> str:
        """Work until told to go on, and clean up in any case."""
        self.began.set()
        try:
            await self.go_on.wait()
        finally:
            self.cleaned_up = True
        return f"done: {task}"


async def test_a_running_call_renews_its_lease_at_a_third_of_it(
    client: OpsClient, responder: Responder
) -> None:
    """Heartbeats name the running ask, come while the call runs, and end with it."""
    responder.on_ask = lambda ask: responder.answer(ask, lease_s=0.9)
    worker = supervise(Worker(), client)
    began = time.monotonic()
    call = asyncio.create_task(worker.execute("it"))
    beat = await responder.heartbeat(4, agent="worker")
    assert 1.0 < time.monotonic() - began < 2.5
    ask = responder.all(TaskRequest)[0]
    assert beat.running == (ask.request_id,)
    worker.go_on.set()
    assert await call == "done: it"
    await responder.report("completed")
    beats = len(responder.all(Heartbeat))
    with pytest.raises(TimeoutError):
        await responder.heartbeat(beats + 1, timeout_s=0.6)


async def test_one_heartbeat_names_all_that_an_agent_runs(client: OpsClient, responder: Responder) -> None:
    """Several calls of one agent share a heartbeat; another agent has its own."""
    responder.on_ask = lambda ask: responder.answer(ask, lease_s=1.5)
    workers = [supervise(Worker(), client) for _ in range(3)]
    other = supervise(Worker(), client, agent="other")
    calls = [asyncio.create_task(each.execute("it")) for each in (*workers, other)]
    for each in (*workers, other):
        await each.began.wait()
    ids = {ask.request_id for ask in responder.all(TaskRequest, agent="worker")}

    async def all_three() -> None:
        count = 1
        while set((await responder.heartbeat(count, agent="worker")).running) != ids:
            count += 1

    await asyncio.wait_for(all_three(), 5)
    assert len((await responder.heartbeat(1, agent="other")).running) == 1
    for each in (*workers, other):
        each.go_on.set()
    await asyncio.gather(*calls)


async def test_a_revocation_cancels_the_running_call_which_cleans_up_and_acknowledges(
    client: OpsClient, responder: Responder
) -> None:
    """Revoked while it runs: the call's clean-up runs, the caller gets Revoked, the supervisor an ack and the end."""
    responder.on_ask = responder.answer
    worker = supervise(Worker(), client)
    call = asyncio.create_task(worker.execute("it"))
    await worker.began.wait()
    ask = responder.all(TaskRequest)[0]
    await responder.answer(ask, "revoked", sequence=1, explanation="Killed by an operator.")
    with pytest.raises(Revoked, match="Killed by an operator") as caught:
        await call
    assert worker.cleaned_up
    assert caught.value.approval is not None
    assert caught.value.approval.decision == "revoked"
    await responder.ack(ask.request_id)
    report = await responder.report("cancelled", request_id=ask.request_id)
    assert report.error_class == "Revoked"
    kinds = [(type(each.event).__name__, getattr(each.event, "kind", None)) for each in responder.seen]
    assert ("Telemetry", "started") in kinds
    assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]


async def test_a_cancellation_from_elsewhere_stays_a_cancellation(
    client: OpsClient, responder: Responder
) -> None:
    """Whoever cancels a supervised call gets CancelledError, and the end is reported as cancelled."""
    responder.on_ask = responder.answer
    worker = supervise(Worker(), client)
    call = asyncio.create_task(worker.execute("it"))
    await worker.began.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert worker.cleaned_up
    await responder.report("cancelled")
    assert not responder.all(RevocationAck)


async def test_a_time_out_around_a_supervised_call_works_as_ever(
    client: OpsClient, responder: Responder
) -> None:
    """asyncio.timeout around the call still ends in TimeoutError."""
    responder.on_ask = responder.answer
    worker = supervise(Worker(), client)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await worker.execute("it")
    await responder.report("cancelled")


async def test_a_call_that_swallows_its_cancellation_is_still_refused_and_its_result_kept(
    client: OpsClient, responder: Responder
) -> None:
    """Code that will not stop ends in Revoked, too, with what it returned; its costs are reported as completed."""
    responder.on_ask = responder.answer
    began = asyncio.Event()

    class Stubborn:
        async def execute(self) -> int:
            began.set()
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                return 42
            return 0

    worker = supervise(Stubborn(), client, measure=lambda result: {"cost_usd": result / 100})
    call = asyncio.create_task(worker.execute())
    await began.wait()
    ask = responder.all(TaskRequest)[0]
    await responder.answer(ask, "revoked", sequence=1)
    with pytest.raises(Revoked) as caught:
        await call
    assert caught.value.result == 42
    assert (await responder.report("completed")).cost_micros == 420_000
    await responder.ack(ask.request_id)


async def test_a_blocking_call_sees_the_revocation_and_acknowledges_it_when_it_has_stopped(
    settings: Settings, responder: Responder
) -> None:
    """A thread cannot be interrupted: it can look at `current_approval().revoked`, and the ack waits for its end."""
    responder.on_ask = responder.answer
    began, seen, may_stop = threading.Event(), threading.Event(), threading.Event()

    class Blocking:
        def execute(self) -> str:
            began.set()
            approval = current_approval()
            assert approval is not None
            while not approval.revoked:
                time.sleep(0.01)
            seen.set()
            may_stop.wait(10)
            return "stopped early"

    def run() -> None:
        with SyncOpsClient(settings=settings, timeout_s=5.0) as client:
            supervise(Blocking(), client).execute()

    call = asyncio.create_task(asyncio.to_thread(run))
    await asyncio.to_thread(began.wait, 10)
    ask = responder.all(TaskRequest)[0]
    await responder.answer(ask, "revoked", sequence=1)
    assert await asyncio.to_thread(seen.wait, 10)
    assert not responder.all(RevocationAck)
    may_stop.set()
    with pytest.raises(Revoked) as caught:
        await call
    assert caught.value.result == "stopped early"
    await responder.ack(ask.request_id)


async def test_running_without_supervise_renews_and_stops_as_well(
    client: OpsClient, responder: Responder
) -> None:
    """`client.running` is what supervise uses: for code that asks and reports by itself."""
    responder.on_ask = lambda ask: responder.answer(ask, lease_s=0.9)
    approval = await client.ask("writer", "Draft it")

    async def work(approval: Approval) -> None:
        async with client.running(approval):
            await asyncio.sleep(30)

    task = asyncio.create_task(work(approval))
    await responder.heartbeat(2)
    await responder.answer(approval.request, "revoked", sequence=1)
    with pytest.raises(Revoked):
        await task
    assert not responder.all(RevocationAck)
    await client.report(approval, kind="failed", cost_usd=0.02)
    await responder.ack(approval.request_id)


async def test_a_block_that_has_ended_sends_no_more_heartbeats(
    client: OpsClient, responder: Responder
) -> None:
    """Leaving `running` lets the lease go, also when the end is not reported yet."""
    responder.on_ask = lambda ask: responder.answer(ask, lease_s=0.9)
    approval = await client.ask("writer", "Draft it")
    async with client.running(approval):
        await responder.heartbeat(1)
    await client.flush()
    beats = len(responder.all(Heartbeat))
    with pytest.raises(TimeoutError):
        await responder.heartbeat(beats + 2, timeout_s=0.8)


async def test_a_client_closed_under_a_running_call_does_not_cost_its_result(
    settings: Settings, responder: Responder
) -> None:
    """The report is lost, and logged; the result is the caller's all the same."""
    responder.on_ask = responder.answer
    async with OpsClient(settings=settings, timeout_s=5.0) as client:
        worker = supervise(Worker(), client)
        call = asyncio.create_task(worker.execute("it"))
        await worker.began.wait()
    worker.go_on.set()
    assert await call == "done: it"


async def test_reports_keep_their_order_and_say_when_they_were_made(
    client: OpsClient, responder: Responder
) -> None:
    """Progress comes before the end; the agent's time is in the body, as data."""
    responder.on_ask = responder.answer
    approval = await client.ask("writer", "Draft it")
    await client.report(approval, kind="progress")
    await client.report(approval, quality_score=1, output="x")
    await responder.report("completed")
    assert [each.kind for each in responder.all(Telemetry)] == ["progress", "completed"]
    assert all(each.timestamp is not None for each in responder.all(Telemetry))
