"""Time is RFC 3339 in UTC, to the millisecond."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_stream.contract.clocktext import format_time, parse_time

MILLIS = st.integers(-62_135_596_800_000, 253_402_300_799_999)


@given(MILLIS)
def test_what_is_written_is_read_back(millis: int) -> None:
    """Every millisecond of the years 1 to 9999 survives the way out and back."""
    assert parse_time(format_time(millis)) == millis


@given(MILLIS, MILLIS)
def test_text_sorts_as_time_does(one: int, other: int) -> None:
    """Times that are written sort as text exactly as they do as numbers."""
    assert (one < other) == (format_time(one) < format_time(other))


@given(st.datetimes(timezones=st.just(UTC)))
def test_python_means_the_same_time(moment: datetime) -> None:
    """The standard library's own ISO text of a time is read as that time, cut to milliseconds."""
    seconds = int((moment.replace(microsecond=0) - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds())
    assert parse_time(moment.isoformat()) == seconds * 1000 + moment.microsecond // 1000


@pytest.mark.parametrize(
    ("text", "millis"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01t00:00:00.5z", 500),
        ("1970-01-01T00:00:00.123456789Z", 123),
        ("1970-01-01T00:00:00-00:00", 0),
        ("2016-12-31T23:59:60Z", 1_483_228_800_000),
    ],
)
def test_other_spellings_of_utc(text: str, millis: int) -> None:
    """RFC 3339's other spellings are read; a leap second is the second after it."""
    assert parse_time(text) == millis


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2026-11-24",
        "2026-11-24 13:00:00Z",
        "2026-11-24T13:00:00",
        "2026-11-24T13:00:00+01:00",
        "2026-13-24T13:00:00Z",
        "2026-02-29T13:00:00Z",
        "2026-11-24T24:00:00Z",
        "2026-11-24T13:00:61Z",
        "2026-11-24T13:00:00.Z",
        "2026-11-24T13:00:00Z\n",
        "٢٠٢٦-11-24T13:00:00Z",
        "0000-01-01T00:00:00Z",
        "2026-11-24T13:00:00." + "1" * 100_000 + "Z",
    ],
    ids=lambda text: text[:30],
)
def test_everything_else_is_refused(text: str) -> None:
    """No date without a time, no local time, no other offset, no other script's digits."""
    with pytest.raises(ValueError):
        parse_time(text)
