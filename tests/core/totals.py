"""The totals over a state, held against its rows added up one by one."""

from __future__ import annotations

from collections import Counter

from ops_stream.core.rows import ALARMS, ASKS, ESCALATIONS
from ops_stream.core.rows_alarms import RANK
from ops_stream.core.state import State


def check_totals(state: State) -> None:
    """What is kept while rows change is what the rows say: asks by themselves, not the budgets that count them."""
    phases: Counter[str] = Counter({"running": 0, "escalated": 0, "queued": 0})
    kills: Counter[str] = Counter()
    held = unknown = escalations = 0
    firing = [0, 0, 0]
    for key, raw in state.rows.items():
        kind, _, rest = key.partition("/")
        if kind == "ask":
            ask = ASKS.decode(raw)
            if ask.phase in phases:
                phases[ask.phase] += 1
            held += (ask.held or 0) if ask.money == "held" else 0
            unknown += (ask.held or 0) if ask.money == "unknown" else 0
        elif kind == "kill":
            kills[rest.split("|")[0]] += 1
        elif kind == "escalation":
            escalations += ESCALATIONS.decode(raw).status == "open"
        elif kind == "alarm":
            firing[RANK[ALARMS.decode(raw).severity]] += 1
    totals = state.totals
    assert totals.asks == dict(phases)
    assert totals.held == held
    assert totals.unknown >= unknown, "what is unknown of a forgotten ask goes on counting"
    assert totals.kills == dict(kills)
    assert totals.escalations == escalations
    assert totals.firing == firing


def told(state: State) -> object:
    """All of the totals, to be compared."""
    totals = state.totals
    return [getattr(totals, name) for name in totals.__slots__]
