"""Builds policies and bundles for the tests in a line or two."""

from collections.abc import Mapping
from typing import Any

import pytest

from ops_stream.core.rules_model import Rules
from ops_stream.rules.bundle import POLICIES, compile_bundle
from ops_stream.rules.cel import Condition, compile_condition
from ops_stream.rules.policies import CompiledPolicies, Policy
from ops_stream.rules.problems import Problem, RulesInvalid


def policy(name: str, condition: str, action: str = "block", when: str = "request", **fields: Any) -> Policy:
    """Build a policy whose condition is known to be right."""
    compiled = compile_condition(condition, when)
    assert isinstance(compiled, Condition), compiled
    return Policy(name, compiled, action, **fields)


def matched(condition: str, view: Mapping[str, Any], when: Any = "request") -> bool | None:
    """Decide one condition by the fast path; it must be what CEL says."""
    policies = CompiledPolicies([policy("p", condition, when=when)])
    found, by_cel = policies.match(when, view), policies.match_by_cel(when, view)
    assert list(found) == list(by_cel)
    if not found:
        return False
    return None if found[0].error is not None else True


def yaml_of(*policies: str) -> str:
    """Write a policies file; each policy is given as the lines under its dash."""
    if not policies:
        return "version: 1\n"
    items = "".join("  - " + one.strip().replace("\n", "\n    ") + "\n" for one in policies)
    return f"version: 1\npolicies:\n{items}"


def compiled(*policies: str, **files: str) -> Rules:
    """Compile a bundle: policies as for `yaml_of`, other files by their name without ending."""
    return compile_bundle({POLICIES: yaml_of(*policies), **{f"{k}.yaml": v for k, v in files.items()}})


def problems_of(*policies: str, **files: str) -> tuple[Problem, ...]:
    """Compile a bundle that must be refused, and give what is wrong with it."""
    with pytest.raises(RulesInvalid) as caught:
        compiled(*policies, **files)
    for problem in caught.value.problems:
        assert problem.file.endswith(".yaml")
        assert problem.line >= 1
        assert problem.column >= 1
        assert problem.message.endswith((".", "/ -."))
    return caught.value.problems
