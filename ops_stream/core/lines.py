"""An ask's line of decisions: what is written and published when one follows another, and when it ends."""

from __future__ import annotations

from msgspec.structs import replace

from ops_stream.core.approvals import emit_answer, next_answer
from ops_stream.core.draft import Draft
from ops_stream.core.escalation import finish
from ops_stream.core.kpis import ran
from ops_stream.core.load_changes import over
from ops_stream.core.rows import NOTHING, Ask, Decided


def end(
    draft: Draft,
    ask: Ask,
    outcome: str = "not_run",
    cost: int | None = None,
    *,
    believed: int | None = None,
) -> Ask:
    """Close an ask: nothing of it waits or runs. An unknown cost keeps it known until it is reported.

    `outcome` and `cost` (micro-dollars) are told to whoever let it go on (`escalation.finish`). Where that cost is not
    believed, figures are made from another one, which is `believed`.
    """
    if ask.escalation:
        finish(draft, ask, outcome, cost)
    ran(draft, ask, outcome, cost if believed is None else believed)
    over(draft, ask)
    return replace(
        ask,
        phase="unknown" if ask.money == "unknown" else "ended",
        until=draft.now + draft.rules.supervisor.remember_s * 1000,
        ended_at=draft.now,
        request=NOTHING,
        edits=NOTHING,
        wait=None,
    )


def follow(draft: Draft, key: str, ask: Ask, decision: Decided, reason: str, explanation: str) -> Ask:
    """Put one more decision in force, write the ask and publish it."""
    ask = replace(ask, answer=next_answer(draft, ask, decision, reason, explanation))
    draft.put(key, ask)
    emit_answer(draft, ask)
    return ask
