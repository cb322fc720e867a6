"""A lane: records to one partition of one topic, in order, grouped into batches as the broker takes them.

One batch of a lane is in flight at a time, so that a lane under load groups by itself what came in meanwhile. A lane
of its own for each partition means that a stuck leader stops one partition and not all.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Generic, TypeVar

from aiokafka import AIOKafkaProducer
from aiokafka.structs import RecordMetadata

BATCH_RECORDS_MAX = 500
BUSY_PER_S = 700
LINGER_S = 0.006
RATE_WINDOW_S = 0.1

Headers = list[tuple[str, bytes]]
"""A list, as aiokafka demands."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Parcel(Generic[T]):
    """One record to send; `token` comes back when it is delivered."""

    key: bytes
    value: bytes | None
    headers: Headers
    token: T


class Lane(Generic[T]):
    """Sends parcels in order.

    `delivered(first_offset, timestamp_ms, tokens)` is called in that order too.
    """

    def __init__(
        self,
        producer: AIOKafkaProducer,
        topic: str,
        partition: int,
        delivered: Callable[[int, int, list[T]], None],
        failed: Callable[[BaseException], None],
        batch_max: int = BATCH_RECORDS_MAX,
    ) -> None:
        self.topic = topic
        self._batch_max = batch_max
        self.partition = partition
        self._producer = producer
        self._delivered = delivered
        self._failed = failed
        self._queue: deque[tuple[Parcel[T], float]] = deque()
        self._flying: deque[float] = deque()
        self._wake = asyncio.Event()
        self._rate = 0.0
        self._counted = 0
        self._counted_since = monotonic()
        self._task: asyncio.Task[None] | None = None

    def put(self, parcel: Parcel[T]) -> None:
        """Queue a record. Never waits: the sequencer bounds how much may be under way."""
        self._queue.append((parcel, monotonic()))
        self._wake.set()
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    def oldest_age_s(self, now: float) -> float:
        """How long the oldest record that is not yet acknowledged has waited; 0 where there is none."""
        if self._flying:
            return now - self._flying[0]
        return now - self._queue[0][1] if self._queue else 0.0

    def close(self) -> None:
        """Send nothing more."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        try:
            while True:
                if not self._queue:
                    self._wake.clear()
                    await self._wake.wait()
                if self._is_busy():
                    # A batch costs much more than a record: under load a few milliseconds save most of the work.
                    await asyncio.sleep(LINGER_S)
                # One batch at a time: the next one grows while this one is on its way (aiokafka would hold it back
                # anyway, but closed).
                await self._send_some()
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self._failed(error)

    async def _send_some(self) -> None:
        queue = self._queue
        builder = self._producer.create_batch()
        since = queue[0][1]
        tokens: list[T] = []
        while queue and len(tokens) < self._batch_max:
            parcel = queue[0][0]
            added = builder.append(timestamp=None, key=parcel.key, value=parcel.value, headers=parcel.headers)
            if added is None:
                break
            tokens.append(parcel.token)
            queue.popleft()
        builder.close()
        self._flying.append(since)
        self._counted += len(tokens)
        future = await self._producer.send_batch(builder, self.topic, partition=self.partition)
        metadata: RecordMetadata = await future
        self._flying.popleft()
        self._delivered(metadata.offset, metadata.timestamp or 0, tokens)

    def _is_busy(self) -> bool:
        now = monotonic()
        passed = now - self._counted_since
        if passed >= RATE_WINDOW_S:
            self._rate = self._counted / passed
            self._counted, self._counted_since = 0, now
        return self._rate > BUSY_PER_S
