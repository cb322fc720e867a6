"""Reading topics by hand: whatever the broker did, the reader is put away and says nothing of its own."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.fetch import FetchRequest

from ops_stream.audit import reading
from ops_stream.contract.settings import Settings
from ops_stream.streams import bus
from tests.brokers import create_topics

pytestmark = pytest.mark.bus


@pytest.mark.parametrize("reader", [reading.reader, bus.reader])
async def test_a_reader_whose_fetches_fail_is_put_away(kafka: str, prefix: str, reader: Any) -> None:
    """aiokafka cancels its own fetches when it stops: that is no cancellation of whoever read."""
    settings = Settings(bootstrap_servers=kafka, topic_prefix=prefix, partitions=1)
    await create_topics(settings)
    async with reader(settings) as consumer:
        client, send = consumer._client, consumer._client.send

        async def failing(node: int, request: Any, **more: Any) -> Any:
            if isinstance(request, FetchRequest) or "Fetch" in type(request).__name__:
                raise KafkaConnectionError("gone")
            return await send(node, request, **more)

        client.send = failing
        place = TopicPartition(settings.topic("journal"), 0)
        consumer.assign([place])
        consumer.seek(place, 0)
        await asyncio.sleep(0.5)
    assert not any(each.connected() for each in client._conns.values()), "its connections are closed as well"


async def test_whoever_reads_can_be_cancelled(kafka: str, prefix: str) -> None:
    """A cancellation that is meant for the reader's task goes through."""
    settings = Settings(bootstrap_servers=kafka, topic_prefix=prefix, partitions=1)

    async def read() -> None:
        async with reading.reader(settings):
            await asyncio.sleep(30)

    task = asyncio.create_task(read())
    await asyncio.sleep(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 10)
