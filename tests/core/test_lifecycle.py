"""Where agents stand: the ways between states, bounds, and agents that fall silent."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import replace
from itertools import product
from pathlib import Path
from random import Random
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops_stream.core.agents import reinstate
from ops_stream.core.draft import ITEMS_MAX, Draft
from ops_stream.core.inputs import Tick
from ops_stream.core.rows import AGENTS, CONDUCTS, Agent, agent_key, conduct_key
from ops_stream.core.rules_lifecycle import COUNT_MAX, VIOLATIONS, Lifecycle
from ops_stream.core.rules_model import Agents, DeclaredAgent, Rules, Supervisor
from ops_stream.core.standing import TRANSITIONS, move
from ops_stream.core.state import State
from ops_stream.core.step import InvariantBroken
from tests.core.test_step import ask, registered
from tests.core.world import DIGEST, TENANT, World, from_snapshot, refold
from tests.thorough import examples

PAGE: Final = Path(__file__).parents[2] / "docs" / "lifecycle.md"
STATES: Final[tuple[Any, ...]] = ("registered", "active", "warned", "suspended", "blocked")
WAYS: Final = {(a, b) for ways in TRANSITIONS.values() for a, after in ways.items() for b in after}
STRICT: Final = Lifecycle(warn_after=1, suspend_after=3, tolerated_percent=0)


def world_of(**lifecycle: Any) -> World:
    """A world in which the engineer has registered and the lifecycle is another than the shipped one."""
    return registered(World(Rules(DIGEST, lifecycle=Lifecycle(**lifecycle))))


def report(world: World, request_id: str, kind: str, number: int, **fields: Any) -> None:
    """Send one report of the engineer's."""
    body = {"event_id": f"e{number}", "request_id": request_id, "task_id": "t1", "agent": "engineer"}
    world.send("telemetry", {**body, "tenant": TENANT, "kind": kind, **fields})


def conduct(world: World) -> Any:
    """Give the row with the engineer's violations."""
    return CONDUCTS.decode(world.state.rows[conduct_key(TENANT, "engineer")])


def statuses(world: World, agent: str = "engineer") -> list[str]:
    """Give the states that were published of an agent."""
    return [status["state"] for status in world.of("AgentStatus") if status["agent"] == agent]


# -- the ways between states --------------------


def test_the_page_shows_the_table() -> None:
    """The table of ways in docs/lifecycle.md is the one that decides."""
    shown: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for cause, before, after in re.findall(
        r"^\| (\w+) \| ([\w, ]+) \| ([\w, ]+) \|$", PAGE.read_text(), re.M
    ):
        if cause in TRANSITIONS:
            shown[cause] |= {(a, b) for a in before.split(", ") for b in after.split(", ")}
    decides = {cause: {(a, b) for a in ways for b in ways[a]} for cause, ways in TRANSITIONS.items()}
    assert dict(shown) == decides


@pytest.mark.parametrize("cause", list(TRANSITIONS))
def test_no_agent_moves_by_another_way(cause: Any) -> None:
    """A move that the table does not have breaks an invariant; one that it has is written and told."""
    for before, after in product(STATES, STATES):
        draft = Draft(State(0, 1), Rules(DIGEST), 1, Tick())
        agent = Agent(state=before, since=0, role="worker")
        if after in TRANSITIONS[cause].get(before, ()):
            assert move(draft, TENANT, "engineer", agent, after, cause, "why").state == after
            assert [output.value["state"] for output in draft.outputs] == [after]
        else:
            with pytest.raises(InvariantBroken, match="engineer"):
                move(draft, TENANT, "engineer", agent, after, cause)


def _random_lifecycle(rng: Random) -> Lifecycle:
    weights: dict[str, Any] = {kind: rng.choice(("ignore", "minor", "minor", "major")) for kind in VIOLATIONS}
    return Lifecycle(
        **weights,
        over_cost_tolerance_micros=0,
        over_time_tolerance_percent=rng.choice((0, 900)),
        warn_after=rng.choice((0, 1, 2)),
        suspend_after=rng.choice((0, 2, 4)),
        window_s=rng.choice((200, 3_600)),
        tolerated_percent=rng.choice((0, 10, 50)),
        block_after=rng.choice((0, 1, 2)),
        block_window_s=rng.choice((600, 604_800)),
        forgive_s=rng.choice((0, 100, 600)),
        dead_after_s=rng.choice((0, 90)),
    )


def _random_act(world: World, rng: Random, number: int) -> None:
    """Something that any of three agents does, of which `saint` does everything right; others lie about it."""
    agent, at = rng.choice(("engineer", "writer")), {"tenant": TENANT}
    body: dict[str, Any]
    roll = rng.random()
    if roll < 0.35:
        cost = rng.choice((1, 1, 9_000_000))
        world.send("task-requests", ask(f"r{number}", agent=agent, estimated_cost_usd=cost / 10))
    elif roll < 0.7:
        told = f"r{rng.randrange(max(1, number - 12), number + 2)}"
        kind = rng.choice(("started", "progress", "completed", "completed", "failed", "cancelled"))
        report(world, told, kind, number, agent=agent, cost_usd=rng.choice((0.05, 1, 20)))
    elif roll < 0.75:
        body = {"event": "Heartbeat", "agent": agent, "running": [f"r{number - 1}"]}
        world.send("agents", {**at, **body})
    elif roll < 0.82:
        command = rng.choice(("quarantine_agent", "reinstate_agent", "reinstate_agent", "reinstate_agent"))
        body = {"command_id": f"c{number}", "command": command, "target": agent, "issued_by": "olga"}
        body |= {"parameters": {"state": rng.choice(("suspended", "blocked"))}} if command[0] == "q" else {}
        world.send("control", {**at, **body, "reason": "because"})
    elif roll < 0.9:
        world.send("task-requests", ask(f"s{number}", agent="saint"))
        report(world, f"s{number}", "started", number, agent=agent, event_id=f"lie{number}")
        report(world, f"s{number}", "completed", number, agent="saint", cost_usd=1)
    else:
        world.advance(rng.choice((1, 70, 200, 700, 4_000)))


@settings(max_examples=examples(60, quick=6), deadline=None)
@given(seed=st.integers(0, 2**32))
def test_states_only_move_along_the_table(seed: int) -> None:
    """Whatever happens, each change of state is one of the table and is told with a reason; state is the fold of the
    journal; and who does everything right is never held to anything, whatever others report of its asks."""
    rng = Random(seed)
    world = World(Rules(DIGEST, lifecycle=_random_lifecycle(rng)), strict=False)
    for agent in ("engineer", "writer", "saint"):
        body = {"agent": agent, "tenant": TENANT, "role": "worker"}
        world.send("agents", {"event": "AgentRegistration", "capabilities": [], **body})
    for number in range(60):
        _random_act(world, rng, number)
    world.advance(90 * 86_400)
    last: dict[str, str] = {}
    for status in world.of("AgentStatus"):
        before, after = last.get(status["agent"]), status["state"]
        assert before is None or (before, after) in WAYS, f"{before} became {after}"
        assert after in ("registered", "active") or status["reason"]
        last[status["agent"]] = after
    for agent, state in last.items():
        assert AGENTS.decode(world.state.rows[agent_key(TENANT, agent)]).state == state
    assert set(statuses(world, "saint")) <= {"registered", "active"}
    assert not [alert for alert in world.of("Alert") if alert["summary"].startswith("Agent saint")]
    rows = world.state.rows
    assert not [key for key in rows if key.startswith("violations/")], "what is long over is forgotten"
    assert refold(world.partitions[0]).rows == rows
    assert from_snapshot(world.state).next_due_ms() == world.state.next_due_ms()


# -- what is kept --------------------


def test_violations_are_bounded() -> None:
    """However many there are, the row of an agent keeps the latest hundred."""
    world = world_of(warn_after=0, suspend_after=0)
    world.strict = False
    for number in range(150):
        report(world, f"never-asked-{number}", "started", number)
    row = conduct(world)
    assert len(row.breaches) == COUNT_MAX
    assert row.breaches[-1].request_id == "never-asked-149"
    assert len([alert for alert in world.of("Alert") if alert["kind"] == "violation"]) == 1


def test_reasons_stay_short_and_a_flood_of_reports_stays_cheap() -> None:
    """A reason names a few asks of each kind; once the agent is stopped, reports for no ask write nothing more."""
    world = world_of(warn_after=0, suspend_after=COUNT_MAX, tolerated_percent=0)
    world.strict = False
    for number in range(120):
        report(world, f"never-asked-{number}-{'x' * 90}", "started", number)
    (suspended,) = [status for status in world.of("AgentStatus") if status["state"] == "suspended"]
    assert "100 violations within 3600 s" in suspended["reason"]
    assert "and 95 more" in suspended["reason"]
    assert len(suspended["reason"]) < 1_000
    assert conduct(world).breaches[-1].request_id.startswith("never-asked-99-")
    assert not [
        key for key in world.partitions[0].journal[-1].decision.changes if key.startswith("violations/")
    ]


def test_reinstatement_counts_anew_and_says_whether_there_was_anything() -> None:
    """After it the old violations count for nothing, though policies still see them for a day."""
    world = world_of(warn_after=2, suspend_after=3, tolerated_percent=0)
    for number in range(3):
        report(world, f"x{number}", "started", number)
    body = {"command": "reinstate_agent", "target": "engineer", "tenant": TENANT, "issued_by": "olga"}
    world.send("control", {**body, "command_id": "c1"})
    world.advance(1)
    report(world, "x3", "started", 3)
    assert statuses(world) == ["registered", "warned", "suspended", "active"]
    assert len(conduct(world).breaches) == 4
    assert len(conduct(world).suspensions) == 1
    draft = Draft(world.state, world.rules, world.now, Tick())
    assert not reinstate(draft, TENANT, "engineer"), "there is nothing to end"


def test_an_ordinary_agent_writes_no_row_of_violations() -> None:
    """Where nothing is done against the rules, nothing is journaled about it."""
    world = world_of()
    for number in range(5):
        world.send("task-requests", ask(f"r{number}"))
        report(world, f"r{number}", "completed", number, cost_usd=1)
    touched = {
        key.partition("/")[0] for entry in world.partitions[0].journal for key in entry.decision.changes
    }
    assert touched.isdisjoint({"violations", "pulse"})


def test_new_thresholds_hold_for_what_was_counted_before() -> None:
    """Rules that are activated later judge the violations that are remembered."""
    world = world_of(warn_after=0, suspend_after=0)
    for number in range(3):
        report(world, f"x{number}", "started", number)
    assert statuses(world) == ["registered"]
    world.rules = Rules(DIGEST, lifecycle=replace(STRICT, suspend_after=4))
    report(world, "x3", "started", 3)
    assert statuses(world) == ["registered", "suspended"]


def test_a_longer_time_until_forgiveness_holds_for_who_is_warned_already() -> None:
    """Rules that are activated later say when a warning is over."""
    world = world_of(warn_after=1, tolerated_percent=0, forgive_s=600)
    report(world, "x1", "started", 1)
    world.rules = Rules(DIGEST, lifecycle=Lifecycle(forgive_s=6_000))
    world.advance(5_990)
    assert statuses(world) == ["registered", "warned"]
    world.advance(20)
    assert statuses(world) == ["registered", "warned", "active"]


# -- agents that fall silent --------------------


def _beat(world: World, *running: str) -> None:
    body = {"event": "Heartbeat", "agent": "engineer", "tenant": TENANT, "running": list(running)}
    world.send("agents", body)


def test_heartbeats_cost_no_more_for_being_watched() -> None:
    """Only the first heartbeat writes the row that watches over an agent; time looks after the rest."""
    world = world_of(dead_after_s=60)
    for _ in range(5):
        world.advance(10)
        _beat(world)
    written = [
        e for e in world.partitions[0].journal if any(k.startswith("pulse/") for k in e.decision.changes)
    ]
    assert len(written) == 1


def test_a_dead_agent_with_much_to_lose_loses_it_piece_by_piece() -> None:
    """More asks than one record may act on are taken in several, all at once by the clock; one alert."""
    world = world_of(dead_after_s=60)
    world.strict = False
    asks = ITEMS_MAX + 10
    for number in range(asks):
        world.send("task-requests", ask(f"r{number}", estimated_time_s=10_000, estimated_cost_usd=0.001))
    _beat(world)
    world.advance(61)
    lost = [a for a in world.of("TaskApproval") if a["reason"] == "lease_expired"]
    assert len(lost) == asks
    assert len({a["decided_at"] for a in lost}) == 1
    assert [alert["kind"] for alert in world.of("Alert")] == ["agent_silent"]
    assert not world.state.tenants
    assert world.state.next_due_ms() != world.now


def test_death_is_no_violation_and_can_be_turned_off() -> None:
    """Who dies is not punished; where the setting goes to 0, whoever was watched is left alone."""
    world = world_of(dead_after_s=60, warn_after=1, tolerated_percent=0)
    world.send("task-requests", ask("r1", estimated_time_s=1_000))
    _beat(world)
    world.advance(61)
    assert statuses(world) == ["registered", "active"]
    world.send("task-requests", ask("r2", estimated_time_s=1_000))
    _beat(world)
    world.rules = Rules(DIGEST)
    world.advance(1_000)
    assert [a["decision"] for a in world.answers("r2")] == ["approved"]
    assert not [key for key in world.state.rows if key.startswith("pulse/")]


# -- who may ask --------------------


def test_an_agent_of_open_times_is_not_let_in_once_agents_are_declared() -> None:
    """Rules that demand a declaration hold for those who registered before."""
    world = world_of()
    world.rules = Rules(DIGEST, supervisor=Supervisor(registration="declared"))
    world.send("task-requests", ask("r1"))
    assert [a["reason"] for a in world.answers("r1")] == ["agent_not_allowed"]


def test_the_declared_role_counts() -> None:
    """An agent cannot give itself another role than it was declared with."""
    world = World(Rules(DIGEST, agents=Agents({("*", "engineer"): DeclaredAgent("engineer", role="intern")})))
    registered(world)
    assert AGENTS.decode(world.state.rows[agent_key(TENANT, "engineer")]).role == "intern"
