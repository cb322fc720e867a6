"""Time as text: RFC 3339 in UTC, to and from milliseconds since 1970. No clock is read here."""

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
# [0-9] and not \d, which also takes the digits of every other script.
_RFC3339: Final = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,18}))?"
    r"(?:[Zz]|[+-]00:00)"
)


def parse_time(text: str) -> int:
    """Give the milliseconds since 1970 of an RFC 3339 time in UTC; finer digits are cut off.

    Raises ValueError for anything else, other offsets than UTC included.
    """
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError("a time is RFC 3339 in UTC, like 2026-11-24T13:00:00.123Z")
    year, month, day, hour, minute, second = map(int, match.group(1, 2, 3, 4, 5, 6))
    leap = second == 60  # RFC 3339 allows a leap second, Python's datetime does not
    moment = datetime(year, month, day, hour, minute, 59 if leap else second, tzinfo=UTC)
    millis = int((match.group(7) or "0")[:3].ljust(3, "0"))
    return (moment - _EPOCH) // _MILLISECOND + (1000 if leap else millis)


@lru_cache(maxsize=4096)
def format_time(millis: int) -> str:
    """Write milliseconds since 1970 as RFC 3339 in UTC, always with three decimals."""
    moment = _EPOCH + timedelta(milliseconds=millis)
    return f"{moment.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"
