"""The snapshots behind the journal: used where they are right, deleted, and forged."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable

import pytest

from ops_stream.contract.settings import Settings
from ops_stream.core.journal.chain import JournalKey
from ops_stream.core.journal.watermark import open_watermark
from ops_stream.streams.exits import Exit
from ops_stream.streams.snapshots import OFFSET_BYTES, WATERMARK_ROW
from tests.survival.conftest import TENANTS
from tests.survival.fleet import Fleet
from tests.survival.meddling import bounds, delete_topic, put_raw
from tests.survival.process import WorkerProcess
from tests.survival.proof import prove, read_all

pytestmark = [pytest.mark.bus, pytest.mark.survival, pytest.mark.timeout(300)]

ASKS = 240
RATE = 100.0
LIMIT = 1_000_000_000
ZOMBIE = (2**63).to_bytes(OFFSET_BYTES, "big")
"""A row's stamp that wins over every other."""


@pytest.fixture
async def snapped(
    world: Settings, workers: Callable[..., WorkerProcess]
) -> AsyncIterator[tuple[WorkerProcess, Fleet]]:
    """Give a worker that has decided asks, whose snapshots reach to the journal's end, and that was killed."""
    worker = workers(world, "a", log_json=True, snapshot_interval_s=0.3).start()
    await worker.until_live(6)
    async with Fleet(world, TENANTS) as fleet:
        await fleet.ask(ASKS, RATE)
        await fleet.until_answered()
        await until_snapped(world)
        worker.kill9()
        yield worker, fleet


async def test_recovery_begins_at_the_snapshots_watermark_and_a_zombie_only_costs_time(
    world: Settings, snapped: tuple[WorkerProcess, Fleet]
) -> None:
    """Where the snapshot is right, recovery folds only what the journal holds beyond it. A worker that should be dead
    may write rows and a watermark of long ago with the stamps that they had: the newer ones stay. An old watermark in
    the place of the newest only means that more of the journal is folded."""
    worker, fleet = snapped
    ends = await bounds(world, "journal")
    assert sum(end for _, end in ends.values()) > 2 * ASKS
    assert set((await recovered(worker)).values()) == {0}, "the snapshot reached to the end"
    await until_snapped(world)
    assert await worker.terminate() == 0

    records = await read_all(world, "snapshots")
    for record in records[1][: len(records[1]) // 2]:
        await put_raw(world, "snapshots", 1, record.value, key=record.key)
    key = f"2|{WATERMARK_ROW}".encode()
    oldest = next(record.value for record in records[2] if record.key == key)
    await put_raw(world, "snapshots", 2, ZOMBIE + oldest[OFFSET_BYTES:], key=key)
    folded = await recovered(worker)
    assert folded.pop(2) > 0, "from the old watermark on"
    assert set(folded.values()) == {0}
    assert not worker.said("alert")
    await goes_on(world, worker, fleet)


async def test_the_snapshots_topic_is_deleted_under_a_running_worker(
    world: Settings, workers: Callable[..., WorkerProcess]
) -> None:
    """A deleted changelog costs time and nothing else. The worker decides on as if nothing had happened, ends with a
    line of its own once it must take its snapshots for lost, makes the topic anew at its next start and folds all of
    the journal. The snapshots that are written then are good for the start after."""
    worker = workers(world, "a", log_json=True, snapshot_interval_s=0.3, append_deadline_s=2.0).start()
    await worker.until_live(6)
    async with Fleet(world, TENANTS) as fleet:
        asking = asyncio.create_task(fleet.ask(ASKS, RATE))
        await fleet.until_some_answered(ASKS // 4)
        await delete_topic(world, "snapshots")
        await asking
        await fleet.until_answered()
        assert await worker.exit_code() == Exit.APPEND_UNKNOWN
        assert "snapshots cannot be written" in worker.last_line
        ends = await bounds(world, "journal")
        assert await recovered(worker) == {partition: end for partition, (_, end) in ends.items()}
        await until_snapped(world)
        assert await worker.terminate() == 0
        assert sum((await recovered(worker)).values()) == 0
        assert not worker.said("alert")
        await goes_on(world, worker, fleet)


async def test_forged_snapshots_are_thrown_away_with_an_alert(
    world: Settings, snapped: tuple[WorkerProcess, Fleet]
) -> None:
    """A different forgery on each partition, stamped so that it wins: a balance rolled back, a row that never was, a
    row taken away, a watermark made up, rows that no code could have written, and one partition left alone. Where rows
    are wrong they are thrown away with an alert, the journal is folded from its start, and the state is right."""
    worker, fleet = snapped
    ends = {partition: end for partition, (_, end) in (await bounds(world, "journal")).items()}
    rows = {
        p: {r.key: r.value for r in records} for p, records in (await read_all(world, "snapshots")).items()
    }
    balance = next(key for key in rows[1] if key.startswith(b"1|budget/"))
    spent = json.loads(rows[1][balance][OFFSET_BYTES:])
    forged: dict[int, dict[bytes, bytes]] = {
        0: {
            b"0|budget/tenant|x|y": ZOMBIE + b"\xff not JSON",
            b"0|\xff\xfe": ZOMBIE + b"x",
            b"0|": b"",
            b"0|short": b"\x00",
            b"not even a partition": b"x" * 100,
        },
        1: {balance: ZOMBIE + json.dumps(spent | {"spent": 1}).encode()},
        2: {b"2|budget/tenant|nobody|total": ZOMBIE + b'{"spent":5}'},
        3: {next(key for key in rows[3] if key.startswith(b"3|agent/")): ZOMBIE},
        4: {b"4|" + WATERMARK_ROW.encode(): ZOMBIE + b"0" * 64 + b'{"partition":4,"next_offset":1}'},
    }
    for partition, records in forged.items():
        for key, value in records.items():
            await put_raw(world, "snapshots", partition, value, key=key)
    folded = await recovered(worker)
    assert folded == {p: ends[p] if p < 5 else 0 for p in range(6)}
    assert {line["partition"] for line in worker.said("alert")} == {0, 1, 2, 3}
    assert {
        line["partition"] for line in worker.said("a snapshot's watermark is not ours and is passed over")
    } == {4}
    await goes_on(world, worker, fleet)


async def recovered(worker: WorkerProcess) -> dict[int, int]:
    """Start the worker again and say how many journal records it folded on each partition."""
    start = worker.lines if worker.log.exists() else 0
    worker.start()
    await worker.until_live(6)
    return {line["partition"]: line["folded"] for line in worker.said("partition is live", since=start)}


async def goes_on(world: Settings, worker: WorkerProcess, fleet: Fleet) -> None:
    """Ask some more, stop, and prove everything."""
    await fleet.ask(ASKS // 4, RATE)
    await fleet.until_answered()
    assert await worker.terminate() == 0
    await prove(world, fleet.asked, limit_micros=LIMIT)


async def until_snapped(world: Settings, within_s: float = 60.0) -> None:
    """Wait until the newest watermark of every partition is at the journal's end."""
    key = JournalKey(bytes.fromhex(world.journal_key_file.read_text().strip()))
    async with asyncio.timeout(within_s):
        while await _watermarks(world, key) != {
            p: end for p, (_, end) in (await bounds(world, "journal")).items()
        }:
            await asyncio.sleep(0.1)


async def _watermarks(world: Settings, key: JournalKey) -> dict[int, int]:
    found: dict[int, int] = {}
    for partition, records in (await read_all(world, "snapshots")).items():
        name = f"{partition}|{WATERMARK_ROW}".encode()
        for record in records:
            if record.key == name:
                mark = open_watermark(record.value[OFFSET_BYTES:], key)
                assert mark is not None
                found[partition] = mark.next_offset
    return found
