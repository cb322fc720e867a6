"""Faults that land where they are meant to: workers stopped and moved on in slices, watched from the topics."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from time import monotonic
from typing import TypeVar

import psutil
from aiokafka import AIOKafkaConsumer, TopicPartition

from ops_stream.contract.settings import Settings
from ops_stream.streams.bus import reader
from tests.survival.process import WorkerProcess

T = TypeVar("T")

EACH = ("team-12", "team-0", "team-4", "team-1", "team-3", "team-11")
"""One tenant a partition: the number of its partition (of six) is its place."""
POLL_S = 0.05
SLICE_S = 0.002


async def until(what: str, found: Callable[[], Awaitable[T | None] | T | None], within_s: float = 60.0) -> T:
    """Wait until something is there, and give it."""
    deadline = monotonic() + within_s
    while True:
        given = found()
        value = await given if isinstance(given, Awaitable) else given
        if value:
            return value
        assert monotonic() < deadline, f"waited {within_s:.0f} s for {what}"
        await asyncio.sleep(POLL_S)


async def freeze(worker: WorkerProcess) -> None:
    """Stop a worker as it stands (SIGSTOP); returns when it does stand still."""
    worker.send(signal.SIGSTOP)
    assert worker.process is not None
    process = psutil.Process(worker.process.pid)
    while process.status() != psutil.STATUS_STOPPED:
        await asyncio.sleep(0.0005)


def thaw(worker: WorkerProcess) -> None:
    """Let a stopped worker go on."""
    worker.send(signal.SIGCONT)


async def creep(worker: WorkerProcess, seen: Callable[[], Awaitable[T | None]], within_s: float = 60.0) -> T:
    """Let a worker run in slices of 2 ms, and look while it stands still; it stands when `seen` gives something."""
    deadline = monotonic() + within_s
    await freeze(worker)
    while (found := await seen()) is None:
        assert monotonic() < deadline, "what the worker was to do was not seen"
        thaw(worker)
        await asyncio.sleep(SLICE_S)
        await freeze(worker)
    return found


class Ends:
    """The ends of topics, as the broker gives them."""

    def __init__(self, settings: Settings, consumer: AIOKafkaConsumer) -> None:
        self._settings = settings
        self._consumer = consumer

    async def of(self, topic: str, partition: int) -> int:
        """The end offset of one partition."""
        tp = TopicPartition(self._settings.topic(topic), partition)
        return int((await self._consumer.end_offsets([tp]))[tp])

    async def at_rest(self, topic: str, partition: int) -> int:
        """The same, once it does not move: what a dead process had sent may still be on its way into the log."""
        before, same = await self.of(topic, partition), 0
        while same < 5:
            await asyncio.sleep(POLL_S)
            now = await self.of(topic, partition)
            before, same = now, same + 1 if now == before else 0
        return before


@asynccontextmanager
async def ends_of(settings: Settings) -> AsyncIterator[Ends]:
    """Something that sees the ends of topics."""
    async with reader(settings) as consumer:
        yield Ends(settings, consumer)


async def owner_of(partition: int, workers: Iterable[WorkerProcess]) -> WorkerProcess:
    """The worker that decides a partition now."""

    async def found() -> WorkerProcess | None:
        for worker in workers:
            if partition in await asyncio.to_thread(worker.live_partitions):
                return worker
        return None

    return await until(f"a worker for partition {partition}", found)


async def until_shared(pair: Iterable[WorkerProcess], partitions: int = 6) -> None:
    """Wait until workers decide all partitions between them, each at least one."""

    async def shared() -> bool:
        live = [await asyncio.to_thread(worker.live_partitions) for worker in pair]
        return all(live) and sum(map(len, live)) == partitions

    await until("the partitions to be shared", shared)
