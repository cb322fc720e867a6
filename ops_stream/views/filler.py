"""Fills one generation of the views from the journal: fetch, check, project, write, and know how far behind it is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import OffsetOutOfRangeError
from aiokafka.structs import ConsumerRecord

from ops_stream.audit.reading import bounds
from ops_stream.core.journal import record as rec
from ops_stream.core.journal.chain import JournalKey
from ops_stream.views.metrics import Metrics
from ops_stream.views.position import NOWHERE, Chain, Position
from ops_stream.views.projection import Batch
from ops_stream.views.store import Store

log = structlog.get_logger(__name__)

POLL_MS: Final = 200
POLL_RECORDS: Final = 1_000
BATCH_RECORDS: Final = 250
BATCH_BYTES: Final = 1024 * 1024
"""What is written as one piece: so long Redis does nothing else."""
BEAT_S: Final = 2.0
"""How often it is noted where the journal ends."""
NEAR: Final = 1_000
"""Records behind the end from which on a view that is being built may take the other's place."""


class Unusable(Exception):
    """What this generation holds does not come from the journal as it is now: another is to be built."""


@dataclass(frozen=True, slots=True)
class Source:
    """The journal as it is read: its topic, its partitions and the key by which records are checked."""

    topic: str
    partitions: int
    key: JournalKey | None

    @property
    def checked(self) -> str:
        """By what records are checked: views that were filled by another rule are built anew."""
        return "chain" if self.key is None else f"key {self.key.key_id}"

    def places(self) -> list[TopicPartition]:
        """Give its partitions as the consumer names them."""
        return [TopicPartition(self.topic, number) for number in range(self.partitions)]


@dataclass(slots=True)
class Filler:
    """One generation, and the consumer that it is filled by."""

    store: Store
    source: Source
    consumer: AIOKafkaConsumer
    generation: int
    metrics: Metrics
    positions: dict[int, Position] = field(default_factory=dict)
    """Where the generation stands in Redis."""
    ends: dict[int, int] = field(default_factory=dict)
    """Where the journal ended when it was looked at last."""
    wish: str = ""
    """The latest wish for a rebuild."""
    _met: dict[int, float] = field(default_factory=dict)
    """When each partition was last taken in to its end."""
    _looked: float = 0.0

    async def open(self) -> None:
        """Take up the journal where the generation stands. Raises Unusable where that is no place of it."""
        places = self.source.places()
        self.consumer.assign(places)
        limits = await bounds(self.consumer, places)
        for tp in places:
            begin, end = limits[tp]
            position = self.positions.get(tp.partition, Position())
            if position.next == 0 and position.last == NOWHERE:
                self.consumer.seek(tp, begin)
            elif not begin <= position.next <= end:
                raise Unusable(f"partition {tp.partition} is now {begin} to {end}, and was {position.next}")
            else:
                self.consumer.seek(tp, position.next)
        await self._same_journal(places, limits)
        for number in {tp.partition for tp in places} - self.positions.keys():
            # A place in every partition, so that one that is missing later has been taken away.
            await self.store.apply(self.generation, number, None, Position(), ())
            self.positions[number] = Position()
        self._note_ends(limits)

    async def run(self, until: Callable[[], bool]) -> None:
        """Take in what comes until `until` says so."""
        while not until():
            try:
                batches = await self.consumer.getmany(timeout_ms=POLL_MS, max_records=POLL_RECORDS)
            except OffsetOutOfRangeError as gone:
                raise Unusable("what comes next is gone from the journal") from gone
            try:
                async with asyncio.TaskGroup() as group:
                    for tp, records in batches.items():
                        group.create_task(self._take(tp.partition, records))
            except ExceptionGroup as problems:
                raise problems.exceptions[0] from None
            if time.monotonic() - self._looked >= BEAT_S:
                await self.look()

    def lag(self) -> int:
        """Say how many records of the journal are not in, as far as is known."""
        return sum(max(0, end - self._next(number)) for number, end in self.ends.items())

    def behind_s(self) -> float:
        """Say for how long at most something has been in the journal that is not in here."""
        return max((self._behind_s(number) for number in self.ends), default=0.0)

    def since_look_s(self) -> float:
        """Say how long ago it was known where the journal ends."""
        return time.monotonic() - self._looked

    def has(self, wanted: Mapping[int, int]) -> bool:
        """Say whether everything below these offsets is in."""
        return all(self._next(number) >= offset for number, offset in wanted.items())

    def next_offsets(self) -> dict[int, int]:
        """Give the offset of the next record of each partition."""
        return {number: position.next for number, position in self.positions.items()}

    # Steps.

    def _next(self, number: int) -> int:
        position = self.positions.get(number)
        return 0 if position is None else position.next

    def _behind_s(self, number: int) -> float:
        if self._next(number) >= self.ends[number]:
            return 0.0
        position = self.positions.get(number)
        since = time.time() - position.at_ms / 1000 if position is not None and position.at_ms else None
        met = self._met.get(number)
        ages = [age for age in (since, None if met is None else time.monotonic() - met) if age is not None]
        return max(0.0, min(ages)) if ages else self.since_look_s()

    async def _take(self, number: int, records: Sequence[ConsumerRecord]) -> None:
        for part in _parts(records):
            before = self.positions.get(number)
            chain = Chain(number, before or Position(), self.source.key)
            batch = Batch(number)
            for record in part:
                found = chain.take(record.offset, record.value)
                if found is not None:
                    batch.take(record.offset, *found)
            if chain.position == before:
                continue
            await self.store.apply(self.generation, number, before, chain.position, batch.operations())
            self.positions[number] = chain.position
            self.metrics.applied += batch.records
            if chain.position.next >= self.ends.get(number, 0):
                self._met[number] = time.monotonic()

    async def look(self) -> None:
        """See where the journal ends now, and keep the lease."""
        places = self.source.places()
        limits = await bounds(self.consumer, places)
        for tp in places:
            begin, end = limits[tp]
            position = self.positions.get(tp.partition, Position())
            if position.next > end or (position.last != NOWHERE and position.next < begin):
                raise Unusable(f"partition {tp.partition} is now {begin} to {end}, and was {position.next}")
        self._note_ends(limits)
        if any(one.astray for one in self.positions.values()) and self.lag() == 0:
            await self._same_journal(places, limits)
        behind_ms = round(1000 * self.behind_s())
        self.wish = await self.store.beat(
            self.generation, len(self.positions), behind_ms, self.lag(), self.ends
        )

    def _note_ends(self, limits: Mapping[TopicPartition, tuple[int, int]]) -> None:
        self._looked = time.monotonic()
        for tp, (_, end) in limits.items():
            self.ends[tp.partition] = end
            if self._next(tp.partition) >= end:
                self._met[tp.partition] = self._looked

    async def _same_journal(
        self, places: Sequence[TopicPartition], limits: Mapping[TopicPartition, tuple[int, int]]
    ) -> None:
        """Read the last record that counted, where it is still there: it must be the one that was taken in."""
        for tp in places:
            position = self.positions.get(tp.partition, Position())
            if not limits[tp][0] <= position.last < limits[tp][1]:
                continue
            self.consumer.seek(tp, position.last)
            record = await asyncio.wait_for(self.consumer.getone(tp), BEAT_S * 5)
            try:
                same = record.offset == position.last and rec.read(record.value).hash == position.hash
            except rec.Unreadable:
                same = False
            if not same:
                raise Unusable(f"partition {tp.partition} has another record at {position.last}")
            self.consumer.seek(tp, position.next)


def _parts(records: Sequence[ConsumerRecord]) -> Iterator[list[ConsumerRecord]]:
    """Cut records into pieces that are written at once."""
    part: list[ConsumerRecord] = []
    size = 0
    for record in records:
        part.append(record)
        size += len(record.value or b"")
        if len(part) >= BATCH_RECORDS or size >= BATCH_BYTES:
            yield part
            part, size = [], 0
    if part:
        yield part
