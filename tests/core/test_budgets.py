"""Budgets in detail: what is held, what is said, and what a change of windows leaves behind."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ops_stream.contract.clocktext import parse_time
from ops_stream.core import killswitch, limits_command
from ops_stream.core.budgets import FACTOR_MAX, SAMPLES_MIN, hold_for
from ops_stream.core.draft import Draft
from ops_stream.core.inputs import Tick
from ops_stream.core.rows import Record
from ops_stream.core.rules_model import Budgets, Enforcement, Limit, Rules, Supervisor
from ops_stream.core.state import State
from ops_stream.rules.conf_budgets import BudgetEntry, budgets_from
from ops_stream.rules.conf_zones import named_zone
from tests.core.test_step import ask, registered
from tests.core.world import DIGEST, START_MS, TENANT, World

LEARNED = Rules(DIGEST, supervisor=Supervisor(hold_safety="learned"))
TASK_DAY = Budgets({}, {"*": Limit(10_000_000, "day")})
TODAY, MONTH = "2026-11-24", "2026-11"


def limited(*entries: dict[str, Any], **settings: Any) -> World:
    """A world with these limits and a registered agent."""
    budgets = budgets_from([BudgetEntry.model_validate(entry) for entry in entries])
    return registered(World(Rules(DIGEST, supervisor=Supervisor(**settings), budgets=budgets)))


def set_budget(world: World, number: int, **parameters: Any) -> None:
    """Send the command."""
    body = {"command_id": f"c{number}", "command": "set_budget", "tenant": TENANT, "issued_by": "olga"}
    world.send("control", {**body, "parameters": parameters})


def report(world: World, request_id: str = "r1", **fields: Any) -> None:
    """Report the end of an ask."""
    body = {"event_id": f"e-{request_id}", "request_id": request_id, "task_id": "t1", "agent": "engineer"}
    world.send("telemetry", {**body, "tenant": TENANT, "kind": "completed", **fields})


@pytest.mark.parametrize(
    ("held", "cost", "ended", "factor"),
    [
        (10, 15, SAMPLES_MIN, 1.5),
        (10, 15, SAMPLES_MIN - 1, 1),
        (10, 5, SAMPLES_MIN, 1),
        (10, 99, SAMPLES_MIN, FACTOR_MAX),
        (0, 99, SAMPLES_MIN, 1),
    ],
)
def test_a_learned_hold_follows_the_agents_own_past(held: int, cost: int, ended: int, factor: float) -> None:
    """By what its asks cost for each dollar estimated, never below 1 nor above 3, and not from too few of them."""
    draft = Draft(State(0, 1), LEARNED, START_MS, Tick())
    record = Record(done=ended, held=held, cost=cost)
    assert hold_for(draft, 1_000_000, record) == factor * 1_000_000
    off = Draft(State(0, 1), Rules(DIGEST), START_MS, Tick())
    assert hold_for(off, 1_000_000, record) == 1_000_000


def test_a_learned_hold_is_rounded_up_to_a_micro_dollar() -> None:
    """A third more of one micro-dollar is two of them."""
    draft = Draft(State(0, 1), LEARNED, START_MS, Tick())
    assert hold_for(draft, 1, Record(done=SAMPLES_MIN, held=3, cost=4)) == 2


def test_what_is_learned_does_not_change_by_being_used() -> None:
    """The factor is that of cost to estimate: a larger hold does not make the next one smaller."""
    world = registered(World(LEARNED))
    for number in range(SAMPLES_MIN + 5):
        world.send("task-requests", ask(f"r{number}"))
        report(world, f"r{number}", cost_usd=2)
        world.advance(0.001)
    assert world.answers(f"r{SAMPLES_MIN - 1}")[0]["cost_limit_usd"] == 1
    assert world.answers(f"r{SAMPLES_MIN + 4}")[0]["cost_limit_usd"] == 2


def test_an_ask_without_further_limits_has_no_more_to_remember() -> None:
    """The rows of an open ask hold nothing of what is not configured."""
    world = registered(World())
    world.send("task-requests", ask())
    row = world.state.rows[f"ask/{TENANT}|r1"]
    assert all(name not in row for name in (b'"more"', b'"tokens"', b'"asked"'))
    assert b'"kinds"' not in world.state.rows[f"budget/tenant|{TENANT}|{MONTH}"]


def test_the_alert_of_a_threshold_says_all_of_it() -> None:
    """Which limit, of what, how much of it is used, and once a window only."""
    world = limited({"limit_usd": 10, "window": "day", "soft": True})
    for number in range(9):
        world.send("task-requests", ask(f"r{number}"))
    summaries = [alert["summary"] for alert in world.of("Alert")]
    assert summaries == [
        f"The soft limit of tenant {TENANT} for {TODAY}, 10.00 USD, has reached 50 %: 50 % of it is used, "
        "held 5.00 USD, unknown 0.00 USD, spent 0.00 USD.",
        f"The soft limit of tenant {TENANT} for {TODAY}, 10.00 USD, has reached 80 %: 80 % of it is used, "
        "held 8.00 USD, unknown 0.00 USD, spent 0.00 USD.",
    ]


def test_a_closed_window_is_carried_on_when_it_is_forgotten() -> None:
    """What a day has spent counts in the month that took its place, also once the day's row is gone."""
    world = limited({"limit_usd": 10, "window": "day"}, remember_s=60)
    world.send("task-requests", ask())
    report(world, cost_usd=4)
    set_budget(world, 1, limit_usd=5, window="month")
    assert world.budget(f"tenant|{TENANT}|{MONTH}").joined == ((TODAY, 0),)
    world.advance(2 * 86_400)
    assert world.budget(f"tenant|{TENANT}|{TODAY}") is None
    month = world.budget(f"tenant|{TENANT}|{MONTH}")
    assert (month.joined, month.carried) == ((), 4_000_000)
    world.send("task-requests", ask("r2", estimated_cost_usd=2))
    assert world.answers("r2")[0]["reason"] == "budget_exhausted"


def test_what_was_carried_on_counts_also_where_nothing_else_is_limited() -> None:
    """Other rules with a longer window, the shorter one long forgotten: what was spent there counts all the same."""
    plain = Budgets({"*": Limit(10_000_000, "day")})
    world = registered(World(Rules(DIGEST, supervisor=Supervisor(remember_s=60), budgets=plain)))
    world.send("task-requests", ask())
    report(world, cost_usd=4)
    world.rules = replace(world.rules, budgets=Budgets({"*": Limit(5_000_000, "month")}))
    world.send("task-requests", ask("r2", estimated_cost_usd=2))
    assert "spent 4.00 USD" in world.answers("r2")[0]["explanation"]
    world.advance(2 * 86_400)
    assert world.budget(f"tenant|{TENANT}|{MONTH}").carried == 4_000_000
    world.send("task-requests", ask("r3", estimated_cost_usd=2))
    assert "spent 4.00 USD" in world.answers("r3")[0]["explanation"]


def test_what_windows_leave_behind_is_bounded() -> None:
    """However often an operator changes the window, the rows in force stay small and nothing is lost."""
    world = limited({"limit_usd": 200, "window": "month"})
    for number in range(100):
        world.send("task-requests", ask(f"r{number}"))
        set_budget(world, number, limit_usd=200, window=("day", "month")[number % 2])
    rows = [raw for key, raw in world.state.rows.items() if key.startswith(f"budget/tenant|{TENANT}")]
    assert max(map(len, rows)) < 2_000
    world.send("task-requests", ask("last", estimated_cost_usd=100.01))
    assert world.answers("last")[0]["reason"] == "budget_exhausted"


def test_a_task_that_only_was_looked_at_is_forgotten() -> None:
    """Where a task's window changes and no ask of it is admitted any more, none of its rows stays for ever."""
    world = registered(World(Rules(DIGEST, supervisor=Supervisor(remember_s=60), budgets=TASK_DAY)))
    world.send("task-requests", ask())
    report(world, cost_usd=4)
    world.rules = replace(world.rules, budgets=Budgets({}, {"*": Limit(4_000_000, "task")}))
    world.send("task-requests", ask("r2"))
    assert "spent 4.00 USD" in world.answers("r2")[0]["explanation"]
    world.advance(10 * 86_400)
    assert not [key for key in world.state.rows if key.startswith("budget/task")]


def test_rows_of_earlier_versions_go_on() -> None:
    """A state that knows one limit a tenant and a task is decided on as before, and then with more limits."""
    world = registered(World(Rules(DIGEST, budgets=Budgets({"*": Limit(3_000_000, "month")}))))
    world.send("task-requests", ask())
    entries = [
        BudgetEntry.model_validate(one) for one in ({"limit_usd": 3}, {"limit_usd": 2, "window": "day"})
    ]
    world.rules = replace(world.rules, budgets=budgets_from(entries))
    world.send("task-requests", ask("r2", estimated_cost_usd=1.5))
    assert f"for {TODAY} is 2.00 USD: held 1.00 USD" in world.answers("r2")[0]["explanation"]
    world.send("task-requests", ask("r3"))
    assert world.answers("r3")[0]["decision"] == "approved"
    report(world, cost_usd=0)
    world.send("task-requests", ask("r4"))
    assert world.answers("r4")[0]["decision"] == "approved"


@pytest.mark.parametrize("scope", ["tenant", "agent", "workflow", "model"])
@pytest.mark.parametrize(
    ("window", "between", "days"), [("month", "day", 3), ("total", "day", 3), ("total", "month", 70)]
)
def test_a_window_that_comes_back_counts_what_it_had_however_long_nothing_was_asked(
    scope: str, window: str, between: str, days: int
) -> None:
    """The rows of the window in between may be forgotten by then; those of the one that comes back are not."""
    world = limited({"scope": scope, "limit_usd": 10, "window": window}, remember_s=86_400)
    world.now = parse_time("2026-11-04T12:00:00Z")
    for number, (request_id, wanted) in enumerate((("r1", 8), ("r2", 1), ("r3", 8))):
        if number == 2:
            world.advance(days * 86_400)
        if number:
            set_budget(world, number, scope=scope, limit_usd=10, window=between if number == 1 else window)
        body = ask(request_id, task_id=request_id, estimated_cost_usd=wanted)
        world.send("task-requests", body | {"workflow_id": "w1", "required_model": "large"})
        if number != 2 and world.answers(request_id)[-1]["decision"] == "approved":
            report(world, request_id, cost_usd=wanted)
    # What belongs to a workflow is forgotten with the last of its asks, as it always was.
    expected = "approved" if (scope, window) == ("workflow", "total") else "denied"
    assert world.answers("r3")[-1]["decision"] == expected


def test_a_third_window_counts_the_first_although_the_second_is_forgotten() -> None:
    """Month, day and, three days later, week: the row of the day is gone, that of the month is not."""
    world = limited({"scope": "agent", "limit_usd": 10, "window": "month"})
    world.now = parse_time("2026-11-23T12:00:00Z")
    world.send("task-requests", ask("r1", estimated_cost_usd=8))
    report(world, "r1", cost_usd=8)
    set_budget(world, 1, scope="agent", limit_usd=10, window="day")
    world.send("task-requests", ask("r2", estimated_cost_usd=1))
    report(world, "r2", cost_usd=1)
    world.advance(3 * 86_400)
    assert world.budget("agent|team-a|engineer|2026-11-23") is None
    set_budget(world, 2, scope="agent", limit_usd=10, window="week")
    world.send("task-requests", ask("r3", estimated_cost_usd=8))
    assert world.answers("r3")[-1]["decision"] == "denied"
    world.advance(7 * 86_400)
    world.send("task-requests", ask("r4", estimated_cost_usd=8))
    assert world.answers("r4")[-1]["decision"] == "approved"


def test_a_day_that_another_time_zone_makes_longer_is_not_forgotten_before_it_is_over() -> None:
    """The window of the same name goes on, with all that it has, however short ids are remembered."""
    budgets = budgets_from(
        [BudgetEntry.model_validate({"scope": "tenant", "limit_usd": 10, "window": "day"})]
    )
    zones = {"*": named_zone("Pacific/Auckland")}
    world = World(Rules(DIGEST, supervisor=Supervisor(remember_s=300), budgets=budgets, zones=zones))
    world.now = parse_time("2026-11-25T10:00:00Z")
    registered(world)
    world.send("task-requests", ask("r1", estimated_cost_usd=9))
    report(world, "r1", cost_usd=9)
    world.rules = replace(world.rules, zones={"*": named_zone("Pacific/Honolulu")})
    world.now = parse_time("2026-11-25T10:30:00Z")
    world.advance(7_200)
    world.send("task-requests", ask("r2", estimated_cost_usd=9))
    assert world.answers("r2")[-1]["decision"] == "denied"
    world.advance(2 * 86_400)
    assert world.budget("tenant|team-a|2026-11-25") is None


def test_a_release_leaves_what_the_same_tick_made_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill and a release that end in one record: the release does not take what the kill has just left there."""
    for module in (killswitch, limits_command):
        monkeypatch.setattr(module, "ITEMS_MAX", 2)
    world = limited({"scope": "tenant", "limit_usd": 10, "window": "month"})
    for number in range(5):
        world.send("task-requests", ask(f"r{number}"))
        report(world, f"r{number}", event_id=f"s{number}", kind="started")
    kill = {"command_id": "c1", "command": "kill", "scope": "tenant", "target": TENANT, "issued_by": "olga"}
    world.send("control", kill)
    world.take(0, Tick())
    world.now += 1
    set_budget(world, 2, release_unknown=True)
    world.take(0, Tick())
    assert world.budget(f"tenant|{TENANT}|{MONTH}").unknown == 1_000_000
    report(world, "r4", cost_usd=1)
    assert world.budget(f"tenant|{TENANT}|{MONTH}").unknown == 0


def test_tokens_that_nobody_held_count_also_where_no_cost_is_told() -> None:
    """What an observed ask that did not fit has used is overrun, in each unit that is told."""
    budgets = budgets_from(
        [BudgetEntry.model_validate({"scope": "tenant", "limit_tokens": 50, "window": "month"})]
    )
    observed = Supervisor(enforcement=(Enforcement(TENANT, "*", "observe", 100),))
    world = registered(World(Rules(DIGEST, supervisor=observed, budgets=budgets)))
    world.send("task-requests", ask("r1", estimated_input_tokens=400))
    report(world, "r1", input_tokens=400)
    row = world.budget(f"tenant.tokens|{TENANT}|{MONTH}")
    assert (row.spent, row.overrun) == (400, 400)


def test_a_late_report_of_an_ask_that_held_nothing_is_no_second_request() -> None:
    """It counted from its admission, and its lease's end has not taken that back."""
    world = limited({"scope": "tenant", "limit_requests": 5, "window": "month"})
    world.send("task-requests", ask("r1", estimated_cost_usd=0))
    world.advance(1_000)
    report(world, "r1", cost_usd=0)
    row = world.budget(f"tenant.requests|{TENANT}|{MONTH}")
    assert (row.spent, row.overrun) == (1, 0)


def test_what_forgotten_rows_left_counts_once_however_often_windows_change() -> None:
    """A total that comes back takes on what its rows before carry, not once for each of them."""
    world = limited({"scope": "agent", "limit_usd": 100, "window": "month"})
    world.send("task-requests", ask("r0", estimated_cost_usd=8))
    report(world, "r0", cost_usd=8)
    for number, window in enumerate(("total", "month", "total", "month", "total", "month", "total"), 1):
        set_budget(world, number, scope="agent", limit_usd=100, window=window)
        world.send("task-requests", ask(f"r{number}", estimated_cost_usd=0))
        report(world, f"r{number}", cost_usd=0)
        world.advance(40 * 86_400)
    assert world.budget("agent|team-a|engineer|~4").carried == 8_000_000
