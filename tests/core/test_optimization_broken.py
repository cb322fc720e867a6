"""What optimizations must stand: reports that leave things out, odd numbers, people who want two things at once."""

from __future__ import annotations

from typing import Any

import pytest

from ops_stream.core.optimization_judging import halved, judge
from ops_stream.core.rows_optimization import Arm
from tests.core.routes import TOKENS
from tests.core.test_optimization import DAY, FOUND, HOUR, SETTINGS, LivingWorld, tried, world_of
from tests.core.test_step import ask
from tests.core.world import TENANT


def untimed(world: LivingWorld, number: int, start: int = 1, **fields: Any) -> None:
    """Let asks be made and reported without a word of how long they took."""
    for n in range(start, start + number):
        world.now += 1_000
        body = {**ask(f"r{n}", task_id=f"t{n}", effect="reversible"), **TOKENS}
        del body["estimated_cost_usd"]
        world.send("task-requests", body)
        assert world.answers(f"r{n}")[-1]["decision"] == "approved"
        report = {"event_id": f"e{n}", "request_id": f"r{n}", "task_id": f"t{n}", "agent": "engineer"}
        more = {"tenant": TENANT, "kind": "completed", "success": True, "cost_usd": 0.01, **fields}
        world.send("telemetry", {**report, **more})


def faster(monkeypatch: pytest.MonkeyPatch, **settings: Any) -> LivingWorld:
    """A world in which a model is tried because it would answer sooner."""
    world = world_of(monkeypatch, (FOUND._replace(kind="faster_model"),), **settings)
    world.work(1)
    world.advance(HOUR + 1)
    assert world.row.state == "trial"
    return world


def test_a_faster_model_of_which_no_report_tells_the_time_is_rejected(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing is known of how long it takes, and every report is taken in all the same."""
    world = faster(monkeypatch)
    untimed(world, 150)
    assert not world.told("DeadLetter")
    assert world.states == ["proposed", "trial", "rejected"]
    assert world.row.confidence == 50


def test_the_end_of_its_time_is_no_trouble_where_no_report_told_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The Tick that judges it gets through: one that fails is tried for ever, and the partition stands still."""
    world = faster(monkeypatch, samples_min=50, horizon_samples=1_000)
    untimed(world, 40)
    world.advance(SETTINGS.horizon_s + DAY)
    assert "rejected" in world.states


def test_halving_keeps_every_mean() -> None:
    """Half of an odd number of reports of which all went well are still no better than well."""
    arm = Arm(201, 201, 201, 402, 402, 804, 101, 303, 303, 909, 201_000, 201_000_000, 3, 9)
    half = halved(arm)
    assert (half.asks, half.reports, half.good, half.timed) == (100, 100, 100, 50)
    assert half.quality == 100_000
    assert (half.cost // half.reports, half.taken_ms // half.timed) == (2, 3)
    assert halved(Arm(1, 1, 1, 5)) == Arm()


def test_what_is_told_of_sides_that_were_halved_is_what_the_contract_allows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No mean quality is above 1, however long a change is in force."""
    world = tried(monkeypatch, horizon_samples=61)
    world.work(280, 1)
    assert world.row.state == "applied"
    assert judge(world.row, SETTINGS).confidence >= 95
    world.command("revert_optimization", target=world.id)
    event = world.told("Optimization")[-1]
    assert (event["changed"]["quality"], event["kept"]["quality"]) == (1, 1)
