"""Watches the desk's partition: every ask and every decision, with the broker's own times."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from ops_stream.contract.partitions import partition_for
from ops_stream.contract.settings import Settings
from ops_stream.demo.desk import TENANT


@dataclass(frozen=True, slots=True)
class Seen:
    """A decision as it appeared on the topic."""

    approval: dict[str, Any]
    request: dict[str, Any]
    latency_ms: int | None
    """From the ask's arrival at the broker to the first decision's, both in the broker's time."""


@dataclass
class Watch:
    """What was seen so far."""

    show: Callable[[Seen], None]
    decisions: Counter[str] = field(default_factory=Counter)
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    latencies_ms: list[float] = field(default_factory=list)
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
        self.decisions[body["decision"]] += 1
        self.reasons[body["decision"], body["reason"]] += 1
        self.show(Seen(body, request, latency))
