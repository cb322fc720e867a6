"""What optimizations must stand: reports that leave things out, odd numbers, people who want two things at once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ops_stream.core.inputs import Tick
from ops_stream.core.optimization_judging import halved, judge
from ops_stream.core.rows import OPTIMIZATIONS, OptimizationRow
from ops_stream.core.rows_optimization import Arm
from tests.core.routes import TOKENS
from tests.core.test_optimization import DAY, FOUND, HOUR, OTHER, SETTINGS, LivingWorld, tried, world_of
from tests.core.test_step import ask, registered
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
    world = tried(monkeypatch, horizon_samples=121)
    world.work(560, 1)
    assert world.row.state == "applied"
    assert judge(world.row, SETTINGS).confidence >= 95
    world.command("revert_optimization", target=world.id)
    event = world.told("Optimization")[-1]
    assert (event["changed"]["quality"], event["kept"]["quality"]) == (1, 1)


def rows(world: LivingWorld) -> dict[str, OptimizationRow]:
    """All optimizations, by id."""
    found = {key: raw for key, raw in world.state.rows.items() if key.startswith(OPTIMIZATIONS.prefix)}
    return {key.rpartition("|")[2]: OPTIMIZATIONS.decode(raw) for key, raw in found.items()}


def test_no_second_change_of_the_models_of_the_same_work_is_applied(monkeypatch: pytest.MonkeyPatch) -> None:
    """An ask can count for one of them only: the other would be in force without ever being held to harm."""
    router = FOUND._replace(kind="router", task_type="", path="routing.mode", before="off", after="cheapest")
    world = world_of(monkeypatch, (FOUND, router))
    world.work(1)
    world.advance(HOUR + 1)
    (proposed,) = (id_ for id_, row in rows(world).items() if row.state == "proposed")
    world.command("apply_optimization", target=proposed)
    assert rows(world)[proposed].state == "proposed"
    assert [one["reason"] for one in world.told("DeadLetter")] == ["in_the_way"]


def test_a_late_approval_is_refused_while_another_change_of_the_same_is_tried(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The question stays open: once the other is over, people may say so again."""
    world = world_of(monkeypatch, (FOUND, FOUND._replace(after="small")), time_box_s=3 * HOUR)
    world.work(1)
    world.advance(HOUR + 1)
    first = next(id_ for id_, row in rows(world).items() if row.state == "trial")
    world.work(140, 1)
    while not any(row.state == "trial" for row in rows(world).values()):
        world.advance(60)
    (call,) = (
        one for one in world.told("Escalation") if one["escalation_id"] == rows(world)[first].escalation
    )
    verdict = {"escalation_id": call["escalation_id"], "tenant": TENANT, "resolver": "paula"}
    world.send("resolutions", {**verdict, "resolution_id": "v1", "verdict": "approve"})
    assert [one["reason"] for one in world.told("DeadLetter")] == ["in_the_way"]
    (second,) = (id_ for id_, row in rows(world).items() if row.state == "trial")
    world.command("revert_optimization", target=second)
    world.send("resolutions", {**verdict, "resolution_id": "v2", "verdict": "approve"})
    assert rows(world)[first].permanent
    assert rows(world)[second].state == "reverted"


def test_what_a_person_applies_again_is_not_taken_back_for_the_harm_it_did_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is counted anew, and so are the rules before it."""
    world = tried(monkeypatch, horizon_samples=1_000)
    world.work(140, 1, good=lambda changed, n: not changed or n % 4 == 0)
    assert world.row.state == "reverted"
    world.command("apply_optimization", target=world.id)
    assert world.row.changed.reports == world.row.kept.reports == 0
    world.work(400, 200)
    assert world.states[2:] == ["reverted", "applied"]
    assert world.row.kept.reports >= SETTINGS.samples_min


def test_no_more_is_amended_than_one_record_can_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever activates another bundle ends all changes at once, and that has to fit into the journal."""
    world = world_of(monkeypatch)
    world.command("activate_rules", scope="all", parameters={"digest": OTHER})
    monkeypatch.setattr("ops_stream.core.amend.ROW_BYTES_MAX", 100)
    world.work(1)
    world.advance(HOUR + 1)
    assert world.states == ["proposed"]
    world.command("apply_optimization", target=world.id)
    assert [one["reason"] for one in world.told("DeadLetter")] == ["in_the_way"]


def test_dots_in_names_do_not_make_two_ideas_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The path of type `a` and agent `b.c` is that of type `a.b` and agent `c`."""
    one = FOUND._replace(
        kind="agent", task_type="a", path="agents.choice.a.b.c", before="as_ranked", after="avoided"
    )
    world = world_of(monkeypatch, (one, one._replace(task_type="a.b")))
    world.work(1)
    world.advance(HOUR + 1)
    assert world.states == ["proposed", "trial"] * 2


def test_what_a_change_is_expected_to_save_does_not_fade_while_it_is_in_force(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its sides forget, so that they no longer tell how many asks there were: the trial did."""
    world = tried(monkeypatch)
    world.work(140, 1)
    world.command("apply_optimization", target=world.id)
    before = world.row.saving_micros
    world.advance(10 * DAY)
    world.work(400, 200)
    assert world.row.changed.asks < 300
    assert world.row.saving_micros > before * 3 // 4


def test_one_tick_looks_for_few_tenants_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a time without a worker those of all tenants are due, and each look may read thousands of rows."""
    world = world_of(monkeypatch, ())
    for n in range(25):
        tenant = f"tenant-{n}"
        registered(world, tenant)
        body = {**ask("r1", tenant=tenant, effect="reversible"), **TOKENS}
        world.send("task-requests", body)
        report = {"event_id": f"e{n}", "request_id": "r1", "task_id": "t1", "agent": "engineer"}
        world.send("telemetry", {**report, "tenant": tenant, "kind": "completed", "success": True})
    world.now += 2 * HOUR * 1_000
    looked = []
    while (due := world.state.next_due_ms()) is not None and due <= world.now:
        changes = world.take(0, Tick()).changes
        looked.append(sum(key.startswith("finder/") for key in changes))
    assert sum(looked) == 25
    assert max(looked) == 10


def test_what_a_person_has_applied_is_asked_about_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever answers all the same is told that the question is closed."""
    world = tried(monkeypatch)
    world.work(140, 1)
    (call,) = (one for one in world.told("Escalation") if one["trigger"] == "optimization")
    world.command("apply_optimization", target=world.id)
    assert world.told("Escalation")[-1]["status"] == "withdrawn"
    verdict = {"escalation_id": call["escalation_id"], "tenant": TENANT, "resolver": "paula"}
    world.send("resolutions", {**verdict, "resolution_id": "v1", "verdict": "deny"})
    assert [one["reason"] for one in world.told("DeadLetter")] == ["escalation_closed"]
    assert world.row.permanent


def test_what_drifts_for_both_sides_is_not_held_against_a_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sides begin anew with the other shares: else the changed side would be mostly later than the kept one."""
    world = tried(monkeypatch, share_percent=10)
    world.work(800, 1)
    assert world.row.state == "applied"
    assert world.row.kept.asks < 100
    world.work(600, 1_000, good=lambda _changed, n: n % 5 != 0)
    assert world.row.state == "applied"


def test_nothing_is_applied_while_it_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was proposed before stays a proposal."""
    world = world_of(monkeypatch, mode="propose")
    world.work(1)
    world.advance(HOUR + 1)
    world.bundles = {
        digest: replace(one, optimization=replace(one.optimization, mode="off"))
        for digest, one in world.bundles.items()
    }
    world.command("apply_optimization", target=world.id)
    assert world.row.state == "proposed"
    assert [one["reason"] for one in world.told("DeadLetter")] == ["not_supported"]


def test_what_was_asked_under_other_rules_is_not_put_into_force_by_an_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its time box has ended, people were asked once more, and then other rules were activated."""
    world = tried(monkeypatch)
    world.work(140, 1)
    world.advance(SETTINGS.time_box_s + 1)
    call = [one for one in world.told("Escalation") if one["status"] == "open"][-1]
    world.command("activate_rules", scope="all", parameters={"digest": OTHER})
    verdict = {"resolution_id": "v1", "escalation_id": call["escalation_id"], "tenant": TENANT}
    world.send("resolutions", {**verdict, "resolver": "paula", "verdict": "approve"})
    assert world.row.state == "reverted"
    assert world.digest == OTHER
