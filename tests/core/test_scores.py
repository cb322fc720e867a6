"""The scores: each formula by hand, the prior, intervals, and what becomes of them with time."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from ops_stream.core.rows import Lately, Record, encode_row
from ops_stream.core.rules_model import Rules
from ops_stream.core.rules_telemetry import Memory, TelemetryRules
from ops_stream.core.scores import NAMES, Scored, scores
from tests.core.fleet import DAY_MS, RULES, Fleet, of, relative, statuses
from tests.core.world import DIGEST, START_MS, TENANT


def test_a_new_agent_is_at_the_prior_and_nobody_knows_an_unknown_one() -> None:
    """Five imagined reports say 0.7; the interval says how little that is."""
    found = scores(Record(seen_at=START_MS), RULES, START_MS)
    assert tuple(found) == NAMES
    assert set(found.values()) == {Scored(0.7, 0.0, 0.298791, 0.927416)}
    assert scores(None, RULES, START_MS) == {}


def test_each_formula_by_hand() -> None:
    """With a prior of 0.7 that weighs five reports."""
    assert of(tried=10, good=9)["reliability"] == pytest.approx((9 + 3.5) / 15, abs=1e-6)
    assert of(rated=4, quality=2)["quality"] == pytest.approx((2 + 3.5) / 9, abs=1e-6)
    gain, loss = 0.7 * (10 + 5), 0.3 * (25 + 5)
    assert of(priced=12, cheap=10, cost=25)["cost_efficiency"] == pytest.approx(
        gain / (gain + loss), abs=1e-6
    )
    assert of(timed=12, quick=10, took=25)["speed"] == pytest.approx(gain / (gain + loss), abs=1e-6)


def test_rules_set_the_prior() -> None:
    """Its weight and its value; without a weight a single report says all."""
    rules = Rules(DIGEST, telemetry=TelemetryRules(memory=Memory(prior_weight=0, prior_percent=50)))
    new = scores(Record(), rules, START_MS)["reliability"]
    assert new == Scored(0.5, 0.0, 0.0, 1.0)
    failed = Record(lately=Lately(START_MS, tried=1000))
    assert scores(failed, rules, START_MS)["reliability"][:2] == (0.0, 1.0)


def test_what_was_decays_and_the_agent_goes_back_to_the_prior() -> None:
    """After a half-life each report counts half; in the end nothing is left."""
    record = Record(lately=Lately(START_MS, tried=8000, good=0))
    after = {days: scores(record, RULES, START_MS + days * DAY_MS)["reliability"] for days in (0, 7, 700)}
    assert [after[days].samples for days in (0, 7, 700)] == [8.0, 4.0, 0.0]
    assert after[0].value < after[7].value < after[700].value == 0.7


def test_a_record_from_before_there_were_counts_starts_with_its_past() -> None:
    """Its shares are kept, and weigh as much as twenty reports at most."""
    old = Record(
        seen_at=START_MS, done=60, failed=20, broken=20, quality_count=100, quality_milli=50_000, dear=30
    )
    found = scores(old, RULES, START_MS)
    assert (
        found["reliability"]
        == scores(Record(lately=Lately(START_MS, 20_000, 12_000)), RULES, START_MS)["reliability"]
    )
    assert found["quality"].value == pytest.approx((10 + 3.5) / 25, abs=1e-6)
    assert found["cost_efficiency"].value < found["speed"].value < 0.7


# -- what goes into them --------------------


def test_an_agent_alone_is_measured_by_nobody() -> None:
    """Whatever it spends and however long it takes, and though it becomes cheaper: it stays at the prior."""
    fleet = Fleet("ann", over_cost="ignore")
    for cost in (0.9, 0.5, 0.1, 0):
        fleet.runs("ann", cost, took_s=100 * cost)
    found = fleet.of("ann")
    assert found["cost_efficiency"][:2] == found["speed"][:2] == (0.7, 4.0)
    assert found["reliability"].value == pytest.approx((4 + 3.5) / 9, abs=1e-6)


def test_agents_are_compared_with_the_others_at_the_same_type_of_task() -> None:
    """Half of what peers spend counts as half, thrice as thrice; another type of task is another matter."""
    fleet = Fleet("ann", "bob", "eve")
    for _ in range(2):
        fleet.runs("ann", 0.4, took_s=20)
    fleet.runs("bob", 0.2, took_s=60)
    assert fleet.of("bob")["cost_efficiency"].value == relative(1, 0.5)
    assert fleet.of("bob")["speed"].value == relative(1, 3)
    fleet.runs("eve", 0.01, task_type="other")
    assert fleet.of("eve")["cost_efficiency"].value == 0.7


def test_what_failed_is_paid_for_by_what_succeeds() -> None:
    """A failure costs as much as it cost, for who fails and for the measure of the others."""
    fleet = Fleet("ann", "bob")
    fleet.runs("ann", 0.4)
    fleet.runs("ann", 0.4, kind="failed")
    fleet.runs("bob", 0.4)
    fleet.runs("bob", 0.4, kind="failed")
    assert fleet.of("bob")["cost_efficiency"].value == relative(1, 0.5 + 0.5)
    assert fleet.of("bob")["reliability"].value == pytest.approx((1 + 3.5) / 7, abs=1e-6)


def test_one_runaway_counts_ten_times_at_most() -> None:
    """For the one that spent it; and others are measured by what is usual, which one alone does not change."""
    fleet = Fleet("ann", "bob", "eve", "ivy", over_cost="ignore")
    for agent, cost in (("ann", 0.1), ("eve", 0.1), ("bob", 900)):
        fleet.runs(agent, cost)
    assert fleet.of("bob")["cost_efficiency"].value == relative(1, 10)
    fleet.runs("ann", 0.1)
    assert fleet.of("ann")["cost_efficiency"].value == relative(2, 1 + 0), "the middle of 0.1 and 900"
    fleet.runs("ivy", 0.1)
    fleet.runs("ann", 0.1)
    assert fleet.of("ann")["cost_efficiency"].value == relative(3, 1 + 0 + 1)


def test_what_is_free_is_as_usual_where_it_is_free_for_all() -> None:
    """Nothing is divided by nothing; who pays for what others have for nothing pays ten times."""
    fleet = Fleet("ann", "bob")
    fleet.runs("ann", 0)
    fleet.runs("bob", 0)
    assert fleet.of("bob")["cost_efficiency"].value == 0.7
    fleet.runs("bob", 0.01)
    assert fleet.of("bob")["cost_efficiency"].value == relative(2, 11)


def test_what_broke_its_hold_is_no_success_and_cheap_asks_do_not_hide_it() -> None:
    """Alone, where all costs are usual: one of three has broken its hold, and counts for nothing but its cost."""
    fleet = Fleet("ann")
    for cost in (5, 0.01, 0.01):
        fleet.runs("ann", cost)
    assert fleet.of("ann")["cost_efficiency"].value == relative(2, 3)


def test_a_warning_tells_the_scores_with_the_report_that_led_to_it() -> None:
    """The status is as the record is afterwards: the report counts before anything is drawn from it."""
    fleet = Fleet("ann", warn_after=1, tolerated_percent=0)
    fleet.runs("ann", cost=5, quality_score=0.1)
    told = statuses(fleet, "ann")[-1]
    assert told["state"] == "warned"
    assert told["scores"] == {name: scored.value for name, scored in fleet.of("ann").items()}


def test_a_larger_hold_makes_no_agent_look_cheaper() -> None:
    """Estimates go into no score: only breaking them does."""
    found = []
    for estimate in (1, 100):
        fleet = Fleet("ann", "bob")
        fleet.runs("ann", 0.5)
        request_id = fleet.ask("bob", estimated_cost_usd=estimate, estimated_time_s=60 * estimate)
        fleet.world.advance(10)
        fleet.report("bob", request_id, cost_usd=0.5)
        found.append(fleet.of("bob"))
    assert found[0] == found[1]


def test_who_tells_no_cost_is_taken_to_have_spent_its_hold() -> None:
    """So that it does not help to be silent about what was dear; others are not measured by that."""
    fleet = Fleet("ann", "bob")
    fleet.runs("ann", 0.5)
    fleet.world.advance(1)
    fleet.report("bob", fleet.ask("bob"))
    assert fleet.of("bob")["cost_efficiency"].value == relative(1, 2)
    fleet.runs("ann", 0.5)
    assert fleet.of("ann")["cost_efficiency"].value == 0.7


def test_time_is_the_brokers_where_an_agent_says_less() -> None:
    """What it says of itself counts where that is more."""
    fleet = Fleet("ann", "bob")
    fleet.runs("ann", took_s=10)
    fleet.runs("bob", took_s=40, latency_ms=1)
    assert fleet.of("bob")["speed"].value == relative(1, 4)
    fleet.runs("ann", took_s=40)
    fleet.runs("bob", took_s=10, latency_ms=12_500)
    assert fleet.of("bob")["speed"].value == relative(2, 4 + 0.5)


def test_what_ran_too_long_is_no_success() -> None:
    """Past its lease: it is late, and reliable all the same."""
    fleet = Fleet("ann", tolerated_percent=100)
    fleet.runs("ann", took_s=10)
    request_id = fleet.ask("ann")
    fleet.world.advance(181)
    assert fleet.of("ann")["reliability"].value == pytest.approx((1 + 3.5) / 7, abs=1e-6)
    fleet.report("ann", request_id, cost_usd=0.5)
    assert fleet.of("ann")["reliability"].value == pytest.approx((2 + 3.5) / 7, abs=1e-6)
    assert fleet.of("ann")["speed"].value == relative(1, 2)


def test_what_was_missing_and_comes_weeks_later_takes_back_what_is_left_of_it() -> None:
    """Not more: or being late for long would pay."""
    fleet = Fleet("ann", tolerated_percent=100, window_s=30 * 86_400)
    for _ in range(4):
        fleet.runs("ann")
    request_id = fleet.ask("ann")
    fleet.world.advance(181)
    fleet.world.advance(7 * 86_400)
    assert fleet.of("ann")["reliability"].samples == 2.5
    fleet.report("ann", request_id, cost_usd=0.5)
    assert fleet.of("ann")["reliability"].samples == 3.0
    assert fleet.of("ann")["reliability"].value == pytest.approx((3 + 3.5) / 8, abs=1e-6)


def test_a_run_without_a_permit_is_a_failure_however_well_it_went() -> None:
    """It counts by its violation alone."""
    fleet = Fleet("ann", unpermitted_run="minor", tolerated_percent=100)
    request_id = fleet.ask("ann", deadline="2020-01-01T00:00:00Z")
    fleet.report("ann", request_id, cost_usd=0.1, quality_score=1)
    found = fleet.of("ann")
    assert found["reliability"].value == pytest.approx(3.5 / 6, abs=1e-6)
    assert found["reliability"].samples == 1.0
    assert [found[name].samples for name in ("cost_efficiency", "quality", "speed")] == [0, 0, 0]


def test_what_people_stopped_has_not_failed() -> None:
    """An agent that reports a failure after a kill has done as it should."""
    fleet = Fleet("ann")
    request_id = fleet.ask("ann")
    command = {"command_id": "k1", "command": "kill", "scope": "agent", "target": "ann", "tenant": TENANT}
    fleet.world.send("control", {**command, "issued_by": "op"})
    fleet.world.advance(1)
    fleet.report("ann", request_id, "failed")
    assert set(fleet.of("ann").values()) == {Scored(0.7, 0.0, 0.298791, 0.927416)}


def test_figures_that_nobody_believes_change_no_score() -> None:
    """A quality and a latency beyond all bounds are flagged; that the ask ended well is believed."""
    fleet = Fleet("ann", "bob")
    fleet.runs("bob", took_s=10)
    fleet.runs("ann", cost=0.5, took_s=10, latency_ms=10**12)
    assert fleet.of("ann")["speed"].value == 0.7
    fleet.runs("ann", cost=900_000, took_s=10)
    assert fleet.of("ann")["cost_efficiency"][:2] == (0.7, 1.0)


def test_an_older_record_counts_each_report_once() -> None:
    """The first report after the upgrade comes on top of the past, be it an end or a missing one."""
    fleet = Fleet("ann", tolerated_percent=100)
    fleet.runs("ann")
    fleet.runs("ann", kind="failed")
    fleet.world.state.rows[f"record/{TENANT}|ann"] = encode_row(replace(fleet.record("ann"), lately=None))
    assert fleet.of("ann")["reliability"].samples == 2.0
    fleet.ask("ann", estimated_time_s=10)
    fleet.runs("ann")
    lately = fleet.record("ann").lately
    assert lately is not None
    assert (lately.tried, lately.good) == (3000, 2000)
    fleet.world.state.rows[f"record/{TENANT}|ann"] = encode_row(replace(fleet.record("ann"), lately=None))
    fleet.world.advance(200)
    assert fleet.of("ann")["reliability"].samples == 4.0
