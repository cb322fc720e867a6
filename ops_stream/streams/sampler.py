"""How much the broker holds that is not decided yet, asked in the background so that no scrape has to.

A record that stands at the broker for long while its partition takes nothing is a fault that shows nowhere else: all
that was delivered is decided, and nothing more is delivered.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Final

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from ops_stream.contract.settings import Settings
from ops_stream.streams.around import Phase
from ops_stream.streams.bus import new_reader
from ops_stream.streams.prober import Prober
from ops_stream.streams.sequencer import Sequencer
from ops_stream.streams.topics_in import ALL, FLOWING

log = structlog.get_logger(__name__)

STALE_S: Final = 30.0
"""What is older is not shown any more."""
OTHERS_GO_ON_S: Final = 60.0
"""One topic may stand still for so long while others of its partition go on: they are delivered in turn."""
PROBES_MAX: Final = 4
"""Looks at what stands at an offset in one turn: each may take half a second."""


class Sampler:
    """Asks the broker for the ends of all inputs every few seconds."""

    def __init__(
        self,
        settings: Settings,
        sequencers: Callable[[], Iterable[Sequencer]],
        prober: Prober,
        stalled_s: float,
    ) -> None:
        self.turned_at = monotonic()
        """When the last turn began."""
        self._untaken: dict[int, tuple[str, int, float]] = {}
        """Partitions where a record waits at the broker and nothing is taken: its topic, its offset, and since when."""
        self._reader: AIOKafkaConsumer = new_reader(settings)
        self._sequencers = sequencers
        self._prober = prober
        self._stalled_s = stalled_s
        self._every_s = 0.6 * stalled_s
        self._topics = {name: settings.topic(name) for name in ALL}
        self._ends: dict[tuple[int, str], int] = {}
        self._asked_at = 0.0
        self._still: dict[tuple[int, str], tuple[int, float]] = {}
        """Of each input its position, and since when it has stood there with something before it."""
        self._empty: dict[tuple[int, str], int] = {}
        """Up to which offset there is no record after the position, where that was looked at."""
        self._flowed: dict[int, float] = {}
        """When something that Faust delivers was last seen to go on, by partition."""

    def lag(self) -> dict[str, int]:
        """Records that the broker holds and that are not decided, by topic; nothing where that is not known."""
        if monotonic() - self._asked_at > STALE_S:
            return {}
        found: Counter[str] = Counter(dict.fromkeys(ALL, 0))
        for sequencer in self._sequencers():
            for topic in ALL:
                place = (sequencer.partition, topic)
                reached = max(sequencer.next_offset(topic), self._empty.get(place, 0))
                found[topic] += max(0, self._ends.get(place, 0) - reached)
        return dict(found)

    def untaken(self, sequencer: Sequencer) -> tuple[str, float] | None:
        """The topic of a record that waits at the broker while this partition takes nothing, and since when it does."""
        found = self._untaken.get(sequencer.partition)
        if found is None or sequencer.next_offset(found[0]) != found[1]:
            return None
        return found[0], found[2]

    async def run(self) -> None:
        """Ask until cancelled."""
        await self._reader.start()
        try:
            while True:
                await asyncio.sleep(self._every_s)
                self.turned_at = monotonic()
                try:
                    await self._turn()
                except KafkaError as error:
                    log.warning(
                        "how much waits at the broker cannot be asked now", error=type(error).__name__
                    )
        finally:
            await self._reader.stop()

    async def _turn(self) -> None:
        live = [s for s in self._sequencers() if s.phase is Phase.LIVE]
        places = [(s.partition, topic) for s in live for topic in ALL]
        ends = await self._reader.end_offsets([self._tp(place) for place in places]) if places else {}
        self._ends = {place: ends[self._tp(place)] for place in places}
        before, self._asked_at = self._asked_at, monotonic()
        if self._asked_at - before > 3 * self._every_s:
            self._still.clear()  # nobody was asked meanwhile: whoever stood still then may have done so in vain
        suspects = [(s, topic) for s in live if (topic := self._suspect(s))]
        self._untaken = {
            p: found for p, found in self._untaken.items() if p in {s.partition for s, _ in suspects}
        }
        for sequencer, topic in suspects[:PROBES_MAX]:
            await self._look(sequencer, topic)

    async def _look(self, sequencer: Sequencer, topic: str) -> None:
        """Whether a record stands where a partition should have gone on: a transaction's marker is none."""
        place, offset = (sequencer.partition, topic), sequencer.next_offset(topic)
        self._empty[place], is_there = await self._prober.first_from(self._tp(place), offset)
        if is_there and sequencer.next_offset(topic) == offset:
            self._untaken[sequencer.partition] = (topic, offset, self._still[place][1])
        else:
            self._untaken.pop(sequencer.partition, None)

    def _tp(self, place: tuple[int, str]) -> TopicPartition:
        return TopicPartition(self._topics[place[1]], place[0])

    def _suspect(self, sequencer: Sequencer) -> str:
        """The topic of a partition that should have gone on and has not, or nothing."""
        now, partition, behind = self._asked_at, sequencer.partition, []
        for topic in ALL:
            place, position = (partition, topic), sequencer.next_offset(topic)
            known = self._still.get(place)
            moved = known is None or known[0] != position
            if moved and topic in FLOWING:
                self._flowed[partition] = now
            if moved or self._ends[place] <= position:
                self._still[place] = (position, now)
            else:
                behind.append(topic)
        if sequencer.waiting:
            return ""  # whether these go on is seen elsewhere
        others_go_on = now - self._flowed[partition] < self._stalled_s + self._every_s
        for topic in behind:
            patience_s = OTHERS_GO_ON_S if topic in FLOWING and others_go_on else self._stalled_s
            if now - self._still[partition, topic][1] > patience_s:
                return topic
        return ""
