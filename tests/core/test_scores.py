"""The scores: each formula by hand, the prior, intervals, and what becomes of them with time."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations
from random import Random
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from ops_stream.core import peers, ranks
from ops_stream.core.peers import NAMED_MAX
from ops_stream.core.rows import BASELINES, RECORDS, Lately, Record, encode_row
from ops_stream.core.rules_lifecycle import Lifecycle
from ops_stream.core.rules_model import Rules
from ops_stream.core.rules_telemetry import Memory, TelemetryRules
from ops_stream.core.scores import NAMES, Scored, scores, values
from tests.core.world import DIGEST, START_MS, TENANT, World, from_snapshot, refold
from tests.thorough import examples

DAY_MS: Final = 86_400_000
RULES: Final = Rules(DIGEST)


def of(**counts: Any) -> dict[str, float]:
    """Give the scores of an agent with these counts, in whole reports."""
    lately = Lately(START_MS, **{name: 1000 * count for name, count in counts.items()})
    return values(Record(lately=lately), RULES, START_MS)


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


class Fleet:
    """Agents of one tenant that ask for a dollar and a minute, and report."""

    def __init__(self, *agents: str, strict: bool = True, **lifecycle: Any) -> None:
        self.world = World(Rules(DIGEST, lifecycle=Lifecycle(**lifecycle)), strict=strict)
        self.number = 0
        for agent in agents:
            body = {
                "tenant": TENANT,
                "agent": agent,
                "role": "r",
                "capabilities": ["general"],
                "max_concurrency": 99,
            }
            self.world.send("agents", {"event": "AgentRegistration", **body})

    def ask(self, agent: str, **more: Any) -> str:
        """Let an agent ask."""
        self.number += 1
        body = {"request_id": f"r{self.number}", "task_id": "t", "agent": agent, "task_description": "x"}
        self.world.send("task-requests", {"tenant": TENANT, "estimated_cost_usd": 1, **body, **more})
        return f"r{self.number}"

    def report(self, agent: str, request_id: str, kind: str = "completed", **more: Any) -> None:
        """Let it report."""
        body = {"event_id": f"e-{request_id}", "request_id": request_id, "task_id": "t", "agent": agent}
        self.world.send("telemetry", {**body, "tenant": TENANT, "kind": kind, **more})

    def runs(
        self, agent: str, cost: float = 0.5, took_s: float = 10, kind: str = "completed", **more: Any
    ) -> None:
        """Let it ask, run and report."""
        task_type = more.pop("task_type", "general")
        request_id = self.ask(agent, task_type=task_type)
        self.world.advance(took_s)
        self.report(agent, request_id, kind, cost_usd=cost, **more)

    def record(self, agent: str) -> Record:
        """Give its record."""
        return RECORDS.decode(self.world.state.rows[f"record/{TENANT}|{agent}"])

    def of(self, agent: str) -> Mapping[str, Scored]:
        """Give its scores."""
        return scores(self.record(agent), self.world.rules, self.world.now)


def relative(won: float, spent: float) -> Any:
    """Compute by hand what a score is that compares."""
    gain, loss = 0.7 * (won + 5), 0.3 * (spent + 5)
    return pytest.approx(gain / (gain + loss), abs=1e-6)


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


# -- ranks --------------------


def statuses(fleet: Fleet, agent: str) -> list[dict[str, Any]]:
    """Give what was published of an agent."""
    return [dict(status) for status in fleet.world.of("AgentStatus") if status["agent"] == agent]


def test_a_status_tells_the_place_among_the_tenants_agents() -> None:
    """Those that are alike share a place; another tenant's agents are none of it."""
    fleet = Fleet("ann", "bob", "eve")
    body = {"tenant": "other", "agent": "zoe", "role": "r", "capabilities": ["general"]}
    fleet.world.send("agents", {"event": "AgentRegistration", **body})
    assert [statuses(fleet, name)[-1]["rank"] for name in ("ann", "bob", "eve", "zoe")] == [1, 1, 1, 1]
    fleet.runs("eve")
    fleet.runs("bob", kind="failed")
    for name in ("ann", "bob", "eve"):
        body = {
            "command": "quarantine_agent",
            "scope": "agent",
            "target": name,
            "tenant": TENANT,
            "issued_by": "o",
        }
        fleet.world.send("control", {"command_id": name, **body})
    told = {name: statuses(fleet, name)[-1] for name in ("ann", "bob", "eve")}
    assert {name: status["rank"] for name, status in told.items()} == {"eve": 1, "ann": 2, "bob": 3}
    assert told["eve"]["samples"]["reliability"] == 1.0
    assert told["eve"]["intervals"]["reliability"] == list(fleet.of("eve")["reliability"][2:])


def test_too_many_agents_are_not_ranked(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would cost too much at every change of one of them."""
    monkeypatch.setattr(ranks, "RANKED_MAX", 3)
    fleet = Fleet("ann", "bob", "eve")
    assert "rank" in statuses(fleet, "eve")[-1]
    body = {"tenant": TENANT, "agent": "more", "role": "r", "capabilities": ["general"]}
    fleet.world.send("agents", {"event": "AgentRegistration", **body})
    assert "rank" not in statuses(fleet, "more")[-1]


# -- bounds, order, time --------------------


def test_the_order_within_a_millisecond_does_not_matter() -> None:
    """What comes at once is compared with what was before, not with each other."""
    found = set()
    for order in permutations((("ann", 0.1), ("bob", 0.4), ("ann", 0.3))):
        fleet = Fleet("ann", "bob", "eve")
        fleet.runs("eve", 0.2)
        asked = [(agent, cost, fleet.ask(agent)) for agent, cost in order]
        fleet.world.advance(5)
        for agent, cost, request_id in asked:
            fleet.report(agent, request_id, cost_usd=cost)
        rows = fleet.world.state.rows
        found.add(
            (rows[f"baseline/{TENANT}|general"], fleet.record("ann").lately, fleet.record("bob").lately)
        )
    assert len(found) == 1


def test_a_row_names_eight_agents_and_throws_the_others_together() -> None:
    """Whoever came last is among those that are named, so that nobody is measured by themselves."""
    fleet = Fleet(*(f"a{number}" for number in range(12)), strict=False)
    for _ in range(2):
        for number in range(12):
            fleet.runs(f"a{number}", 0.5)
    row = BASELINES.decode(fleet.world.state.rows[f"baseline/{TENANT}|general"])
    assert len(row.peers) <= NAMED_MAX + 1
    total = sum(peer.priced for peer in (*row.peers, *row.fresh))
    assert total == 24_000
    fleet.runs("a0", 0.25)
    assert fleet.of("a0")["cost_efficiency"].value == relative(3, 2.5)


def test_types_of_tasks_are_bounded_and_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """At one too many all is usual; a type that nobody works at any more makes room."""
    monkeypatch.setattr(peers, "BASELINES_MAX", 2)
    fleet = Fleet("ann", "bob")
    for task_type in ("one", "two", "three"):
        fleet.runs("ann", 0.1, task_type=task_type)
        fleet.runs("bob", 0.9, task_type=task_type)
    assert fleet.world.state.counts["baseline/"] == 2
    assert fleet.of("bob")["cost_efficiency"].value == relative(3, 9 + 9 + 1)
    fleet.world.advance(29 * 86_400)
    assert fleet.world.state.counts["baseline/"] == 0
    assert from_snapshot(fleet.world.state).counts == refold(fleet.world.partitions[0]).counts


COUNT = st.integers(0, 50_000)


def _lately(tried: int, good: int, priced: int, cheap: int, cost: int, rated: int, quality: int) -> Record:
    good, cheap, quality = min(good, tried), min(cheap, priced), min(quality, rated)
    return Record(
        lately=Lately(START_MS, tried, good, rated, quality, priced, cheap, cost, priced, cheap, cost)
    )


RECORD = st.builds(_lately, *[COUNT] * 7)
SCORING = st.builds(Memory, prior_weight=st.integers(0, 50), prior_percent=st.integers(0, 100))


@settings(max_examples=examples(300, quick=15))
@given(RECORD, SCORING, st.integers(0, 100 * DAY_MS))
def test_each_score_lies_in_its_interval_and_both_within_0_and_1(
    record: Record, memory: Memory, later: int
) -> None:
    """Whatever the counts, the prior and the time."""
    for found in scores(record, _with(memory), START_MS + later).values():
        assert 0 <= found.low <= found.value <= found.high <= 1
        assert found.samples >= 0


@settings(max_examples=examples(300, quick=15))
@given(RECORD, SCORING, st.integers(0, 20_000))
def test_better_never_scores_worse(record: Record, memory: Memory, more: int) -> None:
    """One more success never lowers reliability, a dearer cost never raises cost efficiency."""
    lately, rules = record.lately, _with(memory)
    assert lately is not None
    before = values(record, rules, START_MS)
    parts = {name: getattr(lately, name) for name in lately.__struct_fields__}
    better = Lately(**{**parts, "tried": lately.tried + 1000, "good": lately.good + 1000})
    dearer = Lately(**{**parts, "cost": lately.cost + more})
    assert values(Record(lately=better), rules, START_MS)["reliability"] >= before["reliability"]
    assert values(Record(lately=dearer), rules, START_MS)["cost_efficiency"] <= before["cost_efficiency"]


@settings(max_examples=examples(300, quick=15))
@given(RECORD, st.integers(2, 10))
def test_more_of_the_same_makes_the_interval_narrower(record: Record, times: int) -> None:
    """As many times the reports, and the prior as well, so that the score stays what it is."""
    lately = record.lately
    assert lately is not None
    parts = {name: getattr(lately, name) * times for name in lately.__struct_fields__}
    few = scores(record, _with(Memory(prior_weight=5)), START_MS)
    many = scores(
        Record(lately=Lately(**{**parts, "at": START_MS})), _with(Memory(prior_weight=5 * times)), START_MS
    )
    for name in NAMES:
        assert many[name].value == pytest.approx(few[name].value, abs=2e-6)
        assert many[name].high - many[name].low < few[name].high - few[name].low


@pytest.mark.parametrize(("chance", "least"), [(0.9, 0.95), (0.5, 0.93)])
def test_intervals_hold_the_truth_as_often_as_they_say(chance: float, least: float) -> None:
    """Drawn 300 times: agents that succeed by chance, at costs that scatter as much as their mean."""
    random, rules, held = Random(7), _with(Memory(prior_weight=0)), {"reliability": 0, "cost_efficiency": 0}
    truth = {"reliability": chance, "cost_efficiency": 0.7 * chance / (0.7 * chance + 0.3)}
    for _ in range(300):
        good = 1000 * sum(random.random() < chance for _ in range(30))
        cost = round(1000 * sum(random.expovariate(1) for _ in range(30)))
        lately = Lately(START_MS, tried=30_000, good=good, priced=30_000, cheap=good, cost=cost)
        found = scores(Record(lately=lately), rules, START_MS)
        for name in held:
            held[name] += found[name].low <= truth[name] <= found[name].high
    assert all(count >= 300 * least for count in held.values()), held


def _with(memory: Memory) -> Rules:
    return Rules(DIGEST, telemetry=TelemetryRules(memory=memory))


@settings(max_examples=examples(60, quick=4), deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 900_000), st.integers(1, 170)), max_size=6),
    st.integers(0, 900_000),
    st.integers(0, 900_000),
)
def test_who_had_spent_more_never_scores_better(
    history: list[tuple[str, int, int]], cost: int, more: int
) -> None:
    """Whatever came before and comes after: its own cost never becomes what it is measured by."""
    found = []
    for spent in (cost, cost + more):
        fleet = Fleet("a", "b", "c", strict=False)
        fleet.runs("a", spent / 10**6)
        for agent, micros, took_s in history:
            fleet.runs(agent, micros / 10**6, took_s)
        found.append(fleet.of("a")["cost_efficiency"].value)
    assert found[1] <= found[0]
