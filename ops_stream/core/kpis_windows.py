"""Windows of an hour and of a day: their figures are told once in a while, and once more when the window is over.

The day is the sum of its hours: each is added when it is over, so that an event writes one row. What follows is done
in the order in which it is due: an hour ends before its day does, and both before those after them.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from msgspec.structs import replace

from ops_stream.contract.clocktext import format_time
from ops_stream.contract.money import usd
from ops_stream.core.draft import Draft
from ops_stream.core.ids import derived_id, short_hash
from ops_stream.core.rows import TALLIES, Tally

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 86_400_000
COST: Final = 1
SUCCESS: Final = 2
MENDED: Final = 4
ANSWERED: Final = 8
ESCALATED: Final = 16
KPIS: Final[tuple[tuple[str, int, str, str], ...]] = (
    ("cost_per_completed_objective_usd", COST, "spent", "objectives"),
    ("success_rate", SUCCESS, "good", "ended"),
    ("mean_time_to_resolution_failures_s", MENDED, "mended_ms", "mended"),
    ("mean_time_to_resolution_escalations_s", ANSWERED, "answered_ms", "answered"),
    ("human_escalation_rate", ESCALATED, "escalated", "asked"),
)
"""Name, bit, numerator and denominator."""
COUNTS: Final = (
    "spent",
    "objectives",
    "good",
    "ended",
    "mended",
    "mended_ms",
    "answered",
    "answered_ms",
    "escalated",
    "asked",
)
STEADY: Final = 20
"""A figure that has changed by no more than a twentieth (5 %) is steady."""
WORKFLOW_SLOTS: Final = 1_024
DAY_SLOTS: Final = 8
"""Days of workflows and agents that can be read."""
EMPTY: Final = Tally(0)

Trend = Literal["rising", "falling", "steady"]


def next_telling(draft: Draft, end_ms: int) -> int:
    """Say when a figure that changes now is told: after a while, and at the latest when its window is over."""
    return min(draft.now + max(1, draft.rules.telemetry.kpis.publish_every_s) * 1000, end_ms)


def tally_due(draft: Draft, key: str) -> None:
    """Tell the figures of a window, end it, or forget it when the one after it is over too."""
    row = draft.get(TALLIES, key)
    if row is None:
        return
    tenant, window, *flow = key.removeprefix(TALLIES.prefix).split("|")
    number = int(window[1:])
    if row.closed:
        after = draft.get(TALLIES, "|".join((f"tally/{tenant}", f"{window[0]}{number + 1}", *flow)))
        if after is None or after.closed:  # else a day that this Tick has added to: the next one closes it
            draft.delete(key)
        return
    if flow:
        _workflow_due(draft, key, row, tenant, number, flow[0])
    elif window[0] == "d":
        _tell(draft, tenant, DAY_MS, number, row, _ALL, closed=True)
        draft.put(key, replace(row, closed=True, until=(number + 2) * DAY_MS + 2))
    else:
        _hour_due(draft, key, row, tenant, number)


def trend_of(numerator: int, denominator: int, numerator_before: int, denominator_before: int) -> Trend:
    """Compare two figures: exact, and the same on every machine. Neither denominator may be 0."""
    now, then = numerator * denominator_before, numerator_before * denominator
    if STEADY * abs(now - then) <= then:
        return "steady"
    return "rising" if now > then else "falling"


def _hour_due(draft: Draft, key: str, row: Tally, tenant: str, number: int) -> None:
    over = draft.now >= (number + 1) * HOUR_MS
    _tell(draft, tenant, HOUR_MS, number, row, _ALL if over else row.news, closed=over)
    day = number * HOUR_MS // DAY_MS
    day_key = f"tally/{tenant}|d{day}"
    whole = _added(draft.get(TALLIES, day_key) or EMPTY, row)
    if draft.now < (day + 1) * DAY_MS:
        _tell(draft, tenant, DAY_MS, day, whole, row.news, closed=False)
    if not over:
        draft.put(key, replace(row, news=0, until=(number + 1) * HOUR_MS))
        return
    # A millisecond after the last hour, which is to be in it.
    draft.put(day_key, replace(whole, until=(day + 1) * DAY_MS + 1))
    draft.put(key, replace(row, news=0, closed=True, until=(number + 2) * HOUR_MS + 1))


def _workflow_due(draft: Draft, key: str, row: Tally, tenant: str, number: int, workflow: str) -> None:
    end = (number + 1) * DAY_MS
    over = draft.now >= end
    before = draft.get(TALLIES, f"tally/{tenant}|d{number - 1}|{workflow}")
    slot = f"w/{short_hash(workflow) % WORKFLOW_SLOTS}/{number % DAY_SLOTS}"
    scope = f"workflow/{tenant}/{workflow}"
    _emit(draft, tenant, 1, scope, DAY_MS, number, slot, row, before, closed=over)
    draft.put(key, replace(row, news=0, closed=over, until=end + DAY_MS + 1 if over else end))


def _added(whole: Tally, hour: Tally) -> Tally:
    return replace(whole, **{name: getattr(whole, name) + getattr(hour, name) for name in COUNTS})


_ALL: Final = COST | SUCCESS | MENDED | ANSWERED | ESCALATED


def _tell(
    draft: Draft, tenant: str, length: int, number: int, row: Tally, which: int, *, closed: bool
) -> None:
    """Tell those figures of a window of a tenant that are asked for and that anything was counted for."""
    kept = draft.rules.telemetry.kpis
    hourly = length == HOUR_MS
    slot = str(number % max(2, kept.hours_kept if hourly else kept.days_kept))
    before = draft.get(TALLIES, f"tally/{tenant}|{'h' if hourly else 'd'}{number - 1}")
    for index, (_, bit, numerator, denominator) in enumerate(KPIS):
        if which & bit and (getattr(row, numerator) or getattr(row, denominator)):
            _emit(draft, tenant, index, f"tenant/{tenant}", length, number, slot, row, before, closed=closed)


def _emit(
    draft: Draft,
    tenant: str,
    index: int,
    scope: str,
    length: int,
    number: int,
    slot: str,
    row: Tally,
    before: Tally | None,
    *,
    closed: bool,
) -> None:
    kpi, _, numerator, denominator = KPIS[index]
    top, bottom = getattr(row, numerator), getattr(row, denominator)
    figure: dict[str, Any] = {
        "numerator": _told(numerator, top),
        "denominator": bottom,
        "samples": bottom,
    }
    if bottom:
        figure["value"] = _value(numerator, top, bottom)
    then = 0 if before is None else getattr(before, denominator)
    if before is not None and then:
        figure["previous"] = _value(numerator, getattr(before, numerator), then)
        if bottom:
            figure["trend"] = trend_of(top, bottom, getattr(before, numerator), then)
    emit_kpi(draft, tenant, kpi, scope, length, number, slot, figure, closed=closed)


def emit_kpi(
    draft: Draft,
    tenant: str,
    kpi: str,
    scope: str,
    length: int,
    number: int,
    slot: str,
    figure: dict[str, Any],
    *,
    closed: bool,
) -> None:
    """Tell a figure. Its key names a slot and not a window: the topic keeps the last of every key for ever."""
    value: dict[str, Any] = {
        "kpi": kpi,
        "scope": scope,
        "tenant": tenant,
        "window_start": format_time(number * length),
        "window_s": length // 1000,
        **figure,
    }
    if closed:
        value["closed"] = True
    id_ = derived_id("kpi_", kpi, scope, length, number, draft.now)
    draft.emit("kpis", f"{tenant}/{kpi}/{length // 1000}/{slot}", "Kpi", id_, value, subject=scope)


def _told(numerator: str, amount: int) -> int | float:
    """Write a numerator in the unit of its figure: dollars, seconds or a count."""
    if numerator == "spent":
        return usd(amount)
    return amount / 1000 if numerator.endswith("_ms") else amount


def _value(numerator: str, top: int, bottom: int) -> float:
    scale = 1_000_000 if numerator == "spent" else 1000 if numerator.endswith("_ms") else 1
    return round(top / (scale * bottom), 6)
