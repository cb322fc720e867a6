"""Days and months in UTC by arithmetic alone."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from ops_stream.contract.clocktext import format_time
from ops_stream.core.rules_model import WindowKind

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS


def hour(now_ms: int) -> int:
    """Give the hour of the day, 0 to 23."""
    return now_ms % DAY_MS // HOUR_MS


def weekday(now_ms: int) -> int:
    """Give the day of the week, 1 (Monday) to 7 (Sunday)."""
    return (now_ms // DAY_MS + 3) % 7 + 1  # the first of January 1970 was a Thursday


def window_of(kind: WindowKind, now_ms: int) -> str:
    """Name the window that a moment falls in: `2026-11-24`, `2026-11`, or nothing where it has no end."""
    if kind == "day":
        return _day(now_ms // DAY_MS)
    return _day(now_ms // DAY_MS)[:-3] if kind == "month" else ""


def window_end(kind: WindowKind, now_ms: int) -> int:
    """Give the moment at which the window of `now_ms` is over; 0 where it has no end."""
    day = now_ms // DAY_MS
    if kind == "day":
        return (day + 1) * DAY_MS
    if kind != "month":
        return 0
    month = window_of("month", now_ms)
    day += 1
    while window_of("month", day * DAY_MS) == month:
        day += 1
    return day * DAY_MS


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
