"""An ask comes in."""

from __future__ import annotations

from typing import Final

from ops_stream.contract.digest import action_digest
from ops_stream.contract.models import TaskRequest
from ops_stream.core.automatic import asked
from ops_stream.core.decide import decide
from ops_stream.core.draft import Draft
from ops_stream.core.duplicates import repeat
from ops_stream.core.inputs import EventInput
from ops_stream.core.leases import estimated_ms
from ops_stream.core.rows import ASKS, Answer, Ask, ask_key

UNDECIDED: Final = Answer(decision="denied", reason="", at=0, rules="")
"""Stands in a bare row until the first decision."""


def ask_in(draft: Draft, request: TaskRequest) -> None:
    """Decide a new ask, or answer a repeated one."""
    key = ask_key(request.tenant, request.request_id)
    digest = action_digest(request)
    known = draft.get(ASKS, key)
    if known is not None:
        repeat(draft, key, known, request, digest)
    else:
        if draft.rules.kills.automatic:
            asked(draft, request)
        decide(draft, key, request, "first", bare_ask(draft, request, digest), 0)


def bare_ask(draft: Draft, request: TaskRequest, digest: str) -> Ask:
    """Give the row of an ask that nothing has been decided about."""
    input_ = draft.input
    assert isinstance(input_, EventInput)
    return row_of(draft, request, digest, input_.origin.offset, input_.encoding, input_.traceparent or "")


def row_of(
    draft: Draft, request: TaskRequest, digest: str, order: int, encoding: str, traceparent: str
) -> Ask:
    """Give such a row by what the record says that asks, which for the step of a workflow is an older one."""
    return Ask(
        tenant=request.tenant,
        request_id=request.request_id,
        task_id=request.task_id,
        agent=request.agent,
        digest=digest,
        phase="ended",
        until=0,
        answer=UNDECIDED,
        workflow=request.workflow_id or "",
        objective=_objective(draft, request),
        task_type=request.task_type,
        tool=request.tool or "",
        priority=request.priority,
        retry_count=request.retry_count,
        complexity=request.complexity,
        impact=request.customer_impact,
        effect=request.effect,
        estimated_ms=estimated_ms(request),
        order=order,
        encoding=encoding,
        traceparent=traceparent,
        asked_at=draft.written_ms,
    )


def _objective(draft: Draft, request: TaskRequest) -> str:
    """Give what an ask works for; one that names neither objective nor workflow works for what its parent does."""
    if request.objective_id or request.workflow_id or not request.parent_request_id:
        return request.objective_id or ""
    parent = draft.get(ASKS, ask_key(request.tenant, request.parent_request_id))
    return "" if parent is None else parent.objective
