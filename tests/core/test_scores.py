"""The scores: each formula by hand, the prior, intervals, and what becomes of them with time."""

from __future__ import annotations

from typing import Any, Final

import pytest

from ops_stream.core.rows import Lately, Record
from ops_stream.core.rules_model import Rules
from ops_stream.core.rules_telemetry import Memory, TelemetryRules
from ops_stream.core.scores import NAMES, Scored, scores, values
from tests.core.world import DIGEST, START_MS

DAY_MS: Final = 86_400_000
RULES: Final = Rules(DIGEST)


def of(**counts: Any) -> dict[str, float]:
    """Give the scores of an agent with these counts, in whole reports."""
    lately = Lately(START_MS, **{name: 1000 * count for name, count in counts.items()})
    return values(Record(lately=lately), RULES, START_MS)


def test_a_new_agent_is_at_the_prior_and_nobody_knows_an_unknown_one() -> None:
    """Five imagined reports say 0.7; the interval says how little that is."""
    found = scores(Record(seen_at=START_MS), RULES, START_MS)
    assert tuple(found) == NAMES
    assert set(found.values()) == {Scored(0.7, 0.0, 0.298791, 0.927416)}
    assert scores(None, RULES, START_MS) == {}


def test_each_formula_by_hand() -> None:
    """With a prior of 0.7 that weighs five reports."""
    assert of(tried=10, good=9)["reliability"] == pytest.approx((9 + 3.5) / 15, abs=1e-6)
    assert of(rated=4, quality=2)["quality"] == pytest.approx((2 + 3.5) / 9, abs=1e-6)
    gain, loss = 0.7 * (10 + 5), 0.3 * (25 + 5)
    assert of(priced=12, cheap=10, cost=25)["cost_efficiency"] == pytest.approx(
        gain / (gain + loss), abs=1e-6
    )
    assert of(timed=12, quick=10, took=25)["speed"] == pytest.approx(gain / (gain + loss), abs=1e-6)


def test_rules_set_the_prior() -> None:
    """Its weight and its value; without a weight a single report says all."""
    rules = Rules(DIGEST, telemetry=TelemetryRules(memory=Memory(prior_weight=0, prior_percent=50)))
    new = scores(Record(), rules, START_MS)["reliability"]
    assert new == Scored(0.5, 0.0, 0.0, 1.0)
    failed = Record(lately=Lately(START_MS, tried=1000))
    assert scores(failed, rules, START_MS)["reliability"][:2] == (0.0, 1.0)


def test_what_was_decays_and_the_agent_goes_back_to_the_prior() -> None:
    """After a half-life each report counts half; in the end nothing is left."""
    record = Record(lately=Lately(START_MS, tried=8000, good=0))
    after = {days: scores(record, RULES, START_MS + days * DAY_MS)["reliability"] for days in (0, 7, 700)}
    assert [after[days].samples for days in (0, 7, 700)] == [8.0, 4.0, 0.0]
    assert after[0].value < after[7].value < after[700].value == 0.7


def test_a_record_from_before_there_were_counts_starts_with_its_past() -> None:
    """Its shares are kept, and weigh as much as twenty reports at most."""
    old = Record(
        seen_at=START_MS, done=60, failed=20, broken=20, quality_count=100, quality_milli=50_000, dear=30
    )
    found = scores(old, RULES, START_MS)
    assert (
        found["reliability"]
        == scores(Record(lately=Lately(START_MS, 20_000, 12_000)), RULES, START_MS)["reliability"]
    )
    assert found["quality"].value == pytest.approx((10 + 3.5) / 25, abs=1e-6)
    assert found["cost_efficiency"].value < found["speed"].value < 0.7
