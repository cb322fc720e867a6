"""No record grows beyond what the journal takes, however many large workflows one input is about."""

from __future__ import annotations

from typing import Any

import msgspec

from ops_stream.contract.clocktext import format_time
from ops_stream.core.inputs import Tick
from ops_stream.core.rows import WORKFLOWS
from ops_stream.core.rules_model import Rules, Supervisor
from tests.core.flows import check_flows, command, flow_of, hand_in, register, report, status, step
from tests.core.test_sizes import RECORD_MAX, record_bytes
from tests.core.world import DIGEST, World
from tests.thorough import examples

LONG = "n" * 60
TENANT = "t" * 128
AGENT = "a" * 128
STEPS = 1_000


def _world(rules: Rules | None = None, **fields: Any) -> World:
    world = World(rules, strict=False)
    world.takeover(0)
    register(world, AGENT, tenant=TENANT, **fields)
    return world


def _large(world: World, number: int, *needs: str, **fields: Any) -> None:
    """Hand in as many steps with long names as an input takes; all but the first depend on `needs`."""
    steps = [
        {"step_id": f"{at:03d}{LONG}", "task_type": "general", "task_description": "x", "estimated_time_s": 1}
        for at in range(STEPS)
    ]
    for one in steps[1:]:
        one["depends_on"] = list(needs)
    hand_in(world, *steps, workflow_id=_name(number), tenant=TENANT, **fields)


def _name(number: int) -> str:
    return f"w{number:03d}{'w' * 124}"


def _tick(world: World) -> None:
    """Let Ticks do what is due now."""
    while (due := world.state.next_due_ms()) is not None and due <= world.now:
        world.take(0, Tick())


def _largest(world: World) -> int:
    return max(record_bytes(entry.decision) for entry in world.partitions[0].journal)


def _told(world: World) -> None:
    """Everybody was told of each workflow what its row says."""
    last = {out["workflow_id"]: out for out in world.of("WorkflowStatus")}
    for key, raw in world.state.rows.items():
        if key.startswith("workflow/"):
            row = WORKFLOWS.decode(raw)
            told = last[key.rpartition("|")[2]]
            assert not row.owed
            assert told["state"] == row.state
            if row.ended_at:
                assert told == msgspec.json.decode(row.status)


def test_many_large_workflows_begin_and_are_killed_at_once() -> None:
    """Whoever comes back has room for a step of each: all are told of, and stopped, in records of a bounded size."""
    count = examples(40, quick=6)
    world = _world(max_concurrency=count)
    command(world, "quarantine_agent", target=AGENT, tenant=TENANT)
    for number in range(count):
        _large(world, number, f"000{LONG}")
    command(world, "reinstate_agent", target=AGENT, tenant=TENANT)
    _tick(world)
    _told(world)
    assert {status(world, _name(number))["state"] for number in range(count)} == {"running"}
    command(world, "kill", scope="tenant", target=TENANT)
    check_flows(world.state)
    _tick(world)
    _told(world)
    assert not world.state.workflows.active
    assert _largest(world) < RECORD_MAX - 262_144
    world.advance(90_000)
    assert not [key for key in world.state.rows if key.startswith(("workflow/", "step"))]


def test_many_large_workflows_that_are_late_at_once() -> None:
    """They have one deadline, and most of their steps wait for somebody."""
    count = examples(20, quick=4)
    world = _world()
    for number in range(count):
        _large(world, number, deadline=format_time(world.now + 2_000_000))
    world.advance(2_001)
    _told(world)
    assert {status(world, _name(number))["state"] for number in range(count)} == {"failed"}
    assert _largest(world) < RECORD_MAX - 262_144


def test_what_is_owed_of_an_end_is_told_before_it_is_forgotten() -> None:
    """The end of a workflow that a record had no room for is told at once, and remembered as long as any other."""
    count = examples(20, quick=4)
    world = _world(Rules(DIGEST, supervisor=Supervisor(remember_s=60)))
    for number in range(count):
        _large(world, number, f"000{LONG}")
    command(world, "kill", scope="tenant", target=TENANT)
    owed = [key for key, raw in world.state.rows.items() if b'"owed":true' in raw]
    for _ in range(count):
        world.take(0, Tick())
        owed += [key for key, raw in world.state.rows.items() if b'"owed":true' in raw]
    _tick(world)
    ends = [flow_of(world, _name(number), TENANT) for number in range(count)]
    _told(world)
    assert owed
    assert {one.until - one.ended_at for one in ends} == {60_000}


def test_a_workflow_of_which_everything_fails_is_not_told_of_each_time() -> None:
    """A status names every step: when it begins to fail it is told, and then about twenty times in all."""
    count = examples(400, quick=60)
    world = _world(Rules(DIGEST, supervisor=Supervisor(workflow_attempts=1)), max_concurrency=count)
    steps = [{"step_id": f"s{at}", "task_type": "general", "task_description": "x"} for at in range(count)]
    hand_in(world, *steps, tenant=TENANT)
    _tick(world)
    for at in range(count):
        report(world, f"s{at}", "failed")
    assert status(world)["state"] == "failed"
    assert len(world.of("WorkflowStatus")) < 30


def test_a_kill_finds_room_however_many_workflows_it_stops() -> None:
    """Each that it reaches lets it reach more, so that none goes on; names and reasons are as long as they may be."""
    count = examples(2_000, quick=120)
    world = _world(max_concurrency=200)
    for number in range(count):
        hand_in(world, step("s" * 128), step("t" * 128), workflow_id=f"{number:04d}{LONG * 2}", tenant=TENANT)
    reason = "\U0001f680" * 1_000
    command(world, "kill", scope="tenant", target=TENANT, reason=reason)
    _tick(world)
    assert not world.state.workflows.active
    assert _largest(world) < RECORD_MAX - 262_144
    _told(world)
