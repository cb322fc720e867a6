"""Hours, days, weeks and months in a tenant's time zone, by arithmetic alone.

A window's name is that of its local time: `2026-11-24T13` (with the offset behind it where that is not UTC's),
`2026-11-24`, `2026-W48`, `2026-11`, and nothing for what has no end.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from ops_stream.contract.clocktext import format_time
from ops_stream.core.rules_budgets import WindowKind, Zone

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
_LONGEST_MS: Final[dict[WindowKind, int]] = {
    "hour": 2 * HOUR_MS,
    "day": 50 * HOUR_MS,
    "week": 9 * DAY_MS,
    "month": 33 * DAY_MS,
}
"""More than a window of the kind ever lasts, clock changes included."""


def local(now_ms: int, zone: Zone | None = None) -> int:
    """Give a moment as the clocks of a zone show it, counted as if they showed UTC."""
    return now_ms if zone is None else now_ms + zone.offset_ms(now_ms)


def hour(now_ms: int, zone: Zone | None = None) -> int:
    """Give the hour of the day, 0 to 23."""
    return local(now_ms, zone) % DAY_MS // HOUR_MS


def weekday(now_ms: int, zone: Zone | None = None) -> int:
    """Give the day of the week, 1 (Monday) to 7 (Sunday)."""
    return (local(now_ms, zone) // DAY_MS + 3) % 7 + 1  # the first of January 1970 was a Thursday


def window_of(kind: WindowKind, now_ms: int, zone: Zone | None = None) -> str:
    """Name the window that a moment falls in; nothing where it has no end."""
    if kind in ("total", "task"):
        return ""
    offset = 0 if zone is None else zone.offset_ms(now_ms)
    there = now_ms + offset
    day = there // DAY_MS
    if kind == "month":
        return _day(day)[:-3]
    if kind == "day":
        return _day(day)
    if kind == "week":
        return _week(day)
    # An hour that the clocks show twice is two windows: the offset tells them apart.
    return f"{_day(day)}T{there % DAY_MS // HOUR_MS:02d}{_signed(offset)}"


def window_end(kind: WindowKind, now_ms: int, zone: Zone | None = None) -> int:
    """Give the moment at which the window of `now_ms` is over; 0 where it has no end."""
    if kind in ("total", "task"):
        return 0
    name = window_of(kind, now_ms, zone)
    last, over = now_ms, now_ms + _LONGEST_MS[kind]
    while over - last > 1:
        middle = (last + over) // 2
        if window_of(kind, middle, zone) == name:
            last = middle
        else:
            over = middle
    return over


def window_start(kind: WindowKind, now_ms: int, zone: Zone | None = None) -> int:
    """Give the moment at which the window of `now_ms` began; 0 where it has no beginning."""
    if kind in ("total", "task"):
        return 0
    name = window_of(kind, now_ms, zone)
    before, first = now_ms - _LONGEST_MS[kind], now_ms
    while first - before > 1:
        middle = (first + before) // 2
        if window_of(kind, middle, zone) == name:
            first = middle
        else:
            before = middle
    return first


def kind_of(window: str) -> WindowKind:
    """Say of which kind a window of that name is."""
    name = window.partition("~")[0]
    if not name:
        return "total"
    if "W" in name:
        return "week"
    return "month" if len(name) == 7 else "day" if len(name) == 10 else "hour"


def stamp(now_ms: int) -> str:
    """Write a moment as `clocktext.format_time` does; a second is only worked out once."""
    second, millis = divmod(now_ms, 1000)
    return f"{_second(second)}.{millis:03d}Z"


@lru_cache(maxsize=1024)
def _second(second: int) -> str:
    return format_time(second * 1000)[:-5]


@lru_cache(maxsize=64)
def _day(day: int) -> str:
    """Write a day, counted from 1970, as a date (Howard Hinnant's civil_from_days)."""
    shifted = day + 719_468
    era, of_era = divmod(shifted, 146_097)
    year_of_era = (of_era - of_era // 1_460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    month_from_march = (5 * of_year + 2) // 153
    day_of_month = of_year - (153 * month_from_march + 2) // 5 + 1
    month = month_from_march + 3 if month_from_march < 10 else month_from_march - 9
    year = era * 400 + year_of_era + (month <= 2)
    return f"{year:04d}-{month:02d}-{day_of_month:02d}"


@lru_cache(maxsize=64)
def _week(day: int) -> str:
    """Write the week of a day as ISO 8601 does: it belongs to the year of its Thursday."""
    thursday = day - (day + 3) % 7 + 3
    year = _day(thursday)[:-6]
    first = thursday
    while _day(first - 7)[:-6] == year:
        first -= 7
    return f"{year}-W{(thursday - first) // 7 + 1:02d}"


@lru_cache(maxsize=64)
def _signed(offset_ms: int) -> str:
    if not offset_ms:
        return ""
    minutes = abs(offset_ms) // 60_000
    return f"{'-' if offset_ms < 0 else '+'}{minutes // 60:02d}{minutes % 60:02d}"
