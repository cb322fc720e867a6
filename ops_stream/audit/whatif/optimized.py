"""`audit replay --optimization`: reads the journal for what became of a change, and lives through the time before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from ops_stream.audit.cluster import Audit, Progress, rules_of_cluster
from ops_stream.audit.reading import bounds, read_ranges, reader
from ops_stream.audit.whatif.claim import Claim, Factors
from ops_stream.audit.whatif.engine import WhatIf
from ops_stream.audit.whatif.run import Chain
from ops_stream.audit.whatif.sides import Sides
from ops_stream.contract.errors import NotSo
from ops_stream.core.amend import digest_with, in_force
from ops_stream.core.journal import record as rec
from ops_stream.core.rows import ActiveRules
from ops_stream.core.rows_optimization import Amended, OptimizationRow
from ops_stream.core.rules_model import Rules
from ops_stream.core.rules_optimization import TRIED

ALL: Final = 100
"""In hundredths: every ask that may be in a trial."""


async def prove(audit: Audit, id_: str, progress: Progress) -> Claim:
    """Put what an optimization claims to the proof. Raises NotSo where nobody knows it, or the journal is cut."""
    async with reader(audit.settings) as consumer:
        for partition in audit.audited:
            sides = Sides(id_)
            async for record in _records(audit, consumer, partition, progress, "journal"):
                sides.take(record)
            sides.finish()
            if sides.row is None:
                continue
            rules = (await rules_of_cluster(consumer, audit))(sides.base)
            claim = Claim(sides)
            trial = None if rules is None else rules_tried(rules, id_, sides.row)
            if trial is not None:
                factors = Factors(sides.usual, trial.models)
                lived = WhatIf(partition, audit.partitions, trial, factor=factors)
                async for record in _records(audit, consumer, partition, progress, "the time before"):
                    if not sides.began_ms or record.header.at_ms < sides.began_ms:
                        lived.take(record)
                lived.finish()
                claim.lived, claim.priced_by = lived, factors.said()
            return claim
    raise NotSo(
        "No journal tells of this optimization.",
        where=id_,
        next_step="List them with: ops-stream optimizations",
    )


def rules_tried(bundle: Rules, id_: str, row: OptimizationRow) -> Rules | None:
    """Give a bundle with the change for every ask that may be in a trial; None of what cannot be tried."""
    if row.kind not in TRIED:
        return None
    amended = (Amended(id_, row.tenant, row.kind, row.task_type, row.path, row.before, row.after, ALL),)
    digest = digest_with(bundle.digest, amended)
    tried = in_force(bundle, ActiveRules(digest, 0, id_, bundle.digest, amended))
    # What is found in the other world is of no interest here, and must not change it once more.
    return replace(tried, optimization=replace(bundle.optimization, mode="off"))


async def _records(
    audit: Audit, consumer: AIOKafkaConsumer, partition: int, progress: Progress, what: str
) -> AsyncIterator[rec.Record]:
    """Give the records of a partition that count."""
    tp = TopicPartition(audit.settings.topic("journal"), partition)
    ranges = await bounds(consumer, [tp])
    start, end = ranges[tp]
    if start:
        raise NotSo(
            f"The journal of partition {partition} begins at offset {start}: what came before is gone.",
            where=tp.topic,
            next_step="Only a journal that is there from its beginning can be lived through again.",
        )
    chain = Chain(audit, partition)
    name = f"{what} {partition}"
    progress(name, 0, end)
    async for _, records in read_ranges(consumer, ranges):
        for one in records:
            record = chain.take(one.offset, one.value)
            if record is not None:
                yield record
        progress(name, records[-1].offset + 1, end)
        await asyncio.sleep(0)
    progress(name, end, end)


__all__ = ["prove", "rules_tried"]
