"""What holds in every history. The world itself checks promise 3, the lines and the books at every step."""

from __future__ import annotations

import os
from collections import defaultdict

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ops_stream.core.rows import BUDGETS
from ops_stream.core.state import State
from ops_stream.core.step import step
from tests.core.totals import check_totals, told
from tests.core.world import World, from_snapshot, refold
from tests.properties import histories
from tests.thorough import examples

EXAMPLES = int(os.environ.get("OPS_STREAM_TEST_HISTORIES", 0)) or examples(40, quick=6)
SEEDS = st.integers(0, 2**32)
PROFILE = settings(
    max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)


@PROFILE
@given(SEEDS)
def test_the_promises_hold_at_every_step(seed: int) -> None:
    """What is used passes a limit only by recorded overrun; every line of decisions is one line."""
    histories.play(seed)


@PROFILE
@given(SEEDS)
def test_state_is_the_fold_of_the_journal(seed: int) -> None:
    """Applying the recorded changes to an empty state gives the live state, rows and indexes alike."""
    world = histories.play(seed)
    for partition in world.partitions:
        for rebuilt in (refold(partition), from_snapshot(partition.state)):
            assert rebuilt.rows == partition.state.rows
            assert _indexes(rebuilt) == _indexes(partition.state)
        check_totals(partition.state)


@PROFILE
@given(SEEDS)
def test_replay_is_exact(seed: int) -> None:
    """Deciding the journal's inputs again gives the recorded outputs and changes, byte for byte.

    Also from a state that was built from rows alone after every record, as after a recovery from a snapshot.
    """
    world = histories.play(seed)
    for partition in world.partitions:
        state = State(partition.state.partition, partition.state.partitions)
        for entry in partition.journal:
            decision = step(from_snapshot(state), entry.input, entry.rules, entry.now)
            assert decision.changes == entry.decision.changes
            assert list(decision.changes) == list(entry.decision.changes)
            assert msgspec.json.encode(decision.outputs) == msgspec.json.encode(entry.decision.outputs)
            state.apply(decision.changes)


@PROFILE
@given(SEEDS)
def test_the_levels_agree(seed: int) -> None:
    """What a tenant has held and unknown is the sum over its tasks, as long as no ask was forgotten early."""
    world = histories.play(seed)
    if any(alert["kind"] == "remember_max" for alert in world.of("Alert")):
        return
    sums: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    for key, raw in world.state.rows.items():
        if key.startswith("budget/"):
            level, tenant, *_ = key.removeprefix("budget/").split("|")
            row = BUDGETS.decode(raw)
            sums[level, tenant][0] += row.held
            sums[level, tenant][1] += row.unknown
    for tenant in histories.TENANTS:
        assert sums["tenant", tenant] == sums["task", tenant]


@PROFILE
@given(SEEDS, st.sampled_from((2, 3)))
def test_partitions_agree_with_one(seed: int, partitions: int) -> None:
    """Spread over partitions, every tenant gets the answers that it would get on one."""
    one, many = histories.play(seed), histories.play(seed, partitions)
    if one.rules.supervisor.remember_max < 100:
        return  # the bound is for each partition, so more partitions remember more
    if one.rules.routing is histories.ROUTINGS[-1]:
        return  # circuits are of a partition
    if one.rules.load.providers:
        return  # so is what tenants share of a provider
    for tenant in histories.TENANTS:
        assert _answers(one, tenant) == _answers(many, tenant)


@PROFILE
@given(SEEDS)
def test_after_a_kill_nothing_is_approved(seed: int) -> None:
    """From the record of a kill of everything on, no approval goes out, whatever else happens."""
    world = histories.play(seed)
    world.send("control", {"command_id": "last", "command": "kill", "issued_by": "olga"})
    seen = len(world.outputs)
    player = histories.Player(world)
    player.count = 1_000
    for op in histories.random_history(seed + 1):
        if op[0] != "switch":
            player.play(op)
    assert [out.value for out in world.outputs[seen:] if out.value.get("decision") == "approved"] == []
    assert not any(partition.state.tenants for partition in world.partitions), "nothing is left open"


def _answers(world: World, tenant: str) -> list[tuple[str, str, str, int]]:
    return [
        (value["request_id"], value["decision"], value["reason"], value["sequence"])
        for value in world.of("TaskApproval")
        if value["tenant"] == tenant
    ]


def _indexes(state: State) -> object:
    return (
        {
            name: (
                tenant.open,
                tenant.by_agent,
                tenant.flows,
                tenant.goals,
                tenant.queued,
                tenant.waiting,
                tenant.waiting_bytes,
            )
            for name, tenant in state.tenants.items()
        },
        state.unknown,
        state.agents,
        state.counts,
        state.next_due_ms(),
        state.due.earliest(10_000),
        state.forget.earliest(10_000),
        state.goals.earliest(10_000),
        state.learned.keys.earliest(10_000),
        state.learned.flows.earliest(10_000),
        state.learned.of_agent,
        (state.learned.bytes, state.learned.evicted),
        told(state),
    )
