"""What may go wrong with limits is seen: each deliberate defect of the core is caught within a few histories."""

from __future__ import annotations

from typing import Any

import pytest

from ops_stream.core import decide, load_place, step, ticks, unsure
from tests.simulation.test_flow_mutants import caught_by

Patch = pytest.MonkeyPatch


def test_a_limit_that_is_passed_over_is_caught(monkeypatch: Patch) -> None:
    """More run at once than may."""
    monkeypatch.setattr(load_place, "is_open", lambda *_: True)
    assert "at most" in caught_by(monkeypatch, faults=(), length=100)


def test_a_rate_that_is_passed_over_is_caught(monkeypatch: Patch) -> None:
    """More begin within a while than may."""
    monkeypatch.setattr(decide, "take", lambda *_: None)
    assert "begin in" in caught_by(monkeypatch, faults=("crash",), length=100)


def test_a_line_that_never_moves_is_caught(monkeypatch: Patch) -> None:
    """Room is free and whoever waits for it is not let in."""

    def still(*_: Any) -> None: ...

    monkeypatch.setattr(step, "keep_lines", still)
    monkeypatch.setattr(ticks, "keep_lines", still)
    assert "not so at the end" in caught_by(monkeypatch, faults=(), length=100)


def test_a_step_of_unknown_outcome_that_is_tried_again_is_caught(monkeypatch: Patch) -> None:
    """What changes state and may have been done is not done again before a person has said so."""
    monkeypatch.setattr(unsure, "unsure_of", lambda *_: None)
    assert "waits for a person" in caught_by(monkeypatch, faults=(), length=60)
