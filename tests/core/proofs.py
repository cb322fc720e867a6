"""What the rows of a kill say, for tests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from ops_stream.core.rows import ASKS, CONTAINMENTS, Containment
from ops_stream.core.state import State

COUNTS = ("revoked", "dropped", "contained", "acked", "pending", "unconfirmed", "forgotten")


def containment_of(states: Iterable[State], command_id: str) -> dict[str, int]:
    """Add up the counts of a kill over the states of all partitions."""
    total: Counter[str] = Counter(dict.fromkeys(COUNTS, 0))
    for state in states:
        raw = state.rows.get(f"containment/{command_id}")
        if raw is not None:
            row = CONTAINMENTS.decode(raw)
            total.update({name: getattr(row, name) for name in COUNTS})
    return dict(total)


def check_proofs(state: State) -> None:
    """Each row of a kill adds up, and what it calls unproved are exactly the asks that carry its command id."""
    carrying: Counter[str] = Counter()
    for key, raw in state.rows.items():
        if key.startswith("ask/"):
            ask = ASKS.decode(raw)
            assert not ask.kill or ask.answer.reason == "kill_revoked", (key, ask)
            carrying[ask.kill] += 1
    del carrying[""]
    rows = {
        key.removeprefix("containment/"): CONTAINMENTS.decode(raw)
        for key, raw in state.rows.items()
        if key.startswith("containment/")
    }
    for command_id, row in rows.items():
        _check_row(row)
        assert row.unproved == carrying.pop(command_id, 0), (command_id, row)
        if not row.sweeping:
            assert f"sweep/{command_id}" not in state.rows
    assert not carrying, f"revoked by kills that nothing counts any more: {carrying}"
    assert {kill: len(asks) for kill, asks in state.unproved.items()} == {
        command_id: row.unproved for command_id, row in rows.items() if row.unproved
    }


def _check_row(row: Containment) -> None:
    assert row.revoked + row.dropped == row.contained + row.acked + row.unproved + row.forgotten, row
    assert min(row.revoked, row.dropped, row.contained, row.acked, row.unproved, row.forgotten) >= 0, row
    assert row.pending + row.unconfirmed == row.unproved + row.forgotten, row
    assert bool(row.alert) == (row.overdue and row.unproved > 0), row
