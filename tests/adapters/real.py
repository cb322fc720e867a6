"""The real supervisor for the adapter's tests: a worker with few rules, and a person at the other end."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from agents_adapter import Denied, OpsClient
from ops_stream.contract.codec import decode, encode_json
from ops_stream.contract.models import Escalation
from ops_stream.contract.partitions import partition_for
from ops_stream.contract.settings import Settings
from tests.brokers import create_topics
from tests.survival.process import WorkerProcess

PARTITIONS = 2
CONF = {
    "ai_ops_policies.yaml": """
policies:
  - {name: no-rm, condition: 'has(given.tool) && tool == "rm"', action: block}
  - {name: look-at-it, condition: 'has(given.tool) && tool == "pay"', action: escalate}
  - {name: later, condition: priority < 3, action: queue_for_batch_processing}
  - {name: cheaper, condition: cost > 1.0, action: downgrade_model}
""",
    "models.yaml": Path("conf/models.yaml").read_text().split("version: 1", 1)[1],
    "budgets.yaml": "budgets: [{tenant: '*', limit_usd: 5, window: total}]\n",
    "agents.yaml": "registration: open\n",
    "supervisor.yaml": "lease_min_s: 2\nlease_factor: 1\nbatch_window_s: 1\n",
}


class Operator:
    """A person at the other end: reads escalations, resolves them, kills and resumes."""

    def __init__(self, settings: Settings) -> None:
        """Work for the tenant of these settings."""
        self._settings = settings
        self._partition = partition_for(settings.tenant, PARTITIONS)

    async def __aenter__(self) -> Operator:
        """Begin to read escalations at the end."""
        self._producer = AIOKafkaProducer(**self._settings.aiokafka())
        self._consumer = AIOKafkaConsumer(
            **self._settings.aiokafka(), group_id=None, enable_auto_commit=False, retry_backoff_ms=10
        )
        await self._producer.start()
        await self._consumer.start()
        tp = TopicPartition(self._settings.topic("escalations"), self._partition)
        end = (await self._consumer.end_offsets([tp]))[tp]
        self._consumer.assign([tp])
        self._consumer.seek(tp, end)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Go home."""
        await self._consumer.stop()
        await self._producer.stop()

    async def escalation(self, status: str) -> Escalation:
        """Wait for the tenant's next escalation in a state."""
        async with asyncio.timeout(20):
            async for record in self._consumer:
                event = decode("escalations", record.value, record.headers).event
                assert isinstance(event, Escalation)
                if (event.tenant, event.status) == (self._settings.tenant, status):
                    return event
        raise AssertionError

    async def resolve(self, verdict: str, **fields: Any) -> None:
        """Answer the next escalation."""
        found = await self.escalation("open")
        await self._send(
            "resolutions",
            {
                "resolution_id": secrets.token_hex(8),
                "escalation_id": found.escalation_id,
                "tenant": self._settings.tenant,
                "resolver": "alice",
                "verdict": verdict,
                **fields,
            },
        )

    async def command(self, command: str, **fields: Any) -> None:
        """Command for the tenant, or for what `fields` say."""
        await self._send(
            "control",
            {
                "command_id": secrets.token_hex(8),
                "command": command,
                "scope": "tenant",
                "tenant": self._settings.tenant,
                "issued_by": "alice",
                **fields,
            },
        )

    async def _send(self, topic: str, body: dict[str, Any]) -> None:
        key = self._settings.tenant.encode()
        topic = self._settings.topic(topic)
        await self._producer.send_and_wait(topic, encode_json(body), key, self._partition)


@contextmanager
def real_worker(
    kafka: str, directory: Path, conf_files: dict[str, str] | None = None, **fields: Any
) -> Iterator[tuple[WorkerProcess, Settings]]:
    """Run a worker with short leases and few rules; `fields` are more settings, `conf_files` more rules."""
    conf = directory / "conf"
    conf.mkdir()
    for name, text in {**CONF, **(conf_files or {})}.items():
        (conf / name).write_text("version: 1\n" + text)
    settings = Settings(
        bootstrap_servers=kafka,
        topic_prefix=f"adw{secrets.token_hex(3)}.",
        data_dir=directory / "data",
        conf_dir=conf,
        journal_key_file=directory / "journal.key",
        partitions=PARTITIONS,
        **fields,
    )
    made = WorkerProcess(settings, directory / "one", session_timeout_s=6.0)

    async def begin() -> None:
        await create_topics(settings)
        await made.start().until_live(PARTITIONS)

    try:
        asyncio.run(begin())
        yield made, settings
    finally:
        made.stop()


async def registered(client: OpsClient) -> None:
    """Register `writer`, and ask until the supervisor has read that."""
    await client.register("writer", role="author", capabilities=["general"])
    async with asyncio.timeout(20):
        while True:
            try:
                approval = await client.ask("writer", "Am I known?")
            except Denied:
                continue
            await client.report(approval, cost_usd=0)
            return
