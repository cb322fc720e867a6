"""What is measured, each in a process of its own: `python -m tests.bench.systems echo|nothing …`."""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import Any

import uvloop
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

PARTITIONS = 6


async def echo(bootstrap: str, source: str, target: str) -> None:
    """Send every record back as it came: what any ask and answer over Kafka costs in Python at least."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True, linger_ms=0)
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=None, auto_offset_reset="earliest")
    await producer.start()
    await consumer.start()
    consumer.assign([TopicPartition(source, partition) for partition in range(PARTITIONS)])
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    async for record in consumer:
        await producer.send(target, record.value, key=record.key, partition=record.partition)


def nothing(bootstrap: str, source: str, count: int) -> None:
    """A Faust agent that does nothing with each of `count` records; prints the seconds that they took."""
    import faust

    logging.disable(logging.INFO)
    app = faust.App(
        f"nothing-{source}",
        broker=f"kafka://{bootstrap}",
        store="memory://",
        consumer_auto_offset_reset="earliest",
        topic_disable_leader=True,
        topic_allow_declare=False,
        web_enabled=False,
        broker_max_poll_records=500,
        stream_buffer_maxsize=512,
    )
    topic = app.topic(source, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")
    seen: dict[str, Any] = {"count": 0, "since": 0.0}

    async def ignore(stream: Any) -> None:
        loop = asyncio.get_running_loop()
        async for _ in stream:
            if not seen["count"]:
                seen["since"] = loop.time()
            seen["count"] += 1
            if seen["count"] == count:
                sys.stdout.write(f"{loop.time() - seen['since']}\n")
                sys.stdout.flush()

    app.agent(topic)(ignore)

    async def run() -> None:
        await app.start()
        await app.wait_until_stopped()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


def main() -> None:
    """Run the system that the first argument names."""
    name, bootstrap, *rest = sys.argv[1:]
    if name == "echo":
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(echo(bootstrap, rest[0], rest[1]))
    else:
        nothing(bootstrap, rest[0], int(rest[1]))


if __name__ == "__main__":
    main()
