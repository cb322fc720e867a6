"""Ranks, and the bounds of scores: what never happens, in whatever order reports come."""

from __future__ import annotations

from itertools import permutations
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops_stream.core import peers, ranks
from ops_stream.core.peers import NAMED_MAX
from ops_stream.core.rows import BASELINES, Lately, Record
from ops_stream.core.rules_model import Rules
from ops_stream.core.rules_telemetry import Memory, TelemetryRules
from ops_stream.core.scores import NAMES, scores, values
from tests.core.fleet import DAY_MS, Fleet, relative, statuses
from tests.core.world import DIGEST, START_MS, TENANT, from_snapshot, refold
from tests.thorough import examples

# -- ranks --------------------


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
