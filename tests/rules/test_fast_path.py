"""The generated code decides what CEL decides, and is undecided where CEL is."""

import os
from collections.abc import Sequence
from typing import Any

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from ops_stream.rules.cel import Condition, compile_condition
from ops_stream.rules.policies import CompiledPolicies, Policy
from tests.rules.building import policy
from tests.rules.conditions import condition, full_view, scope, view
from tests.thorough import examples

EXAMPLES = int(os.environ.get("OPS_STREAM_FUZZ_EXAMPLES", 0)) or examples(60, quick=20)
"""Raise it for a long run."""


def _policies(sources: list[str], scopes: Sequence[dict[str, Any]] = ()) -> CompiledPolicies:
    compiled = [compile_condition(source, "request") for source in sources]
    return CompiledPolicies(
        Policy(f"p{at}", one, "block", **(scopes[at % len(scopes)] if scopes else {}))
        for at, one in enumerate(compiled)
        if isinstance(one, Condition)
    )


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(condition(), min_size=1, max_size=6),
    st.lists(scope, max_size=3),
    st.lists(st.one_of(view, full_view), min_size=1, max_size=6),
)
def test_the_fast_path_agrees_with_cel(
    sources: list[str], scopes: list[dict[str, Any]], views: list[dict[str, Any]]
) -> None:
    """Any conditions for anyone at any time on any views: the same match, and the same ones cannot be decided."""
    policies = _policies(sources, scopes)
    assume(policies.policies)
    for one in views:
        assert list(policies.match("request", one)) == list(policies.match_by_cel("request", one)), (
            [policy.condition.source for policy in policies.policies],
            one,
        )


@settings(max_examples=EXAMPLES // 4, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(condition(), min_size=2, max_size=6), view, st.randoms(use_true_random=False))
def test_the_order_in_the_file_never_matters(sources: list[str], one: dict[str, Any], random: Any) -> None:
    """However policies are shuffled, what matches and in which order it is reported stays the same."""
    policies = list(_policies(sources).policies)
    before = list(CompiledPolicies(policies).match("request", one))
    random.shuffle(policies)
    assert list(CompiledPolicies(policies).match("request", one)) == before


@settings(max_examples=EXAMPLES // 4, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(condition(), min_size=1, max_size=5), condition(), view)
def test_another_policy_never_takes_a_match_away(sources: list[str], more: str, one: dict[str, Any]) -> None:
    """Adding a policy leaves the matches of the others as they are: it can only demand more."""
    few = _policies(sources)
    extra = compile_condition(more, "request")
    assume(isinstance(extra, Condition))
    assert isinstance(extra, Condition)
    many = CompiledPolicies([*few.policies, Policy("zzz", extra, "block")])
    left = [match for match in many.match("request", one) if match.name != "zzz"]
    assert left == list(few.match("request", one))


def test_many_policies_with_an_index_decide_as_cel_does() -> None:
    """With hundreds of bounds and equalities, every block and bucket boundary is right."""
    fields = [f"cost > {n}.5" for n in range(40)] + [f"cost <= {n}" for n in range(40)]
    fields += [f"retry_count >= {n} && tool == 't{n % 7}'" for n in range(40)]
    fields += [f"task_type in ['a{n}', 'b{n}'] || priority == {n}" for n in range(40)]
    policies = CompiledPolicies(policy(f"p{n}", text, priority=n % 5) for n, text in enumerate(fields))
    assert policies.left_to_cel == ()
    for number in (-1, 0, 0.5, 1, 12, 12.5, 39, 39.5, 40, 1000):
        for extra in ({}, {"tool": "t3"}, {"task_type": "b12", "priority": 12}, {"task_type": "a0"}):
            one = {"cost": number, "retry_count": int(number), **extra}
            assert list(policies.match("request", one)) == list(policies.match_by_cel("request", one))


def test_what_the_fast_path_lacks_is_left_to_cel_and_named() -> None:
    """Conversions, timestamps and other macros are decided by CEL itself."""
    policies = CompiledPolicies(
        [
            policy("fast", "cost > 1"),
            policy("slow-1", "int(cost) == 2"),
            policy("slow-2", "tags.exists_one(t, t == 'a')"),
        ]
    )
    assert policies.left_to_cel == ("slow-1", "slow-2")
    found = policies.match("request", {"cost": 2.5, "tags": ("a", "b")})
    assert [match.name for match in found] == ["fast", "slow-1", "slow-2"]
