"""Figures: each against a history that is computed by hand in the comments, and all against a count of their own.

The world begins at 13:00 UTC on 24 November 2026, the first millisecond of an hour; docs/kpis.md defines the figures.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from ops_stream.core.inputs import Tick
from ops_stream.core.kpis_windows import trend_of
from ops_stream.core.rules_telemetry import Memory, TelemetryRules
from tests.core.figures import COST, DAY, ESCALATED, ESCALATIONS, FAILURES, HOUR, SUCCESS, Figures
from tests.core.policies import TestPolicy
from tests.core.world import TENANT


def test_cost_of_a_completed_objective() -> None:
    """All that was spent, the failures too, over the objectives that were completed, each once.

    o1: 1.50 (well) and 0.50 (fails), completed by the retry for 1.00. o2: 4.00, completed at once, and 2.00 after it,
    which completes nothing again. r6 names none, and is one of its own: 0.25; its child r7 is not, 0.75.
    Spent 1.50 + 0.50 + 1.00 + 4.00 + 2.00 + 0.25 + 0.75 = 10.00, completed o1, o2 and r6: 10.00 / 3.
    """
    world = Figures()
    world.ask("r1", objective_id="o1")
    world.ask("r2", objective_id="o1")
    world.report("r1", "completed", 1.5)
    world.report("r2", "failed", 0.5)
    assert not [key for key in world.world.state.rows if b'"completed":true' in world.world.state.rows[key]]
    world.did("r3", "completed", 1.0, objective_id="o1")
    world.did("r4", "completed", 4.0, objective_id="o2", workflow_id="w1")
    world.did("r5", "completed", 2.0, objective_id="o2")
    world.did("r6", "completed", 0.25)
    world.did("r7", "completed", 0.75, parent_request_id="r6")
    world.world.advance(60)
    assert world.last(COST) == (3.333333, 10.0, 3)
    assert world.last(COST, window=DAY) == (3.333333, 10.0, 3)


def test_money_without_an_objective_that_is_completed_has_no_value() -> None:
    """There is nothing to divide by; the numerator is there, so that windows can be added up."""
    world = Figures()
    world.did("r1", "failed", 2.0)
    world.world.advance(60)
    assert world.last(COST) == (None, 2.0, 0)


def test_what_is_spent_counts_when_it_becomes_known() -> None:
    """A report without a cost counts what was held; one after the lease counts in the hour in which it comes.

    13:00: r1 is completed without a cost, 1.00 was held. r2's lease ends at 13:03, and its report of 3.00 comes at
    14:00:00: nothing more in the first hour. In the second 3.00, and r2 is an objective after all.
    """
    world = Figures()
    world.did("r1", "completed")
    world.ask("r2")
    world.world.advance(3_600)
    first = world.told(COST)[-1]
    assert (first["value"], first["closed"]) == (1.0, True)
    world.report("r2", "completed", 3.0)
    world.world.advance(60)
    assert world.last(COST) == (3.0, 3.0, 1)
    assert world.told(COST)[-1]["previous"] == 1.0
    assert world.told(COST)[-1]["trend"] == "rising"
    assert world.last(COST, window=DAY) == (2.0, 4.0, 2)


def test_an_objective_is_completed_when_nothing_of_it_is_open() -> None:
    """A success does not complete it while another ask is open; that one's denial does, if the last report was good.

    r1 goes well while r2 waits for a person: not yet. r2 is denied: o1 is completed then. o2 ends in a failure, and the
    denial of its last ask completes nothing.
    """
    world = Figures(TestPolicy("ask", "escalate", "priority == 1"))
    world.ask("r1", objective_id="o1")
    world.ask("r2", objective_id="o1", priority=1)
    world.report("r1", "completed", 1)
    world.ask("r3", objective_id="o2")
    world.ask("r4", objective_id="o2", priority=1, task_id="t2")
    world.report("r3", "failed", 1)
    world.world.advance(60)
    assert world.last(COST) == (None, 2.0, 0)
    world.resolve("r2", "deny")
    world.resolve("r4", "deny")
    world.world.advance(60)
    assert world.last(COST) == (2.0, 2.0, 1)


def test_success_rate_of_workflows_and_of_all() -> None:
    """What ended well among all that ran; a lease without a report is a failure, what was stopped or given up is none.

    w1: well, well, failed, no report: 2 of 4. w2: well: 1 of 1. Of no workflow: failed. All: 3 of 6.
    Not counted: r7 is cancelled, r8 denied, r9 killed, and the report that comes too late.
    """
    world = Figures(TestPolicy("no", "block", "priority == 2"))
    world.did("r1", workflow_id="w1")
    world.did("r2", workflow_id="w1")
    world.did("r3", "failed", workflow_id="w1")
    world.ask("r4", workflow_id="w1")
    world.did("r5", workflow_id="w2")
    world.did("r6", "failed")
    world.did("r7", "cancelled", workflow_id="w1")
    world.ask("r8", priority=2, workflow_id="w1")
    world.world.advance(200)
    world.ask("r9", workflow_id="w1")
    world.world.send("control", {"command_id": "c1", "command": "kill", "issued_by": "olga"})
    world.report("r4", "completed", 1)
    world.report("r9", "failed", 1)
    world.world.advance(60)
    assert world.last(SUCCESS) == (0.5, 3, 6)
    assert world.last(SUCCESS, f"workflow/{TENANT}/w1", DAY) == (0.5, 2, 4)
    assert world.last(SUCCESS, f"workflow/{TENANT}/w2", DAY) == (1.0, 1, 1)
    assert not world.told(SUCCESS, f"workflow/{TENANT}/w1", HOUR), "workflows are counted by the day"


def test_mean_time_to_the_resolution_of_failures() -> None:
    """From the first failure of a task to its next success, within objective, workflow or tenant.

    t1 of o1: fails at 0 s and at 60 s, succeeds at 100 s: 100 s, one failure. t1 of the tenant fails at 100 s, which
    the success of o1's does not resolve; it succeeds at 400 s: 300 s. t2 fails and never succeeds: not counted.
    t3's lease of 180 s ends at 580 s without a report, and the late one at 600 s resolves it: 20 s.
    (100 + 300 + 20) / 3 = 140 s.
    """
    world = Figures()
    world.did("r1", "failed", objective_id="o1")
    world.world.advance(60)
    world.did("r2", "failed", objective_id="o1")
    world.world.advance(40)
    world.did("r3", "failed")
    world.did("r4", objective_id="o1")
    world.did("r5", "failed", task_id="t2")
    world.world.advance(300)
    world.did("r6")
    world.did("r7")
    world.ask("r8", task_id="t3")
    world.world.advance(200)
    world.report("r8")
    world.world.advance(60)
    assert world.last(FAILURES) == (140.0, 420.0, 3)


def test_mean_time_to_the_resolution_of_escalations() -> None:
    """From opening to the decision of people, or to expiry; what is withdrawn was decided by nobody.

    Approved after 30 s, denied after 90 s, edited after 120 s, expired after 3,600 s, r5 given up after 10 s:
    (30 + 90 + 120 + 3600) / 4 = 960 s.
    """
    world = Figures(TestPolicy("ask", "escalate", "priority == 5"))
    for number in range(1, 6):
        world.ask(f"r{number}", task_id=f"t{number}")
    world.world.advance(10)
    world.report("r5", "cancelled")
    world.world.advance(20)
    world.resolve("r1", "approve")
    world.world.advance(60)
    world.resolve("r2", "deny")
    world.world.advance(30)
    world.resolve("r3", "edit", edits={"priority": 4})
    world.world.advance(3_700)
    answered = [value for value in world.told(ESCALATIONS) if value.get("closed")]
    assert [(value["numerator"], value["denominator"]) for value in answered] == [(240.0, 3)]
    assert world.last(ESCALATIONS) == (3_600.0, 3_600.0, 1)
    assert world.last(ESCALATIONS, window=DAY) == (960.0, 3_840.0, 4)


def test_human_escalation_rate() -> None:
    """Asks that were escalated over asks that were decided, each once however often it is decided.

    r1 runs, r2 is denied, r3 waits, is edited, and waits again; r4 is queued, and then waits: 2 of 4. Asking again, and
    another body under the id, count nothing.
    """
    world = Figures(
        TestPolicy("no", "block", "priority == 2"),
        TestPolicy("ask", "escalate", "priority == 1"),
        TestPolicy("idle", "queue_for_batch_processing", "priority == 1 and cost > 5", 9),
    )
    world.ask("r1")
    world.ask("r2", priority=2)
    world.ask("r3", priority=1)
    world.ask("r4", priority=1, estimated_cost_usd=6, task_id="t4")
    world.ask("r1")
    world.ask("r1", estimated_cost_usd=2)
    world.resolve("r3", "edit", edits={"estimated_cost_usd": 3})
    world.world.advance(60)
    assert world.last(ESCALATED) == (0.25, 1, 4)
    world.world.advance(3_540)
    assert world.world.answers("r4")[1]["decision"] == "escalated"
    assert world.last(ESCALATED) == (0.5, 2, 4)


def test_scores_of_agents_are_told_once_in_a_while() -> None:
    """With interval and samples, after reports; the day's last word is closed, and is the next one's `previous`."""
    world = Figures()
    agent = f"agent/{TENANT}/engineer"
    world.did("r1")
    world.did("r2", "failed")
    world.world.advance(59.999)
    assert not world.told("reliability", agent, DAY)
    world.world.advance(0.001)
    first = world.told("reliability", agent, DAY)
    assert len(first) == 1
    assert first[0]["interval"][0] < first[0]["value"] < first[0]["interval"][1]
    assert first[0]["value"] == pytest.approx(first[0]["numerator"] / first[0]["denominator"], abs=1e-5)
    assert not world.told("quality", agent, DAY), "no report gives a quality"
    world.world.advance(11 * HOUR)
    closed = world.told("reliability", agent, DAY)
    assert [value.get("closed", False) for value in closed] == [False, True]
    world.did("r3")
    world.world.advance(60)
    later = world.told("reliability", agent, DAY)[-1]
    assert later["previous"] == closed[-1]["value"]
    assert later["trend"] == ("rising" if later["value"] > 1.05 * closed[-1]["value"] else "steady")
    world.world.advance(3 * DAY)
    assert not [key for key in world.world.state.rows if key.startswith("telling/")]


def test_who_falls_silent_does_not_keep_the_score_that_was_told() -> None:
    """A lease that ends without a report counts against the agent, and is told like one."""
    world = Figures()
    agent = f"agent/{TENANT}/engineer"
    world.did("r1")
    world.world.advance(60)
    world.ask("r2", estimated_time_s=60)
    world.world.advance(HOUR)
    before, after = world.told("reliability", agent, DAY)
    assert (before["samples"], after["samples"]) == (1, 2)
    assert after["value"] < before["value"]


def test_a_score_that_was_told_is_closed_though_nothing_of_it_counts_any_more() -> None:
    """With a half-life of an hour the report of 13:00 is gone at midnight: the agent stands at the prior again."""
    world = Figures()
    forgetful = TelemetryRules(memory=Memory(half_life_s=HOUR))
    world.world.rules = replace(world.world.rules, telemetry=forgetful)
    world.did("r1")
    world.world.advance(11 * HOUR)
    first, last = world.told("reliability", f"agent/{TENANT}/engineer", DAY)
    assert (first["samples"], "closed" in first) == (1, False)
    assert (last["value"], last["denominator"], last["samples"], last["closed"]) == (0.7, 0, 0, True)


def test_a_stranger_has_no_scores_to_tell() -> None:
    """An agent that has never registered is told of in no figure of agents, and leaves no row."""
    world = Figures()
    world.did("r1", agent="stranger")
    assert not [key for key in world.world.state.rows if key.startswith("telling/")]


def test_an_hour_ends_before_the_next_begins() -> None:
    """The last millisecond of an hour counts in it, the first of the next in that; each is closed once, unchanged."""
    world = Figures()
    world.world.advance(3_599.999)
    world.did("r1")
    world.world.advance(0.001)
    world.did("r2", "failed")
    world.world.advance(HOUR)
    found = [
        (value["window_start"], value["numerator"], value["denominator"], value.get("closed", False))
        for value in world.told(SUCCESS)
    ]
    assert found == [
        ("2026-11-24T13:00:00.000Z", 1, 1, True),
        ("2026-11-24T14:00:00.000Z", 0, 1, False),
        ("2026-11-24T14:00:00.000Z", 0, 1, True),
    ]
    assert [value.get("trend") for value in world.told(SUCCESS)] == [None, "falling", "falling"]


def test_a_day_is_the_sum_of_its_hours() -> None:
    """Told with them, and closed when its last hour has been added."""
    world = Figures()
    for _ in range(3):
        world.did(f"r{world.count}")
        world.world.advance(4 * HOUR)  # 13:00, 17:00 and 21:00, and then it is 01:00
    found = world.told(SUCCESS, window=DAY)
    assert [(value["numerator"], value.get("closed", False)) for value in found] == [
        (1, False),
        (2, False),
        (3, False),
        (3, True),
    ]
    assert {value["window_start"] for value in found} == {"2026-11-24T00:00:00.000Z"}


def test_a_day_that_is_closed_late_is_compared_with_the_one_before() -> None:
    """However long after midnight the first Tick comes: the day before is forgotten only when this one is closed."""
    world = Figures()
    world.did("r1")
    world.world.advance(33 * HOUR)  # 22:00 of the next day
    world.did("r2")
    world.world.advance(1.5 * HOUR)
    world.did("r3", "failed")
    world.world.now += 3 * HOUR * 1000
    while (due := world.world.state.next_due_ms()) is not None and due <= world.world.now:
        assert world.world.take(0, Tick()).changes
    closed = [value for value in world.told(SUCCESS, window=DAY) if value.get("closed")]
    assert [(value["value"], value.get("previous"), value.get("trend")) for value in closed] == [
        (1.0, None, None),
        (0.5, 1.0, "falling"),
    ]
    assert [key for key in world.world.state.rows if key.startswith("tally/")] == [f"tally/{TENANT}|d20782"]


def test_a_window_in_which_nothing_happened_is_a_hole() -> None:
    """It is not told, and what follows it has no `previous`; the slots of windows come around."""
    world = Figures(hours_kept=2)
    world.did("r1")
    world.world.advance(2 * HOUR)
    world.did("r2")
    world.world.advance(60)
    assert [value["window_start"][11:13] for value in world.told(SUCCESS)] == ["13", "13", "15"]
    assert "previous" not in world.told(SUCCESS)[-1]
    keys = [out.key for out in world.world.outputs if out.type == "Kpi" and out.value["kpi"] == SUCCESS]
    hourly = {key for key in keys if f"/{SUCCESS}/3600/" in key}
    assert len(hourly) == 1
    assert all(key.startswith(f"{TENANT}/") for key in keys)


def test_figures_are_told_at_most_once_in_a_while() -> None:
    """What changes all the time is told once a minute; what has not changed is not told again."""
    world = Figures()
    for number in range(13):
        world.did(f"r{number}")
        world.world.advance(10)
    assert [value["numerator"] for value in world.told(SUCCESS)] == [6, 12]
    world.world.advance(600)
    assert [value["numerator"] for value in world.told(SUCCESS)] == [6, 12, 13]


@pytest.mark.parametrize(
    ("now", "then", "trend"),
    [
        ((105, 100), (1, 1), "steady"),
        ((10_501, 10_000), (1, 1), "rising"),
        ((95, 100), (1, 1), "steady"),
        ((9_499, 10_000), (1, 1), "falling"),
        ((0, 5), (0, 9), "steady"),
        ((1, 10**9), (0, 9), "rising"),
    ],
)
def test_within_five_percent_a_figure_is_steady(
    now: tuple[int, int], then: tuple[int, int], trend: str
) -> None:
    """Of what it was before; after 0 everything is a rise."""
    assert trend_of(*now, *then) == trend
