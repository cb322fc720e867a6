"""Windows by arithmetic agree with the standard library's calendar, in every time zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_stream.contract.clocktext import format_time, parse_time
from ops_stream.core.calendar import hour, kind_of, stamp, weekday, window_end, window_of, window_start
from ops_stream.core.rules_model import WindowKind
from ops_stream.rules.conf_zones import named_zone
from tests.core.zones import pinned

moments = st.integers(0, 253_402_300_799_999)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _at(now_ms: int) -> datetime:
    return EPOCH + timedelta(milliseconds=now_ms)


@given(moments)
def test_names_and_numbers_agree_with_datetime(now_ms: int) -> None:
    """Day, month, hour, weekday and the written time are those of Python's datetime."""
    there = _at(now_ms)
    assert window_of("day", now_ms) == there.strftime("%Y-%m-%d").zfill(10)
    assert window_of("month", now_ms) == there.strftime("%Y-%m").zfill(7)
    assert hour(now_ms) == there.hour
    assert weekday(now_ms) == there.isoweekday()
    assert stamp(now_ms) == format_time(now_ms)


@given(st.integers(0, 250_000_000_000_000), st.sampled_from(("day", "month")))
def test_a_window_ends_where_the_next_begins(now_ms: int, kind: str) -> None:
    """The last millisecond of a window is in it, the next one is not."""
    end = window_end(kind, now_ms)  # type: ignore[arg-type]
    assert window_of(kind, end - 1) == window_of(kind, now_ms)  # type: ignore[arg-type]
    assert window_of(kind, end) != window_of(kind, now_ms)  # type: ignore[arg-type]


def test_windows_without_an_end() -> None:
    """A task's window and the total never end and have no name."""
    assert window_of("task", 5) == window_of("total", 5) == ""
    assert window_end("task", 5) == window_end("total", 5) == 0


ZONES = ("Europe/Berlin", "America/St_Johns", "Pacific/Auckland", "Australia/Lord_Howe", "Asia/Kathmandu")
KINDS: tuple[WindowKind, ...] = ("hour", "day", "week", "month")


@given(st.integers(100_000_000_000, 4_000_000_000_000), st.sampled_from(ZONES))
def test_local_time_is_that_of_the_tz_database(now_ms: int, name: str) -> None:
    """Hour, weekday, day, week and month are those of Python's datetime in that zone."""
    zone = named_zone(name)
    there = _at(now_ms).astimezone(pinned(name))
    year, week, _ = there.isocalendar()
    assert hour(now_ms, zone) == there.hour
    assert weekday(now_ms, zone) == there.isoweekday()
    assert window_of("hour", now_ms, zone).startswith(there.strftime("%Y-%m-%dT%H"))
    assert window_of("day", now_ms, zone) == there.strftime("%Y-%m-%d")
    assert window_of("week", now_ms, zone) == f"{year}-W{week:02d}"
    assert window_of("month", now_ms, zone) == there.strftime("%Y-%m")


@given(
    st.integers(100_000_000_000, 4_000_000_000_000), st.sampled_from(KINDS), st.sampled_from(("UTC", *ZONES))
)
def test_windows_leave_no_gap_also_where_clocks_change(now_ms: int, kind: WindowKind, name: str) -> None:
    """A window holds every moment from its start to its end, and no other next to them."""
    zone = named_zone(name)
    start, end = window_start(kind, now_ms, zone), window_end(kind, now_ms, zone)
    window = window_of(kind, now_ms, zone)
    assert start <= now_ms < end
    assert window_of(kind, start, zone) == window_of(kind, end - 1, zone) == window
    assert window not in (window_of(kind, start - 1, zone), window_of(kind, end, zone))
    assert kind_of(window) == kind_of(f"{window}~2") == kind


@pytest.mark.parametrize(
    ("moment", "hours"),
    [("2026-03-29T12:00:00Z", 23), ("2026-10-25T12:00:00Z", 25), ("2026-11-24T12:00:00Z", 24)],
)
def test_a_day_is_as_long_as_the_clocks_say(moment: str, hours: int) -> None:
    """In Berlin the day in spring has 23 hours, the one in autumn 25."""
    zone, now = named_zone("Europe/Berlin"), parse_time(moment)
    assert window_end("day", now, zone) - window_start("day", now, zone) == hours * 3_600_000
