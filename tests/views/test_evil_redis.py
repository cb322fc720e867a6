"""A Redis that is full, a replica, or holds what is not ours: nothing is hidden, nothing is stuck, nothing is told."""

from __future__ import annotations

import json

import pytest
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError
from structlog.testing import LogCapture

from ops_stream.contract.errors import SettingsInvalid
from ops_stream.contract.settings import Settings
from ops_stream.embedded import EmbeddedRedis
from ops_stream.views import service
from ops_stream.views.address import connect, shown, why
from ops_stream.views.position import Position
from ops_stream.views.reader import Views
from ops_stream.views.service import Options, Service
from ops_stream.views.store import Moved, Store
from tests.views.looking import KEYS

AT = Position(1, 0, "a" * 64, 5, 1)


async def test_the_memory_that_redis_may_take_is_kept(store: Store, client: Redis) -> None:
    """At `maxmemory` a piece is refused before any of it is done: the limit is the operator's."""
    generation = await store.begin(1, "x")
    await client.config_set("maxmemory", (await client.info("memory"))["used_memory"] - 10_000)
    try:
        for piece in (
            [("put", "asks", "t", f"r{number}", "x" * 1_000) for number in range(250)],
            [("drop", "asks", "t", "r0"), ("put", "asks", "t", "r0", "x" * 1_000)],
        ):
            with pytest.raises(ResponseError) as full:
                await store.apply(generation, 0, None, AT, piece)
            assert why(full.value) == "its memory is full"
        assert not await client.exists(f"{KEYS.base(generation)}asks:t")
    finally:
        await client.config_set("maxmemory", 0)
    await store.apply(generation, 0, None, AT, [("put", "asks", "t", "r", "{}")])


@pytest.mark.parametrize(
    ("maxmemory", "policy", "warned"),
    [(0, "allkeys-lru", False), (10**9, "noeviction", False), (10**9, "volatile-lru", False),
     (10**9, "allkeys-lru", True), (10**9, "allkeys-random", True)],
)  # fmt: skip
async def test_a_redis_that_throws_keys_away_is_warned_of(
    client: Redis,
    redis: EmbeddedRedis,
    monkeypatch: pytest.MonkeyPatch,
    maxmemory: int,
    policy: str,
    warned: bool,
) -> None:
    """What Redis evicts is missing until a rebuild, and nothing else tells: so the log does when a session begins."""
    await client.config_set("maxmemory", maxmemory)
    await client.config_set("maxmemory-policy", policy)
    try:
        said = LogCapture()
        monkeypatch.setattr(service, "log", structlog.wrap_logger(None, processors=[said]))
        await Service(Options(Settings(redis_url=redis.url)))._look_at_eviction()
        assert [line.get("maxmemory_policy") for line in said.entries] == [policy] * warned
    finally:
        await client.config_set("maxmemory", 0)
        await client.config_set("maxmemory-policy", "noeviction")


async def test_what_redis_says_inside_a_script_is_understood(store: Store, client: Redis) -> None:
    """A replica, and a key of another kind: the log has a sentence for each, and not the class of an error."""
    await client.execute_command("REPLICAOF", "127.0.0.1", "1")
    try:
        with pytest.raises(RedisError) as replica:
            await store.take_lease()
    finally:
        await client.execute_command("REPLICAOF", "NO", "ONE")
    assert why(replica.value) == "it is a replica, and takes no writes"
    await client.delete(KEYS.lease)
    await client.lpush(KEYS.lease, "theirs")
    with pytest.raises(RedisError) as in_the_way:
        await store.take_lease()
    assert why(in_the_way.value) == "a key of another kind stands where one of the views belongs"


@pytest.mark.parametrize("name", ["asks:t", "pos", "feed:0", "open", "tenants:asks", "head", "meta"])
async def test_a_generation_with_a_key_of_another_kind_is_given_up(
    store: Store, client: Redis, name: str
) -> None:
    """Whatever stands in the way: it is noticed at the next write or at the start, and another one is built."""
    generation = await store.begin(1, "x")
    await store.apply(generation, 0, None, AT, [("put", "asks", "t", "r", "{}")])
    await store.swap(generation, None, "")
    key = f"{KEYS.base(generation)}{name}"
    await client.delete(key)
    await client.setbit(key, 0, 1)
    piece = [("put", "asks", "u", "r", "{}"), ("call", "e", "t", "5", "{}"), ("put", "asks", "t", "s", "{}")]
    feed = ("feed", "1-1", "topic", "T", "t", "i", "at", "{}")
    if name != "meta":
        with pytest.raises(Moved):
            await store.apply(generation, 0, AT, Position(2, 1, "b" * 64, 6, 2), [*piece, feed])
            await store.beat(generation, 1, 0, 0, {0: 2})
    assert await store.positions(generation, 1, "x") is None


async def test_the_figures_of_any_number_of_tenants_add_up(store: Store, client: Redis) -> None:
    """1,500 tenants with ten figures each are more than one answer holds: none is left out of the sum."""
    generation = await store.begin(1, "x")
    piece = []
    for number in range(1_500):
        for kpi in ("cost_per_completed_objective_usd", "success_rate", "human_escalation_rate", "x", "y"):
            for window_s in (3_600, 86_400):
                body = {"kpi": kpi, "window_s": window_s, "window_start": "2026-11-29T13:00:00.000Z"}
                body |= {"numerator": number >= 1_400, "denominator": 1}
                piece.append(("newest", f"t{number}", f"{kpi}|{window_s}", "1", json.dumps(body)))
    await store.apply(generation, 0, None, AT, piece)
    await store.swap(generation, None, "")
    figures = await Views(client, KEYS).kpis_now()
    assert len(figures) == 10 and set(figures.values()) == {100 / 1_500}


@pytest.mark.parametrize(
    "url",
    [
        "redis://:123/4canary@host:6379/0",
        "redis://user:12/canary@host:6379/0",
        "redis://:word@canary/word@host:6379/0",
        "rediss://host:6379/canary",
    ],
)
def test_an_address_that_is_read_otherwise_than_meant_is_refused_and_not_shown(url: str) -> None:
    """A `/` in a password ends the host: what is behind it is no database, and may be the rest of the password."""
    settings = Settings(redis_url=url)
    with pytest.raises(SettingsInvalid) as refused:
        connect(settings)
    assert "canary" not in f"{refused.value} {refused.value.next_step} {shown(settings)}"
    assert shown(Settings(redis_url="redis://me:canary%2F@host:6379/15")) == "redis://host:6379/15"
