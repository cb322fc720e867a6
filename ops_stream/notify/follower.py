"""One target's reading: a consumer group of its own, so that a slow target keeps nobody else waiting.

What waits for a target waits in the topics. A record is committed when it was delivered, given up as a dead letter, or
when the target need not hear of it; a notifier that ends in between tells it once more, under the same message id.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalGenerationError, IllegalStateError, KafkaError
from aiokafka.structs import ConsumerRecord

from ops_stream.contract.anyheaders import read_any_header_name
from ops_stream.contract.consumers import put_away
from ops_stream.contract.settings import Settings
from ops_stream.notify.config import Target
from ops_stream.notify.metrics import Metrics
from ops_stream.notify.payloads import body_of
from ops_stream.notify.sender import Message, Sender, Undelivered
from ops_stream.notify.told import TOPICS, Notice, Place, Teller, wanted

log = structlog.get_logger(__name__)

GROUP: Final = "notifier"
LOOK_BACK: Final = 2_000
"""Records before the first untold one that are read for what they say of escalations, and not told again."""
_POLL_MS: Final = 250
_BATCH: Final = 100
_AGAIN_S: Final = 1.0
_IDLE_MS: Final = 86_400_000
"""Nothing is fetched while a message is tried again and again, which may take hours and is no reason to leave."""
_FETCH_BYTES: Final = 1_048_576
SILENT_S: Final = 10.0
"""After so long without a record the broker is asked whether it is still there."""
_LOST: Final = (CommitFailedError, IllegalGenerationError, IllegalStateError)

BuryAsync = Callable[[ConsumerRecord, Notice, str], Awaitable[None]]
"""Writes a dead letter of a record, with the sentence that says why; returns when it is acknowledged."""


def group_of(settings: Settings, target: str) -> str:
    """Give the name of a target's consumer group."""
    return settings.topic(f"{GROUP}.{target}")


@dataclass(slots=True)
class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    """Counts assignments: what was fetched under an earlier one is dropped, and fetched again."""

    epoch: int = 0
    fresh: bool = False

    def on_partitions_revoked(self, revoked: Any) -> None:
        self.epoch += 1

    def on_partitions_assigned(self, assigned: Any) -> None:
        self.epoch += 1
        self.fresh = True


class Follower:
    """Tells one target what is on the topics, in order, for ever."""

    def __init__(self, settings: Settings, sender: Sender, bury: BuryAsync, metrics: Metrics) -> None:
        """Read with `settings`, send with `sender`, and leave what cannot be delivered to `bury`."""
        self._settings = settings
        self._sender = sender
        self._bury = bury
        self._metrics = metrics
        self._teller = Teller()
        self._listener = _Listener()
        self._next: dict[TopicPartition, int] = {}
        """The first record of each partition that was not told yet."""
        self._committed: dict[TopicPartition, int] = {}
        self._heard = time.monotonic()
        self.ready = False
        """Whether the group has given it its partitions."""

    @property
    def target(self) -> Target:
        """Who is told."""
        return self._sender.target

    async def run(self, stop: asyncio.Event) -> None:
        """Read and tell until `stop` is set, or until it is cancelled; commits what was told."""
        consumer = self._consumer()
        try:
            await consumer.start()
            await asyncio.sleep(0)  # aiokafka's own tasks must have begun, or its stop raises
            while not stop.is_set():
                try:
                    await self._round(consumer, stop)
                except KafkaError as problem:
                    self.ready = False
                    log.warning(
                        "the topics cannot be read now", target=self.target.name, error=type(problem).__name__
                    )
                    await asyncio.sleep(_AGAIN_S)
        finally:
            self.ready = False
            await put_away(consumer)

    def _consumer(self) -> AIOKafkaConsumer:
        read_any_header_name()
        consumer = AIOKafkaConsumer(
            **self._settings.aiokafka(),
            group_id=group_of(self._settings, self.target.name),
            client_id=f"ops-stream-notifier-{self.target.name}",
            enable_auto_commit=False,
            # Where what was not told yet is gone, with the rest of what is there; a new target begins at the end.
            auto_offset_reset="earliest",
            max_poll_interval_ms=_IDLE_MS,
            max_partition_fetch_bytes=_FETCH_BYTES,
            session_timeout_ms=15_000,
            heartbeat_interval_ms=3_000,
        )
        consumer.subscribe(topics=[self._settings.topic(topic) for topic in TOPICS], listener=self._listener)
        return consumer

    async def _round(self, consumer: AIOKafkaConsumer, stop: asyncio.Event) -> None:
        """Fetch once and tell what came."""
        if self._listener.fresh:
            await self._begin(consumer)
        epoch = self._listener.epoch
        batches = await consumer.getmany(timeout_ms=_POLL_MS, max_records=_BATCH)
        if batches:
            self._heard = time.monotonic()
        elif time.monotonic() - self._heard > SILENT_S:
            await self._ask_after(consumer)
        for tp, records in batches.items():
            for record in records:
                if stop.is_set():
                    break
                if self._listener.epoch != epoch or self._listener.fresh:
                    return  # the partitions were given out anew meanwhile; all is fetched again from where it stood
                await self._take(consumer, tp, record)
        await self._commit(consumer)

    async def _begin(self, consumer: AIOKafkaConsumer) -> None:
        """Begin with partitions just given: where the group stands, after a look back; a new group at the end."""
        epoch = self._listener.epoch
        partitions = sorted(consumer.assignment())
        begins = await consumer.beginning_offsets(partitions) if partitions else {}
        ends = await consumer.end_offsets(partitions) if partitions else {}
        for tp in partitions:
            stands = await consumer.committed(tp)
            first = max(begins[tp], self._next.get(tp, 0), ends[tp] if stands is None else stands)
            if self._listener.epoch != epoch:
                return  # given out anew already
            self._next[tp] = min(first, ends[tp])
            self._teller.forget(self._name(tp), tp.partition)
            consumer.seek(tp, max(begins[tp], self._next[tp] - LOOK_BACK))
            if stands is None:
                self._committed.pop(tp, None)
            else:
                self._committed[tp] = stands
        self._next = {tp: offset for tp, offset in self._next.items() if tp in set(partitions)}
        self._listener.fresh = False
        # A new group must know where it began: what is written before its first commit would be passed over.
        await self._commit(consumer)
        if not self.ready:
            log.info("telling", target=self.target.name, partitions=len(partitions))
        self.ready = True

    async def _ask_after(self, consumer: AIOKafkaConsumer) -> None:
        """Ask the broker something: a consumer waits for one that is gone as it waits for one that has no news."""
        mine = sorted(consumer.assignment())
        try:
            async with asyncio.timeout(SILENT_S):
                await consumer.end_offsets(mine[:1])
        except (TimeoutError, KafkaError):
            if self.ready:
                log.warning("Kafka says nothing", target=self.target.name)
            self.ready = False
        else:
            if mine and not self.ready:
                log.info("Kafka answers again", target=self.target.name)
            self.ready = bool(mine) or self.ready
        self._heard = time.monotonic()

    def _name(self, tp: TopicPartition) -> str:
        return str(tp.topic[len(self._settings.topic_prefix) :])

    async def _take(self, consumer: AIOKafkaConsumer, tp: TopicPartition, record: ConsumerRecord) -> None:
        place = Place(self._name(tp), record.partition, record.offset)
        notice = self._teller.take(place, record.value, tuple(record.headers), record.timestamp)
        if record.offset < self._next.get(tp, 0):
            return  # seen before; only remembered
        if notice is not None:
            await self._tell(record, notice)
        self._next[tp] = max(self._next.get(tp, 0), record.offset + 1)
        if notice is not None:
            await self._commit(consumer)

    async def _tell(self, record: ConsumerRecord, notice: Notice) -> None:
        target = self.target
        count = self._metrics.notices.labels
        filters = {"tenants": target.tenants, "severities": target.severities, "kinds": target.kinds}
        if not wanted(notice, events=target.events, **filters):
            count(target.name, notice.type, "filtered").inc()
            return
        age = self._metrics.age.labels(target.name)
        age.set_function(lambda: max(0.0, time.time() - notice.at / 1000))
        try:
            attempts = await self._sender.deliver(message_of(target, notice))
        except Undelivered as problem:
            await self._give_up(record, notice, problem.sentence)
        except Exception as problem:
            # A fault of ours at this record must not keep the target from hearing of the next, for ever.
            await self._give_up(record, notice, f"Something unforeseen happened ({type(problem).__name__}).")
        else:
            place = str(notice.place)
            log.info(
                "told", target=target.name, type=notice.type, place=place, attempts=attempts, **_about(notice)
            )
            count(target.name, notice.type, "delivered").inc()
        finally:
            age.set_function(lambda: 0.0)

    async def _give_up(self, record: ConsumerRecord, notice: Notice, why: str) -> None:
        name, place = self.target.name, str(notice.place)
        log.error(
            "a webhook was given up", target=name, type=notice.type, place=place, why=why, **_about(notice)
        )
        await self._bury(record, notice, why)
        self._metrics.notices.labels(name, notice.type, "dead_letter").inc()

    async def _commit(self, consumer: AIOKafkaConsumer) -> None:
        """Commit how far all was told; where the partitions are another's by now, that one tells it again."""
        mine = consumer.assignment()
        moved = {
            tp: offset
            for tp, offset in self._next.items()
            if tp in mine and self._committed.get(tp) != offset
        }
        if not moved:
            return
        try:
            await consumer.commit(moved)
        except _LOST:
            return
        self._committed |= moved


def message_of(target: Target, notice: Notice) -> Message:
    """Give what is sent to a target of something to tell: the same bytes each time."""
    return Message(notice.message_id(target.name), body_of(target.format, notice), notice.at / 1000)


def _about(notice: Notice) -> dict[str, Any]:
    """Give the ids of the ask and the escalation that a notice is about."""
    ids = {name: notice.body.get(name) for name in ("request_id", "escalation_id")}
    return {name: value for name, value in ids.items() if value is not None}
