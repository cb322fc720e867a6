"""Triggers: what calls is found out once, the strictest of all that call holds, and ordinary work calls nobody."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_stream.core.rules_escalations import Trigger, TriggerName, escalations_of
from ops_stream.core.rules_model import Rules, Supervisor
from ops_stream.rules.bundle import compile_bundle, read_conf
from ops_stream.rules.conf_budgets import BudgetEntry, budgets_from
from ops_stream.rules.word_lists import WordLists
from tests.bench.load import ask as ordinary_ask
from tests.core.world import DIGEST, TENANT, World
from tests.thorough import examples

CONF = Path(__file__).parents[2] / "conf"
LEGAL = WordLists({"legal": ["lawsuit"]})
DEAR: Mapping[str, Any] = {"estimated_cost_usd": 6.0}
URGENT: Mapping[str, Any] = {"priority": 9}
WORDY: Mapping[str, Any] = {"task_description": "The lawsuit."}


def world(**triggers: Trigger) -> World:
    """A world with these triggers for every tenant."""
    table: dict[tuple[str, str], Trigger] = {(name, "*"): rule for name, rule in triggers.items()}
    made = World(Rules(DIGEST, escalations=escalations_of(table)))
    register(made)
    return made


def register(world: World) -> None:
    """Let the agent register."""
    body = {"event": "AgentRegistration", "tenant": TENANT, "agent": "a", "role": "x", "capabilities": []}
    world.send("agents", body)


def ask(world: World, name: str, **fields: Any) -> dict[str, Any]:
    """Ask and give the answer."""
    world.advance(0.001)
    body = {"request_id": name, "task_id": "t", "tenant": TENANT, "agent": "a", "task_description": "Do it."}
    world.send("task-requests", {**body, "estimated_cost_usd": 0.01, **fields})
    return world.answers(name)[-1]


def report(world: World, name: str, **fields: Any) -> None:
    """Report the end of an ask."""
    world.advance(0.001)
    body = {"event_id": f"e-{name}", "request_id": name, "task_id": "t", "tenant": TENANT, "agent": "a"}
    world.send("telemetry", {**body, "kind": "completed", "cost_usd": 0.01, **fields})


def resolve(world: World, escalation_id: str, verdict: str = "approve", resolver: str = "ann") -> None:
    """Answer an escalation."""
    world.advance(0.001)
    world.send(
        "resolutions",
        {
            "resolution_id": f"v-{escalation_id}-{resolver}",
            "escalation_id": escalation_id,
            "tenant": TENANT,
            "resolver": resolver,
            "verdict": verdict,
        },
    )


class Counting:
    """A word finder that counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def find(self, texts: Iterable[str]) -> tuple[tuple[str, str], ...]:
        """Find nothing, and count."""
        self.asked += bool(list(texts))
        return ()


def test_one_look_searches_an_ask_for_words_once() -> None:
    """However many checks want to know whether the ask waits, it is found out once."""
    finder = Counting()
    here = world(words=Trigger(on=True, words=finder))
    here.strict = False  # a strict world decides everything twice
    ask(here, "r1")
    before = finder.asked
    ask(here, "r2")  # the tenant has an open ask by now, so that the check for overload wants to know too
    assert finder.asked == before + 1


def test_an_ask_that_something_stronger_refuses_is_not_searched() -> None:
    """Words are the last thing that is looked at, and only where nothing else stands against the ask."""
    finder = Counting()
    here = world(words=Trigger(on=True, words=finder))
    here.rules = Rules(DIGEST, supervisor=Supervisor(retries_max=0), escalations=here.rules.escalations)
    assert ask(here, "r1", retry_count=1)["decision"] == "denied"
    assert finder.asked == 0


def test_everything_that_an_ask_says_is_searched_however_deep_and_large() -> None:
    """No length and no depth that an input may have hides a word."""
    here = world(words=Trigger(on=True, words=LEGAL))
    deep: Any = "the lawsuit"
    for _ in range(25):
        deep = [{"a": deep}][:1] if isinstance(deep, str) else {"a": deep}
    assert ask(here, "r1", arguments={"x": deep})["decision"] == "escalated"
    padded = {f"k{n}": "x" * 1_000 for n in range(200)}
    assert ask(here, "r2", arguments={**padded, "last": "lawsuit"})["decision"] == "escalated"
    assert ask(here, "r3", arguments={"many": ["x"] * 20_000 + ["lawsuit"]})["decision"] == "escalated"
    assert ask(here, "r4", arguments={"many": [1, None, True, 2.5]})["decision"] == "approved"


def test_without_rules_about_escalations_nothing_but_policies_and_effects_calls() -> None:
    """The default rules are those of before: dear, urgent and wordy asks run, and failures call nobody."""
    here = World(Rules(DIGEST))
    here.send(
        "agents",
        {"event": "AgentRegistration", "tenant": TENANT, "agent": "a", "role": "x", "capabilities": []},
    )
    assert ask(here, "r1", **DEAR, **URGENT, **WORDY)["decision"] == "approved"
    for number in range(5):
        ask(here, f"f{number}")
        report(here, f"f{number}", kind="failed", quality_score=0.0)
    assert here.of("Escalation") == []


@pytest.mark.parametrize("milli", range(0, 1_001, 7))
def test_a_quality_is_compared_to_the_thousandth(milli: int) -> None:
    """A score that reads like the threshold is at it; the next thousandth is above it."""
    here = world(quality=Trigger(on=True, at_most_milli=milli))
    here.strict = False
    above = json.loads(f"{milli // 1000}.{milli % 1000:03d}1") if milli < 1_000 else None
    if above is not None:
        ask(here, "r1")
        report(here, "r1", quality_score=above)
        assert here.of("Escalation") == []
    ask(here, "r2")
    report(here, "r2", quality_score=json.loads(f"{milli // 1000}.{milli % 1000:03d}"))
    assert [one["trigger"] for one in here.of("Escalation")] == ["quality"]


@st.composite
def rules(draw: st.DrawFn) -> dict[str, Trigger]:
    """Some triggers that make an ask wait, each with its own demands."""
    names: list[TriggerName] = draw(st.lists(st.sampled_from(("cost", "words", "priority")), unique=True))
    return {
        name: Trigger(
            on=True,
            words=LEGAL,
            severity=draw(st.sampled_from(("info", "warning", "critical"))),
            quorum=draw(st.integers(1, 3)),
            ttl_s=draw(st.sampled_from((None, 60, 120))),
            roles=draw(st.frozensets(st.sampled_from(("desk", "lead")))),
            on_expiry=draw(st.sampled_from(("deny", "approve"))),
        )
        for name in names
    }


@given(rules(), st.booleans())
def test_the_strictest_of_all_that_call_holds(triggers: dict[str, Trigger], irreversible: bool) -> None:
    """Severity and quorum are the highest, the time the shortest, roles all together, and deny trumps approve."""
    here = world(**triggers)
    effect = {"effect": "irreversible"} if irreversible else {}
    answer = ask(here, "r1", **DEAR, **URGENT, **WORDY, **effect)
    calling = list(triggers.values()) + ([Trigger(severity="critical")] if irreversible else [])
    assert answer["decision"] == ("escalated" if calling else "approved")
    if not calling:
        return
    (told,) = here.of("Escalation")
    order = ("info", "warning", "critical")
    assert told["severity"] == max((rule.severity for rule in calling), key=order.index)
    assert told["quorum"] == max(rule.quorum for rule in calling)
    assert set(told.get("roles", ())) == frozenset().union(*(rule.roles for rule in calling))
    assert len(told["triggers"]) == len(calling)
    lenient = all(rule.on_expiry == "approve" for rule in calling) and not irreversible
    assert told["on_expiry"] == ("approve" if lenient else "deny")
    shortest = min((rule.ttl_s for rule in calling if rule.ttl_s is not None), default=3_600)
    here.advance(shortest - 1)
    assert here.answers("r1")[-1]["decision"] == "escalated"
    here.advance(2)
    assert here.answers("r1")[-1]["decision"] == ("approved" if lenient else "denied")


@given(
    st.lists(st.sampled_from(("cost", "words", "priority", "effect")), unique=True),
    st.sampled_from(("approve", "edit")),
)
def test_what_a_person_let_go_is_not_asked_about_again(names: list[str], verdict: str) -> None:
    """One verdict is enough, whatever called; an edit is only asked about again where it cannot be taken back."""
    here = world(**{name: Trigger(on=True, words=LEGAL) for name in names if name != "effect"})
    effect = {"effect": "irreversible"} if "effect" in names else {}
    answer = ask(here, "r1", **DEAR, **URGENT, **WORDY, **effect)
    if not names:
        assert answer["decision"] == "approved"
        return
    id_ = answer["escalation_id"]
    digest = {"action_digest": answer["action_digest"]}
    body = {
        "resolution_id": "v",
        "escalation_id": id_,
        "tenant": TENANT,
        "resolver": "ann",
        "verdict": verdict,
    }
    edits = {"edits": {"estimated_time_s": 61}} if verdict == "edit" else {}
    here.send("resolutions", {**body, **digest, **edits})
    again = verdict == "edit" and "effect" in names
    last = here.answers("r1")[-1]
    assert last["decision"] == ("escalated" if again else "approved")
    if again:
        assert [one for one in here.of("Escalation") if one["status"] == "open"][-1]["triggers"] == [
            "effect:irreversible"
        ]


def test_an_approval_stands_for_every_multiple_that_it_reaches() -> None:
    """One dear ask may pass several multiples at once: it is asked about once, and so is what follows."""
    here = world(cost=Trigger(on=True, cost_micros=1_000_000))
    answer = ask(here, "r1", estimated_cost_usd=7.5)
    assert answer["decision"] == "escalated"
    resolve(here, answer["escalation_id"])
    assert here.answers("r1")[-1]["decision"] == "approved"
    assert ask(here, "r2", estimated_cost_usd=0.49)["decision"] == "approved"
    assert ask(here, "r3", estimated_cost_usd=0.01)["decision"] == "escalated"


@pytest.mark.parametrize("profile", ["conf", "conf/demo"])
def test_the_shipped_rules_let_ordinary_asks_run(profile: str) -> None:
    """The asks of the benchmark call nobody, however many of them, and neither do their reports."""
    here = World(compile_bundle(read_conf(CONF.parent / profile, {})), partitions=1)
    here.strict = False
    for number in range(24):
        tenant = ordinary_ask(number, "n")[0]
        here.send(
            "agents",
            {
                "event": "AgentRegistration",
                "tenant": tenant,
                "agent": "bench",
                "role": "x",
                "capabilities": [],
            },
        )
    for number in range(examples(480, quick=160)):
        tenant, name, body = ordinary_ask(number, "n")
        here.advance(0.001)
        here.send("task-requests", json.loads(body))
        assert here.answers(name, tenant)[-1]["decision"] == "approved"
        if number % 3:
            done = {"event_id": f"e{number}", "kind": "completed", "cost_usd": 0.0125, "quality_score": 0.9}
            asked = json.loads(body)
            same = {field: asked[field] for field in ("request_id", "task_id", "agent", "tenant")}
            here.send("telemetry", {**done, **same})
    assert here.of("Escalation") == []


def test_what_calls_is_bounded_in_number() -> None:
    """A flood of failures is one escalation with a count, not one each."""
    here = world(failures=Trigger(on=True, in_a_row=1))
    here.strict = False
    for number in range(200):
        ask(here, f"r{number}")
        report(here, f"r{number}", kind="failed")
    told = here.of("Escalation")
    assert len({one["escalation_id"] for one in told}) == 1
    assert told[-1]["count"] <= 200
    assert sum(key.startswith("escalation/") for key in here.state.rows) == 1


def test_a_soft_limit_calls_once_a_window() -> None:
    """Every further ask above the percentage is silent until the next window."""
    table: dict[tuple[str, str], Trigger] = {("soft_limit", "*"): Trigger(on=True, percent=80)}
    entry = {"limit_usd": 1, "window": "day", "soft": True, "alert_at": [100]}
    budgets = budgets_from([BudgetEntry.model_validate(entry)])
    here = World(Rules(DIGEST, budgets=budgets, escalations=escalations_of(table)))
    for number in range(5):
        ask(here, f"r{number}", estimated_cost_usd=0.4)
    assert here.of("Escalation") == []  # nobody is registered, so that nothing is admitted
    register(here)
    for number in range(5, 9):
        ask(here, f"r{number}", estimated_cost_usd=0.4)
    (told,) = here.of("Escalation")
    assert "80 %" in told["summary"]
    here.advance(86_400)
    for number in range(9, 13):
        ask(here, f"r{number}", estimated_cost_usd=0.4)
    assert len([one for one in here.of("Escalation") if one["status"] == "open"]) == 2


def test_what_waits_is_shown_again_with_what_its_triggers_demand_now() -> None:
    """Where what blocks has changed, the present quorum of the trigger holds, and not that of before."""
    here = world(priority=Trigger(on=True))
    answer = ask(here, "r1", **URGENT)
    table: dict[tuple[str, str], Trigger] = {
        ("priority", "*"): Trigger(on=True, quorum=2, severity="critical")
    }
    here.rules = Rules(DIGEST, escalations=escalations_of(table), blocking_digest="other")
    resolve(here, answer["escalation_id"])
    shown = here.of("Escalation")[-1]
    assert (shown["status"], shown["quorum"], shown["severity"]) == ("open", 2, "critical")
    assert here.answers("r1")[-1]["decision"] == "escalated"
