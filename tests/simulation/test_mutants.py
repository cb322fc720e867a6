"""The simulation can fail: whoever breaks one rule of the discipline is caught within a few histories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace

import pytest

from ops_stream.core import asks, budgets, duplicates, step
from ops_stream.core.decide import decide
from ops_stream.core.decision import InvariantBroken
from ops_stream.core.draft import Draft
from ops_stream.core.inputs import RecordInput
from ops_stream.core.journal.ledger import BrokenChain, Ledger
from ops_stream.core.journal.record import Record
from tests.simulation.discipline import KEPT, Discipline
from tests.simulation.history import History
from tests.simulation.referee import Objection

SEEDS = 250

RULES: dict[str, tuple[tuple[str, ...] | None, int | None]] = {
    "publish_behind_ack": (None, None),
    "fence": (None, None),
    "barrier": (("slow topic",), 200),
    "tick_until": (("slow topic",), 400),
    "republish": (None, None),
    "look_back": (("crash",), 150),
    "prove": (("forged snapshot", "crash"), None),
    "journaled_positions": (None, None),
    "next_offset_only": (("duplicate",), None),
    "seek_before_gap": (("skip",), None),
    "ignore_stale": (("hole",), None),
    "through_behind_ack": (None, None),
    "time_goes_on": (None, None),
    "proven_forwards": (None, None),
}
"""For each rule the faults and the length of history that bring its breach about soonest."""


CATCHES = (Objection, BrokenChain, InvariantBroken)
"""What a breach comes out as: anything else would be an error of the simulation."""


def caught(
    discipline: Discipline = KEPT, faults: Sequence[str] | None = None, length: int | None = None
) -> int | None:
    """Give the first seed whose history notices."""
    for seed in range(SEEDS):
        try:
            History(seed, discipline, faults=faults, length=length).run()
        except CATCHES:
            return seed
    return None


def test_every_rule_of_the_discipline_has_its_mutant() -> None:
    """A rule that is added is broken here too."""
    assert set(RULES) == {field.name for field in fields(Discipline)}


@pytest.mark.parametrize("rule", RULES)
def test_a_worker_that_breaks_one_rule_is_caught(rule: str) -> None:
    """Each rule of the discipline is needed, and its breach is seen."""
    faults, length = RULES[rule]
    seed = caught(replace(KEPT, **{rule: False}), faults, length)
    assert seed is not None
    History(seed, KEPT, faults=faults, length=length).run()


def test_a_ledger_that_counts_records_wherever_they_landed_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """`expected_offset` and `previous_hash` are what keeps the late records of an old owner out."""

    def only_the_mac(ledger: Ledger, _offset: int, record: Record) -> str:
        return "" if record.header.key_id == ledger.key.key_id else "another key"

    monkeypatch.setattr(Ledger, "_why_void", only_the_mac)
    assert caught() is not None


def test_a_core_that_admits_beyond_a_limit_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise 3 is watched by the referee, not only by the code that keeps it."""
    monkeypatch.setattr(budgets.Scope, "lacks", lambda _scope, _amount: False)
    assert caught(faults=(), length=200) is not None


def test_a_core_that_takes_forwarded_records_twice_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is published again after a crash is decided once."""

    def never_before(_draft: Draft, _input: RecordInput) -> bool:
        return False

    monkeypatch.setattr(step, "seen_before", never_before)
    assert caught(faults=("crash",)) is not None


def test_a_core_that_decides_a_repeated_ask_anew_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request has one line of decisions."""
    monkeypatch.setattr(
        asks,
        "repeat",
        lambda draft, key, _ask, request, digest: decide(
            draft, key, request, "first", asks.bare_ask(draft, request, digest), 0
        ),
    )
    assert caught() is not None


def test_a_core_that_looks_at_a_clock_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a decision takes from elsewhere than the journal comes out otherwise in replay."""
    ticking = iter(range(10**9))
    monkeypatch.setattr(duplicates, "format_time", lambda _ms: f"{next(ticking)}")
    assert caught(length=100) is not None
