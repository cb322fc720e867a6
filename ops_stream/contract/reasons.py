"""Reason codes. Their order here is the order in which they win: precedence is data."""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final


class Reason(StrEnum):
    """Why a decision is what it is; the first listed wins over the later ones."""

    MALFORMED_REQUEST = "malformed_request"
    DUPLICATE_CONFLICT = "duplicate_conflict"
    KILL_SWITCH = "kill_switch"
    AGENT_UNREGISTERED = "agent_unregistered"
    AGENT_NOT_ALLOWED = "agent_not_allowed"
    AGENT_SUSPENDED = "agent_suspended"
    AGENT_BLOCKED = "agent_blocked"
    POLICY_ERROR = "policy_error"
    POLICY_BLOCKED = "policy_blocked"
    BUDGET_EXHAUSTED = "budget_exhausted"
    ESCALATION_DENIED = "escalation_denied"
    ESCALATION_EXPIRED = "escalation_expired"
    WITHDRAWN = "withdrawn"
    RETRIES_EXHAUSTED = "retries_exhausted"
    NO_MODEL = "no_model"
    DEADLINE_PASSED = "deadline_passed"
    OVERLOADED = "overloaded"
    ESCALATED = "escalated"
    QUEUED = "queued"
    APPROVED = "approved"
    APPROVED_AFTER_REVIEW = "approved_after_review"
    APPROVED_WITH_CHANGES = "approved_with_changes"
    # For `revoked` only; never weighed against the others.
    KILL_REVOKED = "kill_revoked"
    LEASE_EXPIRED = "lease_expired"
    WORKFLOW_CANCELLED = "workflow_cancelled"
    ATTEMPT_FAILED = "attempt_failed"


STOPPED_BY_PEOPLE: Final = (Reason.KILL_REVOKED, Reason.WORKFLOW_CANCELLED)
"""Reasons of a revocation that is not held against the agent."""

_RANK: Final[Mapping[Reason, int]] = {reason: rank for rank, reason in enumerate(Reason)}


def precedence(reason: Reason) -> int:
    """Give the rank of a reason: 0 wins over everything."""
    return _RANK[reason]


def strongest(reasons: Iterable[Reason]) -> Reason:
    """Pick the reason that wins; raises ValueError where there is none."""
    return min(reasons, key=precedence)
