"""Time: a tick for T is proposed only with the ends that every input partition had at or after T.

The sequencer journals it once it has read to all those ends, so that a report which is already on its topic is never
overtaken by its own expiry.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from time import monotonic

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from ops_stream.contract.settings import Settings
from ops_stream.streams.around import Phase
from ops_stream.streams.brokertime import BrokerClock
from ops_stream.streams.bus import new_reader
from ops_stream.streams.prober import Prober
from ops_stream.streams.sequencer import Sequencer
from ops_stream.streams.topics_in import ALL

log = structlog.get_logger(__name__)

INTERVAL_S = 0.2
STUCK_AFTER_S = 2.0


class Ticker:
    """Proposes ticks to the sequencers that have something due."""

    def __init__(
        self,
        settings: Settings,
        clock: BrokerClock,
        sequencers: Callable[[], Iterable[Sequencer]],
        prober: Prober,
    ) -> None:
        self.turned_at = monotonic()
        """When it last began to look."""
        self._reader: AIOKafkaConsumer = new_reader(settings)
        self._clock = clock
        self._prober = prober
        self._sequencers = sequencers
        self._topics = {name: settings.topic(name) for name in ALL}
        self._waiting_since: dict[int, float] = {}

    async def run(self) -> None:
        """Propose ticks until cancelled."""
        await self._reader.start()
        try:
            while True:
                await asyncio.sleep(INTERVAL_S)
                self.turned_at = monotonic()
                try:
                    await self._turn()
                except KafkaError as error:
                    # Time stands still while the broker is away; nothing expires unseen.
                    log.warning("ticks wait for the broker", error=type(error).__name__)
        finally:
            await self._reader.stop()

    async def _turn(self) -> None:
        now_ms = self._clock.now_ms()
        if now_ms is None:
            return
        due = [s for s in self._sequencers() if _is_due(s, now_ms)]
        fresh = [s for s in due if not s.tick_pending]
        if fresh:
            await self._propose(fresh, now_ms)
        for sequencer in due:
            await self._look_at(sequencer)

    async def _propose(self, sequencers: list[Sequencer], now_ms: int) -> None:
        tps = [TopicPartition(full, s.partition) for s in sequencers for full in self._topics.values()]
        ends = await self._reader.end_offsets(tps)
        for sequencer in sequencers:
            sequencer.propose_tick(
                now_ms,
                {
                    name: ends[TopicPartition(full, sequencer.partition)]
                    for name, full in self._topics.items()
                },
            )

    async def _look_at(self, sequencer: Sequencer) -> None:
        """A tick that waits long while nothing comes: offsets at an end may hold nothing (a transaction's marker)."""
        waits = sequencer.tick_waits_for
        if not waits or sequencer.waiting:
            self._waiting_since.pop(sequencer.partition, None)
            return
        since = self._waiting_since.setdefault(sequencer.partition, monotonic())
        if monotonic() - since < STUCK_AFTER_S:
            return
        for topic, (start, end) in waits.items():
            self.turned_at = monotonic()
            tp = TopicPartition(self._topics[topic], sequencer.partition)
            first, _ = await self._prober.first_from(tp, start)
            reached = min(end, first)
            if reached > start and sequencer.next_offset(topic) == start:
                sequencer.skip_gap(topic, reached - 1)
        self._waiting_since.pop(sequencer.partition, None)


def _is_due(sequencer: Sequencer, now_ms: int) -> bool:
    if sequencer.phase is not Phase.LIVE:
        return False
    due = sequencer.ledger.state.next_due_ms()
    return sequencer.tick_pending or (due is not None and due <= now_ms)
