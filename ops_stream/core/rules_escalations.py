"""What calls for a person, who is asked, and for how long: the rules of `conf/escalations.yaml`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal, Protocol

Severity = Literal["info", "warning", "critical"]
OnExpiry = Literal["deny", "approve"]
TriggerName = Literal[
    "policy",
    "effect",
    "cost",
    "words",
    "priority",
    "loop",
    "failures",
    "quality",
    "soft_limit",
    "violation",
    "unknown_outcome",
    "automatic_kill",
    "retries_exhausted",
    "optimization",
]
BEFORE: Final[tuple[TriggerName, ...]] = ("policy", "effect", "cost", "words", "priority", "loop")
"""These make an ask wait. The others call a person about what has happened already."""
ALL_TENANTS: Final = "*"


class WordFinder(Protocol):
    """Finds words that call for a person; built by the rules, so that the core knows no pattern language."""

    def find(self, texts: Iterable[str]) -> tuple[tuple[str, str], ...]:
        """Give each list (legal, financial, safety, …) of which the texts hold a word, with the first such word.

        Lists come in the order of their names. A word that is spread over two texts is none.
        """
        ...


@dataclass(frozen=True, slots=True)
class Trigger:
    """One reason to call a person. A threshold means something only to its own trigger."""

    on: bool = False
    severity: Severity = "warning"
    quorum: int = 1
    """How many distinct people must approve."""
    roles: frozenset[str] = frozenset()
    """Roles of which an answer needs one, besides what the ladder says; empty for no further demand."""
    ttl_s: int | None = None
    """How long it stays open; None for supervisor.yaml's `escalation_ttl_s`."""
    on_expiry: OnExpiry = "deny"
    """What becomes of an ask that nobody answers. Never `approve` for what cannot be taken back."""
    deny_suspends: bool = False
    """Whether a person's denial of what has happened already suspends the agent."""
    cost_micros: int = 5_000_000
    """cost: an ask waits that brings its task's money (spent, unknown, held) to this, or to a further multiple."""
    words: WordFinder | None = None
    at_most_milli: int = 300
    """quality: a report at or below this, in thousandths."""
    priority_at_least: int = 9
    """priority: an ask of this priority or above waits; 11 for none."""
    impacts: frozenset[str] = frozenset(("high",))
    in_a_row: int = 3
    """failures: so many of an agent in a row, and at each multiple of it again."""
    percent: int = 100
    """soft_limit: when so many percent of a soft limit are used, once a window."""
    weights: frozenset[str] = frozenset(("major",))
    """violation: which weights call a person."""
    repeats: int = 10
    """loop: the ask waits with which an agent tries the same task type of one task so often, each try after the one
    before ended without success; 0 for off."""
    handovers: int = 6
    """loop: the ask waits with which a task that rests goes from one of two agents to the other so often; 0 for off."""
    within_s: int = 600
    """loop: what is longer ago does not count."""
    effects: frozenset[str] = frozenset(("irreversible", "unknown", "reversible"))
    """unknown_outcome: of asks of these effects; retries_exhausted: of these, or of `impacts`."""


@dataclass(frozen=True, slots=True)
class Rung:
    """One level of the ladder: from `after_s` after the opening on, these roles may answer too."""

    after_s: int = 0
    roles: frozenset[str] = frozenset()
    """Empty: anybody who may decide for the tenant."""
    severity: Severity | None = None
    """What the severity is raised to, if at all."""


@dataclass(frozen=True, slots=True)
class Escalations:
    """All triggers and the ladder. Without the file only policies and irreversible effects call a person.

    Build it with `escalations_of`, which works out what the hot path looks at.
    """

    triggers: Mapping[tuple[str, str], Trigger] = field(default_factory=lambda: MappingProxyType({}))
    """(trigger, tenant or `*`) → the trigger, whole."""
    ladders: Mapping[str, tuple[Rung, ...]] = field(default_factory=lambda: MappingProxyType({}))
    """Tenant or `*` → the ladder, lowest level first; at least one rung each."""
    quorums: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    """Severity → how many must approve at least whatever is so severe."""
    before: Mapping[str, tuple[tuple[TriggerName, Trigger], ...]] = field(
        default_factory=lambda: MappingProxyType({})
    )
    """Tenant or `*` → cost, words, priority and loop, those that are on, in this order."""
    any_before: bool = False
    """Whether any trigger but policy and effect can make an ask wait: the hot path asks this first."""

    def trigger(self, name: TriggerName, tenant: str) -> Trigger | None:
        """Give a trigger that is on for a tenant, or None. Policies and effects are on unless turned off."""
        triggers = self.triggers
        if not triggers:
            return _ALWAYS.get(name)
        found = triggers.get((name, tenant)) or triggers.get((name, ALL_TENANTS))
        if found is None:
            return _ALWAYS.get(name)
        return found if found.on else None

    def before_for(self, tenant: str) -> tuple[tuple[TriggerName, Trigger], ...]:
        """Give what else than policies and effects can make an ask of a tenant wait."""
        found = self.before.get(tenant)
        return self.before.get(ALL_TENANTS, ()) if found is None else found

    def quorum(self, rule: Trigger, severity: Severity) -> int:
        """Give how many distinct people must approve what a trigger calls for."""
        return max(rule.quorum, self.quorums.get(severity, 1))

    def ladder(self, tenant: str) -> tuple[Rung, ...]:
        """Give the ladder of a tenant."""
        return self.ladders.get(tenant) or self.ladders.get(ALL_TENANTS) or _ONE_RUNG


_ALWAYS: Final[Mapping[str, Trigger]] = MappingProxyType(
    {"policy": Trigger(on=True), "effect": Trigger(on=True, severity="critical")}
)
_ONE_RUNG: Final = (Rung(),)


def escalations_of(
    triggers: Mapping[tuple[str, str], Trigger],
    ladders: Mapping[str, tuple[Rung, ...]] | None = None,
    quorums: Mapping[str, int] | None = None,
) -> Escalations:
    """Put triggers, ladders and quorums together."""
    plain = Escalations(MappingProxyType(dict(triggers)))
    tenants = sorted({tenant for _, tenant in triggers} | {ALL_TENANTS})
    asking = [name for name in BEFORE if name not in _ALWAYS]
    before = {
        tenant: tuple((name, rule) for name in asking if (rule := plain.trigger(name, tenant)) is not None)
        for tenant in tenants
    }
    return Escalations(
        plain.triggers,
        MappingProxyType(dict(ladders or {})),
        MappingProxyType(dict(quorums or {})),
        MappingProxyType(before),
        any(before.values()),
    )
