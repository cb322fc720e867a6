"""The plan of an ask for its failure, and how much of a provider's asks are retries."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ops_stream.core.draft import Draft
from ops_stream.core.inputs import Tick
from ops_stream.core.retries import attempts_of, backoff_ms, longest_ms, plan_of, ways_after
from ops_stream.core.rows import RETRY_BUDGETS
from ops_stream.core.rules_lifecycle import Lifecycle
from ops_stream.core.rules_model import Rules, Supervisor
from ops_stream.core.rules_retries import Plan, Retries
from ops_stream.core.rules_routing import ModelCard
from ops_stream.core.state import State
from tests.core.routes import answer, routed
from tests.core.world import DIGEST, START_MS, World, from_snapshot, refold
from tests.scenarios.retrying import shipped
from tests.thorough import examples

PLANS = st.builds(
    Plan,
    max_attempts=st.integers(1, 100),
    base_ms=st.integers(0, 10_000),
    factor_percent=st.integers(100, 1_000),
    cap_ms=st.integers(10_000, 3_600_000),
    jitter_percent=st.integers(0, 100),
    ways=st.lists(st.sampled_from(("same", "model", "agent")), min_size=1, max_size=4).map(tuple),
)


@given(PLANS, st.integers(1, 1_000_000), st.text(max_size=9))
def test_a_wait_is_within_its_bounds(plan: Plan, attempt: int, request_id: str) -> None:
    """Never longer than the cap, never shorter than what chance may take off; the same for the same ask."""
    longest, wait = longest_ms(plan, attempt), backoff_ms(plan, attempt, "team-a", request_id)
    assert longest - longest * plan.jitter_percent // 100 <= wait <= longest <= plan.cap_ms
    assert backoff_ms(plan, attempt, "team-a", request_id) == wait


@given(PLANS, st.integers(1, 200))
def test_waits_do_not_get_shorter_before_chance_is_in_it(plan: Plan, attempt: int) -> None:
    """Each is at least as long as the one before, and the first is the one of the rules."""
    assert longest_ms(plan, attempt) <= longest_ms(plan, attempt + 1)
    assert longest_ms(plan, 1) == plan.base_ms


def test_waits_of_many_that_failed_together_are_spread() -> None:
    """A hundred asks come back over the whole of what chance may take off."""
    waits = [backoff_ms(Plan(), 5, "team-a", f"r{number}") for number in range(100)]
    assert min(waits) < 8_500
    assert max(waits) > 15_500
    assert len(set(waits)) > 90
    assert backoff_ms(Plan(), 5, "team-b", "r1") != backoff_ms(Plan(), 5, "team-a", "r1")


@given(PLANS, st.integers(1, 200))
def test_the_ways_of_an_attempt_are_those_of_the_plan_from_there_on(plan: Plan, attempt: int) -> None:
    """The last one holds for all beyond; where nothing else is there, the same may be tried if the plan has it."""
    ways = list(ways_after(plan, attempt))
    assert ways[0] == plan.ways[min(attempt, len(plan.ways)) - 1]
    assert set(ways) <= set(plan.ways)
    assert ("same" in ways) == ("same" in plan.ways)


def test_no_rule_no_further_attempt() -> None:
    """A class without a plan is not tried again, and `retries_max` bounds every plan."""
    draft = Draft(State(0, 1), Rules(DIGEST, retries=Retries(on=True)), START_MS, Tick())
    assert plan_of(draft, "transient").max_attempts == 1
    rules = Rules(DIGEST, supervisor=Supervisor(retries_max=2), retries=shipped())
    draft = Draft(State(0, 1), rules, START_MS, Tick())
    assert attempts_of(draft, plan_of(draft, "transient")) == 3
    assert attempts_of(draft, plan_of(draft, "policy")) == 2


# -- how much of a provider's asks are retries --------------------

NORTH = ModelCard("large", 5_000_000, 25_000_000, "north")
SOUTH = ModelCard("small", 100_000, 400_000, "south", quality_percent=50)


def world_with(**fields: Any) -> World:
    """A world with two models at two providers."""
    lenient = Lifecycle(warn_after=0, suspend_after=0)
    return routed(NORTH, SOUTH, retries=replace(shipped(), **fields), lifecycle=lenient, mode="off")


def rows_of(world: World) -> dict[str, Any]:
    """Give the rows about providers' retries."""
    return {
        key.partition("/")[2]: RETRY_BUDGETS.decode(raw)
        for key, raw in world.state.rows.items()
        if key.startswith("retrybudget/")
    }


@settings(max_examples=examples(30, quick=3), deadline=None, derandomize=True)
@given(st.integers(0, 2**32))
def test_no_provider_gets_more_retries_than_it_may(seed: int) -> None:
    """Over every stretch of minutes: what each minute lets in, and the share of the other asks since the first retry.

    Whatever came before is in that share at most as what could be saved up.
    """
    rng = Random(seed)
    percent, least = rng.choice((0, 20, 50, 100)), rng.choice((1, 2, 5))
    world = world_with(budget_percent=percent, budget_min_per_minute=least)
    world.strict = False  # other histories hold the books; this one counts retries
    let: list[tuple[int, str, bool]] = []
    for number in range(150):
        retry, model = rng.random() < 0.6, rng.choice(("large", "large", "small"))
        fields = {"estimated_cost_usd": 0.01, "retry_count": int(retry), "required_model": model}
        told = answer(world, f"r{number}", **fields)
        if told["decision"] == "approved":
            let.append((world.now // 60_000, model, retry))
        else:
            assert told["reason"] == "retries_exhausted"
            assert retry
            assert told["retry_at"] > told["decided_at"]
        world.advance(rng.choice((0.001, 0.5, 5, 61 if rng.random() < 0.2 else 1)))
    for model in ("large", "small"):
        mine = [(minute, retry) for minute, name, retry in let if name == model]
        minutes = len({minute for minute, retry in mine if retry})
        retries = sum(retry for _, retry in mine)
        others = len(mine) - retries
        assert retries <= minutes * least + others * percent // 100, (retries, minutes, others)


def test_what_is_never_tried_again_leaves_no_row() -> None:
    """The first retry of a provider begins to count; an hour after the last one nothing is kept."""
    world = world_with()
    answer(world, "r1", estimated_cost_usd=0.01)
    assert rows_of(world) == {}
    answer(world, "r2", estimated_cost_usd=0.01, retry_count=1)
    answer(world, "r3", estimated_cost_usd=0.01)
    (row,) = rows_of(world).values()
    assert (row.used, row.earned) == (1, 200)
    world.advance(3_601)
    assert rows_of(world) == {}


def test_those_that_are_put_off_are_spread_over_minutes() -> None:
    """A storm of retries is told to come back over as many minutes as it takes, at most an hour."""
    world = world_with(budget_percent=0, budget_min_per_minute=10)
    world.strict = False  # a thousand asks, and nothing here but their times
    told = [
        answer(world, f"r{number}", estimated_cost_usd=0.001, retry_count=1).get("retry_at", "")
        for number in range(1_000)
    ]
    minutes = sorted({at[:16] for at in told if at})
    assert sum(not at for at in told) == 10
    assert len(minutes) == 60
    assert len({at for at in told if at}) > 900


def test_recovery_has_the_same_rows_and_times() -> None:
    """Folded from the journal, or from rows in another order, the next retry is answered the same."""
    world = world_with(budget_percent=0, budget_min_per_minute=1)
    for number in range(3):
        answer(world, f"r{number}", estimated_cost_usd=0.01, retry_count=1)
    folded, copied = refold(world.partitions[0]), from_snapshot(world.state)
    assert folded.rows == copied.rows == world.state.rows
    assert folded.next_due_ms() == copied.next_due_ms() == world.state.next_due_ms()
