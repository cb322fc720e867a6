"""What binds an ask that is only observed, whatever else stands against it."""

from __future__ import annotations

from types import MappingProxyType

from ops_stream.core.rules_model import Budgets, Enforcement, Limit, Models, Rules, Supervisor
from tests.core.policies import TestPolicies, TestPolicy
from tests.core.test_step import ask, registered
from tests.core.world import DIGEST, TENANT, World

OBSERVE = (Enforcement(mode="observe"),)
NO_MONEY = Budgets(tenants=MappingProxyType({TENANT: Limit(0, "month")}))


def test_too_many_open_asks_bind_although_the_budget_would_have_refused_first() -> None:
    """A tenant that is observed beyond its budget still has no more asks open than the limit."""
    supervisor = Supervisor(open_max=2, enforcement=OBSERVE)
    world = registered(World(Rules(DIGEST, supervisor=supervisor, budgets=NO_MONEY)))
    for number in range(4):
        world.send("task-requests", ask(f"r{number}"))
    said = [world.answers(f"r{number}")[0] for number in range(4)]
    assert [(a["decision"], a["reason"]) for a in said] == [("approved", "approved")] * 2 + [
        ("denied", "overloaded")
    ] * 2
    assert said[1]["would_have"] == {"decision": "denied", "reason": "budget_exhausted"}
    assert len(world.state.tenants[TENANT].open) == 2


def test_policies_change_nothing_about_an_observed_ask() -> None:
    """An observed ask keeps its model, its hold, its tokens and its time; the answer says what would change."""
    policies = TestPolicies(
        [
            TestPolicy("cheap", "downgrade_model"),
            TestPolicy("small", "cap", parameters={"cost_micros": 10_000, "time_s": 5, "tokens": 10}),
        ]
    )
    rules = Rules(
        DIGEST,
        supervisor=Supervisor(enforcement=OBSERVE),
        models=Models("large", ("large", "small")),
        policies=policies,
    )
    world = registered(World(rules))
    world.send("task-requests", ask())
    answer = world.answers("r1")[0]
    assert (answer["model"], answer["cost_limit_usd"], answer["time_limit_s"]) == ("large", 1, 180)
    assert "token_limit" not in answer
    assert answer["would_have"] == {"decision": "approved", "reason": "approved"}
    assert answer["explanation"] == (
        "Observed only; enforced, this ask would be approved: Policy cheap chose model small. "
        "Capped at 0.01 USD, 5 s, 10 tokens by small."
    )


def test_the_kill_of_an_observed_asks_own_model_binds() -> None:
    """No observed ask runs on a model that the kill switch has stopped; one that policies would choose is no matter."""
    rules = Rules(
        DIGEST,
        supervisor=Supervisor(enforcement=OBSERVE),
        models=Models("large", ("large", "small")),
        policies=TestPolicies([TestPolicy("cheap", "downgrade_model")]),
    )
    world = registered(World(rules))
    kill = {"command_id": "k", "command": "kill", "scope": "model", "target": "small", "issued_by": "olga"}
    world.send("control", kill)
    world.send("task-requests", ask("r1"))
    answer = world.answers("r1")[0]
    assert (answer["decision"], answer["model"]) == ("approved", "large")
    assert answer["would_have"] == {"decision": "denied", "reason": "no_model"}
    world.send("control", {**kill, "command_id": "k2", "target": "large"})
    world.send("task-requests", ask("r2"))
    assert [(a["decision"], a["reason"]) for a in world.answers("r2")] == [("denied", "kill_switch")]


def test_what_does_not_bind_is_still_only_said() -> None:
    """An observed ask within the limits that bind is approved, and says the strongest thing against it."""
    supervisor = Supervisor(open_max=2, enforcement=OBSERVE)
    world = World(Rules(DIGEST, supervisor=supervisor, budgets=NO_MONEY))
    world.send("task-requests", ask())
    assert world.answers("r1")[0]["would_have"] == {"decision": "denied", "reason": "agent_unregistered"}
    assert world.answers("r1")[0]["matched_policies"] == []
