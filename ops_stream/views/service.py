"""The views process itself: takes the lease, fills the generation in use, builds another one where that is needed, and
begins again where Redis or Kafka fail. It is nobody's authority: what it loses it reads again."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import structlog
from aiokafka.errors import KafkaError
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_exponential, wait_random

from ops_stream.audit.reading import ANSWER_WITHIN_S, reader
from ops_stream.contract.errors import NotSo
from ops_stream.contract.settings import Settings
from ops_stream.core.journal.chain import JournalKey
from ops_stream.views.address import connect, shown, why
from ops_stream.views.filler import BEAT_S, NEAR, Filler, Source, Unusable
from ops_stream.views.keys import Keys
from ops_stream.views.metrics import Metrics
from ops_stream.views.reader import Views
from ops_stream.views.store import Fenced, Moved, Store

log = structlog.get_logger(__name__)

STEADY_S: Final = 30.0
"""A session that went well for so long begins again without delay."""
STANDBY_S: Final = 1.0
"""How often one that waits looks whether the lease is free."""
KPIS_S: Final = 10.0
READY_WITHIN_S: Final = 30.0
"""Views that are older than this are not ready."""
_FIRST_PAUSE_S: Final = 0.2
_PAUSE_MAX_S: Final = 10.0

_TROUBLE: Final = (RedisError, KafkaError, OSError, TimeoutError, Fenced, Moved, Unusable)
"""After these the session begins again, where the view stands."""


@dataclass(frozen=True, slots=True)
class Options:
    """How a views process is run; where `key` gives one the MACs of records are checked."""

    settings: Settings
    key: Callable[[], JournalKey | None] = lambda: None
    host: str = "127.0.0.1"
    port: int | None = None
    """Where `/healthz`, `/readyz` and `/metrics` are served; None for nowhere, 0 for a port that is free."""


class Service:
    """Runs until its `stop` is set."""

    def __init__(self, options: Options) -> None:
        """Nothing is opened yet. Raises WrongUse where the address of Redis is missing or wrong."""
        self._options = options
        self._client: Final[Redis] = connect(options.settings)
        self._keys = Keys.of(options.settings.topic_prefix)
        # One name for its whole life: it finds its own lease again after Redis was away.
        self._store = Store(self._client, self._keys)
        self._began = 0.0
        self._answered = ""
        self._key_looked = 0.0
        self._key_came = False
        self._filler: Filler | None = None
        self._left: Filler | None = None
        """The one that was followed until something went wrong: what is in Redis grows old from there."""
        self.metrics = Metrics()
        self.stop = asyncio.Event()
        self.role = "starting"
        """What it does: starting, standby (another one writes), building, following, or waiting to try again."""
        self.building: Filler | None = None
        """The generation that is being built."""

    async def run(self) -> None:
        """Keep the views up to date; raises NotSo where the journal is not there."""
        async with self._client:
            while not self.stop.is_set():
                # What has run steadily ends without an error, so that the pauses begin anew.
                async for attempt in AsyncRetrying(
                    retry=retry_if_exception_type(_TROUBLE),
                    wait=wait_exponential(multiplier=_FIRST_PAUSE_S, max=_PAUSE_MAX_S)
                    + wait_random(0, _FIRST_PAUSE_S),
                    before_sleep=self._note,
                    sleep=self._pause,
                ):
                    with attempt:
                        await self._session_or_stop()

    async def rebuild(self, store: Store) -> int:
        """Build a generation once, under a lease that is held, and let readers see it; give its number."""
        async with self._source() as source, AsyncExitStack() as stack:
            built = await self._build(store, source, stack)
        await store.sweep((built.generation,))
        return built.generation

    def refresh(self) -> bool:
        """Bring the gauges up to date; say whether the views are kept up to date here."""
        filler, metrics = self._filler or self._left, self.metrics
        if filler is not None:
            since = filler.since_look_s()
            metrics.lag = filler.lag()
            metrics.behind_s = max(filler.behind_s(), since if since > 2 * ANSWER_WITHIN_S else 0.0)
            metrics.voids = sum(position.voids for position in filler.positions.values())
        metrics.ready = (
            self.role == "following" and metrics.redis_up and metrics.behind_s <= READY_WITHIN_S
        ) or (self.role == "building" and self._filler is not None and metrics.behind_s <= READY_WITHIN_S)
        return metrics.ready

    # A session: from taking the lease to the first thing that goes wrong.

    async def _session_or_stop(self) -> None:
        if self.stop.is_set():
            return
        self._began = time.monotonic()
        store = self._store
        try:
            await self._session(store)
        except _TROUBLE as problem:
            if isinstance(problem, RedisError):
                self.metrics.errors += 1
                self.metrics.redis_up = False
            if time.monotonic() - self._began < STEADY_S:
                raise
            log.warning("the views are taken up anew", why=_reason(problem))
        finally:
            self._left = self._filler or self._left
            self._filler = self.building = None
            self.role = "waiting"
            self.metrics.kpis = {}
            await _quietly(store.release())

    async def _session(self, store: Store) -> None:
        if not await self._wait_for_lease(store):
            return
        await self._look_at_eviction()
        async with self._source() as source, AsyncExitStack() as stack:
            self._answered = await store.answered()
            filler = await self._resume(store, source, stack)
            if filler is None:
                filler = await self._build(store, source, stack)
            while True:
                await self._follow(store, source, filler)
                if self.stop.is_set():
                    return
                if self._has_come(source):
                    raise Unusable("the journal key is here now")
                filler = await self._build(store, source, stack, filler)

    async def _wait_for_lease(self, store: Store) -> bool:
        while not self.stop.is_set():
            if await store.take_lease():
                self.metrics.redis_up = True
                return True
            self.metrics.redis_up = True
            if self.role != "standby":
                self.role = "standby"
                self._left, self.metrics.lag, self.metrics.behind_s = None, 0, 0.0
                log.info("another process keeps the views; standing by")
            await self._pause(STANDBY_S)
        return False

    async def _look_at_eviction(self) -> None:
        """Warn of a Redis that throws keys away where it is full: of what is gone so nobody hears."""
        try:
            memory = await self._client.info("memory")
        except ResponseError:  # it may not be asked that
            return
        policy = str(memory.get("maxmemory_policy", ""))
        if memory.get("maxmemory") and policy.startswith("allkeys-"):
            log.warning(
                "Redis may throw away parts of the views",
                maxmemory_policy=policy,
                next="set its maxmemory-policy to noeviction, then ops-stream views rebuild",
            )

    @asynccontextmanager
    async def _source(self) -> AsyncIterator[Source]:
        """Say what is read; raises NotSo where the journal is not there."""
        settings = self._options.settings
        topic = settings.topic("journal")
        async with reader(settings) as consumer:
            numbers = consumer.partitions_for_topic(topic)
            if not numbers:
                await consumer._client.force_metadata_update()
                numbers = consumer.partitions_for_topic(topic)
        if not numbers:
            raise NotSo(
                "The journal is missing, or may not be read.",
                where=topic,
                next_step="Create the topics with: ops-stream topics create",
            )
        yield Source(topic, len(numbers), self._options.key())

    async def _resume(self, store: Store, source: Source, stack: AsyncExitStack) -> Filler | None:
        """Take up the generation in use; None where there is none, or none that can be used."""
        generation = await store.generation()
        if generation is None:
            return None
        positions = await store.positions(generation, source.partitions, source.checked)
        if positions is None:
            log.info("the views are of another form and are built anew", generation=generation)
            return None
        filler = await self._filler_of(store, source, stack, generation)
        filler.positions = positions
        try:
            await filler.open()
        except Unusable as problem:
            log.warning("the views are not of this journal and are built anew", why=str(problem))
            return None
        return filler

    async def _filler_of(
        self, store: Store, source: Source, stack: AsyncExitStack, generation: int
    ) -> Filler:
        consumer = await stack.enter_async_context(reader(self._options.settings))
        return Filler(store, source, consumer, generation, self.metrics)

    def _has_come(self, source: Source) -> bool:
        """Say whether records that were only followed by their chain can be checked by the key from now on."""
        if source.key is None and time.monotonic() - self._key_looked >= BEAT_S:
            self._key_looked = time.monotonic()
            self._key_came = self._options.key() is not None
        return source.key is None and self._key_came

    async def _follow(self, store: Store, source: Source, filler: Filler) -> None:
        """Keep a generation up to date until it should be another one, or until told to stop."""
        self._filler, self.role = filler, "following"
        log.info("following the journal", generation=filler.generation, lag=filler.lag())
        async with _beside(self._sweep(store, filler.generation), self._kpis()):
            await filler.run(
                lambda: (
                    self.stop.is_set() or filler.wish not in ("", self._answered) or self._has_come(source)
                )
            )

    async def _build(
        self, store: Store, source: Source, stack: AsyncExitStack, old: Filler | None = None
    ) -> Filler:
        """Build a generation beside the one in use, which is kept up to date meanwhile, and put it in its place."""
        wish = await store.wish()
        generation = await store.begin(source.partitions, source.checked)
        new = await self._filler_of(store, source, stack, generation)
        self.building, self.role = new, "building"
        log.info("building the views", generation=generation)
        await new.open()
        wanted = dict(new.ends)
        async with _meanwhile(old) as kept:
            await new.run(lambda: self.stop.is_set() or (new.has(wanted) and new.lag() <= NEAR))
        # The other one stands still now: readers never see less than they have seen.
        wanted = {} if old is None or not kept.whole else old.next_offsets()
        await new.run(lambda: self.stop.is_set() or new.has(wanted))
        if self.stop.is_set():
            return new
        await new.look()
        if not await store.swap(generation, old.generation if old is not None and kept.whole else None, wish):
            raise Moved
        if old is not None:
            await old.consumer.stop()
        self._answered = wish
        self.metrics.rebuilds += 1
        self.building = None
        log.info("the views are built", generation=generation)
        return new

    async def _sweep(self, store: Store, kept: int) -> None:
        removed = await store.sweep((kept,))
        if removed:
            log.info("old views are removed", keys=removed)

    async def _kpis(self) -> None:
        """Bring the figures for Prometheus up to date, again and again."""
        views = Views(self._client, self._keys)
        while True:
            self.metrics.kpis = await views.kpis_now()
            await asyncio.sleep(KPIS_S)

    # Trouble.

    def _note(self, state: RetryCallState) -> None:
        outcome = state.outcome
        problem = outcome.exception() if outcome is not None else None
        if isinstance(problem, _TROUBLE):
            log.warning(
                "the views cannot be kept now",
                why=_reason(problem),
                redis=shown(self._options.settings),
                again_in_s=round(state.upcoming_sleep, 1),
            )

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self.stop.wait()
        except TimeoutError:
            return


@dataclass(slots=True)
class _Kept:
    """Whether the generation in use was kept up to date to the end."""

    whole: bool = True


@asynccontextmanager
async def _meanwhile(old: Filler | None) -> AsyncIterator[_Kept]:
    """Keep a generation up to date while the block runs; then it stands still."""
    kept, over = _Kept(), asyncio.Event()

    async def keep(filler: Filler) -> None:
        try:
            await filler.run(over.is_set)
        except _TROUBLE as problem:  # of the lease and of Redis the block hears as well
            kept.whole = False
            log.warning("the views in use are not kept while others are built", why=_reason(problem))

    task = None if old is None else asyncio.create_task(keep(old))
    try:
        yield kept
    finally:
        over.set()
        if task is not None:
            await task


def _reason(problem: BaseException) -> str:
    if isinstance(problem, Fenced):
        return "another process writes them, or Redis was emptied"
    if isinstance(problem, Moved):
        return "they are not as they were left"
    if isinstance(problem, Unusable):
        return f"they are not of this journal: {problem}"
    return why(problem) if isinstance(problem, RedisError) else type(problem).__name__


@asynccontextmanager
async def _beside(*works: Any) -> AsyncIterator[None]:
    """Do works while the block runs; one that fails does not end the block: the block will meet the same trouble."""
    tasks = [asyncio.create_task(_quietly(work)) for work in works]
    try:
        yield
    finally:
        # More than once: a cancellation that meets the end of a read can be lost in the client.
        while pending := [task for task in tasks if not task.done()]:
            for task in pending:
                task.cancel()
            await asyncio.wait(pending, timeout=1)


async def _quietly(work: Awaitable[Any]) -> None:
    """Do something whose failure another part will notice."""
    try:
        await work
    except _TROUBLE as problem:
        log.debug("left undone", error=type(problem).__name__)


async def serve(options: Options, started: Callable[[int | None], None] = lambda port: None) -> None:
    """Run the views until SIGTERM or Ctrl-C."""
    from ops_stream.views.web import serving

    service = Service(options)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, service.stop.set)
    async with serving(service, options.host, options.port) as port:
        started(port)
        log.info("views started", redis=shown(options.settings), checked=options.key() is not None)
        await service.run()
    log.info("views stopped")
