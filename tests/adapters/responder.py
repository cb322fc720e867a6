"""A scripted supervisor: reads what agents write and answers as the test says, on real Kafka.

The real one decides by rules; this one can be silent, late, contradictory or forged, one record at a time.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self, TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.structs import ConsumerRecord

from ops_stream.contract.clocktext import format_time
from ops_stream.contract.codec import decode, encode_json
from ops_stream.contract.digest import action_digest
from ops_stream.contract.headers import JournalPosition, event_headers
from ops_stream.contract.models import (
    AgentRegistration,
    Event,
    Heartbeat,
    RevocationAck,
    TaskRequest,
    Telemetry,
)
from ops_stream.contract.partitions import partition_for
from ops_stream.contract.settings import Settings

E = TypeVar("E", bound=Event)

_READS = ("task-requests", "telemetry", "agents")
RULES = "sha256:" + "0" * 64


@dataclass(frozen=True)
class Seen:
    """A record that an agent wrote."""

    topic: str
    event: Event
    record: ConsumerRecord

    @property
    def headers(self) -> dict[str, str]:
        """Its headers by name."""
        return {name: value.decode() for name, value in self.record.headers}


class Responder:
    """Answers asks through `on_ask`, or by hand through `answer`."""

    def __init__(self, settings: Settings, *, from_beginning: bool = False) -> None:
        """Take the supervisor's part on the topics of these settings, from now on or from their beginning."""
        self.settings = settings
        self._from_beginning = from_beginning
        self.seen: list[Seen] = []
        self.on_ask: Callable[[TaskRequest], Any] | None = None
        self.journal_offset = 0
        self._news = asyncio.Condition()

    async def __aenter__(self) -> Self:
        """Connect, and start to read every input partition."""
        self.producer = AIOKafkaProducer(**self.settings.aiokafka(), enable_idempotence=True, acks="all")
        await self.producer.start()
        self.partitions = len(await self.producer.partitions_for(self.settings.topic("approvals")))
        self.consumer = AIOKafkaConsumer(
            **self.settings.aiokafka(),
            group_id=None,
            enable_auto_commit=False,
            fetch_max_wait_ms=50,
            retry_backoff_ms=10,
        )
        await self.consumer.start()
        tps = [TopicPartition(self.settings.topic(t), p) for t in _READS for p in range(self.partitions)]
        ends = await self.consumer.end_offsets(tps)
        self.consumer.assign(tps)
        for tp, end in ends.items():
            self.consumer.seek(tp, 0 if self._from_beginning else end)
        self.task = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop, and fail the test if reading did."""
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        await self.consumer.stop()
        await self.producer.stop()
        if not self.task.cancelled():
            self.task.result()

    async def _read(self) -> None:
        async for record in self.consumer:
            topic = record.topic.removeprefix(self.settings.topic_prefix)
            event = decode(topic, record.value, record.headers).event
            async with self._news:
                self.seen.append(Seen(topic, event, record))
                self._news.notify_all()
            if isinstance(event, TaskRequest) and self.on_ask is not None:
                made = self.on_ask(event)
                if asyncio.iscoroutine(made):
                    await made

    def all(self, kind: type[E], /, **wanted: Any) -> list[E]:
        """Give the events of a kind whose fields have these values, in the order in which they came."""
        return [
            each.event
            for each in self.seen
            if isinstance(each.event, kind)
            and all(getattr(each.event, name) == value for name, value in wanted.items())
        ]

    async def wait_for(self, kind: type[E], /, count: int = 1, timeout_s: float = 10.0, **wanted: Any) -> E:
        """Wait until so many such events are here, and give the last."""
        async with asyncio.timeout(timeout_s), self._news:
            await self._news.wait_for(lambda: len(self.all(kind, **wanted)) >= count)
        return self.all(kind, **wanted)[count - 1]

    async def report(self, kind: str, **wanted: Any) -> Telemetry:
        """Wait for a report of a kind."""
        return await self.wait_for(Telemetry, kind=kind, **wanted)

    async def registration(self, agent: str) -> AgentRegistration:
        """Wait for a registration."""
        return await self.wait_for(AgentRegistration, agent=agent)

    async def heartbeat(self, count: int = 1, **wanted: Any) -> Heartbeat:
        """Wait for a heartbeat."""
        return await self.wait_for(Heartbeat, count, **wanted)

    async def ack(self, request_id: str) -> RevocationAck:
        """Wait for an acknowledged revocation."""
        return await self.wait_for(RevocationAck, request_id=request_id)

    def approval(self, request: TaskRequest, decision: str = "approved", **fields: Any) -> dict[str, Any]:
        """Make the body of an answer."""
        now_ms = time.time_ns() // 1_000_000
        reasons = {
            "approved": "approved",
            "denied": "policy_blocked",
            "escalated": "escalated",
            "queued": "queued",
            "revoked": "kill_revoked",
        }
        lease_s = fields.pop("lease_s", 60.0)
        body = {
            "approval_id": f"ap-{request.request_id[-20:]}-{self.journal_offset}",
            "request_id": request.request_id,
            "task_id": request.task_id,
            "tenant": request.tenant,
            "agent": request.agent,
            "decision": decision,
            "sequence": 0,
            "reason": reasons[decision],
            "explanation": f"The test says {decision}.",
            "action_digest": action_digest(request),
            "priority": request.priority,
            "matched_policies": [],
            "rules_digest": RULES,
            "decided_at": format_time(now_ms),
        }
        if decision == "approved" and lease_s is not None:
            body["lease_expires_at"] = format_time(now_ms + int(lease_s * 1000))
        return body | fields

    async def answer(
        self,
        request: TaskRequest,
        decision: str = "approved",
        *,
        position: tuple[int, int] | None = None,
        headers: list[tuple[str, bytes]] | None = None,
        **fields: Any,
    ) -> None:
        """Publish an answer; `position` is its place in the journal (else the next), `headers` replace ours."""
        body = self.approval(request, decision, **fields)
        await self.publish("approvals", "TaskApproval", request.request_id, body, position, headers)

    async def publish(
        self,
        topic: str,
        kind: str,
        subject: str,
        body: dict[str, Any],
        position: tuple[int, int] | None = None,
        headers: list[tuple[str, bytes]] | None = None,
        key: str | None = None,
        more: list[tuple[str, bytes]] | None = None,
    ) -> None:
        """Publish an output; outputs go out in the order of the calls. `more` are added to our headers."""
        tenant = body.get("tenant", self.settings.tenant)
        partition = partition_for(tenant, self.partitions)
        if position is None:
            self.journal_offset += 1
            position = (self.journal_offset, 0)
        ours = event_headers(
            kind,
            body.get("approval_id", f"e{self.journal_offset}"),
            time=format_time(time.time_ns() // 1_000_000),
            subject=subject,
            journal=JournalPosition(partition, *position),
        )
        await self.producer.send(
            self.settings.topic(topic),
            encode_json(body),
            (key or tenant).encode(),
            partition,
            headers=[*ours, *(more or [])] if headers is None else headers,
        )


@contextmanager
def answering_from_elsewhere(settings: Settings) -> Iterator[Responder]:
    """Approve everything from a thread, for tests that block their own loop."""
    ready, stop = threading.Event(), threading.Event()
    made: list[Responder] = []

    async def answer() -> None:
        async with Responder(settings) as responder:
            responder.on_ask = responder.answer
            made.append(responder)
            ready.set()
            await asyncio.to_thread(stop.wait)

    thread = threading.Thread(target=lambda: asyncio.run(answer()), name="responder")
    thread.start()
    try:
        assert ready.wait(20)
        yield made[0]
    finally:
        stop.set()
        thread.join()
