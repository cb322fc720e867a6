"""Time as text: RFC 3339 in UTC, to and from milliseconds since 1970. No clock is read here."""

import re
from datetime import UTC, datetime, time, timedelta
from functools import lru_cache
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
# [0-9] and not \d, which also takes the digits of every other script.
_RFC3339: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,18}))?"
    r"(?:[Zz]|[+-]00:00)"
)


def parse_time(text: str) -> int:
    """Give the milliseconds since 1970 of an RFC 3339 time in UTC; finer digits are cut off.

    Raises ValueError for anything else, other offsets than UTC included.
    """
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError("a time is RFC 3339 in UTC, like 2026-11-24T13:00:00.123Z")
    date, *clock, fraction = match.groups("0")
    midnight = _midnight(date)
    hour, minute, second = map(int, clock)
    leap = second == 60  # RFC 3339 allows a leap second, Python's time does not
    if hour > 23 or minute > 59 or second > 60:
        time(hour, minute, 59 if leap else second)  # says what is wrong
    millis = 1000 if leap else int(fraction[:3].ljust(3, "0"))
    return midnight + ((hour * 60 + minute) * 60 + second - leap) * 1000 + millis


def format_time(millis: int) -> str:
    """Write milliseconds since 1970 as RFC 3339 in UTC, always with three decimals."""
    second, rest = divmod(millis, 1000)
    return f"{_second(second)}.{rest:03d}Z"


@lru_cache(maxsize=256)
def _midnight(date: str) -> int:
    year, month, day = map(int, date.split("-"))
    return (datetime(year, month, day, tzinfo=UTC) - _EPOCH) // _MILLISECOND


@lru_cache(maxsize=4096)
def _second(second: int) -> str:
    """Write a second, which many moments have in common."""
    return (_EPOCH + timedelta(seconds=second)).replace(tzinfo=None).isoformat(timespec="seconds")
