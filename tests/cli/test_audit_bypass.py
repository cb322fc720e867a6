"""`audit bypass` against a real broker: what went past the supervisor, by the journal and the topic."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import World

pytestmark = [pytest.mark.bus, pytest.mark.timeout(120)]


def test_a_run_that_nobody_asked_for_is_found_and_what_was_asked_is_not(world: World) -> None:
    """Every approval was delivered and reported, until an agent reports what it never asked."""
    ordinary = ("--register", "--cost", "0.25", "--report", "completed", "--tenant", "passed-by")
    assert world.ops("ask", "do it", *ordinary).code == 0
    good = world.ops("audit", "bypass", "--tenant", "passed-by")
    assert good.code == 0, good
    assert "Nothing ran without a permit" in good.out

    body = {
        "event_id": "e-ghost",
        "request_id": "ghost",
        "task_id": "t",
        "tenant": "passed-by",
        "agent": "shadow",
        "kind": "completed",
        "cost_usd": 3.5,
    }
    world.put("telemetry", json.dumps(body).encode(), tenant="passed-by")
    for _ in range(20):  # until the report has been decided
        found = world.ops("audit", "bypass", "--tenant", "passed-by", "--json")
        if found.code:
            break
    (row,) = found.rows
    assert (row["kind"], row["why"], row["agent"], row["usd"]) == (
        "unpermitted_run",
        "never_asked",
        "shadow",
        3.5,
    )
    shown = world.ops("audit", "bypass", "--tenant", "passed-by")
    assert shown.code == 1
    assert "ghost (never_asked" in shown.out
    assert world.ops("audit", "bypass", "--tenant", "passed-by", "--agent", "nobody").code == 0
    assert world.ops("audit", "bypass", "--to", "soon").code == 2
