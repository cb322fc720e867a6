"""The load: asks at a rate, and the time until each answer. The same code for every system that is measured."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from ops_stream.contract.partitions import partition_for

PARTITIONS = 6
TENANTS = tuple(f"team-{number}" for number in range(24))


class _Named(msgspec.Struct):
    request_id: str


_name_of = msgspec.json.Decoder(_Named).decode


def ask(number: int, name: str) -> tuple[str, str, bytes]:
    """Tenant, request id and body of an ask of ordinary size (about 500 bytes)."""
    tenant, request_id = TENANTS[number % len(TENANTS)], f"{name}-{number}"
    body = {
        "request_id": request_id,
        "task_id": f"task-{name}-{number // 4}",
        "agent": "bench",
        "tenant": tenant,
        "task_description": "Look up the customer's booking, compare the fares and write a short answer.",
        "task_type": "support",
        "tool": "search_direct_flight",
        "arguments": {"origin": "JFK", "destination": "SEA", "date": "2024-05-20", "cabin": "economy"},
        "priority": 5,
        "estimated_cost_usd": 0.0125,
        "estimated_time_s": 600,
        "estimated_input_tokens": 4808,
        "estimated_output_tokens": 120,
        "tags": ["bench", "support"],
        "attributes": {"channel": "chat", "value_usd": 120},
    }
    return tenant, request_id, json.dumps(body).encode()


@dataclass
class Driver:
    """Sends asks to `source` and waits for their answers on `target`."""

    bootstrap: str
    source: str
    target: str
    latencies: list[float] = field(default_factory=list)
    _sent: dict[str, float] = field(default_factory=dict)
    _left: int = 0
    _done: asyncio.Event = field(default_factory=asyncio.Event)

    async def __aenter__(self) -> Driver:
        self.producer = AIOKafkaProducer(
            bootstrap_servers=self.bootstrap, acks="all", enable_idempotence=True, linger_ms=0
        )
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=self.bootstrap, group_id=None, auto_offset_reset="latest", max_poll_records=2000
        )
        await self.producer.start()
        await self._consumer.start()
        tps = [TopicPartition(self.target, partition) for partition in range(PARTITIONS)]
        self._consumer.assign(tps)
        await self._consumer.seek_to_end(*tps)
        for tp in tps:
            await self._consumer.position(tp)
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)
        await self._consumer.stop()
        await self.producer.stop()

    async def at_rate(self, rate: float, seconds: float, name: str) -> list[float]:
        """Ask at a rate; the latencies in milliseconds, once every ask is answered."""
        count = int(rate * seconds)
        self.latencies, self._left = [], count
        self._done.clear()
        started = perf_counter()
        for number in range(count):
            due = started + number / rate
            if due > perf_counter():
                await asyncio.sleep(due - perf_counter())
            tenant, request_id, body = ask(number, name)
            self._sent[request_id] = perf_counter()
            await self.producer.send(
                self.source, body, key=tenant.encode(), partition=partition_for(tenant, PARTITIONS)
            )
        await asyncio.wait_for(self._done.wait(), 120)
        return self.latencies

    async def flat_out(self, count: int, name: str) -> float:
        """Put `count` asks on the topic at once; answers a second, from the first send to the last answer."""
        self.latencies, self._left = [], count
        self._done.clear()
        started = perf_counter()
        await fill(self.producer, self.source, count, name, self._sent)
        await asyncio.wait_for(self._done.wait(), 600)
        return count / (perf_counter() - started)

    async def one(self, tenant: str, request_id: str, body: bytes) -> None:
        """Send one ask and wait for its answer."""
        self._left = 1
        self._done.clear()
        self._sent[request_id] = perf_counter()
        await self.producer.send(
            self.source, body, key=tenant.encode(), partition=partition_for(tenant, PARTITIONS)
        )
        await asyncio.wait_for(self._done.wait(), 120)

    async def _read(self) -> None:
        while True:
            for records in (await self._consumer.getmany(timeout_ms=500)).values():
                now = perf_counter()
                for record in records:
                    sent = self._sent.pop(_name_of(record.value).request_id, None)
                    if sent is not None:
                        self.latencies.append((now - sent) * 1000)
                        self._left -= 1
                if self._left <= 0:
                    self._done.set()


def report(number: int, name: str) -> tuple[str, str, bytes]:
    """Tenant, request id and body of the report that the task of an ask is done."""
    tenant, request_id = TENANTS[number % len(TENANTS)], f"{name}-{number}"
    body = {
        "event_id": f"e-{name}-{number}",
        "request_id": request_id,
        "task_id": f"task-{name}-{number // 4}",
        "agent": "bench",
        "tenant": tenant,
        "kind": "completed",
        "cost_usd": 0.011,
        "latency_ms": 900,
        "quality_score": 0.9,
    }
    return tenant, request_id, json.dumps(body).encode()


async def fill(
    producer: AIOKafkaProducer,
    topic: str,
    count: int,
    name: str,
    sent: dict[str, float] | None = None,
    made: Callable[[int, str], tuple[str, str, bytes]] = ask,
) -> None:
    """Write asks, or what else is `made`, in whole batches, so that writing them costs next to nothing."""
    batches = {partition: producer.create_batch() for partition in range(PARTITIONS)}
    waiting: list[asyncio.Future[object]] = []

    async def send(partition: int) -> None:
        waiting.append(await producer.send_batch(batches[partition], topic, partition=partition))
        batches[partition] = producer.create_batch()

    for number in range(count):
        tenant, request_id, body = made(number, name)
        partition = partition_for(tenant, PARTITIONS)
        if sent is not None:
            sent[request_id] = perf_counter()
        key = tenant.encode()
        if batches[partition].append(timestamp=None, key=key, value=body) is None:
            await send(partition)
            batches[partition].append(timestamp=None, key=key, value=body)
    for partition in range(PARTITIONS):
        await send(partition)
    await asyncio.gather(*waiting)


def percentile(values: list[float], share: float) -> float:
    """The nearest-rank percentile."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
