"""What a what-if tells: as data, as a page, and what it says of another router and when it refuses to."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from random import Random

import pytest

from ops_stream.audit.whatif.engine import WhatIf
from ops_stream.audit.whatif.offpolicy import SAMPLES_MIN, OffPolicy
from ops_stream.audit.whatif.page import page
from ops_stream.audit.whatif.report import Report
from ops_stream.audit.whatif.tally import Flips, quantile
from ops_stream.core.rules_model import Rules
from tests.audit.fleet import Fleet
from tests.rules.building import compiled

PERSON = "name: person\ncondition: '\"person\" in tags'\naction: escalate"


def reported(fleet: Fleet, rules: Rules) -> Report:
    """Answer a question about one partition, as `audit replay` does about each."""
    report = Report(rules.digest)
    whatif = WhatIf(0, 1, rules, routers=report.routers)
    for record in fleet.records():
        whatif.take(record)
        report.seen(record.header.at_ms, record.header.rules_digest)
    whatif.finish()
    flips = Flips()
    whatif.compare(flips)
    report.add(whatif.then, whatif.here, flips, whatif.reports.counts)
    return report


def test_a_report_holds_both_worlds_side_by_side() -> None:
    """What flipped, what was spent, who was called, how long it took, and how events were treated."""
    doc = reported(Fleet(compiled(PERSON), 2).run(), compiled()).as_dict()
    assert doc["compared"] == 80
    assert doc["flipped"] == sum(row["count"] for row in doc["flips"]) > 0
    assert doc["recorded"]["escalations"] > doc["other"]["escalations"] == 0
    assert sum(row["recorded_escalations"] for row in doc["by_hour"]) == doc["recorded"]["escalations"]
    assert sum(row["recorded_usd"] for row in doc["by_hour"]) == pytest.approx(doc["recorded"]["spent_usd"])
    assert all(row["how"] and row["count"] for row in doc["treated"])


def test_partitions_add_up() -> None:
    """Two partitions together have the asks, the money and the calls of both."""
    one = reported(Fleet(compiled(PERSON), 2).run(), compiled())
    two = reported(Fleet(compiled(PERSON), 3).run(), compiled())
    spent = one.then.spent_micros + two.then.spent_micros
    flipped = sum(one.flips.counts.values()) + sum(two.flips.counts.values())
    one.add(two.then, two.here, two.flips, two.treated)
    assert (one.then.spent_micros, sum(one.flips.counts.values())) == (spent, flipped)


def test_the_page_is_well_formed_and_escapes_what_agents_wrote() -> None:
    """One file without a script; an id that looks like markup stays text."""
    report = reported(Fleet(compiled(PERSON), 2).run(), compiled())
    pair = next(iter(report.flips.counts))
    report.flips.examples[pair] = [("default", "<script>alert(1)</script>")]
    text = page(report.as_dict())
    ET.fromstring(text.replace("<!doctype html>\n", "").replace('<meta charset="utf-8">', ""))
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert text.count("<svg") == 2


def test_a_page_of_nothing_is_a_page() -> None:
    """A journal without asks gives a page that says so."""
    assert "Nothing." in page(Report("sha256:" + "0" * 64).as_dict())


@pytest.mark.parametrize("seed", range(5))
def test_another_router_is_judged_without_bias(seed: int) -> None:
    """With outcomes whose truth is known, the interval holds the truth of the other router, not the mean."""
    chance, judged = Random(seed), OffPolicy()
    for _ in range(4_000):
        explored = chance.random() < 0.2
        propensity = 0.2 if explored else 0.8
        cost = chance.gauss(1.0, 0.2) if explored else chance.gauss(3.0, 0.2)
        judged.add(propensity, {"cost_usd": cost}, same=explored)
    found = judged.as_dict()
    low, high = found["other"]["cost_usd"]["interval"]
    assert low <= 1.0 + 0.02
    assert high >= 1.0 - 0.02
    assert high < found["recorded"]["cost_usd"]["mean"]


def test_too_few_samples_are_refused() -> None:
    """A few heavy weights are no evidence, however many outcomes there are."""
    judged = OffPolicy()
    for _ in range(1_000):
        judged.add(0.9, {"success": 1.0}, same=False)
    for _ in range(5):
        judged.add(0.01, {"success": 0.0}, same=True)
    found = judged.as_dict()["other"]["success"]
    assert found["effective_samples"] < SAMPLES_MIN
    assert "refused" in found
    assert "mean" not in found


def test_quantiles_are_values_that_occurred() -> None:
    """The smallest value that so many percent do not exceed; nothing of nothing."""
    assert quantile([], 50) is None
    assert quantile(range(1, 101), 99) == 99
    assert quantile([7], 50) == 7
