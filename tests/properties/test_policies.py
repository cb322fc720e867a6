"""Theorems about policies, over real compiled policies and the real step."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from ops_stream.core.rules_effects import Effects
from ops_stream.core.rules_model import Budgets, Enforcement, Limit, Models, Rules, Supervisor
from ops_stream.rules.cel import Condition, compile_condition
from ops_stream.rules.policies import CompiledPolicies, Policy
from tests.core.test_step import ask, registered
from tests.core.world import DIGEST, START_MS, TENANT, World
from tests.thorough import examples

PROFILE = settings(
    max_examples=int(os.environ.get("OPS_STREAM_TEST_HISTORIES", 0)) or examples(100, quick=12),
    deadline=None,
    derandomize=True,
)
CONDITIONS = (
    "true",
    "cost > 1.00",
    "cost <= 1.00",
    "priority < 3",
    'tool == "shell"',
    'has(given.tool) && tool.startsWith("sh")',
    'effect == "irreversible"',
    "tenant_spent_usd + tenant_held_usd > 0.5",
    "agent_requests_10m > 0",
    "workflow_steps > 0",
    "estimated_input_tokens > 10",
)
PARAMETERS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "cap": st.fixed_dictionaries(
        {"cost_micros": st.sampled_from((100_000, 700_000, 5_000_000))},
        optional={
            "time_s": st.sampled_from((5, 90, 900)),
            "tokens": st.sampled_from((10, 1_000)),
            "permit_irreversible": st.booleans(),
        },
    ),
    "reroute": st.sampled_from(
        ({"model": "small"}, {"model": "gone"}, {"agent": "writer"}, {"agent": "engineer"})
    ),
    "log": st.sampled_from(({}, {"permit_irreversible": True})),
    "notify": st.sampled_from(({}, {"permit_irreversible": True, "severity": "critical"})),
}
ACTIONS = (
    "block",
    "downgrade_model",
    "escalate",
    "queue_for_batch_processing",
    "cap",
    "cap",
    "reroute",
    "log",
    "notify",
)


@lru_cache(maxsize=64)
def condition(text: str) -> Condition:
    """Compile a condition once."""
    compiled = compile_condition(text, "request")
    assert isinstance(compiled, Condition)
    return compiled


@st.composite
def policy(draw: st.DrawFn, name: str = "", actions: tuple[str, ...] = ACTIONS) -> Policy:
    """Any policy that the rules would take; half of them match whatever is asked."""
    action = draw(st.sampled_from(actions))
    return Policy(
        name=name or draw(st.sampled_from("abcdefgh")),
        condition=condition(draw(st.just("true") | st.sampled_from(CONDITIONS))),
        action=action,
        agent=draw(st.sampled_from(("*", "*", "*", "engineer", "writer", "worker"))),
        tenant=draw(st.sampled_from(("*", "*", "*", TENANT, "other"))),
        priority=draw(st.integers(-1, 2)),
        shadow=draw(st.sampled_from((False, False, False, True))),
        valid_from=draw(st.sampled_from((None, None, None, START_MS, START_MS + 60_000))),
        valid_until=draw(st.sampled_from((None, None, None, START_MS, START_MS + 60_000))),
        parameters=draw(PARAMETERS.get(action, st.just({}))),
    )


policies = st.lists(policy(), max_size=6, unique_by=lambda one: one.name)
mild = st.lists(
    policy(actions=("cap", "cap", "cap", "downgrade_model", "reroute", "log")),
    max_size=6,
    unique_by=lambda one: one.name,
)
"""Policies that mostly let an ask run."""
bodies = st.fixed_dictionaries(
    {
        "estimated_cost_usd": st.sampled_from((0, 0.5, 2, 6)),
        "priority": st.sampled_from((1, 5)),
        "effect": st.sampled_from(("unknown", "none", "irreversible")),
    },
    optional={
        "tool": st.sampled_from(("shell", "wipe", "mail")),
        "workflow_id": st.just("w1"),
        "estimated_input_tokens": st.sampled_from((5, 5_000)),
        "required_model": st.sampled_from(("large", "small")),
    },
)


def world_of(found: Sequence[Policy], *modes: Enforcement, limit: int = 5_000_000) -> World:
    """A world with an agent, a model to fall back to, a budget and one ask that already runs."""
    rules = Rules(
        DIGEST,
        supervisor=Supervisor(enforcement=modes),
        budgets=Budgets({TENANT: Limit(limit, "month")}),
        models=Models("large", ("large", "small")),
        effects=Effects(tools={"wipe": "irreversible"}),
        policies=CompiledPolicies(found),
    )
    # The first ask runs under no policy, so that every world begins alike.
    world = registered(World(dataclasses.replace(rules, policies=CompiledPolicies(()))))
    world.send("task-requests", ask("r0", estimated_cost_usd=1, workflow_id="w1"))
    world.rules = rules
    world.strict = False
    return world


def decided(world: World, body: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """Give the answer to an ask, and everything that came of it."""
    world.send("task-requests", ask("r1", **body))
    last = world.partitions[0].journal[-1].decision
    outputs = [(output.topic, output.value) for output in last.outputs]
    return world.answers("r1")[-1], msgspec.json.encode((outputs, list(last.changes.items())))


def without(answer: dict[str, Any], *names: str) -> dict[str, Any]:
    """Give an answer without some fields."""
    return {name: value for name, value in answer.items() if name not in names}


@PROFILE
@given(policies, bodies, st.randoms(use_true_random=False))
def test_the_order_in_the_file_never_matters(found: list[Policy], body: dict[str, Any], random: Any) -> None:
    """However the policies are ordered, everything that comes of an ask is the same to the byte."""
    shuffled = list(found)
    random.shuffle(shuffled)
    assert decided(world_of(found), body) == decided(world_of(shuffled), body)


PERMISSIVE = {"denied": 0, "escalated": 1, "queued": 2, "approved": 3}


@PROFILE
@given(policies, bodies, policy("z"))
def test_adding_a_block_never_permits_more(found: list[Policy], body: dict[str, Any], more: Policy) -> None:
    """With one more block nothing is answered more permissively; where it matches, the ask is denied."""
    block = dataclasses.replace(more, action="block", parameters={})
    before, _ = decided(world_of(found), body)
    after, _ = decided(world_of([*found, block]), body)
    assert PERMISSIVE[after["decision"]] <= PERMISSIVE[before["decision"]]
    if any(one["name"] == "z" and not one["shadow"] for one in after["matched_policies"]):
        assert after["decision"] == "denied"
    if after["decision"] == "approved":
        assert without(after, "matched_policies") == without(before, "matched_policies")


@PROFILE
@given(mild, bodies)
def test_caps_combine_to_the_tightest(found: list[Policy], body: dict[str, Any]) -> None:
    """What an approval allows is the least of what the ask would hold and all caps that match, as CEL sees it."""
    world = world_of(found, limit=100_000_000)
    caught: list[dict[str, Any]] = []
    compiled = world.rules.policies
    assert isinstance(compiled, CompiledPolicies)
    world.rules = dataclasses.replace(world.rules, policies=_Catching(compiled, caught))
    answer, _ = decided(world, body)
    if answer["decision"] != "approved":
        return
    caps = [
        one.parameters
        for one in compiled.match_by_cel("request", caught[-1])
        if one.action == "cap" and not one.shadow
    ]
    estimate = round(body["estimated_cost_usd"] * 1_000_000)
    hold = min([estimate, *(cap["cost_micros"] for cap in caps)])
    assert round(answer["cost_limit_usd"] * 1_000_000) == hold
    assert answer["time_limit_s"] == min([180, *(cap["time_s"] for cap in caps if "time_s" in cap)])
    assert answer.get("token_limit") == min((cap["tokens"] for cap in caps if "tokens" in cap), default=None)


@PROFILE
@given(policies, bodies)
def test_shadow_policies_change_nothing_but_the_report(found: list[Policy], body: dict[str, Any]) -> None:
    """Without its shadow policies a bundle gives the same answer, but for what it reports to have matched."""
    live = [one for one in found if not one.shadow]
    with_shadows, _ = decided(world_of(found), body)
    alone, _ = decided(world_of(live), body)
    assert without(with_shadows, "matched_policies") == without(alone, "matched_policies")
    reported = [one for one in with_shadows["matched_policies"] if not one["shadow"]]
    assert reported == alone["matched_policies"]


@PROFILE
@given(policies, bodies)
def test_a_policy_in_shadow_is_as_good_as_none(found: list[Policy], body: dict[str, Any]) -> None:
    """All policies put in shadow leave the answer that no policy at all would give."""
    shadows = [dataclasses.replace(one, shadow=True) for one in found]
    assert without(decided(world_of(shadows), body)[0], "matched_policies") == without(
        decided(world_of(()), body)[0], "matched_policies"
    )


@PROFILE
@given(policies | mild, bodies)
def test_observing_says_what_enforcing_would_do(found: list[Policy], body: dict[str, Any]) -> None:
    """`would_have` of an observed ask is the decision and the reason that it gets where it is enforced."""
    enforced, _ = decided(world_of(found), body)
    observed, _ = decided(world_of(found, Enforcement(mode="observe")), body)
    assert observed["decision"] == "approved"
    assert observed["would_have"] == {name: enforced[name] for name in ("decision", "reason")}
    assert observed["matched_policies"] == enforced["matched_policies"]
    assert observed["model"] == body.get("required_model", "large")
    assert "token_limit" not in observed
    assert observed["time_limit_s"] == 180


@PROFILE
@given(policies | mild, bodies)
def test_what_cannot_be_taken_back_never_runs_unasked(found: list[Policy], body: dict[str, Any]) -> None:
    """An irreversible ask is approved at once only where a live policy that matches permits it."""
    answer, _ = decided(world_of(found), body)
    if answer["decision"] != "approved" or (body["effect"], body.get("tool")) == ("none", "mail"):
        return
    if body["effect"] == "irreversible" or body.get("tool") == "wipe":
        matched = {one["name"] for one in answer["matched_policies"] if not one["shadow"]}
        assert any(one.name in matched and one.parameters.get("permit_irreversible") for one in found)


class _Catching:
    """Policies that keep what they are shown."""

    def __init__(self, policies: CompiledPolicies, caught: list[dict[str, Any]]) -> None:
        self._policies = policies
        self._caught = caught
        self.fields = policies.fields

    def match(self, when: Any, view: Any) -> Any:
        """Match, and keep the view."""
        self._caught.append(dict(view))
        return self._policies.match(when, view)
