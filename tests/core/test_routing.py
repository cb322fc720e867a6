"""Choosing a model: reckoned by hand, on a catalogue of three."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from ops_stream.contract.clocktext import format_time
from ops_stream.core.draft import Draft
from ops_stream.core.evidence import NOTHING, expected_of, expected_of_all, weighed
from ops_stream.core.inputs import Tick
from ops_stream.core.learning import look
from ops_stream.core.rows_learning import looked_at
from ops_stream.core.rules_budgets import Bound
from ops_stream.core.rules_model import Budgets, Enforcement, Limit, Rules, Supervisor
from ops_stream.core.rules_routing import Breaker, ModelCard, Routing
from tests.core.policies import TestPolicies, TestPolicy
from tests.core.routes import CARDS, LARGE, MEDIUM, SMALL, answer, routed, routing_rules, runs, tell
from tests.core.test_step import ask, registered
from tests.core.world import DIGEST, TENANT, World

NEVER_LEFT = Breaker(failures=100, window=100)


def test_the_cheapest_that_is_good_enough_is_chosen_and_the_approval_says_why() -> None:
    """60 % are demanded: small promises 50, medium 75 for less than large."""
    told = answer(routed(), "r1")
    assert (told["decision"], told["model"], told["cost_limit_usd"]) == ("approved", "medium", 0.0035)
    assert told["explanation"] == (
        "Model medium is the cheapest expected to do what is asked (0.0035 USD, quality 0.75 of 0.60); "
        "second is large (0.0175 USD, quality 0.90)."
    )
    assert "propensity" not in told


@pytest.mark.parametrize(("complexity", "model"), [("low", "small"), ("medium", "medium"), ("high", "large")])
def test_what_is_harder_needs_a_better_one(complexity: str, model: str) -> None:
    """The demanded quality goes by complexity where the rules say so."""
    world = routed(quality_by_complexity={"low": 40, "high": 80})
    assert answer(world, "r1", complexity=complexity)["model"] == model


def test_measured_quality_is_weighed_against_ten_imagined_reports() -> None:
    """(10 × 0.50 + 3 × 0.90) ÷ 13 is 0.592, and with a fourth report 0.614: above 0.60."""
    world = routed()
    runs(world, "small", 3, quality_score=0.9)
    assert answer(world, "r1")["model"] == "medium"
    runs(world, "small", 1, quality_score=0.9)
    told = answer(world, "r2")
    assert told["model"] == "small"
    assert "quality 0.61 of 0.60); second is medium" in told["explanation"]


def test_what_was_measured_is_of_one_agent_and_type_of_work() -> None:
    """Another type of work begins with the catalogue."""
    world = routed()
    runs(world, "small", 4, quality_score=0.9)
    assert answer(world, "r1", task_type="review")["model"] == "medium"


def test_failures_are_paid_for_by_trying_again() -> None:
    """3.5 × 12 ÷ 10 is 4.2, as much as the other, that is better; with one failure less it is cheaper."""
    one = ModelCard("one", 1_000_000, 5_000_000, quality_percent=70)
    other = ModelCard("other", 1_200_000, 6_000_000, quality_percent=80)
    world = routed(one, other, breaker=NEVER_LEFT)
    runs(world, "one", 1, "failed")
    assert answer(world, "r1")["model"] == "one"
    runs(world, "one", 1, "failed")
    told = answer(world, "r2")
    assert told["model"] == "other"
    assert (
        "(0.0042 USD, quality 0.80 of 0.60); second is one (0.0042 USD, quality 0.70)" in told["explanation"]
    )


def test_what_was_lost_is_tried_again_too() -> None:
    """A lease that ended without a report counts like a failure, until a report comes after all."""
    one = ModelCard("one", 1_000_000, 5_000_000, quality_percent=70)
    world = routed(one, replace(one, name="other", quality_percent=65), breaker=NEVER_LEFT)
    assert answer(world, "u1", required_model="one", estimated_time_s=20)["model"] == "one"
    world.advance(61)
    assert world.ask_row("u1").phase == "unknown"
    assert answer(world, "r1")["model"] == "other"
    tell(world, "u1")
    assert answer(world, "r2")["model"] == "one"


def test_cost_is_corrected_by_what_was_measured() -> None:
    """Ten reports of twice what was held: (10 × 3.5 + 10 × 7) ÷ 20 is 5.25 thousandths."""
    world = routed()
    runs(world, "medium", 10, cost_usd=0.007)
    told = answer(world, "r1")
    assert (told["model"], told["cost_limit_usd"]) == ("medium", 0.0035)
    assert "(0.00525 USD, quality 0.75" in told["explanation"]
    assert "(0.0105 USD, quality 0.75" in answer(world, "r2", **doubled())["explanation"]


def doubled() -> dict[str, int]:
    """Twice the tokens."""
    return {"estimated_input_tokens": 2_000, "estimated_output_tokens": 1_000}


def test_a_model_must_be_in_time() -> None:
    """Large takes 4 s; with 3 s left the best of those in time has to do, and it is said so."""
    world = routed(quality_by_complexity={"high": 80})
    soon = format_time(world.now + 3_000)
    told = answer(world, "r1", complexity="high", deadline=soon)
    assert told["model"] == "medium"
    assert told["explanation"].startswith(
        "No model is expected to do what is asked, and medium is the best that"
    )
    assert answer(world, "r2", complexity="high", deadline=format_time(world.now + 5_000))["model"] == "large"


def test_measured_time_counts_like_quality() -> None:
    """(10 × 2,000 + 10 × 5,000) ÷ 20 is 3,500 ms: too long for 3 s, not for 4."""
    world = routed(LARGE, MEDIUM)
    for count in range(10):
        assert answer(world, f"u{count}", required_model="medium", estimated_time_s=10)
        world.advance(5)
        tell(world, f"u{count}", latency_ms=5_000)
    late = answer(world, "r1", deadline=format_time(world.now + 3_400))
    assert late["model"] == "large", "where nobody is in time it is the best"
    told = answer(world, "r2", deadline=format_time(world.now + 3_500))
    assert told["explanation"].startswith("Model medium is the cheapest")


def test_what_the_budget_cannot_take_is_not_chosen() -> None:
    """10 thousandths of a dollar are left: not large, so the best of the others; nothing at all: denied."""
    world = routed(quality_percent=80, budgets=Budgets({"*": Limit(10_000, "total")}))
    told = answer(world, "r1")
    assert (told["model"], told["cost_limit_usd"]) == ("medium", 0.0035)
    assert (
        "medium is the best that can be paid (0.0035 USD, quality 0.75 of 0.80); second is small"
        in told["explanation"]
    )
    world = routed(budgets=Budgets({"*": Limit(0, "total")}))
    assert (answer(world, "r1")["reason"]) == "budget_exhausted"


def test_what_an_ask_names_is_held_and_not_gone_beyond() -> None:
    """A model that costs more than the ask says is passed over; where each does, what costs least is taken."""
    world = routed(quality_percent=80)
    told = answer(world, "r1", estimated_cost_usd=0.01)
    assert (told["model"], told["cost_limit_usd"]) == ("medium", 0.01)
    told = answer(world, "r2", estimated_cost_usd=0.0001)
    assert (told["model"], told["cost_limit_usd"]) == ("large", 0.0001)
    assert told["explanation"].startswith(
        "No model is expected to stay within what is estimated, and large comes"
    )


def test_an_ask_that_estimates_nothing_is_taken_for_three_quarters_read() -> None:
    """Of 4,000 tokens 3,000 are read: 3 + 5 thousandths for medium; the setting is held."""
    told = answer(routed(), "r1", estimated_input_tokens=None, estimated_output_tokens=None)
    assert (told["model"], told["cost_limit_usd"]) == ("medium", 0.1)
    assert "(0.008 USD" in told["explanation"]


def test_a_cost_without_tokens_is_taken_for_what_the_own_model_costs() -> None:
    """A medium costs a fifth of a large, the default: 0.01 of 0.05. Dear or cheap, it is good enough that counts."""
    none = {"estimated_input_tokens": None, "estimated_output_tokens": None}
    world = routed(LARGE, MEDIUM, replace(SMALL, context_tokens=100))
    told = answer(world, "r1", estimated_cost_usd=0.05, **none)
    assert (told["model"], told["cost_limit_usd"]) == ("medium", 0.05)
    assert "(0.01 USD, quality 0.75 of 0.60); second is large (0.05 USD" in told["explanation"]
    world = routed(MEDIUM, LARGE, quality_percent=80)
    told = answer(world, "r1", estimated_cost_usd=0.01, **none)
    assert (told["model"], told["cost_limit_usd"]) == ("large", 0.01)
    assert told["explanation"].startswith(
        "Model large is the cheapest expected to do what is asked (0.05 USD"
    )


def test_what_is_remembered_of_an_estimate_is_that_of_the_model_that_is_used() -> None:
    """Where the past doubles holds: the price of the model that a policy demanded, not of the one before it."""
    policy = TestPolicy("p", "downgrade_model", "priority == 1")
    world = routed(policies=TestPolicies([policy]), supervisor=Supervisor(hold_safety="learned"))
    runs(world, "medium", 20, cost_usd=0.007)
    told = answer(world, "r1", priority=1)
    row = world.ask_row("r1")
    assert (told["model"], row.held, row.asked) == ("small", 600, 300)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"tags": ["needs:sound"]}, "large cannot do sound."),
        (
            {"tags": ["needs:vision"], "estimated_input_tokens": 300_000},
            "large has no room for 300,500 tokens",
        ),
    ],
)
def test_where_no_model_may_be_used_the_ask_is_denied(fields: dict[str, Any], why: str) -> None:
    """It is said what stands against which."""
    told = answer(routed(), "r1", **fields)
    assert (told["decision"], told["reason"]) == ("denied", "no_model")
    assert why in told["explanation"]


def test_capabilities_room_tenants_and_types_of_work_are_kept_to() -> None:
    """A tag `needs:` and the tokens rule models out, and so do tenants and types of work of the catalogue."""
    world = routed(LARGE, MEDIUM, replace(SMALL, quality_percent=99))
    assert answer(world, "r1")["model"] == "small"
    assert answer(world, "r2", tags=["needs:vision", "other"])["model"] == "large"
    assert answer(world, "r3", estimated_input_tokens=10_000)["model"] == "medium"
    other = replace(MEDIUM, tenants=frozenset(("team-b",)))
    assert answer(routed(LARGE, other), "r1")["model"] == "large"
    assert answer(routed(LARGE, replace(MEDIUM, task_types=frozenset(("code",)))), "r1")["model"] == "large"


def test_only_what_the_agent_has_registered_is_chosen_for_it() -> None:
    """An agent that says which models it can use gets one of them; aliases stand for what they mean."""
    world = routed(aliases={"big": "large"})
    body = {
        "agent": "engineer",
        "tenant": TENANT,
        "role": "w",
        "capabilities": [],
        "models": ["big", "small"],
    }
    world.send("agents", {"event": "AgentRegistration", **body})
    assert answer(world, "r1")["model"] == "large"


def test_a_model_that_the_kill_switch_has_stopped_is_not_chosen() -> None:
    """The ask gets another; one that requires it is denied as ever."""
    world = routed()
    command = {
        "command_id": "c1",
        "command": "kill",
        "scope": "model",
        "target": "medium",
        "issued_by": "olga",
    }
    world.send("control", {**command, "tenant": TENANT})
    assert answer(world, "r1")["model"] == "large"
    assert answer(world, "r2", required_model="medium")["reason"] == "kill_switch"


def test_a_required_model_is_obeyed_where_it_may_be_used() -> None:
    """Good or not, dear or not; an alias is resolved, and nobody gets what is for other tenants."""
    world = routed(
        LARGE,
        MEDIUM,
        SMALL,
        replace(LARGE, name="theirs", tenants=frozenset(("team-b",))),
        aliases={"x": "small"},
    )
    told = answer(world, "r1", required_model="x")
    assert (told["model"], told["cost_limit_usd"], told["explanation"]) == (
        "small",
        0.0003,
        "Every check passed.",
    )
    assert answer(world, "r2", required_model="large")["model"] == "large"
    told = answer(world, "r3", required_model="theirs")
    assert (told["reason"], told["explanation"]) == ("no_model", f"Model theirs is not for tenant {TENANT}.")
    assert answer(world, "r4", required_model="unheard")["reason"] == "no_model"


@pytest.mark.parametrize(
    ("action", "parameters", "model", "held"),
    [("downgrade_model", {}, "small", 0.0003), ("reroute", {"model": "large"}, "large", 0.0175)],
)
def test_policies_begin_from_what_was_chosen(
    action: str, parameters: dict[str, str], model: str, held: float
) -> None:
    """One sees medium, and changes it; what is held follows."""
    policy = TestPolicy("p", action, "model == 'medium' and cost < 0.004", parameters=parameters)
    told = answer(routed(policies=TestPolicies([policy])), "r1")
    assert (told["model"], told["cost_limit_usd"]) == (model, held)
    assert told["explanation"].endswith(f"Policy p chose model {model}.")


def test_a_policy_may_name_a_model_where_none_may_be_chosen() -> None:
    """Nothing of the catalogue can do what is asked; the operator's word stands."""
    policy = TestPolicy("p", "reroute", "True", parameters={"model": "large"})
    told = answer(routed(policies=TestPolicies([policy])), "r1", tags=["needs:sound"])
    assert (told["decision"], told["model"]) == ("approved", "large")


def test_budgets_of_a_model_count_what_was_chosen() -> None:
    """Medium has 4 thousandths of a dollar: one ask; the next goes to large."""
    bound = Bound("usd", "total", Limit(4_000, "total"))
    world = routed(budgets=Budgets(more={("model", "*", "medium"): (bound,)}))
    assert [answer(world, name)["model"] for name in ("r1", "r2")] == ["medium", "large"]


def test_what_is_only_observed_keeps_its_own_model() -> None:
    """It is told what would be chosen; a kill of its own model binds, whatever would have been chosen."""
    rules = Supervisor(enforcement=(Enforcement(mode="observe"),))
    world = routed(supervisor=rules)
    told = answer(world, "r1")
    assert (told["model"], told["cost_limit_usd"]) == ("large", 0.0175)
    assert told["explanation"].startswith(
        "Observed only; enforced, this ask would be approved: Model medium is"
    )
    command = {
        "command_id": "c1",
        "command": "kill",
        "scope": "model",
        "target": "large",
        "issued_by": "olga",
    }
    world.send("control", {**command, "tenant": TENANT})
    assert answer(world, "r2")["reason"] == "kill_switch"


def test_a_share_of_what_risks_little_tries_another_model_and_says_how_probable_that_was() -> None:
    """Of 200 asks with a share of 20 %: about 40, at two models that were not chosen, by one half each."""
    world = routed(explore_percent=20, strict=False)
    tried: dict[str, int] = {}
    for number in range(200):
        told = answer(world, f"r{number}", effect="none")
        tried[told["model"]] = tried.get(told["model"], 0) + 1
        assert told["propensity"] == (0.8 if told["model"] == "medium" else 0.1)
        assert (") is tried out in the place of medium (" in told["explanation"]) is (
            told["model"] != "medium"
        )
    assert 140 <= tried["medium"] <= 180
    assert min(tried["large"], tried["small"]) >= 8


@pytest.mark.parametrize(
    "fields",
    [{"effect": "unknown"}, {"effect": "irreversible"}, {"effect": "none", "customer_impact": "medium"}],
)
def test_nothing_is_tried_out_with_what_risks_more(fields: dict[str, str]) -> None:
    """What nobody has classed, what cannot be taken back and what customers feel gets what was chosen, for certain."""
    permit = TestPolicy("p", "log", "True", parameters={"permit_irreversible": True})
    world = routed(explore_percent=50, policies=TestPolicies([permit]), strict=False)
    for number in range(20):
        told = answer(world, f"r{number}", **fields)
        assert (told["model"], told["propensity"]) == ("medium", 1)


def test_where_a_policy_chooses_chance_has_no_part_in_it() -> None:
    """No propensity is told for a model that a policy demanded."""
    policy = TestPolicy("p", "reroute", "True", parameters={"model": "small"})
    world = routed(explore_percent=50, policies=TestPolicies([policy]), strict=False)
    for number in range(10):
        told = answer(world, f"r{number}", effect="none")
        assert told["model"] == "small"
        assert told["explanation"].endswith("Policy p chose model small.") is ("propensity" not in told)


def test_what_is_expected_is_made_of_what_memory_says() -> None:
    """The counts are those of `learning.look`, hours and half-lives later too, whether or not they were kept."""
    world = routed(breaker=NEVER_LEFT, strict=False)
    for hours in (0, 1, 30, 200):
        world.advance(hours * 3_600)
        runs(world, "small", 2, quality_score=0.9, cost_usd=0.001)
        runs(world, "small", 1, "failed", cost_usd=0.002)
        draft = Draft(world.state, world.rules, world.now, Tick())
        seen = look(draft, TENANT, "engineer", "general", "small")
        assert seen is not None
        counts = seen.stats.counts
        alone = expected_of(draft, TENANT, "engineer", "general", SMALL)
        assert alone == weighed(world.rules.routing, SMALL, looked_at(counts), NOTHING)
        assert alone.runs == 10_000 + counts.good + counts.failed
        assert alone.quality == (10_000 * 500 + counts.quality_milli) * 1_000 // (10_000 + counts.rated)
        assert alone in expected_of_all(draft, TENANT, "engineer", "general")
        world.rules.routing.memo.clear()
        assert alone in expected_of_all(draft, TENANT, "engineer", "general")
    world.advance(100 * 3_600)
    draft = Draft(world.state, world.rules, world.now, Tick())
    later = expected_of(draft, TENANT, "engineer", "general", SMALL)
    assert later != alone, "what was seen fades"
    assert later in expected_of_all(draft, TENANT, "engineer", "general")


def test_off_is_as_if_there_were_no_catalogue() -> None:
    """Whatever the cards say, every output and every row is the same to the byte."""
    plain = replace(routing_rules(), routing=Routing())
    worlds = [_some_life(rules) for rules in (plain, replace(routing_rules(), routing=_off()))]
    one, other = ([msgspec.json.encode(out.value) for out in world.outputs] for world in worlds)
    assert one == other
    assert worlds[0].state.rows == worlds[1].state.rows


def _off() -> Routing:
    return Routing(cards={card.name: card for card in CARDS}, explore_percent=50)


def _some_life(rules: Rules) -> World:
    world = registered(World(replace(rules, digest=DIGEST)))
    for number in range(12):
        fields = {"required_model": "small"} if number % 3 else {"effect": "none"}
        world.send("task-requests", ask(f"r{number}", **fields))
        tell(world, f"r{number}", "failed" if number % 2 else "completed", latency_ms=90_000)
    return world
