"""Counts over windows: right, cheap, and kept only where a policy looks at them."""

from __future__ import annotations

from collections import deque
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops_stream.core import windows
from ops_stream.core.rows import FLOWS, MARKS, RECORDS
from ops_stream.core.rules_model import Rules
from ops_stream.core.windows import SPANS, Span
from tests.core.policies import TestPolicies, TestPolicy
from tests.core.test_step import ask, registered
from tests.core.world import DIGEST, TENANT, World
from tests.thorough import examples

ALL = " or ".join(
    f"agent_requests_{span.name} + agent_failures_{span.name} + agent_cost_{span.name}_usd < 0"
    for span in SPANS
)


class Watching(TestPolicies):
    """Policies that keep the latest view of an ask."""

    view: dict[str, Any]

    def match(self, when: Any, view: Any) -> Any:
        """Keep the view, and match."""
        if when == "request":
            self.view = dict(view)
        return super().match(when, view)


def watched(condition: str) -> tuple[World, Watching]:
    """A world in which a policy with this condition looks on."""
    policies = Watching([TestPolicy("looks", "log", condition)])
    world = registered(World(Rules(DIGEST, policies=policies)))
    world.strict = False
    return world, policies


def report(request_id: str, kind: str = "completed", cost: float = 1) -> dict[str, Any]:
    """A body of a report."""
    body = {"event_id": f"e-{request_id}", "request_id": request_id, "task_id": "t1", "agent": "engineer"}
    return {**body, "tenant": TENANT, "kind": kind, "cost_usd": cost}


@settings(max_examples=examples(25, quick=3), deadline=None, derandomize=True)
@given(st.integers(0, 2**32))
def test_a_window_reaches_back_as_far_as_it_says_and_less_than_a_bucket_further(seed: int) -> None:
    """Every count lies between the exact ones of the window and of the window with one more bucket."""
    rng = Random(seed)
    world, policies = watched(ALL)
    past: deque[tuple[int, int, int, float]] = deque()
    for number in range(60):
        world.advance(rng.choice((0.001, 1, 59, 60, 61, 299, 600, 3_600, 40_000)))
        world.send("task-requests", ask(f"r{number}"))
        for span in SPANS:
            _between(span, policies.view, world.now, past)
        assert world.answers(f"r{number}")[-1]["decision"] == "approved"
        past.append((world.now, 1, 0, 0))
        world.advance(0.001)
        kind, cost = rng.choice((("completed", 0.5), ("failed", 2)))
        world.send("telemetry", report(f"r{number}", kind, cost))
        past.append((world.now, 0, kind == "failed", cost))


def _between(span: Span, view: dict[str, Any], now: int, past: deque[tuple[int, int, int, float]]) -> None:
    shown = (
        view[f"agent_requests_{span.name}"],
        view[f"agent_failures_{span.name}"],
        view[f"agent_cost_{span.name}_usd"],
    )
    least = [sum(e[n] for e in past if e[0] > now - span.length_ms) for n in (1, 2, 3)]
    most = [sum(e[n] for e in past if e[0] > now - span.length_ms - span.bucket_ms) for n in (1, 2, 3)]
    for low, value, high in zip(least, shown, most, strict=True):
        assert low <= value <= high, (span, least, shown, most)


def test_nothing_is_kept_where_no_policy_looks() -> None:
    """Without such a policy an ask and its report write no marks, no workflow and no count of asks."""
    world, _ = watched("cost > 1 and consecutive_failures > 3 and workflow_id == 'w1'")
    world.send("task-requests", ask("r1", workflow_id="w1"))
    assert "record/team-a|engineer" not in world.partitions[0].journal[-1].decision.changes
    world.send("telemetry", report("r1"))
    assert not [key for key in world.state.rows if key.startswith(("marks/", "flow/"))]
    assert RECORDS.decode(world.state.rows["record/team-a|engineer"]).asked == 0


def test_marks_are_written_when_a_bucket_begins_and_only_for_windows_that_are_looked_at() -> None:
    """Between two beginnings an ask changes no marks; a window that nobody looks at has none."""
    world, _ = watched("agent_failures_10m > 3")
    written = []
    for number in range(4):
        world.send("task-requests", ask(f"r{number}"))
        world.send("telemetry", report(f"r{number}"))
        written.append(_marks_in(world))
        world.advance(29)
    assert [len(keys) for keys in written] == [1, 0, 0, 1]
    assert set(written[0]) == {"marks/10m|team-a|engineer"}


def test_a_marks_row_stays_small_and_goes_when_it_is_over() -> None:
    """At most one mark for each bucket of the window is kept; a day later the row is gone."""
    world, _ = watched("agent_requests_10m > 3")
    for number in range(30):
        world.send("task-requests", ask(f"r{number}"))
        world.send("telemetry", report(f"r{number}"))
        world.advance(45)
    row = MARKS.decode(world.state.rows["marks/10m|team-a|engineer"])
    assert len(row.marks) <= 11
    world.advance(2 * 86_400)
    assert not [key for key in world.state.rows if key.startswith("marks/")]


def test_a_workflow_of_which_nothing_is_heard_is_forgotten_after_a_month() -> None:
    """Its row goes; asks of it begin a new one."""
    world, policies = watched("workflow_steps > 100")
    world.send("task-requests", ask("r1", workflow_id="w1"))
    world.send("telemetry", report("r1", "failed", 2))
    assert FLOWS.decode(world.state.rows["flow/team-a|w1"]).steps == 1
    world.advance(86_400)
    world.send("task-requests", ask("r2", workflow_id="w1"))
    assert (policies.view["workflow_steps"], policies.view["workflow_failures"]) == (1, 1)
    assert (policies.view["workflow_spent_usd"], policies.view["workflow_held_usd"]) == (2, 0)
    world.advance(33 * 86_400)
    assert not [key for key in world.state.rows if key.startswith("flow/")]


def test_beyond_the_bound_workflows_are_not_counted_and_blocks_on_them_block(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A workflow that there is no room for shows no figures: a block that needs them cannot be decided."""
    monkeypatch.setattr(windows, "FLOWS_MAX", 1)
    policies = TestPolicies([TestPolicy("long", "block", "'workflow_id' and workflow_steps > 9")])
    world = registered(World(Rules(DIGEST, policies=policies)))
    world.send("task-requests", ask("r1", workflow_id="w1"))
    world.send("task-requests", ask("r2", workflow_id="w2"))
    world.send("task-requests", ask("r3", workflow_id="w1"))
    assert [world.answers(f"r{n}")[-1]["reason"] for n in (1, 2, 3)] == [
        "approved",
        "policy_error",
        "approved",
    ]


def _marks_in(world: World) -> list[str]:
    """Give the marks written by the last ask and its report."""
    entries = world.partitions[0].journal[-2:]
    return [key for entry in entries for key in entry.decision.changes if key.startswith("marks/")]
