"""What is remembered of workflows: what they cost, how long they take, and what takes longest."""

from __future__ import annotations

from typing import Any

from ops_stream.core.learning_flows import AGENTS_MAX, STEPS_MAX, bottleneck, flow_key
from ops_stream.core.rows import FLOWS_LEARNED, FlowLearned
from ops_stream.core.rows_learning import FlowStep
from ops_stream.core.rules_model import Rules
from tests.core.policies import TestPolicies, TestPolicy
from tests.core.test_learning import remembering, tell
from tests.core.test_step import ask, registered
from tests.core.world import DIGEST, START_MS, TENANT, World


def flow(world: World, name: str = "w1") -> FlowLearned:
    """The row of a workflow."""
    return FLOWS_LEARNED.decode(world.state.rows[flow_key(TENANT, name)])


def begin(world: World, request_id: str, task_type: str, **fields: Any) -> None:
    """Let the engineer ask for a step of the workflow."""
    world.send("task-requests", ask(request_id, task_type=task_type, workflow_id="w1", **fields))


def test_a_workflow_adds_up_its_asks_from_the_first_to_the_last_end() -> None:
    """Three steps worked out by hand; the first to be asked tells no latency, so that the broker's time counts."""
    world = remembering()
    begin(world, "r2", "write")
    world.advance(5)
    begin(world, "r1", "plan")
    world.advance(4)
    tell(world, "r1", cost_usd=0.1, latency_ms=3_000)
    world.advance(6)
    tell(world, "r2", "failed", cost_usd=0.5)
    begin(world, "r3", "write")
    world.advance(2)
    tell(world, "r3", latency_ms=1_500, cost_usd=0.25)
    row = flow(world)
    assert row == FlowLearned(
        began=START_MS,
        used=START_MS + 17_000,
        good=2,
        failed=1,
        cost=850_000,
        taken_ms=19_500,
        steps=(FlowStep("plan", 1, 3_000, 100_000), FlowStep("write", 2, 16_500, 750_000)),
        agents=("engineer",),
    )
    assert bottleneck(row) == FlowStep("write", 2, 16_500, 750_000)


def test_what_waited_for_people_is_told_apart_from_the_work() -> None:
    """A workflow may be slow because nobody answered: the time between ask and approval is in `waited_ms`."""
    policies = TestPolicies([TestPolicy("dear", "escalate", "cost > 5")])
    world = registered(World(Rules(DIGEST, policies=policies), strict=False))
    begin(world, "r1", "code", estimated_cost_usd=6)
    world.advance(30)
    escalation = world.of("Escalation")[-1]
    body = {"resolution_id": "v1", "escalation_id": escalation["escalation_id"], "tenant": TENANT}
    body |= {"resolver": "olga", "verdict": "approve", "action_digest": escalation["action_digest"]}
    world.send("resolutions", body)
    world.advance(4)
    tell(world, "r1")
    row = flow(world)
    assert (row.began, row.used) == (START_MS, START_MS + 34_000)
    assert (row.waited_ms, row.taken_ms) == (30_000, 4_000)


def test_a_lost_step_is_taken_back_when_it_reports_after_all() -> None:
    """The lease ended, and the workflow had lost an ask, until the report came."""
    world = remembering()
    begin(world, "r1", "code")
    world.advance(3_000)
    assert (flow(world).lost, flow(world).good) == (1, 0)
    tell(world, "r1", latency_ms=60)
    row = flow(world)
    assert (row.lost, row.good, row.taken_ms) == (0, 1, 60)


def test_the_types_that_took_longest_are_told_apart_and_the_rest_is_summed() -> None:
    """A workflow of many types, with long names, has a bounded row, and loses no time or money of its sum."""
    world = remembering()
    for number in range(2 * STEPS_MAX):
        name = f"{number:02d} {'odd' * 80}"
        begin(world, f"r{number}", name)
        tell(world, f"r{number}", latency_ms=100 + 10 * (number * 7 % 16), cost_usd=0.01)
    row = flow(world)
    assert len(row.steps) == STEPS_MAX
    assert row.rest is not None
    parts = (*row.steps, row.rest)
    assert sum(step.ended for step in parts) == 2 * STEPS_MAX
    assert sum(step.taken_ms for step in parts) == row.taken_ms == sum(100 + 10 * n for n in range(16))
    assert sum(step.cost for step in parts) == row.cost
    assert sorted(step.taken_ms for step in row.steps) == [180 + 10 * n for n in range(8)]
    assert all(len(step.task_type) <= 64 for step in row.steps)
    assert len(world.state.rows[flow_key(TENANT, "w1")]) < 1_000


def test_the_first_agents_are_named() -> None:
    """So that an agent's page can list its workflows; a crowd does not make the row grow."""
    world = remembering()
    for number in range(AGENTS_MAX + 3):
        name = f"a{number:02d}"
        body = {"agent": name, "tenant": TENANT, "role": "worker", "capabilities": []}
        world.send("agents", {"event": "AgentRegistration", **body})
        begin(world, f"r{number}", "code", agent=name)
        tell(world, f"r{number}", agent=name)
    assert flow(world).agents == tuple(f"a{number:02d}" for number in range(AGENTS_MAX))
    assert flow(world).good == AGENTS_MAX + 3


def test_where_no_time_is_known_nothing_is_the_bottleneck() -> None:
    """A workflow whose only step took no time has none."""
    world = remembering()
    begin(world, "r1", "code")
    tell(world, "r1")
    assert bottleneck(flow(world)) is None
