"""Counts how the asks of each side of an optimization went, as they end."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from ops_stream.contract.models import Telemetry
from ops_stream.contract.reasons import STOPPED_BY_PEOPLE, Reason
from ops_stream.core.draft import Draft
from ops_stream.core.optimization import grown
from ops_stream.core.rows import OPTIMIZATIONS, Ask, OptimizationRow
from ops_stream.core.rows_optimization import Arm

UNITS_MAX: Final = 20_000
"""What is more than twenty times the usual counts as that: one ask that ran away does not decide for all."""
CHANGED: Final = "+"


def admitted_on_sides(draft: Draft, ask: Ask) -> None:
    """Count that an ask which was let run is on its sides."""
    for key, row, changed in _rows(draft, ask):
        arm = row.changed if changed else row.kept
        arm = _with(arm, asks=arm.asks + 1)
        draft.put(key, replace(row, changed=arm) if changed else replace(row, kept=arm))


def ended_on_sides(draft: Draft, ask: Ask, event: Telemetry) -> None:
    """Count how an ask went by the report that ends it; `ask` is its row before, `event` what is believed of it."""
    if event.kind == "cancelled" or ask.answer.reason in STOPPED_BY_PEOPLE:
        return
    if ask.answer.reason == Reason.LEASE_EXPIRED:
        return  # it was counted when it was lost
    good = event.kind == "completed" and event.success is not False
    score = event.quality_score if good else 0
    quality = (1_000 if good else 0) if score is None else round(score * 1_000)
    latency = None if event.latency_ms is None else round(event.latency_ms)
    cost = event.cost_micros if event.cost_micros is not None else ask.held or 0
    _count(draft, ask, good, cost, latency, quality)


def lost_on_sides(draft: Draft, ask: Ask) -> None:
    """Count an ask that was taken from its agent, which did not report: it failed, and cost what was held."""
    _count(draft, ask, False, ask.held or 0, None, 0)


def _count(draft: Draft, ask: Ask, good: bool, cost: int, latency: int | None, quality: int) -> None:
    for key, row, changed in _rows(draft, ask):
        if row.kind == "retry_plan" and ask.retry_count < int(row.after):
            continue  # only what would not be tried any more says anything
        arm = row.changed if changed else row.kept
        arm = _plus(row, arm, ask, good, cost, latency, quality)
        grown(draft, key, replace(row, changed=arm) if changed else replace(row, kept=arm))


def _rows(draft: Draft, ask: Ask) -> list[tuple[str, OptimizationRow, bool]]:
    found = []
    for side in ask.arms:
        key = f"optimization/{ask.tenant}|{side[:-1]}"
        row = draft.get(OPTIMIZATIONS, key)
        if row is not None and row.state in ("trial", "applied"):
            found.append((key, row, side[-1] == CHANGED))
    return found


def _plus(
    row: OptimizationRow, arm: Arm, ask: Ask, good: bool, cost: int, latency: int | None, quality: int
) -> Arm:
    spent = min(cost // row.cost_unit, UNITS_MAX)
    taken = 0 if latency is None else min(latency // row.taken_unit, UNITS_MAX)
    over = max(0, cost - ask.held) if ask.held is not None else 0
    return _with(
        arm,
        reports=arm.reports + 1,
        good=arm.good + good,
        cost=arm.cost + cost,
        cost_units=arm.cost_units + spent,
        cost_squares=arm.cost_squares + spent * spent,
        timed=arm.timed + (latency is not None),
        taken_ms=arm.taken_ms + (latency or 0),
        taken_units=arm.taken_units + taken,
        taken_squares=arm.taken_squares + taken * taken,
        quality=arm.quality + quality,
        quality_squares=arm.quality_squares + quality * quality,
        over=arm.over + (over > 0),
        overrun=arm.overrun + over,
    )


def _with(arm: Arm, **fields: int) -> Arm:
    return replace(arm, **fields)
