"""A real worker, a real broker, a real Redis and `ops-stream views run`: what the views show is what was decided, and
whatever becomes of them, the worker goes on."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from aiokafka import TopicPartition
from redis.asyncio import Redis

from ops_stream.audit.fold import PartitionFold
from ops_stream.audit.reading import bounds, read_ranges, reader
from ops_stream.core.journal.chain import JournalKey
from ops_stream.embedded import EmbeddedRedis
from ops_stream.embedded.ports import choose
from ops_stream.views.keys import Keys
from ops_stream.views.reader import NoView, Views
from tests.cli.conftest import PARTITIONS, World, make_world, running_worker
from tests.survival.fleet import Fleet
from tests.views.looking import documents, dump, rows_as_shown, until

pytestmark = [pytest.mark.bus, pytest.mark.timeout(240)]
TENANTS = ("team-a", "team-b", "team-c", "team-d")


class ViewsProcess:
    """One `ops-stream views run`."""

    def __init__(self, world: World, directory: Path) -> None:
        self.port = choose()
        self.log = directory / f"views-{self.port}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ops_stream", "views", "run", "--port", str(self.port), "--json"],
                env=os.environ | world.env,
                stderr=log,
            )

    def ready(self) -> dict[str, Any]:
        """Give what `/readyz` says."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=2) as answer:
                return dict(json.load(answer))
        except OSError as refused:
            return dict(json.load(refused)) if hasattr(refused, "read") else {"ready": False}

    def metrics(self) -> str:
        """Give what `/metrics` says."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=2) as answer:
            return str(answer.read().decode())

    def end(self) -> None:
        """End it, however it is."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)


@pytest.fixture
def world(kafka: str, redis: EmbeddedRedis, tmp_path: Path) -> World:
    """Give a cluster with its topics, and a Redis that is named."""
    often = "version: 1\nkpis:\n  publish_every_s: 1\n"
    found = make_world(kafka, tmp_path, {"telemetry.yaml": often})
    found.env["OPS_STREAM_REDIS_URL"] = redis.url
    return found


@contextmanager
def views_run(world: World, directory: Path) -> Iterator[ViewsProcess]:
    """Run the views while the block runs."""
    process = ViewsProcess(world, directory)
    try:
        yield process
    finally:
        process.end()
    assert "Traceback" not in process.log.read_text()


async def folds(world: World) -> tuple[dict[int, PartitionFold], dict[int, int]]:
    """Fold the journal by hand; give the rows of each partition, and where it ended."""
    key = JournalKey(bytes.fromhex(world.settings.journal_key_file.read_text().strip()))
    places = [TopicPartition(world.settings.topic("journal"), number) for number in range(PARTITIONS)]
    found = {number: PartitionFold(number, key=key) for number in range(PARTITIONS)}
    async with reader(world.settings) as consumer:
        ranges = await bounds(consumer, places)
        async for tp, records in read_ranges(consumer, ranges):
            for record in records:
                found[tp.partition].take(record.offset, record.value)
    return found, {tp.partition: end for tp, (_, end) in ranges.items()}


async def taken_in(world: World, client: Redis) -> dict[int, PartitionFold]:
    """Wait until the views hold all of a journal to which nobody writes any more; give its fold."""
    views = Views(client, Keys.of(world.settings.topic_prefix))
    found, ends = await folds(world)

    async def there() -> bool:
        try:
            positions = (await views.fresh()).positions
        except NoView:
            return False
        return {number: position.next for number, position in positions.items()} == ends

    await until(there, 60)
    return found


async def traffic(world: World, fleet: Fleet, round_: str) -> None:
    """Asks and reports of several tenants, some that wait for people, an answer, a kill, a limit, a quarantine."""
    await fleet.ask(60, 300, name=f"{round_}-cheap")
    await fleet.ask(6, 300, name=f"{round_}-dear", estimated_cost_usd=7.5, task_description=f"dear {round_}")
    await fleet.ask(4, 300, name=f"{round_}-never", task_type="drop_database")
    await fleet.until_answered()

    def ops(*words: str) -> None:
        result = world.ops(*words)
        assert result.code in (0, 1), result.err

    listed = await asyncio.to_thread(world.ops, "escalations", "--once", "--json")
    waiting = [row for row in listed.rows if row["status"] == "open"]
    assert len(waiting) >= 2
    await asyncio.to_thread(ops, "deny", waiting[0]["escalation_id"], "--as", "ana")
    await asyncio.to_thread(ops, "approve", waiting[1]["escalation_id"], "--as", "ana")
    await asyncio.to_thread(ops, "budgets", "set", "--tenant", "team-b", "--limit", "50", "--window", "month")
    await asyncio.to_thread(ops, "kill", "--tenant", "team-c", "--reason", "a test", "--yes")
    await asyncio.to_thread(ops, "agents", "quarantine", "a", "--tenant", "team-d", "--reason", "a test")
    await fleet.ask(8, 300, name=f"{round_}-after")
    await fleet.until_answered()


async def test_the_views_are_what_was_decided_and_the_same_after_a_rebuild(
    world: World, client: Redis, tmp_path: Path
) -> None:
    """Every ask, agent, escalation, budget, limit, kill and figure; equal to the journal's fold after kill -9 in mid
    stream; and every key equal after `views rebuild` beside the process, after FLUSHALL, and without the process."""
    keys = Keys.of(world.settings.topic_prefix)
    first = ViewsProcess(world, tmp_path)
    async with _deciding(world), Fleet(world.settings, TENANTS) as fleet:
        await fleet.until_registered()
        await traffic(world, fleet, "one")
        await until(lambda: first.ready()["ready"], 60)
        flow = asyncio.create_task(fleet.ask(200, 200, name="more"))
        await asyncio.sleep(0.4)
        first.process.kill()
        first.process.wait(10)
        await flow
        await fleet.until_answered()
        with views_run(world, tmp_path) as second:
            await until(lambda: _asks(client, keys, len(fleet.asked)), 60)
            await _agrees_with_the_topic(client, keys, fleet)
            text = await until(lambda: text if "ops_stream_kpi{" in (text := second.metrics()) else "", 30)
            assert 'ops_stream_kpi{kpi="success_rate",window="1h"}' in text
    with views_run(world, tmp_path) as third:
        found = await taken_in(world, client)
        before = await dump(client, keys)
        assert documents(before) == rows_as_shown(found.values())
        assert {name.partition(":")[0] for name in before} >= {
            "asks", "agents", "records", "standings", "suspensions", "escalations", "open", "budgets", "limits",
            "kills", "containments", "kpis", "now", "feed", "pos", "whose", "tenants",
        }  # fmt: skip
        rebuilt = await asyncio.to_thread(world.ops, "views", "rebuild", "--json")
        assert rebuilt.code == 0 and rebuilt.rows[-1]["rebuilt"], rebuilt.err
        await taken_in(world, client)
        assert await dump(client, keys) == before
        await client.flushall()
        await taken_in(world, client)
        assert await dump(client, keys) == before
        third.process.terminate()
        assert third.process.wait(30) == 0
    alone = await asyncio.to_thread(world.ops, "views", "rebuild", "--json")
    assert alone.code == 0, alone.err
    assert await dump(client, keys) == before


@asynccontextmanager
async def _deciding(world: World) -> AsyncIterator[None]:
    """Run a worker while the block runs; its start and its end do not hold up what else runs here."""
    worker = running_worker(world)
    await asyncio.to_thread(worker.__enter__)
    try:
        yield
    finally:
        await asyncio.to_thread(worker.__exit__, None, None, None)


async def _asks(client: Redis, keys: Keys, count: int) -> bool:
    generation = await client.get(keys.gen)
    if generation is None:
        return False
    names = [key async for key in client.scan_iter(match=f"{keys.base(int(generation))}asks:*")]
    return sum([await client.hlen(name) for name in names]) == count


async def _agrees_with_the_topic(client: Redis, keys: Keys, fleet: Fleet) -> None:
    """Each ask's decision in the views is the last that the agents were told."""
    views = Views(client, keys)
    for request_id, tenant in fleet.asked.items():
        shown = (await views.decision(tenant, request_id)).value
        line = fleet.answers[request_id]
        assert shown is not None and shown["decision"] == line[max(line)], (request_id, shown, line)


async def test_the_worker_goes_on_when_redis_is_down_or_flushed(
    world: World, client: Redis, redis: EmbeddedRedis, tmp_path: Path
) -> None:
    """While Redis is stopped, frozen, emptied or gone, every ask is decided as fast as before; the views are not ready,
    say so, and hold all of it some seconds after Redis is back."""
    keys = Keys.of(world.settings.topic_prefix)
    with views_run(world, tmp_path) as views:
        async with _deciding(world), Fleet(world.settings, TENANTS) as fleet:
            await fleet.until_registered()

            async def decided(name: str) -> float:
                begun = monotonic()
                await fleet.ask(60, 300, name=name)
                await fleet.until_answered(30)
                return monotonic() - begun

            await decided("warm")
            await until(lambda: views.ready()["ready"], 60)
            usual = await decided("usual")
            await asyncio.to_thread(redis.stop)
            stopped = await decided("stopped")
            await until(lambda: not views.ready()["redis_up"], 30)
            assert views.process.poll() is None and not views.ready()["ready"]
            assert "ops_stream_views_redis_up 0.0" in views.metrics()
            await asyncio.to_thread(redis.start)
            await until(lambda: views.ready()["ready"], 60)
            await asyncio.to_thread(redis.pause)
            frozen = await decided("frozen")
            await asyncio.to_thread(redis.resume)
            await client.flushall()
            emptied = await decided("emptied")
            assert max(stopped, frozen, emptied) < usual + 10, (usual, stopped, frozen, emptied)
            assert len(fleet.asked) == 300
            await until(lambda: _asks(client, keys, len(fleet.asked)), 90)
            await until(lambda: views.ready()["ready"], 60)
            assert "ops_stream_views_redis_errors_total 0.0" not in views.metrics()
        found = await taken_in(world, client)
        assert documents(await dump(client, keys)) == rows_as_shown(found.values())
