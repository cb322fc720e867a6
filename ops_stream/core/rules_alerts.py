"""How alerts are told: the rules of `conf/alerts.yaml`. Without the file each is told as it comes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

ANY: Final = "*"
DAY_MINUTES: Final = 24 * 60
EVERY_DAY: Final = frozenset(range(7))


@dataclass(frozen=True, slots=True)
class Silence:
    """Alerts that are counted and not told for a while."""

    name: str
    tenant: str = ANY
    kinds: frozenset[str] = frozenset()
    """The kinds that it is for; none named means all."""
    severities: frozenset[str] = frozenset(("info", "warning"))
    """A critical alert is silenced only where the file names it."""
    from_ms: int = 0
    """The window's begin, inclusive; 0 for ever."""
    until_ms: int = 0
    """The window's end, exclusive; 0 for no end."""
    daily: tuple[int, int] | None = None
    """Minutes of the tenant's day (begin, end) in which it holds; past midnight where the end is lower."""
    weekdays: frozenset[int] = EVERY_DAY
    """0 is Monday. A window past midnight belongs to the day on which it begins."""


@dataclass(frozen=True, slots=True)
class Alerts:
    """How alerts are told. With everything 0 each one is told as it comes, and nothing of it is kept."""

    repeat_s: int = 0
    """The same alert (by its dedupe key) is told once in this time, the next one with the count."""
    group_s: int = 0
    """After one alert of a kind and tenant, others of that kind wait so long and are told as one."""
    resolve_after_s: int = 0
    """An alert without an end of its own is resolved when it did not come again for so long; 0 for never."""
    silences: tuple[Silence, ...] = ()

    @property
    def kept(self) -> bool:
        """Whether firing alerts are remembered at all, which everything here needs."""
        return bool(self.repeat_s or self.group_s or self.resolve_after_s or self.silences)
