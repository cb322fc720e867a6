"""A Redis of the views' own: to be emptied, stopped and killed without harm to other tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from ops_stream.embedded import EmbeddedRedis
from ops_stream.views.store import Store
from tests.views.looking import KEYS


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    """Run a Redis for one file of tests."""
    server = EmbeddedRedis(tmp_path_factory.mktemp("views-redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def client(redis: EmbeddedRedis) -> AsyncIterator[Redis]:
    """Give a client of it, with nothing in it."""
    redis.start()
    async with Redis.from_url(redis.url, retry=Retry(NoBackoff(), 3)) as found:
        await found.flushall()
        yield found


@pytest.fixture
async def store(client: Redis) -> Store:
    """Give a writer that has the lease."""
    made = Store(client, KEYS)
    assert await made.take_lease()
    return made
