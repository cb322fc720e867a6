"""What holds of asks that wait for room in every history; limits and order are held at every record (`loads.Short`)."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ops_stream.core.load_index import LoadIndex
from ops_stream.core.state import State
from ops_stream.core.step import step
from tests.core.world import from_snapshot, refold
from tests.properties.loads import Rush
from tests.thorough import examples

SEEDS = st.integers(0, 2**32)
PROFILE = settings(
    max_examples=examples(60, quick=8),
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)


@PROFILE
@given(SEEDS, st.sampled_from((1, 1, 3)))
def test_every_line_drains(seed: int, partitions: int) -> None:
    """However it went: when nobody asks any more and time passes, nothing waits, and no row of it is left."""
    rush = Rush(seed, partitions)
    rush.play()
    world = rush.end()
    for partition in world.partitions:
        assert not partition.state.load.count
        left = [key for key in partition.state.rows if key.startswith(("line/", "gate/"))]
        assert not left
    assert not [ask for ask in rush.asks() if ask.phase not in ("ended", "unknown")]


@PROFILE
@given(SEEDS, st.sampled_from((1, 3)))
def test_lines_are_the_fold_of_the_journal_and_replay_is_exact(seed: int, partitions: int) -> None:
    """Rows and indexes come out of the changes alone, and deciding again from rows alone gives the same bytes."""
    world = Rush(seed, partitions).play(40)
    for partition in world.partitions:
        for rebuilt in (refold(partition), from_snapshot(partition.state)):
            assert told(rebuilt.load) == told(partition.state.load)
        state = State(partition.state.partition, partitions)
        for entry in partition.journal:
            decision = step(from_snapshot(state), entry.input, entry.rules, entry.now)
            assert list(decision.changes.items()) == list(entry.decision.changes.items())
            assert msgspec.json.encode(decision.outputs) == msgspec.json.encode(entry.decision.outputs)
            state.apply(decision.changes)
            assert told(from_snapshot(state).load) == told(state.load)


def told(index: LoadIndex) -> Any:
    """Give all that an index says."""
    lines = {
        (tenant, provider, urgent): (
            level.by_tag.earliest(1_000),
            level.by_rank.earliest(1_000),
            {flow: heap.earliest(1_000) for flow, heap in level.flows.items()},
        )
        for tenant, of_tenant in index.lines.items()
        for provider, levels in of_tenant.items()
        for urgent, level in levels.items()
    }
    pools = {provider: heap.earliest(1_000) for provider, heap in index.pools.items()}
    latest = {
        (tenant, urgent): heap.earliest(1_000)
        for tenant, levels in index.latest.items()
        for urgent, heap in levels.items()
    }
    return (
        index.running,
        index.running_of,
        index.models,
        lines,
        pools,
        latest,
        index.waiting,
        index.of_line,
        index.count,
        index.passed_over,
    )
