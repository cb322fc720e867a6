"""What may be spent, and whose days begin when: the part of the rules that budgets go by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal, Protocol

EVERY: Final = "*"
"""Stands for every tenant or every target."""

Level = Literal["tenant", "workflow", "agent", "task", "model"]
Unit = Literal["usd", "tokens", "requests", "concurrent"]
WindowKind = Literal["task", "hour", "day", "week", "month", "total"]

LEVELS: Final[tuple[Level, ...]] = ("tenant", "workflow", "agent", "task", "model")
"""From the root of the tree down; a model stands beside it."""
UNITS: Final[tuple[Unit, ...]] = ("usd", "tokens", "requests", "concurrent")
WINDOWS: Final[tuple[WindowKind, ...]] = ("task", "hour", "day", "week", "month", "total")
LENGTH: Final[Mapping[WindowKind, int]] = MappingProxyType(
    {"hour": 1, "day": 2, "week": 3, "month": 4, "total": 5, "task": 5}
)
"""Which window is the longer one; a task's own window has no end, as the total."""


class Zone(Protocol):
    """A time zone."""

    def offset_ms(self, now_ms: int) -> int:
        """Give what is to be added to UTC at a moment, in milliseconds. Pure: the same for ever."""
        ...


@dataclass(frozen=True, slots=True)
class Limit:
    """An amount that may be held, unknown and spent within one window.

    Micro-dollars, or a number of tokens, requests or running asks. `alert_at` are percentages.
    """

    limit_micros: int
    window: WindowKind
    alert_at: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Bound:
    """What binds one scope in one unit and window: a hard limit, a soft one that only alerts, or both."""

    unit: Unit
    window: WindowKind
    hard: Limit | None = None
    soft: Limit | None = None


Bounds = Mapping[Level, Mapping[str, tuple[Bound, ...]]]
"""Level → target or `*` → what binds it. A target's own entry holds everything that binds it."""
_NONE: Final[Bounds] = MappingProxyType({})
_NOTHING: Final[Mapping[str, tuple[Bound, ...]]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Budgets:
    """The limits, looked up by tenant; those of `*` serve every tenant without an entry of its own.

    `tenants` and `tasks` hold the main one: hard, in dollars, of the longest window. `more` holds all others, and
    everything of a task that has limits by name. An entry of a tenant holds what it takes over from `*` as well.
    """

    tenants: Mapping[str, Limit] = field(default_factory=lambda: MappingProxyType({}))
    tasks: Mapping[str, Limit] = field(default_factory=lambda: MappingProxyType({}))
    more: Mapping[str, Bounds] = field(default_factory=lambda: MappingProxyType({}))
    alerts: bool = False
    """Whether any limit alerts at thresholds."""

    def tenant_limit(self, tenant: str) -> Limit | None:
        """Give the main limit of a tenant, or None where there is none."""
        return self.tenants.get(tenant) or self.tenants.get(EVERY)

    def task_limit(self, tenant: str, task_id: str = EVERY) -> Limit | None:
        """Give the main limit of a task, or None where there is none."""
        if self.more:
            named = self.of(tenant).get("task", _NOTHING).get(task_id) if task_id != EVERY else None
            if named is not None:
                return main_of(named)
        return self.tasks.get(tenant) or self.tasks.get(EVERY)

    def of(self, tenant: str) -> Bounds:
        """Give what binds a tenant's scopes beside its main limits."""
        return self.more.get(tenant) or self.more.get(EVERY, _NONE)

    def bounds(self, tenant: str, level: Level, name: str) -> tuple[Bound, ...]:
        """Give what binds one scope, main limits left out but for a task by name."""
        by_target = self.of(tenant).get(level, _NOTHING)
        return by_target.get(name) or by_target.get(EVERY, ())


def main_of(bounds: tuple[Bound, ...]) -> Limit | None:
    """Give the hard limit in dollars with the longest window."""
    hard = [bound.hard for bound in bounds if bound.unit == "usd" and bound.hard is not None]
    return max(hard, key=lambda limit: LENGTH[limit.window], default=None)
