"""Policies, compiled to one function a kind of event and agent, and matched against a view.

The order in the file never matters: policies are sorted by priority and name before anything is generated.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal

import re2

from ops_stream.core.rules_model import ANY, PolicyMatch
from ops_stream.rules.cel import Condition, activation
from ops_stream.rules.codegen import asked_of, fields_of
from ops_stream.rules.fields import FIELDS, NOW, WHENS
from ops_stream.rules.matcher import Matcher, Rule, compile_matcher

When = Literal["request", "telemetry"]

_SHAPES_MAX: Final = 64
_SELECTORS: Final = frozenset(("agent", "role", "tenant", NOW))


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy that has passed the check."""

    name: str
    condition: Condition
    action: str
    agent: str = ANY
    tenant: str = ANY
    priority: int = 0
    shadow: bool = False
    valid_from: int | None = None
    """Milliseconds since 1970: it is in force from then on."""
    valid_until: int | None = None
    """It is in force until just before then."""
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def when(self) -> str:
        """The kind of event that it looks at."""
        return self.condition.when

    @property
    def sees(self) -> frozenset[str]:
        """The fields of an event that its condition looks at."""
        return _seen(self)

    def concerns(self, view: Mapping[str, Any]) -> bool:
        """Say whether it is for the tenant and the agent of a view, whatever its condition says."""
        agents = (ANY, view.get("agent"), view.get("role"))
        return self.tenant in (ANY, view.get("tenant")) and self.agent in agents

    def in_force(self, now_ms: int | None) -> bool:
        """Say whether it is valid at a time; where no time is known, it is."""
        if now_ms is None:
            return True
        begun = self.valid_from is None or self.valid_from <= now_ms
        return begun and (self.valid_until is None or now_ms < self.valid_until)

    @property
    def match(self) -> PolicyMatch:
        """What it reports where its condition holds."""
        return PolicyMatch(self.name, self.action, self.priority, self.shadow, self.parameters)


class CompiledPolicies:
    """The policies of one bundle. Pure: the same view always gives the same matches."""

    def __init__(self, policies: Iterable[Policy]) -> None:
        """Sort the policies, the highest priority first, and generate the code."""
        self.policies: tuple[Policy, ...] = tuple(sorted(policies, key=lambda one: (-one.priority, one.name)))
        self._matches = tuple(policy.match for policy in self.policies)
        self._fields = tuple(_rule(rank, policy).fields for rank, policy in enumerate(self.policies))
        self._undecided_before: dict[frozenset[str], dict[int, PolicyMatch]] = {}
        self._matchers: dict[str, dict[Any, Matcher]] = {when: {} for when in WHENS}
        to_cel: set[int] = set()
        for when in WHENS:
            for agent in sorted({policy.agent for policy in self.policies if policy.when == when}):
                matcher, left = compile_matcher(when, self._rules(when, agent), _search)
                self._matchers[when][agent] = matcher
                to_cel |= left
        self.fields: frozenset[str] = _SELECTORS.union(*(_seen(policy) for policy in self.policies))
        """What a view must show: no policy looks at anything else."""
        self.left_to_cel: tuple[str, ...] = tuple(self.policies[rank].name for rank in sorted(to_cel))
        """The policies whose condition the fast path does not cover."""

    def __bool__(self) -> bool:
        """Say whether there is any."""
        return bool(self.policies)

    def _rules(self, when: str, agent: str) -> list[Rule]:
        return [
            _rule(rank, policy)
            for rank, policy in enumerate(self.policies)
            if policy.when == when and policy.agent == agent
        ]

    def match(self, when: When, view: Mapping[str, Any]) -> Sequence[PolicyMatch]:
        """Give every policy that matches the view, the highest priority first."""
        matchers = self._matchers[when]
        if not matchers:
            return ()
        found: list[int] = []
        cel = _ByCel(self.policies, view) if self.left_to_cel else None
        agent, role = view.get("agent"), view.get("role")
        for key in (ANY, agent) if role is None or role == agent else (ANY, agent, role):
            matcher = matchers.get(key)
            if matcher is not None:
                matcher(view, found, cel)
        if not found:
            return ()
        if len(found) > 1:
            found = sorted(set(found))  # a policy with two open gates is found twice
        if found[0] < 0:
            return self._reported(sorted(found, key=_rank), view)
        matches = self._matches
        return [matches[rank] for rank in found]

    def match_by_cel(self, when: When, view: Mapping[str, Any]) -> Sequence[PolicyMatch]:
        """Do the same by CEL alone, one evaluation a policy: the reference for tests and benchmarks."""
        shown = activation(view, when)
        found: list[int] = []
        now = view.get(NOW)
        for rank, policy in enumerate(self.policies):
            if not policy.in_force(now):
                continue
            if policy.when != when or policy.tenant not in (ANY, view.get("tenant")):
                continue
            if policy.agent not in (ANY, view.get("agent"), view.get("role")):
                continue
            truth = policy.condition.decide_in(shown)
            if truth is not False:
                found.append(rank if truth else ~rank)
        return self._reported(found, view)

    def _reported(self, ranks: Sequence[int], view: Mapping[str, Any]) -> list[PolicyMatch]:
        undecided = self._undecided(ranks, view) if any(rank < 0 for rank in ranks) else {}
        return [self._matches[rank] if rank >= 0 else undecided[rank] for rank in ranks]

    def _undecided(self, ranks: Sequence[int], view: Mapping[str, Any]) -> dict[int, PolicyMatch]:
        """Give the reports of conditions that could not be decided, by their inverted rank.

        Which fields an event lacks is what the report says, and few events differ in that.
        """
        present = frozenset(name for name, value in view.items() if value is not None)
        before = self._undecided_before.get(present)
        if before is None:
            if len(self._undecided_before) >= _SHAPES_MAX:
                self._undecided_before.clear()
            before = self._undecided_before[present] = {}
        for rank in ranks:
            if rank < 0 and rank not in before:
                missing = tuple(name for name in self._fields[~rank] if name not in present)
                why = _why(self.policies[~rank].when, missing)
                before[rank] = dataclasses.replace(self._matches[~rank], error=why)
        return before


class _ByCel:
    """Evaluates by CEL what the generated code does not cover, each condition at most once."""

    def __init__(self, policies: Sequence[Policy], view: Mapping[str, Any]) -> None:
        self._policies = policies
        self._view = view
        self._shown: Any = None
        self._decided: dict[int, bool | None] = {}

    def __call__(self, rank: int) -> bool | None:
        if rank not in self._decided:
            condition = self._policies[rank].condition
            if self._shown is None:
                self._shown = activation(self._view, condition.when)
            self._decided[rank] = condition.decide_in(self._shown)
        return self._decided[rank]


def compile_pattern(pattern: str) -> Any:
    """Compile a pattern by RE2, as CEL does; raises `re2.error`."""
    options = re2.Options()
    options.log_errors = False
    return re2.compile(pattern.encode(), options)


def _search(pattern: str) -> Callable[[bytes], Any]:
    return compile_pattern(pattern).search  # type: ignore[no-any-return]


def _seen(policy: Policy) -> frozenset[str]:
    tree = policy.condition.tree
    return (fields_of(tree) | asked_of(tree)).intersection(FIELDS[policy.when])


def _rule(rank: int, policy: Policy) -> Rule:
    tree = policy.condition.tree
    fields = tuple(sorted(fields_of(tree).intersection(FIELDS[policy.when])))
    tenant = None if policy.tenant == ANY else policy.tenant
    return Rule(rank, tree, tenant, fields, policy.valid_from, policy.valid_until)


def _rank(found: int) -> int:
    return found if found >= 0 else ~found


def _why(when: str, missing: tuple[str, ...]) -> str:
    if missing:
        why = f"the {when} has no {', '.join(repr(name) for name in missing)}"
    else:
        why = "a value in it is missing, of another type, or out of range"
    return f"the condition cannot be decided: {why}"
