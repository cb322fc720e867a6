"""Workers that stop as they should, one after the other, under load: restarts and upgrades."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ops_stream.contract.settings import Settings
from ops_stream.core.engine import ENGINE_VERSION
from ops_stream.core.journal.record import read
from ops_stream.rules.engine import engine_version
from ops_stream.streams.exits import Exit
from tests.survival.faults import EACH, ends_of, under_load, until, until_shared
from tests.survival.fleet import Fleet
from tests.survival.flows import Flows
from tests.survival.process import WorkerProcess
from tests.survival.proof import Proof, prove

pytestmark = [pytest.mark.bus, pytest.mark.survival, pytest.mark.timeout(240)]

LIMIT = 1_000_000_000
RATE = 100.0
SESSION_S = 28.0
NEWER = str(int(ENGINE_VERSION) + 1)


async def test_a_worker_that_is_told_to_stop_drains_and_leaves_its_partitions_at_once(
    world: Settings, workers: Callable[..., WorkerProcess]
) -> None:
    """Under load a worker gets SIGTERM. It finishes what it has decided, leaves the group and exits with 0, and the
    other has its partitions long before the session would have run out. Nothing that it journaled
    stays unpublished, and nothing needs to be folded twice: its snapshots were flushed."""
    leaver, other = (
        workers(world, name, session_timeout_s=SESSION_S, log_json=True).start() for name in ("a", "b")
    )
    async with Fleet(world, EACH) as fleet, ends_of(world) as ends:
        await until_shared((leaver, other))
        await fleet.until_registered()
        left = sorted(leaver.live_partitions())
        async with under_load(fleet):
            await fleet.until_some_answered(50)
            begun = other.lines
            assert await leaver.terminate() == 0
            await other.until_live(6, within_s=SESSION_S * 0.7)
        assert leaver.said("worker stopped")
        assert not leaver.said("a part of the worker did not stop in time")
        await fleet.until_answered()
        assert await other.terminate() == 0
        ended = {partition: await ends.of("journal", partition) for partition in left}
        proof = await prove(world, fleet.asked, limit_micros=LIMIT)
    assert proof.voids == 0
    live = {line["partition"]: line for line in other.said("partition is live", since=begun)}
    for partition in left:
        assert live[partition]["folded"] < live[partition]["offset"] < ended[partition]


async def test_a_rolling_restart_under_load_loses_nothing(
    world: Settings, workers: Callable[..., WorkerProcess]
) -> None:
    """Two workers are restarted one after the other under load. Each stops with 0, and every ask is decided once; no
    record is void, and every workflow ends as if nothing had happened."""
    pair = [workers(world, name).start() for name in ("a", "b")]
    async with Fleet(world, EACH) as fleet, Flows(fleet) as flows:
        await until_shared(pair)
        await fleet.until_registered()
        async with under_load(fleet), flows.flowing():
            for worker in pair:
                await _until_in_flight(fleet)
                assert await worker.terminate() == 0
                worker.start()
                await until_shared(pair)
        await fleet.until_answered()
        await flows.until_ended()
        assert [await worker.terminate() for worker in pair] == [0, 0]
        proof = await prove(world, fleet.asked, limit_micros=LIMIT)
        flows.prove(proof)
    assert proof.voids == 0
    assert len({boot for taken in proof.takeovers.values() for boot in taken}) == 4


async def test_an_upgrade_rolls_forward_under_load_and_an_older_engine_never_decides_after_a_newer(
    world: Settings, workers: Callable[..., WorkerProcess]
) -> None:
    """Under load, one of two workers is stopped and started with a newer engine: it takes partitions of the older one's
    journal over. It is killed, and the older is given them: rather than decide there it ends (1) with a sentence. Both
    come back with the newer engine and have everything. Then an older one starts: it refuses (1), names the partition
    and the engines and what to run, and does not even join the group of those that decide. Workflows that the older
    engine began the newer one ends."""
    pair = [workers(world, name).start() for name in ("a", "b")]
    newer, older = pair
    async with Fleet(world, EACH) as fleet, Flows(fleet) as flows:
        await until_shared(pair)
        await fleet.until_registered()
        async with under_load(fleet), flows.flowing():
            await _until_in_flight(fleet)
            assert await newer.terminate() == 0
            await newer.start(engine=NEWER).until_live(1)
            await until_shared(pair)
            newer.kill9()
            assert await older.exit_code() == Exit.REFUSED
            refusal = (
                f"was last decided by a newer engine ({NEWER}); this one is {engine_version()}. Run the newer"
            )
            assert refusal in older.last_line
            newer.start(engine=NEWER)
            older.start(engine=NEWER)
            await until_shared(pair)
            before = [(worker.ready() or {})["generation"] for worker in pair]
            late = workers(world, "late").start()
            assert await late.exit_code() == Exit.REFUSED
            assert refusal in late.last_line
            assert [(worker.ready() or {})["generation"] for worker in pair] == before
        await fleet.until_answered()
        await flows.until_ended()
        assert [await worker.terminate() for worker in pair] == [0, 0]
        proof = await prove(world, fleet.asked, limit_micros=LIMIT)
        flows.prove(proof)
    for partition in range(world.partitions):
        assert _engines(proof, partition) == [engine_version(), NEWER], (
            "the older first, then the newer for good"
        )


async def _until_in_flight(fleet: Fleet) -> None:
    await until("asks without an answer", lambda: len(fleet.asked) > len(fleet.answers))


def _engines(proof: Proof, partition: int) -> list[str]:
    """The engines that decided a partition, each time another took over."""
    engines: list[str] = []
    for _, value in proof.records[partition]:
        engine = read(value).header.engine_version
        if engines[-1:] != [engine]:
            engines.append(engine)
    return engines
