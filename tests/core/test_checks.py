"""The checks stand in the contract's order, so that the strongest reason wins."""

from ops_stream.contract.reasons import Reason, precedence
from ops_stream.core.checks import CHECKS

ELSEWHERE = {
    Reason.MALFORMED_REQUEST,  # before anything can be checked
    Reason.DUPLICATE_CONFLICT,
    Reason.ESCALATION_DENIED,  # a person's or time's answer
    Reason.ESCALATION_EXPIRED,
    Reason.WITHDRAWN,
    Reason.APPROVED,
    Reason.APPROVED_AFTER_REVIEW,
    Reason.APPROVED_WITH_CHANGES,
    Reason.KILL_REVOKED,
    Reason.LEASE_EXPIRED,
    Reason.WORKFLOW_CANCELLED,
    Reason.ATTEMPT_FAILED,
}


def test_checks_stand_in_order_of_precedence() -> None:
    """Going through the checks in their order meets the strongest reason first."""
    ranks = [precedence(reason) for reason, _ in CHECKS]
    assert ranks == sorted(ranks)
    assert len(set(ranks)) == len(ranks)


def test_every_reason_is_given_somewhere() -> None:
    """A reason is either a check's or one of those that arise outside the checks."""
    assert {reason for reason, _ in CHECKS} | ELSEWHERE == set(Reason)
    assert not {reason for reason, _ in CHECKS} & ELSEWHERE
