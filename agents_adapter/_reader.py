"""Reading: one consumer for the whole process, a task for each partition that a client needs.

A partition is read from its end as it was when the reader started, without a group. Headers are looked at
before any body, so that the answers to other processes cost a few microseconds each.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError, OffsetOutOfRangeError, RecordTooLargeError
from aiokafka.structs import ConsumerRecord

from ops_stream.contract.anyheaders import read_any_header_name

logger = logging.getLogger("agents_adapter")

_FETCH_WAIT_MS: Final = 250
_POLL_MS: Final = 1000
_STALE_MS: Final = 2000
_REQUEST_MS: Final = 20_000
_FETCH_BYTES: Final = 4 * 1024 * 1024
_BACKOFF_S: Final = 0.2
_GRACE_S: Final = 0.5
_DIGITS_MAX: Final = 18
LATELY_MAX: Final = 4096
LATELY_BYTES_MAX: Final = 4 * 1024 * 1024
SUBJECT: Final = "ce_subject"

Position = tuple[int, int]
"""Where the journal says an output comes from: offset and index."""


class Watcher(Protocol):
    """Whoever waits for records about a subject.

    One that `proves` is given every record and judges its position by itself: anybody who may write to the topic can
    make the highest position seen one that no genuine record reaches.
    """

    @property
    def proves(self) -> bool:
        """Whether it does."""

    def offer(self, record: ConsumerRecord, position: Position) -> None:
        """Take a record about the subject, and where the journal has it.

        Called in the order of the partition.
        """


class PartitionReader:
    """Reads one partition and hands records to those who watch their subject."""

    def __init__(self, tp: TopicPartition, *, by: str | None = SUBJECT) -> None:
        """Describe a reader; `Intake.open` starts it. The subject is in the header `by`; None: it is the key."""
        self.tp = tp
        self.by = by
        self.users = 0
        self.next_offset: int | None = None
        self.highest: Position = (-1, -1)
        self.proved: Position = (-1, -1)
        self.established = asyncio.Event()
        self.seen = self.stale = self.unmarked = 0
        self.task: asyncio.Task[None] | None = None
        self.lately: Lately | None = None
        """What came last, where somebody wants to know that."""
        self._watchers: dict[bytes, list[Watcher]] = {}

    def watch(self, subject: str, watcher: Watcher) -> None:
        """Hand over every record about `subject` from now on."""
        self._watchers.setdefault(subject.encode(), []).append(watcher)

    def unwatch(self, subject: str, watcher: Watcher) -> None:
        """Hand over no more."""
        key = subject.encode()
        watchers = [each for each in self._watchers.get(key, ()) if each is not watcher]
        if watchers:
            self._watchers[key] = watchers
        else:
            self._watchers.pop(key, None)

    def _tell_unmarked(self, record: ConsumerRecord) -> None:
        if not self.unmarked:  # once: whoever floods the topic is not to flood the log
            logger.warning(
                "A record of %s at offset %d has no sound `ops-journal` header and does not count. "
                "Who may write there but the supervisor?",
                self.tp.topic,
                record.offset,
            )
        self.unmarked += 1

    def take(self, records: Sequence[ConsumerRecord]) -> None:
        """Look at records in order; what is older than what was seen already is dropped (promise 4)."""
        for record in records:
            if self.next_offset is None or record.offset < self.next_offset:  # fetched twice around a seek
                continue
            self.next_offset = record.offset + 1
            self.seen += 1
            subject, position = _marks(record, self.tp.partition, self.by)
            if self.by is None:
                subject = record.key
            if position is None:
                self._tell_unmarked(record)
                continue
            stale = position < self.highest
            if stale:
                self.stale += 1
                logger.debug("A late record of %s at offset %d.", self.tp.topic, record.offset)
            self.highest = max(self.highest, position)
            if self.lately is not None:
                self.lately.add(record, subject, position, stale)
            for watcher in self._watchers.get(subject, ()) if subject is not None else ():
                if watcher.proves or not stale:
                    _offer(watcher, record, position)


class Lately:
    """What a partition brought last: for who begins to watch a subject of which something may have come already."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._kept: deque[tuple[ConsumerRecord, bytes | None, Position, bool]] = deque()
        self._bytes = 0
        self._lost_ms = -1

    def add(self, record: ConsumerRecord, subject: bytes | None, position: Position, stale: bool) -> None:
        """Keep a record, and forget the oldest where that is too much."""
        self._kept.append((record, subject, position, stale))
        self._bytes += len(record.value or b"")
        while len(self._kept) > LATELY_MAX or self._bytes > LATELY_BYTES_MAX:
            lost = self._kept.popleft()[0]
            self._bytes -= len(lost.value or b"")
            self._lost_ms = max(self._lost_ms, lost.timestamp)

    def covers(self, since_ms: int) -> bool:
        """Whether nothing was forgotten that came at a time, on the broker's clock, or after."""
        return self._lost_ms < since_ms

    def tell(self, subject: str, watcher: Watcher) -> None:
        """Hand over what came about a subject."""
        wanted = subject.encode()
        for record, about, position, stale in tuple(self._kept):
            if about == wanted and (watcher.proves or not stale):
                _offer(watcher, record, position)


class Intake:
    """The process's one consumer of a cluster; lives on the background loop."""

    def __init__(self, connection: Mapping[str, Any], reconnected: Callable[[], None]) -> None:
        """`connection` are aiokafka's arguments.

        `reconnected` is called when answers may have been missed.
        """
        self._connection = dict(connection)
        self._reconnected = reconnected
        self._consumer: AIOKafkaConsumer | None = None
        self._readers: dict[TopicPartition, PartitionReader] = {}
        self._answered_ms = 0.0

    async def start(self) -> None:
        """Connect; raises KafkaError or OSError where nobody answers."""
        read_any_header_name()  # else one such record, of anybody who may write there, ends all reading
        consumer = AIOKafkaConsumer(
            **self._connection,
            group_id=None,
            enable_auto_commit=False,
            # A position that is gone is an event of its own here, never a silent jump.
            auto_offset_reset="none",
            fetch_max_wait_ms=_FETCH_WAIT_MS,
            max_partition_fetch_bytes=_FETCH_BYTES,
            request_timeout_ms=_REQUEST_MS,
        )
        try:
            await consumer.start()
        except BaseException:
            await stop_consumer(consumer)
            raise
        self._consumer = consumer

    async def stop(self) -> None:
        """Stop all reading and disconnect."""
        tasks = [reader.task for reader in self._readers.values() if reader.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._readers.clear()
        if self._consumer is not None:
            await stop_consumer(self._consumer)

    def open(self, topic: str, partition: int, *, by: str | None = SUBJECT) -> PartitionReader:
        """Read a partition, or share the reader that is there.

        Wait for `established` before relying on it.
        """
        tp = TopicPartition(topic, partition)
        reader = self._readers.get(tp)
        if reader is None:
            reader = self._readers[tp] = PartitionReader(tp, by=by)
            reader.task = asyncio.get_running_loop().create_task(self._read(reader))
        reader.users += 1
        return reader

    async def close(self, reader: PartitionReader) -> None:
        """Give a reader back; the last user ends it."""
        reader.users -= 1
        if reader.users or self._readers.get(reader.tp) is not reader:
            return
        del self._readers[reader.tp]
        if reader.task is not None:
            reader.task.cancel()
            await asyncio.gather(reader.task, return_exceptions=True)
        self._assign()

    async def _read(self, reader: PartitionReader) -> None:
        await self._establish(reader)
        reader.established.set()
        connection = _Connection()
        while True:
            try:
                await self._read_some(reader)
            except OffsetOutOfRangeError:
                logger.warning("The position on %s is gone; starting again at its end.", reader.tp.topic)
                await self._establish(reader)
                self._reconnected()
            except (KafkaError, IllegalStateError) as error:
                logger.warning("Reading %s failed (%s); trying again.", reader.tp.topic, type(error).__name__)
                await asyncio.sleep(_BACKOFF_S)
            if connection.is_back(self._consumer, reader.tp, self._answered_ms):
                self._reconnected()

    async def _read_some(self, reader: PartitionReader) -> None:
        consumer, tp = self._consumer, reader.tp
        assert consumer is not None
        try:
            batches = await consumer.getmany(tp, timeout_ms=_POLL_MS)
        except RecordTooLargeError:  # aiokafka has stepped over it; nothing of ours is that large
            return
        reader.take(batches.get(tp, ()))

    async def _establish(self, reader: PartitionReader) -> None:
        """Fetch the end of the partition and seek to it: what is asked later is answered behind it."""
        consumer, tp = self._consumer, reader.tp
        assert consumer is not None
        while True:
            try:
                reader.next_offset = (await consumer.end_offsets([tp]))[tp]
                self._answered_ms = time.time() * 1000
            except KafkaError as error:
                logger.warning(
                    "The end of %s cannot be had (%s); trying again.", tp.topic, type(error).__name__
                )
                await asyncio.sleep(_BACKOFF_S)
            else:
                break
        self._assign()

    def _assign(self) -> None:
        """Assign all partitions that have a position.

        Assigning forgets positions: seek each, with no await between.
        """
        # Without any the old assignment stays: nobody takes what is fetched, so that soon nothing is.
        positions = {
            tp: each.next_offset for tp, each in self._readers.items() if each.next_offset is not None
        }
        if self._consumer is None or not positions:
            return
        self._consumer.assign(list(positions))
        for tp, offset in positions.items():
            self._consumer.seek(tp, offset)


class _Connection:
    """Tells from the time of the last fetch whether a connection was lost and is back."""

    def __init__(self) -> None:
        self._heard_ms = time.time() * 1000
        self._lost = False

    def is_back(self, consumer: AIOKafkaConsumer | None, tp: TopicPartition, answered_ms: float) -> bool:
        """True once after each time that the broker was not heard of for a while.

        Assigning anew forgets the time of the last fetch. Who registers many agents does that again and again, and
        each time the broker has said, at `answered_ms`, where a partition ends.
        """
        assert consumer is not None
        if tp not in consumer.assignment():
            return False
        self._heard_ms = consumer.last_poll_timestamp(tp) or max(self._heard_ms, answered_ms)
        fresh = time.time() * 1000 - self._heard_ms < _STALE_MS
        if not fresh and not self._lost:
            logger.warning("Nothing is heard from Kafka about %s.", tp.topic)
        back = fresh and self._lost
        self._lost = not fresh
        return back


async def stop_consumer(consumer: AIOKafkaConsumer) -> None:
    """Disconnect. aiokafka swallows the first cancellation of its fetcher if that is just taking up an assignment."""
    stopping = asyncio.ensure_future(consumer.stop())
    await asyncio.wait([stopping], timeout=_GRACE_S)
    if not stopping.done():
        stopping.cancel()  # reaches the fetcher once more
        await asyncio.wait([stopping], timeout=_GRACE_S)
    if stopping.done() and not stopping.cancelled() and stopping.exception() is not None:
        logger.debug("The consumer ended with %r.", stopping.exception())


def _marks(record: ConsumerRecord, partition: int, by: str | None) -> tuple[bytes | None, Position | None]:
    """Give the subject and the journal position from the headers.

    The latter is None where it cannot be right.
    """
    subject: bytes | None = None
    position: Position | None = None
    for name, value in record.headers:
        if name == by:
            subject = value
        elif name == "ops-journal":
            position = _position(value, partition)
    return subject, position


def _position(value: bytes | None, partition: int) -> Position | None:
    parts = value.split(b":") if value is not None and len(value) <= 64 else ()
    if len(parts) != 3 or not all(part.isdigit() and len(part) <= _DIGITS_MAX for part in parts):
        return None
    return (int(parts[1]), int(parts[2])) if int(parts[0]) == partition else None


def _offer(watcher: Watcher, record: ConsumerRecord, position: Position) -> None:
    try:
        watcher.offer(record, position)
    except Exception:  # one ask's trouble must not end the reading for all
        logger.exception("A record of %s at offset %d could not be used.", record.topic, record.offset)
