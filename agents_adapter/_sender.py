"""Sending: one idempotent producer, a queue a topic, and another try after every failure that may pass."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    KafkaError,
    MessageSizeTooLargeError,
    ProducerClosed,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
)

from ops_stream.contract.errors import OpsError

logger = logging.getLogger("agents_adapter")

_BATCH_BYTES: Final = 262_144
_REQUEST_MS: Final = 20_000
_GRACE_S: Final = 0.5
_BACKOFF_S: Final = 0.2
_BACKOFF_MAX_S: Final = 5.0
# What another try cannot cure, though it comes from Kafka.
_FINAL: Final = (MessageSizeTooLargeError, RecordListTooLargeError, TopicAuthorizationFailedError)


class NotDelivered(OpsError):
    """A record did not reach Kafka."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A record to write; `topic` is its whole name."""

    topic: str
    partition: int
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]


@dataclass(eq=False, slots=True)
class Posted:
    """A record on its way. `done` ends when the broker has it; `sent` says that the broker may have it.

    `timestamp_ms` is the broker's time of it, once `done` has ended well.
    """

    record: Outgoing
    number: int
    done: asyncio.Future[None]
    sent: bool = False
    timestamp_ms: int | None = None

    def withdraw(self) -> bool:
        """Do not send it after all; False where that comes too late."""
        return not self.sent and self.done.cancel()


@dataclass(eq=False)
class _Lane:
    """The records of one topic, in order. A full report topic never holds up an ask."""

    queue: deque[Posted] = field(default_factory=deque)
    flying: dict[int, Posted] = field(default_factory=dict)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self.queue) + len(self.flying)

    def put_back(self, posted: list[Posted]) -> None:
        """Queue again, in the order of the first time, however the failures came in."""
        for each in posted:
            self.flying.pop(each.number, None)
        self.queue = deque(sorted((*posted, *self.queue), key=lambda each: each.number))
        self.wake.set()


class Sender:
    """Writes records in order, a topic at a time; lives on the background loop."""

    def __init__(self, connection: Mapping[str, Any], renewed: Callable[[], None]) -> None:
        """`connection` are aiokafka's arguments; `renewed` is called after a failed producer was replaced."""
        self._connection = dict(connection)
        self._renewed = renewed
        self._producer: AIOKafkaProducer | None = None
        self._ready = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._lanes: dict[str, _Lane] = {}
        self._number = 0
        self._renewing: asyncio.Task[None] | None = None

    async def start(self) -> AIOKafkaProducer:
        """Connect, once; raises KafkaError or OSError where nobody answers."""
        if self._producer is None:
            self._producer = await self._connect()
        self._ready.set()
        return self._producer

    def post(self, record: Outgoing) -> Posted:
        """Queue a record; never waits."""
        loop = asyncio.get_running_loop()
        lane = self._lanes.get(record.topic)
        if lane is None:
            lane = self._lanes[record.topic] = _Lane()
            lane.task = loop.create_task(self._pump(lane))
        self._number += 1
        posted = Posted(record, self._number, loop.create_future())
        lane.queue.append(posted)
        lane.wake.set()
        self._idle.clear()
        return posted

    def waiting(self, topic: str) -> int:
        """How many records of a topic are not yet acknowledged."""
        lane = self._lanes.get(topic)
        return len(lane) if lane else 0

    async def flush(self, timeout_s: float) -> bool:
        """Wait until everything is acknowledged or has failed; False if time ran out."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        return self._idle.is_set()

    async def stop(self) -> None:
        """Give up what is not acknowledged and disconnect."""
        self._ready.clear()
        tasks = [lane.task for lane in self._lanes.values() if lane.task is not None]
        if self._renewing is not None:
            tasks.append(self._renewing)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._producer is not None:
            await _stop(self._producer)
        for lane in self._lanes.values():
            for posted in (*lane.flying.values(), *lane.queue):
                _fail(posted, NotDelivered("The client closed before Kafka acknowledged the record."))
        self._lanes.clear()
        self._idle.set()

    async def _connect(self) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            **self._connection,
            enable_idempotence=True,
            acks="all",
            max_batch_size=_BATCH_BYTES,
            request_timeout_ms=_REQUEST_MS,
        )
        try:
            await producer.start()
        except BaseException:
            await _stop(producer)
            raise
        return producer

    async def _pump(self, lane: _Lane) -> None:
        while True:
            while not lane.queue:
                lane.wake.clear()
                await lane.wake.wait()
            await self._ready.wait()
            posted = lane.queue.popleft()
            if posted.done.cancelled():  # withdrawn
                self._look_idle()
                continue
            await self._send(lane, posted)

    async def _send(self, lane: _Lane, posted: Posted) -> None:
        producer, record = self._producer, posted.record
        assert producer is not None
        lane.flying[posted.number] = posted
        posted.sent = True
        try:
            delivery = await producer.send(
                record.topic, record.value, record.key, record.partition, headers=record.headers
            )
        except Exception as error:
            self._failed(lane, posted, producer, error)
        else:
            delivery.add_done_callback(lambda done: self._delivered(lane, posted, producer, done))

    def _delivered(
        self, lane: _Lane, posted: Posted, producer: AIOKafkaProducer, delivery: asyncio.Future[Any]
    ) -> None:
        error = asyncio.CancelledError() if delivery.cancelled() else delivery.exception()
        if error is not None:
            self._failed(lane, posted, producer, error)
            return
        lane.flying.pop(posted.number, None)
        posted.timestamp_ms = delivery.result().timestamp
        if not posted.done.done():
            posted.done.set_result(None)
        self._look_idle()

    def _failed(self, lane: _Lane, posted: Posted, producer: AIOKafkaProducer, error: BaseException) -> None:
        if posted.number not in lane.flying:  # its producer was given up, it is queued again
            return
        of_kafka = isinstance(error, KafkaError | asyncio.CancelledError)
        if of_kafka and not isinstance(error, _FINAL):
            lane.put_back([posted])
        else:
            del lane.flying[posted.number]
            what = f"Kafka does not take the record: {_text(error)}."
            _fail(posted, NotDelivered(what, where=posted.record.topic))
            self._look_idle()
        # After a failed batch the broker still waits for its number: only a new producer gets on.
        if of_kafka and producer is self._producer and self._ready.is_set():
            logger.warning("The producer failed (%s) and is replaced.", _text(error))
            self._ready.clear()
            self._renewing = asyncio.get_running_loop().create_task(self._renew(producer))

    def _look_idle(self) -> None:
        if not any(map(len, self._lanes.values())):
            self._idle.set()

    async def _renew(self, old: AIOKafkaProducer) -> None:
        await _stop(old)
        for lane in self._lanes.values():
            lane.put_back(list(lane.flying.values()))
        backoff_s = _BACKOFF_S
        while True:
            try:
                self._producer = await self._connect()
            except (KafkaError, OSError) as error:
                logger.warning("Kafka cannot be reached (%s); trying again.", _text(error))
                await asyncio.sleep(backoff_s)
                backoff_s = min(2 * backoff_s, _BACKOFF_MAX_S)
            else:
                self._ready.set()
                self._renewed()
                return


def _fail(posted: Posted, error: OpsError) -> None:
    if not posted.done.done():
        posted.done.set_exception(error)
        posted.done.exception()  # looked at: whoever ignores the future gets no warning for it


async def _stop(producer: AIOKafkaProducer) -> None:
    """Disconnect. What is under way gets a moment; aiokafka alone would wait for it for ever."""
    stopping = asyncio.ensure_future(producer.stop())
    await asyncio.wait([stopping], timeout=_GRACE_S)
    if not stopping.done():
        # There is no public way to give up batches. Whoever posted them knows them still.
        producer._message_accumulator.fail_all(ProducerClosed())
        await asyncio.wait([stopping], timeout=_GRACE_S)
    if not stopping.done():
        # A broker that hangs holds a request open: end the connection under it.
        await producer.client.close()
        await asyncio.wait([stopping], timeout=_GRACE_S)
        stopping.cancel()
    await asyncio.gather(stopping, return_exceptions=True)


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
