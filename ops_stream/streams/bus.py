"""The worker's own Kafka clients: the journal's producer, and readers of ranges outside the consumer group."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.structs import ConsumerRecord

from ops_stream.contract.anyheaders import read_any_header_name
from ops_stream.contract.consumers import put_away
from ops_stream.contract.settings import Settings

BATCH_BYTES = 512 * 1024
REQUEST_BYTES_MAX = 6 * 1024 * 1024
READ_TIMEOUT_MS = 500


def new_producer(settings: Settings) -> AIOKafkaProducer:
    """The idempotent producer that appends to the journal and publishes behind it."""
    return AIOKafkaProducer(
        **settings.aiokafka(),
        acks="all",
        enable_idempotence=True,
        linger_ms=0,
        max_batch_size=BATCH_BYTES,
        max_request_size=REQUEST_BYTES_MAX,
        request_timeout_ms=30_000,
        metadata_max_age_ms=60_000,
    )


def new_reader(settings: Settings) -> AIOKafkaConsumer:
    """A consumer without a group: it reads what it is assigned by hand and commits nothing."""
    read_any_header_name()
    return AIOKafkaConsumer(
        **settings.aiokafka(),
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="none",
        max_partition_fetch_bytes=REQUEST_BYTES_MAX,
        max_poll_records=500,
        fetch_max_wait_ms=100,
    )


@asynccontextmanager
async def reader(settings: Settings) -> AsyncIterator[AIOKafkaConsumer]:
    """A started reader, stopped at the end."""
    consumer = new_reader(settings)
    await consumer.start()
    try:
        # aiokafka's tasks must have begun: stopped before that, it raises CancelledError.
        await asyncio.sleep(0)
        yield consumer
    finally:
        await put_away(consumer)


async def read_range(
    consumer: AIOKafkaConsumer, tp: TopicPartition, start: int, end: int
) -> AsyncIterator[list[ConsumerRecord]]:
    """The records of `tp` from `start` to before `end`, in lists. Offsets that hold nothing are passed over."""
    if start >= end:
        return
    consumer.assign([tp])
    consumer.seek(tp, start)
    while await consumer.position(tp) < end:
        batches = await consumer.getmany(tp, timeout_ms=READ_TIMEOUT_MS)
        records = [record for record in batches.get(tp, []) if record.offset < end]
        if records:
            yield records


async def offsets(
    consumer: AIOKafkaConsumer, tps: Iterable[TopicPartition]
) -> dict[TopicPartition, tuple[int, int]]:
    """First and end offset of each partition."""
    wanted = list(tps)
    beginnings = await consumer.beginning_offsets(wanted)
    ends = await consumer.end_offsets(wanted)
    return {tp: (beginnings[tp], ends[tp]) for tp in wanted}
