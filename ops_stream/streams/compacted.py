"""Compacted outputs: whoever takes a partition over rewrites what a zombie may have put back.

Readers drop an output whose journal position is lower than one they have seen, but compaction keeps the last record of
a key, whatever its position. Of each key the record with the highest position must therefore also be the last.
"""

from __future__ import annotations

from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.structs import ConsumerRecord

from ops_stream.contract.headers import JournalPosition, read_position
from ops_stream.streams.bus import offsets, read_range

COMPACTED = ("agent-status", "kpis")


@dataclass(slots=True)
class _Key:
    newest: ConsumerRecord
    position: JournalPosition
    last: JournalPosition


async def rewrite_stale(
    consumer: AIOKafkaConsumer, producer: AIOKafkaProducer, topic: str, partition: int
) -> int:
    """Write again, at the end, the newest record of every key that an older one has overtaken; how many there were."""
    tp = TopicPartition(topic, partition)
    beginning, end = (await offsets(consumer, [tp]))[tp]
    keys: dict[bytes, _Key] = {}
    async for records in read_range(consumer, tp, beginning, end):
        for record in records:
            _take(keys, record)
    stale = [key for key in keys.values() if key.last < key.position]
    for key in stale:
        record = key.newest
        await producer.send_and_wait(
            topic, record.value, key=record.key, partition=partition, headers=list(record.headers)
        )
    return len(stale)


def _take(keys: dict[bytes, _Key], record: ConsumerRecord) -> None:
    position = read_position(record.headers)
    if record.key is None or position is None or position.partition != record.partition:
        return  # not written by a supervisor
    known = keys.get(record.key)
    if known is None:
        keys[record.key] = _Key(record, position, position)
        return
    known.last = position
    if known.position <= position:
        known.newest, known.position = record, position
