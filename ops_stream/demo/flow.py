"""The demo's workflow as an application sees it: handed in, followed on the topics, summed up."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from agents_adapter import OpsClient
from ops_stream.contract.clocktext import parse_time
from ops_stream.contract.partitions import partition_for
from ops_stream.contract.settings import Settings
from ops_stream.demo.crew import BUDGET_USD, FLOW, flow_of, serve_all
from ops_stream.demo.recording import Call

PAGE: Final = "desk.html"
WITHIN_S: Final = 60.0
"""How long the workflow may take; the summary says where it stands then."""
PACE_S: Final = 1.5
"""How long a step takes."""
_OVER: Final = frozenset(("rejected", "completed", "failed", "cancelled"))
_STATES: Final = {"approved": "running"}
"""What the decision about a step's ask makes of the step; any other is called as the decision is."""


@dataclass(frozen=True, slots=True)
class StepSeen:
    """Something that became of a step."""

    step_id: str
    agent: str
    state: str
    attempt: int
    reason: str = ""
    cost_usd: float | None = None


@dataclass
class Flow:
    """What was seen of the workflow so far."""

    on_step: Callable[[StepSeen], None]
    on_state: Callable[[dict[str, Any]], None]
    status: dict[str, Any] = field(default_factory=dict)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    _requests: dict[str, list[str]] = field(default_factory=dict)
    """The asks of each step, one an attempt."""
    _failed_at_ms: dict[str, int] = field(default_factory=dict)
    _backed_off_ms: dict[str, int] = field(default_factory=dict)
    """From the report of a step's last failure to the first decision about its next attempt."""
    _told: set[str] = field(default_factory=set)
    _early: list[StepSeen] = field(default_factory=list)
    _cost_usd: float = 0.0
    """What the agents said that their steps cost; of what they said nothing about, what was held counts."""

    async def run(self, settings: Settings) -> None:
        """Watch until cancelled."""
        topics = {settings.topic(name): name for name in ("approvals", "telemetry", "workflow-status")}
        partition = partition_for(settings.tenant, settings.partitions)
        consumer = AIOKafkaConsumer(
            **settings.aiokafka(), group_id=None, auto_offset_reset="earliest", fetch_max_wait_ms=50
        )
        await consumer.start()
        try:
            consumer.assign([TopicPartition(topic, partition) for topic in topics])
            while True:
                batches = await consumer.getmany(timeout_ms=200)
                # Topics are fetched side by side: in the broker's time a report comes before what follows from it.
                records = [record for batch in batches.values() for record in batch]
                for record in sorted(records, key=lambda one: one.timestamp):
                    self.take(topics[record.topic], json.loads(record.value), record.timestamp)
        finally:
            await consumer.stop()

    def take(self, topic: str, body: dict[str, Any], at_ms: int) -> None:
        """Take in what was said on a topic, and when by the broker's time; others' work is passed by."""
        if topic == "workflow-status":
            if body["workflow_id"] == FLOW:
                self._on_status(body)
            return
        workflow, _, step = body["task_id"].partition("/")
        id_ = body["approval_id" if topic == "approvals" else "event_id"]
        if workflow != FLOW or id_ in self._told:
            return
        self._told.add(id_)
        attempts = self._requests.setdefault(step, [])
        if body["request_id"] not in attempts:
            attempts.append(body["request_id"])
            if step in self._failed_at_ms:
                self._backed_off_ms[step] = at_ms - self._failed_at_ms.pop(step)
        attempt = attempts.index(body["request_id"]) + 1
        if topic == "approvals":
            state = _STATES.get(body["decision"], body["decision"])
            reason = "" if body["reason"] in (body["decision"], "approved_after_review") else body["reason"]
            self._say(StepSeen(step, body["agent"], state, attempt, reason))
        elif body["kind"] in ("completed", "failed", "cancelled"):
            said = body.get("error") or ""
            self._cost_usd += body.get("cost_usd") or 0
            if body["kind"] == "failed":
                self._failed_at_ms[step] = at_ms
            self._say(StepSeen(step, body["agent"], body["kind"], attempt, said, body.get("cost_usd")))

    def _say(self, seen: StepSeen) -> None:
        if self.status:
            self.on_step(seen)
        else:  # its first steps are decided in the record in which it is accepted, and told before that
            self._early.append(seen)

    def _on_status(self, body: dict[str, Any]) -> None:
        changed = body["state"] != self.status.get("state")
        self.status = body
        if changed:
            self.on_state(body)
        while self._early:
            self.on_step(self._early.pop(0))
        if body["state"] in _OVER:
            self.over.set()

    def summary(self) -> dict[str, Any]:
        """The workflow's figures for the end of the day."""
        status = self.status
        steps = status.get("steps", [])
        again = [step["step_id"] for step in steps if step["attempts"] > 1]
        found = {
            "workflow_id": FLOW,
            "state": status.get("state", "unanswered"),
            "steps": len(steps),
            "completed": sum(step["state"] == "completed" for step in steps),
            "tried_again": again,
            "tried_again_after_s": {step: self._backed_off_ms.get(step, 0) / 1000 for step in again},
            "cost_usd": status.get("cost_usd", 0),
            "unknown_usd": round(max(0.0, status.get("cost_usd", 0) - self._cost_usd), 6),
            "budget_usd": BUDGET_USD,
            "blamed": status.get("blamed", []),
        }
        if "ended_at" in status:
            found["seconds"] = (parse_time(status["ended_at"]) - parse_time(status["accepted_at"])) / 1000
        return found


async def work_off(
    settings: Settings, calls: list[Call], flow: Flow, pace_s: float, begin: asyncio.Event
) -> None:
    """Let the five roles serve; when it is time hand the workflow in, and wait until it has ended."""
    async with OpsClient(
        settings.bootstrap_servers, tenant=settings.tenant, topic_prefix=settings.topic_prefix
    ) as client:
        serve_all(client, calls, settings.data_dir / PAGE, pace_s)
        async with client.serving():
            await begin.wait()
            await _hand_in(settings)
            try:
                async with asyncio.timeout(WITHIN_S):
                    await flow.over.wait()
            except TimeoutError:
                return  # the summary says where it stands


async def _hand_in(settings: Settings) -> None:
    producer = AIOKafkaProducer(**settings.aiokafka(), acks="all", enable_idempotence=True)
    await producer.start()
    try:
        await producer.send_and_wait(
            settings.topic("workflows"),
            json.dumps(flow_of(settings.tenant)).encode(),
            key=settings.tenant.encode(),
            partition=partition_for(settings.tenant, settings.partitions),
        )
    finally:
        await producer.stop()
