"""What the rows of a kill say, for tests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import lru_cache

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
    rows: dict[str, Containment] = {}
    for key, raw in state.rows.items():
        if key.startswith("ask/"):
            kill = _killed_by(raw)
            if kill:
                carrying[kill] += 1
        elif key.startswith("containment/"):
            rows[key.removeprefix("containment/")] = CONTAINMENTS.decode(raw)
    for command_id, row in rows.items():
        _check_row(row)
        assert row.unproved == carrying.pop(command_id, 0), (command_id, row)
        if not row.sweeping:
            assert f"sweep/{command_id}" not in state.rows
    assert not carrying, f"revoked by kills that nothing counts any more: {carrying}"
    assert {kill: len(asks) for kill, asks in state.unproved.items()} == {
        command_id: row.unproved for command_id, row in rows.items() if row.unproved
    }


# Every ask is looked at after every step, and only a few of them are others than after the step before.
@lru_cache(maxsize=8_192)
def _killed_by(raw: bytes) -> str:
    ask = ASKS.decode(raw)
    assert not ask.kill or ask.answer.reason == "kill_revoked", ask
    return ask.kill


def _check_row(row: Containment) -> None:
    assert row.revoked + row.dropped == row.contained + row.acked + row.unproved + row.forgotten, row
    assert min(row.revoked, row.dropped, row.contained, row.acked, row.unproved, row.forgotten) >= 0, row
    assert row.pending + row.unconfirmed == row.unproved + row.forgotten, row
    assert bool(row.alert) == (row.overdue and row.unproved > 0), row
