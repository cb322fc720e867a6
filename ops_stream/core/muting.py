"""Silence windows: for how long an alert is only counted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ops_stream.core.calendar import DAY_MS, local
from ops_stream.core.rules_alerts import ANY, DAY_MINUTES, EVERY_DAY, Silence
from ops_stream.core.rules_budgets import Zone

FOREVER: Final = 1 << 62
_MINUTE_MS: Final = 60_000


def silent_until(
    silences: Iterable[Silence], tenant: str, kind: str, severity: str, now_ms: int, zone: Zone | None
) -> int:
    """Give the end of the longest silence that holds for an alert now, in ms since 1970; 0 where none holds.

    Another silence may hold by then: whoever waits for the end looks again.
    """
    ends = [
        _end(silence, now_ms, zone)
        for silence in silences
        if silence.tenant in (ANY, tenant)
        and (not silence.kinds or kind in silence.kinds)
        and severity in silence.severities
    ]
    return max(ends, default=0)


def _end(silence: Silence, now_ms: int, zone: Zone | None) -> int:
    """Give when a silence that holds now is over; 0 where it does not hold."""
    over = silence.until_ms or FOREVER
    if not silence.from_ms <= now_ms < over:
        return 0
    if silence.daily is None and silence.weekdays == EVERY_DAY:
        return over
    begin, end = silence.daily or (0, DAY_MINUTES)
    length_ms = ((end - begin) % DAY_MINUTES or DAY_MINUTES) * _MINUTE_MS
    there = local(now_ms, zone)
    today = there // DAY_MS
    for day in (today, today - 1):
        start = day * DAY_MS + begin * _MINUTE_MS
        # The first of January 1970 was a Thursday.
        if (day + 3) % 7 in silence.weekdays and start <= there < start + length_ms:
            return min(over, _moment(start + length_ms, there, now_ms, zone))
    return 0


def _moment(wanted: int, there: int, now_ms: int, zone: Zone | None) -> int:
    """Give the moment at which the clocks of a zone show a time; always after now, whatever they are changed by."""
    guess = now_ms + wanted - there
    return max(now_ms + 1, guess - (local(guess, zone) - wanted))
