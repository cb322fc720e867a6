"""`audit restore`: the appending of an export to the topics of an empty cluster."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec
from aiokafka import AIOKafkaProducer

from ops_stream.audit.cluster import BundleDoc, Compile, Progress, rules_of_files
from ops_stream.audit.export_file import reading
from ops_stream.audit.export_lines import Begin
from ops_stream.audit.replay import RulesOf
from ops_stream.audit.restore import Restoring, Survey
from ops_stream.contract.errors import NotSo
from ops_stream.contract.headers import event_headers
from ops_stream.contract.settings import Settings
from ops_stream.core.journal.chain import JournalKey
from ops_stream.core.journal.ledger import Prepared, Written

SOURCE: Final = "/ops-stream/cli"
BATCH_RECORDS_MAX: Final = 500
BATCH_BYTES: Final = 512 * 1024
REQUEST_BYTES_MAX: Final = 6 * 1024 * 1024

Publish = Callable[[int, list[Written]], Awaitable[None]]
"""Sends the outputs of records of a partition once more."""


@dataclass(slots=True)
class Restored:
    """What came of a restore, by partition."""

    partition: int
    records: int
    """Offsets that were filled, all in all."""
    rebase: int | None
    """Where the record stands by which it goes on; None where the partition never began."""
    again: int
    """Records whose outputs were published once more."""
    reached: dict[str, int] = field(default_factory=dict)
    """How far each input had been read in the old cluster."""


class Appender:
    """Appends values to one partition, and sees each land where it has to."""

    def __init__(self, producer: AIOKafkaProducer, topic: str, partition: int) -> None:
        self.next_offset = 0
        self._producer = producer
        self._topic = topic
        self.partition = partition
        self._waiting: list[bytes | None] = []
        self._bytes = 0

    async def put(self, values: list[bytes | None]) -> None:
        """Append, sooner or later."""
        for value in values:
            self._waiting.append(value)
            self._bytes += len(value or b"")
            if len(self._waiting) >= BATCH_RECORDS_MAX or self._bytes >= BATCH_BYTES:
                await self.flush()

    async def flush(self) -> None:
        """Append what waits. Raises NotSo where something else landed between."""
        values, self._waiting, self._bytes = self._waiting, [], 0
        at = 0
        while at < len(values):
            batch = self._producer.create_batch()
            first = at
            while at < len(values):
                key = b"%d" % self.partition
                if batch.append(timestamp=None, key=key, value=values[at]) is None:
                    break
                at += 1
            batch.close()
            sent = await self._producer.send_batch(batch, self._topic, partition=self.partition)
            landed = (await sent).offset
            if landed != self.next_offset:
                raise NotSo(
                    f"A record meant for offset {self.next_offset} landed at {landed}: somebody else writes there.",
                    where=f"{self._topic} {self.partition}",
                    next_step="Stop every worker on this prefix, and begin anew with empty topics.",
                )
            self.next_offset += at - first


@dataclass(frozen=True, slots=True)
class Restore:
    """What is restored, where to, and by what."""

    settings: Settings
    key: JournalKey
    engine: str
    compile: Compile
    producer: AIOKafkaProducer
    publish: Publish


@dataclass(slots=True)
class _Part:
    """A partition of which everything was appended but its last record."""

    appender: Appender
    again: list[Written]
    last: Prepared | None
    reached: dict[str, int]


async def restore(plan: Restore, path: Path, found: Survey, progress: Progress) -> list[Restored]:
    """Append everything. Until the last record of each partition is there no worker starts on it."""
    await _bundles(plan, found)
    rules_of = rules_of_files(found.files, plan.compile)
    parts: list[_Part] = []
    with reading(path) as reader:
        current: tuple[Restoring, Appender] | None = None
        length = 0
        for line in reader.lines():
            if isinstance(line, Begin):
                parts += await _ended(plan, current, rules_of)
                appender = Appender(plan.producer, plan.settings.topic("journal"), line.partition)
                current = (Restoring(line.partition, found, plan.key), appender)
                length = line.end
            elif current is not None:
                restoring, appender = current
                await appender.put(restoring.take(reader, line)[0])
                progress(f"restoring partition {restoring.partition}", appender.next_offset, length)
        parts += await _ended(plan, current, rules_of)
        if reader.end != found.end:
            raise reader.broken("The file was changed while it was read")
    for part in parts:
        await plan.publish(part.appender.partition, part.again)
    return [await _gone_on(part) for part in parts]


async def _ended(plan: Restore, current: tuple[Restoring, Appender] | None, rules_of: RulesOf) -> list[_Part]:
    """Append what is left of a partition, and make the record by which it goes on."""
    if current is None:
        return []
    restoring, appender = current
    await appender.put(restoring.fill())
    await appender.flush()
    reached = restoring.ledger.rebase_of("").reached
    return [_Part(appender, restoring.again.records, restoring.rebase(rules_of, plan.engine), reached)]


async def _gone_on(part: _Part) -> Restored:
    appender, last = part.appender, part.last
    result = Restored(appender.partition, appender.next_offset, None, len(part.again), part.reached)
    if last is not None:
        await appender.put([last.written.value])
        await appender.flush()
        result.rebase = last.written.offset
    return result


async def _bundles(plan: Restore, found: Survey) -> None:
    topic = plan.settings.topic("rules")
    for text in found.bundles:
        value = text.encode()
        try:
            digest = msgspec.json.decode(value, type=BundleDoc).digest
        except msgspec.MsgspecError:  # somebody else's: no worker takes it either
            continue
        headers = event_headers("RuleBundle", digest, time=found.head.made_at, source=SOURCE)
        await plan.producer.send_and_wait(topic, value, key=digest.encode(), partition=0, headers=headers)
