"""A worker that stands still (SIGSTOP) until its partitions are another's, and then goes on where it stood."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from ops_stream.contract.partitions import partition_for
from ops_stream.contract.settings import Settings
from ops_stream.core.killswitch import FIRST_MAX
from ops_stream.streams.snapshots import OFFSET_BYTES, WATERMARK_ROW
from tests.survival.faults import (
    EACH,
    Ended,
    Ends,
    creep,
    ends_of,
    freeze,
    kept,
    owner_of,
    thaw,
    until,
    until_shared,
)
from tests.survival.fleet import Fleet
from tests.survival.flows import Flows
from tests.survival.process import WorkerProcess
from tests.survival.proof import position_of, prove, read_all
from tests.survival.test_records import kill_of

pytestmark = [pytest.mark.bus, pytest.mark.survival, pytest.mark.timeout(240)]

LIMIT = 1_000_000_000
BURST = 3_000
OUTPUTS = 1_000
WORKFLOWS = 40
TRIES = ("stop-1", "stop-2", "stop-3", "stop-4")


async def test_a_zombie_with_appends_in_flight_is_fenced_and_what_it_appends_is_void(
    world: Settings, workers: Callable[..., WorkerProcess]
) -> None:
    """A worker stands still with appends in flight until the other has taken its partitions over. Asks are answered
    meanwhile, those of the zombie's tenants too. When it goes on, its appends land behind the takeover: they are void,
    it ends with code 10 and one clear line, and started again it takes part. Workflows go on through all of it: what
    the zombie had given out is given to nobody else while it runs."""
    pair = [workers(world, name).start() for name in ("a", "b")]
    zombie, other = pair
    async with Fleet(world, EACH) as fleet, Flows(fleet) as flows, ends_of(world) as ends:
        await until_shared(pair)
        await fleet.until_registered()
        handing = asyncio.create_task(flows.hand_in(WORKFLOWS, rate=3))
        partitions = sorted(zombie.live_partitions())
        taken, rest = [EACH[p] for p in partitions], [t for p, t in enumerate(EACH) if p not in partitions]
        before = await _sum(ends, partitions)
        asking = asyncio.create_task(fleet.ask(BURST, rate=1_000_000, name="burst", tenants=taken))
        while await _sum(ends, partitions) < before + BURST // 20:
            await asyncio.sleep(0.005)
        await freeze(zombie)
        assert await _sum(ends, partitions) < before + BURST, "all was appended before it stood still"
        await asking
        await _go_on_without(fleet, other, rest)
        async with kept(*pair) as ended:
            thaw(zombie)
            await until("the end of the zombie", lambda: [end for end in ended if end.worker is zombie])
            await _go_on_together(fleet, pair)
            await handing
            await flows.until_ended()
        assert "another worker has taken this partition over" in ended[0].last_line
        assert [await worker.terminate() for worker in pair] == [0, 0]
        proof = await prove(world, fleet.asked, limit_micros=LIMIT)
        flows.prove(proof)
    assert proof.voids > 0


async def test_a_zombies_unsaved_snapshot_rows_do_no_harm_however_late_they_come(
    world: Settings, workers: Callable[..., WorkerProcess]
) -> None:
    """A worker stands still with rows that are journaled and not yet in the snapshots. The other takes over and writes
    newer snapshots; then the zombie writes its old rows over them. A worker that knows nothing but the snapshots and
    the journal recovers the right state: of a row the newest counts, and the journal's digest has the last word."""
    pair = [workers(world, name, snapshot_interval_s=2.0).start() for name in ("a", "b")]
    async with Fleet(world, EACH) as fleet, ends_of(world) as ends:
        await until_shared(pair)
        await fleet.until_registered()
        for _ in range(4):
            if await _rows_come_late(world, fleet, ends, pair):
                break
        else:
            raise AssertionError(
                "the zombie wrote no rows: it was fenced, or joined again, before its snapshots"
            )
        for worker in pair:
            worker.kill9()
        cold = workers(world, "cold").start()
        await cold.until_live(6)
        await fleet.ask(60, rate=200, name="cold")
        await fleet.until_answered()
        assert await cold.terminate() == 0
        await prove(world, fleet.asked, limit_micros=LIMIT)


async def test_a_zombies_unpublished_outputs_come_late_and_readers_see_one_line(
    world: Settings, workers: Callable[..., WorkerProcess]
) -> None:
    """A worker stands still with a record of 1,000 revocations journaled and only some of them out. The other takes
    over, publishes all 1,000, and decides on. Then the zombie publishes the rest once more, below what readers have
    seen: who drops lower journal positions sees each line of decisions once and in order."""
    pair = [workers(world, name).start() for name in ("a", "b")]
    async with Fleet(world, (*EACH, *TRIES), report_share=0.0) as fleet, ends_of(world) as ends:
        await until_shared(pair)
        await fleet.until_registered()
        zombie, tenant, record = await _freeze_inside_a_record(world, fleet, ends, pair)
        partition = partition_for(tenant, world.partitions)
        other = next(worker for worker in pair if worker is not zombie)
        revoked = fleet.of((tenant,))
        await _go_on_without(fleet, other, [t for p, t in enumerate(EACH) if p != partition])
        await fleet.until_decided(revoked, "revoked")
        await fleet.ask(20, rate=200, name="newer", tenants=(EACH[partition],))
        await fleet.until_answered()
        async with kept(*pair) as ended:
            generation = (other.ready() or {})["generation"]
            thaw(zombie)
            await until("late outputs", lambda: _late_outputs(world, partition, record))
            await _until_settled(zombie, generation, ended)
            await _go_on_together(fleet, pair)
        assert [await worker.terminate() for worker in pair] == [0, 0]
        await prove(world, fleet.asked, limit_micros=LIMIT)


async def _sum(ends: Ends, partitions: Sequence[int]) -> int:
    return sum([await ends.of("journal", partition) for partition in partitions])


async def _go_on_without(fleet: Fleet, other: WorkerProcess, tenants: Sequence[str]) -> None:
    """Others are answered while the zombie stands still, and all are once its partitions are taken over."""
    await fleet.ask(60, rate=200, name="meanwhile", tenants=tenants)
    await fleet.until_answered(tenants=tenants)
    await other.until_live(6)
    await fleet.until_answered()


async def _until_settled(zombie: WorkerProcess, generation: int, ended: list[Ended]) -> None:
    """The zombie has ended (and was started again), or it has joined a later generation of the group."""

    def settled() -> bool:
        if any(end.worker is zombie for end in ended):
            return True
        body = zombie.ready()
        return body is not None and bool(body["ready"]) and body["generation"] > generation

    await until("the zombie to end or to join again", lambda: asyncio.to_thread(settled))


async def _go_on_together(fleet: Fleet, pair: list[WorkerProcess]) -> None:
    await until_shared(pair)
    await fleet.ask(60, rate=200, name="after")
    await fleet.until_answered()
    await until_shared(pair)


async def _snapshots(settings: Settings, partition: int) -> list[tuple[str, int]]:
    """What was written to a partition of the snapshots' changelog: row and the journal offset that it is from."""
    records: list[Any] = (await read_all(settings, "snapshots"))[partition]
    return [
        (record.key.decode().partition("|")[2], int.from_bytes(record.value[:OFFSET_BYTES], "big"))
        for record in records
        if record.value
    ]


async def _saved_through(settings: Settings, partition: int, offset: int) -> bool:
    marks = [stamp for row, stamp in await _snapshots(settings, partition) if row == WATERMARK_ROW]
    return bool(marks) and max(marks) >= offset


async def _rows_gone_back(settings: Settings, partition: int) -> bool:
    """An older value of a row was written after a newer one."""
    newest: dict[str, int] = {}
    for row, stamp in await _snapshots(settings, partition):
        if stamp < newest.get(row, 0):
            return True
        newest[row] = stamp
    return False


async def _rows_come_late(settings: Settings, fleet: Fleet, ends: Ends, pair: list[WorkerProcess]) -> bool:
    """Stop a worker with unsaved rows until newer ones are saved; whether its old ones then came."""
    zombie, other = pair
    partitions = zombie.live_partitions()
    partition, tenant = min(partitions), EACH[min(partitions)]
    await _freeze_with_unsaved_rows(settings, fleet, ends, zombie, partition)
    # Nothing for the zombie's partitions until they are taken over: what it had asked the broker for would be
    # waiting for it, and its first append would end it before its snapshots.
    await _go_on_without(fleet, other, [t for p, t in enumerate(EACH) if p not in partitions])
    await fleet.ask(20, rate=200, name="newer", tenants=(tenant,))
    await fleet.until_answered()
    journaled = await ends.of("journal", partition)
    await until("newer snapshots", lambda: _saved_through(settings, partition, journaled - 1))
    async with kept(*pair) as ended:
        generation = (other.ready() or {})["generation"]
        thaw(zombie)
        await _until_settled(zombie, generation, ended)
        await _go_on_together(fleet, pair)
    return await _rows_gone_back(settings, partition)


async def _freeze_with_unsaved_rows(
    settings: Settings, fleet: Fleet, ends: Ends, zombie: WorkerProcess, partition: int
) -> None:
    for _ in range(10):
        await fleet.ask(20, rate=1_000, name="unsaved", tenants=(EACH[partition],))
        await fleet.until_answered()
        await fleet.until_reported()
        # Nothing more to append: the zombie is to come back with rows alone.
        await ends.at_rest("journal", partition)
        await freeze(zombie)
        if not await _saved_through(settings, partition, await ends.of("journal", partition) - 1):
            return
        thaw(zombie)
    raise AssertionError("all rows were saved before each stop")


async def _freeze_inside_a_record(
    settings: Settings, fleet: Fleet, ends: Ends, pair: list[WorkerProcess]
) -> tuple[WorkerProcess, str, int]:
    """Stop the owner of a tenant within the second record of a kill; the worker, the tenant, and the record."""
    for tenant in TRIES:
        partition = partition_for(tenant, settings.partitions)
        await fleet.ask(FIRST_MAX + OUTPUTS, rate=4_000, name=tenant, tenants=(tenant,))
        await fleet.until_answered()
        zombie = await owner_of(partition, pair)
        record, out = await ends.of("journal", partition), await ends.of("approvals", partition)

        async def first_are_out(partition: int = partition, before: int = out) -> int | None:
            now = await ends.of("approvals", partition)
            return now if now > before + FIRST_MAX else None

        await fleet.put("control", tenant, kill_of(tenant))
        await creep(zombie, first_are_out)
        if await ends.at_rest("approvals", partition) - out < FIRST_MAX + OUTPUTS:
            return zombie, tenant, record + 1
        thaw(zombie)
    raise AssertionError(f"all outputs were out before each of {len(TRIES)} stops")


async def _late_outputs(settings: Settings, partition: int, record: int) -> bool:
    """An output of the record has come after one of a later record."""
    later = False
    for approval in (await read_all(settings, "approvals"))[partition]:
        offset = int(position_of(approval).split(":")[1])
        if offset == record and later:
            return True
        later = later or offset > record
    return False
