"""`audit export`: the journal of a cluster and its rule bundles, as a file of lines.

The journal is copied, not judged: void records and offsets that hold nothing are kept too, so that every record stays
where it expects to stand. What counts is followed only to say where each chain ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from ops_stream.audit.cluster import Progress
from ops_stream.audit.export_drop import Drop
from ops_stream.audit.export_file import Writer, writing
from ops_stream.audit.export_lines import (
    FORMAT,
    Begin,
    Bundle,
    End,
    Entry,
    Head,
    Hole,
    PartitionEnd,
    signed_end,
)
from ops_stream.audit.fold import counts
from ops_stream.audit.reading import bounds, read_ranges, reader
from ops_stream.contract.clocktext import format_time
from ops_stream.contract.errors import NotSo
from ops_stream.contract.settings import Settings
from ops_stream.contract.signing import SigningKey
from ops_stream.core.journal import record as rec
from ops_stream.core.journal.chain import GENESIS_HASH, JournalKey

NAMES_MAX: Final = 100
"""Engines and keys that the last line names."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is exported, and by what."""

    settings: Settings
    engine: str
    partitions: int
    chosen: tuple[int, ...]
    made_at_ms: int
    key: JournalKey | None = None
    """Without it a record counts by its place in the chain alone, and the file has no MAC."""
    signing_key: SigningKey | None = None
    begin_ms: int | None = None
    end_ms: int | None = None
    drop: Drop = field(default_factory=Drop)


class Chain:
    """Follows one partition, and counts what its part of the file holds."""

    def __init__(self, partition: int, begin: int, end: int, key: JournalKey | None) -> None:
        self.partition: Final = partition
        self.begin: Final = begin
        self.end: Final = end
        self.next_offset = begin
        self.engines: set[str] = set()
        self.key_ids: set[str] = set()
        self.records = self.voids = self.holes = self.dropped = 0
        self.last_offset = -1
        self.last_hash = GENESIS_HASH
        self._key = key
        self._times: list[int] = []

    def take(self, offset: int, value: bytes | None) -> rec.Record | None:
        """Take the record at `offset`; give it where it counts."""
        self.holes += offset - self.next_offset
        self.next_offset = offset + 1
        try:
            record = rec.read(value)
        except rec.Unreadable:
            self.voids += 1
            return None
        trusted = not self.records and self.begin > 0
        if not counts(record, self.partition, offset, self.last_hash, self._key, trusted=trusted):
            self.voids += 1
            return None
        self.records += 1
        self.last_offset, self.last_hash = offset, record.hash
        self._times = [*self._times[:1], record.header.at_ms]
        for names, name in (
            (self.engines, record.header.engine_version),
            (self.key_ids, record.header.key_id),
        ):
            if len(names) < NAMES_MAX:
                names.add(name)
        return record

    def finish(self) -> PartitionEnd:
        """Give what it came to."""
        self.holes += self.end - self.next_offset
        return PartitionEnd(
            self.partition,
            self.begin,
            self.end,
            self.records,
            self.voids,
            self.holes,
            self.dropped,
            self.last_offset,
            self.last_hash,
            format_time(self._times[0]) if self._times else None,
            format_time(self._times[-1]) if self._times else None,
        )


async def export(wanted: Wanted, path: Path, progress: Progress) -> tuple[Head, End]:
    """Write the file; give its head and its end. Nothing is left of it where that fails."""
    head = Head(
        FORMAT,
        wanted.settings.topic_prefix,
        wanted.partitions,
        wanted.chosen,
        wanted.engine,
        format_time(wanted.made_at_ms),
        _time(wanted.begin_ms),
        _time(wanted.end_ms),
        _time(wanted.drop.before_ms),
        tuple(sorted(wanted.drop.held)),
    )
    with writing(path) as writer:
        async with reader(wanted.settings) as consumer:
            ranges, whole = await _ranges(consumer, wanted)
            writer.write(head)
            bundles = await _bundles(consumer, wanted, writer)
            chains = [
                await _partition(consumer, wanted, tp, bound, writer, progress)
                for tp, bound in ranges.items()
            ]
        end = end_of(wanted, writer, bundles, chains, whole=whole)
        writer.write(end)
    return head, end


def end_of(wanted: Wanted, writer: Writer, bundles: int, chains: list[Chain], *, whole: bool) -> End:
    """Give the last line."""
    parts = tuple(chain.finish() for chain in chains)
    end = End(
        bundles,
        tuple(sorted({name for chain in chains for name in chain.engines})),
        tuple(sorted({name for chain in chains for name in chain.key_ids})),
        parts,
        whole and not any(part.dropped for part in parts),
        writer.digest,
    )
    return signed_end(end, wanted.settings.topic_prefix, wanted.key, wanted.signing_key)


def write_record(writer: Writer, chain: Chain, drop: Drop, offset: int, value: bytes | None) -> None:
    """Write what the journal has at an offset, and the hole before it."""
    if offset > chain.next_offset:
        writer.write(Hole(chain.next_offset, offset - 1))
    record = chain.take(offset, value)
    bodiless = drop.of(offset, value, record)
    chain.dropped += bodiless is not None
    writer.write(Entry.of(offset, value) if bodiless is None else bodiless)


def write_end(writer: Writer, chain: Chain) -> None:
    """Write the hole at a partition's end."""
    if chain.next_offset < chain.end:
        writer.write(Hole(chain.next_offset, chain.end - 1))


def _time(at_ms: int | None) -> str | None:
    return None if at_ms is None else format_time(at_ms)


async def _ranges(
    consumer: AIOKafkaConsumer, wanted: Wanted
) -> tuple[Mapping[TopicPartition, tuple[int, int]], bool]:
    """Give what is copied of each partition, and whether it is all that there was, until one moment, of all of them."""
    topic = wanted.settings.topic("journal")
    ranges = dict(await bounds(consumer, [TopicPartition(topic, number) for number in wanted.chosen]))
    begins = await _offsets_at(consumer, ranges, wanted.begin_ms)
    ends = await _offsets_at(consumer, ranges, wanted.end_ms)
    for tp, (begin, end) in ranges.items():
        begin = max(begin, begins.get(tp, begin))
        ranges[tp] = (min(begin, end), max(begin, min(end, ends.get(tp, end))))
    whole = len(wanted.chosen) == wanted.partitions and not any(begin for begin, _ in ranges.values())
    return ranges, whole


async def _offsets_at(
    consumer: AIOKafkaConsumer, ranges: Mapping[TopicPartition, tuple[int, int]], at_ms: int | None
) -> dict[TopicPartition, int]:
    """Give the first offset that the broker took in at a moment or later; the end where there is none."""
    if at_ms is None:
        return {}
    found = await consumer.offsets_for_times(dict.fromkeys(ranges, at_ms))
    return {tp: end if found.get(tp) is None else found[tp].offset for tp, (_, end) in ranges.items()}


async def _bundles(consumer: AIOKafkaConsumer, wanted: Wanted, writer: Writer) -> int:
    """Copy every bundle, the newest of each digest."""
    tp = TopicPartition(wanted.settings.topic("rules"), 0)
    found: dict[bytes | None, str] = {}
    async for _, records in read_ranges(consumer, await bounds(consumer, [tp])):
        for record in records:
            found.pop(record.key, None)
            if record.value is None:
                continue
            try:
                found[record.key] = record.value.decode()
            except UnicodeDecodeError:  # no bundle is written so
                continue
    for value in found.values():
        writer.write(Bundle(value))
    return len(found)


async def _partition(
    consumer: AIOKafkaConsumer,
    wanted: Wanted,
    tp: TopicPartition,
    bound: tuple[int, int],
    writer: Writer,
    progress: Progress,
) -> Chain:
    begin, end = bound
    chain = Chain(tp.partition, begin, end, wanted.key)
    wanted.drop.begin()
    writer.write(Begin(tp.partition, begin, end))
    name = f"journal {tp.partition}"
    progress(name, 0, end - begin)
    async for _, records in read_ranges(consumer, {tp: bound}):
        for record in records:
            write_record(writer, chain, wanted.drop, record.offset, record.value)
        progress(name, chain.next_offset - begin, end - begin)
        await asyncio.sleep(0)
    write_end(writer, chain)
    progress(name, end - begin, end - begin)
    if chain.records == 0 and chain.voids and wanted.key is not None and begin == 0:
        raise NotSo(
            f"No record of partition {tp.partition} counts under this journal key.",
            where=str(wanted.settings.journal_key_file),
            next_step="Name the key of this cluster in OPS_STREAM_JOURNAL_KEY_FILE.",
        )
    return chain
