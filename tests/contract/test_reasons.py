"""Which reason wins is data."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from ops_stream.contract.reasons import Reason, precedence, strongest

IN_THE_CONTRACTS_ORDER = """
malformed_request duplicate_conflict kill_switch agent_unregistered agent_not_allowed agent_suspended
agent_blocked policy_error policy_blocked budget_exhausted escalation_denied escalation_expired withdrawn
retries_exhausted no_model deadline_passed overloaded escalated queued approved approved_after_review
approved_with_changes kill_revoked lease_expired workflow_cancelled
attempt_failed
"""


def test_the_order_is_the_contracts() -> None:
    """The reasons are exactly the contract's, and each wins over all that come after it."""
    assert [str(reason) for reason in Reason] == IN_THE_CONTRACTS_ORDER.split()
    assert all(precedence(before) < precedence(after) for before, after in pairwise(Reason))


@given(st.lists(st.sampled_from(Reason), min_size=1), st.randoms())
def test_order_of_arrival_does_not_matter(reasons: list[Reason], random) -> None:
    """The strongest of some reasons is the same in whatever order they were found."""
    shuffled = reasons.copy()
    random.shuffle(shuffled)
    assert strongest(shuffled) == strongest(reasons)
    assert all(precedence(strongest(reasons)) <= precedence(reason) for reason in reasons)
