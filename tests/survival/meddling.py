"""What operators, strangers and accidents do to topics: deleted, trimmed, altered, written to by others."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.record.util import calc_crc32c_py

from ops_stream.contract.settings import Settings
from ops_stream.streams.bus import offsets, reader
from ops_stream.streams.cluster import create
from ops_stream.streams.reach import admin

VISIBLE_S = 30.0
POLL_S = 0.05
SET_ON_THE_TOPIC = 1
NAME_PLACE = "name-to-be-broken"
CRC_AT = 17
Headers = Sequence[tuple[str, bytes]]


async def alter_topic(settings: Settings, topic: str, **configs: str) -> None:
    """Set settings of a topic, leave its others, and wait until that can be seen."""
    name = settings.topic(topic)
    async with admin(settings) as client:
        # Altering replaces all that was set: say the others again.
        wanted = await _configs_of(client, name, own=True) | configs
        resource = ConfigResource(ConfigResourceType.TOPIC, name, configs=wanted)
        for response in await client.alter_configs([resource]):
            assert all(code == 0 for code, *_ in response.resources), response
        async with asyncio.timeout(VISIBLE_S):
            while not (await _configs_of(client, name)).items() >= wanted.items():
                await asyncio.sleep(POLL_S)


async def _configs_of(client: AIOKafkaAdminClient, name: str, *, own: bool = False) -> dict[str, str]:
    (response,) = await client.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)])
    entries = [entry for *_, entries in response.resources for entry in entries]
    return {entry[0]: entry[1] for entry in entries if entry[3] == SET_ON_THE_TOPIC or not own}


async def delete_topic(settings: Settings, topic: str) -> None:
    """Delete a topic and wait until the broker shows it no more."""
    name = settings.topic(topic)
    async with admin(settings) as client:
        response = await client.delete_topics([name])
        assert all(code == 0 for _, code, *_ in response.topic_error_codes), response
        async with asyncio.timeout(VISIBLE_S):
            while name in await client.list_topics():
                await asyncio.sleep(POLL_S)


async def recreate_topic(settings: Settings, topic: str) -> None:
    """Delete a topic of the catalogue and make it anew, empty."""
    await delete_topic(settings, topic)
    assert settings.topic(topic) in await create(settings)


async def trim_topic(settings: Settings, topic: str, partition: int, before: int) -> None:
    """Delete the records below an offset, as retention does."""
    tp = TopicPartition(settings.topic(topic), partition)
    async with admin(settings) as client:
        await client.delete_records({tp: RecordsToDelete(before)}, timeout_ms=30_000)


async def bounds(settings: Settings, topic: str) -> dict[int, tuple[int, int]]:
    """First and end offset of each partition."""
    tps = [TopicPartition(settings.topic(topic), p) for p in range(settings.partitions)]
    async with reader(settings) as consumer:
        return {tp.partition: found for tp, found in (await offsets(consumer, tps)).items()}


@asynccontextmanager
async def stranger(
    settings: Settings, *, transactional: bool = False, compression: str | None = None
) -> AsyncIterator[AIOKafkaProducer]:
    """A producer of somebody else's."""
    producer = AIOKafkaProducer(
        **settings.aiokafka(),
        acks="all",
        transactional_id=f"stranger-{secrets.token_hex(4)}" if transactional else None,
        compression_type=compression,
        max_request_size=16 << 20,
    )
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def put_raw(
    settings: Settings,
    topic: str,
    partition: int,
    value: bytes | None,
    *,
    key: bytes | None = None,
    headers: Headers = (),
    timestamp_ms: int | None = None,
    compression: str | None = None,
) -> int:
    """Write one record as it is; give its offset."""
    async with stranger(settings, compression=compression) as producer:
        # As a batch of one: aiokafka's `send` takes no record that has neither key nor value.
        batch = producer.create_batch()
        batch.append(timestamp=timestamp_ms, key=key, value=value, headers=list(headers))
        done = await (await producer.send_batch(batch, settings.topic(topic), partition=partition))
    return int(done.offset)


async def put_with_broken_header_name(settings: Settings, topic: str, partition: int, value: bytes) -> int:
    """Write a record with a header whose name is no text, which no well-behaved client can; give its offset."""
    async with stranger(settings) as producer:
        batch = producer.create_batch()
        batch.append(timestamp=None, key=None, value=value, headers=[(NAME_PLACE, b"x")])
        raw = bytearray(batch._build())
        at = raw.rindex(NAME_PLACE.encode())
        raw[at : at + len(NAME_PLACE)] = b"\xff" * len(NAME_PLACE)
        raw[CRC_AT : CRC_AT + 4] = calc_crc32c_py(bytes(raw[CRC_AT + 4 :])).to_bytes(4, "big")
        batch._buffer = bytes(raw)
        done = await (await producer.send_batch(batch, settings.topic(topic), partition=partition))
    return int(done.offset)


async def put_in_transaction(
    settings: Settings, topic: str, partition: int, values: Iterable[bytes], *, commit: bool = True
) -> list[int]:
    """Write records in one transaction and end it, which takes one offset more; give the records' offsets."""
    async with stranger(settings, transactional=True) as producer:
        await producer.begin_transaction()
        sent = [await producer.send(settings.topic(topic), value, partition=partition) for value in values]
        found = [int((await future).offset) for future in sent]
        await (producer.commit_transaction() if commit else producer.abort_transaction())
    return found
