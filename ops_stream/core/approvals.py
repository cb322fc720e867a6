"""TaskApprovals: built from an ask's row, so that one decision always reads the same."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from ops_stream.contract.models import TaskRequest
from ops_stream.contract.money import usd
from ops_stream.core.calendar import stamp
from ops_stream.core.draft import Draft
from ops_stream.core.ids import derived_id
from ops_stream.core.inputs import RECORD_INPUTS, EventInput
from ops_stream.core.rows import NOTHING, Answer, Ask
from ops_stream.core.rows_retries import NextStep, RetryPlan

PLAIN: Final = "Every check passed."
"""What an approval says where there is nothing else to say; rows leave it out."""


def approval_id(tenant: str, request_id: str, sequence: int) -> str:
    """Give the id of one decision in an ask's line."""
    return derived_id("ap_", tenant, request_id, sequence)


def approval_of(ask: Ask) -> dict[str, Any]:
    """Give the TaskApproval in force, the same to the byte however often it is asked for."""
    answer = ask.answer
    value: dict[str, Any] = {
        "approval_id": approval_id(ask.tenant, ask.request_id, answer.sequence),
        "request_id": ask.request_id,
        "task_id": ask.task_id,
        "tenant": ask.tenant,
        "agent": ask.agent,
        "decision": answer.decision,
        "sequence": answer.sequence,
        "reason": str(answer.reason),
        "explanation": answer.explanation or PLAIN,
        "action_digest": answer.digest or ask.digest,
        "priority": ask.priority,
        "matched_policies": [
            {"name": policy.name, "action": policy.action, "shadow": policy.shadow}
            for policy in answer.matched
        ],
        "rules_digest": answer.rules,
        "decided_at": stamp(answer.at),
    }
    if answer.decision == "approved":
        if ask.model:
            value["model"] = ask.model
        if ask.held is not None:
            value["cost_limit_usd"] = usd(ask.held)
        value["time_limit_s"] = ask.lease_ms / 1000
        if ask.token_limit:
            value["token_limit"] = ask.token_limit
        value["lease_expires_at"] = stamp(answer.at + ask.lease_ms)
        if ask.approved_by:
            value["approved_by"] = list(ask.approved_by)
        if ask.edits is not NOTHING:
            value["edits"] = msgspec.json.decode(ask.edits)
        if answer.propensity is not None:
            value["propensity"] = answer.propensity / 1_000_000
        if answer.retry is not None:
            value["retry"] = _plan(answer.retry)
        if answer.batch:
            value["batch"] = True
    if answer.not_before:
        value["queue"] = _place(answer)
    if answer.retry_at:
        value["retry_at"] = stamp(answer.retry_at)
    if answer.next_step is not None:
        value["next_step"] = _next(answer.next_step)
    if answer.escalation:
        value["escalation_id"] = answer.escalation
    if answer.would_decide:
        value["would_have"] = {"decision": answer.would_decide, "reason": answer.would_reason}
    if answer.recommendation:
        value["recommendation"] = answer.recommendation
    return value


def _plan(plan: RetryPlan) -> dict[str, Any]:
    value: dict[str, Any] = {
        "max_attempts": plan.max_attempts,
        "backoff_s": plan.backoff_ms / 1000,
        "next": plan.next,
    }
    if plan.model and plan.next == "model":
        value["model"] = plan.model
    return value


def _place(answer: Answer) -> dict[str, Any]:
    value: dict[str, Any] = {"position": answer.position, "not_before": stamp(answer.not_before)}
    if answer.expected_start:
        value["expected_start"] = stamp(answer.expected_start)
    return value


def _next(step: NextStep) -> dict[str, Any]:
    value: dict[str, Any] = {
        "action": step.action,
        "error_class": step.error_class,
        "attempt": step.attempt,
        "max_attempts": step.max_attempts,
    }
    if step.not_before:
        value["not_before"] = stamp(step.not_before)
    named = (("model", step.model), ("agent", step.agent), ("escalation_id", step.escalation))
    value.update({name: said for name, said in named if said})
    return value


def emit_answer(draft: Draft, ask: Ask) -> None:
    """Publish the decision in force, in the encoding and the trace of whoever asks, else of who asked."""
    encoding, traceparent = ask.encoding, ask.traceparent or None
    input_ = draft.input
    if (
        isinstance(input_, EventInput)
        and isinstance(input_.event, TaskRequest)
        and (not ask.step or input_.event.request_id == ask.request_id)
    ):
        encoding, traceparent = input_.encoding, input_.traceparent
    value = approval_of(ask)
    draft.emit(
        "approvals",
        ask.tenant,
        "TaskApproval",
        value["approval_id"],
        value,
        encoding=encoding,
        traceparent=traceparent,
        subject=ask.request_id,
    )


def emit_refusal(
    draft: Draft,
    ids: tuple[str, str, str, str],
    digest: str,
    reason: str,
    explanation: str,
    priority: int = 5,
) -> None:
    """Deny a body that gets no row: it stands outside the line of its request id, with a sequence of 0.

    `ids` are tenant, request, task and agent. Readers tell it from the line by its action digest.
    """
    input_ = draft.input
    assert isinstance(input_, RECORD_INPUTS)
    tenant, request_id, task_id, agent = ids
    origin = input_.forwarded_from or input_.origin
    id_ = derived_id("ap_", tenant, request_id, reason, origin.topic, origin.partition, origin.offset)
    value = {
        "approval_id": id_,
        "request_id": request_id,
        "task_id": task_id,
        "tenant": tenant,
        "agent": agent,
        "decision": "denied",
        "sequence": 0,
        "reason": str(reason),
        "explanation": explanation,
        "action_digest": digest,
        "priority": priority,
        "matched_policies": [],
        "rules_digest": draft.rules.digest,
        "decided_at": stamp(draft.now),
    }
    draft.emit(
        "approvals",
        tenant,
        "TaskApproval",
        id_,
        value,
        encoding=input_.encoding,
        traceparent=input_.traceparent,
        subject=request_id,
    )


def next_answer(draft: Draft, ask: Ask, decision: Any, reason: str, explanation: str) -> Answer:
    """Give the decision that follows the one in force."""
    return Answer(
        decision=decision,
        reason=reason,
        explanation=explanation,
        at=draft.now,
        rules=draft.rules.digest,
        sequence=ask.answer.sequence + 1,
        digest=ask.answer.digest,
    )
