"""What the core needs of the rules in force: plain frozen data, built and checked by `ops_stream.rules`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Literal, Protocol

from ops_stream.core.rows_optimization import Amended
from ops_stream.core.rules_alerts import Alerts
from ops_stream.core.rules_budgets import Bound as Bound
from ops_stream.core.rules_budgets import Budgets as Budgets
from ops_stream.core.rules_budgets import Limit as Limit
from ops_stream.core.rules_budgets import WindowKind as WindowKind
from ops_stream.core.rules_budgets import Zone as Zone
from ops_stream.core.rules_effects import Effects
from ops_stream.core.rules_escalations import Escalations
from ops_stream.core.rules_kills import Kills
from ops_stream.core.rules_lifecycle import Lifecycle
from ops_stream.core.rules_load import Load
from ops_stream.core.rules_optimization import Optimization
from ops_stream.core.rules_people import People
from ops_stream.core.rules_retries import Retries
from ops_stream.core.rules_routing import Routing
from ops_stream.core.rules_telemetry import TelemetryRules

ANY: Final = "*"
"""Stands for every tenant or every agent."""

Mode = Literal["enforce", "observe"]


@dataclass(frozen=True, slots=True)
class Enforcement:
    """The mode of a tenant's or an agent's asks; `percent` of them, the others get the other mode."""

    tenant: str = ANY
    agent: str = ANY
    mode: Mode = "enforce"
    percent: int = 100


@dataclass(frozen=True, slots=True)
class Supervisor:
    """Settings of `conf/supervisor.yaml` that decisions depend on."""

    default_hold_micros: int = 100_000
    default_hold_tokens: int = 4_000
    """Tokens held for an ask that estimates none, where a limit counts tokens."""
    hold_safety: Literal["off", "learned"] = "off"
    """Whether what is held is raised by what the agent's past says of its estimates."""
    lease_factor: int = 3
    lease_min_s: int = 60
    batch_window_s: int = 60
    escalation_ttl_s: int = 3_600
    remember_s: int = 86_400
    remember_max: int = 200_000
    """Ended asks remembered per partition."""
    open_max: int = 500_000
    """Open asks per tenant; more are refused as `overloaded`."""
    waiting_max: int = 10_000
    """Asks per tenant that wait for a person or in the batch queue."""
    waiting_bytes_max: int = 67_108_864
    """Bytes of such asks per tenant."""
    retries_max: int | None = None
    """A higher `retry_count` is refused as `retries_exhausted`; None for no limit."""
    workflow_attempts: int = 2
    """How often a step of a workflow is tried, by one agent or another."""
    workflow_wait_s: int = 86_400
    """How long a workflow waits for an agent while none of its steps runs, before it fails."""
    registration: Literal["open", "declared"] = "open"
    enforcement: tuple[Enforcement, ...] = ()
    legal_hold: tuple[str, ...] = ()
    """Tenants of which an export drops nothing. It decides nothing; here it is activated and journaled as rules are."""

    def mode_for(self, tenant: str, agent: str) -> tuple[Mode, int]:
        """Give the mode and its percentage: the most specific entry wins, an agent's before a tenant's."""
        best: Enforcement | None = None
        best_rank = -1
        for entry in self.enforcement:
            if entry.tenant not in (ANY, tenant) or entry.agent not in (ANY, agent):
                continue
            rank = 2 * (entry.agent != ANY) + (entry.tenant != ANY)
            if rank > best_rank:
                best, best_rank = entry, rank
        return ("enforce", 100) if best is None else (best.mode, best.percent)


@dataclass(frozen=True, slots=True)
class Price:
    """What a model costs, in micro-dollars for a million tokens."""

    input_micros_per_mtok: int
    output_micros_per_mtok: int


@dataclass(frozen=True, slots=True)
class Models:
    """The models that may be used. `ladder` runs from the dearest to the cheapest."""

    default: str | None = None
    ladder: tuple[str, ...] = ()
    prices: Mapping[str, Price] = field(default_factory=lambda: MappingProxyType({}))

    def known(self, model: str) -> bool:
        """Say whether the model may be used; where none is listed, every model may."""
        return (not self.ladder and not self.prices) or model in self.ladder or model in self.prices

    def cheaper(self, model: str | None) -> str | None:
        """Give the next model down the ladder, or None where there is none."""
        if model is None or model not in self.ladder:
            return None
        at = self.ladder.index(model) + 1
        return self.ladder[at] if at < len(self.ladder) else None

    def price(self, model: str) -> Price | None:
        """Give the price of a model, or None where it is not listed."""
        return self.prices.get(model)


@dataclass(frozen=True, slots=True)
class DeclaredAgent:
    """An agent of `conf/agents.yaml`. No `task_types` means every task type; `tenant` may be `*`."""

    name: str
    role: str = ""
    owner: str = ""
    tenant: str = ANY
    task_types: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Agents:
    """The declared agents, by (tenant, name); a tenant of `*` serves all."""

    declared: Mapping[tuple[str, str], DeclaredAgent] = field(default_factory=lambda: MappingProxyType({}))

    def find(self, tenant: str, agent: str) -> DeclaredAgent | None:
        """Give the declaration of an agent, or None."""
        return self.declared.get((tenant, agent)) or self.declared.get((ANY, agent))


@dataclass(frozen=True, slots=True)
class PolicyMatch:
    """A policy whose condition holds, or could not be decided (`error`).

    `parameters` are those that the file gives, by their names there; money is integer micro-dollars, so that
    the `cost_usd` of a `cap` is here `cost_micros`.
    """

    name: str
    action: str
    priority: int = 0
    shadow: bool = False
    parameters: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    error: str | None = None


class PolicySet(Protocol):
    """The compiled policies. A set that is false has none: nothing need be shown to it."""

    @property
    def fields(self) -> frozenset[str]:
        """The names in a view that any policy looks at: no other has to be shown."""
        ...

    def match(self, when: Literal["request", "telemetry"], view: Mapping[str, Any]) -> Sequence[PolicyMatch]:
        """Give every policy that matches the view, in any order. Never raises for what a condition does.

        The view's `now_ms` says which policies are valid.
        """
        ...


class NoPolicies:
    """No policy at all."""

    fields: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        """There is none."""
        return False

    def match(self, when: Literal["request", "telemetry"], view: Mapping[str, Any]) -> Sequence[PolicyMatch]:
        """Match nothing."""
        return ()


@dataclass(frozen=True, slots=True)
class Rules:
    """One bundle of rules, ready to decide by. `known` are the digests that `activate_rules` may name."""

    digest: str
    supervisor: Supervisor = field(default_factory=Supervisor)
    budgets: Budgets = field(default_factory=Budgets)
    models: Models = field(default_factory=Models)
    agents: Agents = field(default_factory=Agents)
    policies: PolicySet = field(default_factory=NoPolicies)
    effects: Effects = field(default_factory=Effects)
    lifecycle: Lifecycle = field(default_factory=Lifecycle)
    escalations: Escalations = field(default_factory=Escalations)
    people: People = field(default_factory=People)
    alerts: Alerts = field(default_factory=Alerts)
    kills: Kills = field(default_factory=Kills)
    telemetry: TelemetryRules = field(default_factory=TelemetryRules)
    routing: Routing = field(default_factory=Routing)
    load: Load = field(default_factory=Load)
    retries: Retries = field(default_factory=Retries)
    optimization: Optimization = field(default_factory=Optimization)
    amended: Mapping[str, tuple[Amended, ...]] = field(default_factory=lambda: MappingProxyType({}))
    """Tenant → what optimizations change of all this for its asks (`core/amend.py`)."""
    blocking_digest: str = ""
    """Names what blocks: an approval of a person holds only while this is as it was when they were asked."""
    zones: Mapping[str, Zone] = field(default_factory=lambda: MappingProxyType({}))
    """Tenant or `*` → time zone; UTC where there is none."""
    known: Collection[str] = frozenset()

    def zone(self, tenant: str) -> Zone | None:
        """Give the time zone of a tenant; None for UTC."""
        zones = self.zones
        return (zones.get(tenant) or zones.get(ANY)) if zones else None
