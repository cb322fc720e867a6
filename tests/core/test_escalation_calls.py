"""Calls about what has happened: how they fold, how often people are told, and what an answer does."""

from __future__ import annotations

from typing import Any

import pytest

from ops_stream.core import escalation as escalation_module
from ops_stream.core.rules_escalations import Trigger
from tests.core.policies import TestPolicy
from tests.core.test_escalations import TOLD
from tests.core.test_escalations import _report as report
from tests.core.test_escalations import _row as row_of
from tests.core.test_escalations import _say as say
from tests.core.test_escalations import _world as world_with
from tests.core.test_step import ask
from tests.core.world import TENANT


def test_a_call_folds_into_the_open_one_and_is_told_less_and_less_often() -> None:
    """The same about the same agent counts: told each time up to ten, then at every tenth, every hundredth."""
    world = world_with(TOLD)
    for number in range(125):
        world.send("task-requests", ask(f"r{number}"))
        report(world, f"r{number}", "failed", cost_usd=number)
    told = world.of("Escalation")
    assert len({value["escalation_id"] for value in told}) == 1
    assert [value["count"] for value in told] == [*range(1, 10), *range(10, 100, 10), 100]
    row = row_of(world, told[0]["escalation_id"])
    assert (row.count, row.stake) == (125, 124_000_000)
    assert (told[-1]["summary"], told[-1]["status"]) == (told[0]["summary"], "open")


def test_a_call_that_was_answered_is_followed_by_another() -> None:
    """Once a person has answered, the same calls anew."""
    world = world_with(TOLD)
    for number in range(2):
        world.send("task-requests", ask(f"r{number}"))
        report(world, f"r{number}", "failed")
        assert say(world, "approve")["stage"] == "done"
    assert len({value["escalation_id"] for value in world.of("Escalation")}) == 2


def test_calls_about_other_agents_or_by_other_triggers_are_others() -> None:
    """What differs in trigger or agent does not fold."""
    world = world_with(TOLD, TestPolicy("other", "escalate", when="telemetry", priority=-1))
    for agent in ("engineer", "analyst"):
        registration: dict[str, Any] = {
            "agent": agent,
            "tenant": TENANT,
            "role": "worker",
            "capabilities": [],
        }
        world.send("agents", {"event": "AgentRegistration", **registration})
        for kind in ("failed", "completed"):
            world.send("task-requests", ask(f"{agent}-{kind}", agent=agent))
            report(world, f"{agent}-{kind}", kind, agent=agent)
    told = world.of("Escalation")
    assert [(value["agent"], value["trigger"], value["count"]) for value in told] == [
        ("engineer", "policy:told", 1),
        ("engineer", "policy:other", 1),
        ("analyst", "policy:told", 1),
        ("analyst", "policy:other", 1),
    ]


def test_a_call_that_nobody_answers_expires_and_nothing_else_happens() -> None:
    """There is nothing to deny: it has happened."""
    world = world_with(TOLD)
    world.send("task-requests", ask())
    report(world, "r1", "failed")
    outputs = world.advance(3_600)
    found = [out.value for out in outputs if out.type != "Kpi"]
    assert [(value["status"], value["stage"]) for value in found] == [("expired", "done")]
    assert "outcome" not in found[0]


def test_there_is_nothing_to_edit_about_what_has_happened() -> None:
    """An edit of a call without an ask is refused, and it stays open."""
    world = world_with(TOLD)
    world.send("task-requests", ask())
    report(world, "r1", "failed")
    assert say(world, "edit", edits={"priority": 1})["status"] == "open"
    assert world.of("DeadLetter")[-1]["reason"] == "malformed_edit"


@pytest.mark.parametrize("suspends", [True, False])
def test_a_denial_of_what_an_agent_did_suspends_it_where_the_trigger_says_so(suspends: bool) -> None:
    """It is a quarantine by that person, the recommendation says so before, and a reinstatement ends it."""
    world = world_with(TOLD, policy=Trigger(on=True, deny_suspends=suspends))
    world.send("task-requests", ask())
    report(world, "r1", "failed")
    advice = world.of("Escalation")[-1]["recommendation"]
    assert ("A denial suspends agent engineer until a person reinstates it." in advice) is suspends
    assert say(world, "deny", reason="It lies.")["status"] == "denied"
    world.send("task-requests", ask("r2"))
    reason = world.answers("r2")[-1]["reason"]
    assert reason == ("agent_suspended" if suspends else "approved")
    if suspends:
        status = world.of("AgentStatus")[-1]
        assert status["state"] == "suspended"
        assert "ann denied escalation" in status["reason"]
        assert "It lies." in status["reason"]
        command = {"command_id": "c1", "command": "reinstate_agent", "issued_by": "olga", "tenant": TENANT}
        world.send("control", {**command, "target": "engineer"})
        world.send("task-requests", ask("r3"))
        assert world.answers("r3")[-1]["decision"] == "approved"


def test_calls_have_a_bound_and_people_are_told_of_it_once_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound on what escalations take nobody is called about what has happened; asks still wait."""
    monkeypatch.setattr(escalation_module, "CALLS_MAX", 2)
    dear = TestPolicy("dear", "escalate", "cost > 5")
    world = world_with(TOLD, dear)
    for number in range(5):
        name = f"agent{number}"
        registration = {"agent": name, "tenant": TENANT, "role": "worker", "capabilities": []}
        world.send("agents", {"event": "AgentRegistration", **registration})
        world.send("task-requests", ask(name, agent=name))
        report(world, name, "failed", agent=name)
    assert len(world.of("Escalation")) == 2
    assert [alert["kind"] for alert in world.of("Alert")] == ["escalations_full"]
    world.send("task-requests", ask("r9", estimated_cost_usd=6))
    assert world.answers("r9")[-1]["decision"] == "escalated"
