"""The what-if of a cluster: reads the journal of each partition once, and lives it through under other rules."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from aiokafka import TopicPartition

from ops_stream.audit.cluster import Audit, Progress
from ops_stream.audit.fold import counts
from ops_stream.audit.reading import bounds, read_ranges, reader
from ops_stream.audit.whatif.engine import WhatIf
from ops_stream.audit.whatif.report import Report
from ops_stream.audit.whatif.tally import Flips
from ops_stream.contract.errors import NotSo
from ops_stream.core.journal import record as rec
from ops_stream.core.journal.chain import GENESIS_HASH
from ops_stream.core.rules_model import Rules


@dataclass(frozen=True, slots=True)
class Question:
    """Which rules, and between which moments (milliseconds since 1970); `to_ms` 0 for as far as the journal goes."""

    rules: Rules
    from_ms: int = 0
    to_ms: int = 0


async def ask(audit: Audit, question: Question, progress: Progress) -> Report:
    """Answer a question. Raises NotSo where a journal's beginning is gone."""
    report = Report(question.rules.digest)
    async with reader(audit.settings) as consumer:
        for partition in audit.audited:
            tp = TopicPartition(audit.settings.topic("journal"), partition)
            ranges = await bounds(consumer, [tp])
            start, end = ranges[tp]
            if start:
                raise NotSo(
                    f"The journal of partition {partition} begins at offset {start}: what came before is gone.",
                    where=tp.topic,
                    next_step="Only a journal that is there from its beginning can be lived through again.",
                )
            name = f"journal {partition}"
            progress(name, 0, end)
            whatif = WhatIf(
                partition, audit.partitions, question.rules, question.from_ms, routers=report.routers
            )
            chain = Chain(audit, partition)
            async for _, records in read_ranges(consumer, ranges):
                for one in records:
                    record = chain.take(one.offset, one.value)
                    if record is None or (question.to_ms and record.header.at_ms >= question.to_ms):
                        continue
                    whatif.take(record)
                    if record.header.at_ms >= question.from_ms:
                        report.seen(record.header.at_ms, record.header.rules_digest)
                progress(name, records[-1].offset + 1, end)
                await asyncio.sleep(0)
            whatif.finish()
            _add(report, whatif)
            progress(name, end, end)
    return report


def _add(report: Report, whatif: WhatIf) -> None:
    flips = Flips()
    whatif.compare(flips)
    report.records += whatif.records
    report.failed += whatif.failed
    report.add(whatif.then, whatif.here, flips, whatif.reports.counts)


class Chain:
    """Gives the records of a partition that count, checked by their seal and place."""

    def __init__(self, audit: Audit, partition: int) -> None:
        self._audit, self._partition = audit, partition
        self._last_hash = GENESIS_HASH

    def take(self, offset: int, value: bytes | None) -> rec.Record | None:
        """Give the record at an offset if it counts."""
        try:
            record = rec.read(value)
        except rec.Unreadable:
            return None
        if not counts(record, self._partition, offset, self._last_hash, self._audit.key, trusted=False):
            return None
        self._last_hash = record.hash
        return record
