"""`set_budget` is obeyed whole or not at all."""

from __future__ import annotations

from typing import Any

import pytest

from tests.core.test_step import ask, registered
from tests.core.world import TENANT, World


@pytest.mark.parametrize(
    "wrong",
    [
        {"limit_usd": "ten"},
        {"limit_usd": True},
        {"limit_usd": -1},
        {"limit_usd": [1]},
        {"limit_usd": 1, "window": "year"},
        {"limit_usd": 1, "window": {}},
        {"limit_usd": 1, "scope": []},
    ],
)
def test_a_command_that_is_refused_has_released_nothing(wrong: dict[str, Any]) -> None:
    """What is unknown stays unknown where the same command names a limit that cannot be set."""
    world = registered(World())
    world.send("task-requests", ask())
    world.advance(200)
    assert world.budget(f"tenant|{TENANT}|2026-11").unknown == 1_000_000
    command = {"command_id": "c", "command": "set_budget", "tenant": TENANT, "issued_by": "olga"}
    world.send("control", {**command, "parameters": {"release_unknown": True, **wrong}})
    letter = world.of("DeadLetter")[-1]
    assert letter["reason"] == "malformed_command"
    assert "changes nothing" in letter["explanation"]
    assert world.budget(f"tenant|{TENANT}|2026-11").unknown == 1_000_000


def test_a_command_may_release_and_set_at_once() -> None:
    """Where all of it can be done, all of it is."""
    world = registered(World())
    world.send("task-requests", ask())
    world.advance(200)
    command = {"command_id": "c", "command": "set_budget", "tenant": TENANT, "issued_by": "olga"}
    world.send("control", {**command, "parameters": {"release_unknown": "r1", "limit_usd": 0.5}})
    assert world.budget(f"tenant|{TENANT}|2026-11").unknown == 0
    world.send("task-requests", ask("r2"))
    assert world.answers("r2")[0]["reason"] == "budget_exhausted"
