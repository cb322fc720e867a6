"""A fleet of agents whose asks end as a test says, and what their scores are then."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import pytest

from ops_stream.core.rows import RECORDS, Lately, Record
from ops_stream.core.rules_lifecycle import Lifecycle
from ops_stream.core.rules_model import Rules
from ops_stream.core.scores import Scored, scores, values
from tests.core.world import DIGEST, START_MS, TENANT, World

DAY_MS: Final = 86_400_000
RULES: Final = Rules(DIGEST)


def of(**counts: Any) -> dict[str, float]:
    """Give the scores of an agent with these counts, in whole reports."""
    lately = Lately(START_MS, **{name: 1000 * count for name, count in counts.items()})
    return values(Record(lately=lately), RULES, START_MS)


class Fleet:
    """Agents of one tenant that ask for a dollar and a minute, and report."""

    def __init__(self, *agents: str, strict: bool = True, **lifecycle: Any) -> None:
        self.world = World(Rules(DIGEST, lifecycle=Lifecycle(**lifecycle)), strict=strict)
        self.number = 0
        for agent in agents:
            body = {
                "tenant": TENANT,
                "agent": agent,
                "role": "r",
                "capabilities": ["general"],
                "max_concurrency": 99,
            }
            self.world.send("agents", {"event": "AgentRegistration", **body})

    def ask(self, agent: str, **more: Any) -> str:
        """Let an agent ask."""
        self.number += 1
        body = {"request_id": f"r{self.number}", "task_id": "t", "agent": agent, "task_description": "x"}
        self.world.send("task-requests", {"tenant": TENANT, "estimated_cost_usd": 1, **body, **more})
        return f"r{self.number}"

    def report(self, agent: str, request_id: str, kind: str = "completed", **more: Any) -> None:
        """Let it report."""
        body = {"event_id": f"e-{request_id}", "request_id": request_id, "task_id": "t", "agent": agent}
        self.world.send("telemetry", {**body, "tenant": TENANT, "kind": kind, **more})

    def runs(
        self, agent: str, cost: float = 0.5, took_s: float = 10, kind: str = "completed", **more: Any
    ) -> None:
        """Let it ask, run and report."""
        task_type = more.pop("task_type", "general")
        request_id = self.ask(agent, task_type=task_type)
        self.world.advance(took_s)
        self.report(agent, request_id, kind, cost_usd=cost, **more)

    def record(self, agent: str) -> Record:
        """Give its record."""
        return RECORDS.decode(self.world.state.rows[f"record/{TENANT}|{agent}"])

    def of(self, agent: str) -> Mapping[str, Scored]:
        """Give its scores."""
        return scores(self.record(agent), self.world.rules, self.world.now)


def relative(won: float, spent: float) -> Any:
    """Compute by hand what a score is that compares."""
    gain, loss = 0.7 * (won + 5), 0.3 * (spent + 5)
    return pytest.approx(gain / (gain + loss), abs=1e-6)


def statuses(fleet: Fleet, agent: str) -> list[dict[str, Any]]:
    """Give what was published of an agent."""
    return [dict(status) for status in fleet.world.of("AgentStatus") if status["agent"] == agent]
