"""How much may run at once and how fast, whose share it is, and what waits: the rules of `conf/load.yaml`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

ANY: Final = "*"
"""Stands for every tenant that is not named."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What may run at once, and what may begin a minute; None for no limit."""

    concurrency: int | None = None
    rate_per_minute: int | None = None
    burst: int = 1
    """How many may begin together, when none has begun for long enough."""


@dataclass(frozen=True, slots=True)
class ProviderLimits:
    """The limits of a provider, and how they are divided.

    A named tenant has its share of the sum of all shares. What is left for `*` is divided evenly among the
    partitions, and on each all tenants that are not named have that together: so the parts never come to more than
    the whole, although no partition knows what another lets go.
    """

    limits: Limits = field(default_factory=Limits)
    shares: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({ANY: 1}))
    """Tenant or `*` → share, a whole number from 0 on."""

    all_shares: int = field(init=False, compare=False, default=0)
    """The sum of all shares, added up once: each ask wants to know it, and there may be thousands."""

    def __post_init__(self) -> None:
        """Add the shares up."""
        object.__setattr__(self, "all_shares", sum(self.shares.values()))

    def part(self, tenant: str, whole: int) -> int:
        """Give what a tenant that is named has of a limit, rounded down; of `*`, what all partitions divide."""
        return whole * self.shares.get(tenant, 0) // max(1, self.all_shares)


@dataclass(frozen=True, slots=True)
class BatchWindow:
    """When the batch queue lets asks out: minutes of the tenant's local day, on some days of the week."""

    from_minute: int
    to_minute: int
    """At or before `from_minute`: it ends on the next day."""
    days: frozenset[int] = frozenset(range(1, 8))
    """1 (Monday) to 7 (Sunday), of the day on which it begins."""


@dataclass(frozen=True, slots=True)
class Batch:
    """When and at what price the batch queue lets asks out; without windows every `batch_window_s`."""

    windows: Mapping[str, tuple[BatchWindow, ...]] = field(default_factory=lambda: MappingProxyType({}))
    """Tenant or `*` → its windows."""
    price_percent: int | None = None
    """What is held for an ask that the batch queue lets out, of what would be held otherwise, where `models.yaml` says
    nothing else of its model. None: there is no batch price, for no model."""

    def of_tenant(self, tenant: str) -> tuple[BatchWindow, ...]:
        """Give the windows of a tenant; none where asks are let out at any time."""
        found = self.windows.get(tenant)
        return self.windows.get(ANY, ()) if found is None else found


_IMPACTS: Final = MappingProxyType({"none": 0, "low": 1, "medium": 2, "high": 3})


@dataclass(frozen=True, slots=True)
class Load:
    """All of it. Without the file nothing waits for room."""

    tenants: Mapping[str, Limits] = field(default_factory=lambda: MappingProxyType({}))
    """Tenant or `*` (each tenant that is not named, for itself) → its limits."""
    providers: Mapping[str, ProviderLimits] = field(default_factory=lambda: MappingProxyType({}))
    queue_max: int = 1_000
    """Asks of a tenant that wait for room at most; beyond it the least urgent is denied."""
    ageing_s: int = 60
    """Waiting so long counts as much as one level of priority."""
    impact_levels: Mapping[str, int] = field(default_factory=lambda: _IMPACTS)
    """Customer impact → levels that it adds to the priority."""
    batch: Batch = field(default_factory=Batch)

    @property
    def limited(self) -> bool:
        """Whether anything may have to wait: the hot path asks this first."""
        return bool(self.tenants or self.providers)

    def of_tenant(self, tenant: str) -> Limits | None:
        """Give the limits of a tenant, or None."""
        return self.tenants.get(tenant) or self.tenants.get(ANY)
