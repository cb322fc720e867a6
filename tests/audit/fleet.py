"""A fleet whose agents and people do what they do by the name of what is asked alone, run under any rules.

So two runs differ by what was decided, and by nothing else: a run under other rules is what `audit replay` has to
foretell from the journal of the first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from random import Random
from typing import Any

import msgspec

from ops_stream.core.journal import record as rec
from ops_stream.core.rules_model import Rules
from tests.audit.journals import START_MS, Writer

AGENTS = ("ann", "bob", "cleo")
TENANT = "default"


@dataclass
class Fleet:
    """One run; `writer` has its journal."""

    rules: Rules
    seed: int = 0
    asks: int = 80
    silent: float = 0.05
    """Share of asks that nobody reports."""
    writer: Writer = field(init=False)
    answers: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    spent_micros: int = 0
    _events: list[tuple[int, int, str, dict[str, Any]]] = field(default_factory=list)
    _number: int = 0
    _seen: int = 0

    def run(self) -> Fleet:
        """Let all of it happen, and time pass until nothing is due within the day."""
        self.writer = Writer(rules=self.rules)
        self.writer.take_over()
        for name in AGENTS:
            self._at(
                START_MS + 1_000,
                "agents",
                event="AgentRegistration",
                agent=name,
                role="r",
                capabilities=["general"],
            )
        chance = Random(self.seed)
        moment = START_MS + 10_000
        for number in range(self.asks):
            moment += chance.choice((200, 1_000, 5_000, 40_000))
            self._at(moment, "task-requests", **self._request(chance, number))
        while self._events:
            if self._tick(self._events[0][0]):
                continue  # what came of it may come before
            when, _, topic, body = heappop(self._events)
            self.writer.now = when - 1_000  # the writer adds a second to each input
            self.writer.input(topic, **body)
            self._react()
        end = self.writer.now + 3_600_000
        while self._tick(end):
            pass
        return self

    def records(self) -> Iterator[rec.Record]:
        """Give the records of the journal."""
        for _, value in self.writer.log:
            yield rec.read(value)

    def _request(self, chance: Random, number: int) -> dict[str, Any]:
        return {
            "request_id": f"r{number}",
            "task_id": f"t{chance.randrange(5)}",
            "agent": chance.choice(AGENTS),
            "task_description": "do it",
            "estimated_cost_usd": chance.choice((0.1, 0.5, 1.0, 2.0)),
            "estimated_time_s": chance.choice((1, 20, 60)),
            "priority": chance.randint(1, 10),
            "tags": ["person"] if chance.random() < 0.2 else [],
        }

    def _at(self, when_ms: int, topic: str, **body: Any) -> None:
        self._number += 1
        heappush(self._events, (when_ms, self._number, topic, body))

    def _tick(self, until_ms: int) -> bool:
        """Do what is due first, if anything is by then."""
        due = self.writer.ledger.state.next_due_ms()
        if due is None or due > until_ms:
            return False
        self.writer.now = max(self.writer.now, due)
        self.writer.tick(0)
        self._react()
        return True

    def _react(self) -> None:
        """Do what agents and people do about what has just been published."""
        news, self._seen = self.writer.published[self._seen :], len(self.writer.published)
        for one in news:
            body = msgspec.json.decode(one.value or b"{}")
            if one.topic == "approvals":
                self._answered(body)
            elif one.topic == "escalations" and body["status"] == "open" and body.get("request_id"):
                self._called(body)

    def _answered(self, body: dict[str, Any]) -> None:
        self.answers.setdefault(body["request_id"], []).append((body["decision"], body["reason"]))
        if body["decision"] != "approved":
            return
        chance = Random(f"run {body['request_id']}")
        took, cost = chance.choice((500, 10_000, 45_000)), chance.choice((0.05, 0.4, 1.2))
        fate = chance.random()
        if fate < self.silent:
            return
        kind = "failed" if fate < 0.2 else "completed"
        self.spent_micros += round(cost * 1_000_000)
        self._at(
            self.writer.now + took,
            "telemetry",
            event_id=f"e-{body['request_id']}",
            request_id=body["request_id"],
            task_id=body["task_id"],
            agent=body["agent"],
            kind=kind,
            cost_usd=cost,
        )

    def _called(self, body: dict[str, Any]) -> None:
        chance = Random(f"person {body['request_id']}")
        self._at(
            self.writer.now + chance.choice((2_000, 90_000)),
            "resolutions",
            event="Resolution",
            resolution_id=f"v-{body['escalation_id']}",
            escalation_id=body["escalation_id"],
            resolver="lee",
            verdict=chance.choice(("approve", "approve", "deny")),
        )
