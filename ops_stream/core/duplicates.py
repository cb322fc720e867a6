"""A request id that comes again: the same body gets the decision in force, another body gets nothing."""

from __future__ import annotations

from ops_stream.contract.clocktext import format_time
from ops_stream.contract.models import TaskRequest
from ops_stream.contract.reasons import Reason
from ops_stream.core.approvals import emit_answer, emit_refusal
from ops_stream.core.draft import Draft
from ops_stream.core.killswitch import enforce_kill
from ops_stream.core.leases import expire, overdue
from ops_stream.core.lines import follow
from ops_stream.core.rows import Ask


def repeat(draft: Draft, key: str, ask: Ask, request: TaskRequest, digest: str) -> None:
    """Answer an ask whose id is known."""
    if digest != ask.digest:
        emit_refusal(
            draft,
            (request.tenant, request.request_id, request.task_id, request.agent),
            digest,
            Reason.DUPLICATE_CONFLICT,
            f"Request id {request.request_id} was already used for another ask; choose a new one.",
            request.priority,
        )
        return
    if ask.phase in ("ended", "unknown"):
        _repeat_ended(draft, key, ask)
    elif overdue(draft, ask):
        expire(draft, key, ask)
    elif not enforce_kill(draft, key, ask):
        emit_answer(draft, ask)


def _repeat_ended(draft: Draft, key: str, ask: Ask) -> None:
    """A permit ends with the report of its end: asked for again, it says that its lease is over."""
    if ask.answer.decision != "approved":
        emit_answer(draft, ask)
        return
    ended = format_time(ask.ended_at)
    why = f"The ask and its lease ended at {ended} with report {ask.report}; ask with a new request id."
    follow(draft, key, ask, "revoked", Reason.LEASE_EXPIRED, why)
