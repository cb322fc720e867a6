"""For how long a silence holds: by the tenant's clocks, whatever they do."""

from __future__ import annotations

import pytest

from ops_stream.contract.clocktext import parse_time
from ops_stream.core.muting import silent_until
from ops_stream.core.rules_alerts import Silence
from ops_stream.rules.conf_zones import named_zone

HOUR = 3_600
BERLIN = named_zone("Europe/Berlin")


@pytest.mark.parametrize(
    ("now", "end"),
    [
        ("2026-11-24T20:59:59Z", None),
        ("2026-11-24T21:00:00Z", "2026-11-25T05:00:00Z"),
        ("2026-11-25T04:59:59Z", "2026-11-25T05:00:00Z"),
        ("2026-11-25T05:00:00Z", None),
        # In the night of the 28th of March clocks go from two to three, and on the 31st of October from three to two.
        ("2027-03-27T22:00:00Z", "2027-03-28T04:00:00Z"),
        ("2027-10-30T21:00:00Z", "2027-10-31T05:00:00Z"),
    ],
)
def test_a_night_ends_by_the_tenants_clocks(now: str, end: str | None) -> None:
    """From ten in the evening to six in the morning in Berlin, also in the nights in which clocks are changed."""
    night = Silence("night", daily=(22 * 60, 6 * 60))
    found = silent_until((night,), "team-a", "violation", "warning", parse_time(now), BERLIN)
    assert found == (0 if end is None else parse_time(end))


@pytest.mark.parametrize(
    ("now", "silent"),
    [
        ("2026-11-23T23:59:00Z", False),
        ("2026-11-24T21:59:00Z", False),
        ("2026-11-24T22:00:00Z", True),
        ("2026-11-25T05:59:00Z", True),
        ("2026-11-25T22:00:00Z", False),
        ("2026-11-24T05:00:00Z", False),
    ],
)
def test_a_night_belongs_to_the_day_on_which_it_begins(now: str, silent: bool) -> None:
    """The night of Tuesday begins on Tuesday evening and lasts into Wednesday."""
    night = Silence("tuesdays", daily=(22 * 60, 6 * 60), weekdays=frozenset((1,)))
    assert bool(silent_until((night,), "t", "violation", "info", parse_time(now), None)) is silent


def test_days_end_at_midnight_and_a_silence_at_its_end() -> None:
    """Weekdays without hours are whole days; the end of the silence comes first where it is earlier."""
    noon = parse_time("2026-11-24T12:00:00Z")
    tuesday = Silence("s", weekdays=frozenset((1,)))
    assert silent_until((tuesday,), "t", "violation", "info", noon, None) == noon + 12 * HOUR * 1000
    short = Silence("s", weekdays=frozenset((1,)), until_ms=noon + 1)
    assert silent_until((short,), "t", "violation", "info", noon, None) == noon + 1
    assert silent_until((short,), "t", "violation", "info", noon + 1, None) == 0
    assert silent_until((short, tuesday), "t", "violation", "info", noon, None) == noon + 12 * HOUR * 1000


def test_a_silence_is_for_what_it_names() -> None:
    """Tenant, kind and severity all have to fit."""
    silence = Silence("s", "acme", frozenset(("violation",)), frozenset(("warning",)))
    assert silent_until((silence,), "acme", "violation", "warning", 1, None)
    for tenant, kind, severity in (
        ("other", "violation", "warning"),
        ("acme", "policy_notice", "warning"),
        ("acme", "violation", "critical"),
    ):
        assert not silent_until((silence,), tenant, kind, severity, 1, None)
