"""A world that reads the figures that are told."""

from __future__ import annotations

from typing import Any

from ops_stream.core.rules_model import Rules
from ops_stream.core.rules_telemetry import Kpis, TelemetryRules
from tests.core.policies import TestPolicies, TestPolicy
from tests.core.test_step import ask, registered
from tests.core.world import DIGEST, TENANT, World

COST = "cost_per_completed_objective_usd"
SUCCESS = "success_rate"
FAILURES = "mean_time_to_resolution_failures_s"
ESCALATIONS = "mean_time_to_resolution_escalations_s"
ESCALATED = "human_escalation_rate"
HOUR = 3_600
DAY = 86_400


class Figures:
    """A world in which the engineer asks and reports, and what it tells of figures."""

    def __init__(self, *policies: TestPolicy, **kept: Any) -> None:
        telemetry = TelemetryRules(kpis=Kpis(**kept))
        rules = Rules(DIGEST, policies=TestPolicies(policies), telemetry=telemetry)
        self.world = registered(World(rules))
        self.count = 0

    def ask(self, request_id: str, **fields: Any) -> None:
        self.world.send("task-requests", ask(request_id, **fields))

    def report(self, request_id: str, kind: str = "completed", cost: float | None = None) -> None:
        row = self.world.ask_row(request_id)
        self.count += 1
        body = {"event_id": f"e{self.count}", "request_id": request_id, "task_id": row.task_id, "kind": kind}
        body |= {} if cost is None else {"cost_usd": cost}
        self.world.send("telemetry", {"agent": row.agent, "tenant": TENANT, **body})

    def did(self, request_id: str, kind: str = "completed", cost: float | None = None, **fields: Any) -> None:
        self.ask(request_id, **fields)
        self.report(request_id, kind, cost)

    def resolve(self, request_id: str, verdict: str, **fields: Any) -> None:
        found = [one for one in self.world.of("Escalation") if one.get("request_id") == request_id][-1]
        self.count += 1
        body = {"resolution_id": f"v{self.count}", "escalation_id": found["escalation_id"], "tenant": TENANT}
        body |= {"resolver": "ann", "verdict": verdict, "action_digest": found["action_digest"]}
        self.world.send("resolutions", {**body, **fields})

    def told(self, kpi: str, scope: str = f"tenant/{TENANT}", window: int = HOUR) -> list[dict[str, Any]]:
        """Give what was told of a figure, in the order in which it was."""
        return [
            value
            for value in self.world.of("Kpi")
            if (value["kpi"], value["scope"], value["window_s"]) == (kpi, scope, window)
        ]

    def last(self, kpi: str, scope: str = f"tenant/{TENANT}", window: int = HOUR) -> tuple[Any, ...]:
        """Give value, numerator and denominator as they were told last."""
        value = self.told(kpi, scope, window)[-1]
        return value.get("value"), value["numerator"], value["denominator"]
