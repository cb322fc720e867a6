"""The worker's inside: which partitions are owned, and how each goes from assigned to recovered to live and away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Any

import structlog
from faust.types import TP

from ops_stream.contract.settings import Settings
from ops_stream.core.inputs import Gap
from ops_stream.core.journal.ledger import Ledger, Prepared
from ops_stream.core.journal.record import RawInput
from ops_stream.streams.around import Arrival, Phase
from ops_stream.streams.brokertime import BrokerClock
from ops_stream.streams.budget_sampler import BudgetSampler
from ops_stream.streams.bus import reader
from ops_stream.streams.checkpoints import Checkpoints
from ops_stream.streams.exits import Exit, Refusal, append_failed, die, publish_failed
from ops_stream.streams.faust_app import OpsConsumer
from ops_stream.streams.flow import BusFlow
from ops_stream.streams.intake import meaningful, meaningful_forwarded
from ops_stream.streams.lane import Lane
from ops_stream.streams.metrics import Metrics
from ops_stream.streams.owned import Limits, Owned
from ops_stream.streams.priority import PriorityReader
from ops_stream.streams.prober import Prober
from ops_stream.streams.publisher import Publisher
from ops_stream.streams.recovery import JOURNAL, Owner, Recovered, Recovery, prove_positions
from ops_stream.streams.rulebook import said_of_rules
from ops_stream.streams.sampler import Sampler
from ops_stream.streams.sequencer import Sequencer
from ops_stream.streams.snapshots import Snapshots
from ops_stream.streams.ticker import Ticker
from ops_stream.streams.topics_in import ALL, FLOWING

log = structlog.get_logger(__name__)

DRAIN_POLL_S = 0.02
WATCH_S = 0.25


class Supervisor:
    """Owns partitions: what the Faust side tells (`Shell`), and from assigned to live and away."""

    def __init__(
        self,
        settings: Settings,
        owner: Owner,
        partitions: int,
        metrics: Metrics,
        limits: Limits,
        accepted: frozenset[str],
    ) -> None:
        self.settings = settings
        self.partitions = partitions
        self.limits = limits
        self.generation = -1
        self.owned: dict[int, Owned] = {}
        self.halted: dict[int, str] = {}
        self.stopping = False
        self.clock = BrokerClock()
        self.snapshots: Snapshots | None = None
        self._owner = owner
        self._metrics = metrics
        self._accepted = accepted
        self._restored = -1
        self._known: dict[int, Ledger] = {}
        self._background: set[asyncio.Task[Any]] = set()
        self._logical = {settings.topic(name): name for name in ALL}
        self._priority = PriorityReader(
            settings, self.sequencer, owner.rulebook, owner.refresh_rules, owner.key
        )
        prober = Prober(settings)
        self._flow = BusFlow(settings, self._priority, prober, self.sequencer, self.run_in_background)
        self._ticker = Ticker(settings, self.clock, self.live, prober)
        self.sampler = Sampler(settings, self.live, prober, limits.stalled_s)
        self.checkpoints = Checkpoints(settings, owner.producer, owner.key, owner.signing_key)
        self.budgets = BudgetSampler(self.clock, self.live, owner.rulebook, limits.overdue_s)

    # -- what others see

    def sequencer(self, partition: int) -> Sequencer | None:
        """The live sequencer of a partition."""
        owned = self.owned.get(partition)
        return owned.sequencer if owned is not None else None

    def live(self) -> list[Sequencer]:
        """Every live sequencer."""
        return [o.sequencer for o in self.owned.values() if o.sequencer is not None]

    def start(self) -> None:
        """Start what runs beside Faust."""
        self.run_in_background(self._priority.run(), "the reader of control and resolutions")
        self.run_in_background(self._ticker.run(), "the ticker")
        self.run_in_background(self._watch(), "the watch over appends")
        self.run_in_background(self.sampler.run(), "the look at what waits")
        self.run_in_background(self.budgets.run(), "the look at the budgets")
        self.run_in_background(self.checkpoints.run(), "the checkpoints")

    def tasks(self) -> list[tuple[str, float]]:
        """What turns all the time, and when each began its last turn (infinite where it has nothing to do)."""
        return [
            ("the reader of control and resolutions", self._priority.turned_at),
            ("the ticker", self._ticker.turned_at),
            ("the look at what waits", self.sampler.turned_at),
        ]

    def run_in_background(self, coroutine: Any, what: str) -> None:
        """Run a task that must not end by itself. Cancelled by nobody, but from within aiokafka, it has."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self._background.add(task)

        def ended(done: asyncio.Task[Any]) -> None:
            self._background.discard(done)
            if done.cancelled():
                if not done.cancelling():
                    die(Exit.CRASHED, f"{what} was cancelled from within")
            elif done.exception() is not None:
                log.error("a task of the worker ended", what=what, exc_info=done.exception())
                die(Exit.CRASHED, f"{what} ended with {type(done.exception()).__name__}: {done.exception()}")

        task.add_done_callback(ended)

    def snapshot_failed(self, error: BaseException) -> None:
        """Snapshots cannot be written: without them recovery only takes longer, but something is wrong."""
        die(Exit.APPEND_UNKNOWN, f"snapshots cannot be written: {type(error).__name__}: {error}")

    async def drain(self, timeout_s: float) -> bool:
        """Decide nothing more and wait until all that was decided is journaled and published."""
        self.stopping = True
        for sequencer in self.live():
            sequencer.drain()
        deadline = monotonic() + timeout_s
        while any(not s.idle for s in self.live()):
            if monotonic() > deadline:
                return False
            await asyncio.sleep(DRAIN_POLL_S)
        await self.checkpoints.write()
        return True

    async def stop(self) -> None:
        """End every task; nothing more is sent."""
        for task in list(self._background):
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        if self.snapshots is not None:
            self.snapshots.close()
        for owned in self.owned.values():
            if owned.task is not None:
                owned.task.cancel()
            if owned.sequencer is not None:
                owned.sequencer.close()

    # -- Shell: what Faust tells

    def on_message(self, message: Any) -> None:
        """Hand a delivered record to its sequencer; one of an older generation is dropped."""
        consumer = self._flow.consumer
        sequencer = self.sequencer(message.partition)
        if consumer is None:
            # Nothing is owned yet; the seek that begins the generation delivers it again.
            return
        if sequencer is None or message.generation_id != self.generation:
            message.ack(consumer)
            return
        name = self._logical[message.topic]
        value = message.value
        headers = message.headers or ()
        if name == "forwarded":
            kept = meaningful_forwarded(self._owner.key, headers, value)
        else:
            kept = meaningful(headers)
        raw = RawInput(name, message.partition, message.offset, round(message.timestamp * 1000), value, kept)
        sequencer.offer(Arrival(raw, lambda: message.ack(consumer)))

    def on_revoking(self) -> None:
        """Decide nothing more; what is in flight is acknowledged while Faust waits for it."""
        for sequencer in self.live():
            sequencer.drain()
            if self.snapshots is not None:
                self.snapshots.release(sequencer.ledger)

    def on_restored(self, generation: int) -> None:
        """Snapshots of this generation are there."""
        self._restored = generation

    def on_seek(self, consumer: OpsConsumer, generation: int, assigned: frozenset[int]) -> None:
        """Begin a generation; once begun, a further call only lets the live partitions flow again."""
        self._flow.consumer = consumer
        if generation == self.generation:
            for partition in assigned:
                if self.sequencer(partition) is not None:
                    self.run_in_background(self._flow_again(partition), f"the seek of partition {partition}")
            return
        if generation != self._restored:
            return
        consumer.leave_out_snapshots(generation)
        log.info("partitions assigned", generation=generation, partitions=sorted(assigned))
        former, self.owned = self.owned, {}
        self.halted.clear()
        self.generation = generation
        for partition in assigned:
            owned = Owned(partition)
            self.owned[partition] = owned
            owned.before = former.pop(partition, None)
            owned.task = asyncio.get_running_loop().create_task(self._recover(generation, owned))
        for gone in former.values():
            self._let_go(gone)
        for partition in list(self._known):
            if partition not in assigned:
                del self._known[partition]
        self._priority.assign(())

    # -- recovery

    def _let_go(self, owned: Owned) -> None:
        if owned.task is not None:
            owned.task.cancel()
        if owned.sequencer is not None:
            owned.sequencer.close()
        if owned.before is not None:
            self._let_go(owned.before)
        if self.snapshots is not None:
            self.snapshots.forget(owned.partition)
        self._metrics.forget(owned.partition)

    async def _recover(self, generation: int, owned: Owned) -> None:
        partition = owned.partition
        try:
            known = await self._what_is_known(owned)
            recovery = Recovery(self._owner, partition, self.partitions)
            if known is not None:
                self._known[partition] = known
            recovered = await recovery.run(known)
            # Kept until it is live: after a rebalance in between it would have to be folded from the start.
            self._known[partition] = recovered.ledger
            await self._go_live(generation, owned, recovered)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or not task.cancelling():
                # Nobody asked for it: it came out of aiokafka, and the partition would be recovering for ever.
                die(Exit.RECOVERY_FAILED, f"the recovery of partition {partition} was cancelled from within")
            raise
        except Refusal as refusal:
            die(refusal.code, str(refusal))
        except BaseException as error:
            log.error("recovery ended", partition=partition, exc_info=error)
            die(
                Exit.RECOVERY_FAILED,
                f"partition {partition} could not be recovered: {type(error).__name__}: {error}",
            )

    async def _what_is_known(self, owned: Owned) -> Ledger | None:
        """The ledger of the last generation that had one, once nothing of it is in flight; else a snapshot's."""
        partition, before = owned.partition, owned.before
        while before is not None:
            if before.task is not None and not before.task.done():
                before.task.cancel()
                await asyncio.gather(before.task, return_exceptions=True)
            sequencer = before.sequencer
            if sequencer is not None:
                sequencer.drain()
                while not sequencer.idle:
                    self._end_if_overdue(sequencer)
                    await asyncio.sleep(DRAIN_POLL_S)
                sequencer.close()
                owned.before = None
                if sequencer.phase is not Phase.HALTED:
                    return sequencer.ledger
                break
            before = before.before
        owned.before = None
        if partition in self._known:
            return self._known.pop(partition)
        return self.snapshots.load(partition) if self.snapshots is not None else None

    async def _go_live(self, generation: int, owned: Owned, recovered: Recovered) -> None:
        ledger = recovered.ledger
        names = {name: self.settings.topic(name) for name in ALL}
        async with reader(self.settings) as consumer:
            starts, gaps = await prove_positions(consumer, ledger, names, self._accepted)
        faust_consumer = self._flow.consumer
        if generation != self.generation or faust_consumer is None:
            return
        partition = owned.partition
        inputs = [names[name] for name in FLOWING]
        within_s = self.limits.append_deadline_s
        await faust_consumer.must_have(partition, inputs, within_s, lambda: generation == self.generation)
        if generation != self.generation:
            return
        sequencer = self._new_sequencer(ledger, starts)
        await faust_consumer.seek_inputs(
            {TP(names[name], partition): starts[name] for name in FLOWING},
        )
        if generation != self.generation:
            sequencer.close()
            return
        for name, (first, last) in gaps.items():
            sequencer.reset_input(Gap(name, partition, first, last))
        sequencer.start(recovered.tail)
        owned.sequencer, owned.phase = sequencer, Phase.LIVE
        self._known.pop(partition, None)
        if self.snapshots is not None:
            self.snapshots.follow(ledger, recovered.takeover)
        # A partition that nobody writes to has leases that end all the same: time is known from now on.
        self.clock.observe(*recovered.taken_over)
        self._metrics.recovered(partition, recovered.seconds)
        log.info(
            "partition is live",
            partition=partition,
            folded=recovered.folded,
            seconds=round(recovered.seconds, 3),
            offset=ledger.next_offset,
            **said_of_rules(ledger.state),
        )
        self._priority.assign(o.partition for o in self.owned.values() if o.sequencer is not None)
        faust_consumer.open(partition)

    async def _flow_again(self, partition: int) -> None:
        sequencer = self.sequencer(partition)
        consumer = self._flow.consumer
        if sequencer is None or consumer is None or sequencer.phase is not Phase.LIVE:
            return
        await consumer.seek_inputs(
            {TP(self.settings.topic(name), partition): sequencer.next_offset(name) for name in FLOWING}
        )
        consumer.open(partition)

    def _new_sequencer(self, ledger: Ledger, starts: dict[str, int]) -> Sequencer:
        partition = ledger.state.partition
        owner = self._owner
        publisher = Publisher(
            owner.producer,
            partition,
            self.settings.topic,
            owner.key,
            publish_failed,
            owner.signing_key,
            self._metrics.published,
        )
        publisher.published_through = ledger.published_through

        def journal(delivered: Callable[[int, int, list[Any]], None]) -> Lane[Any]:
            topic = self.settings.topic(JOURNAL)
            return Lane(owner.producer, topic, partition, delivered, lambda why: append_failed(topic, why))

        return Sequencer(
            ledger,
            journal=journal,
            publisher=publisher,
            rulebook=owner.rulebook,
            engine=owner.engine,
            flow=self._flow,
            observer=self._metrics,
            die=die,
            halted=self._on_halted,
            clock=self.clock.observe,
            counted=self._counted,
            starts=starts,
        )

    def _counted(self, prepared: Prepared) -> None:
        self.checkpoints.counted(prepared)
        if self.snapshots is not None:
            self.snapshots.journaled(prepared)

    def _on_halted(self, partition: int, why: str) -> None:
        self.halted[partition] = why
        self.owned[partition].phase = Phase.HALTED
        log.error("partition halted", partition=partition, why=why)
        self._owner.alert(partition, why)

    # -- watching

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_S)
            now = monotonic()
            for sequencer in self.live():
                sequencer.seek_again(now)
                self._end_if_overdue(sequencer)
            # Nothing waits for a snapshot, so that one may take longer.
            age = self.snapshots.oldest_age_s(now) if self.snapshots is not None else 0.0
            if age > 2 * self.limits.append_deadline_s:
                self.snapshot_failed(TimeoutError(f"nothing was taken for {age:.0f} s"))

    def _end_if_overdue(self, sequencer: Sequencer) -> None:
        age = sequencer.oldest_age_s(monotonic())
        if age > self.limits.append_deadline_s:
            die(
                Exit.APPEND_UNKNOWN,
                f"partition {sequencer.partition}: the broker has neither taken nor refused a record for "
                f"{age:.0f} s; what became of it is found out at the next start",
            )
