"""What is remembered is bounded: who makes room for whom, and what is forgotten."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from ops_stream.core import learning_room
from ops_stream.core.rows import EVICTED
from ops_stream.core.rows_learning import Counts, key_of
from ops_stream.core.rules_escalations import Trigger, escalations_of
from ops_stream.core.rules_model import Rules
from ops_stream.core.rules_telemetry import Memory, TelemetryRules
from tests.core.remembering import counts, keys, remembering, run, tell
from tests.core.test_sizes import record_bytes
from tests.core.test_step import ask, registered
from tests.core.world import DIGEST, TENANT, World, from_snapshot, refold


def test_what_was_not_used_for_longest_makes_room_with_all_its_rows() -> None:
    """The third key takes the place of the second, since the first was used again; and that is counted."""
    world = remembering(keys_max=2)
    run(world, "r1", "one")
    world.advance(7_200)
    run(world, "r2", "two")
    world.advance(7_200)
    run(world, "r3", "two")
    world.advance(1)
    run(world, "r4", "one")
    assert any(key.startswith("period/") and "|two|" in key for key in world.state.rows)
    world.advance(1)
    run(world, "r5", "three")
    assert keys(world) == ["one", "three"]
    assert not [key for key in world.state.rows if "|two|" in key and not key.startswith("ask/")]
    assert EVICTED.decode(world.state.rows["evicted/learned"]).keys == 1
    assert world.state.learned.evicted.keys == 1


def test_an_agent_that_makes_up_names_forgets_its_own_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its keys have a bound of their own, far below that of the partition."""
    monkeypatch.setattr(learning_room, "AGENT_KEYS_MAX", 3)
    world = remembering(keys_max=4)
    body = {"agent": "quiet", "tenant": TENANT, "role": "worker", "capabilities": []}
    world.send("agents", {"event": "AgentRegistration", **body})
    world.send("task-requests", ask("q1", agent="quiet", task_type="quiet"))
    tell(world, "q1", agent="quiet")
    for number in range(20):
        world.advance(1)
        run(world, f"r{number}", f"made-up-{number:02d}")
    assert keys(world) == ["made-up-17", "made-up-18", "made-up-19", "quiet"]
    assert world.state.learned.evicted.keys == 17


def test_a_flood_of_names_and_workflows_stays_within_bounds() -> None:
    """However odd and long the names: rows, records and what is kept of them are bounded, live as recovered."""
    world = remembering(keys_max=20, workflows_max=10)
    odd = "\x01|\U0001f680" * 84
    for number in range(60):
        world.advance(70)
        run(
            world,
            f"r{number}",
            f"{number}{odd}",
            model=odd,
            workflow=f"w{number}",
            latency_ms=2 ** min(number, 36),
        )
        assert len(world.state.learned.keys) <= 20
        assert len(world.state.learned.flows) <= 10
    learned_rows = [key for key in world.state.rows if key.startswith(("learned/", "period/", "past/"))]
    assert len(learned_rows) == 20
    flows = [key for key in world.state.rows if key.startswith("flowlearned/")]
    assert len(flows) == 10
    assert world.state.learned.evicted.keys == 40
    assert world.state.learned.evicted.workflows == 50
    sizes = [record_bytes(entry.decision) for entry in world.partitions[0].journal]
    assert max(sizes) < 30_000
    for rebuilt in (refold(world.partitions[0]), from_snapshot(world.state)):
        assert rebuilt.rows == world.state.rows
        assert rebuilt.learned.bytes == world.state.learned.bytes
        assert rebuilt.learned.keys.earliest(99) == world.state.learned.keys.earliest(99)
        assert rebuilt.learned.flows.earliest(99) == world.state.learned.flows.earliest(99)
        assert rebuilt.learned.of_agent == world.state.learned.of_agent


def test_keys_that_take_too_much_room_make_room_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes of all keys have a bound beside their number."""
    monkeypatch.setattr(learning_room, "BYTES_MAX", 5_000)
    world = remembering()
    for number in range(40):
        world.advance(60)
        run(world, f"r{number}", f"type-{number:02d}", latency_ms=5)
        assert world.state.learned.bytes < 5_600
    assert keys(world)[-1] == "type-39"


def test_a_lower_bound_is_reached_little_by_little() -> None:
    """Rules that allow fewer keys do not make one record carry all the forgetting."""
    world = remembering()
    for number in range(40):
        run(world, f"r{number}", f"type-{number:02d}")
    world.rules = replace(world.rules, telemetry=TelemetryRules(memory=Memory(keys_max=4)))
    for number in range(6):
        world.advance(1)
        run(world, f"s{number}", f"more-{number:02d}")
        dropped = world.partitions[0].journal[-1].decision.changes.values()
        assert sum(value is None for value in dropped) <= 8
    assert len(keys(world)) == 4


def test_what_is_in_use_makes_no_room_for_itself() -> None:
    """Rules that allow one key meet two: the one that comes back after an hour keeps its past, the other goes."""
    world = remembering()
    run(world, "r1", "old")
    world.advance(1)
    run(world, "r2", "newer")
    world.rules = replace(world.rules, telemetry=TelemetryRules(memory=Memory(keys_max=1)))
    world.advance(7_200)
    run(world, "r3", "old")
    assert keys(world) == ["old"]
    assert counts(world, key=key_of(TENANT, "engineer", "old", "large")) == {"good": 2}
    assert world.state.learned.evicted.keys == 1


def test_what_is_idle_for_a_quarter_is_forgotten() -> None:
    """Keys and workflows go by themselves, in a Tick; that is no eviction."""
    world = remembering()
    run(world, "r1", "old", workflow="w1")
    world.advance(7_200)
    run(world, "r2", "old", workflow="w1")
    world.advance(45 * 86_400)
    run(world, "r3", "new", workflow="w2")
    world.advance(46 * 86_400)
    assert keys(world) == ["new"]
    assert [key for key in world.state.rows if key.startswith("flowlearned/")] == ["flowlearned/team-a|w2"]
    world.advance(45 * 86_400)
    left = ("learned/", "period/", "past/", "flowlearned/", "evicted/")
    assert not [key for key in world.state.rows if key.startswith(left)]
    assert world.state.learned.bytes == 0
    assert world.state.learned.of_agent == {}


def test_a_tick_that_loses_many_asks_learns_of_each() -> None:
    """Leases that end together, of as many task types: the record holds them, and the bound comes back."""
    world = remembering(keys_max=20)
    for number in range(60):
        world.send("task-requests", ask(f"r{number}", task_type=f"type-{number:03d}"))
    world.advance(3_000)
    assert len(keys(world)) == 60
    assert max(record_bytes(entry.decision) for entry in world.partitions[0].journal) < 4 * 1_048_576
    for number in range(7):
        world.advance(1)
        run(world, f"s{number}", f"more-{number:02d}")
    assert len(keys(world)) == 20


def test_a_report_writes_little() -> None:
    """With a workflow and an hour full of latencies, what is learned of one report is well under a kilobyte."""
    world, rng = remembering(), Random(7)
    for number in range(90):
        world.advance(1)
        latency = round(rng.lognormvariate(8, 0.6))
        run(world, f"r{number}", workflow="w", latency_ms=min(latency, 60_000), cost_usd=0.01)
    changes = world.partitions[0].journal[-1].decision.changes
    ours = {key: value for key, value in changes.items() if "learned/" in key}
    assert len(ours) == 2
    assert sum(len(key) + len(value or b"") + 6 for key, value in ours.items()) < 900


def test_counts_are_an_array_whose_order_is_fixed() -> None:
    """A row of today must read alike for ever: fields are only ever added at the end."""
    assert Counts.__struct_fields__ == (
        *("good", "failed", "cancelled", "lost", "found", "costed", "cost", "held", "overruns", "overrun"),
        *("timed", "taken_ms", "estimated_ms", "late", "rated", "quality_milli", "metered", "tokens_in"),
        *("tokens_out", "retried", "retries", "reviewed", "reversed"),
    )


def test_escalations_need_no_memory() -> None:
    """A person who says no to what has happened reverses no ask."""
    rules = Rules(DIGEST, escalations=escalations_of({("failures", "*"): Trigger(on=True, in_a_row=1)}))
    world = registered(World(rules, strict=False))
    run(world, "r1", kind="failed")
    escalation = world.of("Escalation")[-1]
    body = {"resolution_id": "v", "escalation_id": escalation["escalation_id"], "tenant": TENANT}
    world.send("resolutions", body | {"resolver": "olga", "verdict": "deny"})
    assert counts(world) == {"failed": 1}
