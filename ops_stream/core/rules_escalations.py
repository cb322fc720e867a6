"""What calls for a person, who is asked, and for how long: the rules of `conf/escalations.yaml`."""

from __future__ import annotations

from collections.abc import Mapping
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
]
BEFORE: Final[tuple[TriggerName, ...]] = ("policy", "effect", "cost", "words", "priority", "loop")
"""These make an ask wait. The others call a person about what has happened already."""
ALL_TENANTS: Final = "*"


class WordFinder(Protocol):
    """Finds words that call for a person; built by the rules, so that the core knows no pattern language."""

    def find(self, text: str) -> tuple[str, str] | None:
        """Give the first list (legal, financial, safety, …) and the word of it that a text holds, or None."""
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
    """cost: a task whose money reaches this (and each multiple of it) waits."""
    words: WordFinder | None = None
    at_most_milli: int = 300
    """quality: a report at or below this, in thousandths."""
    priority_at_least: int = 9
    impacts: frozenset[str] = frozenset(("high",))
    in_a_row: int = 3
    """failures: so many of an agent in a row."""
    percent: int = 100
    """soft_limit: from this percentage of a soft limit on."""
    weights: frozenset[str] = frozenset(("major",))
    """violation: which weights call a person."""
    repeats: int = 10
    """loop: an agent asking for the same task type of one task so often, without success in between."""
    handovers: int = 6
    """loop: two agents handing one task back and forth so often."""
    within_s: int = 600
    effects: frozenset[str] = frozenset(("irreversible", "unknown", "reversible"))
    """unknown_outcome: of asks of these effects."""


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
    """All triggers and the ladder. Without the file only policies and irreversible effects call a person."""

    triggers: Mapping[tuple[str, str], Trigger] = field(default_factory=lambda: MappingProxyType({}))
    """(trigger, tenant or `*`) → the trigger, whole."""
    ladders: Mapping[str, tuple[Rung, ...]] = field(default_factory=lambda: MappingProxyType({}))
    """Tenant or `*` → the ladder, lowest level first; at least one rung each."""
    any_before: bool = False
    """Whether any trigger but policy and effect can make an ask wait: the hot path asks this first."""

    def trigger(self, name: TriggerName, tenant: str) -> Trigger | None:
        """Give a trigger that is on for a tenant, or None. Policies and effects are on unless turned off."""
        found = self.triggers.get((name, tenant)) or self.triggers.get((name, ALL_TENANTS))
        if found is None:
            return _ALWAYS if name in ("policy", "effect") else None
        return found if found.on else None

    def ladder(self, tenant: str) -> tuple[Rung, ...]:
        """Give the ladder of a tenant."""
        return self.ladders.get(tenant) or self.ladders.get(ALL_TENANTS) or _ONE_RUNG


_ALWAYS: Final = Trigger(on=True)
_ONE_RUNG: Final = (Rung(),)
