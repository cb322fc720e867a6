"""Faults that land where they are meant to: workers stopped and moved on in slices, watched from the topics."""

from __future__ import annotations

import asyncio
import json
import signal
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any, TypeVar

import psutil
from aiokafka import AIOKafkaConsumer, TopicPartition

from ops_stream.contract.settings import Settings
from ops_stream.streams.bus import reader
from ops_stream.streams.exits import Exit
from tests.survival.fleet import Fleet
from tests.survival.process import WorkerProcess

T = TypeVar("T")

EACH = ("team-12", "team-0", "team-4", "team-1", "team-3", "team-11")
"""One tenant a partition: the number of its partition (of six) is its place."""
POLL_S = 0.05
SLICE_S = 0.002


async def until(what: str, found: Callable[[], Any], within_s: float = 60.0) -> Any:
    """Wait until `found` gives something (or something to await that does), and give it."""
    deadline = monotonic() + within_s
    while True:
        given = found()
        value = await given if isinstance(given, Awaitable) else given
        if value:
            return value
        assert monotonic() < deadline, f"waited {within_s:.0f} s for {what}"
        await asyncio.sleep(POLL_S)


@asynccontextmanager
async def under_load(fleet: Fleet, rate: float = 100.0) -> AsyncIterator[None]:
    """Ask at this rate, for all tenants, as long as the block lasts."""
    enough = asyncio.Event()

    async def ask() -> None:
        while not enough.is_set():
            await fleet.ask(round(rate / 4), rate, name="load")

    asking = asyncio.create_task(ask())
    try:
        yield
    finally:
        enough.set()
        await asking


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


@dataclass(frozen=True, slots=True)
class Ended:
    """A worker that ended by itself, and what it said last."""

    worker: WorkerProcess
    code: int
    last_line: str


@asynccontextmanager
async def kept(
    *workers: WorkerProcess, codes: tuple[Exit, ...] = (Exit.FENCED,)
) -> AsyncIterator[list[Ended]]:
    """Start again whatever ends by itself, as systemd and `ops-stream up` do; the list tells who ended, and how.

    An end with a code that is not among `codes`, or without its one clear line, fails the test.
    """
    ended: list[Ended] = []

    async def keep() -> None:
        while True:
            for worker in workers:
                if not worker.running:
                    assert worker.process is not None
                    code = Exit(worker.process.returncode)
                    assert code in codes, worker.tail()
                    assert worker.last_line.endswith(f"(exit {code}, {code.name.lower()})"), worker.tail()
                    ended.append(Ended(worker, code, worker.last_line))
                    worker.start()
            await asyncio.sleep(POLL_S)

    keeping = asyncio.create_task(keep())
    try:
        yield ended
    finally:
        keeping.cancel()
        outcome = await asyncio.gather(keeping, return_exceptions=True)
    if not isinstance(outcome[0], asyncio.CancelledError):
        raise AssertionError("a worker did not end as it should") from outcome[0]


def health_of(worker: WorkerProcess) -> tuple[int, dict[str, Any]]:
    """The status of `/healthz`, and what it says."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{worker.port}/healthz", timeout=5) as answer:
            return answer.status, dict(json.load(answer))
    except urllib.error.HTTPError as refused:
        return refused.code, dict(json.load(refused))


async def owner_of(partition: int, workers: Iterable[WorkerProcess]) -> WorkerProcess:
    """The worker that decides a partition now."""

    async def found() -> WorkerProcess | None:
        for worker in workers:
            if partition in await asyncio.to_thread(worker.live_partitions):
                return worker
        return None

    owner: WorkerProcess = await until(f"a worker for partition {partition}", found)
    return owner


async def until_shared(pair: Iterable[WorkerProcess], partitions: int = 6) -> None:
    """Wait until workers decide all partitions between them, each at least one."""

    async def shared() -> bool:
        live = [await asyncio.to_thread(worker.live_partitions) for worker in pair]
        return all(live) and sum(map(len, live)) == partitions

    await until("the partitions to be shared", shared)
