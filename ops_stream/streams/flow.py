"""What sequencers ask of the bus: hold on, go on, deliver again, look whether a hole is one."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError
from faust.types import TP

from ops_stream.contract.settings import Settings
from ops_stream.streams.faust_app import OpsConsumer
from ops_stream.streams.priority import PriorityReader
from ops_stream.streams.prober import Prober
from ops_stream.streams.sequencer import Sequencer
from ops_stream.streams.topics_in import PRIORITY

log = structlog.get_logger(__name__)


class BusFlow:
    """The sequencers' `Flow`, over Faust's consumer and the reader of the priority topics."""

    def __init__(
        self,
        settings: Settings,
        priority: PriorityReader,
        prober: Prober,
        sequencer: Callable[[int], Sequencer | None],
        start: Callable[[Coroutine[Any, Any, None], str], None],
    ) -> None:
        self.consumer: OpsConsumer | None = None
        """Faust's consumer, once it is there."""
        self._settings = settings
        self._priority = priority
        self._prober = prober
        self._sequencer = sequencer
        self._start = start
        self._probing: set[tuple[int, str]] = set()

    def pause(self, partition: int) -> None:
        """Deliver nothing more of this partition for now."""
        if self.consumer is not None:
            self.consumer.hold(partition)

    def resume(self, partition: int) -> None:
        """Deliver again."""
        if self.consumer is not None and self._sequencer(partition) is not None:
            self.consumer.release(partition)

    def seek(self, partition: int, topic: str, offset: int) -> None:
        """Deliver `topic` again from `offset`."""
        if topic in PRIORITY:
            self._priority.seek(partition, topic, offset)
        elif self.consumer is not None:
            tp = TP(self._settings.topic(topic), partition)
            self._start(self._seek(self.consumer, tp, offset), f"a seek on {tp.topic}")

    def probe(self, partition: int, topic: str, offset: int) -> None:
        """Ask the broker whether anything stands at `offset`; what is there is delivered, a hole is skipped."""
        if (partition, topic) not in self._probing:
            self._probing.add((partition, topic))
            self._start(self._probe(partition, topic, offset), f"a look at {topic}")

    async def _seek(self, consumer: OpsConsumer, tp: TP, offset: int) -> None:
        try:
            await consumer.seek_inputs({tp: offset})
        except IllegalStateError:
            # It was taken away meanwhile; its next owner reads from where the journal stands.
            log.info("a partition was gone before it could be sought", topic=tp.topic, partition=tp.partition)

    async def _probe(self, partition: int, topic: str, offset: int) -> None:
        try:
            tp = TopicPartition(self._settings.topic(topic), partition)
            first, _ = await self._prober.first_from(tp, offset)
        except KafkaError as error:
            log.warning("a hole cannot be looked at now", topic=topic, error=type(error).__name__)
            return
        finally:
            self._probing.discard((partition, topic))
        sequencer = self._sequencer(partition)
        if sequencer is not None and sequencer.next_offset(topic) == offset:
            sequencer.skip_gap(topic, first - 1)
            self.seek(partition, topic, first)
