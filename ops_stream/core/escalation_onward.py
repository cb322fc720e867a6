"""What becomes of the asks that wait for an escalation when it ends for one of them, or when the rules change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec.structs import replace

from ops_stream.contract.clocktext import format_time, parse_time
from ops_stream.contract.reasons import Reason
from ops_stream.core.approvals import emit_answer, next_answer
from ops_stream.core.checks import Finding, examine
from ops_stream.core.draft import Draft
from ops_stream.core.escalation import close, free_id, open_row, show_anew, stricter
from ops_stream.core.escalation_edits import request_of
from ops_stream.core.escalation_folding import fold_of_ask
from ops_stream.core.learning import reversed_by_people
from ops_stream.core.lines import end, follow
from ops_stream.core.look import Look, is_observed, look_at
from ops_stream.core.rows import ASKS, Ask, EscalationRow, ask_key
from ops_stream.core.words import clip


class _Timed(msgspec.Struct):
    deadline: str | None = None


_timed: Final = msgspec.json.Decoder(_Timed).decode
_WAITING: Final = frozenset((Reason.ESCALATED, Reason.QUEUED))


def waiting(draft: Draft, tenant: str, request_id: str) -> Ask | None:
    """Give the row of an ask that waits for a person, or None."""
    ask = draft.get(ASKS, ask_key(tenant, request_id))
    return ask if ask is not None and ask.phase == "escalated" else None


def deny_all(draft: Draft, row: EscalationRow, reason: Reason, why: str) -> None:
    """Deny every ask that waits for an escalation."""
    for request_id in (row.request_id, *row.asks):
        ask = waiting(draft, row.tenant, request_id)
        if ask is not None:
            if reason is Reason.ESCALATION_DENIED:
                reversed_by_people(draft, ask)
            _deny(draft, ask, Finding(reason, why))


def go_on(draft: Draft, row: EscalationRow, note: str) -> None:
    """Let the asks that waited behind the one that was shown wait together for another escalation.

    `row` is the escalation as it was, and `note` says what became of it. What may not run any more is denied.
    """
    left = []
    for request_id in row.asks:
        ask = waiting(draft, row.tenant, request_id)
        if ask is None:
            continue
        look, against = _against(draft, ask)
        if against is None:
            left.append((ask, look))
        else:
            _deny(draft, ask, against)
    if left:
        _open_anew(draft, row, left, note)


def look_again(draft: Draft, escalation_id: str, row: EscalationRow, ask: Ask) -> str:
    """Look at a waiting ask under rules that block other things than when it was shown.

    What is blocked now is denied; else it is shown again under the present rules, and all votes are open again. Says
    in a sentence which it was.
    """
    look, against = _against(draft, ask)
    if against is None:
        show_anew(draft, escalation_id, row, look)
        return "It is shown again under the present rules, and every vote is open again."
    close(draft, escalation_id, replace(row, asks=()), "withdrawn")
    _deny(draft, ask, against)
    go_on(draft, row, f"The rules have changed since ask {ask.request_id} was shown; one more of it: ")
    return f"Under the present rules the ask is denied: {against.explanation}"


def _against(draft: Draft, ask: Ask) -> tuple[Look, Finding | None]:
    """Look at a waiting ask once more, and give what denies it now, if anything does."""
    request = request_of(ask)
    look = look_at(draft, request, "again", ask)
    finding = examine(look)
    if finding is None or finding.reason in _WAITING or (is_observed(draft, request) and not look.binding):
        return look, None
    return look, finding


def _deny(draft: Draft, ask: Ask, finding: Finding) -> None:
    key = ask_key(ask.tenant, ask.request_id)
    follow(draft, key, end(draft, ask), "denied", finding.reason, finding.explanation)


def _open_anew(draft: Draft, old: EscalationRow, left: Sequence[tuple[Ask, Look]], note: str) -> None:
    """Open an escalation for asks that waited for an older one; it lives as long, but no ask beyond its deadline.

    It is opened under the rules of today, and what these demand holds besides what was demanded before.
    """
    asks = [ask for ask, _ in left]
    calls = [(look, look.call) for _, look in left if look.call is not None]
    shown = asks[0]
    ends = [parse_time(at) for ask in asks if (at := _timed(ask.request).deadline) is not None]
    ends += [draft.now + call.rule.ttl_s * 1000 for _, call in calls if call.rule.ttl_s is not None]
    expires = min([draft.now + old.expires - old.opened_at, *ends])
    row = replace(
        old,
        status="open",
        opened_at=draft.now,
        expires=expires,
        summary=clip(note + request_of(shown).task_description),
        rules=draft.rules.digest,
        blocking=draft.rules.blocking_digest,
        request_id=shown.request_id,
        digest=shown.answer.digest or shown.digest,
        resolvers=(),
        votes=(),
        level=1,
        count=len(asks),
        asks=tuple(ask.request_id for ask in asks[1:]),
        fold="",
        told=0,
    )
    for look, call in calls:
        row = stricter(row, look, call)
    id_ = free_id(draft, shown.tenant, shown.request_id, shown.answer.sequence + 1)
    until = format_time(expires)
    for ask in asks:
        why = f"{note.split(';')[0]}; this one still waits for a person. Escalation {id_} is open until {until}."
        answer = next_answer(draft, ask, "escalated", Reason.ESCALATED, why)
        ask = replace(ask, answer=replace(answer, escalation=id_, recommendation=row.recommendation))
        draft.put(ask_key(ask.tenant, ask.request_id), ask)
        emit_answer(draft, ask)
    open_row(draft, id_, row, fold_of_ask(request_of(shown)))
