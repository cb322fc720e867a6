"""Somebody who may write to `ops.approvals`, and writes there what the supervisor never said."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.structs import ConsumerRecord

from ops_stream.contract.answers import place_of
from ops_stream.contract.codec import decode, encode_json
from ops_stream.contract.headers import read_position
from ops_stream.contract.models import TaskApproval
from ops_stream.contract.partitions import partition_for
from ops_stream.contract.settings import Settings
from ops_stream.contract.signing import SigningKey, sign
from tests.adapters.real import PARTITIONS

Headers = list[tuple[str, bytes]]


class Answer:
    """An answer as it stands on the topic."""

    def __init__(self, record: ConsumerRecord) -> None:
        """Keep the record and what it says."""
        event = decode("approvals", record.value, record.headers).event
        assert isinstance(event, TaskApproval)
        position = read_position(record.headers)
        assert position is not None
        self.record, self.event, self.position = record, event, position

    def edited(self, **fields: Any) -> bytes:
        """Give its body with other values."""
        return encode_json({**self.event.wire(), **fields})

    def headers(self, replaced: Mapping[str, str | bytes | None]) -> Headers:
        """Give its headers with other values; None leaves one out."""
        kept = [(name, value) for name, value in self.record.headers if name not in replaced]
        added = [(name, value) for name, value in replaced.items() if value is not None]
        return kept + [(name, value.encode() if isinstance(value, str) else value) for name, value in added]


class Forger:
    """Somebody who may write to `ops.approvals`, and reads along there."""

    def __init__(self, settings: Settings) -> None:
        """Forge for the tenant of these settings."""
        self.settings = settings
        self.tp = TopicPartition(settings.topic("approvals"), partition_for(settings.tenant, PARTITIONS))
        self.journal_end = 0
        self._seen: list[Answer] = []

    async def __aenter__(self) -> Forger:
        """Begin to read at the end."""
        self._producer = AIOKafkaProducer(**self.settings.aiokafka())
        self._consumer = AIOKafkaConsumer(
            **self.settings.aiokafka(), group_id=None, enable_auto_commit=False, retry_backoff_ms=10
        )
        await self._producer.start()
        await self._consumer.start()
        end = (await self._consumer.end_offsets([self.tp]))[self.tp]
        self._consumer.assign([self.tp])
        self._consumer.seek(self.tp, end)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Go away."""
        await self._consumer.stop()
        await self._producer.stop()

    async def answer(self, request_id: str, decision: str) -> Answer:
        """Wait for an answer."""
        async with asyncio.timeout(20):
            while True:
                for seen in self._seen:
                    if (seen.event.request_id, seen.event.decision) == (request_id, decision):
                        return seen
                self._seen.append(Answer(await self._consumer.getone(self.tp)))

    async def look_at_journal(self) -> None:
        """See where the journal ends."""
        tp = TopicPartition(self.settings.topic("journal"), self.tp.partition)
        self.journal_end = (await self._consumer.end_offsets([tp]))[tp]

    async def write(self, value: bytes, headers: Headers) -> None:
        """Write a record to the topic."""
        await self._producer.send_and_wait(
            self.tp.topic, value, self.settings.tenant.encode(), self.tp.partition, headers=headers
        )

    def signed(self, key: SigningKey, topic: str, like: Answer, value: bytes) -> bytes:
        """Sign a body for the place of another answer."""
        headers = dict(like.record.headers)
        place = place_of(like.position, headers["ce_time"].decode())
        tenant = self.settings.tenant
        return sign(key, "TaskApproval", self.settings.topic(topic), tenant, value, position=place).header()
