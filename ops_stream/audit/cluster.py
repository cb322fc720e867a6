"""The audit of a cluster: reads the journal, the rules and the output topics, and puts them to the proof."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import ConsumerRecord

from ops_stream.audit.heads import Heads
from ops_stream.audit.published import CROSSING, OWN, SHARED, Outputs, Published
from ops_stream.audit.reading import bounds, read_ranges, reader
from ops_stream.audit.report import Finding, PartitionReport
from ops_stream.audit.span import WHOLE, Proved, Span
from ops_stream.audit.verify import Verifier
from ops_stream.contract.settings import Settings
from ops_stream.core.journal.chain import JournalKey
from ops_stream.core.rules_model import Rules

Progress: TypeAlias = Callable[[str, int, int], None]
"""Told what is being read, how far it is and how long it is."""
Marked: TypeAlias = Callable[[Proved], None]
"""Told up to where a partition is proved."""
Compile: TypeAlias = Callable[[Mapping[str, str]], tuple[str, Rules] | None]
"""Gives a bundle's digest and its compiled rules; None where they are not valid here."""


@dataclass(frozen=True, slots=True)
class Audit:
    """What is audited, and by what."""

    settings: Settings
    key: JournalKey
    engine: str
    compile: Compile
    partitions: int
    """How many the journal has."""
    audited: Sequence[int]
    """Those that are looked at."""
    trusted: Mapping[str, bytes] = field(default_factory=dict)
    """The supervisor's public keys, by key id, of which the signature of a checkpoint may be."""
    kept: tuple[bytes, ...] = ()
    """Checkpoints that a third party has kept, one JSON object each."""
    span: Span = WHOLE
    """What is decided again."""
    proved: Mapping[int, Proved] = field(default_factory=dict)
    """Up to where partitions were proved before: what came before is not decided again."""


def _nowhere(_mark: Proved) -> None:
    """Keep nothing of what is proved."""


async def verify_cluster(
    audit: Audit, progress: Progress, marked: Marked = _nowhere
) -> list[PartitionReport]:
    """Audit the partitions; a report each. `marked` is told now and then up to where one is proved."""
    async with reader(audit.settings) as consumer:
        rules_of = await rules_of_cluster(consumer, audit)
        heads = await _heads(consumer, audit)  # before the journal's end is looked at: none may lie beyond it
        targets = _targets(audit)
        # An output that was there before the journal's end was looked at has its record below that end.
        journaled_outputs = {tp: end for tp, (_, end) in (await bounds(consumer, targets)).items()}
        outputs = Outputs(frozenset(audit.audited))
        reports = {
            partition: await _journal(consumer, audit, partition, rules_of, outputs, heads, progress, marked)
            for partition in audit.audited
        }
        # And what the journal says was published was there before now.
        ranges = await bounds(consumer, targets)
        await _outputs(consumer, targets, ranges, journaled_outputs, outputs, reports, progress)
    trimmed = {(targets[tp], tp.partition): start > 0 for tp, (start, _) in ranges.items()}
    for partition, finding in outputs.missing(trimmed):
        reports[partition].add(finding)
    return list(reports.values())


def _targets(audit: Audit) -> dict[TopicPartition, str]:
    """The partitions of output topics to read, with their topics' names without prefix."""
    return {
        TopicPartition(audit.settings.topic(topic), partition): topic
        for topic in (*OWN, *SHARED)
        for partition in (range(audit.partitions) if topic in CROSSING else audit.audited)
    }


async def rules_of_cluster(consumer: AIOKafkaConsumer, audit: Audit) -> Callable[[str], Rules | None]:
    """Read every bundle; one is compiled when it is first asked for."""
    tp = TopicPartition(audit.settings.topic("rules"), 0)
    files: dict[str, Mapping[str, str]] = {}
    async for _, records in read_ranges(consumer, await bounds(consumer, [tp])):
        for record in records:
            try:
                doc = msgspec.json.decode(record.value or b"", type=BundleDoc)
            except msgspec.MsgspecError:
                continue
            files[doc.digest] = doc.files
    return rules_of_files(files, audit.compile)


def rules_of_files(
    files: Mapping[str, Mapping[str, str]], compile_: Compile
) -> Callable[[str], Rules | None]:
    """Give the rules of each bundle that was read; one is compiled when it is first asked for."""
    compiled: dict[str, Rules | None] = {}

    def rules_of(digest: str) -> Rules | None:
        if digest not in compiled:
            found = compile_(files[digest]) if digest in files else None
            # A bundle is named by what is in it: one under another's name is not that bundle.
            compiled[digest] = found[1] if found is not None and found[0] == digest else None
        return compiled[digest]

    return rules_of


async def _heads(consumer: AIOKafkaConsumer, audit: Audit) -> Heads:
    """Read the signed checkpoints, those on the topic and those that were kept elsewhere."""
    topic = audit.settings.topic("checkpoints")
    heads = Heads(topic, audit.key, audit.trusted)
    heads.take_all(audit.kept)
    ranges = await bounds(consumer, [TopicPartition(topic, partition) for partition in audit.audited])
    async for _, records in read_ranges(consumer, ranges):
        for record in records:
            heads.take(record.value)
    return heads


class BundleDoc(msgspec.Struct):
    """What is read of a rule bundle."""

    digest: str
    files: dict[str, str]


async def _journal(
    consumer: AIOKafkaConsumer,
    audit: Audit,
    partition: int,
    rules_of: Callable[[str], Rules | None],
    outputs: Outputs,
    heads: Heads,
    progress: Progress,
    marked: Marked,
) -> PartitionReport:
    verifier = Verifier(
        partition,
        audit.partitions,
        audit.key,
        rules_of,
        audit.engine,
        outputs,
        heads.of(partition),
        span=replace(audit.span, proved=audit.proved.get(partition)),
    )
    tp = TopicPartition(audit.settings.topic("journal"), partition)
    ranges = await bounds(consumer, [tp])
    start, end = ranges[tp]
    name = f"journal {partition}"
    progress(name, 0, end)
    if start:
        text = f"The journal begins here: without the {start} offsets before nothing can be proved."
        verifier.report.add(Finding(f"{name}:{start}", start, "cut", text))
        outputs.unknown_from(partition, 0)
        return verifier.report
    async for _, records in read_ranges(consumer, ranges):
        for record in records:
            verifier.take(record.offset, record.value)
        if verifier.mark is not None:
            marked(verifier.mark)
        progress(name, records[-1].offset + 1, end)
        await asyncio.sleep(0)
    progress(name, end, end)
    return verifier.finish()


async def _outputs(
    consumer: AIOKafkaConsumer,
    targets: Mapping[TopicPartition, str],
    ranges: Mapping[TopicPartition, tuple[int, int]],
    journaled: Mapping[TopicPartition, int],
    outputs: Outputs,
    reports: Mapping[int, PartitionReport],
    progress: Progress,
) -> None:
    total = sum(end - start for start, end in ranges.values())
    done = 0
    progress("outputs", 0, total)
    async for tp, records in read_ranges(consumer, ranges):
        for record in records:
            report = reports.get(tp.partition)
            finding = outputs.published(
                _published(targets[tp], record), journal_read=record.offset < journaled[tp]
            )
            if finding is not None:
                (report or next(iter(reports.values()))).add(finding)
            if report is not None and targets[tp] in OWN:
                report.published += 1
        done += len(records)
        progress("outputs", done, total)
        await asyncio.sleep(0)
    progress("outputs", total, total)


def _published(topic: str, record: ConsumerRecord) -> Published:
    headers = tuple((name, value or b"") for name, value in record.headers)
    return Published(topic, record.partition, record.offset, record.key, record.value, headers)
