"""What is remembered of agents: right to the last count, decayed as it should be, and bounded whatever arrives."""

from __future__ import annotations

from random import Random

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from ops_stream.core.draft import Draft
from ops_stream.core.inputs import Tick
from ops_stream.core.learning import look
from ops_stream.core.recall import WINDOWS
from ops_stream.core.rows import LEARNED
from ops_stream.core.rows_learning import key_of
from ops_stream.core.rules_model import Rules
from ops_stream.core.rules_telemetry import Reports, TelemetryRules
from ops_stream.core.sketch import quantile
from tests.core import learned
from tests.core.learned import DAY_MS, HOUR_MS, Life
from tests.core.policies import TestPolicies, TestPolicy
from tests.core.remembering import counts, keys, over, remembering, run, tell
from tests.core.test_step import ask, registered
from tests.core.world import DIGEST, TENANT, World, refold
from tests.thorough import examples


def test_a_report_counts_what_it_says() -> None:
    """Two runs worked out by hand: one well and cheap, one a failed try, dear and slow."""
    world = remembering()
    run(world, "r1", cost_usd=0.25, latency_ms=100, quality_score=0.8, input_tokens=10, output_tokens=5)
    world.send("task-requests", ask("r2", task_type="code", required_model="large", retry_count=2))
    world.advance(2)
    tell(world, "r2", "failed", cost_usd=1.5, latency_ms=1_900.4)
    assert counts(world) == {
        "good": 1,
        "failed": 1,
        "costed": 2,
        "cost": 1_750_000,
        "held": 2_000_000,
        "overruns": 1,
        "overrun": 500_000,
        "timed": 2,
        "taken_ms": 2_000,
        "estimated_ms": 120_000,
        "rated": 1,
        "quality_milli": 800,
        "metered": 1,
        "tokens_in": 10,
        "tokens_out": 5,
        "retried": 1,
        "retries": 2,
    }
    figures = over(world, "1h")
    assert (figures.runs, figures.success, figures.quality) == (2, 0.5, 0.8)
    assert (figures.cost_micros, figures.cost_per_success_micros) == (875_000, 1_750_000)
    assert (figures.latency_ms, figures.latency(500), figures.latency(990)) == (1_000, 101, 1_887)


def test_windows_reach_back_to_the_beginning_of_an_hour_or_a_day() -> None:
    """Reports at 13:00, 14:59 and, a day and a week later, as each window sees them."""
    world = remembering()  # it is 13:00 on the 24th
    run(world, "r1")
    world.advance(7_140)
    run(world, "r2")
    assert [over(world, window).runs for window in WINDOWS] == [2, 2, 2, 2, 2]
    world.advance(60)  # 15:00
    assert [over(world, window).runs for window in ("1h", "1d", "all")] == [1, 2, 2]
    world.advance(3_600)
    assert [over(world, window).runs for window in ("1h", "1d", "all")] == [0, 2, 2]
    world.advance(22 * 3_600)  # 14:00 on the 25th
    run(world, "r3")
    assert [over(world, window).runs for window in ("1h", "1d", "7d", "all")] == [1, 2, 3, 3]
    world.advance(6 * 86_400 + 9 * 3_600)  # 23:00 on the 1st, a week after the 24th
    assert [over(world, window).runs for window in ("1h", "1d", "7d", "all")] == [0, 0, 3, 3]
    world.advance(3_600)
    run(world, "r4")
    assert [over(world, window).runs for window in ("1h", "1d", "7d", "all")] == [1, 1, 2, 4]


def test_an_hour_or_a_day_takes_the_place_of_one_long_before_it_and_not_its_figures() -> None:
    """The places are used in turn: what stood there is no longer in any window, and is not added to."""
    world = remembering()
    run(world, "r1")
    world.advance(3_600)
    run(world, "r2")
    world.advance(8 * 86_400)  # the same place for the day, and for the hour
    run(world, "r3")
    world.advance(3_600)
    run(world, "r4")
    assert [over(world, window).runs for window in ("1h", "1d", "7d", "all")] == [2, 2, 2, 4]


def test_what_was_seen_counts_half_after_a_half_life() -> None:
    """Eight steps of a half-life later a run is worth half, beside one of now that is worth one."""
    world = remembering()
    run(world, "r1", latency_ms=100)
    hour_ms = world.now // HOUR_MS * HOUR_MS
    then = (hour_ms // learned.STEP_MS + 8) * learned.STEP_MS
    world.advance((then - world.now) / 1000)
    run(world, "r2", "code", kind="failed", latency_ms=5_000)
    figures = over(world, "decayed")
    assert figures.runs == 1.5
    assert figures.success == 0.5 / 1.5
    assert quantile(figures.stats.latency, 330) == 101
    assert quantile(figures.stats.latency, 340) == 4_991
    world.advance(30 * 86_400)
    assert over(world, "decayed").runs < 0.12


def test_a_quality_never_passes_the_best_however_little_of_it_is_left() -> None:
    """Reports are thousandths and qualities thousandths of those: rounded down, the best of all would be above 1."""
    world = remembering()
    run(world, "r1", quality_score=1)
    found = []
    for _ in range(70):
        world.advance(86_400)
        found.append(over(world, "decayed").quality)
    assert found[0] == 1
    assert all(quality is None or 0.9 < quality <= 1 for quality in found)


@settings(max_examples=examples(50, quick=2), deadline=None, derandomize=True)
@given(st.integers(0, 2**32))
def test_what_is_remembered_is_what_happened(seed: int) -> None:
    """Every count of every key and window equals one made anew from the events; decayed, but for the rounding."""
    life = Life(World(Rules(DIGEST), strict=False), Random(seed)).begin().live(14)
    world, now = life.world, life.world.now
    since = {"1h": (now // HOUR_MS - 1) * HOUR_MS, "1d": (now // HOUR_MS - 24) * HOUR_MS}
    since |= {"7d": (now // DAY_MS - 7) * DAY_MS, "all": 0}
    seen = 0
    for agent, task_type, model in {one.key for one in life.past}:
        key, names = key_of(TENANT, agent, task_type, model), (agent, task_type, model)
        for window in since:
            figures = over(world, window, key)
            told = msgspec.structs.asdict(figures.stats.counts)
            expected = learned.counted(life.past, names, since[window])
            late = told.pop("late")
            assert late <= told["good"] + told["failed"]
            assert told == {name: expected.get(name, 0) for name in told}, (window, names)
            assert figures.stats.latency == learned.spread(life.past, names, since[window])
            seen += window == "7d" and bool(expected)
        decayed = msgspec.structs.asdict(over(world, "decayed", key).stats.counts)
        share = learned.weighed(life.past, names, now)
        for name in set(decayed) - {"late"}:
            assert abs(decayed[name] - share[name]) <= 20 + share[name] / 10**6, (name, names)
    assert seen
    rebuilt = refold(world.partitions[0])
    assert rebuilt.rows == world.state.rows
    assert rebuilt.learned.bytes == world.state.learned.bytes


def test_a_report_counts_for_the_model_that_it_names_where_that_is_believed() -> None:
    """What ran with a model that the rules do not allow says nothing of any other: it counts for none."""
    reports = Reports(models=frozenset(("large", "small")))
    world = registered(World(Rules(DIGEST, telemetry=TelemetryRules(reports=reports)), strict=False))
    run(world, "r1", model="small")
    run(world, "r2", model="made-up")
    models = sorted(key.split("|")[3] for key in world.state.rows if key.startswith("learned/"))
    assert models == ["", "small"]


def test_a_lease_that_ends_without_a_report_is_a_failure_until_a_report_comes() -> None:
    """Lost, and found: then it is what the report says."""
    world = remembering()
    world.send("task-requests", ask("r1", task_type="code", required_model="large"))
    world.advance(3_000)
    assert counts(world) == {"lost": 1}
    assert (over(world, "all").runs, over(world, "all").success) == (1, 0)
    tell(world, "r1")
    assert {name: count for name, count in counts(world).items() if name != "late"} == {
        "lost": 1,
        "found": 1,
        "good": 1,
    }
    assert (over(world, "all").runs, over(world, "all").lost, over(world, "all").success) == (1, 0, 1)


def test_what_people_deny_or_change_is_a_reversal_and_what_they_let_run_is_reviewed() -> None:
    """One ask denied, one changed, one approved as it is."""
    policies = TestPolicies([TestPolicy("dear", "escalate", "cost > 5")])
    world = registered(World(Rules(DIGEST, policies=policies), strict=False))
    for number, verdict in enumerate(("deny", "edit", "approve")):
        world.send(
            "task-requests",
            ask(f"r{number}", task_type="code", estimated_cost_usd=6 + number, required_model="large"),
        )
        escalation = world.of("Escalation")[-1]
        body = {"resolution_id": f"v{number}", "escalation_id": escalation["escalation_id"], "tenant": TENANT}
        body |= {"action_digest": escalation["action_digest"], "resolver": "olga", "verdict": verdict}
        world.send("resolutions", body | {"edits": {"estimated_cost_usd": 4}})
        if verdict != "deny":
            tell(world, f"r{number}")
    assert counts(world) == {"good": 2, "reviewed": 2, "reversed": 2}


def test_nobody_answering_is_no_reversal() -> None:
    """An escalation that expires says nothing about the agent."""
    policies = TestPolicies([TestPolicy("dear", "escalate", "cost > 5")])
    world = registered(World(Rules(DIGEST, policies=policies), strict=False))
    world.send("task-requests", ask("r1", estimated_cost_usd=6))
    world.advance(7 * 86_400)
    assert world.answers("r1")[-1]["reason"] == "escalation_expired"
    assert keys(world) == []


def test_what_was_never_approved_and_is_given_up_is_not_learned() -> None:
    """An ask that its agent takes back while it waits has told nothing."""
    policies = TestPolicies([TestPolicy("dear", "escalate", "cost > 5")])
    world = registered(World(Rules(DIGEST, policies=policies), strict=False))
    world.send("task-requests", ask("r1", estimated_cost_usd=6))
    tell(world, "r1", "cancelled")
    assert keys(world) == []


def test_what_people_stopped_has_not_failed() -> None:
    """A run that a kill revoked counts as cancelled, whatever its agent calls it."""
    world = remembering()
    world.send("task-requests", ask("r1", task_type="code", required_model="large"))
    world.send("control", {"command_id": "k", "command": "kill", "issued_by": "olga"})
    tell(world, "r1", "failed")
    assert counts(world) == {"cancelled": 1}


def test_only_registered_agents_are_remembered() -> None:
    """Anybody can think of a name: what runs unregistered, where it is only observed, leaves nothing."""
    world = World(Rules(DIGEST), strict=False)
    world.send("task-requests", ask("r1"))
    tell(world, "r1")
    assert keys(world) == []


def test_names_that_cannot_stand_in_a_key_are_hashed_and_kept_in_the_row() -> None:
    """Whatever a model is called, one key is one key, short, and its name can be shown."""
    world = remembering()
    names = ("a|b", "a|b\n", "x" * 256, "x" * 255 + "y", "\U0001f680" * 256)
    for number, name in enumerate(names):
        run(world, f"r{number}", model=name)
    rows = {key: raw for key, raw in world.state.rows.items() if key.startswith("learned/")}
    assert len(rows) == len(names)
    assert all(key.count("|") == 3 and len(key.encode()) < 200 for key in rows)
    assert sorted(LEARNED.decode(raw).model[:2] for raw in rows.values()) == sorted(
        name[:2] for name in names
    )


def test_look_gives_what_routing_needs_in_one_go() -> None:
    """The decayed figures of a key as the draft leaves it; nothing of a key that is not known."""
    world = remembering()
    run(world, "r1", cost_usd=0.25, quality_score=0.5, latency_ms=20)
    world.advance(7_200)
    run(world, "r2", cost_usd=0.75, latency_ms=10)
    draft = Draft(world.state, world.rules, world.now, Tick())
    found = look(draft, TENANT, "engineer", "code", "large")
    assert found is not None
    assert (found.runs, found.success, found.quality, found.cost_micros) == (2, 1, 0.5, 500_000)
    assert (found.latency(500), found.latency(900)) == (10, 20)
    assert look(draft, TENANT, "engineer", "code", "small") is None


# Bounds
