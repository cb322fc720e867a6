"""`audit bypass` and the options of `audit verify` against a real broker."""

from __future__ import annotations

import json
from pathlib import Path

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


def test_only_a_part_is_decided_again_and_the_rest_is_checked_all_the_same(world: World) -> None:
    """Of a period in which nothing was decided every seal, place and state; what is not a moment is wrong use."""
    whole = world.ops("audit", "verify", "--json").rows
    records = sum(row["records"] for row in whole)
    found = world.ops("audit", "verify", "--from", "2100-01-01T00:00:00Z", "--json")
    assert found.code == 0, found
    assert sum(row["sealed_only"] for row in found.rows) >= records
    assert sum(row["decided_again"] for row in found.rows) == 0
    shown = world.ops("audit", "verify", "--from", "1h")
    assert "Proved" in shown.out
    assert world.ops("audit", "verify", "--from", "soon").code == 2
    assert world.ops("audit", "verify", "--from", "1h", "--resume", "x").code == 2


def test_a_later_run_goes_on_from_the_first_in_as_many_processes(world: World, tmp_path: Path) -> None:
    """The file says what is proved; somebody who has no journal key cannot write it."""
    kept = tmp_path / "proved.json"
    first = world.ops("audit", "verify", "--resume", str(kept), "--jobs", "2", "--json")
    assert first.code == 0, first
    decided = sum(row["decided_again"] for row in first.rows)
    assert decided
    again = world.ops("audit", "verify", "--resume", str(kept), "--json")
    assert again.code == 0, again
    assert sum(row["decided_again"] for row in again.rows) < decided
    assert sum(row["sealed_only"] for row in again.rows) >= decided
    ordinary = ("--register", "--cost", "0.25", "--report", "completed", "--tenant", "later")
    assert world.ops("ask", "once more", *ordinary).code == 0
    since = world.ops("audit", "verify", "--resume", str(kept), "--json")
    assert since.code == 0, since
    assert sum(row["decided_again"] for row in since.rows) > 0

    file = json.loads(kept.read_text())
    file["proved"][0]["offset"] += 1
    kept.write_text(json.dumps(file))
    forged = world.ops("audit", "verify", "--resume", str(kept))
    assert forged.code == 1
    assert "not written with this journal key" in forged.err
