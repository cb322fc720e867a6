"""What people say to escalations: approve, deny or edit; and what follows where nobody says anything in time.

An approval binds: to the ask as it was seen, to the escalation, to its expiry, and to what blocks as it was then. What
comes to nothing is a dead letter that says why, and changes nothing.
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from ops_stream.contract.digest import action_digest
from ops_stream.contract.models import Resolution, TaskRequest
from ops_stream.contract.reasons import Reason
from ops_stream.core.agents import quarantine
from ops_stream.core.authority import is_spent, may_resolve, spend
from ops_stream.core.decide import decide
from ops_stream.core.draft import Draft
from ops_stream.core.escalation import climb, close, let_go
from ops_stream.core.escalation_edits import FIXED as FIXED
from ops_stream.core.escalation_edits import BadEdit, changes_of, edited, request_of, with_edit
from ops_stream.core.escalation_events import find, publish
from ops_stream.core.escalation_onward import deny_all, go_on, look_again, waiting
from ops_stream.core.escalation_votes import agreeing, ballot_of, may_vote_again, no_room, without
from ops_stream.core.killswitch import enforce_kill
from ops_stream.core.learning import reversed_by_people
from ops_stream.core.notices import dead_letter
from ops_stream.core.optimization import CHANGE, approval_against, verdict
from ops_stream.core.rows import ESCALATIONS, Ask, EscalationRow, Suspension, ask_key
from ops_stream.core.rules_effects import IRREVERSIBLE
from ops_stream.core.words import because, clip


class _Refused(Exception):
    """A verdict that changes nothing: `reason` is for programs, `why` a half-sentence for people."""

    def __init__(self, reason: str, why: str) -> None:
        super().__init__(reason, why)
        self.reason = reason
        self.why = why


def resolve(draft: Draft, event: Resolution) -> None:
    """Take in a verdict. What comes to nothing is kept as a dead letter and changes nothing."""
    if is_spent(draft, event):
        return
    spend(draft, event)  # also what counts: votes are cleared when rules change, and must be given anew then
    try:
        _resolve(draft, event)
    except _Refused as refused:
        text = f"The verdict of {event.resolver} on escalation {event.escalation_id} changes nothing: {refused.why}"
        dead_letter(draft, event.tenant, refused.reason, text)


def escalation_due(draft: Draft, key: str, error: str | None = None) -> None:
    """Do what time does to an escalation: it climbs, expires, or is forgotten.

    `error` names what failed when it was tried to let its asks run on expiry: they are denied then.
    """
    row = draft.get(ESCALATIONS, key)
    if row is None:
        return
    if row.status != "open":
        draft.delete(key)
    elif row.until < row.expires:
        climb(draft, key.partition("/")[2], row)
    elif error is None:
        _expire(draft, key.partition("/")[2], row)
    else:
        close(draft, key.partition("/")[2], row, "expired")
        why = f"Nobody answered, and the supervisor failed on the second look at this ask ({error})."
        deny_all(draft, row, Reason.POLICY_ERROR, why)


def _resolve(draft: Draft, event: Resolution) -> None:
    id_ = event.escalation_id
    row = find(draft, id_)
    if row is None or row.tenant != event.tenant:
        raise _Refused("unknown_escalation", "no such escalation is known to this tenant.")
    if event.resolver in row.resolvers and not may_vote_again(draft, row, event.resolver):
        return  # the same person again changes nothing
    row = _up_to_date(draft, id_, row)
    if row.status != "open":
        raise _Refused("escalation_closed", f"it is no longer open: {row.status}.")
    ask = waiting(draft, row.tenant, row.request_id) if row.waiting else None
    _must_be_seen(event, row)
    against = may_resolve(draft, event, row, "" if ask is None else ask.agent)
    if against is not None:
        raise _Refused(against.reason, against.why)
    if ask is None:
        _vote_on_call(draft, event, row)
    else:
        _vote_on_ask(draft, event, row, ask)


def _up_to_date(draft: Draft, escalation_id: str, row: EscalationRow) -> EscalationRow:
    """Let an escalation expire that had by the time the verdict was written, and stop what a kill switch binds."""
    if row.status == "open" and row.expires <= draft.written_ms:
        _expire(draft, escalation_id, row)
        row = find(draft, escalation_id) or row
    while row.status == "open" and row.waiting:
        ask = waiting(draft, row.tenant, row.request_id)
        if ask is None or not enforce_kill(draft, ask_key(ask.tenant, ask.request_id), ask):
            break
        row = find(draft, escalation_id) or row
    return row


def _must_be_seen(event: Resolution, row: EscalationRow) -> None:
    """Refuse to let anything else run than what is shown. A denial is for all that wait, whichever was shown."""
    if event.verdict == "deny":
        return
    if event.action_digest is not None and row.digest and event.action_digest != row.digest:
        raise _Refused("digest_mismatch", "it is about another action than the one that was seen.")
    if event.rules_digest is not None and event.rules_digest != row.rules:
        raise _Refused("policy_changed", "it was given under other rules than those it is shown under now.")


def _vote_on_call(draft: Draft, event: Resolution, row: EscalationRow) -> None:
    """Take in what a person says to something that has happened; nothing waits for it."""
    if event.verdict == "edit":
        raise _Refused("malformed_edit", "it is about what has happened; there is nothing to edit.")
    id_ = event.escalation_id
    against = approval_against(draft, row) if row.trigger == CHANGE and event.verdict == "approve" else None
    if against is not None:
        raise _Refused("in_the_way", against)
    row, people = _voted(draft, event, row, None)
    if event.verdict == "deny":
        close(draft, id_, row, "denied")
        if row.trigger == CHANGE:
            verdict(draft, row, event.resolver, approved=False)
        if row.suspends:
            why = clip(f"{event.resolver} denied escalation {id_}{because(event.reason)}", 1_000)
            suspension = Suspension(event.resolution_id, event.resolver, draft.now, why)
            quarantine(draft, row.tenant, row.agent, suspension)
    elif len(people) >= row.quorum:
        close(draft, id_, row, "approved")
        if row.trigger == CHANGE:
            verdict(draft, row, event.resolver, approved=True)
    else:
        publish(draft, id_, row)


def _vote_on_ask(draft: Draft, event: Resolution, row: EscalationRow, ask: Ask) -> None:
    id_ = event.escalation_id
    if event.verdict == "deny":
        row, _ = _voted(draft, event, row, None)
        close(draft, id_, row, "denied")
        deny_all(draft, row, Reason.ESCALATION_DENIED, f"{event.resolver} denied it{because(event.reason)}")
        return
    if row.blocking != draft.rules.blocking_digest:
        raise _Refused(
            "policy_changed",
            f"what blocks has changed since it was shown. {look_again(draft, id_, row, ask)}",
        )
    request = None
    if event.verdict == "edit":
        try:
            request = edited(ask, event.edits or {})
        except BadEdit as error:
            raise _Refused("malformed_edit", str(error)) from None
    # What makes the same ask is the same edit, however it was written.
    row, people = _voted(draft, event, row, None if request is None else changes_of(ask, request))
    if len(people) < row.quorum:
        publish(draft, id_, row)
    else:
        _let_run(draft, id_, row, ask, people, request)


def _voted(
    draft: Draft, event: Resolution, row: EscalationRow, edits: dict[str, Any] | None
) -> tuple[EscalationRow, tuple[str, ...]]:
    """Add a vote; gives the people who say the same, too."""
    ballot = ballot_of(draft, event, edits)
    why = no_room(row, ballot)
    if why is not None:
        raise _Refused("too_many_votes", why)
    row = without(row, event.resolver)
    row = replace(row, votes=(*row.votes, ballot), resolvers=(*row.resolvers, event.resolver))
    return row, agreeing(draft, row, ballot)


def _let_run(
    draft: Draft,
    escalation_id: str,
    row: EscalationRow,
    ask: Ask,
    people: tuple[str, ...],
    request: TaskRequest | None,
) -> None:
    """Put into force what enough people agree on: exactly the ask that was shown is decided again by every rule.

    Those that are the same go on waiting, for an escalation of their own.
    """
    let_go(draft, escalation_id, row, "approved")
    key, sequence = ask_key(ask.tenant, ask.request_id), ask.answer.sequence + 1
    ask = replace(ask, escalation=escalation_id, approved_by=people)
    if request is None:
        ask = replace(ask, reviewed="review")
        decide(draft, key, request_of(ask), "reviewed", ask, sequence, ask.answer.digest)
    else:
        reversed_by_people(draft, ask)
        decide(draft, key, request, "edited", with_edit(ask, request), sequence, action_digest(request))
    said = "approved" if request is None else "edited and approved"
    go_on(draft, row, f"{people[-1]} {said} the same ask {ask.request_id}; one more of it: ")


def _expire(draft: Draft, escalation_id: str, row: EscalationRow) -> None:
    """End an escalation that nobody answered in time; its asks are denied, unless the rules let them run then."""
    ask = waiting(draft, row.tenant, row.request_id) if row.waiting else None
    if ask is None or not _runs_unanswered(draft, row, ask):
        close(draft, escalation_id, row, "expired")
        if row.waiting:
            deny_all(draft, row, Reason.ESCALATION_EXPIRED, "Nobody answered before the escalation expired.")
        return
    let_go(draft, escalation_id, row, "approved")
    key, sequence = ask_key(ask.tenant, ask.request_id), ask.answer.sequence + 1
    ask = replace(ask, reviewed="review", escalation=escalation_id)
    decide(draft, key, request_of(ask), "reviewed", ask, sequence, ask.answer.digest)
    # Silence permits no more than a person's approval would: the one that was shown.
    why = f"Nobody answered before the escalation expired, and of the same asks only {ask.request_id} runs then."
    deny_all(draft, row, Reason.ESCALATION_EXPIRED, why)


def _runs_unanswered(draft: Draft, row: EscalationRow, ask: Ask) -> bool:
    """Say whether an ask may run that nobody has answered: never what cannot be taken back, nor under other blocks."""
    if row.on_expiry != "approve" or row.blocking != draft.rules.blocking_digest:
        return False
    return draft.rules.effects.effective(ask.effect) != IRREVERSIBLE
