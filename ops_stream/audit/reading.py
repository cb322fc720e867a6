"""Reading topics by hand: ranges outside any group, nothing committed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping
from contextlib import asynccontextmanager
from time import monotonic
from typing import TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaConnectionError
from aiokafka.structs import ConsumerRecord

from ops_stream.contract.anyheaders import read_any_header_name
from ops_stream.contract.consumers import put_away
from ops_stream.contract.settings import Settings

ANSWER_WITHIN_S = 10.0
_FETCH_BYTES = 6 * 1024 * 1024
_WAIT_MS = 500

Bounds = Mapping[TopicPartition, tuple[int, int]]
T = TypeVar("T")


@asynccontextmanager
async def reader(settings: Settings) -> AsyncIterator[AIOKafkaConsumer]:
    """A started consumer without a group, stopped at the end."""
    read_any_header_name()
    consumer = AIOKafkaConsumer(
        **settings.aiokafka(),
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="none",
        max_partition_fetch_bytes=_FETCH_BYTES,
        max_poll_records=1000,
        fetch_max_wait_ms=100,
        request_timeout_ms=round(ANSWER_WITHIN_S * 1000),
    )
    try:
        await _within(consumer.start())
        # aiokafka's own tasks must have begun, or its stop raises their CancelledError.
        await asyncio.sleep(0)
        yield consumer
    finally:
        await put_away(consumer)


async def bounds(consumer: AIOKafkaConsumer, partitions: Iterable[TopicPartition]) -> Bounds:
    """First and end offset of each partition."""
    wanted = list(partitions)
    if not wanted:
        return {}
    # All topics at once: otherwise each that is new costs a round of metadata of its own.
    client = consumer._client
    await _within(asyncio.gather(*(client.add_topic(topic) for topic in {tp.topic for tp in wanted})))
    beginnings = await _within(consumer.beginning_offsets(wanted))
    ends = await _within(consumer.end_offsets(wanted))
    return {tp: (int(beginnings[tp]), int(ends[tp])) for tp in wanted}


async def read_ranges(
    consumer: AIOKafkaConsumer, ranges: Bounds
) -> AsyncIterator[tuple[TopicPartition, list[ConsumerRecord]]]:
    """The records of each partition from its start to before its end, each partition in its order.

    Raises KafkaConnectionError where the broker gives nothing for too long.
    """
    left = {tp: end for tp, (start, end) in ranges.items() if start < end}
    if not left:
        return
    consumer.assign(list(left))
    for tp in left:
        consumer.seek(tp, ranges[tp][0])
    moved = monotonic()
    while left:
        batches = await consumer.getmany(timeout_ms=_WAIT_MS)
        for tp, batch in batches.items():
            records = [record for record in batch if tp in left and record.offset < left[tp]]
            if records:
                yield tp, records
        if batches:
            moved = monotonic()
        for tp in [tp for tp, end in left.items() if await _within(consumer.position(tp)) >= end]:
            del left[tp]
            consumer.pause(tp)
        if left and monotonic() - moved > ANSWER_WITHIN_S:
            raise KafkaConnectionError("the broker gives no records")


async def _within(answer: Awaitable[T]) -> T:
    try:
        async with asyncio.timeout(ANSWER_WITHIN_S):
            return await answer
    except TimeoutError:
        raise KafkaConnectionError("the broker does not answer in time") from None
