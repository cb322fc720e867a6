"""How workflows are shown, from what the core decides: their tree, times, costs and changes. No broker."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from ops_stream.audit.fold import PartitionFold
from ops_stream.cli.output import Out
from ops_stream.cli.workflows_rows import listed, tenants_with, whole
from ops_stream.cli.workflows_show import COLORS, in_tree, step_columns, tree
from ops_stream.cli.workflows_story import ENDED, WAITING, StepStory, Stories
from ops_stream.cli.workflows_watch import changes, fitting
from ops_stream.contract.clocktext import format_time
from ops_stream.core.rows_workflows import StepState
from ops_stream.core.rules_effects import Effects
from ops_stream.core.rules_model import Rules
from tests.core.flows import hand_in, register, report, step
from tests.core.world import DIGEST, TENANT, World
from tests.scenarios.retrying import shipped

PLAIN = Out(as_json=False, color=False, terminal=False)


def shown(world: World, workflow_id: str = "w1") -> dict[str, Any]:
    """Give a workflow as the command line makes it of the journal's records."""
    stories, folded = Stories(workflow_id), PartitionFold(0)
    for entry in world.partitions[0].journal:
        stories.note(entry.decision.changes, entry.now)
    folded.rows = dict(world.state.rows)
    row = whole(folded, TENANT, workflow_id, stories.of(TENANT), world.now)
    assert row is not None
    return row


def words(text: str) -> list[list[str]]:
    """Give the lines below the two of the head and the titles, as words."""
    return [line.split() for line in text.splitlines()[3:]]


def diamond(**fields: Any) -> World:
    """A workflow that comes apart and together again; its first step has run 5 s."""
    world = World()
    register(world, "ann", max_concurrency=2)
    hand_in(world, step("a"), step("b", "a"), step("c", "a"), step("d", "b", "c"), step("e"), **fields)
    world.now += 5_000
    report(world, "a")
    return world


def test_a_workflow_is_shown_with_who_has_what_for_how_long_and_at_what_cost() -> None:
    """Each step once, behind all that it waits for, with its attempts and why the last failed; nothing hostile."""
    world = diamond(budget_usd=9)
    world.now += 1_500
    report(world, "b", "failed", error="\x1b[31mred")
    world.now += 10_000
    row = shown(world)
    text = tree(PLAIN, row)
    assert text.splitlines()[0] == "w1  running  1 of 5 steps done  $1.00 of $9.00, $2.00 held"
    assert text.splitlines()[1].startswith("16.5 s since 2026-11-24T13:00:00.002Z")
    assert text.splitlines()[2].split() == ["STEP", "STATE", "AGENT", "WAITED", "RAN", "COST"]
    assert words(text) == [
        ["├─", "a", "completed", "ann", "5.0", "s", "$0.50"],
        ["│", "├─", "b", "ready", "ann", "10.0", "s", "1.5", "s", "$0.50", "\\e[31mred"],
        ["│", "├─", "c", "running", "ann", "1.5", "s", "10.0", "s"],
        ["│", "└─", "d", "waiting", "needs", "b,", "c"],
        ["└─", "e", "running", "ann", "16.5", "s"],
    ]
    assert "\x1b" not in text


def test_once_it_has_ended_its_tree_and_times_are_still_known() -> None:
    """The rows of its steps are gone; what the journal told of them is not, and no time goes on."""
    world = diamond()
    for name in ("b", "c", "d", "e"):
        world.now += 1_000
        report(world, name)
    ended = shown(world)
    world.now += 60_000
    assert shown(world) == ended
    assert (ended["state"], ended["lasted_s"]) == ("completed", 9.005)
    d = ended["steps"][3]
    assert d["depends_on"] == ["b", "c"]
    assert d["ran_s"] == 1.001
    assert d["ended_at"] <= ended["ended_at"]
    assert "   └─ d" in tree(PLAIN, ended) or "│  └─ d" in tree(PLAIN, ended)


def test_a_step_that_is_tried_again_counts_the_time_of_all_its_attempts() -> None:
    """It runs 2 s and fails, is given out again at once, runs 3 s more."""
    world = World()
    for agent in ("ann", "bob"):
        register(world, agent)
    hand_in(world, step("a"))
    world.now += 2_000
    report(world, "a", "failed")
    world.now += 3_000
    (row,) = shown(world)["steps"]
    assert (row["attempts"], row["state"], row["agent"]) == (2, "running", "bob")
    assert row["ran_s"] + row["waited_s"] == 5.001
    assert "2" in words(tree(PLAIN, shown(world)))[0]


def test_of_a_step_that_backs_off_it_is_said_when_it_is_tried_again() -> None:
    """That time counts as waiting."""
    world = World(Rules(DIGEST, retries=shipped()))
    register(world, "ann")
    hand_in(world, step("a"))
    report(world, "a", "failed", error_class="transient", error="gone")
    (told,) = shown(world)["steps"]
    assert told["state"] == "backing_off"
    assert told["again_at"] > format_time(world.now)
    moment = told["again_at"][11:19]
    (line,) = words(tree(PLAIN, shown(world)))
    assert " ".join(line).endswith(f"again at {moment}; transient: gone")
    world.now += 300
    assert shown(world)["steps"][0]["waited_s"] == 0.3


@pytest.mark.parametrize("state", get_args(StepState))
def test_of_every_state_it_is_known_whether_its_time_is_waited_run_or_neither(state: str) -> None:
    """A state that is added must be classed, else its time would be lost and it would be shown without colour."""
    told = StepStory("a")
    told.turn(state, 1_000)
    spent = told.waited_ms(3_000), told.ran_ms(3_000)
    assert spent == ((2_000, 0) if state in WAITING else (0, 2_000) if state == "running" else (0, 0))
    assert state in WAITING | ENDED | {"running", "waiting"}
    assert state in COLORS


def test_the_same_id_handed_in_again_begins_anew() -> None:
    """What was told of the one that was forgotten is not told of the new one."""
    stories = Stories("w1")
    old, new = World(), World()
    for world, wait in ((old, 50_000), (new, 2_000)):
        register(world, "ann")
        world.now += wait
        hand_in(world, step("a"))
        for entry in world.partitions[0].journal:
            stories.note(entry.decision.changes, entry.now)
    story = stories.of(TENANT)
    assert story.accepted_ms == new.now
    assert story.steps[1].ran_ms(new.now + 1_000) == 1_000


def test_workflows_of_one_id_are_told_apart_by_tenant_and_from_those_that_begin_alike() -> None:
    """`w1` is neither `w11` nor that of another tenant."""
    world = World()
    register(world, "ann", max_concurrency=9)
    register(world, "bob", tenant="team-b")
    hand_in(world, step("a"), workflow_id="w11", budget_usd=3)
    hand_in(world, step("b"))
    hand_in(world, step("c"), tenant="team-b")
    folded = PartitionFold(0)
    folded.rows = dict(world.state.rows)
    assert tenants_with(folded, "w1") == [TENANT, "team-b"]
    assert [one["step_id"] for one in shown(world)["steps"]] == ["b"]
    rows = {(row["tenant"], row["workflow_id"]): row.get("budget_usd") for row in listed(folded)}
    assert rows == {(TENANT, "w11"): 3, (TENANT, "w1"): None, ("team-b", "w1"): None}


def test_each_change_is_told_once_steps_before_their_workflow() -> None:
    """Nothing is told where nothing changed but times."""
    world = diamond()
    before = shown(world)
    world.now += 1_000
    assert list(changes(before, shown(world))) == []
    report(world, "b", "failed", error="no paper")
    after = shown(world)
    told = [line for _, line in changes(before, after)]
    assert told == ["w1  b  ready  ann  no paper", "w1  c  running  ann"]
    report(world, "c")
    before = shown(world)
    report(world, "b", "failed", error="no ink")
    told = [line for _, line in changes(before, shown(world))]
    assert told == [
        "w1  b  failed  ann  attempt 2  ran 1.0 s  no ink",
        "w1  running, to be failed  $2.00, $1.00 held",
    ]
    (change, _), (flow, _) = changes(before, shown(world))
    assert (change["step_id"], change["workflow_id"]) == ("b", "w1")
    assert flow["state"] == "running" and "steps" not in flow and "step_id" not in flow


def test_of_a_step_that_waits_for_a_person_it_is_said_where_they_answer() -> None:
    """The time for which it waits counts as waiting, not as running."""
    world = World(Rules(DIGEST, effects=Effects(task_types={"ship": "irreversible"})))
    register(world, "ann", "ship")
    hand_in(world, step("a", task_type="ship"))
    world.now += 4_000
    (line,) = words(tree(PLAIN, shown(world)))
    assert line == ["└─", "a", "escalated", "ann", "4.0", "s", "see:", "ops-stream", "escalations"]
    assert shown(world)["steps"][0]["waited_s"] == 4


def test_where_there_is_little_room_what_matters_stays() -> None:
    """First what runs, waits for somebody or failed, then what comes, then what is done; in the order of the tree."""
    steps = in_tree(shown(diamond())["steps"])
    assert [one["step_id"] for one in steps] == ["a", "b", "c", "d", "e"]
    states = {one["step_id"]: one["state"] for one in steps}
    assert states == {"a": "completed", "b": "running", "c": "ready", "d": "waiting", "e": "running"}
    assert [one["step_id"] for one in fitting(steps, 3)] == ["b", "c", "e"]
    assert [one["step_id"] for one in fitting(steps, 4)] == ["b", "c", "d", "e"]
    assert fitting(steps, 9) == steps


def test_a_narrow_terminal_is_shown_fewer_figures() -> None:
    """And a figure that no step has yet is shown nowhere."""
    world = diamond()
    world.now += 1_000
    steps = in_tree(shown(world)["steps"])
    assert [one.title for one in step_columns(steps, 100)] == [
        "STEP",
        "STATE",
        "AGENT",
        "WAITED",
        "RAN",
        "COST",
        "",
    ]
    assert [one.title for one in step_columns(steps, 80)] == ["STEP", "STATE", "AGENT", "RAN", ""]
