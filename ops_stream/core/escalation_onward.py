"""What becomes of the asks that wait for an escalation when it ends for one of them, or when the rules change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec.structs import replace

from ops_stream.contract.clocktext import parse_time
from ops_stream.contract.reasons import Reason
from ops_stream.core.approvals import emit_answer, next_answer
from ops_stream.core.checks import examine
from ops_stream.core.decide import decide
from ops_stream.core.draft import Draft
from ops_stream.core.escalation import close, show_anew, take_in
from ops_stream.core.escalation_edits import request_of
from ops_stream.core.escalation_events import find
from ops_stream.core.escalation_folding import ASKS_MAX
from ops_stream.core.lines import end, follow
from ops_stream.core.look import look_at
from ops_stream.core.rows import ASKS, Ask, EscalationRow, ask_key


class _Timed(msgspec.Struct):
    deadline: str | None = None


_timed: Final = msgspec.json.Decoder(_Timed).decode


def waiting(draft: Draft, tenant: str, request_id: str) -> Ask | None:
    """Give the row of an ask that waits for a person, or None."""
    ask = draft.get(ASKS, ask_key(tenant, request_id))
    return ask if ask is not None and ask.phase == "escalated" else None


def deny_all(draft: Draft, row: EscalationRow, reason: Reason, why: str) -> None:
    """Deny every ask that waits for an escalation."""
    for request_id in (row.request_id, *row.asks):
        ask = waiting(draft, row.tenant, request_id)
        if ask is not None:
            follow(draft, ask_key(ask.tenant, ask.request_id), end(draft, ask), "denied", reason, why)


def go_on(draft: Draft, tenant: str, others: Sequence[str], note: str) -> None:
    """Decide anew about asks that waited for what has ended: what still needs a person waits together again.

    One is looked at, and if it waits, those that are the same join what it waits for, as far as their deadlines let
    them; the rest is looked at one by one.
    """
    left = list(others)
    while left:
        ask = waiting(draft, tenant, left.pop(0))
        if ask is None:
            continue
        key, sequence = ask_key(tenant, ask.request_id), ask.answer.sequence + 1
        decide(draft, key, request_of(ask), "again", ask, sequence, ask.answer.digest, note)
        shown = waiting(draft, tenant, ask.request_id)
        if shown is not None and left:
            left = _gather(draft, shown.answer.escalation, left)


def look_again(draft: Draft, escalation_id: str, row: EscalationRow, ask: Ask) -> str:
    """Look at a waiting ask under rules that block other things than when it was shown.

    What is blocked now is denied; else it is shown again under the present rules, and all votes are open again. Says
    in a sentence which it was.
    """
    key, request = ask_key(ask.tenant, ask.request_id), request_of(ask)
    look = look_at(draft, request, "again", ask)
    finding = examine(look)
    if finding is None or finding.reason in (Reason.ESCALATED, Reason.QUEUED):
        show_anew(draft, escalation_id, row, look)
        return "It is shown again under the present rules, and every vote is open again."
    close(draft, escalation_id, replace(row, asks=()), "withdrawn")
    decide(draft, key, request, "again", ask, ask.answer.sequence + 1, ask.answer.digest)
    go_on(draft, row.tenant, row.asks, "The rules have changed since this was asked first. ")
    return f"Under the present rules the ask is not let run: {finding.explanation}"


def _gather(draft: Draft, escalation_id: str, others: list[str]) -> list[str]:
    """Let asks join an escalation that was just opened for one that is the same; gives those that cannot."""
    row = find(draft, escalation_id)
    if row is None:
        return others
    joined: list[str] = []
    left: list[str] = []
    for request_id in others:
        ask = waiting(draft, row.tenant, request_id)
        if ask is None:
            continue
        deadline = _timed(ask.request).deadline
        room = len(row.asks) + len(joined) + 1 < ASKS_MAX
        if not room or (deadline is not None and parse_time(deadline) < row.expires):
            left.append(request_id)
            continue
        joined.append(request_id)
        why = f"The same ask {row.request_id} waits for a person, and so does this one: escalation {escalation_id}."
        answer = next_answer(draft, ask, "escalated", Reason.ESCALATED, why)
        answer = replace(answer, escalation=escalation_id, recommendation=row.recommendation)
        ask = replace(ask, answer=answer)
        draft.put(ask_key(ask.tenant, ask.request_id), ask)
        emit_answer(draft, ask)
    if joined:
        take_in(draft, escalation_id, row, joined)
    return left
