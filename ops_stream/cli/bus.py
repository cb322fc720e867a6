"""What verbs do on the bus: read topics, write an event, wait for what follows."""

from __future__ import annotations

import asyncio
import getpass
import re
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaConnectionError
from aiokafka.structs import ConsumerRecord

from ops_stream.audit.reading import ANSWER_WITHIN_S, Bounds, bounds, read_ranges, reader
from ops_stream.cli.common import unreachable
from ops_stream.cli.events import Seen, read_event
from ops_stream.cli.keyring import signature_of
from ops_stream.contract.clocktext import format_time
from ops_stream.contract.codec import encode_json
from ops_stream.contract.errors import NotSo, WrongUse
from ops_stream.contract.headers import JournalPosition, event_headers, read_position
from ops_stream.contract.models import EVENTS
from ops_stream.contract.partitions import partition_for, tenant_key
from ops_stream.contract.settings import Settings
from ops_stream.contract.wire import is_id
from ops_stream.streams.reach import admin

SOURCE: Final = "/ops-stream/cli"
_POLL_MS: Final = 200
_PATIENCE_S: Final = 9.0


@dataclass(frozen=True, slots=True)
class Sent:
    """Where a record landed."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int = 0
    """The broker's time of it."""


@dataclass(slots=True)
class Bus:
    """The cluster as a verb sees it: names without prefix, partition counts, one reader."""

    settings: Settings
    counts: Mapping[str, int]
    consumer: AIOKafkaConsumer
    _highest: dict[tuple[str, int], tuple[int, int]] = field(default_factory=dict)

    def partitions_of(self, topic: str) -> int:
        """Give the partition count of a topic; raises NotSo where the cluster lacks it."""
        count = self.counts.get(topic)
        if count is None:
            raise NotSo(
                "A topic is missing.",
                where=self.settings.topic(topic),
                next_step="Create the topics with: ops-stream topics create",
            )
        return count

    def home(self, tenant: str, topic: str = "journal") -> int:
        """Give the partition on which a tenant lives."""
        return partition_for(tenant, self.partitions_of(topic))

    def places(self, topics: Iterable[str], partition: int | None = None) -> list[TopicPartition]:
        """Give the partitions of topics: all, or one of each."""
        return [
            TopicPartition(self.settings.topic(topic), number)
            for topic in topics
            for number in range(self.partitions_of(topic))
            if partition is None or number == partition
        ]

    def name_of(self, topic: str) -> str:
        """Give a topic's name without prefix."""
        return topic[len(self.settings.topic_prefix) :]

    async def ends(self, places: Iterable[TopicPartition]) -> Bounds:
        """Give first and end offset of partitions."""
        return await bounds(self.consumer, places)

    async def read(self, ranges: Bounds) -> AsyncIterator[ConsumerRecord]:
        """Give the records of ranges, each partition in its order."""
        async for _, records in read_ranges(self.consumer, ranges):
            for record in records:
                yield record

    def take(self, record: ConsumerRecord) -> Seen | None:
        """Read a supervisor's output; None where it is unreadable, not the supervisor's, or late."""
        seen = read_event(self.name_of(record.topic), record)
        if seen.body is None or seen.position is None:
            return None
        return None if self._is_late(record, seen.position) else seen

    def pass_by(self, record: ConsumerRecord) -> None:
        """Note where a supervisor's output stands without reading it: that is most of the work of `take`."""
        position = read_position(tuple(record.headers or ()))
        if position is not None:
            self._is_late(record, position)

    def _is_late(self, record: ConsumerRecord, position: JournalPosition) -> bool:
        place = (position.offset, position.index)
        stream = (record.topic, record.partition)
        if place < self._highest.get(stream, (-1, -1)):  # promise 4: a lost owner's output
            return True
        self._highest[stream] = place
        return False

    async def follow(self, starts: Mapping[TopicPartition, int]) -> AsyncIterator[ConsumerRecord]:
        """Give records as they come, from the given offsets on, for ever."""
        self.consumer.assign(list(starts))
        for tp, start in starts.items():
            self.consumer.seek(tp, start)
        heard = time.monotonic()
        while True:
            batches = await self.consumer.getmany(timeout_ms=_POLL_MS)
            for records in batches.values():
                for record in records:
                    yield record
            if batches:
                heard = time.monotonic()
            elif time.monotonic() - heard > ANSWER_WITHIN_S:
                # Silence, or a broker that is gone? The consumer would wait for ever.
                await bounds(self.consumer, list(starts)[:1])
                heard = time.monotonic()

    async def send(
        self,
        topic: str,
        value: bytes,
        *,
        key: bytes | None,
        partition: int,
        headers: list[tuple[str, bytes]],
    ) -> Sent:
        """Write one record and wait until it is acknowledged."""
        self.partitions_of(topic)
        producer = AIOKafkaProducer(
            **self.settings.aiokafka(),
            acks="all",
            enable_idempotence=True,
            max_request_size=6 * 1024 * 1024,
            request_timeout_ms=round(ANSWER_WITHIN_S * 1000),
        )
        try:
            async with asyncio.timeout(2 * ANSWER_WITHIN_S):
                await producer.start()
                done = await producer.send_and_wait(
                    self.settings.topic(topic), value, key=key, partition=partition, headers=headers
                )
        except TimeoutError:
            raise KafkaConnectionError("the broker takes no records") from None
        finally:
            await producer.stop()
        return Sent(topic, partition, int(done.offset), int(done.timestamp))

    async def send_event(
        self, topic: str, event: str, body: Mapping[str, Any], event_id: str, tenant: str
    ) -> Sent:
        """Write an event of the contract to a tenant's partition; what a person decides is signed with their key."""
        check(event, body)
        value = encode_json({"event": event, **body})
        signature = signature_of(self.settings, topic, event, body, value)
        return await self.send(
            topic,
            value,
            key=tenant_key(tenant),
            partition=self.home(tenant, topic),
            headers=[*event_headers(event, event_id, time=now_text(), source=SOURCE), *signature],
        )


@asynccontextmanager
async def connect(settings: Settings) -> AsyncIterator[Bus]:
    """Reach the cluster; raises KafkaUnreachable with the reason where that fails."""
    try:
        # Finding out why nobody answers takes as long again as waiting for an answer; people do not wait twice.
        async with asyncio.timeout(_PATIENCE_S), admin(settings) as client:
            rows = await client.describe_topics()
    except TimeoutError:
        raise unreachable(settings, _PATIENCE_S) from None
    prefix = settings.topic_prefix
    counts = {
        row["topic"][len(prefix) :]: len(row["partitions"]) for row in rows if row["topic"].startswith(prefix)
    }
    async with reader(settings) as consumer:
        yield Bus(settings, counts, consumer)


def check(
    event: str, body: Mapping[str, Any], *, where: str = "", next_step: str = "See what it takes with: --help"
) -> None:
    """Raise WrongUse where a body is not one of its event."""
    from pydantic import ValidationError

    try:
        EVENTS[event].from_wire(body)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
        name = ".".join(str(step) for step in problem["loc"])
        text = problem["msg"].removeprefix("Value error, ")
        raise WrongUse(f"{name}: {text}.", where=where, next_step=next_step) from None


def now_text() -> str:
    """Give the time of this machine: data for people, never a basis of a decision."""
    return format_time(time.time_ns() // 1_000_000)


def who(name: str | None) -> str:
    """Give the name of the person who acts: as said, else that of the login."""
    if name is None:
        try:
            name = getpass.getuser()
        except (KeyError, OSError):
            name = "unknown"
        name = re.sub(r"[^A-Za-z0-9._:@/-]", "-", name)[:128] or "unknown"
    if is_id(name) is None:
        raise WrongUse(
            "A name has 1 to 128 characters of A-Z a-z 0-9 . _ : @ / -",
            where="--as",
            next_step="Write for example: --as alice@example.com",
        )
    return name
