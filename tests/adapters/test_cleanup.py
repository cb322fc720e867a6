"""A revoked call: it is stopped, the agent's clean-up runs, and only then is the supervisor told so."""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
import time
from typing import Any

import pytest

from agents_adapter import (
    Approval,
    OpsClient,
    Revoked,
    SyncOpsClient,
    current_approval,
    supervise,
    supervised,
)
from ops_stream.contract.errors import WrongUse
from ops_stream.contract.models import RevocationAck, TaskRequest, Telemetry
from ops_stream.contract.settings import Settings
from tests.adapters.responder import Responder

pytestmark = pytest.mark.bus


class Worker:
    """An agent that works until it is stopped, and says in which order things happened."""

    name = "worker"

    def __init__(self) -> None:
        """Set up the events that the tests use to see and steer it."""
        self.began = asyncio.Event()
        self.cleaning = asyncio.Event()
        self.go_on = asyncio.Event()
        self.happened: list[str] = []

    async def execute(self, task: str) -> str:
        """Work."""
        self.happened.append("began")
        self.began.set()
        try:
            await self.go_on.wait()
        finally:
            self.happened.append("stopped")
        return task

    async def clean_up(self, approval: Approval) -> None:
        """Take a while over it."""
        assert current_approval() is approval
        self.happened.append("cleaning")
        self.cleaning.set()
        await self.go_on.wait()
        self.happened.append("clean")


async def revoked_while_it_runs(
    worker: Worker, client: OpsClient, responder: Responder, **options: Any
) -> tuple[asyncio.Task[str], TaskRequest]:
    """Start a supervised call and revoke it."""
    responder.on_ask = responder.answer
    supervise(worker, client, **options)
    call = asyncio.create_task(worker.execute("it"))
    await worker.began.wait()
    ask = responder.all(TaskRequest)[-1]
    await responder.answer(ask, "revoked", sequence=1)
    return call, ask


async def test_the_acknowledgement_comes_after_the_clean_up(client: OpsClient, responder: Responder) -> None:
    """Cancelled, its own `finally`, the clean-up, the report of its end, the ack: in this order."""
    worker = Worker()
    call, ask = await revoked_while_it_runs(worker, client, responder, cleanup=worker.clean_up)
    await worker.cleaning.wait()
    await client.flush()
    assert not responder.all(RevocationAck)
    assert not responder.all(Telemetry, kind="cancelled")
    assert worker.happened == ["began", "stopped", "cleaning"]
    worker.go_on.set()
    with pytest.raises(Revoked):
        await call
    assert worker.happened == ["began", "stopped", "cleaning", "clean"]
    await responder.ack(ask.request_id)
    await responder.report("cancelled", request_id=ask.request_id)


async def test_a_second_revocation_during_the_clean_up_changes_nothing(
    client: OpsClient, responder: Responder
) -> None:
    """One clean-up, one ack."""
    worker = Worker()
    call, ask = await revoked_while_it_runs(worker, client, responder, cleanup=worker.clean_up)
    await worker.cleaning.wait()
    await responder.answer(ask, "revoked", sequence=2)
    await responder.answer(ask, "revoked", sequence=3)
    other = await client.ask("other", "Draft it")  # what was written before is read by now
    worker.go_on.set()
    with pytest.raises(Revoked):
        await call
    await client.report(other)
    await responder.report("completed", agent="other")
    await responder.ack(ask.request_id)
    assert worker.happened.count("cleaning") == 1
    assert len(responder.all(RevocationAck)) == 1


async def test_a_clean_up_that_fails_is_logged_and_costs_nothing(
    client: OpsClient, responder: Responder, caplog: pytest.LogCaptureFixture
) -> None:
    """The call has stopped all the same: the caller gets Revoked, the supervisor its ack."""

    async def fails(approval: Approval) -> None:
        raise RuntimeError("the disk is on fire")

    call, ask = await revoked_while_it_runs(Worker(), client, responder, cleanup=fails)
    with pytest.raises(Revoked):
        await call
    await responder.ack(ask.request_id)
    assert "disk is on fire" in caplog.text


async def test_a_clean_up_that_takes_too_long_is_given_up(
    client: OpsClient, responder: Responder, caplog: pytest.LogCaptureFixture
) -> None:
    """Past `cleanup_s` it is cancelled and logged, and the ack is sent: a hanging clean-up is not a running call."""
    worker = Worker()
    began = time.monotonic()
    call, ask = await revoked_while_it_runs(worker, client, responder, cleanup=worker.clean_up, cleanup_s=0.3)
    with pytest.raises(Revoked):
        await call
    assert 0.3 <= time.monotonic() - began < 5
    await responder.ack(ask.request_id)
    assert "longer than 0.3 s" in caplog.text
    assert worker.happened[-1] == "cleaning"


async def test_a_blocking_clean_up_of_an_awaiting_call_holds_up_neither_the_loop_nor_the_ack(
    client: OpsClient, responder: Responder, caplog: pytest.LogCaptureFixture
) -> None:
    """It runs in a thread of its own, so that it too is bounded."""
    may_end, seen = threading.Event(), []

    def blocks(approval: Approval) -> None:
        seen.append((threading.current_thread() is threading.main_thread(), current_approval() is approval))
        may_end.wait(10)

    call, ask = await revoked_while_it_runs(Worker(), client, responder, cleanup=blocks, cleanup_s=0.3)
    try:
        with pytest.raises(Revoked):
            await call
        await responder.ack(ask.request_id)
    finally:
        may_end.set()
    assert seen == [(False, True)]
    assert "longer than 0.3 s" in caplog.text


@pytest.mark.parametrize("wrapped", ["lambda", "partial"])
async def test_what_awaits_in_the_clean_up_runs_on_the_calls_own_loop(
    client: OpsClient, responder: Responder, wrapped: str
) -> None:
    """Also where that shows only when it is called: a lambda around an awaiting method."""
    worker = Worker()
    worker.go_on.set()
    loops = []

    async def clean_up(approval: Approval, much: int = 0) -> None:
        loops.append(asyncio.get_running_loop())

    worker.go_on.clear()
    cleanup = (
        (lambda approval: clean_up(approval)) if wrapped == "lambda" else functools.partial(clean_up, much=1)
    )
    call, ask = await revoked_while_it_runs(worker, client, responder, cleanup=cleanup)
    with pytest.raises(Revoked):
        await call
    await responder.ack(ask.request_id)
    assert loops == [asyncio.get_running_loop()]


async def test_who_cancels_during_the_clean_up_waits_for_it(client: OpsClient, responder: Responder) -> None:
    """Half a clean-up is worse than a late one: the cancellation comes through when it is done."""
    worker = Worker()
    call, ask = await revoked_while_it_runs(worker, client, responder, cleanup=worker.clean_up)
    await worker.cleaning.wait()
    call.cancel()
    await asyncio.sleep(0.05)
    assert not call.done()
    worker.go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert worker.happened[-1] == "clean"
    await responder.ack(ask.request_id)


async def test_a_call_that_swallows_its_cancellation_is_cleaned_up_after_as_well(
    client: OpsClient, responder: Responder
) -> None:
    """It ran to its end, revoked: its result is in Revoked, and the clean-up can undo what it did."""
    responder.on_ask = responder.answer
    began, cleaned = asyncio.Event(), []

    class Stubborn:
        async def execute(self) -> int:
            began.set()
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                return 42
            return 0

    worker = supervise(Stubborn(), client, cleanup=lambda approval: cleaned.append(approval.revoked))
    call = asyncio.create_task(worker.execute())
    await began.wait()
    ask = responder.all(TaskRequest)[0]
    await responder.answer(ask, "revoked", sequence=1)
    with pytest.raises(Revoked) as caught:
        await call
    assert caught.value.result == 42
    assert cleaned == [True]
    await responder.ack(ask.request_id)


async def test_without_a_revocation_no_clean_up_runs(client: OpsClient, responder: Responder) -> None:
    """Neither at the end of a call, nor when it fails, nor when somebody else cancels it."""
    responder.on_ask = responder.answer
    cleaned = []

    @supervised(client, agent="worker", cleanup=cleaned.append)
    async def work(how: str) -> str:
        if how == "fail":
            raise ValueError(how)
        if how == "wait":
            await asyncio.sleep(30)
        return how

    assert await work("end") == "end"
    with pytest.raises(ValueError):
        await work("fail")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(work("wait"), 0.5)
    assert not cleaned


@pytest.mark.parametrize("awaits", [True, False])
async def test_what_is_revoked_before_it_began_does_not_begin(
    settings: Settings, responder: Responder, awaits: bool
) -> None:
    """Nothing runs, so that there is nothing to clean up; the ask is given up, and the ack says that it stopped."""
    responder.on_ask = responder.answer
    happened: list[str] = []
    approved, revoked = threading.Event(), threading.Event()

    def apply(approval: Approval, args: Any, kwargs: Any) -> Any:
        approved.set()
        while not approval.revoked:
            time.sleep(0.01)
        revoked.set()
        return args, kwargs

    async def awaiting() -> None:
        happened.append("ran")

    def blocking() -> None:
        happened.append("ran")

    def run() -> None:
        with SyncOpsClient(settings=settings, timeout_s=5.0) as client:
            decorate = supervised(client, agent="w", apply=apply, cleanup=lambda _: happened.append("clean"))
            if awaits:
                asyncio.run(decorate(awaiting)())
            else:
                decorate(blocking)()

    call = asyncio.create_task(asyncio.to_thread(run))
    await asyncio.to_thread(approved.wait, 10)
    ask = responder.all(TaskRequest)[0]
    await responder.answer(ask, "revoked", sequence=1)
    with pytest.raises(Revoked, match="before it ran"):
        await call
    assert revoked.is_set()
    assert not happened
    await responder.ack(ask.request_id)
    await responder.report("cancelled", request_id=ask.request_id)
    assert not responder.all(Telemetry, kind="started")


async def test_running_by_hand_does_not_begin_either(client: OpsClient, responder: Responder) -> None:
    """`client.running` of an approval that was revoked before raises at once."""
    responder.on_ask = responder.answer
    approval = await client.ask("writer", "Draft it")
    await responder.answer(approval.request, "revoked", sequence=1)
    while not approval.revoked:
        await asyncio.sleep(0.01)
    ran = False
    with pytest.raises(Revoked, match="before it ran"):
        async with client.running(approval):
            ran = True
    assert not ran
    await client.report(approval, kind="cancelled")
    await responder.ack(approval.request_id)


@pytest.mark.parametrize("awaits", [True, False])
async def test_a_blocking_call_is_cleaned_up_after_when_it_has_ended(
    settings: Settings, responder: Responder, awaits: bool
) -> None:
    """A thread is not interrupted: it sees `revoked`, ends, is cleaned up after, and then the ack is sent."""
    responder.on_ask = responder.answer
    began, cleaning, may_end = threading.Event(), threading.Event(), threading.Event()
    happened: list[str] = []

    def execute() -> str:
        began.set()
        approval = current_approval()
        assert approval is not None
        while not approval.revoked:
            time.sleep(0.01)
        happened.append("stopped")
        return "half of it"

    def blocking(approval: Approval) -> None:
        cleaning.set()
        may_end.wait(10)
        happened.append("clean")

    async def awaiting(approval: Approval) -> None:
        cleaning.set()
        await asyncio.to_thread(may_end.wait, 10)
        happened.append("clean")

    def run() -> None:
        with SyncOpsClient(settings=settings, timeout_s=5.0) as client:
            cleanup = awaiting if awaits else blocking
            supervised(client, agent="blocking", cleanup=cleanup)(execute)()

    call = asyncio.create_task(asyncio.to_thread(run))
    await asyncio.to_thread(began.wait, 10)
    ask = responder.all(TaskRequest)[0]
    await responder.answer(ask, "revoked", sequence=1)
    assert await asyncio.to_thread(cleaning.wait, 10)
    assert happened == ["stopped"]
    assert not responder.all(RevocationAck)
    may_end.set()
    with pytest.raises(Revoked) as caught:
        await call
    assert caught.value.result == "half of it"
    assert happened == ["stopped", "clean"]
    await responder.ack(ask.request_id)


async def test_a_blocking_call_whose_clean_up_hangs_is_acknowledged_in_time(
    settings: Settings, responder: Responder, caplog: pytest.LogCaptureFixture
) -> None:
    """Bounded there too, though the thread of the clean-up goes on."""
    responder.on_ask = responder.answer
    began, may_end = threading.Event(), threading.Event()

    def execute() -> None:
        began.set()
        approval = current_approval()
        while approval is not None and not approval.revoked:
            time.sleep(0.01)
        raise ConnectionError("cut off")

    def run() -> None:
        with SyncOpsClient(settings=settings, timeout_s=5.0) as client:
            cleanup = lambda _: may_end.wait(10)  # noqa: E731
            supervised(client, agent="blocking", cleanup=cleanup, cleanup_s=0.2)(execute)()

    call = asyncio.create_task(asyncio.to_thread(run))
    await asyncio.to_thread(began.wait, 10)
    ask = responder.all(TaskRequest)[0]
    with caplog.at_level(logging.ERROR, "agents_adapter"):
        await responder.answer(ask, "revoked", sequence=1)
        with pytest.raises(ConnectionError):
            await call
    may_end.set()
    assert "longer than 0.2 s" in caplog.text
    await responder.ack(ask.request_id)


async def test_a_time_that_is_none_is_refused_at_once(client: OpsClient) -> None:
    """`cleanup_s` is above zero."""
    with pytest.raises(WrongUse, match="above 0"):
        supervise(Worker(), client, cleanup_s=0)
