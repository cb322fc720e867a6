"""When the batch queue lets asks out: in a tenant's windows by its own clocks, else every so many seconds.

A window is what the clocks show: an hour that they show twice is in it twice, one that they skip is not in it at all.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from functools import lru_cache
from typing import Final, cast

from ops_stream.core.calendar import DAY_MS, local, weekday
from ops_stream.core.rules_budgets import Zone
from ops_stream.core.rules_load import BatchWindow
from ops_stream.core.rules_model import Rules

MINUTE_MS: Final = 60_000
_AHEAD: Final = 16
"""Days that are looked through. A window that is open once a week and is skipped by a clock change opens again
within them."""


def windows_of(rules: Rules, tenant: str) -> tuple[BatchWindow, ...]:
    """Give the windows of a tenant; none where asks are let out at any time."""
    return rules.load.batch.of_tenant(tenant)


def shut(rules: Rules, tenant: str, now_ms: int) -> bool:
    """Say whether nothing of a tenant may be let out now."""
    windows = windows_of(rules, tenant)
    return bool(windows) and not is_open(windows, now_ms, rules.zone(tenant))


def next_release(rules: Rules, tenant: str, now_ms: int) -> int:
    """Give when what is queued now is let out: always later than now, and inside a window where there are any."""
    step = max(1, rules.supervisor.batch_window_s) * 1000
    regular = (now_ms // step + 1) * step
    windows = windows_of(rules, tenant)
    if not windows:
        return regular
    zone = rules.zone(tenant)
    # Between two minutes nothing opens: those who come in the same minute wait for the same opening.
    opening = _next_opening(windows, now_ms // MINUTE_MS, cast(Hashable, zone))
    return min(regular, opening) if is_open(windows, regular, zone) else opening


def is_open(windows: tuple[BatchWindow, ...], now_ms: int, zone: Zone | None = None) -> bool:
    """Say whether a moment lies in a window."""
    minute = local(now_ms, zone) % DAY_MS // MINUTE_MS
    today = weekday(now_ms, zone)
    yesterday = (today - 2) % 7 + 1
    for window in windows:
        over_midnight = window.to_minute <= window.from_minute
        begun = today in window.days and minute >= window.from_minute
        if begun and (over_midnight or minute < window.to_minute):
            return True
        if over_midnight and yesterday in window.days and minute < window.to_minute:
            return True
    return False


@lru_cache(maxsize=1024)
def _next_opening(windows: tuple[BatchWindow, ...], minute: int, zone: Zone | None) -> int:
    """Give the first moment after a minute of UTC has begun at which a window opens, be it by a clock change."""
    now = minute * MINUTE_MS
    today = local(now, zone) // DAY_MS
    found: list[int] = []
    # From yesterday on, which clocks can show once more; and one day further, because they may show two days in turn.
    for day in range(today - 1, today + _AHEAD):
        enough = bool(found)
        found += [at for at in _moments(windows, day, zone) if at > now and is_open(windows, at, zone)]
        if enough:
            break
    return min(found)


def _moments(windows: tuple[BatchWindow, ...], day: int, zone: Zone | None) -> Iterator[int]:
    """Give the moments of a local day at which a window may open."""
    for window in windows:
        yield from _moments_of(day * DAY_MS + window.from_minute * MINUTE_MS, zone)
    if zone is not None:
        yield from _changes(day, zone)


def _moments_of(there: int, zone: Zone | None) -> Iterator[int]:
    """Give the moments at which the clocks show a time: one, or two, or none."""
    if zone is None:
        yield there
        return
    for offset in {zone.offset_ms(there - DAY_MS), zone.offset_ms(there + DAY_MS)}:
        if local(there - offset, zone) == there:
            yield there - offset


def _changes(day: int, zone: Zone) -> Iterator[int]:
    """Give the moment of a local day at which its clocks are changed."""
    # A moment before the day begins: clocks may be changed as it does, and be a day further at once.
    before = day * DAY_MS - zone.offset_ms((day - 1) * DAY_MS) - 1
    after = (day + 1) * DAY_MS - zone.offset_ms((day + 2) * DAY_MS)
    old = zone.offset_ms(before)
    if zone.offset_ms(after) == old:
        return
    while after - before > 1:
        middle = (before + after) // 2
        if zone.offset_ms(middle) == old:
            before = middle
        else:
            after = middle
    yield after
