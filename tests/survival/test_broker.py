"""The broker goes away: killed and started again under load, and paused for longer than an append may take."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from ops_stream.embedded import EmbeddedKafka
from ops_stream.streams.exits import Exit
from tests.survival.conftest import TENANTS, make_world
from tests.survival.fleet import Fleet
from tests.survival.flows import Flows
from tests.survival.process import WorkerProcess
from tests.survival.proof import prove

pytestmark = [pytest.mark.bus, pytest.mark.survival, pytest.mark.timeout(300)]

ASKS = 1_500
RATE = 100.0
WORKFLOWS = 60
LIMIT = 1_000_000_000


async def test_the_broker_is_killed_twice_under_load(
    new_broker: Callable[..., EmbeddedKafka], workers: Callable[..., WorkerProcess], tmp_path: Path
) -> None:
    """kill -9 of the broker while asks flow, twice, each time with records in flight: when it is back, the worker goes
    on (or, where it has ended itself, its next start does), and every ask that was acknowledged is decided once. Every
    workflow ends, with no step run twice at once."""
    broker = new_broker()
    world = await make_world(broker.start(), "ops.", tmp_path)
    worker = workers(world, "a").start()
    await worker.until_live(6)
    async with Fleet(world, TENANTS) as fleet, Flows(fleet) as flows:
        asking = asyncio.create_task(fleet.ask(ASKS, RATE))
        handing = asyncio.create_task(flows.hand_in(WORKFLOWS, WORKFLOWS * RATE / ASKS))
        for landed in range(2):
            await _until(lambda seen=landed: len(fleet.answers) > (seen + 1) * ASKS // 5)
            pid = broker.pid
            assert pid is not None
            broker.kill9()
            assert broker.pid is None, "the kill -9 must have landed"
            await asyncio.to_thread(broker.restart)
            assert broker.pid not in (None, pid)
            _again_if_ended(worker)
        while not asking.done():
            _again_if_ended(worker)
            await asyncio.sleep(0.1)
        await asking
        await handing
        assert len(fleet.asked) == ASKS
        await worker.until_live(6)
        await fleet.until_answered()
        await flows.until_ended()
        assert await worker.terminate() == 0
        proof = await prove(world, fleet.asked, limit_micros=LIMIT)
        flows.prove(proof)
    assert proof.counted > ASKS


async def test_the_broker_is_paused_for_longer_than_an_append_may_take(
    new_broker: Callable[..., EmbeddedKafka], workers: Callable[..., WorkerProcess], tmp_path: Path
) -> None:
    """A broker that answers nothing leaves appends neither taken nor refused: past the deadline the worker ends, with
    its own exit code and a line that says so. When the broker is back, the next start finds out and goes on."""
    broker = new_broker()
    world = await make_world(broker.start(), "ops.", tmp_path)
    worker = workers(world, "a", append_deadline_s=3.0).start()
    await worker.until_live(6)
    async with Fleet(world, TENANTS) as fleet:
        # All at once, so that the pause finds appends in flight.
        asking = asyncio.create_task(fleet.ask(ASKS, rate=1e9))
        await _until(lambda: len(fleet.answers) > ASKS // 20)
        broker.pause()
        assert len(fleet.answers) < ASKS
        try:
            assert await worker.exit_code() == Exit.APPEND_UNKNOWN
        finally:
            broker.resume()
        assert "neither taken nor refused" in worker.last_line
        assert worker.last_line.endswith("(exit 11, append_unknown)")
        worker.start()
        await worker.until_live(6)
        await asking
        await fleet.until_answered()
        assert len(fleet.asked) == ASKS
        assert await worker.terminate() == 0
        proof = await prove(world, fleet.asked, limit_micros=LIMIT)
    assert all(len(boots) == 2 for boots in proof.takeovers.values())


async def test_a_silent_broker_is_not_taken_for_a_healthy_one(
    new_broker: Callable[..., EmbeddedKafka], workers: Callable[..., WorkerProcess], tmp_path: Path
) -> None:
    """An idle worker has nothing in flight that could be overdue. Where the broker falls silent it is not ready all the
    same, with every partition still its own; when the broker speaks again it is, and goes on where it was."""
    broker = new_broker()
    world = await make_world(broker.start(), "ops.", tmp_path)
    worker = workers(world, "a").start()
    await worker.until_live(6)
    async with Fleet(world, TENANTS) as fleet:
        await fleet.until_registered()
        broker.pause()
        try:
            await _until(lambda: (worker.ready() or {"ready": True})["ready"] is False)
            assert (worker.ready() or {})["broker_silent_s"] > 5
        finally:
            broker.resume()
        await _until(lambda: (worker.ready() or {"ready": False})["ready"] is True)
        await fleet.ask(len(TENANTS), RATE)
        await fleet.until_answered()
        assert await worker.terminate() == 0
        proof = await prove(world, fleet.asked, limit_micros=LIMIT)
    assert all(len(set(boots)) == 1 for boots in proof.takeovers.values()), (
        "it was the same worker all the time"
    )


def _again_if_ended(worker: WorkerProcess) -> None:
    """Do what a service manager does: start it again where it has ended itself for the broker's sake."""
    if not worker.running:
        assert worker.process is not None
        assert worker.process.returncode in (Exit.APPEND_UNKNOWN, Exit.UNREACHABLE, Exit.RECOVERY_FAILED), (
            worker.tail()
        )
        worker.start()


async def _until(done: Callable[[], bool], within_s: float = 60.0) -> None:
    """Wait for something to happen, for a bounded time."""
    async with asyncio.timeout(within_s):
        while not done():
            await asyncio.sleep(0.02)
