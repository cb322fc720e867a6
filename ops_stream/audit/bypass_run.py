"""`audit bypass`: reads the journal of each partition and its approvals side by side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import ConsumerRecord

from ops_stream.audit.bypass import Bypass, Bypassed, Observed
from ops_stream.audit.bypass_delivery import TOPIC, Delivery
from ops_stream.audit.cluster import Audit, Progress, rules_of_cluster
from ops_stream.audit.fold import PartitionFold
from ops_stream.audit.reading import Bounds, bounds, read_ranges, reader
from ops_stream.audit.replay import RulesOf
from ops_stream.contract.errors import NotSo
from ops_stream.contract.headers import read_position

NO_ROWS: Final = ("none/",)
ENFORCED: Final = ("enforce", 100)
Tell: TypeAlias = Callable[[Bypassed], None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked about: between which moments (ms since 1970, 0 for no bound), of whom (empty for all)."""

    from_ms: int = 0
    to_ms: int = 0
    tenant: str = ""
    agent: str = ""

    def takes(self, found: Bypassed) -> bool:
        """Say whether a finding is asked about."""
        return (
            found.at_ms >= self.from_ms
            and (not self.to_ms or found.at_ms < self.to_ms)
            and self.tenant in ("", found.tenant)
            and self.agent in ("", found.agent)
        )


async def find_bypassed(audit: Audit, wanted: Wanted, tell: Tell, progress: Progress) -> None:
    """Tell every finding that is asked about. Raises NotSo where a journal's beginning is gone."""
    async with reader(audit.settings) as journal, reader(audit.settings) as topic:
        observed = _observed(await rules_of_cluster(journal, audit))
        for partition in audit.audited:
            bypass = Bypass(partition, audit.partitions, observed)
            async for found in _partition(audit, journal, topic, bypass, progress):
                if wanted.takes(found):
                    tell(found)


def _observed(rules_of: RulesOf) -> Observed:
    def observed(digest: str, tenant: str, agent: str) -> bool:
        rules = rules_of(digest)
        return rules is not None and rules.supervisor.mode_for(tenant, agent) != ENFORCED

    return observed


async def _partition(
    audit: Audit, consumer: AIOKafkaConsumer, topic: AIOKafkaConsumer, bypass: Bypass, progress: Progress
) -> AsyncIterator[Bypassed]:
    tp = TopicPartition(audit.settings.topic("journal"), bypass.partition)
    ranges = await bounds(consumer, [tp])
    start, end = ranges[tp]
    if start:
        raise NotSo(
            f"The journal of partition {bypass.partition} begins at offset {start}: what came before is gone.",
            where=tp.topic,
            next_step="Without it every report of an ask before then looks like a run without a permit.",
        )
    # Only now: what the journal says up to its end went out was on the topic before this.
    side = await _Side.begin(audit, topic, bypass.partition)
    chain = PartitionFold(bypass.partition, prefixes=NO_ROWS, key=audit.key)
    name = f"journal {bypass.partition}"
    progress(name, 0, end)
    async for _, records in read_ranges(consumer, ranges):
        for found in _taken(chain, bypass, side.delivery, records):
            yield found
        await side.read_to(records[-1].offset)
        progress(name, records[-1].offset + 1, end)
        await asyncio.sleep(0)
    await side.read_to(end)
    for found in (*bypass.finish(), *side.delivery.finish()):
        yield found
    progress(name, end, end)


def _taken(
    chain: PartitionFold, bypass: Bypass, delivery: Delivery, records: Sequence[ConsumerRecord]
) -> Iterator[Bypassed]:
    for one in records:
        record = chain.take(one.offset, one.value)
        if record is not None:
            yield from bypass.take(one.offset, record)
            yield from delivery.recorded(one.offset, record)


class _Side:
    """One partition of the approvals, read about as far as the journal is."""

    def __init__(self, delivery: Delivery, consumer: AIOKafkaConsumer, ranges: Bounds) -> None:
        self.delivery = delivery
        self._batches = aiter(read_ranges(consumer, ranges))
        self._reached = -1
        """The journal record of the last that was read here."""
        self._over = False

    @classmethod
    async def begin(cls, audit: Audit, consumer: AIOKafkaConsumer, partition: int) -> _Side:
        """Find out from where on the topic still holds what was published."""
        tp = TopicPartition(audit.settings.topic(TOPIC), partition)
        ranges = await bounds(consumer, [tp])
        start, end = ranges[tp]
        delivery = Delivery(partition, nothing_left=0 < start == end)
        side = cls(delivery, consumer, ranges)
        if start and not delivery.nothing_left:
            await side._next(begin=True)
        return side

    async def read_to(self, offset: int) -> None:
        """Read on until the topic speaks of a journal record at or after an offset, or is at its end."""
        while not self._over and self._reached < offset:
            await self._next()
        self.delivery.tidy()

    async def _next(self, *, begin: bool = False) -> None:
        batch = await anext(self._batches, None)
        if batch is None:
            self._over = True
            return
        _, records = batch
        places = [(read_position(one.headers), one.value) for one in records]
        own = [
            (at, value) for at, value in places if at is not None and at.partition == self.delivery.partition
        ]
        if begin and own:
            self.delivery.begins_at = min((at.offset, at.index) for at, _ in own)
        for at, value in own:
            self.delivery.seen((at.offset, at.index), value)
            self._reached = at.offset
