"""The views process on a real journal and a real Redis: what it meets, and that the views are the same after it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from ops_stream.contract.errors import NotSo
from ops_stream.contract.settings import Settings
from ops_stream.core.journal.chain import JournalKey
from ops_stream.embedded import EmbeddedRedis
from ops_stream.streams.reach import admin
from ops_stream.views.keys import Keys
from ops_stream.views.reader import Views
from ops_stream.views.service import Options, Service, _beside
from ops_stream.views.store import Store
from tests.audit.journals import KEY, OTHER_KEY, Writer, ordinary_day
from tests.brokers import create_topics
from tests.views.looking import dump, put_journal, until

pytestmark = [pytest.mark.bus, pytest.mark.timeout(120)]


@pytest.fixture
async def world(kafka: str, prefix: str, redis: EmbeddedRedis, client: Redis, tmp_path: Path) -> Settings:
    """Give topics of this test's own, and an empty Redis."""
    settings = Settings(
        bootstrap_servers=kafka, topic_prefix=prefix, data_dir=tmp_path, redis_url=redis.url, partitions=2
    )
    await create_topics(settings)
    return settings


@asynccontextmanager
async def running(world: Settings, key: JournalKey | None = KEY) -> AsyncIterator[Service]:
    """Run the views in this process while the block runs."""
    service = Service(Options(world, lambda: key))
    task = asyncio.create_task(service.run())
    try:
        yield service
        assert not task.done(), task.exception()
    finally:
        service.stop.set()
        await asyncio.wait_for(task, 20)


def follows(service: Service, writer: Writer) -> Callable[[], bool]:
    """Say whether a service has taken in all that a writer has written to partition 0."""

    def so() -> bool:
        filler = service._filler
        return service.role == "following" and filler is not None and filler.has({0: writer.end})

    return so


async def seen(world: Settings, client: Redis) -> dict[str, Any]:
    """Give all that the views show."""
    return await dump(client, Keys.of(world.topic_prefix))


async def as_built(world: Settings, client: Redis) -> dict[str, Any]:
    """Give all that the views show after they were built from the journal's beginning by a process of their own."""
    store = Store(client, Keys.of(world.topic_prefix))
    assert await store.take_lease()
    await Service(Options(world, lambda: KEY)).rebuild(store)
    await store.release()
    return await seen(world, client)


def more(writer: Writer, name: str, count: int = 20) -> list[tuple[int, bytes | None]]:
    """Let a writer go on for some asks; give its new records."""
    start = len(writer.log)
    for number in range(count):
        writer.ask(f"{name}{number}", task_id=f"t-{name}{number % 3}")
        if number % 2:
            writer.input(
                "telemetry",
                event_id=f"{name}{number}",
                request_id=f"{name}{number}",
                task_id=f"t-{name}{number % 3}",
                agent="a",
                kind="completed",
                cost_usd=0.1,
            )
    return writer.log[start:]


async def test_it_follows_and_goes_on_where_it_was(world: Settings, client: Redis) -> None:
    """What is journaled while it runs and while it does not is there, once, and the same as after a rebuild."""
    writer = ordinary_day()
    await put_journal(world, writer.log)
    async with running(world) as service:
        await until(follows(service, writer))
        await put_journal(world, more(writer, "x"))
        await until(follows(service, writer))
        assert service.refresh() and service.metrics.rebuilds == 1
    first = await client.get(Keys.of(world.topic_prefix).gen)
    await put_journal(world, more(writer, "y"))
    async with running(world) as service:
        await until(follows(service, writer))
        assert service.metrics.rebuilds == 0
        assert service.metrics.applied < 50, "only what is new was taken in"
    assert await client.get(Keys.of(world.topic_prefix).gen) == first
    found = await seen(world, client)
    assert len(found["asks:default"]) > 40
    assert found == await as_built(world, client)


async def emptied(client: Redis, keys: Keys, redis: EmbeddedRedis) -> None:
    await client.flushall()


async def without_pointer(client: Redis, keys: Keys, redis: EmbeddedRedis) -> None:
    await client.delete(keys.gen)


async def without_position(client: Redis, keys: Keys, redis: EmbeddedRedis) -> None:
    await client.delete(f"{keys.base(int(await client.get(keys.gen)))}pos")


async def in_the_way(client: Redis, keys: Keys, redis: EmbeddedRedis) -> None:
    key = f"{keys.base(int(await client.get(keys.gen)))}asks:default"
    await client.delete(key)
    await client.set(key, "theirs")


async def stopped(client: Redis, keys: Keys, redis: EmbeddedRedis) -> None:
    await asyncio.to_thread(redis.stop)
    await asyncio.sleep(1)
    await asyncio.to_thread(redis.start)


async def killed(client: Redis, keys: Keys, redis: EmbeddedRedis) -> None:
    await asyncio.to_thread(redis.kill9)
    await asyncio.sleep(1)
    await asyncio.to_thread(redis.start)


@pytest.mark.parametrize("harm", [emptied, without_pointer, without_position, in_the_way, stopped, killed])
async def test_harm_to_redis_is_made_good(
    world: Settings,
    client: Redis,
    redis: EmbeddedRedis,
    harm: Callable[[Redis, Keys, EmbeddedRedis], Awaitable[None]],
) -> None:
    """Emptied, robbed of its pointer or its positions, stopped or killed in mid stream: it is noticed, said, and made
    good by the process itself, and nothing is missing or there twice."""
    writer = ordinary_day()
    await put_journal(world, writer.log)
    async with running(world) as service:
        await until(follows(service, writer))
        flow = asyncio.create_task(put_journal(world, more(writer, "x", 300)))
        await harm(client, Keys.of(world.topic_prefix), redis)
        await flow
        if harm not in (stopped, killed):
            await until(lambda: service.metrics.rebuilds == 2, 60)
        await until(follows(service, writer), 60)
        await put_journal(world, more(writer, "y"))
        await until(follows(service, writer), 60)
        if harm in (stopped, killed):
            assert service.metrics.errors >= 1
        assert service.refresh()
    assert await seen(world, client) == await as_built(world, client)


async def test_while_redis_is_down_it_is_not_ready(
    world: Settings, client: Redis, redis: EmbeddedRedis
) -> None:
    """The gauges and the readiness say so within seconds, what it shows grows old, and all of it is taken back."""
    writer = ordinary_day()
    await put_journal(world, writer.log)
    async with running(world) as service:
        await until(follows(service, writer))
        assert service.refresh() and service.metrics.redis_up
        service.metrics.kpis = {("success_rate", "1d"): 0.5}
        await asyncio.to_thread(redis.stop)
        await until(lambda: not service.refresh() and not service.metrics.redis_up)
        await until(lambda: not service.refresh() and service.metrics.behind_s > 8, 20)
        assert service.metrics.kpis == {}, "nobody knows what they are now"
        await asyncio.to_thread(redis.start)
        await until(lambda: service.refresh() and service.metrics.redis_up, 40)
        assert service.metrics.behind_s < 8


async def test_two_processes_do_not_mix(world: Settings, client: Redis) -> None:
    """The second stands by and is not ready; when the first loses its lease or stops, the other goes on, once."""
    writer = ordinary_day()
    await put_journal(world, writer.log)
    async with running(world) as one:
        await until(follows(one, writer))
        async with running(world) as other:
            await until(lambda: other.role == "standby")
            assert not other.refresh() and one.refresh()
            await client.delete(Keys.of(world.topic_prefix).lease)
            await put_journal(world, more(writer, "x"))
            await until(lambda: follows(one, writer)() or follows(other, writer)(), 40)
            await until(lambda: sorted((one.role, other.role)) == ["following", "standby"], 40)
            idle = one if one.role == "standby" else other
            assert not idle.refresh() and idle.metrics.behind_s == 0, "how old they are is the other's to say"
        # One of the two has stopped, and it may have been the one that wrote.
        await put_journal(world, more(writer, "y"))
        await until(follows(one, writer), 40)
        assert one.refresh()
    assert await seen(world, client) == await as_built(world, client)


async def test_a_journal_that_was_made_anew_is_another_journal(world: Settings, client: Redis) -> None:
    """Shorter than the position, or as long but with other records: the views are built anew from it."""
    old = ordinary_day()
    await put_journal(world, old.log)
    async with running(world) as service:
        await until(follows(service, old))
    async with admin(world) as cluster:
        await cluster.delete_topics([world.topic("journal")])
    await until(lambda: _made(world), 40)
    new = Writer()
    new.take_over("another")
    more(new, "n", 60)
    await put_journal(world, new.log)
    async with running(world) as service:
        await until(follows(service, new), 40)
        assert service.metrics.rebuilds == 1
    found = await seen(world, client)
    assert found == await as_built(world, client)
    assert b"n3" in found["asks:default"] and b"r1" not in found["asks:default"]


async def _made(world: Settings) -> bool:
    try:
        return "journal" in {name.removeprefix(world.topic_prefix) for name in await create_topics(world)}
    except Exception:
        return False


async def test_a_journal_whose_beginning_is_gone_is_taken_from_where_it_begins(
    world: Settings, client: Redis
) -> None:
    """As `PartitionFold` does: the first record that is there is taken at its word, and the chain goes on from it."""
    from aiokafka import TopicPartition
    from aiokafka.admin import RecordsToDelete

    writer = ordinary_day()
    await put_journal(world, writer.log)
    async with admin(world) as cluster:
        place = TopicPartition(world.topic("journal"), 0)
        await cluster.delete_records({place: RecordsToDelete(before_offset=10)})
    async with running(world) as service:
        await until(follows(service, writer))
    found = await seen(world, client)
    assert b"r9" in found["asks:default"] and b"r0" not in found["asks:default"]
    assert found["pos"][b"0"].split(b"|")[4:6] == [b"15", b"0"]
    assert found == await as_built(world, client)


async def test_a_rebuild_beside_a_running_process_is_its_work(world: Settings, client: Redis) -> None:
    """The wish is fulfilled by the process that holds the lease; readers see the old views until the new ones are
    whole, and the old ones are gone soon after."""
    writer = ordinary_day()
    await put_journal(world, writer.log)
    keys = Keys.of(world.topic_prefix)
    async with running(world) as service:
        await until(follows(service, writer))
        before, generation = await seen(world, client), int(await client.get(keys.gen))
        views, faults, seen_enough = Views(client, keys), list[str](), asyncio.Event()

        async def watch() -> None:
            # Not cancelled: a cancellation that meets the end of a read can be lost in the client.
            while not seen_enough.is_set():
                answer = await views.decision("default", "r9")
                if answer.value is None or answer.fresh.positions[0].next < 25:
                    faults.append(str(answer))
                await asyncio.sleep(0)

        watching = asyncio.create_task(watch())
        await client.set(keys.request, "wish-1")
        await until(lambda: _answered(client, keys, b"wish-1"))
        await until(follows(service, writer))
        await until(lambda: _gone(client, keys.base(generation)))
        assert not watching.done()
        seen_enough.set()
        await watching
        assert faults == []
        assert int(await client.get(keys.gen)) > generation
        assert await seen(world, client) == before
        assert service.metrics.rebuilds == 2


async def _answered(client: Redis, keys: Keys, wish: bytes) -> bool:
    return bool(await client.get(keys.answered) == wish)


async def _gone(client: Redis, base: str) -> bool:
    return not [key async for key in client.scan_iter(match=f"{base}*")]


async def test_without_the_right_key_no_record_counts(world: Settings, client: Redis) -> None:
    """Under another key the views are empty, and the void records are counted; when it is right they are built anew."""
    writer = ordinary_day()
    await put_journal(world, writer.log)
    async with running(world, key=OTHER_KEY) as service:
        await until(follows(service, writer))
        service.refresh()
        assert service.metrics.voids == 25
    assert set(await seen(world, client)) == {"pos"}
    for key in (None, KEY):
        async with running(world, key=key) as service:
            await until(follows(service, writer))
            assert service.metrics.rebuilds == 1
        assert b"r9" in (await seen(world, client))["asks:default"]


async def test_a_key_that_comes_later_is_used_from_then_on(world: Settings, client: Redis) -> None:
    """A new supervisor makes its key when it starts: what was followed by its chain is built anew, and checked."""
    writer, keys = ordinary_day(), list[JournalKey]()
    forged = Writer(key=OTHER_KEY)
    forged.take_over()
    await put_journal(world, forged.log, partition=1)
    await put_journal(world, writer.log)
    service = Service(Options(world, lambda: keys[0] if keys else None))
    task = asyncio.create_task(service.run())
    await until(follows(service, writer))
    before = await seen(world, client)
    keys.append(KEY)
    await until(lambda: service.metrics.rebuilds == 2)
    await until(follows(service, writer))
    service.stop.set()
    await task
    after = await seen(world, client)
    assert after["asks:default"] == before["asks:default"]
    assert after == await as_built(world, client)


async def test_a_journal_that_is_not_there_is_said(world: Settings) -> None:
    """A sentence with the command that makes it."""
    elsewhere = world.model_copy(update={"topic_prefix": "nobody."})
    with pytest.raises(NotSo, match="topics create"):
        await asyncio.wait_for(Service(Options(elsewhere, lambda: KEY)).run(), 30)


async def test_two_supervisors_share_a_redis(world: Settings, client: Redis, kafka: str, prefix: str) -> None:
    """Each prefix has its own views; removing old ones of the one leaves those of the other."""
    other = world.model_copy(update={"topic_prefix": f"{prefix}b."})
    await create_topics(other)
    one, two = ordinary_day(), Writer()
    two.take_over()
    more(two, "z")
    await put_journal(world, one.log)
    await put_journal(other, two.log)
    async with running(world) as first, running(other) as second:
        await until(follows(first, one))
        await until(follows(second, two))
    before = await seen(other, client)
    assert b"z1" in before["asks:default"]
    await as_built(world, client)
    assert await seen(other, client) == before


async def test_work_beside_ends_although_a_cancellation_is_lost() -> None:
    """A client may swallow one; the process stops all the same, and at once."""

    async def deaf() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            await asyncio.sleep(60)

    async with asyncio.timeout(10), _beside(deaf()):
        await asyncio.sleep(0)
