"""Whose time it is: the broker's, as each record carries it."""

from __future__ import annotations

from ops_stream.core.rules_model import Rules
from tests.core.policies import TestPolicies, TestPolicy
from tests.core.test_step import ask, registered
from tests.core.world import DIGEST, START_MS, TENANT, World


def test_a_repeated_ask_after_the_lease_is_revoked_before_any_tick() -> None:
    """Written after the lease had ended, it gets no permit, although time has not been told yet."""
    world = registered(World())
    world.send("task-requests", ask())
    world.now += 181_000
    world.send("task-requests", ask())
    assert [a["reason"] for a in world.answers("r1")] == ["approved", "lease_expired"]
    assert world.budget(f"tenant|{TENANT}|2026-11").unknown == 1_000_000


def test_a_repeated_ask_written_in_time_gets_its_permit_however_late_it_is_read() -> None:
    """What counts is when the broker took it in, not when the supervisor came to it."""
    world = registered(World())
    world.send("task-requests", ask())
    world.now += 181_000
    world.send("task-requests", ask(), written=START_MS + 179_000)
    assert [a["reason"] for a in world.answers("r1")] == ["approved", "approved"]


def test_progress_written_after_the_lease_does_not_bring_it_back() -> None:
    """The lease ends, and what was held is unknown."""
    world = registered(World())
    world.send("task-requests", ask())
    world.now += 181_000
    report = {"event_id": "e", "request_id": "r1", "task_id": "t1", "agent": "engineer", "tenant": TENANT}
    world.send("telemetry", {**report, "kind": "progress"})
    assert world.answers("r1")[-1]["reason"] == "lease_expired"
    world.send("telemetry", {**report, "event_id": "f", "kind": "completed", "cost_usd": 2})
    row = world.budget(f"tenant|{TENANT}|2026-11")
    assert (row.held, row.unknown, row.spent, row.overrun) == (0, 0, 2_000_000, 1_000_000)


def test_a_verdict_written_in_time_counts_however_late_it_is_read() -> None:
    """And one written after the expiry does not, even if no Tick has said so yet."""
    for written, expected in ((START_MS + 3_500_000, "approved_after_review"), (None, "escalation_expired")):
        world = registered(World(Rules(DIGEST, policies=TestPolicies([TestPolicy("dear", "escalate")]))))
        world.send("task-requests", ask())
        escalation = world.of("Escalation")[0]["escalation_id"]
        world.now += 3_700_000
        verdict = {"resolution_id": "v", "escalation_id": escalation, "tenant": TENANT, "resolver": "ann"}
        world.send("resolutions", {**verdict, "verdict": "approve"}, written=written)
        assert world.answers("r1")[-1]["reason"] == expected


def test_a_lease_is_due_when_it_ends() -> None:
    """The shell knows from when on a Tick has something to do."""
    world = registered(World())
    assert world.state.next_due_ms() is None
    world.send("task-requests", ask())
    assert world.state.next_due_ms() == START_MS + 60_000, "when figures are told"
    world.advance(60)
    assert world.state.next_due_ms() == START_MS + 180_000
