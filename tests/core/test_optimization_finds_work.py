"""What could be better about agents, attempts, estimates, workflows and limits is found, and not just below that."""

from __future__ import annotations

import pytest

from ops_stream.core import learning_room
from ops_stream.core.draft import Draft
from ops_stream.core.inputs import Tick
from ops_stream.core.optimization_finds import find
from ops_stream.core.optimization_finds_figures import asks_in_30_days
from ops_stream.core.rows import ATTEMPTS, Budget, FlowLearned, Row
from ops_stream.core.rules_budgets import Bound, Budgets, Limit
from ops_stream.core.rules_model import Supervisor
from tests.core.finding import (
    NOW,
    agent,
    flow,
    only,
    recorded,
    rules_with,
    run,
    tried,
)
from tests.core.flows import hand_in, register, report, step
from tests.core.policies import TestPolicies, TestPolicy
from tests.core.test_step import ask, registered
from tests.core.world import TENANT, World, from_snapshot, refold

# Estimates, agents, attempts


def test_it_is_found_that_asks_cost_more_than_they_estimate() -> None:
    """Real asks: 40 that estimate a dollar and cost two."""
    world = registered(World(rules_with(), strict=False))
    for number in range(40):
        run(world, f"r{number}", cost_usd=2)
    found = find(Draft(world.state, world.rules, world.now, Tick()), TENANT)
    (one,) = [one for one in found if one.kind == "hold_safety"]
    assert (one.path, one.after, one.effect, one.samples) == (
        "supervisor.hold_safety",
        "learned",
        1_000_000,
        40,
    )
    assert one.asks_30d == asks_in_30_days(40_000, 7 * 86_400)
    assert one.confidence >= 95
    assert not one.certain
    assert (
        "40 asks of agents that estimate too little (1 of them) cost 2.00 USD each where 1.00 USD was estimated"
        in one.why
    )


def test_estimates_that_are_about_right_are_left_alone() -> None:
    """Too few asks, too small a difference, or holds that are learned already."""
    assert only("hold_safety", recorded("a", 200, 100_000, 150_000))
    assert only("hold_safety", recorded("a", 29, 100_000, 300_000)) == []
    assert only("hold_safety", recorded("a", 200, 100_000, 105_000)) == []
    assert only("hold_safety", recorded("a", 200, 100_000, 50_000)) == []
    learned = rules_with(supervisor=Supervisor(hold_safety="learned"))
    assert only("hold_safety", recorded("a", 200, 100_000, 150_000), learned) == []


def test_an_agent_to_avoid_and_one_to_prefer_are_found() -> None:
    """The worst and the best of five, each beside the others; of two only the worse, for that is the same."""
    rows = agent("bad", 100, 50) | agent("best", 300, 299) | agent("c", 100, 85) | agent("d", 100, 84)
    found = {one.after: one for one in only("agent", rows)}
    assert {after: one.path for after, one in found.items()} == {
        "avoided": "agents.choice.sum.bad",
        "preferred": "agents.choice.sum.best",
    }
    assert found["avoided"].scope == "agent bad at task type sum"
    assert found["avoided"].effect == pytest.approx(100_000 * (468 / 500 - 0.5), abs=500)
    assert found["avoided"].asks_30d == asks_in_30_days(100_000, 7 * 86_400)
    pair = only("agent", agent("bad", 100, 50) | agent("good", 100, 95))
    assert [one.after for one in pair] == ["avoided"]


@pytest.mark.parametrize(
    "rows",
    [
        agent("bad", 29, 5) | agent("good", 100, 95),
        agent("bad", 100, 91) | agent("good", 100, 95),
        agent("bad", 100, 50) | agent("good", 100, 95, capable=False),
        agent("bad", 100, 50),
    ],
    ids=["few", "alike", "incapable", "alone"],
)
def test_no_agent_is_found_just_below(rows: dict[str, Row]) -> None:
    """Too few runs, within the margin, or nobody else who could do it."""
    assert only("agent", rows) == []


def test_a_plan_with_attempts_that_are_no_use_is_found() -> None:
    """The second attempt is worth it, the third is not: two of four attempts are enough, and that is certain."""
    (found,) = only("retry_plan", tried((1_000, 700), (300, 120), (180, 4), (170, 2)))
    assert (found.path, found.before, found.after) == ("retries.max_attempts.sum", "4", "2")
    assert (found.effect, found.samples, found.certain) == (50_000 * 350 // 1_000, 350, True)
    assert found.confidence >= 95
    assert found.why.startswith("From attempt 3 on 1.7 % of 350 attempts went well, less than the 10 %")


@pytest.mark.parametrize(
    ("places", "after"),
    [
        (((1_000, 700), (300, 120), (29, 0)), []),
        (((1_000, 700), (300, 120), (180, 18), (170, 17)), []),
        (((1_000, 700), (300, 120), (180, 60), (170, 60), (160, 0)), []),
        (((1_000, 700), (300, 40), (260, 0)), ["2"]),
        (((1_000, 700), (300, 4), (260, 90)), []),
    ],
    ids=["few", "worth-it", "beyond-the-plan", "second-pays", "third-pays"],
)
def test_attempts_that_are_worth_it_stay(places: tuple[tuple[int, int], ...], after: list[str]) -> None:
    """Too few, often enough, more than the plan has: nothing is cut, and never one that pays or leads to one."""
    assert [one.after for one in only("retry_plan", tried(*places))] == after


def test_attempts_are_counted_as_they_end_while_it_is_looked_for() -> None:
    """By the asks' own word which attempt it is; cancelled ones say nothing; without the rules nothing is kept."""
    world = registered(World(rules_with(), strict=False))
    run(world, "r1", "failed", cost_usd=0.5, task_type="sum")
    run(world, "r2", cost_usd=0.25, task_type="sum", retry_count=1)
    run(world, "r3", "cancelled", task_type="sum", retry_count=1)
    run(world, "r4", task_type="sum", retry_count=50)
    row = ATTEMPTS.decode(world.state.rows[f"attempts/{TENANT}|sum"])
    assert row.ended == (1_000, 1_000, *(0,) * 7, 1_000)
    assert row.good == (0, 1_000, *(0,) * 7, 1_000)
    assert row.cost == (500_000_000, 250_000_000, *(0,) * 8)
    quiet = registered(World(rules_with(mode="off"), strict=False))
    run(quiet, "r1", required_model="dear")
    assert not [key for key in quiet.state.rows if key.startswith(("attempts/", "pooled/"))]
    assert find(Draft(quiet.state, quiet.rules, quiet.now, Tick()), TENANT) == []


def test_rows_of_attempts_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that were not used for longest make room; the index is the same as a recovered one's."""
    monkeypatch.setattr(learning_room, "POOLED_MAX", 3)
    world = registered(World(rules_with(), strict=False))
    for number in range(9):
        world.advance(1)
        run(world, f"r{number}", task_type=f"kind-{number}", workflow_id=f"w{number}")
    kept = sorted(key for key in world.state.rows if key.startswith("attempts/"))
    assert kept == [f"attempts/{TENANT}|kind-{number}" for number in (6, 7, 8)]
    for other in (refold(world.partitions[0]), from_snapshot(world.state)):
        assert other.learned.of_agent == world.state.learned.of_agent
        assert other.learned.flows_of == world.state.learned.flows_of
        assert other.learned.bytes == world.state.learned.bytes


# Workflows and limits, for people


def test_a_bottleneck_is_found_of_one_workflow_and_of_many_alike() -> None:
    """Nine tenths of the time are spent on one of two types of work."""
    (found,) = only("workflow", flow("nightly", fetch=(50, 1_000), review=(50, 9_000)))
    assert (found.path, found.after, found.effect, found.risk) == (
        "workflows.nightly",
        "shorten review",
        9_000,
        "none",
    )
    assert "90.0 % of the time of this workflow went into review: 50 steps of 9,000 ms each" in found.why
    many = {key: row for n in range(40) for key, row in flow(f"w{n}", fetch=(1, 10), review=(1, 90)).items()}
    (found,) = only("workflow", many)
    assert (found.path, found.samples) == ("workflows.fetch+review", 40)
    assert only("workflow", flow("nightly", fetch=(29, 1_000), review=(29, 9_000))) == []
    assert only("workflow", flow("nightly", fetch=(50, 5_000), review=(50, 5_100))) == []


@pytest.mark.parametrize(("output", "after"), [({}, ["second beside first"]), ({"output": "Here."}, [])])
def test_steps_that_wait_for_nothing_are_found(output: dict[str, str], after: list[str]) -> None:
    """In 40 running workflows the first step brought the second nothing; else nothing is said."""
    world = World(rules_with(), strict=False)
    register(world, "engineer", "first", max_concurrency=100)
    register(world, "other", "second", max_concurrency=100)
    for number in range(40):
        steps = [step(f"a{number}", task_type="first"), step("b", f"a{number}", task_type="second")]
        hand_in(world, *steps, workflow_id=f"w{number}")
        report(world, f"a{number}", **output)
    found = find(Draft(world.state, world.rules, world.now, Tick()), TENANT)
    assert [one.after for one in found if one.kind == "workflow" and "beside" in one.after] == after


def spent(amounts: list[int]) -> dict[str, Row]:
    """Days of agents and what they spent."""
    rows: dict[str, Row] = {}
    for number, amount in enumerate(amounts):
        rows |= agent(f"a{number}", 1, 1)
        rows[f"budget/agent|{TENANT}|a{number}|2026-11-24"] = Budget(spent=amount)
    return rows


def test_limits_that_are_used_up_or_hardly_touched_are_found() -> None:
    """Of 40 agents with ten dollars a day a quarter use all of them, or none uses a tenth."""
    limit = Bound("usd", "day", Limit(10_000_000, "day"))
    rules = rules_with(budgets=Budgets(more={("agent", TENANT, "*"): (limit,)}))
    (low,) = only("cap", spent([10_000_000] * 10 + [5_000_000] * 30), rules)
    assert (low.path, low.before, low.after) == ("budgets.agent.usd.day", "10.00 USD", "20.00 USD")
    (high,) = only("cap", spent([900_000] * 40), rules)
    assert (high.before, high.after) == ("10.00 USD", "2.00 USD")
    assert only("cap", spent([10_000_000] * 3 + [5_000_000] * 37), rules) == []
    assert only("cap", spent([2_000_000] * 40), rules) == []
    assert only("cap", spent([900_000] * 29), rules) == []


def test_limits_of_tasks_are_held_beside_the_tasks_that_are_remembered() -> None:
    """40 tasks of a dollar each, where a hundred are allowed."""
    rules = rules_with(budgets=Budgets(tasks={TENANT: Limit(100_000_000, "task")}))
    world = registered(World(rules, strict=False))
    for number in range(40):
        world.send("task-requests", ask(f"r{number}", task_id=f"t{number}"))
        body = {
            "event_id": f"e{number}",
            "request_id": f"r{number}",
            "task_id": f"t{number}",
            "agent": "engineer",
        }
        world.send("telemetry", {**body, "tenant": TENANT, "kind": "completed", "cost_usd": 1})
    found = find(Draft(world.state, rules, world.now, Tick()), TENANT)
    assert [(one.path, one.after) for one in found if one.kind == "cap"] == [
        ("budgets.task.usd.task", "2.00 USD")
    ]


def test_a_cap_that_steps_are_spent_beyond_is_found() -> None:
    """40 steps are capped to a tenth of a dollar and cost a half."""
    policies = TestPolicies([TestPolicy("tight", "cap", parameters={"cost_micros": 100_000})])
    world = World(rules_with(policies=policies), strict=False)
    register(world, "engineer", max_concurrency=100)
    for number in range(40):
        hand_in(world, step(f"a{number}"), workflow_id=f"w{number}")
        report(world, f"a{number}", cost_usd=0.5)
    found = find(Draft(world.state, world.rules, world.now, Tick()), TENANT)
    (one,) = [one for one in found if one.kind == "cap"]
    assert (one.path, one.before, one.after) == ("policies.tight.cost_usd", "0.10 USD", "0.50 USD")


def test_a_workflow_without_any_times_says_nothing() -> None:
    """Rows from before steps were told apart, and steps that took no time."""
    assert only("workflow", {f"flowlearned/{TENANT}|w": FlowLearned(NOW, NOW, good=100)}) == []
    assert only("workflow", flow("w", fetch=(50, 0), review=(50, 0))) == []
