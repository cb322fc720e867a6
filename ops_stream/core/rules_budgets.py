"""What may be spent, and whose days begin when: the part of the rules that budgets go by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


Key = tuple[Level, str, str]
"""Level, tenant (or `*`) and target (or `*`; always `*` for a tenant's own)."""


@dataclass(frozen=True, slots=True)
class Budgets:
    """The limits, looked up by tenant; those of `*` serve every tenant without an entry of its own.

    `tenants` and `tasks` hold the main one of each tenant: hard, in dollars, of the longest window. Where there is
    anything beside them, `more` holds everything, as it was written down.
    """

    tenants: Mapping[str, Limit] = field(default_factory=lambda: MappingProxyType({}))
    tasks: Mapping[str, Limit] = field(default_factory=lambda: MappingProxyType({}))
    more: Mapping[Key, tuple[Bound, ...]] = field(default_factory=lambda: MappingProxyType({}))
    alerts: bool = False
    """Whether any limit alerts at thresholds."""
    memo: dict[Key, tuple[tuple[Bound, ...], ...]] = field(
        default_factory=dict, init=False, compare=False, repr=False
    )
    """What was worked out from the rest before: a cache, nothing that a decision could depend on."""

    def tenant_limit(self, tenant: str) -> Limit | None:
        """Give the main limit of a tenant, or None where there is none."""
        return self.tenants.get(tenant) or self.tenants.get(EVERY)

    def task_limit(self, tenant: str) -> Limit | None:
        """Give the main limit of each task of a tenant, or None where there is none."""
        return self.tasks.get(tenant) or self.tasks.get(EVERY)

    def bounds(self, tenant: str, level: Level, name: str) -> list[Bound]:
        """Give what binds one scope (`*`: each of a tenant's).

        Of each unit, window and kind the most specific one holds, one by name before one for a tenant.
        """
        found: dict[tuple[Unit, int], Bound] = {}
        main = {"tenant": self.tenant_limit, "task": self.task_limit}.get(level)
        if not self.more:
            limit = main(tenant) if main is not None else None
            return [] if limit is None else [Bound("usd", limit.window, limit)]
        names = (EVERY,) if level == "tenant" or name == EVERY else (name, EVERY)
        for target in names:
            for owner in (tenant, EVERY):
                for one in self.more.get((level, owner, target), ()):
                    slot = (one.unit, LENGTH[one.window])
                    known = found.get(slot)
                    found[slot] = one if known is None else _filled(known, one)
        return list(found.values())


def _filled(known: Bound, other: Bound) -> Bound:
    hard = other.hard if known.hard is None else known.hard
    return Bound(known.unit, known.window, hard, known.soft or other.soft)


def main_of(bounds: Sequence[Bound]) -> Limit | None:
    """Give the hard limit in dollars with the longest window."""
    hard = [bound.hard for bound in bounds if bound.unit == "usd" and bound.hard is not None]
    return max(hard, key=lambda limit: LENGTH[limit.window], default=None)
