"""Amendments for tests, as an optimization would activate them."""

from __future__ import annotations

from typing import Any

from ops_stream.core.amend import activate
from ops_stream.core.draft import Draft
from ops_stream.core.inputs import Tick
from ops_stream.core.optimization_sides import is_changed
from ops_stream.core.rows_optimization import Amended
from tests.core.world import TENANT, World

PATHS = {
    "cheaper_model": "models.choice.{task_type}",
    "faster_model": "models.choice.{task_type}",
    "router": "routing.mode",
    "hold_safety": "supervisor.hold_safety",
    "agent": "agents.choice.{task_type}.{agent}",
    "retry_plan": "retries.max_attempts.{task_type}",
}
"""The settings that amendments name."""
SETTINGS = {"router": ("off", "cheapest"), "hold_safety": ("off", "learned")}
"""From what to what, where a kind has only one change."""


def change(
    kind: Any,
    before: str = "",
    after: str = "",
    share: int = 100,
    *,
    task_type: str = "",
    tenant: str = TENANT,
    name: str = "opt_1",
    agent: str = "",
) -> Amended:
    """Give an amendment; of what is about one type of work, for `general` unless it is said otherwise."""
    if kind in SETTINGS:
        before, after = SETTINGS[kind]
    else:
        task_type = task_type or "general"
    path = PATHS[kind].format(task_type=task_type, agent=agent)
    return Amended(name, tenant, kind, task_type, path, before, after, share)


def amend(world: World, *amended: Amended) -> World:
    """Put amendments into force in a world, and none besides; gives the world."""
    for partition in world.partitions:
        draft = Draft(partition.state, world.rules, world.now, Tick())
        activate(draft, world.rules.digest, amended, "opt_1")
        partition.state.apply(draft.decision().changes)
    return world


def task_on(one: Amended, changed: bool) -> str:
    """Give a task on a side of it."""
    return next(name for number in range(1_000) if is_changed(one, name := f"t{number}") == changed)
