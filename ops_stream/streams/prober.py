"""Asks the broker itself what stands at an offset: the one proof that a hole in an input holds nothing."""

from __future__ import annotations

import asyncio

from aiokafka import AIOKafkaConsumer, TopicPartition

from ops_stream.contract.settings import Settings
from ops_stream.streams.bus import new_reader

PROBE_MS = 500


class Prober:
    """A reader of its own, so that a look at the broker disturbs no delivery."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._reader: AIOKafkaConsumer | None = None
        self._lock = asyncio.Lock()

    async def first_from(self, tp: TopicPartition, start: int) -> tuple[int, bool]:
        """The offset of the first record of `tp` from `start` on, and True.

        Where there is none yet: the offset up to which the broker shows nothing, and False.
        """
        async with self._lock:
            reader = await self._started()
            reader.assign([tp])
            reader.seek(tp, start)
            batches = await reader.getmany(tp, timeout_ms=PROBE_MS, max_records=1)
            records = batches.get(tp, [])
            if records:
                return int(records[0].offset), True
            return int(await reader.position(tp)), False

    async def stop(self) -> None:
        """Stop reading."""
        if self._reader is not None:
            await self._reader.stop()

    async def _started(self) -> AIOKafkaConsumer:
        if self._reader is None:
            reader = new_reader(self._settings)
            await reader.start()
            self._reader = reader
        return self._reader
