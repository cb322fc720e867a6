"""What a look tells beside its checks: the models that were not chosen, and who has a budget that could not take it."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops_stream.audit.looks import STAGES
from ops_stream.audit.looks_money import SHOWN_MAX
from ops_stream.cli.audit_explain_show import page
from ops_stream.cli.output import Out
from ops_stream.core.amend import digest_with, in_force
from ops_stream.core.look import Stage
from ops_stream.core.rows import ActiveRules
from ops_stream.core.rules_model import Budgets, Limit
from ops_stream.core.rules_routing import ModelCard, Routing
from tests.audit.journals import RULES, Writer
from tests.audit.test_trail import life
from tests.core.amending import change, task_on
from tests.thorough import examples

CARDS = {
    "large": ModelCard("large", 5_000_000, 25_000_000, "north", quality_percent=95, latency_ms=900),
    "small": ModelCard("small", 100_000, 400_000, "south", quality_percent=80),
    "weak": ModelCard("weak", 10_000, 40_000, "south", quality_percent=20),
    "narrow": ModelCard("narrow", 1_000, 4_000, "south", quality_percent=99, context_tokens=10),
    "apart": ModelCard("apart", 1_000, 4_000, "south", quality_percent=99, by_default=False),
}
TOKENS = {"estimated_input_tokens": 1_000, "estimated_output_tokens": 100}


def begun(rules) -> Writer:
    """A journal with one agent."""
    writer = Writer(rules=rules)
    writer.take_over()
    writer.input("agents", event="AgentRegistration", agent="a", role="clerk", capabilities=["general"])
    return writer


def routed(**fields) -> Writer:
    """A journal whose asks get a model."""
    return begun(replace(RULES, routing=Routing("cheapest", quality_percent=60, cards=CARDS, **fields)))


def test_every_stage_has_a_text() -> None:
    """A stage that is new, and one that is gone, is noticed here."""
    assert set(STAGES) == set(get_args(Stage))
    assert all(STAGES.values())


def test_each_model_is_told_with_what_is_expected_of_it_and_what_stood_against_it() -> None:
    """The cheapest first; of the one that was chosen nothing stands against it."""
    writer = routed()
    writer.ask("r1", **TOKENS, estimated_cost_usd=1)
    model = life(writer, "r1")["moments"][0]["looks"][0]["model"]
    assert model["used"] == "small"
    told = {other["model"]: other for other in model["alternatives"]}
    assert {name: other["against"] for name, other in told.items()} == {
        "small": None,
        "large": "comes after small in the order of choice",
        "weak": "is expected to be good to 0.20 where 0.60 is demanded",
        "narrow": "has no room for 1,100 tokens",
        "apart": "is never chosen by default",
    }
    assert (told["large"]["expected_quality"], told["large"]["expected_ms"]) == (0.95, 900)
    assert told["large"]["expected_usd"] == 0.0075
    costs = [other["expected_usd_until_it_goes_well"] for other in model["alternatives"]]
    assert costs == sorted(costs)
    shown = page(Out(as_json=False, color=False, terminal=False), life(writer, "r1"), whole=True)
    assert "weak: " in shown
    assert "has no room for 1,100 tokens" in shown


def test_what_is_tried_with_an_ask_is_told() -> None:
    """On which side it is, how probable its model was, and why it got that: the look is the one that decided."""
    one = change("cheaper_model", "small", "weak", 40, tenant="default")
    bundle = replace(RULES, routing=Routing("cheapest", quality_percent=60, cards=CARDS))
    row = ActiveRules(digest_with(bundle.digest, (one,)), 0, "opt_1", bundle.digest, (one,))
    writer = begun(in_force(bundle, row))
    for changed in (True, False):
        name = f"r{changed:d}"
        writer.ask(name, **TOKENS, effect="none", task_id=task_on(one, changed))
        told = life(writer, name)
        look = told["moments"][0]["looks"][0]
        assert look["optimizations"] == {"opt_1": "changed" if changed else "kept"}
        assert look["model"]["used"] == ("weak" if changed else "small")
        assert look["model"]["propensity"] == (0.4 if changed else 0.6)
        assert ("in the place of small (optimization opt_1)" in look["model"]["why"]) == changed
        shown = page(Out(as_json=False, color=False, terminal=False), told, whole=False)
        assert f"optimization opt_1: on the side that is {'changed' if changed else 'kept'}" in shown


def test_a_model_that_no_budget_can_take_is_told_so_and_the_budgets_told_are_those_of_the_chosen_one() -> (
    None
):
    """Trying the others leaves what the look says of budgets as it was."""
    rules = replace(
        RULES,
        routing=Routing("cheapest", quality_percent=60, cards=CARDS),
        budgets=Budgets({"default": Limit(1_000, "month")}),
    )
    writer = begun(rules)
    body = {"request_id": "r1", "task_id": "t", "agent": "a", "task_description": "do it"}
    writer.input("task-requests", **body, **TOKENS)
    look = life(writer, "r1")["moments"][0]["looks"][0]
    told = {other["model"]: other["against"] for other in look["model"]["alternatives"]}
    assert (told["small"], told["large"]) == (None, "is more than a budget can take")
    assert look["budgets"][0]["needs"] == look["holds_usd"] == 0.00014


def test_of_a_required_model_that_is_left_it_is_told_why_it_was_not_used() -> None:
    """It is named by the ask, and nothing was chosen in its place: it does not count as chosen."""
    writer = routed()
    writer.input("agents", event="AgentRegistration", agent="b", role="clerk", capabilities=["general"])
    for number in range(5):
        writer.ask(f"f{number}", required_model="large")
        report = {"event_id": f"e{number}", "request_id": f"f{number}", "kind": "failed", "model": "large"}
        writer.input("telemetry", task_id="t", agent="a", error="503", **report)
    writer.ask("r1", agent="b", required_model="large")
    look = life(writer, "r1")["moments"][0]["looks"][0]
    assert [check["check"] for check in look["checks"] if check["result"] == "objects"] == ["no_model"]
    (told,) = look["model"]["alternatives"]
    assert told["model"] == "large"
    assert told["against"].startswith("keeps failing or is slow, and is left until")


@pytest.mark.parametrize("fields", [{}, {"required_model": "large"}])
def test_where_nothing_was_chosen_there_are_no_alternatives(fields: dict[str, str]) -> None:
    """With routing off, or where the ask names a model that may be used."""
    writer = begun(RULES) if not fields else routed()
    writer.ask("r1", **fields)
    assert "alternatives" not in life(writer, "r1")["moments"][0]["looks"][0]["model"]


def test_a_budget_denial_tells_who_holds_the_budget() -> None:
    """The largest holds first, no more than ten, and how many there are; what has ended holds nothing."""
    writer = begun(RULES)
    for number in range(15):
        writer.ask(f"r{number}", estimated_cost_usd=0.1 + number / 100, task_id=f"t{number}")
    done = {"event_id": "e", "request_id": "r14", "task_id": "t", "agent": "a", "kind": "completed"}
    writer.input("telemetry", **done, cost_usd=0.2)
    writer.ask("big", estimated_cost_usd=9.5)
    found = life(writer, "big")
    used = found["moments"][0]["looks"][0]["used_by"]
    assert (used["budget"], used["unit"], used["open_holds"]) == ("tenant default", "usd", 14)
    names = [ask["request_id"] for ask in used["largest_holds"]]
    assert names == [f"r{number}" for number in range(13, 13 - SHOWN_MAX, -1)]
    assert used["largest_holds"][0]["amount"] == 0.23
    assert used["tenant_spent_in_all_by_agent"] == [{"agent": "a", "usd": 0.2}]
    shown = page(Out(as_json=False, color=False, terminal=False), found, whole=False)
    assert "14 open holds of tenant default" in shown
    assert "used_by" not in life(writer, "r3")["moments"][0]["looks"][0]


@settings(max_examples=examples(60), deadline=None)
@given(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 2), st.booleans()), max_size=20))
def test_the_holds_told_add_up_to_what_the_budget_holds(asks: list[tuple[int, int, bool]]) -> None:
    """Of every budget that a denial is about, where no more holds are open than are shown."""
    writer = begun(
        replace(RULES, budgets=Budgets({"default": Limit(2_000_000, "month")}, {"*": Limit(900_000, "task")}))
    )
    for number, (cents, task, ends) in enumerate(asks):
        writer.ask(f"r{number}", estimated_cost_usd=cents / 100, task_id=f"t{task}")
        if ends:
            done = {"event_id": f"e{number}", "request_id": f"r{number}", "task_id": "t", "agent": "a"}
            writer.input("telemetry", **done, kind="completed", cost_usd=cents / 100)
    writer.ask("big", estimated_cost_usd=0.8, task_id="t0")
    look = life(writer, "big")["moments"][0]["looks"][0]
    used = look.get("used_by")
    if used is None:
        return
    (stands,) = [one for one in look["budgets"] if one["budget"] == used["budget"]]
    shown = sum(round(1_000_000 * ask["amount"]) for ask in used["largest_holds"])
    held = round(1_000_000 * (stands["held"] + stands["unknown"]))
    assert shown == held if used["open_holds"] <= SHOWN_MAX else shown <= held
