"""Kills that stop more than their own record takes, among workers that crash, pause, wake and race."""

from __future__ import annotations

from typing import Any

import pytest

from ops_stream.core import killswitch
from tests.simulation.history import MOVES_LONG
from tests.simulation.seat import Seat
from tests.simulation.seeds import run_all
from tests.thorough import THOROUGH, examples


def test_what_a_kill_leaves_over_keeps_every_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where its record stops one ask only, ticks at once stop the rest, whoever owns the partition by then."""
    pieces = 0
    write = Seat._write_tick

    def counting(seat: Seat, tick: Any, at_ms: int) -> None:
        nonlocal pieces
        pieces += tick.until_ms == 0
        write(seat, tick, at_ms)

    monkeypatch.setattr(killswitch, "FIRST_MAX", 1)
    monkeypatch.setattr(Seat, "_write_tick", counting)
    # A few have to be long for one of them to have a kill with something left over.
    run_all(range(2_000, 2_000 + examples(120, quick=16)), length=None if THOROUGH else MOVES_LONG)
    assert pieces, "some kill left something over"
