"""Which policies match whom, and what they report."""

import pytest

from ops_stream.rules.policies import CompiledPolicies
from tests.rules.building import compiled, policy, problems_of


def _names(policies: CompiledPolicies, when: str = "request", **view: object) -> list[str]:
    return [match.name for match in policies.match(when, view)]  # type: ignore[arg-type]


def test_a_policy_is_for_an_agent_a_role_or_everyone() -> None:
    """The selector names an agent or a role; others never see the policy."""
    policies = CompiledPolicies(
        [
            policy("for-bot", "true", agent="bot-1"),
            policy("for-support", "true", agent="support"),
            policy("for-all", "true"),
        ]
    )
    assert _names(policies, agent="bot-1", role="support") == ["for-all", "for-bot", "for-support"]
    assert _names(policies, agent="bot-2", role="support") == ["for-all", "for-support"]
    assert _names(policies, agent="bot-2") == ["for-all"]
    assert _names(policies, agent="support", role="support") == ["for-all", "for-support"]


def test_a_policy_may_be_for_one_tenant() -> None:
    """The tenant's selector is part of the condition, also where the rest cannot be decided."""
    policies = CompiledPolicies([policy("p", "tool == 'x'", tenant="acme")])
    assert _names(policies, tenant="acme", tool="x") == ["p"]
    assert _names(policies, tenant="other", tool="x") == []
    assert _names(policies, tenant="other") == []
    assert policies.match("request", {"tenant": "acme"})[0].error is not None


def test_a_policy_looks_at_one_kind_of_event() -> None:
    """A policy for telemetry sees no request, and the other way round."""
    policies = CompiledPolicies(
        [policy("asked", "cost > 1"), policy("told", "quality_score < 0.5", "notify", when="telemetry")]
    )
    assert _names(policies, cost=2.0) == ["asked"]
    assert _names(policies, "telemetry", quality_score=0.1) == ["told"]


def test_matches_come_with_the_highest_priority_first() -> None:
    """Priority decides, then the name; both kinds of policies are reported, shadow ones marked."""
    policies = CompiledPolicies(
        [
            policy("b", "true", priority=1),
            policy("a", "true", priority=1, shadow=True),
            policy("z", "cost > 0", "log", priority=9),
        ]
    )
    found = policies.match("request", {"cost": 1.0})
    assert [(one.name, one.shadow, one.priority) for one in found] == [
        ("z", False, 9),
        ("a", True, 1),
        ("b", False, 1),
    ]


def test_an_undecidable_policy_says_why() -> None:
    """An error in one blocking policy is reported with the match, and leaves the others alone."""
    policies = CompiledPolicies(
        [
            policy("no-tool", "tool == 'x'"),
            policy("wrong-type", "attributes.n > 3"),
            policy("fine", "cost > 1", "escalate", parameters={"severity": "critical"}),
        ]
    )
    view = {"cost": 2.0, "attributes": {"n": "many"}}
    fine, no_tool, wrong_type = policies.match("request", view)
    assert (fine.error, fine.parameters) == (None, {"severity": "critical"})
    assert no_tool.error == "the condition cannot be decided: the request has no 'tool'"
    assert wrong_type.error is not None
    assert "of another type" in wrong_type.error
    assert (no_tool.action, wrong_type.action) == ("block", "block")
    assert list(policies.match("request", view)) == list(policies.match("request", dict(view)))


def test_a_policy_that_is_found_by_two_comparisons_matches_once() -> None:
    """`a || b` with both sides true is one match."""
    policies = CompiledPolicies([policy("p", "task_type == 'x' || cost > 1"), policy("q", "true")])
    assert _names(policies, task_type="x", cost=2.0) == ["p", "q"]


def test_no_policies_match_nothing() -> None:
    """An empty set of policies is a valid one."""
    assert list(CompiledPolicies([]).match("request", {"cost": 1.0})) == []


def test_disabled_policies_are_checked_and_not_applied() -> None:
    """Switching a policy off does not hide a mistake in it."""
    rules = compiled("name: p\naction: block\nenabled: false\ncondition: 'true'")
    assert list(rules.policies.match("request", {})) == []
    (problem,) = problems_of("name: p\naction: block\nenabled: false\ncondition: costs > 1")
    assert "costs" in problem.message


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|a)*b", "(.*)*x", "([a-z]+)*=", "(a?){30}a{30}"])
def test_catastrophic_patterns_are_harmless(pattern: str) -> None:
    """Patterns that keep a backtracking engine busy for ages are linear in RE2."""
    import time

    rules = compiled(f"name: p\naction: block\ncondition: task_description.matches('{pattern}')")
    started = time.perf_counter()
    rules.policies.match("request", {"task_description": "a" * 65_536 + "!"})
    assert time.perf_counter() - started < 1.0


def test_a_pattern_that_needs_too_much_memory_is_refused() -> None:
    """RE2 bounds the program of a pattern."""
    (problem,) = problems_of("name: p\naction: block\ncondition: tool.matches('((a{100}){100}){100}')")
    assert "pattern is not valid" in problem.message
