"""What a scenario needs of the thing it is played on: the bare core, a simulator or a real broker."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ops_stream.core.rules_escalations import Rung
from ops_stream.core.rules_routing import ModelCard


@dataclass(frozen=True)
class PolicySpec:
    """A policy; its condition is a comparison that reads the same in CEL and in Python."""

    name: str
    action: str
    condition: str = "true"
    priority: int = 0
    when: str = "request"
    shadow: bool = False
    parameters: Mapping[str, Any] = field(default_factory=dict)
    valid: tuple[float, float] = (float("-inf"), float("inf"))
    """Seconds after the beginning: from the first on, until just before the second."""


@dataclass
class Setup:
    """The rules that a scenario is played under."""

    tenant_budgets: dict[str, tuple[str, int]] = field(default_factory=dict)
    """Tenant (or `*`) → window and limit in micro-dollars."""
    task_budgets: dict[str, tuple[str, int]] = field(default_factory=dict)
    limits: list[Mapping[str, Any]] = field(default_factory=list)
    """Entries as in `budgets.yaml`; where there are any, they are all the budgets."""
    zones: dict[str, str] = field(default_factory=dict)
    """Tenant (or `*`) → time zone."""
    begin: str = ""
    """When the scenario begins; empty where it does not matter."""
    policies: list[PolicySpec] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    lifecycle: dict[str, Any] = field(default_factory=dict)
    """What differs from the lifecycle that is shipped."""
    alerts: dict[str, int] = field(default_factory=dict)
    """How alerts are told; nothing for as they come."""
    silences: list[Mapping[str, Any]] = field(default_factory=list)
    """Entries as in `alerts.yaml`."""
    effects: dict[str, Any] = field(default_factory=dict)
    effect_classes: dict[str, dict[str, str]] = field(default_factory=dict)
    """By `task-type` or `tool`: name → effect."""
    modes: list[tuple[str, str, str, int]] = field(default_factory=list)
    """Tenant, agent, mode and percent."""
    models: list[str] = field(default_factory=list)
    """From the dearest to the cheapest; the first is the default."""
    cards: dict[str, ModelCard] = field(default_factory=dict)
    """The catalogue of models, by name."""
    aliases: dict[str, str] = field(default_factory=dict)
    routing: dict[str, Any] = field(default_factory=dict)
    """How a model is chosen, the breaker's fields among the others; nothing for not at all."""
    load: dict[str, Any] = field(default_factory=dict)
    """What differs from the rules about load that are shipped."""
    tenant_loads: dict[str, dict[str, int]] = field(default_factory=dict)
    """Tenant or `*` → its limits."""
    provider_loads: dict[str, dict[str, int]] = field(default_factory=dict)
    """Provider → its limits, and the share of each tenant as `share:NAME`."""
    retries: dict[str, Any] | None = None
    """What differs from the rules about retries that are shipped; None where nothing is tried again by plan."""
    plans: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Class of error → what differs from its plan as it is shipped."""
    optimization: dict[str, Any] = field(default_factory=dict)
    """What differs from the rules about optimizations; nothing where none is looked for."""
    declared: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Agent → its task types."""
    kills: dict[str, Any] = field(default_factory=dict)
    automatic: list[dict[str, Any]] = field(default_factory=list)
    """Automatic kills, as `conf/kills.yaml` has them."""
    people: dict[str, dict[str, str]] = field(default_factory=dict)
    """Who may decide and command, as `tests.scenarios.signing.people_of` reads them."""
    signatures: bool = False
    """Whether signatures are demanded."""
    owners: dict[str, str] = field(default_factory=dict)
    """Agent → the person who answers for it."""
    triggers: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    """(trigger, tenant or `*`) → what the line says of it."""
    rungs: dict[str, list[Rung]] = field(default_factory=dict)
    """Tenant or `*` → its ladder, lowest first."""
    quorums: dict[str, int] = field(default_factory=dict)
    reports: dict[str, Any] = field(default_factory=dict)
    """What differs from the rules about reports that are shipped."""
    known_rules: list[str] = field(default_factory=list)
    partitions: int = 1


@dataclass(frozen=True)
class Seen:
    """An event that was published."""

    topic: str
    type: str
    value: Mapping[str, Any]


class Driver(Protocol):
    """Plays a scenario. Every call returns when all that it causes has been published."""

    def start(self, setup: Setup) -> None:
        """Begin, with nothing known yet."""
        ...

    def now_ms(self) -> int:
        """Give the time there."""
        ...

    def send(
        self, topic: str, value: Mapping[str, Any] | bytes, headers: tuple[tuple[str, bytes], ...] = ()
    ) -> None:
        """Put a record on an input topic; `headers` as the shell would journal them."""
        ...

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        ...

    def drain(self) -> Sequence[Seen]:
        """Give what was published since the last call, in order."""
        ...

    def change_limits(self, limits: Sequence[Mapping[str, Any]]) -> None:
        """Let rules with other budgets be in force, as after `activate_rules`."""
        ...

    def change_policies(self, policies: Sequence[PolicySpec]) -> None:
        """Let rules with other policies be in force, as after `activate_rules`."""
        ...

    def change_load(self, change: Callable[[Setup], None]) -> None:
        """Put other limits of what runs into the rules."""
        ...

    def change_trigger(self, name: str, values: Mapping[str, Any]) -> None:
        """Let rules be in force in which a trigger is this."""
        ...

    def down(self) -> None:
        """Let the worker stand still: records are written, and nobody reads them."""
        ...

    def up(self) -> None:
        """Let the worker read what was written meanwhile, and go on."""
        ...

    def account(self, level: str, tenant: str, name: str, unit: str) -> Mapping[str, int]:
        """Give held, unknown, spent and overrun of one scope in one unit, added up over its windows."""
        ...

    def containment(self, command_id: str) -> Mapping[str, int]:
        """Give the counts of what a kill stopped, added up over its partitions."""
        ...

    def flags(self, tenant: str, request_id: str) -> tuple[str, ...]:
        """Give the rules that an ask's reports break."""
        ...

    def record(self, tenant: str, agent: str) -> Mapping[str, Any]:
        """Give the figures of an agent's record."""
        ...

    def balance(self, tenant: str, task_id: str | None) -> Mapping[str, int]:
        """Give held, unknown, spent and overrun of a budget in micro-dollars."""
        ...
