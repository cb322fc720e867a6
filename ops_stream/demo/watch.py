"""Watches the desk's partition: every ask and every decision, with the broker's own times."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition

from ops_stream.contract.partitions import partition_for
from ops_stream.contract.settings import Settings
from ops_stream.demo.desk import TENANT

ROOM: Final = "for room"
BATCH: Final = "for a batch"


@dataclass(frozen=True, slots=True)
class Seen:
    """A decision as it appeared on the topic."""

    approval: dict[str, Any]
    request: dict[str, Any]
    latency_ms: int | None
    """From the ask's arrival at the broker to the first decision's, both in the broker's time."""
    waited_ms: int | None = None
    """How long it has waited for room, where this decision ends that."""

    @property
    def why(self) -> str:
        """The reason; what is queued says for what."""
        return queued_for(self.approval) or str(self.approval["reason"])


@dataclass
class Watch:
    """What was seen so far."""

    show: Callable[[Seen], None]
    decisions: Counter[str] = field(default_factory=Counter)
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    latencies_ms: list[float] = field(default_factory=list)
    waited_ms: list[float] = field(default_factory=list)
    """How long each ask waited that found no room, in the broker's time."""
    advised: Counter[str] = field(default_factory=Counter)
    """What the answers to reports of failures said that is to be done next."""
    _waits: dict[str, int] = field(default_factory=dict)
    """Since when which asks wait for room."""
    _asked: dict[str, tuple[int, dict[str, Any]]] = field(default_factory=dict)
    _answered: set[str] = field(default_factory=set)
    _told: set[str] = field(default_factory=set)
    """Decisions that were seen: an ask that is made again, after a lost connection, has the same one again."""
    _early: dict[str, list[tuple[int, dict[str, Any]]]] = field(default_factory=dict)

    async def run(self, settings: Settings) -> None:
        """Watch until cancelled."""
        partition = partition_for(TENANT, settings.partitions)
        requests, approvals = settings.topic("task-requests"), settings.topic("approvals")
        consumer = AIOKafkaConsumer(
            **settings.aiokafka(), group_id=None, auto_offset_reset="earliest", fetch_max_wait_ms=50
        )
        await consumer.start()
        try:
            consumer.assign([TopicPartition(requests, partition), TopicPartition(approvals, partition)])
            async for record in consumer:
                body = json.loads(record.value)
                if record.topic == requests:
                    self._on_request(record.timestamp, body)
                else:
                    self._on_approval(record.timestamp, body)
        finally:
            await consumer.stop()

    def _on_request(self, timestamp_ms: int, body: dict[str, Any]) -> None:
        self._asked[body["request_id"]] = timestamp_ms, body
        for decided_ms, approval in self._early.pop(body["request_id"], []):
            self._on_approval(decided_ms, approval)

    def _on_approval(self, timestamp_ms: int, body: dict[str, Any]) -> None:
        request_id = body["request_id"]
        if request_id not in self._asked:
            # The two topics are fetched side by side: the answer may be seen before the ask.
            self._early.setdefault(request_id, []).append((timestamp_ms, body))
            return
        if body["approval_id"] in self._told:
            return
        self._told.add(body["approval_id"])
        asked_ms, request = self._asked[request_id]
        latency = None
        if request_id not in self._answered:
            self._answered.add(request_id)
            latency = timestamp_ms - asked_ms
            self.latencies_ms.append(latency)
        waited = self._waited_for_room(timestamp_ms, body)
        seen = Seen(body, request, latency, waited)
        self.decisions[body["decision"]] += 1
        self.reasons[body["decision"], seen.why] += 1
        if "next_step" in body:
            self.advised[body["next_step"]["action"]] += 1
        self.show(seen)

    def _waited_for_room(self, timestamp_ms: int, body: dict[str, Any]) -> int | None:
        """Say how long it waited for room where it does no longer; of one that begins to wait, note it."""
        since = self._waits.pop(body["request_id"], None)
        if queued_for(body) == ROOM:
            self._waits[body["request_id"]] = timestamp_ms if since is None else since
            return None
        if since is None:
            return None
        self.waited_ms.append(timestamp_ms - since)
        return timestamp_ms - since


def queued_for(approval: dict[str, Any]) -> str:
    """Say what an ask that is queued waits for; empty for any other. Only who waits for room has an expected start."""
    if approval["decision"] != "queued":
        return ""
    return ROOM if (approval.get("queue") or {}).get("expected_start") else BATCH
