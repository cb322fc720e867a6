"""What figures leave behind, and how much of it there may be."""

from __future__ import annotations

from ops_stream.core.rows import GOALS
from ops_stream.core.rules_model import Rules
from ops_stream.core.state import State
from tests.core.figures import COST, DAY, SUCCESS, Figures
from tests.core.policies import TestPolicy
from tests.core.world import DIGEST, TENANT, from_snapshot, refold


def test_what_is_over_leaves_nothing() -> None:
    """Windows are forgotten when the one after them is over; objectives and failures a week after their last use."""
    world = Figures()
    world.did("r1", objective_id="o1", workflow_id="w1")
    world.did("r2", "failed", objective_id="o1", workflow_id="w1")
    world.ask("r3", objective_id="o2")
    world.report("r3", "started")
    world.world.advance(2 * DAY)
    assert not _rows(world, "tally/")
    assert _rows(world, "goal/") == [
        f"goal/{TENANT}|f|o|o1|t1",
        f"goal/{TENANT}|f|o|o2|t1",
        *_goals("o1", "o2"),
    ]
    world.world.advance(7 * DAY)
    assert not _rows(world, "goal/")
    assert not world.world.state.goals.earliest(10)


def test_an_objective_with_an_open_ask_is_not_forgotten() -> None:
    """However long it waits for a person."""
    settings = TestPolicy("ask", "escalate", "priority == 1")
    world = Figures(settings)
    world.world.rules = Rules(
        DIGEST,
        policies=world.world.rules.policies,
        supervisor=world.world.rules.supervisor.__class__(escalation_ttl_s=30 * DAY),
    )
    world.ask("r1", objective_id="o1")
    world.ask("r2", objective_id="o1", priority=1, task_id="t2")
    world.report("r1", "completed", 1)
    world.world.advance(20 * DAY)
    assert _rows(world, "goal/") == _goals("o1")
    world.resolve("r2", "deny")
    world.world.advance(60)
    assert world.last(COST) == (0.0, 0, 1), "all was spent long before"


def test_a_flood_of_objectives_and_workflows_keeps_its_bound() -> None:
    """Those that were not used for longest go, somebody is told, and told again when there is room."""
    world = Figures(goals_max=10)
    for number in range(40):
        world.did(f"r{number}", objective_id=f"o{number}", workflow_id=f"w{number}", task_id=f"t{number}")
        world.world.advance(61)
    known = [key for _, _, _, key in world.world.state.goals.earliest(100)]
    assert len(known) <= 12, "and what the last record has made"
    assert f"goal/{TENANT}|o|o39" in known
    assert f"goal/{TENANT}|o|o0" not in known
    assert [one["status"] for one in world.world.of("Alert") if one["kind"] == "goals_max"] == ["firing"]
    world.world.advance(9 * DAY)
    assert [one["status"] for one in world.world.of("Alert") if one["kind"] == "goals_max"][-1] == "resolved"


def test_nothing_depends_on_who_counts() -> None:
    """A partition that is taken over in the middle of an hour tells the same as one that never stood still."""
    world = Figures(TestPolicy("ask", "escalate", "priority == 1"))
    for number in range(12):
        world.did(
            f"r{number}",
            ("completed", "failed", "completed")[number % 3],
            objective_id=f"o{number % 4}",
            workflow_id=f"w{number % 2}",
        )
        world.world.advance(700)
        partition = world.world.partitions[0]
        for state in (refold(partition), from_snapshot(partition.state)):
            assert state.rows == partition.state.rows
            assert state.goals.earliest(100) == partition.state.goals.earliest(100)
            assert {name: one.goals for name, one in state.tenants.items()} == {
                name: one.goals for name, one in partition.state.tenants.items()
            }
        partition.state = from_snapshot(partition.state)
    quiet = Figures(TestPolicy("ask", "escalate", "priority == 1"))
    for number in range(12):
        quiet.did(
            f"r{number}",
            ("completed", "failed", "completed")[number % 3],
            objective_id=f"o{number % 4}",
            workflow_id=f"w{number % 2}",
        )
        quiet.world.advance(700)
    assert quiet.world.of("Kpi") == world.world.of("Kpi")


def test_asks_that_end_together_complete_their_objective_once() -> None:
    """A kill that stops three asks in one record completes, with the last of them, what went well before."""
    world = Figures()
    world.ask("r0", objective_id="o1")
    for number in (1, 2, 3):
        world.ask(f"r{number}", objective_id="o1", task_id=f"t{number}")
    state: State = world.world.state
    assert state.tenants[TENANT].goals == {"o|o1": 4}
    world.report("r0", "completed", 1)
    assert not GOALS.decode(state.rows[f"goal/{TENANT}|o|o1"]).completed
    world.world.send("control", {"command_id": "c1", "command": "kill", "issued_by": "olga"})
    assert GOALS.decode(state.rows[f"goal/{TENANT}|o|o1"]).completed
    world.world.advance(60)
    assert world.last(COST) == (1.0, 1.0, 1)


def test_asks_that_are_lost_together_complete_nothing() -> None:
    """Three leases that end in one Tick without a report are failures: the objective is not done."""
    world = Figures()
    for number in range(4):
        world.ask(f"r{number}", objective_id="o1", task_id=f"t{number}")
    world.report("r0", "completed", 1)
    world.world.advance(240)
    assert world.last(COST) == (None, 1.0, 0)
    assert world.last(SUCCESS) == (0.25, 1, 4)


def _rows(world: Figures, prefix: str) -> list[str]:
    return sorted(key for key in world.world.state.rows if key.startswith(prefix))


def _goals(*names: str) -> list[str]:
    return [f"goal/{TENANT}|o|{name}" for name in names]
