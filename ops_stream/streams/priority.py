"""The consumer of `ops.control` and `ops.resolutions`: assigned by hand, fed to the sequencers before anything else."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable
from math import inf
from time import monotonic

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from ops_stream.contract.settings import Settings
from ops_stream.core.intake import UNKNOWN_RULES_HEADER
from ops_stream.core.journal.chain import JournalKey
from ops_stream.core.journal.record import RawInput
from ops_stream.streams.around import Arrival
from ops_stream.streams.bus import new_reader, offsets
from ops_stream.streams.exits import die, other_input
from ops_stream.streams.intake import meaningful_signed
from ops_stream.streams.rulebook import Rulebook
from ops_stream.streams.sequencer import Sequencer
from ops_stream.streams.topics_in import PRIORITY

log = structlog.get_logger(__name__)

POLL_MS = 200
DIGEST = re.compile(rb"sha256:[0-9a-f]{64}")
NAMED_MAX = 8
WAITING_MAX = 512


class PriorityReader:
    """Reads the priority topics of every live partition."""

    def __init__(
        self,
        settings: Settings,
        sequencer: Callable[[int], Sequencer | None],
        rulebook: Rulebook,
        refresh_rules: Callable[[], Awaitable[None]],
        key: JournalKey,
    ) -> None:
        self.turned_at = monotonic()
        """When its last turn began; infinite while there is nothing to read."""
        self._consumer: AIOKafkaConsumer = new_reader(settings)
        self._sequencer = sequencer
        self._rulebook = rulebook
        self._refresh_rules = refresh_rules
        self._key = key
        self._names = {settings.topic(name): name for name in PRIORITY}
        self._seeks: dict[TopicPartition, int] = {}
        self._partitions: set[int] = set()
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Read until cancelled."""
        await self._consumer.start()
        try:
            while True:
                await self._turn()
        finally:
            await self._consumer.stop()

    def assign(self, partitions: Iterable[int]) -> None:
        """Read these partitions, from where their sequencers stand."""
        self._partitions = set(partitions)
        for partition in self._partitions:
            sequencer = self._sequencer(partition)
            if sequencer is None:
                continue
            for full, name in self._names.items():
                self._seeks[TopicPartition(full, partition)] = sequencer.next_offset(name)
        self._changed.set()

    def seek(self, partition: int, topic: str, offset: int) -> None:
        """Read `topic` (its logical name) again from `offset`."""
        for full, name in self._names.items():
            if name == topic:
                self._seeks[TopicPartition(full, partition)] = offset
        self._changed.set()

    async def _turn(self) -> None:
        consumer = self._consumer
        self.turned_at = monotonic()
        if self._changed.is_set():
            self._changed.clear()
            self._reassign()
        if not self._partitions:
            self.turned_at = inf
            await self._changed.wait()
            return
        ready = [tp for tp in consumer.assignment() if self._has_room(tp.partition)]
        if not ready:
            await asyncio.sleep(POLL_MS / 1000)
            return
        try:
            batches = await consumer.getmany(*ready, timeout_ms=POLL_MS)
        except OffsetOutOfRangeError as error:
            await self._refuse(error)
            return
        for tp, records in batches.items():
            sequencer = self._sequencer(tp.partition)
            if sequencer is None:
                continue
            for record in records:
                name, value = self._names[tp.topic], record.value
                unknown = await self._unknown_rules(value) if name == "control" else ()
                kept = meaningful_signed(self._key, name, tp.partition, tp.topic, record.headers, value)
                raw = RawInput(
                    name,
                    tp.partition,
                    record.offset,
                    record.timestamp,
                    value,
                    (*kept, *unknown),
                )
                sequencer.offer(Arrival(raw, _nothing), priority=True)

    async def _refuse(self, error: OffsetOutOfRangeError) -> None:
        """End where a position that was proved at the start is there no more: no command may be missed in silence."""
        for tp, position in error.args[0].items():
            first, end = (await offsets(self._consumer, [tp]))[tp]
            if not first <= position <= end:
                why = f"it begins at offset {first} and ends at {end} now, and {position} was reached before"
                refusal = other_input(self._names[tp.topic], tp.partition, why)
                die(refusal.code, str(refusal))

    async def _unknown_rules(self, value: bytes | None) -> tuple[tuple[str, bytes], ...]:
        """Look for the rules that a command names before it is decided, and note in a header where there are none.

        The note goes into the journal: replay must refuse the command too, whatever `ops.rules` holds by then.
        """
        found = DIGEST.findall(value) if value is not None and b"activate_rules" in value else []
        # A command names one. Whatever else is full of digests must still fit into the journal with its notes.
        named = list(dict.fromkeys(found))[:NAMED_MAX]
        if not named:
            return ()
        while any(digest.decode() not in self._rulebook.known for digest in named):
            try:
                await self._refresh_rules()
                break
            except KafkaError as error:
                # Not knowing is no answer: the command waits until the rules topic can be read.
                log.warning("the rules cannot be read now", error=type(error).__name__)
                await asyncio.sleep(POLL_MS / 1000)
        return tuple(
            (UNKNOWN_RULES_HEADER, digest) for digest in named if digest.decode() not in self._rulebook.known
        )

    def _reassign(self) -> None:
        wanted = {TopicPartition(full, p) for full in self._names for p in self._partitions}
        if wanted != self._consumer.assignment():
            self._consumer.assign(list(wanted))
            # A new assignment forgets every position: take all from where the sequencers stand.
            for tp in wanted:
                sequencer = self._sequencer(tp.partition)
                if sequencer is not None:
                    self._seeks.setdefault(tp, sequencer.next_offset(self._names[tp.topic]))
        seeks, self._seeks = self._seeks, {}
        for tp, offset in seeks.items():
            if tp in wanted:
                self._consumer.seek(tp, offset)

    def _has_room(self, partition: int) -> bool:
        sequencer = self._sequencer(partition)
        return sequencer is not None and sequencer.waiting < WAITING_MAX * 2


def _nothing() -> None:
    """A priority record is acknowledged by the journal alone."""
