"""Workflows, models, people, load and failures together, under rules that change: what holds whatever happens."""

from __future__ import annotations

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ops_stream.core.state import State
from ops_stream.core.step import step
from tests.core.world import from_snapshot
from tests.properties.mixtures import Mixture
from tests.properties.watching import check_ends
from tests.thorough import examples

SEEDS = st.integers(0, 2**32)


def _profile(full: int, quick: int) -> settings:
    slow = [HealthCheck.too_slow]
    return settings(
        max_examples=examples(full, quick=quick), deadline=None, derandomize=True, suppress_health_check=slow
    )


@_profile(60, 3)
@given(SEEDS)
def test_every_record_keeps_what_is_promised_and_every_workflow_ends(seed: int) -> None:
    """`watching.py` holds each record; when all is quiet nothing of a workflow is left but how it ended, for a day."""
    world = Mixture(seed).play(80)
    state = world.state
    assert not state.workflows.active
    assert not state.workflows.waiting
    assert not [key for key in state.rows if key.startswith(("step/", "stepbody/", "stepoutput/"))]
    for key in state.rows:
        if key.startswith("workflow/"):
            check_ends(world, *key[9:].split("|"))
    world.advance(200_000)
    assert not [key for key in state.rows if key.startswith("workflow/")]


@_profile(20, 1)
@given(SEEDS)
def test_deciding_again_from_rows_alone_gives_the_same_bytes(seed: int) -> None:
    """Under whatever rules each record was decided, and whatever was worked out and kept beside the state."""
    world = Mixture(seed).play(40)
    state = State(0, 1)
    for entry in world.partitions[0].journal:
        decision = step(from_snapshot(state), entry.input, entry.rules, entry.now)
        assert list(decision.changes.items()) == list(entry.decision.changes.items())
        assert msgspec.json.encode(decision.outputs) == msgspec.json.encode(entry.decision.outputs)
        state.apply(decision.changes)
