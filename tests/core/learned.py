"""What should be remembered, worked out anew from what happened, without the code under test."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from random import Random
from typing import Any

from ops_stream.core.sketch import Sketch, bucket_of
from tests.core.test_step import ask
from tests.core.world import TENANT, World

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
HALF_LIFE_S = 7 * 86_400
STEP_MS = HALF_LIFE_S * 1000 // 8
AGENTS = ("ann", "bob")
TYPES = ("code", "review", "odd | name\n")
MODELS = ("large", "small")
WAITS = (0.5, 20, 900, 3_599, 3_601, 9_000, 40_000, 90_000, 400_000, 900_000)


@dataclass
class Happened:
    """One thing that counts: when, of which key, what, and the latency."""

    at: int
    key: tuple[str, str, str]
    counts: dict[str, int]
    latency: int | None = None


@dataclass
class Life:
    """A world in which agents ask and report, and all that happened there."""

    world: World
    rng: Random
    past: list[Happened] = field(default_factory=list)
    open: dict[str, dict[str, Any]] = field(default_factory=dict)
    lost: dict[str, dict[str, Any]] = field(default_factory=dict)

    def begin(self) -> Life:
        """Register everybody."""
        for agent in AGENTS:
            body = {"tenant": TENANT, "agent": agent, "role": "worker", "capabilities": []}
            self.world.send("agents", {"event": "AgentRegistration", **body})
        return self

    def live(self, acts: int) -> Life:
        """Let things happen."""
        for number in range(acts):
            self.world.advance(self.rng.choice(WAITS))
            self._find_lost()
            for count in range(self.rng.randrange(1, 4)):
                self._ask(f"r{number}-{count}")
                self.world.advance(self.rng.choice((0.001, 0.5, 3)))
            for waiting in (self.open, self.lost):
                for request_id in list(waiting):
                    if self.rng.random() < 0.7:
                        self._report(request_id, waiting.pop(request_id), found=waiting is self.lost)
        return self

    def _ask(self, request_id: str) -> None:
        fields = {
            "agent": self.rng.choice(AGENTS),
            "task_type": self.rng.choice(TYPES),
            "required_model": self.rng.choice(MODELS),
            "retry_count": self.rng.choice((0, 0, 2)),
            "estimated_time_s": 20,
            "estimated_cost_usd": self.rng.choice((0.5, 2)),
        }
        self.world.send("task-requests", ask(request_id, **fields))
        self.open[request_id] = fields

    def _find_lost(self) -> None:
        for request_id, fields in list(self.open.items()):
            row = self.world.ask_row(request_id)
            if row.phase == "unknown":
                self.lost[request_id] = self.open.pop(request_id)
                key = (fields["agent"], fields["task_type"], fields["required_model"])
                self.past.append(Happened(row.ended_at, key, {"lost": 1}))

    def _report(self, request_id: str, fields: dict[str, Any], *, found: bool) -> None:
        rng = self.rng
        body: dict[str, Any] = {"event_id": f"e-{request_id}", "request_id": request_id, "task_id": "t1"}
        body |= {"agent": fields["agent"], "tenant": TENANT}
        body["kind"] = rng.choice(("completed", "completed", "completed", "failed", "cancelled"))
        counts: dict[str, int] = defaultdict(int, found=int(found))
        model, latency = fields["required_model"], None
        if body["kind"] == "completed" and rng.random() < 0.2:
            body["success"] = False
        outcome = {"failed": "failed", "cancelled": "cancelled"}.get(body["kind"], "good")
        counts["failed" if "success" in body else outcome] = 1
        if rng.random() < 0.8:
            cost = rng.choice((0, 100_000, 1_500_000, 3_000_000))
            held = round(fields["estimated_cost_usd"] * 1_000_000)
            body["cost_usd"] = cost / 1_000_000
            counts |= {"costed": 1, "cost": cost, "held": held}
            counts |= {"overruns": int(cost > held), "overrun": max(0, cost - held)}
        if rng.random() < 0.8:
            body["latency_ms"] = rng.choice((3, 40.4, 900.5, 1_700, 2_900))
            latency = round(body["latency_ms"])
            counts |= {"timed": 1, "taken_ms": latency, "estimated_ms": 20_000}
        if rng.random() < 0.5:
            body["quality_score"] = rng.choice((0, 0.25, 0.9))
            counts |= {"rated": 1, "quality_milli": round(body["quality_score"] * 1000)}
        if rng.random() < 0.5:
            body |= {"input_tokens": 70, "output_tokens": 30}
            counts |= {"metered": 1, "tokens_in": 70, "tokens_out": 30}
        if rng.random() < 0.3:
            body["model"] = model = rng.choice(MODELS)
        counts |= {"retried": int(fields["retry_count"] > 0), "retries": fields["retry_count"]}
        self.world.send("telemetry", body)
        self.past.append(
            Happened(self.world.now, (fields["agent"], fields["task_type"], model), counts, latency)
        )


def counted(past: list[Happened], key: tuple[str, str, str], since: int) -> dict[str, int]:
    """Add up what happened since a moment."""
    total: dict[str, int] = defaultdict(int)
    for one in past:
        if one.key == key and one.at >= since:
            for name, value in one.counts.items():
                total[name] += value
    return total


def spread(past: list[Happened], key: tuple[str, str, str], since: int) -> Sketch:
    """Sketch the latencies since a moment, in one go."""
    counts: dict[int, int] = defaultdict(int)
    for one in past:
        if one.key == key and one.at >= since and one.latency is not None:
            counts[bucket_of(one.latency)] += 1
    return Sketch(tuple(sorted(counts)), tuple(counts[bucket] for bucket in sorted(counts)))


def weighed(past: list[Happened], key: tuple[str, str, str], now: int) -> dict[str, float]:
    """Add up all that happened, in thousandths, each by what is left of the hour that it happened in."""
    total: dict[str, float] = defaultdict(float)
    for one in past:
        if one.key == key:
            hour_ms = one.at // HOUR_MS * HOUR_MS
            left = 2.0 ** (-(now // STEP_MS - hour_ms // STEP_MS) / 8)
            for name, value in one.counts.items():
                total[name] += 1_000 * value * left
    return total
