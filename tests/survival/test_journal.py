"""The journal refuses writes, and strangers write to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from ops_stream.contract.partitions import partition_for
from ops_stream.contract.settings import Settings
from ops_stream.streams.cluster import create
from ops_stream.streams.exits import Exit
from tests.survival.conftest import TENANTS
from tests.survival.fleet import Fleet
from tests.survival.meddling import alter_topic, bounds, put_in_transaction, put_raw
from tests.survival.process import WorkerProcess
from tests.survival.proof import prove

pytestmark = [pytest.mark.bus, pytest.mark.survival, pytest.mark.timeout(300)]

ASKS = 600
RATE = 100.0
LIMIT = 1_000_000_000
PARTITION = partition_for(TENANTS[0], 6)
"""A partition that is not idle under the fleet."""


async def test_a_journal_that_refuses_records_ends_the_worker_and_keeps_it_out_until_repaired(
    world: Settings, workers: Callable[..., WorkerProcess]
) -> None:
    """Where the broker refuses journal records for good (here for their size), the worker ends with a line that says
    so, having published nothing that is not journaled. It does not start while the topic differs from the catalogue,
    and names the command; once that is run, every ask is decided once."""
    worker = workers(world, "a").start()
    await worker.until_live(6)
    async with Fleet(world, TENANTS) as fleet:
        asking = asyncio.create_task(fleet.ask(ASKS, RATE))
        await fleet.until_some_answered(ASKS // 10)
        await alter_topic(world, "journal", **{"max.message.bytes": "300"})
        assert await worker.exit_code() == Exit.APPEND_UNKNOWN
        assert f"{world.topic('journal')} does not take the journal's records" in worker.last_line
        assert worker.last_line.endswith("(exit 11, append_unknown)")
        await asking
        assert len(fleet.asked) == ASKS > len(fleet.answers)

        worker.start()
        assert await worker.exit_code() == Exit.REFUSED
        assert "max.message.bytes should be 4194304 and is 300" in worker.tail()
        assert worker.last_line.endswith("ops-stream topics create --repair")

        await create(world, repair=True)
        worker.start()
        await worker.until_live(6)
        await fleet.until_answered()
        assert await worker.terminate() == 0
        await prove(world, fleet.asked, limit_micros=LIMIT)


async def test_what_strangers_write_to_the_journal_ends_the_worker_and_is_void(
    world: Settings, workers: Callable[..., WorkerProcess]
) -> None:
    """Whatever somebody else writes to the journal takes an offset, and a transaction's control record takes one that
    no reader ever sees: the worker's next append lands elsewhere than it expected, so that it stops at once and
    publishes nothing from there on. After the restart the stranger's record and those behind it are void, the hole
    holds nobody up, and what was in flight is decided again, once."""
    worker = workers(world, "a").start()
    await worker.until_live(6)
    async with Fleet(world, TENANTS) as fleet:
        for turn in range(2):
            asked, answered = len(fleet.asked), len(fleet.answers)
            asking = asyncio.create_task(fleet.ask(ASKS // 2, RATE))
            await fleet.until_some_answered(answered + ASKS // 10)
            if turn == 0:
                offset = await put_raw(
                    world, "journal", PARTITION, b'{"event":"JournalRecord","forged":true}'
                )
            else:
                (offset,) = await put_in_transaction(world, "journal", PARTITION, [b"x"])
            assert await worker.exit_code() == Exit.FENCED
            meant = f"journal partition {PARTITION}: a record meant for offset {offset} landed at"
            assert meant in worker.last_line
            await asking
            assert len(fleet.asked) == asked + ASKS // 2 > len(fleet.answers)
            worker.start()
            await worker.until_live(6)
            await fleet.until_answered()
        assert await worker.terminate() == 0
        proof = await prove(world, fleet.asked, limit_micros=LIMIT)
    assert proof.voids >= 4, "twice the stranger's record, and one that landed behind it"
    assert len(proof.takeovers[PARTITION]) == 3
    offsets = [offset for offset, _ in proof.records[PARTITION]]
    assert len(offsets) == offsets[-1], "one offset, the control record's, must hold nothing"


async def test_what_strangers_leave_in_the_journal_while_no_worker_runs_is_void(
    world: Settings, workers: Callable[..., WorkerProcess]
) -> None:
    """While nobody looks, strangers write to the journal: text, bytes, nothing, a copy of a real record, an earlier
    record once more with its MAC, and transactions, committed and given up, whose control records take offsets that
    hold nothing. The next start passes over all of it and goes on where the journal really ended."""
    worker = workers(world, "a", log_json=True).start()
    await worker.until_live(6)
    async with Fleet(world, TENANTS) as fleet:
        await fleet.ask(ASKS // 4, RATE)
        await fleet.until_answered()
        assert await worker.terminate() == 0
        before = await prove(world, fleet.asked, limit_micros=LIMIT)
        end = (await bounds(world, "journal"))[PARTITION][1]
        genuine = before.records[PARTITION][-1][1]
        for value in (
            b"hello",
            b"\xff\x00",
            None,
            b"",
            genuine,
            before.records[PARTITION][0][1],
            b"{" * 5000,
        ):
            await put_raw(world, "journal", PARTITION, value)
        await put_in_transaction(world, "journal", PARTITION, [b"one", genuine])
        await put_in_transaction(world, "journal", PARTITION, [b"two"], commit=False)
        assert (await bounds(world, "journal"))[PARTITION][1] == end + 7 + 3 + 2

        start = worker.lines
        worker.start()
        await worker.until_live(6)
        passed_over = worker.said("a journal record does not count", since=start)
        assert [(line["partition"], line["offset"]) for line in passed_over] == [
            (PARTITION, end + at) for at in (*range(9), 10)
        ]
        await fleet.ask(ASKS // 4, RATE)
        await fleet.until_answered()
        assert await worker.terminate() == 0
        after = await prove(world, fleet.asked, limit_micros=LIMIT)
    assert after.voids == before.voids + 10
    assert len(after.takeovers[PARTITION]) == 2
    assert after.decisions.items() >= before.decisions.items()
