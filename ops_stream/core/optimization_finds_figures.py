"""What all ideas of what could be better reckon with: rates, prices and how far means may be off."""

from __future__ import annotations

from collections.abc import Mapping
from heapq import nlargest, nsmallest
from typing import Final

from ops_stream.core.comparing import Sample
from ops_stream.core.words import clip

SPREAD: Final = 1.0
"""The standard deviation of what asks cost and how long they take, for each that they cost or take on average. Rows
keep no squares. Costs and times are skewed: most lie well below twice the mean, and as an exponential distribution has
exactly 1.0 this is more than most have, so that confidence is rather too low than too high."""
MONTH_S: Final = 2_592_000
"""30 days."""
_LN2_MILLIONTHS: Final = 693_147
MOST: Final = 10**15
"""No figure is larger: it stays exact in JSON, and money beyond it is none."""
NAME_MAX: Final = 64
"""Characters of a name in what people read."""


def asks_in_30_days(decayed_milli: int, half_life_s: int) -> int:
    """Say how many asks 30 days bring, by a decayed count of them in thousandths.

    Where asks come at a steady rate r and count half after a half-life H, their decayed count comes to r · H ÷ ln 2
    (the sum dS/dt = r - S · ln 2 ÷ H stands still there), so that the rate is S · ln 2 ÷ H. As long as a tenant is
    younger than a few half-lives that is less than it will be.
    """
    return min(decayed_milli * _LN2_MILLIONTHS * MONTH_S // (1_000_000_000 * max(1, half_life_s)), MOST)


def spread_around(number: float, mean: float) -> Sample:
    """Describe costs or times of which only the mean is known."""
    deviation = SPREAD * mean
    return Sample(number, mean, deviation * deviation)


def whole(value: float) -> int:
    """Give a figure as a row keeps it."""
    return round(max(-float(MOST), min(float(MOST), value)))


def unit_of(mean: float) -> int:
    """Give the unit in which values are squared: a thousandth of the usual one."""
    return max(1, whole(mean) // 1_000)


def latest(keys: Mapping[str, int] | None, most: int) -> list[str]:
    """Give the keys that were used last, by name: the same ones whatever order they came in."""
    if not keys:
        return []
    if len(keys) <= most:
        return sorted(keys)
    return sorted(key for _, key in nlargest(most, ((used, key) for key, used in keys.items())))


def first(keys: Mapping[str, object] | None, most: int) -> list[str]:
    """Give the first keys by name."""
    return nsmallest(most, keys) if keys else []


def shown(name: str) -> str:
    """Give a name as people read it."""
    return clip(name, NAME_MAX)


def percent(part: float) -> str:
    """Write a share."""
    return f"{100 * part:.1f} %"
