"""When the batch queue lets asks out: in windows by a tenant's own clocks, also where those are changed."""

from __future__ import annotations

from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from ops_stream.contract.clocktext import format_time, parse_time
from ops_stream.core.batch_windows import is_open, next_release
from ops_stream.core.rules_load import Batch, BatchWindow, Load
from ops_stream.core.rules_model import Rules, Supervisor
from ops_stream.rules.conf_zones import named_zone
from tests.core.zones import pinned

ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/St_Johns",  # changed its clocks a minute after midnight, so that a day came twice
    "Australia/Lord_Howe",  # by half an hour
    "America/Havana",  # at midnight
    "Asia/Kathmandu",
    "Pacific/Apia",  # left out a whole day
)
MINUTE_MS, DAY_MINUTES = 60_000, 1_440
DAYS = frozenset(range(1, 8))
begins = st.integers(315_532_800_000, 2_200_000_000_000)
windows = st.builds(
    BatchWindow,
    st.integers(0, DAY_MINUTES - 1),
    st.integers(1, DAY_MINUTES),
    st.frozensets(st.integers(1, 7), min_size=1),
)
CHANGES = (
    "2026-03-29T00:30:00Z",
    "2026-10-25T00:10:00Z",
    "1999-10-31T02:20:00Z",
    "2010-11-07T02:20:00Z",
    "2026-04-04T14:40:00Z",
    "2026-11-01T04:40:00Z",
    "2011-12-30T09:30:00Z",
)
nearby = st.sampled_from(CHANGES).flatmap(
    lambda text: st.integers(-2 * 86_400_000, 2 * 86_400_000).map(lambda shift: parse_time(text) + shift)
)


def rules(*found: BatchWindow, zone: str = "UTC", every_s: int = 60, tenant: str = "*") -> Rules:
    """Build rules with windows."""
    return Rules(
        "d",
        supervisor=Supervisor(batch_window_s=every_s),
        load=Load(batch=Batch({tenant: found} if found else {})),
        zones={} if zone == "UTC" else {"*": named_zone(zone)},
    )


def release(rules_: Rules, now: str, tenant: str = "acme") -> str:
    """Give the next release as a text."""
    return format_time(next_release(rules_, tenant, parse_time(now)))


@given(
    st.one_of(begins, nearby),
    st.lists(windows, min_size=1, max_size=3),
    st.sampled_from(ZONES),
    st.integers(1, 90_000),
)
def test_a_release_lies_ahead_and_in_a_window(
    now: int, found: list[BatchWindow], zone: str, every_s: int
) -> None:
    """It is always later than now and inside a window, in every time zone and over every change of clocks."""
    at = next_release(rules(*found, zone=zone, every_s=every_s), "acme", now)
    assert now < at
    assert _open_by_datetime(found, at, zone)


@given(st.one_of(begins, nearby), st.lists(windows, min_size=1, max_size=2), st.sampled_from(ZONES))
def test_no_opening_is_missed(now: int, found: list[BatchWindow], zone: str) -> None:
    """Between a moment at which no window is open and the release there is no minute at which one is."""
    now = now // MINUTE_MS * MINUTE_MS
    if _open_by_datetime(found, now, zone):
        return
    at = next_release(rules(*found, zone=zone, every_s=86_400), "acme", now)
    there, until = rules(zone=zone).zone("acme"), min(at, now + 2 * DAY_MINUTES * MINUTE_MS)
    missed = [minute for minute in range(now, until, MINUTE_MS) if is_open(tuple(found), minute, there)]
    assert missed == []


@given(st.one_of(begins, nearby), windows, st.sampled_from(ZONES))
def test_a_window_is_open_by_the_clocks_of_its_zone(now: int, window: BatchWindow, zone: str) -> None:
    """It is, at each moment, what Python's datetime says of the local time."""
    assert is_open((window,), now, rules(zone=zone).zone("acme")) == _open_by_datetime([window], now, zone)


@given(begins, st.integers(1, 90_000))
def test_without_windows_asks_are_let_out_at_any_time(now: int, every_s: int) -> None:
    """At the next multiple of batch_window_s, as long as nobody sets windows."""
    at = next_release(rules(every_s=every_s), "acme", now)
    assert at % (every_s * 1000) == 0
    assert now < at <= now + every_s * 1000


def test_a_window_goes_over_midnight() -> None:
    """From 22:00 on, and until 06:00 of the next day, every batch_window_s; then from 22:00 again."""
    night = rules(BatchWindow(1_320, 360))
    assert release(night, "2026-11-24T13:00:00Z") == "2026-11-24T22:00:00.000Z"
    assert release(night, "2026-11-24T22:00:00Z") == "2026-11-24T22:01:00.000Z"
    assert release(night, "2026-11-25T05:58:30Z") == "2026-11-25T05:59:00.000Z"
    assert release(night, "2026-11-25T05:59:00Z") == "2026-11-25T22:00:00.000Z"


def test_its_days_are_those_on_which_it_begins() -> None:
    """A Friday's night goes on into Saturday; on other nights it is shut."""
    friday = rules(BatchWindow(1_320, 360, frozenset((5,))))
    assert release(friday, "2026-11-24T22:30:00Z") == "2026-11-27T22:00:00.000Z"  # a Tuesday
    assert release(friday, "2026-11-28T03:00:00Z") == "2026-11-28T03:01:00.000Z"
    assert release(friday, "2026-11-28T22:30:00Z") == "2026-12-04T22:00:00.000Z"


def test_it_goes_by_the_clocks_of_the_tenant() -> None:
    """22:00 in New York is 03:00 of the next day in UTC."""
    there = rules(BatchWindow(1_320, 360), zone="America/New_York")
    assert release(there, "2026-11-24T22:30:00Z") == "2026-11-25T03:00:00.000Z"


def test_an_hour_that_the_clocks_skip_is_in_no_window() -> None:
    """On that day a window within it does not open; one around it does, when the clocks have been set."""
    assert release(rules(BatchWindow(130, 150), zone="Europe/Berlin"), "2026-03-28T23:00:00Z") == (
        "2026-03-30T00:10:00.000Z"
    )
    assert release(rules(BatchWindow(130, 240), zone="Europe/Berlin"), "2026-03-28T23:00:00Z") == (
        "2026-03-29T01:00:00.000Z"
    )


def test_a_weekly_window_that_is_skipped_opens_a_week_later() -> None:
    """Clocks are changed on Sundays."""
    sunday = rules(BatchWindow(130, 150, frozenset((7,))), zone="Europe/Berlin")
    assert release(sunday, "2026-03-22T02:00:00Z") == "2026-04-05T00:10:00.000Z"


def test_an_hour_that_the_clocks_show_twice_is_in_a_window_twice() -> None:
    """Both times asks are let out."""
    twice = rules(BatchWindow(130, 150), zone="Europe/Berlin", every_s=3_600)
    assert release(twice, "2026-10-24T23:00:00Z") == "2026-10-25T00:10:00.000Z"
    assert release(twice, "2026-10-25T00:10:00Z") == "2026-10-25T01:10:00.000Z"
    assert release(twice, "2026-10-25T01:10:00Z") == "2026-10-26T01:10:00.000Z"


def test_a_tenant_goes_by_its_own_windows() -> None:
    """Those of others mean nothing to it; with an empty list it has none, whatever all others have."""
    of_acme = rules(BatchWindow(1_320, 360), tenant="acme")
    assert release(of_acme, "2026-11-24T13:00:00Z") == "2026-11-24T22:00:00.000Z"
    assert release(of_acme, "2026-11-24T13:00:00Z", tenant="other") == "2026-11-24T13:01:00.000Z"
    both = Rules("d", load=Load(batch=Batch({"*": (BatchWindow(1_320, 360),), "acme": ()})))
    assert release(both, "2026-11-24T13:00:00Z") == "2026-11-24T13:01:00.000Z"


def _open_by_datetime(found: list[BatchWindow], now: int, zone: str) -> bool:
    """Say whether a moment lies in a window, as anybody would who looks at a calendar and a clock."""
    there = datetime.fromtimestamp(now / 1000, pinned(zone))
    minute = there.hour * 60 + there.minute
    day, before = there.isoweekday(), (there.date() - timedelta(days=1)).isoweekday()
    return any(
        (one.from_minute <= minute < one.to_minute and day in one.days)
        if one.to_minute > one.from_minute
        else (minute >= one.from_minute and day in one.days)
        or (minute < one.to_minute and before in one.days)
        for one in found
    )


def test_a_window_of_a_day_that_is_skipped_goes_on_into_the_next() -> None:
    """Samoa had no Friday, 30 December 2011: of a window from then on what lies on Saturday is left."""
    friday = rules(BatchWindow(1, 1, frozenset({5})), zone="Pacific/Apia", every_s=86_400)
    assert release(friday, "2011-12-28T10:01:00Z") == "2011-12-30T10:00:00.000Z"
