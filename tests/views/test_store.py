"""Writing to Redis: one writer at a time, each piece whole, a new generation beside the old."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis

from ops_stream.views.position import Position
from ops_stream.views.reader import NoView, Views
from ops_stream.views.store import LEASE_MS, Fenced, Moved, Store
from tests.audit.journals import KEY, ordinary_day
from tests.views.looking import KEYS, dump, fill

AT = Position(1, 0, "a" * 64, 5, 1)


async def test_one_writer_at_a_time(store: Store, client: Redis) -> None:
    """Who has the lease keeps others out until it is given back or has run out; nobody gives back another's."""
    other = Store(client, KEYS)
    assert not await other.take_lease()
    await other.release()
    assert not await other.take_lease() and await store.take_lease()
    assert 0 < await client.pttl(KEYS.lease) <= LEASE_MS
    await store.release()
    assert await other.take_lease()


async def test_a_writer_without_the_lease_changes_nothing(store: Store, client: Redis) -> None:
    """One that was away while its lease ran out writes nothing, moves nothing, swaps nothing and removes nothing."""
    generation = await store.begin(1, "x")
    await fill(store, generation, ordinary_day().log, key=KEY)
    await store.swap(generation, None, "")
    await client.delete(KEYS.lease)
    other = Store(client, KEYS)
    assert await other.take_lease()
    before = {key: await client.dump(key) for key in await client.keys()}
    put = [("put", "asks", "t", "r", "{}")]
    with pytest.raises(Fenced):
        await store.apply(generation, 1, None, AT, put)
    with pytest.raises(Fenced):
        await store.beat(generation, 1, 0, 0, {0: 5})
    with pytest.raises(Fenced):
        await store.swap(generation, None, "")
    with pytest.raises(Fenced):
        await store.sweep(())
    assert {key: await client.dump(key) for key in await client.keys()} == before
    with pytest.raises(Fenced):
        await store.begin(1, "x")


async def test_nothing_is_written_twice(store: Store, client: Redis) -> None:
    """A piece whose position is not the one that is there is refused whole: it was written before, or is too early."""
    generation = await store.begin(1, "x")
    put = [("feed", "0-1", "t", "T", "t", "i", "at", "{}"), ("put", "asks", "t", "r", "{}")]
    await store.apply(generation, 0, None, AT, put)
    before = await dump(client, generation=generation)
    for known, after in ((None, AT), (Position(7), Position(8))):
        with pytest.raises(Moved):
            await store.apply(generation, 0, known, after, [("put", "asks", "t", "x", "{}")])
    assert await dump(client, generation=generation) == before


async def test_a_piece_that_broke_off_is_made_good(store: Store, client: Redis) -> None:
    """Redis does not take back what a script wrote before an error: written again, it is whole."""
    generation = await store.begin(1, "x")
    base = KEYS.base(generation)
    piece = [
        ("feed", "0-1", "topic", "T", "t", "i", "at", "{}"),
        ("put", "asks", "t", "r", "{}"),
        ("call", "e1", "t", "5", "{}"),
        ("put", "agents", "t", "a", "{}"),
    ]
    await client.set(f"{base}agents:t", "in the way")
    with pytest.raises(Moved):
        await store.apply(generation, 0, None, AT, piece)
    assert not await client.exists(f"{base}pos")
    assert await client.exists(f"{base}feed:0"), "the half of it is there"
    await client.delete(f"{base}agents:t")
    await store.apply(generation, 0, None, AT, piece)
    clean = await store.begin(1, "x")
    await store.apply(clean, 0, None, AT, piece)
    assert await dump(client, generation=generation) == await dump(client, generation=clean)


async def test_readers_see_a_generation_only_once_it_is_whole(store: Store, client: Redis) -> None:
    """Before the first there is no view; a second one is not seen while it is filled, and never while it is behind."""
    views, log = Views(client, KEYS), ordinary_day().log
    with pytest.raises(NoView):
        await views.fresh()
    first = await store.begin(1, "x")
    await fill(store, first, log, key=KEY)
    with pytest.raises(NoView):
        await views.decision("default", "r1")
    assert await store.swap(first, None, "")
    second = await store.begin(1, "x")
    position = await fill(store, second, log[:9], key=KEY)
    assert not await store.swap(second, first, "w")
    assert (await views.fresh()).generation == first and await store.answered() == ""
    await fill(store, second, log[9:], key=KEY, position=position)
    assert await store.swap(second, first, "w")
    assert (await views.fresh()).generation == second and await store.answered() == "w"
    assert await dump(client, generation=first) == await dump(client, generation=second)


async def test_old_generations_are_removed_and_nothing_else(store: Store, client: Redis) -> None:
    """All keys of other generations go, the half-built ones too; the one in use, and what is not ours, stay."""
    log = ordinary_day().log
    for _ in range(3):
        number = await store.begin(1, "x")
        await fill(store, number, log, key=KEY)
    await store.swap(2, None, "")
    for foreign in ("ops.views:", "ops.views:notes:1:x", "ops.views2:1:x", "other.views:1:asks:t", "1:asks"):
        await client.set(foreign, "theirs")
    before = await dump(client)
    assert await store.sweep((2,)) > 20
    left = {key.decode() for key in await client.keys()}
    assert await dump(client) == before
    assert {key for key in left if not key.startswith(KEYS.base(2))} == {
        "ops.views:", "ops.views:notes:1:x", "ops.views2:1:x", "other.views:1:asks:t", "1:asks",
        KEYS.gen, KEYS.lease, KEYS.numbers,
    }  # fmt: skip


async def test_what_was_filled_by_another_rule_is_not_taken_up(store: Store, client: Redis) -> None:
    """Other partitions, other checks, another form, or a position that is none: it is to be built anew."""
    generation = await store.begin(1, "key k")
    assert await store.positions(generation, 1, "key k") is None
    at = await fill(store, generation, ordinary_day().log, key=KEY)
    assert await store.positions(generation, 1, "key k") == {0: at}
    assert await store.positions(generation, 2, "key k") is None
    assert await store.positions(generation, 1, "chain") is None
    await client.hset(f"{KEYS.base(generation)}pos", "0", "12|x")
    assert await store.positions(generation, 1, "key k") is None
    await client.hset(f"{KEYS.base(generation)}meta", "format", "0")
    assert await store.positions(generation, 1, "key k") is None


async def test_a_view_that_was_taken_away_is_noticed(store: Store, client: Redis) -> None:
    """Where pointer, positions or what says how it was made are gone, the writer hears of it at its next beat."""
    generation = await store.begin(1, "x")
    await fill(store, generation, ordinary_day().log, key=KEY)
    await store.swap(generation, None, "")
    await store.beat(generation, 1, 0, 0, {0: 1})
    positions = await client.hgetall(f"{KEYS.base(generation)}pos")
    await client.delete(f"{KEYS.base(generation)}pos")
    with pytest.raises(Moved):
        await store.beat(generation, 1, 0, 0, {0: 1})
    await client.hset(f"{KEYS.base(generation)}pos", mapping=positions)
    await client.delete(KEYS.gen)
    with pytest.raises(Moved):
        await store.beat(generation, 1, 0, 0, {0: 1})
    await client.set(KEYS.gen, generation)
    await client.delete(f"{KEYS.base(generation)}meta")
    with pytest.raises(Moved):
        await store.beat(generation, 1, 0, 0, {0: 1})


async def test_answers_say_how_old_they_may_be(store: Store, client: Redis) -> None:
    """What the writer knew when it looked, and how long ago that is by Redis's clock."""
    generation = await store.begin(1, "x")
    await fill(store, generation, ordinary_day().log, key=KEY)
    await store.swap(generation, None, "")
    await store.beat(generation, 1, 4_000, 12, {0: 37})
    fresh = (await Views(client, KEYS).decision("default", "r0")).fresh
    assert (fresh.behind_records, fresh.ends[0], fresh.positions[0].next) == (12, 37, 25)
    assert 4 <= fresh.behind_s < 8 and fresh.looked_s < 4
    await client.hset(f"{KEYS.base(generation)}head", "checked_ms", 1_000)
    assert (await Views(client, KEYS).fresh()).behind_s > 1_000_000
