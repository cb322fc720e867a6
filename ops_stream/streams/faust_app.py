"""The Faust application: co-partitioned input topics, one agent each, and a transport that starts our recovery.

What Faust does here is what it does well: assign equal partitions of all inputs to one worker, deliver records, restore
tables. It decides nothing and its acknowledgements are for lag displays only.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any, Protocol

import faust
from faust.auth import SASLCredentials, SSLCredentials
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Transport
from faust.types import TP

from ops_stream.contract.anyheaders import read_any_header_name
from ops_stream.contract.settings import Settings
from ops_stream.streams.exits import Exit, Refusal
from ops_stream.streams.loops import SharedLoop
from ops_stream.streams.snapshots import SnapshotTable
from ops_stream.streams.topics_in import FLOWING

SNAPSHOTS_TOPIC = "snapshots"
SESSION_TIMEOUT_S = 12.0
HEARTBEATS_PER_SESSION = 4
COMMIT_INTERVAL_S = 1.0
MAX_POLL_INTERVAL_S = 60.0
REQUEST_TIMEOUT_S = 90.0
POLL_RECORDS_MAX = 500
BUFFER_RECORDS_MAX = 4096
YIELD_EVERY = 50
FULL_S = 0.005
WAIT_S = 0.05
FETCH_WAIT_MS = 25
GATHER_MS = 5
GATHER_BYTES = 64 * 1024
GATHER_PER_S = 400
"""From so many records a second on the broker gathers them for `GATHER_MS`: a fetch costs more than a record."""
PACE_S = 0.2
UNTAKEN_S = 0.005
"""How long a fetch waits for records of the one before that are not taken yet."""


class Shell(Protocol):
    """What the Faust side tells the worker."""

    def on_message(self, message: Any) -> None:
        """A record of an input topic was delivered; acknowledge it with `message.ack(consumer)`."""

    def on_revoking(self) -> None:
        """Partitions are about to be taken away: decide nothing more."""

    def on_restored(self, generation: int) -> None:
        """The tables of this generation are restored."""

    def on_seek(self, consumer: OpsConsumer, generation: int, assigned: frozenset[int]) -> None:
        """Input would flow from now on: recover `assigned` first. May be called more than once a generation."""


class OpsConsumerThread(AIOKafkaConsumerThread):  # type: ignore[misc]
    """Faust's consumer thread, with short fetches."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        """A fetch leaves out partitions whose last records are not taken yet, and waits at the broker for the others.

        aiokafka has one fetch a broker on its way, so that under load a full topic would wait for the silent ones, a
        second and a half each time as Faust sets it.
        """
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS
        return consumer

    def pace(self, busy: bool) -> None:
        """Let the broker gather records for a few milliseconds while many come."""
        consumer = self._consumer
        if consumer is None or consumer._fetcher is None:
            return
        fetcher = consumer._fetcher
        fetcher._fetch_min_bytes = GATHER_BYTES if busy else 1
        fetcher._fetch_max_wait_ms = GATHER_MS if busy else FETCH_WAIT_MS

    def leave_out(self, topic: str, generation: int) -> None:
        """Fetch nothing of a topic any more in this generation.

        Faust only stops taking what it has paused; aiokafka goes on fetching it, and holds up all other partitions for
        a tenth of a second each time while nobody takes it.
        """
        self.thread_loop.call_soon_threadsafe(self._leave_out, topic, generation)

    def _leave_out(self, topic: str, generation: int) -> None:
        consumer = self._consumer
        if consumer is None or consumer._coordinator.generation != generation:
            return
        consumer._fetcher._prefetch_backoff = UNTAKEN_S
        consumer.pause(*(tp for tp in consumer.assignment() if tp.topic == topic))


class OpsConsumer(Consumer):  # type: ignore[misc]
    """Faust's consumer, with recovery where it would seek to the group's committed offsets."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.full: set[int] = set()
        """Partitions whose sequencers have enough to do for now."""

    def _new_consumer_thread(self) -> OpsConsumerThread:
        # Left alone, mode gives the thread that fetches everything a loop of asyncio, which is slower.
        thread = OpsConsumerThread(self, loop=self.loop, beacon=self.beacon, thread_loop=SharedLoop())
        thread._close_thread_loop_on_stop = True  # mode closes only the loops that it made
        return thread

    async def perform_seek(self) -> None:
        """Pause the inputs and let recovery run in tasks of its own.

        Faust runs this under `broker_request_timeout` and past it never becomes ready, so nothing is awaited here.
        """
        shell: Shell = self.app.ops_shell
        names = self.app.ops_input_topics
        inputs = {tp for tp in self.assignment() if tp.topic in names}
        self.pause_partitions(inputs)
        shell.on_seek(self, self.app.consumer_generation_id, frozenset(tp.partition for tp in inputs))

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Stop deciding before Faust waits for what is under way."""
        self.app.ops_shell.on_revoking()
        await super().on_partitions_revoked(revoked)

    async def _drain_messages(self, fetcher: Any) -> None:
        """Faust's loop over fetched records, without the two tasks that it makes for every one of them.

        A record is handed over directly; where that waits, it is for flow control or a full queue, and both end with
        the rebalance that Faust's own loop guards against (`flow_control.clear` empties the queues).
        """
        callback, sleep = self.callback, asyncio.sleep
        read_offset = self._read_offset
        since_yield = 0
        counted, since = 0, monotonic()
        try:
            while not (self._stopped.is_set() or fetcher._stopped.is_set()):
                if self.flow_active and not self._get_active_partitions():
                    # Faust would sleep for a second; partitions that are full are paused for milliseconds.
                    await sleep(FULL_S)
                    continue
                await sleep(0)
                passed = monotonic() - since
                if passed > PACE_S:
                    self._thread.pace(counted > GATHER_PER_S * passed)
                    counted, since = 0, monotonic()
                # A wait that began while a partition was full does not see that it has room again.
                full = self.full or self._buffered_partitions
                async for tp, message in self.getmany(timeout=FULL_S if full else WAIT_S):
                    counted += 1
                    since_yield += 1
                    if since_yield >= YIELD_EVERY:
                        since_yield = 0
                        await sleep(0)
                    known = read_offset[tp]
                    if known is not None and message.offset < known:
                        continue
                    if self.app.flow_control.is_active():
                        await callback(message)
                    else:
                        await self.wait_first(callback(message), self.suspend_flow.wait())
                    read_offset[tp] = message.offset
        except self.consumer_stopped_errors:
            if not self.app.should_stop:
                raise
        except asyncio.CancelledError:
            if not self.app.should_stop:
                raise

    async def seek_inputs(self, starts: dict[TP, int]) -> None:
        """Deliver from `starts`, and count acknowledgements from there."""
        await self.seek_wait(starts)
        self._committed_offset.update(starts)

    def leave_out_snapshots(self, generation: int) -> None:
        """They are restored: what is written to them from here on need not come back."""
        self._thread.leave_out(self.app.ops_snapshots.changelog_topic.get_topic_name(), generation)

    def hold(self, partition: int) -> None:
        """Fetch nothing more of a partition's inputs. Not by `pause_partitions`: that drops what is fetched already."""
        self.full.add(partition)
        for tp in self.tps_of(partition):
            self.on_buffer_full(tp)

    def release(self, partition: int) -> None:
        """Fetch again what was held."""
        self.full.discard(partition)
        for tp in self.tps_of(partition):
            self.on_buffer_drop(tp)

    def open(self, partition: int) -> None:
        """Let a recovered partition flow, from where it was sought."""
        self.release(partition)
        self.resume_partitions(self.tps_of(partition))

    async def must_have(
        self, partition: int, names: Iterable[str], within_s: float, holds: Callable[[], bool]
    ) -> None:
        """Raise `Refusal` where inputs of a partition are not assigned, although its generation `holds`.

        While the group rebalances none is, and the next generation is about to begin: that is waited for, so long.
        """
        wanted = {TP(name, partition) for name in names}
        deadline = monotonic() + within_s
        found = self.tps_of(partition)
        while holds() and not found and monotonic() < deadline:
            await asyncio.sleep(FULL_S)
            found = self.tps_of(partition)
        if holds() and found != wanted:
            raise Refusal(
                f"The input {', '.join(sorted(tp.topic for tp in wanted - found))} went away while this worker ran.",
                "See what the cluster lacks with: ops-stream topics check",
                Exit.RECOVERY_FAILED,
            )

    def tps_of(self, partition: int) -> set[TP]:
        """The assigned input partitions numbered `partition`."""
        names = self.app.ops_input_topics
        return {tp for tp in self.assignment() if tp.topic in names and tp.partition == partition}


class QuietMonitor(faust.Monitor):  # type: ignore[misc]
    """Faust's monitor without its notes on every record: what is counted here is counted by `streams/metrics.py`."""

    def on_message_in(self, tp: TP, offset: int, message: Any) -> None:
        """Note nothing."""

    def on_message_out(self, tp: TP, offset: int, message: Any) -> None:
        """Note nothing."""

    def on_stream_event_in(self, tp: TP, offset: int, stream: Any, event: Any) -> dict[str, Any] | None:
        """Note nothing."""
        return None

    def on_stream_event_out(
        self, tp: TP, offset: int, stream: Any, event: Any, state: dict[str, Any] | None = None
    ) -> None:
        """Note nothing."""

    def track_tp_end_offset(self, tp: TP, offset: int) -> None:
        """Note nothing."""


class OpsTransport(Transport):  # type: ignore[misc]
    """Faust's aiokafka transport with our consumer."""

    Consumer = OpsConsumer


def quiet_faust() -> None:
    """Faust and mode build a log record per event even where nobody reads it; say only what went wrong."""
    for name in ("faust", "mode", "aiokafka"):
        logging.getLogger(name).setLevel(logging.WARNING)


def build_app(
    settings: Settings, shell: Shell, instance: str, session_timeout_s: float = SESSION_TIMEOUT_S
) -> faust.App:
    """The application over the input topics of `settings.topic_prefix`.

    Membership of the group is dynamic: a worker that stops leaves it at once, and aiokafka does not fence a static id.
    """
    read_any_header_name()
    partitions = settings.partitions
    url = ";".join(f"kafka://{server}" for server in settings.bootstrap_servers.split(","))
    app = faust.App(
        settings.topic("supervisor"),
        broker=url,
        broker_credentials=_credentials(settings),
        broker_client_id=f"ops-stream-{instance}",
        broker_session_timeout=session_timeout_s,
        broker_heartbeat_interval=session_timeout_s / HEARTBEATS_PER_SESSION,
        broker_request_timeout=REQUEST_TIMEOUT_S,
        broker_commit_interval=COMMIT_INTERVAL_S,
        broker_commit_livelock_soft_timeout=3600.0,
        broker_max_poll_interval=MAX_POLL_INTERVAL_S,
        broker_max_poll_records=POLL_RECORDS_MAX,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=4 * 1024 * 1024,
        stream_buffer_maxsize=BUFFER_RECORDS_MAX,
        stream_processing_timeout=3600.0,
        stream_wait_empty=True,
        stream_recovery_delay=0.0,
        store="memory://",
        table_standby_replicas=0,
        topic_partitions=partitions,
        topic_disable_leader=True,
        topic_allow_declare=False,
        producer_linger=0.0,
        producer_acks=-1,
        producer_max_request_size=6 * 1024 * 1024,
        datadir=settings.data_dir / "faust",
        web_enabled=False,
        Monitor=QuietMonitor,
        autodiscover=False,
    )
    app.transport = OpsTransport(app.conf.broker_consumer, app, loop=app.loop)
    app.producer_transport = app.transport
    app.ops_shell = shell
    app.ops_input_topics = {settings.topic(name): name for name in FLOWING}
    app.ops_restored = {}
    table = SnapshotTable(
        app,
        name="snapshots",
        partitions=partitions,
        key_type=bytes,
        value_type=bytes,
        changelog_topic=app.topic(
            settings.topic(SNAPSHOTS_TOPIC),
            key_type=bytes,
            value_type=bytes,
            key_serializer="raw",
            value_serializer="raw",
            partitions=partitions,
            compacting=True,
            allow_empty=True,
        ),
        recovery_buffer_size=1000,
    )
    app.ops_snapshots = app.tables.add(table)
    for full in app.ops_input_topics:
        _add_agent(app, full, shell.on_message)
    app.on_rebalance_complete.connect(_restored(app, shell))
    return app


def _restored(app: faust.App, shell: Shell) -> Callable[..., Any]:
    async def on_rebalance_complete(*_: Any, **__: Any) -> None:
        shell.on_restored(app.consumer_generation_id)

    # Signals keep weak references: the app keeps this one alive.
    app.ops_on_rebalance_complete = on_rebalance_complete
    return on_rebalance_complete


def _add_agent(app: faust.App, full: str, on_message: Callable[[Any], None]) -> None:
    topic = app.topic(
        full, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw", allow_empty=True
    )

    async def decide(stream: Any) -> None:
        # Acknowledged by us, when everything that the record caused is out.
        events = stream.noack()
        queue = events.channel.queue
        async for event in events.events():
            on_message(event.message)
            # A stream gives one event for each turn of the loop; what waits behind it is taken along.
            while not queue.empty():
                on_message(queue.get_nowait().message)

    app.agent(topic, name=f"decide-{full}", concurrency=1)(decide)


def _credentials(settings: Settings) -> Any:
    arguments = settings.aiokafka()
    protocol = arguments["security_protocol"]
    context = arguments.get("ssl_context")
    if protocol == "PLAINTEXT":
        return None
    if protocol == "SSL":
        return SSLCredentials(context=context)
    return SASLCredentials(
        username=arguments["sasl_plain_username"],
        password=arguments["sasl_plain_password"],
        mechanism=arguments["sasl_mechanism"],
        ssl_context=context,
    )
