"""Whatever optimizations change: nothing is let run, or run more freely, that would not be without them.

The world of `amended.py` looks at every ask twice, by the rules as they are and as they are amended.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import fields, replace
from random import Random
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ops_stream.core.amend import digest_with, in_force
from ops_stream.core.budgets import hold_for
from ops_stream.core.draft import Draft
from ops_stream.core.inputs import Tick
from ops_stream.core.optimization_sides import attempts_within, is_changed
from ops_stream.core.rows import ActiveRules, Record
from ops_stream.core.rows_optimization import Amended
from ops_stream.core.rules_model import Rules, Supervisor
from ops_stream.core.rules_optimization import KINDS
from ops_stream.core.state import State
from ops_stream.core.step import step
from tests.core.amending import change
from tests.core.world import DIGEST, START_MS, from_snapshot
from tests.properties.amended import Amending, Compared
from tests.properties.mixture_rules import random_rules
from tests.properties.watching import check_ends
from tests.thorough import examples

SEEDS = st.integers(0, 2**32)
NAMES = st.text("abc123", min_size=1, max_size=6)
AMENDED = st.builds(
    Amended,
    optimization_id=NAMES.map("opt_".__add__),
    tenant=st.sampled_from(("team-a", "team-b")),
    kind=st.sampled_from(KINDS),
    task_type=st.sampled_from(("", "general", "review")),
    path=NAMES,
    before=NAMES,
    after=NAMES,
    share=st.integers(0, 100),
)


def _profile(full: int, quick: int) -> settings:
    slow = [HealthCheck.too_slow]
    return settings(
        max_examples=examples(full, quick=quick), deadline=None, derandomize=True, suppress_health_check=slow
    )


@_profile(80, 4)
@given(SEEDS)
def test_no_ask_runs_that_would_not_and_none_runs_more_freely(seed: int) -> None:
    """At every look of every history: `amended.py` holds each one against what the rules alone would say.

    Every promise about budgets, lines, workflows and models is held too, by the worlds that this one is made of.
    """
    world = Amending(seed).play(80)
    assert not world.state.workflows.active
    for key in world.state.rows:
        if key.startswith("workflow/"):
            check_ends(world, *key[9:].split("|"))


def test_the_histories_reach_what_they_are_about() -> None:
    """Both sides of every kind, other models and holds, critical asks, and what the rules alone stop."""
    seen = sum((_played(seed).seen for seed in range(examples(30, quick=10))), Counter[str]())
    for side in "+-":  # two kinds that differ in what they are for, and not in what they do
        seen[f"model{side}"] = seen.pop(f"cheaper_model{side}", 0) + seen.pop(f"faster_model{side}", 0)
    sides = {
        kind + side for kind in ("model", "router", "hold_safety", "agent", "retry_plan") for side in "+-"
    }
    reached = {name for name, number in seen.items() if number}
    assert sides | {"other model", "other hold", "stopped", "critical"} <= reached, seen


def _played(seed: int) -> Compared:
    world = Amending(seed).play(60)
    assert isinstance(world, Compared)
    return world


@_profile(20, 2)
@given(SEEDS)
def test_replay_is_exact(seed: int) -> None:
    """From rows alone, under the rules in force at each record, every decision is the same to the byte."""
    world = _played(seed)
    state = State(0, 1)
    for number, entry in enumerate(world.partitions[0].journal):
        state.apply(world.set.get(number, {}))
        decision = step(from_snapshot(state), entry.input, entry.rules, entry.now)
        assert list(decision.changes.items()) == list(entry.decision.changes.items())
        assert msgspec.json.encode(decision.outputs) == msgspec.json.encode(entry.decision.outputs)
        state.apply(decision.changes)


@_profile(20, 2)
@given(SEEDS)
def test_the_kept_side_is_as_without_optimizations(seed: int) -> None:
    """Where nobody is on the changed side everything is decided as if nothing were tried."""
    kept, without = Amending(seed, share=0).play(60), Amending(seed, share=None).play(60)
    assert [_decided(value) for value in kept.of("TaskApproval")] == [
        _decided(value) for value in without.of("TaskApproval")
    ]


def _decided(value: dict[str, Any]) -> dict[str, Any]:
    unlike = ("propensity", "rules_digest", "approval_id", "escalation_id", "explanation")
    return {name: said for name, said in value.items() if name not in unlike}


@given(SEEDS, st.lists(AMENDED, min_size=1, max_size=5, unique_by=lambda one: one.optimization_id))
def test_rules_in_force_are_those_of_the_bundle(seed: int, amended: list[Amended]) -> None:
    """Budgets, policies, effects, escalations, people and all else are the bundle's own; only two fields are not."""
    bundle = replace(random_rules(Random(seed)), blocking_digest="sha256:" + "cd" * 32)
    digest = digest_with(bundle.digest, tuple(amended))
    rules = in_force(bundle, ActiveRules(digest, START_MS, "opt_1", bundle.digest, tuple(amended)))
    for field in fields(Rules):
        if field.name not in ("digest", "amended"):
            assert getattr(rules, field.name) is getattr(bundle, field.name), field.name
    assert rules.digest == digest != bundle.digest
    assert {one for all_ in rules.amended.values() for one in all_} == set(amended)


@given(NAMES, st.lists(NAMES, min_size=1), st.integers(0, 100), st.integers(0, 100))
def test_the_side_of_a_task_is_fixed(name: str, tasks: list[str], one: int, other: int) -> None:
    """By its name alone; with a larger share none goes back to the kept side, all are changed by all, none by none."""
    less, more = (change("router", share=share, name=name) for share in sorted((one, other)))
    for task in tasks:
        assert is_changed(less, task) <= is_changed(more, task)
        assert is_changed(change("router", share=100, name=name), task)
        assert not is_changed(change("router", share=0, name=name), task)


@given(st.integers(1, 100), st.integers(0, 200).map(str) | st.sampled_from(("", "many", "-1")))
def test_attempts_are_never_more(most: int, after: str) -> None:
    """Whatever an amendment says, there is one attempt, and no more than the rules have."""
    one = change("retry_plan", "4", after)
    rules = in_force(Rules(DIGEST), ActiveRules(DIGEST, START_MS, "", DIGEST, (one,)))
    draft = Draft(State(0, 1), rules, START_MS, Tick())
    assert 1 <= attempts_within(draft, one.tenant, ("opt_1+",), most) <= most
    assert attempts_within(draft, one.tenant, ("opt_1-",), most) == most


@given(st.integers(0, 10**9), st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 50))
def test_holds_are_never_less(estimate: int, held: int, cost: int, done: int) -> None:
    """What an agent's past says makes a hold larger, up to three times the estimate."""
    record = Record(done=done, held=held, cost=cost)
    for settings_ in (Supervisor(), Supervisor(hold_safety="learned")):
        rules = Rules(DIGEST, supervisor=settings_)
        draft = Draft(State(0, 1), rules, START_MS, Tick())
        usual, raised = (hold_for(draft, estimate, record, learned=learned) for learned in (False, True))
        assert estimate <= usual <= raised <= 3 * estimate
