"""`audit explain`: finds the partition of a subject, reads its journal and gives the subject's life."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from aiokafka import TopicPartition

from ops_stream.audit.cluster import Audit, Progress, rules_of_cluster
from ops_stream.audit.reading import bounds, read_ranges, reader
from ops_stream.audit.trail import Subject, Trail, ask_of
from ops_stream.contract.clocktext import format_time
from ops_stream.contract.errors import NotSo
from ops_stream.contract.partitions import partition_for
from ops_stream.core.approvals import approval_of


@dataclass(frozen=True, slots=True)
class Life:
    """What the journal says of a subject."""

    subject: Subject
    trail: Trail
    journal_begins_at: int

    @property
    def known(self) -> bool:
        """Whether the journal speaks of it at all."""
        return bool(self.trail.moments)

    def as_dict(self) -> dict[str, Any]:
        """Give it as a JSON-shaped object."""
        trail = self.trail
        ask = ask_of(trail) if self.subject.kind == "ask" else None
        found: dict[str, Any] = {
            "kind": self.subject.kind,
            "tenant": self.subject.tenant,
            "id": self.subject.id,
            "partition": trail.partition,
            "read_to": format_time(trail.last_at_ms),
            "in_force": None if ask is None else approval_of(ask),
            "moments": trail.moments,
            "left_out": trail.left_out,
            "notes": sorted(set(trail.notes)),
        }
        return found


async def explain(audit: Audit, subject: Subject, progress: Progress) -> Life:
    """Read the life of a subject. Raises NotSo where the journal's beginning is gone or contradicts itself."""
    partition = partition_for(subject.tenant, audit.partitions)
    async with reader(audit.settings) as consumer:
        rules_of = await rules_of_cluster(consumer, audit)
        tp = TopicPartition(audit.settings.topic("journal"), partition)
        ranges = await bounds(consumer, [tp])
        start, end = ranges[tp]
        if start:
            raise NotSo(
                f"The journal of partition {partition} begins at offset {start}: what came before is gone.",
                where=tp.topic,
                next_step="Look at the topics themselves: ops-stream tail approvals --json",
            )
        trail = Trail(partition, audit.partitions, audit.key, rules_of, subject)
        name = f"journal {partition}"
        progress(name, 0, end)
        async for _, records in read_ranges(consumer, ranges):
            for record in records:
                trail.take(record.offset, record.value)
            progress(name, records[-1].offset + 1, end)
            await asyncio.sleep(0)
        progress(name, end, end)
    return Life(subject, trail, start)
