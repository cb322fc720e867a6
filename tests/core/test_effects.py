"""Effects: what is the worst of what is said of an ask, and how a chain hands it down."""

from __future__ import annotations

import dataclasses
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_stream.core.rules_effects import IRREVERSIBLE, NONE, REVERSIBLE, UNKNOWN, Effects, worst
from ops_stream.core.rules_model import Rules
from tests.core.policies import TestPolicies, TestPolicy
from tests.core.test_step import ask, registered
from tests.core.world import DIGEST, World

KNOWN = (NONE, REVERSIBLE, IRREVERSIBLE)
words = st.sampled_from((UNKNOWN, *KNOWN))


@given(words, words, words)
def test_the_worst_is_the_same_in_whatever_order(one: str, two: str, three: str) -> None:
    """The worst of several does not depend on their order, and repeating one changes nothing."""
    found = {worst(worst(a, b), c) for a, b, c in permutations((one, two, three))}
    assert len(found) == 1
    assert worst(one, one) == one


@pytest.mark.parametrize("known", KNOWN)
def test_what_is_known_goes_before_unknown(known: str) -> None:
    """Whoever says something is heard; only where nobody does, the setting counts."""
    assert worst(UNKNOWN, known) == known
    assert Effects(unknown=IRREVERSIBLE).effective(known) == known
    assert Effects(unknown=IRREVERSIBLE).effective(UNKNOWN) == IRREVERSIBLE
    assert Effects().effective(UNKNOWN) == REVERSIBLE


@given(words, words, words)
def test_an_ask_never_talks_itself_below_the_operators_classes(own: str, task_type: str, tool: str) -> None:
    """Whatever an ask says of itself, it counts at least as what the operator's classes say."""
    effects = Effects(task_types={"t": task_type}, tools={"x": tool})
    found = effects.classify("t", "x", own)
    assert found in KNOWN
    for said in (own, task_type, tool):
        assert worst(found, said) == found or said == UNKNOWN


def test_the_name_itself_counts_else_the_longest_beginning() -> None:
    """An exception can be named, for one name or for all that begin so."""
    effects = Effects(
        tools={"*": NONE, "delete_*": IRREVERSIBLE, "delete_draft*": REVERSIBLE, "delete_draft": NONE}
    )
    assert [
        effects.classify("t", tool, UNKNOWN) for tool in ("x", "delete_", "delete_draft", "delete_drafts")
    ] == [
        NONE,
        IRREVERSIBLE,
        NONE,
        REVERSIBLE,
    ]
    assert effects.classify("t", None, UNKNOWN) == REVERSIBLE, (
        "an ask without a tool has none of their classes"
    )


def _world(**effects: object) -> World:
    policies = TestPolicies([TestPolicy("kept", "log", parameters={"permit_irreversible": True})])
    return registered(World(Rules(DIGEST, effects=Effects(**effects), policies=policies)))  # type: ignore[arg-type]


def test_a_chain_hands_its_worst_and_its_depth_down() -> None:
    """Each ask of a chain is at least as bad as the one before it, and one deeper."""
    world = _world(tools={"wipe": IRREVERSIBLE})
    world.send("task-requests", ask("r1", effect="none"))
    world.send("task-requests", ask("r2", parent_request_id="r1", tool="wipe"))
    world.send("task-requests", ask("r3", parent_request_id="r2", effect="none"))
    rows = [world.ask_row(f"r{n}") for n in (1, 2, 3)]
    assert [(row.effect, row.depth) for row in rows] == [(NONE, 0), (IRREVERSIBLE, 1), (IRREVERSIBLE, 2)]


def test_nobody_is_his_own_parent() -> None:
    """An ask that names itself as its parent has one that nobody knows."""
    world = _world(unknown=IRREVERSIBLE)
    world.send("task-requests", ask("r1", effect="none", parent_request_id="r1"))
    assert (world.ask_row("r1").effect, world.ask_row("r1").depth) == (IRREVERSIBLE, 1)


def test_an_ask_of_which_nothing_is_known_costs_the_journal_nothing() -> None:
    """The row of an ordinary ask says nothing of effects, chains and caps."""
    world = registered(World(Rules(DIGEST)))
    world.send("task-requests", ask())
    row = world.state.rows["ask/team-a|r1"]
    for name in (b"effect", b"depth", b"time_cap_ms", b"token_limit"):
        assert name not in row


def test_a_second_look_remembers_the_chain() -> None:
    """What an ask descends from counts when it is let go, although its parent is forgotten by then."""
    policies = TestPolicies(
        [
            TestPolicy("kept", "log", "tool == 'wipe'", parameters={"permit_irreversible": True}),
            TestPolicy("idle", "queue_for_batch_processing", "priority < 3", priority=1),
            TestPolicy("seen", "notify", "effect == 'irreversible' and depth == 1"),
        ]
    )
    rules = Rules(DIGEST, effects=Effects(tools={"wipe": IRREVERSIBLE}), policies=policies)
    world = registered(World(rules))
    world.send("task-requests", ask("r1", tool="wipe"))
    world.rules = dataclasses.replace(rules, effects=Effects(irreversible_needs_person=False))
    world.send("task-requests", ask("r2", tool="mail", priority=1, parent_request_id="r1"))
    assert world.answers("r2")[-1]["decision"] == "queued"
    world.state.apply({"ask/team-a|r1": None})
    world.strict = False  # the parent was taken away behind the books' back
    world.rules = rules
    world.advance(60)
    assert world.answers("r2")[-1]["decision"] == "escalated"
    assert world.of("Escalation")[-1]["trigger"] == "effect:irreversible"
