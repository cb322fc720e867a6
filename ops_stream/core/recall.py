"""What is read from what was learned: pure functions over rows, for routing, for the command line and for tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from operator import add as sum_of
from typing import Final, Literal, get_args

from msgspec.structs import astuple

from ops_stream.core.decay import decayed, steps_between
from ops_stream.core.draft import Draft
from ops_stream.core.rows import LEARNED, PASTS, PERIODS
from ops_stream.core.rows_learning import (
    DAY_MS,
    DAYS,
    HOUR_MS,
    HOURS,
    NO_STATS,
    THOUSAND,
    Counts,
    Learned,
    Past,
    Stats,
    day_key,
    hour_key,
    key_of,
)
from ops_stream.core.sketch import decay, merge, quantile, scaled

Window = Literal["1h", "1d", "7d", "decayed", "all"]
WINDOWS: Final[tuple[Window, ...]] = get_args(Window)
SUM_MAX: Final = 2**62
"""No sum grows beyond that: JSON holds it, here and elsewhere."""


# How parts are put together


def plus(one: Counts, other: Counts) -> Counts:
    """Add counts up."""
    sums = list(map(sum_of, astuple(one), astuple(other)))
    return Counts(*sums) if max(sums) <= SUM_MAX else Counts(*[min(value, SUM_MAX) for value in sums])


def together(one: Stats, other: Stats) -> Stats:
    """Add up what two parts say."""
    return Stats(plus(one.counts, other.counts), merge(one.latency, other.latency))


def faded(stats: Stats) -> Stats:
    """Give what happened of late as a part of what decays: each thing counts a thousand."""
    counts = Counts(*[min(value * THOUSAND, SUM_MAX) for value in astuple(stats.counts)])
    return Stats(counts, scaled(stats.latency, THOUSAND))


def decay_stats(stats: Stats, then_ms: int, now_ms: int, half_life_s: int) -> Stats:
    """Give what is left of stats after a while."""
    steps = steps_between(then_ms, now_ms, half_life_s)
    if not steps:
        return stats
    counts = Counts(*[decayed(value, steps) for value in astuple(stats.counts)])
    return Stats(counts, decay(stats.latency, steps))


# What they say


@dataclass(frozen=True, slots=True)
class Figures:
    """What a window says. Counts are numbers of asks; where they are decayed, parts of an ask count too."""

    stats: Stats
    weight: int = 1
    """What one ask counts in `stats`."""

    @property
    def runs(self) -> float:
        """Asks that ended well or not: what the success rate is a share of."""
        return self._runs / self.weight

    @property
    def success(self) -> float | None:
        """The share of runs that went well."""
        return self._mean(self.stats.counts.good, self._runs)

    @property
    def cost_per_success_micros(self) -> float | None:
        """What is spent for each run that goes well; reports without a cost are taken for as dear as the others."""
        counts = self.stats.counts
        reports = counts.good + counts.failed + counts.cancelled
        return (
            counts.cost / counts.good * (reports / counts.costed) if counts.good and counts.costed else None
        )

    @property
    def cost_micros(self) -> float | None:
        """The mean cost of a report that tells one."""
        return self._mean(self.stats.counts.cost, self.stats.counts.costed)

    @property
    def quality(self) -> float | None:
        """The mean quality score, 0 to 1: where both decay, the sum loses less to rounding than the number does."""
        mean = self._mean(self.stats.counts.quality_milli, THOUSAND * self.stats.counts.rated)
        return None if mean is None else min(1.0, mean)

    @property
    def latency_ms(self) -> float | None:
        """The mean latency."""
        return self._mean(self.stats.counts.taken_ms, self.stats.counts.timed)

    def latency(self, per_mille: int) -> int | None:
        """Give the latency in ms that so many of a thousand do not exceed, within 1/32."""
        return quantile(self.stats.latency, per_mille)

    def count(self, name: str) -> float:
        """Give one of the counts by its name."""
        value: int = getattr(self.stats.counts, name)
        return value / self.weight

    @property
    def lost(self) -> float:
        """Leases that ended without a report, and of which none came later."""
        return self._lost / self.weight

    @property
    def _lost(self) -> int:
        return max(0, self.stats.counts.lost - self.stats.counts.found)

    @property
    def _runs(self) -> int:
        return self.stats.counts.good + self.stats.counts.failed + self._lost

    @staticmethod
    def _mean(total: int, count: int) -> float | None:
        return total / count if count else None


def stats_over(rows: Mapping[str, bytes], key: str, window: Window, now_ms: int, half_life_s: int) -> Figures:
    """Give what a key (`rows_learning.key_of`) did over a window that ends now.

    Windows begin with an hour or, that of 7 days, with a day, at or before the moment that they say.
    """
    raw, past_raw = rows.get(f"learned/{key}"), rows.get(f"past/{key}")
    present = None if raw is None else LEARNED.decode(raw)
    if window in ("decayed", "all"):
        past = None if past_raw is None else PASTS.decode(past_raw)
        return _ever(present, past, window == "decayed", now_ms, half_life_s)
    if window == "7d":
        first, length = now_ms // DAY_MS - (DAYS - 1), DAY_MS
    else:
        first, length = now_ms // HOUR_MS - (1 if window == "1h" else HOURS), HOUR_MS
    stats = NO_STATS
    for number in range(first, now_ms // length + 1):
        raw = rows.get(day_key(key, number) if length == DAY_MS else hour_key(key, number))
        period = None if raw is None else PERIODS.decode(raw)
        if period is not None and period.number == number:
            stats = together(stats, period.stats)
    if present is not None and present.used // length >= first:
        stats = together(stats, present.stats)
    return Figures(stats)


def look(draft: Draft, tenant: str, agent: str, task_type: str, model: str) -> Figures | None:
    """Give what an agent did of late at a type of work with a model, decayed; None where nothing is known.

    It reads two rows, and is meant for every ask that has a choice.
    """
    key = key_of(tenant, agent, task_type, model)
    present = draft.get(LEARNED, f"learned/{key}")
    if present is None:
        return None
    past = draft.get(PASTS, f"past/{key}")
    return _ever(present, past, True, draft.now, draft.rules.telemetry.memory.half_life_s)


def _ever(present: Learned | None, past: Past | None, fades: bool, now_ms: int, half_life_s: int) -> Figures:
    """Give all that a key ever did, in full or decayed."""
    past = past or Past(0)
    if not fades:
        return Figures(past.total if present is None else together(past.total, present.stats))
    stats = decay_stats(past.decayed, past.hour * HOUR_MS, now_ms, half_life_s)
    if present is not None:
        hour_ms = present.used // HOUR_MS * HOUR_MS
        stats = together(stats, decay_stats(faded(present.stats), hour_ms, now_ms, half_life_s))
    return Figures(stats, THOUSAND)
