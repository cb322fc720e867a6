"""An application: hands workflows in and reads how they stand."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from ops_stream.contract.codec import decode, encode_json
from ops_stream.contract.models import WorkflowStatus
from ops_stream.contract.partitions import partition_for
from ops_stream.contract.settings import Settings
from tests.adapters.real import PARTITIONS

ENDED = ("completed", "failed", "cancelled", "rejected")


class Application:
    """Works for the tenant of its settings."""

    def __init__(self, settings: Settings) -> None:
        """Name the tenant."""
        self._settings = settings
        self._partition = partition_for(settings.tenant, PARTITIONS)

    async def __aenter__(self) -> Application:
        """Begin to read statuses at the end."""
        self._producer = AIOKafkaProducer(**self._settings.aiokafka())
        self._consumer = AIOKafkaConsumer(
            **self._settings.aiokafka(), group_id=None, enable_auto_commit=False, retry_backoff_ms=10
        )
        await self._producer.start()
        await self._consumer.start()
        tp = TopicPartition(self._settings.topic("workflow-status"), self._partition)
        end = (await self._consumer.end_offsets([tp]))[tp]
        self._consumer.assign([tp])
        self._consumer.seek(tp, end)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Go away."""
        await self._consumer.stop()
        await self._producer.stop()

    async def hand_in(self, *steps: dict[str, Any], **fields: Any) -> str:
        """Hand a workflow in, and give its id."""
        body = {
            "workflow_id": f"flow-{secrets.token_hex(4)}",
            "objective_id": "o-1",
            "tenant": self._settings.tenant,
            "steps": list(steps),
            **fields,
        }
        await self._send("workflows", body)
        return str(body["workflow_id"])

    async def cancel(self, workflow_id: str) -> None:
        """Have a workflow stopped."""
        body = {
            "command_id": secrets.token_hex(8),
            "command": "cancel_workflow",
            "tenant": self._settings.tenant,
            "target": workflow_id,
            "issued_by": "bob",
        }
        await self._send("control", body)

    async def _send(self, topic: str, body: dict[str, Any]) -> None:
        key, topic = self._settings.tenant.encode(), self._settings.topic(topic)
        await self._producer.send_and_wait(topic, encode_json(body), key, self._partition)

    async def status(
        self, workflow_id: str | None, wanted: Callable[[WorkflowStatus], bool], timeout_s: float = 30.0
    ) -> WorkflowStatus:
        """Wait until the workflow, or any, stands so."""
        async with asyncio.timeout(timeout_s):
            async for record in self._consumer:
                event = decode("workflow-status", record.value, record.headers).event
                assert isinstance(event, WorkflowStatus)
                if workflow_id in (None, event.workflow_id) and wanted(event):
                    return event
        raise AssertionError

    async def ended(self, workflow_id: str, timeout_s: float = 30.0) -> WorkflowStatus:
        """Wait until it has ended."""
        return await self.status(workflow_id, lambda status: status.state in ENDED, timeout_s)
