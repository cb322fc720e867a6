"""What amendments change about asks, about which asks, and what they never change."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from ops_stream.contract.models import TaskRequest
from ops_stream.core.draft import Draft
from ops_stream.core.effects import Nature
from ops_stream.core.inputs import Tick
from ops_stream.core.optimization_sides import is_changed, may_differ, sides_of
from ops_stream.core.rows_optimization import Amended
from ops_stream.core.rules_budgets import Budgets, Limit
from ops_stream.core.rules_effects import Effects
from ops_stream.core.rules_model import Enforcement, Rules, Supervisor
from tests.core.amending import amend, change, task_on
from tests.core.flows import hand_in, register, step
from tests.core.policies import TestPolicies, TestPolicy
from tests.core.routes import LARGE, MEDIUM, SMALL, answer, routed, tell
from tests.core.test_step import ask, registered
from tests.core.world import DIGEST, START_MS, TENANT, World
from tests.scenarios.retrying import shipped

CHEAPER = change("cheaper_model", "large", "small")
HARMLESS = {"effect": "none"}


def tried(world: World, request_id: str = "r1", **fields: Any) -> dict[str, Any]:
    """Let the engineer ask for something harmless, and give the answer."""
    return answer(world, request_id, **{**HARMLESS, **fields})


def arms(world: World, request_id: str = "r1") -> tuple[str, ...]:
    """Give the sides in the row of an ask."""
    found: tuple[str, ...] = world.ask_row(request_id).arms
    return found


def off(*amended: Amended, **fields: Any) -> World:
    """A world in which models are not chosen, so that all asks get `large`."""
    return amend(routed(mode="off", **fields), *amended)


# -- a model in the place of another --------------------


def test_the_changed_side_gets_the_other_model_and_the_kept_side_does_not() -> None:
    """Without routing: the default is replaced, the approval tells how probable that was and for whose sake."""
    half = change("cheaper_model", "large", "small", 40)
    world = off(half)
    told = tried(world, "r1", task_id=task_on(half, True))
    assert (told["model"], told["propensity"], told["cost_limit_usd"]) == ("small", 0.4, 0.0003)
    assert told["explanation"] == (
        "Model small (0.0003 USD, quality 0.50 of 0.60) is tried in the place of large (optimization opt_1)."
    )
    assert arms(world) == ("opt_1+",)
    told = tried(world, "r2", task_id=task_on(half, False))
    assert (told["model"], told["propensity"], told["cost_limit_usd"]) == ("large", 0.6, 0.0175)
    assert told["explanation"] == "Every check passed."
    assert arms(world, "r2") == ("opt_1-",)


def test_what_the_router_chooses_is_replaced_too() -> None:
    """With routing: asks that would get `medium` get `small`, those that would get another do not."""
    world = amend(routed(), change("cheaper_model", "medium", "small"))
    told = tried(world)
    assert (told["model"], told["propensity"]) == ("small", 1.0)
    assert arms(world) == ("opt_1+",)
    told = tried(world, "r2", tags=["needs:vision"])
    assert (told["model"], "propensity" in told, arms(world, "r2")) == ("large", False, ())


def test_what_is_tried_out_by_the_router_is_not_compared() -> None:
    """Which asks try another model is drawn from their own names: that is no choice that could be changed."""
    world = amend(routed(explore_percent=50), change("cheaper_model", "medium", "small"))
    answers = [tried(world, f"r{number}") for number in range(40)]
    explored = [told for told in answers if "tried out in the place" in told["explanation"]]
    assert 10 < len(explored) < 30
    assert all(arms(world, told["request_id"]) == () for told in explored)
    rest = [told for told in answers if told not in explored]
    assert {(told["model"], told["propensity"]) for told in rest} == {("small", 0.5)}
    world = amend(routed(explore_percent=50), change("cheaper_model", "medium", "small", 20))
    both = {
        (told["model"], told["propensity"])
        for told in (tried(world, f"r{n}", task_id=f"t{n}") for n in range(60))
    }
    assert both == {("medium", 0.4), ("small", 0.1), ("small", 0.25), ("large", 0.25)}


def test_an_ask_that_names_its_model_gets_it() -> None:
    """Nothing is tried with it, and it is on no side."""
    world = off(CHEAPER)
    assert tried(world, required_model="large")["model"] == "large"
    assert arms(world) == ()


@pytest.mark.parametrize(
    "fields",
    [
        {"effect": "unknown"},
        {"effect": "irreversible"},
        {"customer_impact": "high"},
        {"customer_impact": "medium"},
        {"priority": 9},
        {"task_type": "review"},
    ],
)
def test_critical_asks_and_other_work_are_on_no_side(fields: dict[str, Any]) -> None:
    """What cannot be taken back, matters to customers, is urgent, or is none of this type of work."""
    world = off(CHEAPER)
    told = tried(world, **fields)
    assert (told.get("model", "large"), arms(world)) == ("large", ())


@pytest.mark.parametrize(
    ("small", "fields"),
    [
        ({"context_tokens": 1_000}, {}),
        ({"tenants": frozenset(("team-b",))}, {}),
        ({"task_types": frozenset(("review",))}, {}),
        ({"by_default": False}, {}),
        ({"latency_ms": 5_000}, {"deadline": "2026-11-24T13:00:03Z"}),
        ({}, {"tags": ["needs:vision"]}),
    ],
)
def test_a_model_that_may_not_be_used_is_not_tried(small: dict[str, Any], fields: dict[str, Any]) -> None:
    """The ask keeps its model, by no chance, and counts on its side."""
    world = amend(routed(LARGE, MEDIUM, replace(SMALL, **small), mode="off"), CHEAPER)
    told = tried(world, **fields)
    assert (told["model"], "propensity" in told, arms(world)) == ("large", False, ("opt_1+",))


def test_a_model_that_is_killed_left_or_unknown_is_not_tried() -> None:
    """A kill switch holds for it as for every model, and so does an open circuit."""
    world = off(CHEAPER)
    kill = {"command_id": "c1", "command": "kill", "scope": "model", "target": "small", "issued_by": "olga"}
    world.send("control", kill)
    assert tried(world)["model"] == "large"
    world = off(change("cheaper_model", "large", "huge"))
    assert tried(world)["model"] == "large"
    world = amend(routed(), change("cheaper_model", "medium", "small"))
    for number in range(5):
        answer(world, f"u{number}", required_model="small")
        tell(world, f"u{number}", "failed")
    assert tried(world)["model"] == "medium"
    assert arms(world) == ("opt_1+",)


def test_a_dearer_model_must_fit_the_budgets() -> None:
    """A faster one that costs more than is left is not tried; what is asked for runs as it would have."""
    budgets = Budgets({TENANT: Limit(10_000, "total")})
    world = amend(
        routed(MEDIUM, LARGE, SMALL, mode="off", budgets=budgets), change("faster_model", "medium", "large")
    )
    told = tried(world)
    assert (told["model"], told["cost_limit_usd"], arms(world)) == ("medium", 0.0035, ("opt_1+",))


# -- nothing is loosened --------------------


def test_what_is_beyond_a_budget_stays_so_on_both_sides() -> None:
    """Also where the cheaper model would have stayed within: the rules as they are decide whether an ask runs."""
    world = off(CHEAPER, budgets=Budgets({TENANT: Limit(10_000, "total")}))
    told = tried(world)
    assert (told["decision"], told["reason"], arms(world)) == ("denied", "budget_exhausted", ())


@pytest.mark.parametrize(
    ("action", "reason"),
    [("block", "policy_blocked"), ("escalate", "escalated"), ("queue_for_batch_processing", "queued")],
)
@pytest.mark.parametrize("condition", ["model == 'large'", "cost > 0.001"])
def test_policies_about_the_model_that_is_replaced_hold(action: str, reason: str, condition: str) -> None:
    """No ask gets round a policy by what is tried with it."""
    world = off(CHEAPER, policies=TestPolicies([TestPolicy("p", action, condition)]))
    told = tried(world)
    assert (told["reason"], arms(world)) == (reason, ())


@pytest.mark.parametrize("action", ["block", "escalate", "queue_for_batch_processing"])
def test_a_policy_against_the_other_model_leaves_the_ask_its_own(action: str) -> None:
    """It would not run with the other one, so it runs as it would have."""
    world = off(CHEAPER, policies=TestPolicies([TestPolicy("p", action, "model == 'small'")]))
    told = tried(world)
    assert (told["decision"], told["model"], arms(world)) == ("approved", "large", ("opt_1+",))


def test_caps_of_the_model_that_is_replaced_hold_for_the_other() -> None:
    """Of two caps the tighter one holds."""
    caps = [
        TestPolicy("dear", "cap", "model == 'large'", parameters={"cost_micros": 200, "time_s": 30}),
        TestPolicy("small", "cap", "model == 'small'", parameters={"cost_micros": 250, "tokens": 9}),
    ]
    told = tried(off(CHEAPER, policies=TestPolicies(caps)))
    assert (told["model"], told["cost_limit_usd"], told["time_limit_s"]) == ("small", 0.0002, 30)
    assert told["token_limit"] == 9


def test_what_a_policy_chooses_is_not_changed() -> None:
    """A policy that demands a model is obeyed, also where that is the one that is replaced."""
    rules = TestPolicies([TestPolicy("p", "reroute", "cost > 0", parameters={"model": "medium"})])
    world = off(CHEAPER, change("cheaper_model", "medium", "small", name="opt_2"), policies=rules)
    assert (tried(world)["model"], arms(world)) == ("medium", ())


def test_what_people_have_approved_is_not_changed() -> None:
    """They were shown an ask that runs as it is."""
    world = off(CHEAPER, policies=TestPolicies([TestPolicy("p", "escalate")]))
    tried(world)
    opened = world.of("Escalation")[0]
    names = {name: opened[name] for name in ("escalation_id", "tenant", "action_digest")}
    world.send("resolutions", {"resolution_id": "v1", "resolver": "ann", "verdict": "approve", **names})
    told = world.answers("r1")[-1]
    assert (told["decision"], told["model"], arms(world)) == ("approved", "large", ())


def test_observed_asks_are_on_no_side() -> None:
    """Where nothing is enforced nothing is tried."""
    world = off(CHEAPER, supervisor=Supervisor(enforcement=(Enforcement(mode="observe"),)))
    assert (tried(world)["model"], arms(world)) == ("large", ())


# -- the other kinds --------------------


def test_the_router_chooses_for_the_changed_side() -> None:
    """Where the mode is off, as if it were `cheapest`; the sentence says for whose sake."""
    half = change("router", share=50)
    world = off(half)
    told = tried(world, task_id=task_on(half, True))
    assert (told["model"], told["propensity"], arms(world)) == ("medium", 0.5, ("opt_1+",))
    assert told["explanation"].startswith("Model medium is the cheapest expected to do what is asked")
    assert told["explanation"].endswith("(optimization opt_1).")
    told = tried(world, "r2", task_id=task_on(half, False))
    assert (told["model"], told["propensity"], arms(world, "r2")) == ("large", 0.5, ("opt_1-",))
    assert (tried(world, "r3", required_model="large")["model"], arms(world, "r3")) == ("large", ())


def overspent(**fields: Any) -> World:
    """A world whose engineer has cost twice what was estimated, so far."""
    world = registered(World(Rules(DIGEST, **fields)))
    for number in range(20):
        world.send("task-requests", ask(f"u{number}"))
        tell(world, f"u{number}", cost_usd=2)
    return world


def test_more_is_held_on_the_changed_side() -> None:
    """As much as the agent's past says, and the approval says so; where the rules learn already there is no side."""
    half = change("hold_safety", share=50)
    world = amend(overspent(), half)
    world.send("task-requests", ask("r1", effect="none", task_id=task_on(half, True)))
    world.send("task-requests", ask("r2", effect="none", task_id=task_on(half, False)))
    told = world.answers("r1")[0]
    assert (told["cost_limit_usd"], arms(world)) == (2, ("opt_1+",))
    assert told["explanation"] == (
        "More is held than it estimates, by what its agent's past says (optimization opt_1)."
    )
    assert (world.answers("r2")[0]["cost_limit_usd"], arms(world, "r2")) == (1, ("opt_1-",))
    world = amend(overspent(supervisor=Supervisor(hold_safety="learned")), half)
    world.send("task-requests", ask("r1", effect="none"))
    assert (world.answers("r1")[0]["cost_limit_usd"], arms(world)) == (2, ())


def test_a_raised_hold_must_fit_the_budgets() -> None:
    """It is held for a reason: where it does not fit, the ask does not run, as with the setting itself."""
    world = amend(overspent(budgets=Budgets({TENANT: Limit(41_500_000, "total")})), change("hold_safety"))
    world.send("task-requests", ask("r1", effect="none"))
    assert world.answers("r1")[0]["reason"] == "budget_exhausted"


def test_fewer_attempts_on_the_changed_side() -> None:
    """In the plan of the approval, and in the answer to a failure; only of failures that pass, and never more."""
    half = change("retry_plan", "4", "2", 50)
    rules = shipped()
    most = rules.plans["transient"].max_attempts
    assert most > 2
    world = amend(registered(World(Rules(DIGEST, retries=rules))), half)
    for name, changed in (("r1", True), ("r2", False)):
        task = task_on(half, changed)
        world.send("task-requests", ask(name, effect="none", task_id=task))
        assert world.answers(name)[0]["retry"]["max_attempts"] == (2 if changed else most)
        world.send("task-requests", ask(f"{name}b", effect="none", task_id=task, retry_count=1))
        assert ("retry" in world.answers(f"{name}b")[0]) is not changed
        tell(world, f"{name}b", "failed", task_id=task, error_class="timeout")
        then = world.answers(f"{name}b")[-1]["next_step"]
        assert (then["action"] == "give_up", then["max_attempts"]) == (changed, 2 if changed else most)
    more = amend(registered(World(Rules(DIGEST, retries=rules))), change("retry_plan", "4", "9"))
    more.send("task-requests", ask("r1", effect="none"))
    assert more.answers("r1")[0]["retry"]["max_attempts"] == most


def given(world: World, **fields: Any) -> tuple[str, tuple[str, ...]]:
    """Hand in workflow `w1` of one step, and give the agent that it went to, and its sides."""
    hand_in(world, step("s1", **fields))
    request = world.of("TaskAssignment")[-1]["request"]
    return request["agent"], arms(world, request["request_id"])


def crew(*amended: Amended, names: tuple[str, ...] = ("ann", "bob", "cid")) -> World:
    """A world with agents that could have any step, of whom the first comes first."""
    world = World(Rules(DIGEST, effects=Effects(task_types={"general": "reversible"})))
    for name in names:
        register(world, name, "general", "review")
    return amend(world, *amended)


def test_an_agent_is_avoided_or_preferred_on_the_changed_side() -> None:
    """By the name of the workflow; all of its steps that could be given to others are on its side."""
    share = next(n for n in range(100) if is_changed(change("agent", share=n), "w1"))
    assert given(crew()) == ("ann", ())
    for after, agent in (("avoided", "ann"), ("preferred", "cid")):
        one = change("agent", "as_ranked", after, share, agent=agent)
        assert given(crew(one)) == ("bob" if after == "avoided" else "cid", ("opt_1+",))
        assert given(crew(msgspec.structs.replace(one, share=share - 1))) == ("ann", ("opt_1-",))


def test_an_avoided_agent_is_still_given_what_nobody_else_can_have() -> None:
    """It is avoided, not blocked."""
    avoided = change("agent", "as_ranked", "avoided", agent="ann")
    assert given(crew(avoided, names=("ann",))) == ("ann", ("opt_1+",))


def test_steps_that_name_their_agent_and_critical_ones_are_given_as_ever() -> None:
    """They are on no side, and other types of work are not either."""
    avoided = change("agent", "as_ranked", "avoided", agent="ann")
    assert given(crew(avoided), agent="ann") == ("ann", ())
    assert given(crew(avoided), task_type="review") == ("ann", ())
    world = World(Rules(DIGEST))
    for name in ("ann", "bob"):
        register(world, name)
    assert given(amend(world, avoided)) == ("ann", ())


# -- sides --------------------


def test_a_task_stays_on_its_side_and_a_larger_share_takes_none_away() -> None:
    """Whatever is asked for it, and when; the sides of two optimizations have nothing to do with each other."""
    tasks = [f"t{number}" for number in range(1_000)]
    small, large = (change("cheaper_model", "large", "small", share) for share in (10, 90))
    few, many = ({task for task in tasks if is_changed(one, task)} for one in (small, large))
    assert few < many
    assert 70 < len(few) < 130
    assert 870 < len(many) < 930
    other = change("cheaper_model", "large", "small", 50, name="opt_2")
    both = sum(is_changed(other, task) for task in few)
    assert len(few) * 0.3 < both < len(few) * 0.7


def test_an_ask_counts_for_all_that_concerns_it() -> None:
    """One choice of a model, and what is tried beside it; not what is tried for others, or only told to people."""
    amended = (
        CHEAPER,
        change("router", name="opt_2"),
        change("hold_safety", name="opt_3"),
        change("retry_plan", "4", "2", name="opt_4"),
        change("cheaper_model", "large", "small", tenant="team-b", name="opt_5"),
        Amended("opt_6", TENANT, "cap", "", "policies.p.cost_usd", "1", "2", 100),
    )
    world = off(*amended, retries=shipped())
    assert (tried(world)["model"], arms(world)) == ("small", ("opt_1+", "opt_3+", "opt_4+"))


def test_without_amendments_nothing_is_looked_at_twice() -> None:
    """No sides, and an approval that reads as ever."""
    world = off()
    told = tried(world)
    assert (told["model"], "propensity" in told, arms(world)) == ("large", False, ())
    assert world.rules_of() is world.rules


def test_what_is_critical_follows_from_the_settings() -> None:
    """The priority from which on nothing is tried is a setting; the sides are those of the ask's tenant."""
    rules = off(CHEAPER).rules_of()
    draft = Draft(off(CHEAPER).state, rules, START_MS, Tick())
    request = TaskRequest.from_wire(ask(priority=8))
    nature = Nature("none", "none")
    assert may_differ(draft, request, nature)
    assert [side.arm for side in sides_of(draft, request, nature)] == ["opt_1+"]
    stricter = replace(rules, optimization=replace(rules.optimization, critical_priority=8))
    draft = Draft(off(CHEAPER).state, stricter, START_MS, Tick())
    assert not may_differ(draft, request, nature)
    assert sides_of(draft, request, nature) == ()
