"""Models that keep failing are left, tried bit by bit, and used again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ops_stream.core.circuit import IDLE_MS, TABLE
from ops_stream.core.rows import CIRCUITS, Circuit
from ops_stream.core.rules_budgets import Bound
from ops_stream.core.rules_model import Budgets, Limit
from ops_stream.core.rules_retries import Retries
from ops_stream.core.rules_routing import Breaker
from tests.core.policies import TestPolicies, TestPolicy
from tests.core.routes import LARGE, MEDIUM, SMALL, SPARE, answer, routed, runs, tell
from tests.core.world import TENANT, World

BREAKER = Breaker(failures=3, window=5, open_s=60, trials=2)


def world_of(*cards: Any, **fields: Any) -> World:
    """A world whose breaker opens at three failures of five."""
    return routed(*cards, **{"breaker": BREAKER, **fields})


def circuit(world: World, name: str, of: str = "model") -> Circuit | None:
    """The circuit of a model or a provider."""
    raw = world.state.rows.get(f"circuit/{of}|{name}")
    return None if raw is None else CIRCUITS.decode(raw)


def state(world: World, name: str, of: str = "model") -> str:
    """Its state; without a row it is closed."""
    row = circuit(world, name, of)
    return "none" if row is None else row.state


def alerts(world: World) -> list[tuple[str, str]]:
    """What was told of circuits."""
    told = [one for one in world.of("Alert") if one["kind"] == "circuit_open"]
    return [(one["status"], one["summary"]) for one in told]


def test_it_opens_at_so_many_failures_of_the_last_reports_and_its_fallback_takes_over() -> None:
    """Three of five; the fallbacks of the catalogue come in their order, and people are told."""
    world = world_of()
    runs(world, "medium", 2)
    assert circuit(world, "medium") is None, "what goes well leaves nothing"
    runs(world, "medium", 2, "failed")
    runs(world, "medium", 1)
    assert (state(world, "medium"), answer(world, "r1")["model"]) == ("closed", "medium")
    runs(world, "medium", 1, "failed")
    assert state(world, "medium") == "open"
    told = answer(world, "r2")
    assert told["model"] == "large"
    assert told["explanation"] == (
        "Model medium keeps failing and is left: its fallback large is used (0.0175 USD, quality 0.90 of 0.60)."
    )
    assert alerts(world) == [
        (
            "firing",
            "Model medium is left: 3 of its last 4 reports failed or took too long. What would have used it goes to "
            "large, spare, as far as they may be used; one ask tries it from 2026-11-24T13:01:00.000Z on.",
        )
    ]


def test_failures_that_have_left_the_window_count_no_more() -> None:
    """Two failures, then five that go well: nothing is kept of them."""
    world = world_of()
    runs(world, "medium", 2, "failed")
    runs(world, "medium", 4)
    assert circuit(world, "medium") is not None
    runs(world, "medium", 1)
    assert circuit(world, "medium") is None


def test_one_ask_at_a_time_tries_it_and_two_that_go_well_close_it() -> None:
    """From open_s on; while a trial runs the others go to the fallback."""
    world = world_of()
    answer(world, "old", required_model="medium", estimated_time_s=600)
    runs(world, "medium", 3, "failed")
    world.advance(59.9)
    assert answer(world, "r1")["model"] == "large"
    world.advance(0.1)
    assert [answer(world, name)["model"] for name in ("r2", "r3")] == ["medium", "large"]
    assert state(world, "medium") == "half_open"
    tell(world, "old", "failed")
    assert state(world, "medium") == "half_open", "what was begun before counts for nothing"
    tell(world, "r2")
    assert [answer(world, name)["model"] for name in ("r4", "r5")] == ["medium", "large"]
    tell(world, "r3")
    assert state(world, "medium") == "half_open", "what was no trial counts for nothing"
    tell(world, "r4")
    assert (circuit(world, "medium"), answer(world, "r6")["model"]) == (None, "medium")
    assert alerts(world)[-1] == ("resolved", "Model medium is used again: 2 trials in a row went well.")


def test_a_trial_that_fails_opens_it_again_and_nobody_is_told_twice() -> None:
    """The time begins anew, and so do the trials."""
    world = world_of()
    runs(world, "medium", 3, "failed")
    world.advance(60)
    answer(world, "r1")
    tell(world, "r1")
    answer(world, "r2")
    tell(world, "r2", "failed")
    row = circuit(world, "medium")
    assert row is not None
    assert (row.state, row.since, row.good, row.trial) == ("open", world.now, 0, "")
    assert answer(world, "r3")["model"] == "large"
    world.advance(60)
    for name in ("r4", "r5"):
        assert answer(world, name)["model"] == "medium"
        tell(world, name)
    assert circuit(world, "medium") is None
    assert [status for status, _ in alerts(world)] == ["firing", "resolved"]


def test_a_trial_of_which_nobody_hears_makes_room_for_the_next() -> None:
    """It was cancelled, or its lease ended: neither good nor bad."""
    world = world_of()
    runs(world, "medium", 3, "failed")
    world.advance(60)
    assert answer(world, "r1")["model"] == "medium"
    tell(world, "r1", "cancelled")
    assert answer(world, "r2", estimated_time_s=20)["model"] == "medium"
    assert answer(world, "r3")["model"] == "large"
    world.advance(60)
    assert world.ask_row("r2").phase == "unknown"
    assert answer(world, "r4")["model"] == "medium"
    assert state(world, "medium") == "half_open"


@pytest.mark.parametrize(
    ("report", "counts"),
    [
        ({"kind": "failed"}, True),
        ({"kind": "completed", "success": False}, True),
        ({"kind": "completed", "latency_ms": 8_001}, True),
        ({"kind": "completed", "latency_ms": 8_000}, False),
        ({"kind": "completed"}, False),
        ({"kind": "cancelled"}, False),
        ({"kind": "failed", "error_class": "bad_input"}, False),
        ({"kind": "failed", "error_class": "BadInputError"}, False),
        ({"kind": "failed", "error": "403: blocked by the content policy"}, False),
        ({"kind": "failed", "error_class": "rate_limit"}, False),
        ({"kind": "failed", "error": "503 service unavailable"}, True),
        ({"kind": "failed", "error_class": "unheard of"}, True),
        ({"kind": "failed", "model": "unheard"}, False),
        ({"kind": "completed", "latency_ms": 900_000_000}, False),
    ],
)
def test_what_counts_as_a_failure(report: dict[str, Any], counts: bool) -> None:
    """Failures, and what took four times as long as usual; not what says nothing of the model or is not believed."""
    words = Retries(words=((" bad input ", "bad_input"), (" content policy ", "policy")))
    world = world_of(replace(MEDIUM, fallbacks=()), replace(LARGE, fallbacks=()), retries=words)
    for number in range(3):
        answer(world, f"u{number}", required_model="medium", estimated_time_s=300)
        world.advance(10)
        tell(world, f"u{number}", **report)
    assert state(world, "medium") == ("open" if counts else "none")


def test_one_agent_that_fails_does_not_take_a_model_from_the_others() -> None:
    """As long as others use it well; where they fail too, it is left."""
    world = world_of()
    for name in ("engineer", "writer"):
        body = {"agent": name, "tenant": TENANT, "role": "w", "capabilities": []}
        world.send("agents", {"event": "AgentRegistration", **body})
    for number in range(4):
        for name, kind in (("engineer", "failed"), ("writer", "completed")):
            answer(world, f"{name}{number}", agent=name, required_model="medium")
            tell(world, f"{name}{number}", kind, agent=name)
    assert state(world, "medium") == "closed"
    answer(world, "w9", agent="writer", required_model="medium")
    tell(world, "w9", "failed", agent="writer")
    assert state(world, "medium") == "open"


def test_a_provider_is_left_where_two_of_its_models_fail() -> None:
    """Then none of its models is used, also one that never failed."""
    third = replace(LARGE, name="third", quality_percent=95, fallbacks=())
    world = world_of(LARGE, MEDIUM, replace(SMALL, quality_percent=70), third, quality_percent=75)
    runs(world, "medium", 2, "failed")
    runs(world, "large", 1, "failed")
    assert (state(world, "north", "provider"), state(world, "medium")) == ("open", "closed")
    told = answer(world, "r1")
    assert told["model"] == "small"
    assert "Provider north is left" in alerts(world)[0][1]
    world.advance(60)
    assert answer(world, "r2")["model"] == "medium"
    tell(world, "r2")
    assert answer(world, "r3")["model"] == "medium"
    tell(world, "r3")
    assert circuit(world, "north", "provider") is None


def test_one_model_that_fails_does_not_take_its_provider_from_the_others() -> None:
    """Neither counts for more than half: three of one and one of another are no four, two and two are."""
    world = world_of(breaker=Breaker(failures=4, window=8))
    runs(world, "medium", 3, "failed")
    runs(world, "large", 1, "failed")
    assert state(world, "north", "provider") == "closed"
    runs(world, "large", 1, "failed")
    assert state(world, "north", "provider") == "open"


def limit(world: World, name: str, agent: str = "engineer", model: str = "medium", **fields: Any) -> None:
    """Let an agent be refused by a provider because it has asked too often, or report something else."""
    body = {"agent": agent, "tenant": TENANT, "role": "w", "capabilities": []}
    world.send("agents", {"event": "AgentRegistration", **body})
    answer(world, name, agent=agent, required_model=model)
    tell(world, name, **{"kind": "failed", "agent": agent, "error_class": "rate_limit", **fields})


def test_a_rate_limit_counts_against_the_provider_and_not_the_model() -> None:
    """Three of one model are enough where one agent is alone: what it asks goes to another provider, and comes back."""
    world = world_of(LARGE, MEDIUM, replace(SMALL, quality_percent=60))
    for number in range(3):
        limit(world, f"u{number}")
    assert (state(world, "medium"), state(world, "north", "provider")) == ("none", "open")
    assert "Provider north is left: 3 of its last 3 reports failed" in alerts(world)[0][1]
    assert answer(world, "r1")["model"] == "small"
    world.advance(60)
    limit(world, "r2")
    assert state(world, "north", "provider") == "open", "tried, and refused again"
    world.advance(60)
    for number in range(2):
        limit(world, f"v{number}", kind="completed", error_class=None)
    assert circuit(world, "north", "provider") is None


def test_one_agent_that_asks_too_often_does_not_take_a_provider_from_the_others() -> None:
    """Its own key may be at its end; where another is refused as well, the provider is left."""
    world = world_of()
    for number in range(4):
        limit(world, f"u{number}")
        limit(world, f"v{number}", "writer", "large", kind="completed", error_class=None)
    assert state(world, "north", "provider") == "closed"
    limit(world, "v9", "writer", "large")
    assert state(world, "north", "provider") == "open"


def test_a_rate_limit_of_a_model_without_a_provider_counts_against_the_model() -> None:
    """There is nothing else that could be left."""
    world = world_of(replace(MEDIUM, provider="", fallbacks=()), LARGE)
    for number in range(3):
        limit(world, f"u{number}")
    assert state(world, "medium") == "open"


def test_what_is_left_is_not_second() -> None:
    """The approval names as second what could be used."""
    world = world_of()
    runs(world, "large", 3, "failed")
    told = answer(world, "r1")
    assert told["model"] == "medium"
    assert told["explanation"].endswith("; there is no second.")


def test_a_fallback_must_be_able_to_do_it_and_good_enough() -> None:
    """The first cannot do it, the second is not good enough, the third is used."""
    able = frozenset(("vision",))
    first = replace(SPARE, name="first")
    second = replace(SMALL, name="second", capabilities=able)
    medium = replace(MEDIUM, capabilities=able, fallbacks=("first", "second", "large"))
    world = world_of(medium, LARGE, first, second)
    runs(world, "medium", 3, "failed")
    told = answer(world, "r1", tags=["needs:vision"])
    assert told["model"] == "large"
    assert "its fallback large is used" in told["explanation"]


def test_fallbacks_are_held_against_budgets_policies_and_what_is_asked() -> None:
    """One that the budget of its model cannot take is passed over; policies see the one that is used."""
    bound = Bound("usd", "total", Limit(1_000, "total"))
    budgets = Budgets(more={("model", "*", "large"): (bound,)})
    policy = TestPolicy("no", "block", "model == 'spare' and cost > 0.02")
    world = world_of(budgets=budgets, policies=TestPolicies([policy]))
    runs(world, "medium", 3, "failed")
    told = answer(world, "r1")
    assert (told["model"], told["cost_limit_usd"]) == ("spare", 0.007)
    tokens = {"estimated_input_tokens": 10_000, "estimated_output_tokens": 500}
    assert answer(world, "r2", **tokens)["reason"] == "policy_blocked"
    assert answer(world, "r3", tags=["needs:vision"])["reason"] == "budget_exhausted"


def test_what_requires_a_model_that_is_left_goes_to_its_fallback_or_nowhere() -> None:
    """A fallback may be worse than what is asked of a choice; without one it is denied, and told until when."""
    world = world_of(LARGE, replace(MEDIUM, fallbacks=("small",)), SMALL, replace(SPARE, fallbacks=()))
    runs(world, "medium", 3, "failed")
    told = answer(world, "r1", required_model="medium")
    assert told["model"] == "small"
    assert told["explanation"].startswith(
        "The required model medium keeps failing and is left: its fallback small is used"
    )
    runs(world, "spare", 3, "failed")
    told = answer(world, "r2", required_model="spare")
    assert (told["decision"], told["reason"]) == ("denied", "no_model")
    assert told["explanation"] == (
        "Model spare keeps failing or is slow, and is left until 2026-11-24T13:01:00.000Z. "
        "None of its fallbacks may be used."
    )


def test_where_every_model_is_left_nothing_runs_until_one_may_be_tried() -> None:
    """It is denied at once rather than paid for in vain."""
    world = world_of(replace(MEDIUM, fallbacks=()))
    runs(world, "medium", 3, "failed")
    assert answer(world, "r1")["reason"] == "no_model"
    world.advance(60)
    assert answer(world, "r2")["model"] == "medium"


def test_a_downgrade_passes_over_what_is_left() -> None:
    """A policy sends large one down: to small, while medium is left."""
    policy = TestPolicy("down", "downgrade_model", "model == 'large'")
    world = world_of(LARGE, MEDIUM, SMALL, policies=TestPolicies([policy]), quality_percent=80)
    assert answer(world, "r1")["model"] == "medium"
    runs(world, "medium", 3, "failed")
    assert answer(world, "r2")["model"] == "small"


def test_what_is_not_used_for_a_day_is_forgotten() -> None:
    """An open one is told as over; its row goes, so that rows are never more than models and providers of a day."""
    world = world_of(quality_percent=80)
    runs(world, "medium", 3, "failed")
    runs(world, "large", 1, "failed")
    world.advance(IDLE_MS / 1000)
    assert not [key for key in world.state.rows if key.startswith("circuit/")]
    assert alerts(world)[-1] == ("resolved", "Provider north is used again: it has not been used for a day.")


def test_turned_off_it_neither_counts_nor_leaves() -> None:
    """With routing off no report makes a row."""
    world = routed(mode="off")
    for number in range(12):
        answer(world, f"u{number}", required_model="medium")
        tell(world, f"u{number}", "failed")
    assert not [key for key in world.state.rows if key.startswith("circuit/")]


def test_every_way_ends_in_a_state_and_none_is_a_dead_end() -> None:
    """From each state something leads back to closed."""
    ways: dict[str, set[str]] = {}
    for (before, _), after in TABLE.items():
        ways.setdefault(before, set()).add(after)
    assert set(ways) == {"closed", "open", "half_open"}
    assert all("closed" in after for after in ways.values())
