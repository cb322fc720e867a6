"""The budget of a workflow holds for what its steps really hold, whatever makes that another than they estimate."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ops_stream.core.rules_model import Rules
from tests.core.flows import check_flows, flow_of, given, hand_in, register, report, status, step
from tests.core.policies import TestPolicies, TestPolicy
from tests.core.routes import routing_rules
from tests.core.world import DIGEST, TENANT, World

DEAR = TestPolicies([TestPolicy("dear", "escalate", "cost > 2")])


def _world(rules: Rules) -> World:
    world = World(rules)
    world.takeover(0)
    register(world, "ann", max_concurrency=9)
    return world


def _edit(world: World, **edits: Any) -> None:
    seen = world.of("Escalation")[-1]
    body = {
        "resolution_id": "v1",
        "escalation_id": seen["escalation_id"],
        "tenant": TENANT,
        "resolver": "olga",
    }
    world.send(
        "resolutions", {**body, "verdict": "edit", "action_digest": seen["action_digest"], "edits": edits}
    )


def test_a_person_cannot_raise_a_step_beyond_the_budget_of_its_workflow() -> None:
    """What is approved is decided again with what it costs now, and the workflow's budget is one of the limits."""
    world = _world(
        replace(Rules(DIGEST), policies=TestPolicies([TestPolicy("ask", "escalate", "cost == 3")]))
    )
    hand_in(world, step("a", estimated_cost_usd=3), step("b"), budget_usd=5)
    _edit(world, estimated_cost_usd=4.5)
    told = world.answers(flow_request(world, "a"))[-1]
    assert (told["decision"], told["reason"]) == ("denied", "budget_exhausted")
    assert "The budget of workflow w1 is 5.00 USD: held 1.00 USD" in told["explanation"]
    report(world, "b")
    assert status(world)["state"] == "failed"
    assert status(world)["problems"][0]["code"] == "budget_exhausted"


def test_what_a_person_has_lowered_is_free_for_other_steps() -> None:
    """What is set aside for a step is what its ask holds, also after a change."""
    world = _world(Rules(DIGEST, policies=DEAR))
    hand_in(world, step("a", estimated_cost_usd=3), step("b", "a"), budget_usd=4)
    _edit(world, estimated_cost_usd=1)
    assert flow_of(world).held == 1_000_000
    report(world, "a", cost_usd=2.5)
    assert given(world)[-1] == ("b", "ann")
    check_flows(world.state)


def test_a_policy_that_caps_a_step_leaves_more_for_others() -> None:
    """Two steps that estimate 3 USD each, and are capped at 1, fit into 6 beside what a third has cost."""
    cap = TestPolicy("cap", "cap", "cost > 2", parameters={"cost_micros": 1_000_000})
    world = _world(Rules(DIGEST, policies=TestPolicies([cap])))
    hand_in(world, step("a", estimated_cost_usd=0), step("b", "a", estimated_cost_usd=3), budget_usd=3)
    report(world, "a", cost_usd=0)
    assert flow_of(world).held == 1_000_000
    check_flows(world.state)


def test_a_model_is_chosen_that_the_budget_of_the_workflow_can_pay() -> None:
    """Of a step that tells only its tokens what is held follows from the model: the dear one would exceed it."""
    world = _world(routing_rules(quality_percent=85))
    tokens = {"estimated_input_tokens": 20_000, "estimated_output_tokens": 10_000}
    free = {**step("a"), **tokens}
    del free["estimated_cost_usd"]
    hand_in(world, free, workflow_id="w1", budget_usd=0.5)
    hand_in(world, free, workflow_id="w2", budget_usd=0.1)
    models = [out["approval"]["model"] for out in world.of("TaskAssignment")]
    assert models == ["large", "medium"]
    assert [flow_of(world, name).held for name in ("w1", "w2")] == [350_000, 70_000]
    check_flows(world.state)


def flow_request(world: World, step_id: str) -> str:
    """Give the id of a step's latest ask."""
    return next(str(one["request_id"]) for one in status(world)["steps"] if one["step_id"] == step_id)
