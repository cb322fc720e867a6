"""A person's verdict on an escalation: approve, deny or edit."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec.structs import replace
from pydantic import ValidationError

from ops_stream.contract.digest import action_digest
from ops_stream.contract.models import Resolution, TaskRequest
from ops_stream.contract.reasons import Reason
from ops_stream.core.decide import decide
from ops_stream.core.decision import InvariantBroken
from ops_stream.core.draft import Draft
from ops_stream.core.escalation import close_escalation, escalation_key
from ops_stream.core.killswitch import enforce_kill
from ops_stream.core.leases import estimated_ms
from ops_stream.core.lines import end, follow
from ops_stream.core.notices import dead_letter
from ops_stream.core.rows import ASKS, ESCALATIONS, NOTHING, Ask, EscalationRow, ask_key
from ops_stream.core.words import because

FIXED: Final = ("request_id", "task_id", "agent", "tenant")
"""Fields of an ask that no edit may change."""


class BadEdit(Exception):
    """An edit that does not make a valid ask."""


def resolve(draft: Draft, event: Resolution) -> None:
    """Take in a verdict. What comes to nothing is kept as a dead letter and changes nothing."""
    key = escalation_key(event.escalation_id)
    row = draft.get(ESCALATIONS, key)
    if row is None or row.tenant != event.tenant:
        _refuse(draft, event, "unknown_escalation", "no such escalation is known to this tenant.")
        return
    if event.resolver in row.resolvers:
        return  # the same person again changes nothing
    if row.status == "open" and row.expires <= draft.written_ms:
        row = expire_escalation(draft, key, row)
    ask = _waiting_ask(draft, row)
    if ask is not None and enforce_kill(draft, ask_key(ask.tenant, ask.request_id), ask):
        row = draft.get(ESCALATIONS, key) or row
    if row.status != "open":
        _refuse(draft, event, "escalation_closed", f"it is no longer open: {row.status}.")
    elif event.action_digest is not None and row.digest and event.action_digest != row.digest:
        _refuse(draft, event, "digest_mismatch", "it is about another action than the one that was seen.")
    elif ask is None:
        close_escalation(
            draft, event.escalation_id, "denied" if event.verdict == "deny" else "approved", event.resolver
        )
    else:
        _resolve_ask(draft, event, ask)


def expire_escalation(draft: Draft, key: str, row: EscalationRow) -> EscalationRow:
    """End an escalation that nobody answered in time; its ask is denied."""
    ask = _waiting_ask(draft, row)
    close_escalation(draft, key.partition("/")[2], "expired")
    if ask is not None:
        ask_row = ask_key(ask.tenant, ask.request_id)
        why = "Nobody answered before the escalation expired."
        follow(draft, ask_row, end(draft, ask), "denied", Reason.ESCALATION_EXPIRED, why)
    return draft.get(ESCALATIONS, key) or row


def request_of(ask: Ask) -> TaskRequest:
    """Give the ask as it was seen when it began to wait."""
    return TaskRequest.from_wire(_body_of(ask))


def _body_of(ask: Ask) -> dict[str, Any]:
    if ask.request is NOTHING:
        raise InvariantBroken(f"ask {ask.request_id} waits without what was asked")
    body: dict[str, Any] = msgspec.json.decode(ask.request)
    return body


def _waiting_ask(draft: Draft, row: EscalationRow) -> Ask | None:
    if not row.waiting:
        return None
    ask = draft.get(ASKS, ask_key(row.tenant, row.request_id))
    return ask if ask is not None and ask.phase == "escalated" else None


def _resolve_ask(draft: Draft, event: Resolution, ask: Ask) -> None:
    key = ask_key(ask.tenant, ask.request_id)
    sequence = ask.answer.sequence + 1
    if event.verdict == "deny":
        close_escalation(draft, event.escalation_id, "denied", event.resolver)
        why = f"{event.resolver} denied it{because(event.reason)}"
        follow(draft, key, end(draft, ask), "denied", Reason.ESCALATION_DENIED, why)
    elif event.verdict == "approve":
        close_escalation(draft, event.escalation_id, "approved", event.resolver)
        ask = replace(ask, reviewed="review")
        decide(draft, key, request_of(ask), "reviewed", ask, sequence, ask.answer.digest)
    else:
        try:
            request = _edited(ask, event.edits or {})
        except BadEdit as error:
            _refuse(draft, event, "malformed_edit", str(error))
            return
        close_escalation(draft, event.escalation_id, "approved", event.resolver)
        ask = replace(
            ask,
            reviewed="edit",
            priority=request.priority,
            task_type=request.task_type,
            tool=request.tool or "",
            workflow=request.workflow_id or "",
            complexity=request.complexity,
            impact=request.customer_impact,
            effect=request.effect,
            retry_count=request.retry_count,
            estimated_ms=estimated_ms(request),
        )
        decide(draft, key, request, "edited", ask, sequence, action_digest(request))


def _edited(ask: Ask, edits: dict[str, Any]) -> TaskRequest:
    """Give the ask with a person's changes; null takes a field away."""
    body = _body_of(ask)
    for name in FIXED:
        if name in edits and edits[name] != body.get(name):
            raise BadEdit(f"the field {name} of an ask cannot be edited.")
    unknown = sorted(name for name in edits if name not in _NAMES)
    if unknown:
        raise BadEdit(f"an ask has no field {unknown[0][:100]!r}.")
    try:
        return TaskRequest.from_wire({**body, **edits})
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise BadEdit(f"the edited ask is not valid, see its field {where}.") from None


def _refuse(draft: Draft, event: Resolution, reason: str, why: str) -> None:
    text = f"The verdict of {event.resolver} on escalation {event.escalation_id} changes nothing: {why}"
    dead_letter(draft, event.tenant, reason, text)


_NAMES: Final = frozenset(field.alias or name for name, field in TaskRequest.model_fields.items())
