"""A fleet of agents in the test's process: asks at a rate, reports, and remembers what was acknowledged."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Self

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from ops_stream.contract.partitions import partition_for
from ops_stream.contract.settings import Settings
from tests.survival.proof import body_of, read_all

FINAL = {"approved", "denied", "revoked"}


@dataclass
class Fleet:
    """Agents of many tenants. Every ask that the broker acknowledged is in `asked`."""

    settings: Settings
    tenants: tuple[str, ...]
    cost_usd: float = 0.01
    report_share: float = 1.0
    asked: dict[str, str] = field(default_factory=dict)
    """Request id → tenant."""
    answers: dict[str, dict[int, str]] = field(default_factory=lambda: defaultdict(dict))
    """Request id → sequence → decision, as read from the approvals topic."""
    steps: dict[str, dict[int, str]] = field(default_factory=lambda: defaultdict(dict))
    """The same of steps of workflows, for which nobody here has asked."""
    answered_at: dict[str, float] = field(default_factory=dict)
    asked_at: dict[str, float] = field(default_factory=dict)
    reported: int = 0
    _number: int = 0

    async def __aenter__(self) -> Self:
        self._producer = AIOKafkaProducer(
            **self.settings.aiokafka(), acks="all", enable_idempotence=True, request_timeout_ms=120_000
        )
        await self._producer.start()
        self._consumer = AIOKafkaConsumer(
            **self.settings.aiokafka(), group_id=None, auto_offset_reset="earliest", fetch_max_wait_ms=50
        )
        await self._consumer.start()
        topic = self.settings.topic("approvals")
        self._consumer.assign([TopicPartition(topic, p) for p in range(self.settings.partitions)])
        self._reader = asyncio.create_task(self._read())
        for tenant in self.tenants:
            await self.put(
                "agents",
                tenant,
                {
                    "event": "AgentRegistration",
                    "agent": "a",
                    "role": "worker",
                    "capabilities": ["general"],
                    "tenant": tenant,
                },
            )
        return self

    def of(self, tenants: Iterable[str]) -> list[str]:
        """The acknowledged asks of these tenants."""
        wanted = set(tenants)
        return [request_id for request_id, tenant in self.asked.items() if tenant in wanted]

    async def __aexit__(self, *_: object) -> None:
        self._reader.cancel()
        await asyncio.gather(self._reader, return_exceptions=True)
        await self._consumer.stop()
        await self._producer.stop()

    async def put(self, topic: str, tenant: str, body: dict[str, Any]) -> None:
        """Send one record and wait until it is acknowledged."""
        await self._producer.send_and_wait(
            self.settings.topic(topic),
            json.dumps(body).encode(),
            key=tenant.encode(),
            partition=partition_for(tenant, self.settings.partitions),
        )

    async def ask(
        self, count: int, rate: float, *, name: str = "r", tenants: Sequence[str] = (), **fields: Any
    ) -> None:
        """Ask `count` times, at `rate` a second over all tenants (or these). Returns when all are acknowledged."""
        started = monotonic()
        tenants = tenants or self.tenants
        futures = []
        for index in range(count):
            due = started + index / rate
            if due > monotonic():
                await asyncio.sleep(due - monotonic())
            self._number += 1
            tenant = tenants[self._number % len(tenants)]
            request_id = f"{name}-{self._number}"
            futures.append(await self._ask_one(tenant, request_id, fields))
        await asyncio.gather(*futures)

    async def _ask_one(self, tenant: str, request_id: str, fields: dict[str, Any]) -> asyncio.Future[Any]:
        body = {
            "request_id": request_id,
            "task_id": f"t-{request_id}",
            "agent": "a",
            "tenant": tenant,
            "task_description": "survive",
            "estimated_cost_usd": self.cost_usd,
        } | fields
        future = await self._producer.send(
            self.settings.topic("task-requests"),
            json.dumps(body).encode(),
            key=tenant.encode(),
            partition=partition_for(tenant, self.settings.partitions),
        )
        self.asked_at[request_id] = monotonic()

        def acknowledged(done: asyncio.Future[Any]) -> None:
            if not done.cancelled() and done.exception() is None:
                self.asked[request_id] = tenant

        future.add_done_callback(acknowledged)
        return future

    async def until_answered(self, within_s: float = 90.0, *, tenants: Sequence[str] = ()) -> None:
        """Wait until every acknowledged ask (of these tenants) has a decision on the topic."""
        deadline = monotonic() + within_s
        while missing := [r for r in self.of(tenants or self.asked.values()) if r not in self.answers]:
            if monotonic() > deadline:
                raise AssertionError(
                    f"{len(missing)} of {len(self.asked)} asks have no answer, such as {missing[:5]}"
                )
            await asyncio.sleep(0.05)

    async def until_some_answered(self, count: int, within_s: float = 60.0) -> None:
        """Wait until so many asks have a decision."""
        async with asyncio.timeout(within_s):
            while len(self.answers) < count:
                await asyncio.sleep(0.02)

    async def until(
        self, do: Callable[[], Awaitable[None]], done: Callable[[], bool], within_s: float = 30.0
    ) -> None:
        """Do something and look at the answers, again and again, until it is done."""
        deadline = monotonic() + within_s
        while True:
            await do()
            await self.until_answered()
            if done():
                return
            assert monotonic() < deadline, f"not done within {within_s} s"

    def last_decisions(self) -> set[str]:
        """The decisions in force, of all asks."""
        return {line[max(line)] for line in self.answers.values()}

    async def until_decided(self, requests: Sequence[str], decision: str, within_s: float = 60.0) -> None:
        """Wait until the latest decision of each of these asks is this one."""
        async with asyncio.timeout(within_s):
            while any(line[max(line)] != decision for line in (self.answers[r] for r in requests)):
                await asyncio.sleep(0.05)

    async def until_registered(self, within_s: float = 60.0) -> None:
        """Wait until the agents of all tenants are known: asks and registrations are on topics of their own."""
        async with asyncio.timeout(within_s):
            while True:
                found = await read_all(self.settings, "agent-status")
                known = {json.loads(record.value)["tenant"] for rs in found.values() for record in rs}
                if known >= set(self.tenants):
                    return
                await asyncio.sleep(0.05)

    async def until_reported(self, within_s: float = 60.0) -> None:
        """Wait until every approved ask has been reported."""
        async with asyncio.timeout(within_s):
            while self.reported < len(self.asked):
                await asyncio.sleep(0.02)

    async def _read(self) -> None:
        while True:
            try:
                batches = await self._consumer.getmany(timeout_ms=200)
            except KafkaError:
                await asyncio.sleep(0.2)
                continue
            for records in batches.values():
                for record in records:
                    await self._on_approval(body_of(record.value))

    async def _on_approval(self, approval: dict[str, Any]) -> None:
        request_id, sequence = approval["request_id"], approval["sequence"]
        if request_id.startswith("wr_"):
            self.steps[request_id][sequence] = approval["decision"]
            return
        first = sequence not in self.answers[request_id]
        self.answers[request_id][sequence] = approval["decision"]
        self.answered_at.setdefault(request_id, monotonic())
        if first and approval["decision"] == "approved" and self._reports(request_id):
            self.reported += 1
            await self._producer.send(
                self.settings.topic("telemetry"),
                json.dumps(
                    {
                        "event_id": f"done-{request_id}",
                        "request_id": request_id,
                        "task_id": approval["task_id"],
                        "agent": "a",
                        "tenant": approval["tenant"],
                        "kind": "completed",
                        "success": True,
                        "cost_usd": self.cost_usd / 2,
                    }
                ).encode(),
                key=approval["tenant"].encode(),
                partition=partition_for(approval["tenant"], self.settings.partitions),
            )

    def _reports(self, request_id: str) -> bool:
        return hash(request_id) % 100 < self.report_share * 100
