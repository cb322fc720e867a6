"""What holds of workflows in every history; that no step runs twice at once, or too early, is held at every record."""

from __future__ import annotations

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ops_stream.core.rows import WORKFLOWS
from ops_stream.core.state import State
from ops_stream.core.step import step
from tests.core.world import from_snapshot, refold
from tests.properties.flows import Story, cost_by_asks
from tests.thorough import examples

SEEDS = st.integers(0, 2**32)
PROFILE = settings(
    max_examples=examples(80, quick=3),
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)


@PROFILE
@given(SEEDS)
def test_every_workflow_ends_when_all_is_quiet(seed: int) -> None:
    """Whatever has happened: nothing of it waits, runs or is set aside for ever, and it was told how it ended."""
    world = Story(seed).play()
    state = world.state
    assert not state.workflows.active
    assert not state.workflows.waiting
    assert not [key for key in state.rows if key.startswith(("step/", "stepbody/", "stepoutput/"))]
    for key, raw in state.rows.items():
        if key.startswith("workflow/"):
            flow = WORKFLOWS.decode(raw)
            told = [out for out in world.of("WorkflowStatus") if out["workflow_id"] == key.rpartition("|")[2]]
            last = [out for out in told if out["state"] != "rejected"][-1]
            assert last == msgspec.json.decode(flow.status)
            assert last["state"] in ("completed", "failed", "cancelled")
            assert (last["state"] == "completed") == (not last["problems"])
            done = [one["state"] == "completed" for one in last["steps"]]
            assert all(done) or last["state"] != "completed"


@PROFILE
@given(SEEDS)
def test_a_workflow_costs_what_the_asks_of_its_steps_cost(seed: int) -> None:
    """To the micro-dollar, with retries, late reports and what may have been spent; and so do its steps together."""
    world = Story(seed).play()
    for key, raw in world.state.rows.items():
        if key.startswith("workflow/"):
            flow = WORKFLOWS.decode(raw)
            assert flow.cost == cost_by_asks(world, key.rpartition("|")[2], flow.accepted_at), key
            status = msgspec.json.decode(flow.status)
            assert flow.cost == round(status["cost_usd"] * 1_000_000)
            assert flow.cost == sum(round(one["cost_usd"] * 1_000_000) for one in status["steps"])


@PROFILE
@given(SEEDS)
def test_workflows_are_the_fold_of_the_journal_and_replay_is_exact(seed: int) -> None:
    """Rows and indexes come out of the changes alone, and deciding again from rows alone gives the same bytes."""
    world = Story(seed).play(40)
    (partition,) = world.partitions
    for rebuilt in (refold(partition), from_snapshot(partition.state)):
        assert _index(rebuilt) == _index(partition.state)
    state = State(0, 1)
    for entry in partition.journal:
        decision = step(from_snapshot(state), entry.input, entry.rules, entry.now)
        assert list(decision.changes.items()) == list(entry.decision.changes.items())
        assert msgspec.json.encode(decision.outputs) == msgspec.json.encode(entry.decision.outputs)
        state.apply(decision.changes)
        assert _index(from_snapshot(state)) == _index(state)


def _index(state: State) -> object:
    index = state.workflows
    waiting = {
        tenant: {group: heap.earliest(1_000) for group, heap in groups.items()}
        for tenant, groups in index.waiting.items()
    }
    return index.active, index.ended.earliest(1_000), waiting, index.able, index.bytes, state.next_due_ms()
