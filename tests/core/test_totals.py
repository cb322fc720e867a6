"""Totals over a state: what a scrape tells without adding up every row."""

from __future__ import annotations

from types import MappingProxyType

from ops_stream.core.rules_budgets import EVERY
from ops_stream.core.rules_model import Bound, Budgets, Limit, Rules
from tests.core.totals import check_totals
from tests.core.world import DIGEST, TENANT, World


def _ask(world: World, request_id: str, cost: float = 1.0) -> None:
    body = {
        "request_id": request_id,
        "task_id": f"t-{request_id}",
        "agent": "engineer",
        "tenant": TENANT,
        "task_description": "count",
        "estimated_cost_usd": cost,
    }
    assert world.send("task-requests", body)[-1].value["decision"] == "approved"


def test_a_dollar_that_is_held_in_two_windows_is_told_once() -> None:
    """A day's and a month's limit together count each ask twice, and the total counts it once."""
    bounds = tuple(Bound("usd", window, Limit(100_000_000, window)) for window in ("day", "month"))
    limits = Budgets(more=MappingProxyType({("tenant", EVERY, EVERY): bounds}))
    world = World(Rules(DIGEST, budgets=limits))
    registration = {"agent": "engineer", "tenant": TENANT, "role": "worker", "capabilities": []}
    world.send("agents", {"event": "AgentRegistration", **registration})
    for number in range(3):
        _ask(world, f"r{number}", 2.0)
    rows = [key for key in world.state.rows if key.startswith(f"budget/tenant|{TENANT}|")]
    assert len(rows) == 2, rows
    assert world.state.totals.held == 6_000_000
    assert world.state.totals.asks["running"] == 3
    check_totals(world.state)
    world.advance(3600)
    assert (world.state.totals.held, world.state.totals.asks["running"]) == (0, 0)
    check_totals(world.state)


def test_kills_are_told_by_scope_until_they_are_taken_back() -> None:
    """A kill switch counts in its scope while it is on."""
    world = World()
    kill = {"command_id": "k1", "command": "kill", "issued_by": "olga", "tenant": TENANT, "scope": "tenant"}
    world.send("control", kill)
    assert world.state.totals.kills == {"tenant": 1}
    world.send("control", kill | {"command_id": "k2", "command": "resume"})
    assert world.state.totals.kills == {}
