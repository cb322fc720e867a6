"""Policies for tests: conditions are Python expressions over the names of a policy's view."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from types import CodeType
from typing import Any, Literal

from ops_stream.core.rules_model import PolicyMatch


@dataclass(frozen=True)
class TestPolicy:
    """One policy."""

    __test__ = False

    name: str
    action: str
    condition: str = "True"
    priority: int = 0
    when: Literal["request", "telemetry"] = "request"
    shadow: bool = False
    parameters: Mapping[str, Any] = field(default_factory=dict)
    valid_from: int = 0
    valid_until: int = 2**62


class TestPolicies:
    """A PolicySet that evaluates each condition; what it cannot evaluate is reported as an error."""

    __test__ = False

    def __init__(self, policies: Sequence[TestPolicy]) -> None:
        self.policies = [(policy, _compiled(policy.condition)) for policy in policies]
        self.fields = frozenset(name for _, code in self.policies for name in code.co_names)

    def match(self, when: Literal["request", "telemetry"], view: Mapping[str, Any]) -> Sequence[PolicyMatch]:
        """Give every policy that matches."""
        found = []
        names, bare = dict(view), {"__builtins__": {}}
        for policy, code in self.policies:
            if policy.when != when or not policy.valid_from <= view["now_ms"] < policy.valid_until:
                continue
            error = None
            try:
                if not eval(code, bare, names):
                    continue
            except Exception as failure:
                error = f"{type(failure).__name__}: {failure}"
            found.append(
                PolicyMatch(
                    policy.name, policy.action, policy.priority, policy.shadow, policy.parameters, error
                )
            )
        return found


@cache
def _compiled(condition: str) -> CodeType:
    return compile(condition, "<policy>", "eval")
