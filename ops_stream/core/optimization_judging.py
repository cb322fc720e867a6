"""What a trial has shown: how much the changed side does better, and how sure that is, also of harm."""

from __future__ import annotations

from math import isfinite
from typing import Final, NamedTuple

from ops_stream.core.comparing import Difference, Sample, confidence_above, difference, sample, share
from ops_stream.core.rows_optimization import Arm, OptimizationRow
from ops_stream.core.rules_optimization import Optimization

DAYS_30_MS: Final = 30 * 86_400_000
SUM_MAX: Final = 10**15
"""No figure of a row is larger: it stays exact in JSON, and money beyond it is none."""
_TIMES: Final = frozenset(("timed", "taken_ms", "taken_units", "taken_squares"))
"""What is known only of those reports that tell how long it took."""


class Judged(NamedTuple):
    """What both sides say. The effect is what an ask saves, in micro-dollars or milliseconds."""

    samples: int
    effect: int
    low: int
    high: int
    confidence: int
    """That it is better, in hundredths."""
    harm: int
    """That it is worse, likewise."""


def judge(row: OptimizationRow, rules: Optimization) -> Judged:
    """Weigh the two sides of a change against one another."""
    if row.kind == "retry_plan":
        return _retries(row, rules)
    if row.kind == "hold_safety":
        return _holds(row)
    quality = difference(_quality(row.changed), _quality(row.kept))
    margin = rules.quality_margin_percent * 10.0
    worse = confidence_above(_turned(quality), margin)
    if row.kind == "agent":
        saved = difference(_cost(row.kept), _cost(row.changed))
        return _judged(row, saved, row.cost_unit, confidence_above(quality, 0.0), worse)
    as_good = confidence_above(quality, -margin)
    saved, kept = difference(_cost(row.kept), _cost(row.changed)), _cost(row.kept)
    least = kept.mean * rules.saving_min_percent / 100
    dearer = confidence_above(_turned(saved), least)
    if row.kind != "faster_model":
        return _judged(
            row, saved, row.cost_unit, min(as_good, confidence_above(saved, least)), max(worse, dearer)
        )
    faster, usual = difference(_time(row.kept), _time(row.changed)), _time(row.kept)
    wanted = usual.mean * rules.saving_min_percent / 100
    sure = min(as_good, confidence_above(faster, wanted), 100 - dearer)
    return _judged(
        row, faster, row.taken_unit, sure, max(worse, dearer, confidence_above(_turned(faster), wanted))
    )


def saving_30d(row: OptimizationRow, effect: int) -> int:
    """Give what an effect saves in 30 days at the pace at which asks come."""
    if row.kind == "faster_model" or effect <= 0:
        return 0
    return min(effect * row.asks_30d, SUM_MAX)


def asks_30d(row: OptimizationRow, now_ms: int) -> int:
    """Give how many asks 30 days bring: by those of its trial, else what was found of it.

    Once a change is in force its sides forget (`halved`), so that they do not tell how many there were.
    """
    if row.state != "trial":
        return row.asks_30d
    passed = max(now_ms - row.since, 3_600_000)
    return min((row.changed.asks + row.kept.asks) * DAYS_30_MS // passed, SUM_MAX) or row.asks_30d


def smaller_side(row: OptimizationRow) -> int:
    """Give how many reports there are to judge by: those of the side that has fewer."""
    if row.kind == "retry_plan":
        return row.kept.reports
    return min(row.changed.reports, row.kept.reports)


def halved(arm: Arm) -> Arm:
    """Give a side with half of its reports, so that what comes now soon counts for more than what was.

    All means stay as they are: a side on which all went well says so, also of an odd number of reports.
    """
    sums = {}
    for name in Arm.__struct_fields__:
        among = arm.timed if name in _TIMES else arm.reports
        sums[name] = getattr(arm, name) * (among // 2) // max(1, among)
    return Arm(**{**sums, "asks": arm.asks // 2})


def _judged(row: OptimizationRow, found: Difference, unit: int, confidence: int, harm: int) -> Judged:
    if not row.changed.reports or not row.kept.reports:
        return Judged(smaller_side(row), 0, 0, 0, 50, 50)
    if not isfinite(found.error):  # no report told how long it took: of that nothing is known, but of harm
        return Judged(smaller_side(row), 0, 0, 0, min(confidence, 50), harm)
    return Judged(
        smaller_side(row),
        round(found.value * unit),
        round(found.low * unit),
        round(found.high * unit),
        confidence,
        harm,
    )


def _retries(row: OptimizationRow, rules: Optimization) -> Judged:
    """Only the kept side makes the attempts in question: are they worth making? They are paid for by all its asks."""
    kept = row.kept
    if not kept.reports:
        return Judged(0, 0, 0, 0, 50, 50)
    went_well = share(kept.reports, kept.good)
    worth = rules.retry_worth_percent / 100
    found = difference(went_well, Sample(1, worth, 0))
    each = kept.reports / max(kept.asks, kept.reports)
    cost = _scaled(difference(_cost(kept), Sample(1, 0, 0)), each)
    return _judged_of(
        kept.reports, cost, row.cost_unit, confidence_above(_turned(found), 0.0), confidence_above(found, 0.0)
    )


def _holds(row: OptimizationRow) -> Judged:
    changed, kept = row.changed, row.kept
    if not changed.reports or not kept.reports:
        return Judged(0, 0, 0, 0, 50, 50)
    fewer = difference(share(kept.reports, kept.over), share(changed.reports, changed.over))
    mean = kept.overrun / kept.over if kept.over else 0.0
    scaled = _scaled(fewer, mean)
    sure = confidence_above(fewer, 0.0)
    return _judged_of(smaller_side(row), scaled, 1, sure, 100 - sure)


def _judged_of(samples: int, found: Difference, unit: int, confidence: int, harm: int) -> Judged:
    values = (round(value * unit) for value in (found.value, found.low, found.high))
    effect, low, high = values
    return Judged(samples, effect, low, high, confidence, harm)


def _scaled(found: Difference, factor: float) -> Difference:
    return Difference(found.value * factor, found.error * factor)


def _turned(found: Difference) -> Difference:
    return Difference(-found.value, found.error)


def _quality(arm: Arm) -> Sample:
    """In thousandths; with half a success and half a failure more, so that no side is without any spread."""
    one = sample(arm.reports + 1, arm.quality + 500, arm.quality_squares + 500_000)
    return one if arm.reports else Sample(0, 0, 0)


def _cost(arm: Arm) -> Sample:
    return sample(arm.reports, arm.cost_units, arm.cost_squares)


def _time(arm: Arm) -> Sample:
    return sample(arm.timed, arm.taken_units, arm.taken_squares)
