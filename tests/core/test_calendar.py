"""Days and months by arithmetic agree with the standard library's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from ops_stream.contract.clocktext import format_time
from ops_stream.core.calendar import hour, stamp, weekday, window_end, window_of

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
