"""`ops-stream worker`: refuse what is not fit, then run Faust and the supervisor until told to stop."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from ops_stream.contract.errors import OpsError
from ops_stream.contract.settings import Settings
from ops_stream.logs import last_words, set_up_logs
from ops_stream.rules.bundle import digest_of, read_conf
from ops_stream.rules.engine import engine_version
from ops_stream.rules.problems import RulesInvalid
from ops_stream.streams.brokertime import BrokerClock
from ops_stream.streams.bus import new_producer, offsets, reader
from ops_stream.streams.cluster import check
from ops_stream.streams.exits import PROCESS, Exit, Refusal, die
from ops_stream.streams.faust_app import SESSION_TIMEOUT_S, SNAPSHOTS_TOPIC, build_app, quiet_faust
from ops_stream.streams.health import HealthServer
from ops_stream.streams.identity import claim, load_key
from ops_stream.streams.loops import SharedLoop
from ops_stream.streams.metrics import Metrics
from ops_stream.streams.owned import Limits
from ops_stream.streams.recovery import JOURNAL, Owner, refuse_newer_journal
from ops_stream.streams.rulebook import Rulebook, load, record_of
from ops_stream.streams.signing import load_signing_key
from ops_stream.streams.snapshots import Snapshots
from ops_stream.streams.snapshots_topic import ensure_snapshots_topic
from ops_stream.streams.supervisor import Supervisor
from ops_stream.streams.watcher import Watcher

log = structlog.get_logger(__name__)

DRAIN_S = 20.0
STOP_S = 15.0
RULES_POLL_S = 0.5
SAID_AGAIN_S = 10.0
SAID_MAX = 1_000
GC_THRESHOLDS = (20_000, 20, 20)
SWITCH_S = 0.0005


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """How a worker is run. Times in seconds."""

    settings: Settings
    host: str = "127.0.0.1"
    port: int | None = 6066
    """Where `/healthz`, `/readyz` and `/metrics` are served; `None` for nowhere."""
    watch: bool = False
    accept_reset: frozenset[str] = frozenset()
    snapshot_interval_s: float = 10.0
    append_deadline_s: float = 30.0
    stalled_s: float = 5.0
    """After this long without progress a partition is told as stalled."""
    session_timeout_s: float = SESSION_TIMEOUT_S
    """After this long without a heartbeat the partitions of a worker go to others."""
    stall_limit_s: float = 60.0
    engine: str = ""
    """Another engine version than this one's own: for tests of mixed versions."""
    fold_delay_s: float = 0.0
    """A brake on recovery, for tests of long ones."""
    log_json: bool = False


def run_worker(options: WorkerOptions) -> int:
    """Run a worker until SIGTERM or SIGINT; the exit code. Never returns from a fatal end (see `exits`)."""
    set_up_logs(options.log_json, logging.WARNING, options.settings)
    quiet_faust()
    # What was imported lives as long as the process; collecting often would only look at it again and again.
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    # Faust fetches in a thread of its own: it must not wait five milliseconds for its turn after every record.
    sys.setswitchinterval(SWITCH_S)
    try:
        with asyncio.Runner(loop_factory=SharedLoop) as runner:
            return runner.run(_Worker(options).run())
    except Refusal as refusal:
        last_words(PROCESS, str(refusal))
        return int(refusal.code)
    except OpsError as error:
        last_words(PROCESS, str(error))
        return error.exit_code
    except KeyboardInterrupt:
        return 130


class _Worker:
    def __init__(self, options: WorkerOptions) -> None:
        self._options = options
        self._settings = options.settings
        self._metrics = Metrics()
        self._metrics.saying.details = options.settings.log_level == "debug"
        self._stop = asyncio.Event()
        self._rules_offset = 0

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        settings = self._settings
        identity = claim(settings.data_dir)
        await self._refuse_unfit_cluster()
        producer, beside = new_producer(settings), new_producer(settings)
        await producer.start()
        await beside.start()
        try:
            owner = await self._owner(identity, producer)
            async with reader(settings) as consumer:
                await refuse_newer_journal(consumer, owner)
            return await self._run(owner, beside)
        finally:
            await _within(producer.stop(), STOP_S)
            await _within(beside.stop(), STOP_S)

    # -- the start

    async def _refuse_unfit_cluster(self) -> None:
        differences = await check(self._settings)
        if differences:
            first = differences[0]
            more = f" (and {len(differences) - 1} more differences)" if len(differences) > 1 else ""
            raise Refusal(
                f"The cluster is not what the catalogue says: {first.topic}: {first.setting} should be "
                f"{first.expected} and is {first.found}{more}.",
                f"See all with: ops-stream topics check. For this one: {first.remedy}",
            )
        await ensure_snapshots_topic(self._settings)

    async def _owner(self, identity: Any, producer: AIOKafkaProducer) -> Owner:
        settings = self._settings
        ends = await self._journal_ends()
        key = load_key(settings.journal_key_file, journal_is_empty=not any(ends))
        rulebook = await self._rules(producer, begins=not all(ends))
        return Owner(
            settings=settings,
            identity=identity,
            engine=self._options.engine or engine_version(),
            key=key,
            rulebook=rulebook,
            producer=producer,
            refresh_rules=lambda: self._refresh_rules(rulebook),
            alert=_alert,
            append_deadline_s=self._options.append_deadline_s,
            fold_delay_s=self._options.fold_delay_s,
            signing_key=load_signing_key(settings.signing_key_file),
        )

    async def _journal_ends(self) -> list[int]:
        topic = self._settings.topic(JOURNAL)
        async with reader(self._settings) as consumer:
            tps = [TopicPartition(topic, p) for p in range(self._settings.partitions)]
            return [end for _, end in (await offsets(consumer, tps)).values()]

    async def _rules(self, producer: AIOKafkaProducer, *, begins: bool) -> Rulebook:
        """The bundles on `ops.rules`. Where a partition begins and none is there, the files in `conf/` become one."""
        book = Rulebook()
        await self._refresh_rules(book)
        if not begins:
            return book
        digest, files = self._files_of_conf()
        if not book.first:
            topic = self._settings.topic("rules")
            await producer.send_and_wait(topic, record_of(digest, files), key=digest.encode(), partition=0)
            # Another worker may have been faster: the first that is there is the first for all partitions.
            await self._refresh_rules(book)
        if digest not in book.known:
            log.warning(
                "the rules in conf/ are not those on ops.rules and are passed over: activate them",
                run=f"ops-stream rules activate {self._settings.conf_dir}",
                begin_under=book.first,
            )
        return book

    def _files_of_conf(self) -> tuple[str, dict[str, str]]:
        """The files in `conf/`, with their digest. Raises `Refusal` where they are not valid."""
        directory = self._settings.conf_dir
        try:
            files = read_conf(directory)
        except RulesInvalid as error:
            raise _invalid(directory, str(error)) from None
        scratch = Rulebook()
        if scratch.add(files) is None:
            raise _invalid(directory, scratch.why_not(digest_of(files)))
        return scratch.first, files

    async def _refresh_rules(self, book: Rulebook) -> None:
        async with reader(self._settings) as consumer:
            self._rules_offset = await load(consumer, self._settings.topic("rules"), book, self._rules_offset)

    # -- the run

    async def _run(self, owner: Owner, beside: AIOKafkaProducer) -> int:
        """Run. Snapshots go through a producer of their own, `beside` the one that answers wait for."""
        options, settings = self._options, self._settings
        limits = Limits(options.append_deadline_s, options.stalled_s)
        supervisor = Supervisor(
            settings, owner, settings.partitions, self._metrics, limits, options.accept_reset
        )
        self._metrics.watch(lambda: supervisor, owner.engine)
        app = build_app(settings, supervisor, owner.identity.instance, options.session_timeout_s)
        supervisor.snapshots = Snapshots(
            app,
            settings.topic(SNAPSHOTS_TOPIC),
            beside,
            owner.key,
            settings.partitions,
            options.snapshot_interval_s,
            self._metrics.snapshot_written,
            supervisor.snapshot_failed,
        )
        health = await self._start_health(supervisor)
        supervisor.start()
        supervisor.run_in_background(supervisor.snapshots.run(), "the snapshots")
        supervisor.run_in_background(
            self._follow_rules(owner.rulebook, supervisor.clock), "the reader of rules"
        )
        if options.watch:
            watcher = Watcher(settings, owner.producer, owner.identity.instance, owner.identity.boot_id)
            supervisor.run_in_background(watcher.run(), "the watcher of rules")
        _watch_the_loop(options.stall_limit_s)
        await app.start()
        log.info("worker started", instance=owner.identity.instance, engine=owner.engine, pid=os.getpid())
        crashed = await self._until_stopped(app)
        if await supervisor.drain(DRAIN_S):
            await _within(supervisor.snapshots.flush(), STOP_S)
        await _within(app.stop(), STOP_S)
        await supervisor.stop()
        if health is not None:
            await health.stop()
        if crashed is not None:
            die(Exit.CRASHED, f"Faust ended: {type(crashed).__name__}: {crashed}")
        log.info("worker stopped")
        return 0

    async def _start_health(self, supervisor: Supervisor) -> HealthServer | None:
        if self._options.port is None:
            return None
        server = HealthServer(supervisor, self._metrics, self._options.host, self._options.port)
        try:
            port = await server.start()
        except OSError as error:
            raise Refusal(
                f"The health server cannot listen on {self._options.host}:{self._options.port} ({error.strerror}).",
                "Choose another port with --port, or none with --port off.",
            ) from None
        log.info("health server listens", host=self._options.host, port=port)
        return server

    async def _until_stopped(self, app: Any) -> BaseException | None:
        """Wait for a signal, or for Faust to end by itself."""
        stopping = asyncio.ensure_future(self._stop.wait())
        ended = asyncio.ensure_future(app.wait_until_stopped())
        await asyncio.wait({stopping, ended}, return_when=asyncio.FIRST_COMPLETED)
        for task in (stopping, ended):
            task.cancel()
        if self._stop.is_set():
            return None
        reason = app.crash_reason
        return reason if reason is not None else RuntimeError("the application stopped by itself")

    async def _follow_rules(self, book: Rulebook, clock: BrokerClock) -> None:
        """Read new bundles as they are published, so that they are known before a command names them."""
        topic = self._settings.topic("rules")
        tp = TopicPartition(topic, 0)
        async with reader(self._settings) as consumer:
            while True:
                await asyncio.sleep(RULES_POLL_S)
                try:
                    end = (await consumer.end_offsets([tp]))[tp]
                    clock.heard()
                    if end > self._rules_offset:
                        self._rules_offset = await load(consumer, topic, book, self._rules_offset)
                except KafkaError as error:
                    log.warning("the rules cannot be read now", error=type(error).__name__)


def _invalid(directory: Path, why: str) -> Refusal:
    return Refusal(
        f"The rules in {directory} are not valid: {why}",
        f"See everything that is wrong with: ops-stream rules check {directory}",
    )


def _alert(partition: int, sentence: str) -> None:
    log.error("alert", partition=partition, what=sentence)


async def _within(coroutine: Any, seconds: float) -> None:
    try:
        await asyncio.wait_for(coroutine, seconds)
    except TimeoutError:
        log.warning("a part of the worker did not stop in time", seconds=seconds)


def _watch_the_loop(limit_s: float) -> None:
    """End the process where its loop stands still: heartbeats run in another thread and would keep the partitions."""
    loop = asyncio.get_running_loop()
    beat = [time.monotonic()]

    def touch() -> None:
        beat[0] = time.monotonic()
        loop.call_later(limit_s / 10, touch)

    def watch() -> None:
        while True:
            time.sleep(limit_s / 10)
            still = time.monotonic() - beat[0]
            if still > limit_s:
                die(Exit.STALLED, f"the event loop stood still for {still:.0f} s")

    touch()
    threading.Thread(target=watch, name="ops-stream-watchdog", daemon=True).start()


class _SaidOnce(logging.Filter):
    """Lets a message through once in a while: aiokafka repeats itself many times a second while a broker is away."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        now = time.monotonic()
        if len(self._said) > SAID_MAX:
            self._said.clear()
        if now - self._said.get(str(record.msg), -SAID_AGAIN_S) < SAID_AGAIN_S:
            return False
        self._said[str(record.msg)] = now
        return True
