"""Whatever happens in a history: lived through again under its own rules, it is the same to the byte."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from ops_stream.audit.whatif.engine import WhatIf
from ops_stream.audit.whatif.tally import Flips
from ops_stream.core.rules_model import Rules
from ops_stream.core.rules_people import People
from tests.audit.worlds import records_of
from tests.core.world import World
from tests.properties.flows import Story
from tests.properties.histories import play, random_rules
from tests.thorough import examples

SEEDS = st.integers(0, 1_000_000)
some = settings(max_examples=examples(100), deadline=None)


def same(world: World, number: int = 0) -> None:
    """Hold one partition of a world against its what-if."""
    journal = world.partitions[number].journal
    rules = journal[-1].rules
    whatif = WhatIf(number, len(world.partitions), rules)
    for record in records_of(world, number):
        whatif.take(record)
    whatif.finish()
    flips = Flips()
    whatif.compare(flips)
    assert not flips.counts
    assert whatif.reports.counts == {}
    assert whatif.other.state.rows == world.partitions[number].state.rows
    assert whatif.here.as_dict() == whatif.then.as_dict()


@some
@given(SEEDS)
def test_a_random_history_flips_nothing_under_its_own_rules(seed: int) -> None:
    """Kills, faults, repeats, edits, ticks at odd times and records that nobody can read among them."""
    same(play(seed, partitions=1))


@some
@given(SEEDS)
def test_nor_does_one_of_two_partitions(seed: int) -> None:
    """What one partition hands to another is an input like any other."""
    world = play(seed, partitions=2)
    for number in range(2):
        same(world, number)


@some
@given(SEEDS)
def test_nor_does_one_with_workflows(seed: int) -> None:
    """Steps that are given out, fail, back off, are taken back and begin again."""
    world = Story(seed).play()
    if len({id(entry.rules) for entry in world.partitions[0].journal}) == 1:
        same(world)


@some
@given(SEEDS, SEEDS)
def test_any_rules_can_be_tried_on_any_history(seed: int, other: int) -> None:
    """However different they are: time passes, every record is lived through, and nothing breaks."""
    world = play(seed)
    rules: Rules = replace(random_rules(other), digest="sha256:" + "cd" * 32, people=People())
    whatif = WhatIf(0, 1, rules)
    for record in records_of(world):
        whatif.take(record)
    whatif.finish()
    assert whatif.records == len(world.partitions[0].journal)
    whatif.compare(Flips())
