"""Snapshots of state rows in a Faust table, written behind the journal. They save time and are never trusted alone.

The table's key is `<partition>|<row>`, its value the journal offset of the row's last change (8 bytes) and the row. A
zombie may still write here: on restore the highest offset of a row wins, and the journal's state digest has the last
word in any case. A deleted row is written as an offset without a row, and only at the next flush as a tombstone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import faust
import structlog
from aiokafka import AIOKafkaProducer

from ops_stream.core.journal.chain import JournalKey
from ops_stream.core.journal.ledger import Ledger, Prepared
from ops_stream.core.journal.watermark import open_watermark, seal_watermark, watermark_of
from ops_stream.streams.lane import Lane, Parcel

log = structlog.get_logger(__name__)

WATERMARK_ROW = "watermark"
OFFSET_BYTES = 8
YIELD_EVERY = 25
ROWS_PER_BATCH = 100
PAUSE_S = 0.005
"""Small pieces with pauses: decisions come first, and a snapshot is never urgent."""


@dataclass(slots=True)
class _Pending:
    """What of one partition is journaled and not yet in the table."""

    rows: dict[str, bytes | None] = field(default_factory=dict)
    offsets: dict[str, int] = field(default_factory=dict)
    last: Prepared | None = None
    writing: dict[str, int] = field(default_factory=dict)
    tombstones: list[str] = field(default_factory=list)
    flushing: bool = False
    whole_at: float = field(default_factory=monotonic)
    """Until when the table has everything: the last flush, or later where nothing was journaled since."""

    @property
    def whole(self) -> bool:
        """Whether the table has everything that is journaled."""
        return self.last is None and not self.flushing


class SnapshotTable(faust.Table):  # type: ignore[misc]
    """A Faust table that only restores: rows are sent by `Snapshots` and never kept twice in memory."""

    def apply_changelog_batch(self, batch: Iterable[Any]) -> None:
        """Keep, of each row, the value with the highest journal offset."""
        restored: dict[bytes, bytes] = self.app.ops_restored
        for event in batch:
            key, value = event.key, event.value
            if not value:
                restored.pop(key, None)
            elif key not in restored or restored[key][:OFFSET_BYTES] <= value[:OFFSET_BYTES]:
                restored[key] = value


class Snapshots:
    """Writes snapshots of the live partitions every `interval_s`, and gives back what was restored."""

    def __init__(
        self,
        app: faust.App,
        topic: str,
        producer: AIOKafkaProducer,
        key: JournalKey,
        partitions: int,
        interval_s: float,
        on_flush: Callable[[int], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._app = app
        self._topic = topic
        self._producer = producer
        self._failed = failed
        self._lanes: dict[int, Lane[asyncio.Future[None] | None]] = {}
        self._key = key
        self._partitions = partitions
        self._interval_s = interval_s
        self._pending: dict[int, _Pending] = {}
        self._on_flush = on_flush

    def follow(self, ledger: Ledger, takeover: Prepared) -> None:
        """A partition is live: what recovery folded is still to be written, and what follows."""
        rows = ledger.state.rows
        pending = _Pending()
        pending.rows = {row: rows.get(row) for row in ledger.touched}
        pending.offsets = ledger.touched
        ledger.touched = {}
        self._pending[takeover.header.partition] = pending
        self.journaled(takeover)

    def release(self, ledger: Ledger) -> None:
        """A partition is about to be taken away: nothing more of it is written here; its ledger remembers what."""
        pending = self._pending.pop(ledger.state.partition, None)
        if pending is not None:
            ledger.touched.update(pending.writing)
            ledger.touched.update(pending.offsets)
            ledger.touched.update(dict.fromkeys(pending.tombstones, ledger.next_offset - 1))

    def forget(self, partition: int) -> None:
        """A partition is gone."""
        self._pending.pop(partition, None)

    def journaled(self, prepared: Prepared) -> None:
        """A record counts now; its rows may go to the table."""
        pending = self._pending.get(prepared.header.partition)
        if pending is None:
            return
        if pending.whole:
            pending.whole_at = monotonic()
        pending.rows.update(prepared.changes)
        offset = prepared.written.offset
        for row in prepared.changes:
            pending.offsets[row] = offset
        pending.last = prepared

    def age_s(self, partition: int) -> float:
        """How long what is journaled of a partition has waited for its snapshot; 0 where nothing waits."""
        pending = self._pending.get(partition)
        return monotonic() - pending.whole_at if pending is not None and not pending.whole else 0.0

    def oldest_age_s(self, now: float) -> float:
        """How long the oldest row has waited for its acknowledgement."""
        return max((lane.oldest_age_s(now) for lane in self._lanes.values()), default=0.0)

    def load(self, partition: int) -> Ledger | None:
        """What the table holds of a partition, as a ledger still to be proved; `None` where there is nothing."""
        prefix = b"%d|" % partition
        restored: dict[bytes, bytes] = self._app.ops_restored
        mine = {key: restored.pop(key) for key in [k for k in restored if k.startswith(prefix)]}
        sealed = mine.pop(prefix + WATERMARK_ROW.encode(), None)
        if sealed is None:
            return None
        watermark = open_watermark(sealed[OFFSET_BYTES:], self._key)
        if watermark is None or watermark.partition != partition:
            log.warning("a snapshot's watermark is not ours and is passed over", partition=partition)
            return None
        rows = {
            key[len(prefix) :].decode(errors="replace"): value[OFFSET_BYTES:]
            for key, value in mine.items()
            if len(value) > OFFSET_BYTES
        }
        return Ledger.from_watermark(rows, self._partitions, self._key, watermark)

    async def run(self) -> None:
        """Flush until cancelled."""
        while True:
            await asyncio.sleep(self._interval_s)
            await self.flush()

    def close(self) -> None:
        """Write nothing more, before the producer is stopped."""
        for lane in self._lanes.values():
            lane.close()

    async def flush(self) -> None:
        """Write everything that is pending, then the watermarks."""
        for partition in list(self._pending):
            await self._flush(partition)

    async def _flush(self, partition: int) -> None:
        pending = self._pending.get(partition)
        if pending is None or pending.last is None:
            return
        rows, offsets, last, tombstones = pending.rows, pending.offsets, pending.last, pending.tombstones
        pending.rows, pending.offsets, pending.last = {}, {}, None
        pending.writing, pending.flushing = offsets, True
        begun_at = monotonic()
        pending.tombstones = [row for row, value in rows.items() if value is None]
        await self._send(partition, {row: None for row in tombstones if row not in rows})
        await self._send(
            partition,
            {row: offsets[row].to_bytes(OFFSET_BYTES, "big") + (value or b"") for row, value in rows.items()},
        )
        sealed = seal_watermark(watermark_of(last.header, last.hash), self._key)
        if self._pending.get(partition) is not pending:
            return
        stamp = last.written.offset.to_bytes(OFFSET_BYTES, "big")
        await self._send(partition, {WATERMARK_ROW: stamp + sealed})
        pending.writing, pending.flushing = {}, False
        pending.whole_at = begun_at
        self._on_flush(partition)

    async def _send(self, partition: int, rows: Mapping[str, bytes | None]) -> None:
        """Write rows to the table's changelog and wait until they are there.

        Not through `Table.send_changelog`: Faust's producer buffer is meant for a few records, and where it is full the
        streams wait for it, so that a snapshot of many rows would hold up the input.
        """
        if not rows:
            return
        lane = self._lanes.get(partition)
        if lane is None:
            lane = Lane(self._producer, self._topic, partition, _delivered, self._failed, ROWS_PER_BATCH)
            self._lanes[partition] = lane
        written = asyncio.get_running_loop().create_future()
        last = len(rows) - 1
        for index, (row, value) in enumerate(rows.items()):
            lane.put(
                Parcel(b"%d|%b" % (partition, row.encode()), value, [], written if index == last else None)
            )
            if index % YIELD_EVERY == YIELD_EVERY - 1:
                await asyncio.sleep(PAUSE_S)
        await written


def _delivered(_offset: int, _timestamp_ms: int, tokens: list[asyncio.Future[None] | None]) -> None:
    for token in tokens:
        if token is not None and not token.done():
            token.set_result(None)
