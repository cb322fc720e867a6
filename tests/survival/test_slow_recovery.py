"""A recovery that takes longer than anybody waits for a seek."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic

import pytest

from ops_stream.contract.settings import Settings
from tests.survival.faults import EACH, ends_of
from tests.survival.fleet import Fleet
from tests.survival.flows import Flows
from tests.survival.process import WorkerProcess
from tests.survival.proof import prove

pytestmark = [pytest.mark.bus, pytest.mark.survival, pytest.mark.timeout(500)]

LONG, BRISK = EACH[0], EACH[1:]
BATCH_RECORDS = 500
DELAY_S = 47.0
WORKFLOWS = 24
LONGER_THAN_S = 90.0


async def test_a_recovery_longer_than_ninety_seconds_is_waited_for_and_holds_nobody_else_up(
    world: Settings, workers: Callable[..., WorkerProcess]
) -> None:
    """One partition has more to fold than the rest, and takes more than 90 s (past which Faust gives a seek up and is
    never ready). All that time the worker says so on `/readyz`, and stays in its generation of the group. The
    partitions that recovered sooner decide meanwhile. Then it goes live, and decides what came in meanwhile. Workflows
    that were begun go on where they stood: what was reported in time counts, however long nobody read it."""
    worker = workers(world, "a", snapshot_interval_s=3600.0).start()
    async with (
        Fleet(world, EACH, report_share=0.0) as fleet,
        Flows(fleet) as flows,
        ends_of(world) as ends,
    ):
        await worker.until_live(6)
        await fleet.until_registered()
        await fleet.ask(BATCH_RECORDS + 50, rate=2_000, tenants=(LONG,))
        await fleet.ask(10, rate=200, tenants=BRISK)
        await fleet.until_answered()
        await flows.hand_in(WORKFLOWS, rate=20)
        worker.kill9()
        # A batch of the fold is at most 500 records: two there, one on each of the others.
        assert BATCH_RECORDS < await ends.of("journal", 0) < 2 * BATCH_RECORDS

        worker.start(fold_delay_s=DELAY_S)
        await worker.until_live(5, within_s=4 * DELAY_S)
        ready = worker.ready()
        assert ready is not None
        assert not ready["ready"]
        assert ready["partitions"]["0"]["phase"] == "recovering"
        assert ready["partitions"]["0"]["recovering_s"] > 0
        generation = ready["generation"]
        await fleet.ask(20, rate=200, name="waits", tenants=(LONG,))
        await fleet.ask(50, rate=200, name="meanwhile", tenants=BRISK)
        await fleet.until_answered(tenants=BRISK)
        waiting = [request_id for request_id in fleet.asked if request_id.startswith("waits")]
        assert not any(request_id in fleet.answers for request_id in waiting)
        assert await _recovered_after(worker) > LONGER_THAN_S
        await fleet.until_answered()
        await flows.until_ended()
        ready = worker.ready()
        assert ready is not None
        assert ready["ready"]
        assert ready["generation"] == generation, "it stayed in the group all the time"
        assert await worker.terminate() == 0
        proof = await prove(world, fleet.asked, limit_micros=1_000_000_000)
        flows.prove(proof)
    assert [len(taken) for _, taken in sorted(proof.takeovers.items())] == [2] * 6


async def _recovered_after(worker: WorkerProcess) -> float:
    """Wait until the long partition is live; how long its recovery has taken, as it told."""
    took = 0.0
    deadline = monotonic() + 4 * DELAY_S
    while True:
        body = await asyncio.to_thread(worker.ready)
        assert body is not None
        state = body["partitions"]["0"]
        if state["phase"] == "live":
            assert body["ready"]
            return took
        assert state["phase"] == "recovering"
        assert not body["ready"]
        assert monotonic() < deadline
        took = state["recovering_s"]
        await asyncio.sleep(0.2)
