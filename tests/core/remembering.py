"""A world that remembers how its agents did, and what it remembers."""

from __future__ import annotations

from typing import Any

import msgspec

from ops_stream.core.learning import stats_over
from ops_stream.core.recall import Figures
from ops_stream.core.rows_learning import key_of
from ops_stream.core.rules_model import Rules
from ops_stream.core.rules_telemetry import Memory, TelemetryRules
from tests.core.learned import HALF_LIFE_S
from tests.core.test_step import ask, registered
from tests.core.world import DIGEST, TENANT, World

KEY = key_of(TENANT, "engineer", "code", "large")


def remembering(**bounds: int) -> World:
    """A world with bounds on its memory, and the engineer in it."""
    rules = Rules(DIGEST, telemetry=TelemetryRules(memory=Memory(**bounds)))
    return registered(World(rules, strict=False))


def run(world: World, request_id: str, task_type: str = "code", **report: Any) -> None:
    """Let the engineer ask and report, at once."""
    model = report.pop("asked_model", "large")
    workflow = {"workflow_id": report.pop("workflow")} if "workflow" in report else {}
    world.send("task-requests", ask(request_id, task_type=task_type, required_model=model, **workflow))
    tell(world, request_id, **report)


def tell(world: World, request_id: str, kind: str = "completed", **report: Any) -> None:
    """Let the engineer report."""
    body = {"event_id": f"e-{request_id}", "request_id": request_id, "task_id": "t1", "agent": "engineer"}
    world.send("telemetry", {**body, "tenant": TENANT, "kind": kind, **report})


def over(world: World, window: Any, key: str = KEY) -> Figures:
    """What a key did over a window that ends now."""
    return stats_over(world.state.rows, key, window, world.now, HALF_LIFE_S)


def counts(world: World, window: Any = "all", key: str = KEY) -> dict[str, int]:
    """The counts of a window that are not zero."""
    found = msgspec.structs.asdict(over(world, window, key).stats.counts)
    return {name: value for name, value in found.items() if value}


def keys(world: World) -> list[str]:
    """The task types that are remembered, by name."""
    rows = [key for key in world.state.rows if key.startswith("learned/")]
    return sorted(key.split("|")[2] for key in rows)
