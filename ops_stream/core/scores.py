"""Scores of an agent, each from 0 to 1, with how much is behind it and how sure it is (`docs/rankings.md`).

All are over decayed counts (`Lately`), and begin with some imagined reports that say `prior_percent`: a new agent
stands where an agent stands that does as its peers do, and not at the bottom.

- `reliability`: what ended well among all that it was trusted with. Violations `no_report` and `unpermitted_run` are
  failures.
- `quality`: the mean of the `quality_score` that its reports give.
- `cost_efficiency`: its successes against what it spent for them, where 1 of a cost is what its peers spend for a
  success of that task type: `p * cheap / (p * cheap + (1 - p) * cost)`, `p` being the prior. Who spends as its peers
  do is at the prior. A success that broke its hold is none.
- `speed`: the same with time.

The interval is Wilson's at 95 %, over the reports and the imagined ones. Only `+ - * /`, `sqrt` and `round` are used,
which come out alike on every machine, and no `sum` of floats, which does not on every Python.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from typing import Final, NamedTuple

from ops_stream.core.decay import decayed, steps_between
from ops_stream.core.rows import Lately, Record
from ops_stream.core.rules_model import Rules
from ops_stream.core.rules_telemetry import Memory

NAMES: Final = ("cost_efficiency", "reliability", "quality", "speed")
ONE: Final = 1000
"""One report, in the units of `Lately`."""
CARRIED_MAX: Final = 20
"""How many reports a record from before there was a `Lately` begins with, at most: nobody knows how old they are."""
_PLACES: Final = 6
_Z: Final = 1.959963984540054
"""Between minus and plus this many standard deviations lie 95 % of a normal distribution."""
_ZZ: Final = _Z * _Z


class Scored(NamedTuple):
    """One score: what it is, how many reports are behind it as they count now, and its interval at 95 %."""

    value: float
    samples: float
    low: float
    high: float


def scores(record: Record | None, rules: Rules, now_ms: int) -> Mapping[str, Scored]:
    """Give all four scores of a registered agent, as of a moment; none of one without a record."""
    return scores_by(record, rules.telemetry.memory, now_ms)


def scores_by(record: Record | None, memory: Memory, now_ms: int) -> Mapping[str, Scored]:
    """Give the scores where only that part of the rules is at hand."""
    if record is None:
        return {}
    lately = faded(lately_of(record), now_ms, memory.half_life_s)
    samples = (lately.priced, lately.tried, lately.rated, lately.timed)
    weight = memory.prior_weight * ONE
    found = zip(NAMES, _values(lately, memory), samples, strict=True)
    return {name: _scored(value, behind, behind + weight) for name, value, behind in found}


def values(record: Record | None, rules: Rules, now_ms: int) -> dict[str, float]:
    """Give the scores alone, as policies and AgentStatus show them."""
    return {name: scored.value for name, scored in scores(record, rules, now_ms).items()}


def overall(record: Record, memory: Memory, now_ms: int) -> float:
    """Give the mean of an agent's four scores, by which agents are ranked."""
    lately = faded(lately_of(record), now_ms, memory.half_life_s)
    cost, reliability, quality, speed = _values(lately, memory)
    return round((cost + reliability + quality + speed) / 4, _PLACES)


def prior_of(memory: Memory) -> float:
    """Give what a new agent's scores are; never 0 or 1, at which nothing could be compared with it."""
    return min(99, max(1, memory.prior_percent)) / 100


def faded(lately: Lately, now_ms: int, half_life_s: int) -> Lately:
    """Give what is left of the counts at a moment. Where one is part of another it stays so."""
    steps = steps_between(lately.at, now_ms, half_life_s)
    if not steps:  # the steps are the same for all, whenever one of them began
        return lately
    return Lately(now_ms, *(decayed(count, steps) for count in _counts(lately)))


def lately_of(record: Record) -> Lately:
    """Give an agent's counts. A record older than they are begins with what its whole past says, scaled down."""
    if record.lately is not None:
        return record.lately
    ended = record.done + record.failed
    tried = ended + record.broken
    if not tried:
        return Lately(record.seen_at)
    kept = min(tried, CARRIED_MAX) * ONE
    ran, done = kept * ended // tried, kept * record.done // tried
    rated = min(record.quality_count, CARRIED_MAX) * ONE
    quality = (
        0
        if not rated
        else rated * min(1000 * record.quality_count, record.quality_milli) // (1000 * record.quality_count)
    )
    cheap = max(0, done - kept * record.dear // tried)
    quick = max(0, done - kept * record.late // tried)
    return Lately(record.seen_at, kept, done, rated, quality, ran, cheap, ran, ran, quick, ran)


def _counts(lately: Lately) -> tuple[int, ...]:
    return (
        lately.tried,
        lately.good,
        lately.rated,
        lately.quality,
        lately.priced,
        lately.cheap,
        lately.cost,
        lately.timed,
        lately.quick,
        lately.took,
    )


def _values(lately: Lately, memory: Memory) -> tuple[float, float, float, float]:
    """Give the scores in the order of `NAMES`."""
    prior, weight = prior_of(memory), memory.prior_weight * ONE
    return (
        _relative(lately.cheap + weight, lately.cost + weight, prior),
        _share(lately.good, lately.tried, prior, weight),
        _share(lately.quality, lately.rated, prior, weight),
        _relative(lately.quick + weight, lately.took + weight, prior),
    )


def _share(good: int, tried: int, prior: float, weight: int) -> float:
    whole = tried + weight
    return round((good + prior * weight) / whole, _PLACES) if whole else prior


def _relative(won: int, spent: int, prior: float) -> float:
    gain, loss = prior * won, (1 - prior) * spent
    return round(gain / (gain + loss), _PLACES) if gain or loss else prior


def _scored(value: float, samples: int, whole: int) -> Scored:
    """Add Wilson's interval; `samples` and `whole` are in thousandths."""
    if not whole:
        return Scored(value, 0.0, 0.0, 1.0)
    n = whole / ONE
    centre = value + _ZZ / (2 * n)
    spread = _Z * sqrt(value * (1 - value) / n + _ZZ / (4 * n * n))
    low = round(max(0.0, (centre - spread) / (1 + _ZZ / n)), _PLACES)
    high = round(min(1.0, (centre + spread) / (1 + _ZZ / n)), _PLACES)
    return Scored(value, samples / ONE, min(low, value), max(high, value))
