"""The generated code decides what CEL decides, and is undecided where CEL is."""

from typing import Any

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from ops_stream.rules.cel import Condition, compile_condition
from ops_stream.rules.policies import CompiledPolicies, Policy
from tests.rules.conditions import condition, view


def _policies(sources: list[str]) -> CompiledPolicies:
    compiled = [compile_condition(source, "request") for source in sources]
    return CompiledPolicies(
        Policy(f"p{at}", one, "block") for at, one in enumerate(compiled) if isinstance(one, Condition)
    )


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(condition(), min_size=1, max_size=6), st.lists(view, min_size=1, max_size=6))
def test_the_fast_path_agrees_with_cel(sources: list[str], views: list[dict[str, Any]]) -> None:
    """Any conditions on any views: the same policies match, and the same ones cannot be decided."""
    policies = _policies(sources)
    assume(policies.policies)
    for one in views:
        assert list(policies.match("request", one)) == list(policies.match_by_cel("request", one)), (
            [policy.condition.source for policy in policies.policies],
            one,
        )
