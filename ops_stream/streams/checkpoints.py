"""Checkpoints of the partitions that this worker owns: on `ops.checkpoints`, and in a file for others to keep."""

from __future__ import annotations

import asyncio
from pathlib import Path
from time import monotonic
from typing import Final

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from ops_stream.contract.headers import event_headers
from ops_stream.contract.settings import Settings
from ops_stream.contract.signing import SigningKey
from ops_stream.core.ids import derived_id
from ops_stream.core.journal.chain import JournalKey
from ops_stream.core.journal.checkpoint import EVENT, Head, checkpoint_of
from ops_stream.core.journal.ledger import Prepared
from ops_stream.core.rows import encode_row

log = structlog.get_logger(__name__)

EVERY_S: Final = 60.0
TOPIC: Final = "checkpoints"
FILE: Final = "checkpoints.jsonl"
FILE_BYTES_MAX: Final = 16 * 1024 * 1024
"""A larger file becomes FILE.1, and the one before that is gone: a copy is the third party's to keep."""


class Checkpoints:
    """Says every minute where the journal of each partition stands, if it has moved."""

    def __init__(
        self,
        settings: Settings,
        producer: AIOKafkaProducer,
        journal_key: JournalKey,
        signing_key: SigningKey | None,
        every_s: float = EVERY_S,
    ) -> None:
        self._topic = settings.topic(TOPIC)
        self._file = settings.data_dir / FILE
        self._producer = producer
        self._journal_key, self._signing_key = journal_key, signing_key
        self._every_s = every_s
        self._heads: dict[int, Head] = {}
        self.turned_at = monotonic()

    def counted(self, prepared: Prepared) -> None:
        """A record is acknowledged in its place: it is the head now."""
        header = prepared.header
        self._heads[header.partition] = Head(
            header.partition, header.expected_offset, prepared.hash, header.at_ms
        )

    async def run(self) -> None:
        """Write checkpoints until cancelled."""
        while True:
            await asyncio.sleep(self._every_s)
            await self.write()
            self.turned_at = monotonic()

    async def write(self) -> None:
        """Write a checkpoint of each partition that has moved. A broker that refuses is asked again later."""
        heads, self._heads = self._heads, {}
        for partition, head in sorted(heads.items()):
            doc = checkpoint_of(head, self._topic, self._journal_key, self._signing_key)
            id_ = derived_id("cp_", partition, head.offset, head.hash)
            headers = event_headers(EVENT, id_, time=doc["time"])
            value = encode_row(doc)
            try:
                await self._producer.send_and_wait(
                    self._topic, value, key=str(partition).encode(), partition=partition, headers=headers
                )
            except KafkaError as error:
                log.warning("a checkpoint was not taken", partition=partition, error=type(error).__name__)
                self._heads.setdefault(partition, head)
                continue
            self._keep(value)

    def _keep(self, value: bytes) -> None:
        """Append to the file; one that cannot be written is told, and stops nothing."""
        try:
            self._rotate()
            with self._file.open("ab") as file:
                file.write(value + b"\n")
        except OSError as error:
            log.warning(
                "the file of checkpoints cannot be written", file=str(self._file), error=error.strerror
            )

    def _rotate(self) -> None:
        try:
            size = self._file.stat().st_size
        except FileNotFoundError:
            return
        if size >= FILE_BYTES_MAX:
            self._file.replace(Path(f"{self._file}.1"))
