"""The notifier itself: a reader for each target, dead letters, a small web server, and a clean stop."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final

import structlog
from aiohttp import web
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.structs import ConsumerRecord

from ops_stream.contract.errors import NotSo, WrongUse
from ops_stream.contract.settings import Settings
from ops_stream.health import MetricsPage, listening
from ops_stream.notify.config import Target
from ops_stream.notify.dead import dead_letter
from ops_stream.notify.follower import Follower
from ops_stream.notify.metrics import Metrics
from ops_stream.notify.sender import FIRST_PAUSE_S, Sender
from ops_stream.notify.told import TOPICS, Notice

log = structlog.get_logger(__name__)

STOP_S: Final = 10.0
"""How long an attempt that is under way may still take when the notifier is told to stop."""
_AGAIN_S: Final = 2.0
_RECORD_MAX: Final = 4_194_304
_ANSWER_WITHIN_MS: Final = 10_000


class _Stopping(BaseException):
    """Ends the pause before another attempt; nothing below may take it for a failed one."""


@dataclass(frozen=True, slots=True)
class Options:
    """How a notifier is run. `first_pause_s` is the first pause between attempts."""

    settings: Settings
    targets: Sequence[Target]
    host: str = "127.0.0.1"
    port: int | None = None
    """Where `/healthz`, `/readyz` and `/metrics` are served; None for nowhere, 0 for a port that is free."""
    first_pause_s: float = FIRST_PAUSE_S


class Notifier:
    """Runs until its `stop` is set."""

    def __init__(self, options: Options) -> None:
        """Nothing is opened yet."""
        self._options = options
        self._metrics = Metrics()
        self.stop = asyncio.Event()
        self.followers: list[Follower] = []
        self.port: int | None = None
        """The port that was taken."""

    async def run(self) -> None:
        """Tell all targets; raises where one cannot be read for, or where the topics are not there."""
        async with AsyncExitStack() as stack:
            producer = await stack.enter_async_context(self._producer())
            await self._demand_topics(producer)
            for target in self._options.targets:
                sender = await stack.enter_async_context(self._sender(target))
                bury = _Burial(self._options.settings, producer, target.name, self.stop)
                self.followers.append(Follower(self._options.settings, sender, bury.bury, self._metrics))
            if self._options.port is not None:
                await stack.enter_async_context(self._web(self._options.port))
            await self._follow()

    def _sender(self, target: Target) -> Sender:
        def attempted(result: str) -> None:
            self._metrics.attempts.labels(target.name, result).inc()

        return Sender(
            target, sleep=self._pause, first_pause_s=self._options.first_pause_s, attempted=attempted
        )

    async def _follow(self) -> None:
        tasks = [asyncio.create_task(one.run(self.stop), name=one.target.name) for one in self.followers]
        stopping = asyncio.create_task(self.stop.wait())
        try:
            await asyncio.wait({*tasks, stopping}, return_when=asyncio.FIRST_COMPLETED)
            self.stop.set()
            _, late = await asyncio.wait(tasks, timeout=STOP_S)
            for task in late:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            stopping.cancel()
        for problem in ended:
            if isinstance(problem, Exception):
                raise problem

    async def _pause(self, seconds: float) -> None:
        """Wait between attempts, until told to stop."""
        try:
            async with asyncio.timeout(seconds):
                await self.stop.wait()
        except TimeoutError:
            return
        raise _Stopping

    @asynccontextmanager
    async def _producer(self) -> AsyncIterator[AIOKafkaProducer]:
        producer = AIOKafkaProducer(
            **self._options.settings.aiokafka(),
            acks="all",
            max_request_size=_RECORD_MAX,
            request_timeout_ms=_ANSWER_WITHIN_MS,
        )
        await producer.start()
        try:
            yield producer
        finally:
            await producer.stop()

    async def _demand_topics(self, producer: AIOKafkaProducer) -> None:
        for name in (*TOPICS, "dead-letters"):
            topic = self._options.settings.topic(name)
            try:
                there = await producer.partitions_for(topic)
            except KafkaError:
                there = set()
            if not there:
                raise NotSo(
                    "A topic is missing, or may not be read.",
                    where=topic,
                    next_step="Create the topics with: ops-stream topics create",
                )

    @asynccontextmanager
    async def _web(self, port: int) -> AsyncIterator[None]:
        metrics = MetricsPage(self._metrics.text).page
        pages = {"/healthz": self._ready, "/readyz": self._ready, "/metrics": metrics}
        async with AsyncExitStack() as stack:
            try:
                self.port = await stack.enter_async_context(listening(pages, self._options.host, port))
            except OSError as error:
                raise WrongUse(
                    f"The health server cannot listen on port {port}: {error.strerror}.",
                    where="--port",
                    next_step="Choose another port, or 'off'.",
                ) from None
            log.info("health server listens", host=self._options.host, port=self.port)
            yield

    async def _ready(self, request: web.Request) -> web.Response:
        ready = bool(self.followers) and all(one.ready for one in self.followers)
        body = {"ready": ready, "targets": {one.target.name: one.ready for one in self.followers}}
        return web.json_response(body, status=200 if ready or request.path == "/healthz" else 503)


@dataclass(frozen=True, slots=True)
class _Burial:
    """Writes a target's dead letters, again and again until one is acknowledged: else it would be lost."""

    settings: Settings
    producer: AIOKafkaProducer
    target: str
    stop: asyncio.Event

    async def bury(self, record: ConsumerRecord, notice: Notice, sentence: str) -> None:
        """Write one; returns when it is there."""
        value, headers = dead_letter(
            notice.place,
            record.value,
            tuple(record.headers),
            target=self.target,
            type_=notice.type,
            at=notice.at,
            explanation=f"The webhook '{self.target}' was not told ({notice.type}). {sentence}",
            now=time.time_ns() // 1_000_000,
        )
        while True:
            try:
                await self.producer.send_and_wait(
                    self.settings.topic("dead-letters"),
                    value,
                    key=record.key,
                    partition=record.partition,
                    headers=headers,
                )
                return
            except KafkaError as problem:
                log.warning(
                    "a dead letter cannot be written now", target=self.target, error=type(problem).__name__
                )
                if self.stop.is_set():
                    raise _Stopping from None
                await asyncio.sleep(_AGAIN_S)


async def serve(options: Options) -> None:
    """Run a notifier until SIGTERM or Ctrl-C."""
    notifier = Notifier(options)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, notifier.stop.set)
    log.info("notifier started", targets=[target.name for target in options.targets])
    await notifier.run()
    log.info("notifier stopped")
