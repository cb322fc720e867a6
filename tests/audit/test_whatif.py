"""What would have been under other rules is what a run under them really is, as far as the journal can tell."""

from __future__ import annotations

import pytest

from ops_stream.audit.whatif.engine import WhatIf
from ops_stream.audit.whatif.tally import Flips
from ops_stream.audit.whatif.treatment import EXPLAINED, Treated
from ops_stream.core.rules_model import Rules
from tests.audit.fleet import TENANT, Fleet
from tests.rules.building import compiled

PERSON = "name: person\ncondition: '\"person\" in tags'\naction: escalate"
LATER = "name: later\ncondition: priority <= 2\naction: queue_for_batch_processing"
DEAR = "name: dear\ncondition: cost > 1.5\naction: block"
SEEDS = range(12)


def budget(usd: float) -> dict[str, str]:
    """The file of budgets that gives the tenant so many dollars a month."""
    text = f"version: 1\nbudgets:\n  - {{tenant: {TENANT}, limit_usd: {usd}, window: month}}\n"
    return {"budgets": text}


def lived(fleet: Fleet, rules: Rules, from_ms: int = 0) -> tuple[WhatIf, Flips]:
    """Live a fleet's journal through under other rules."""
    whatif = WhatIf(0, 1, rules, from_ms)
    for record in fleet.records():
        whatif.take(record)
    whatif.finish()
    flips = Flips()
    whatif.compare(flips)
    return whatif, flips


@pytest.mark.parametrize("seed", SEEDS)
def test_the_same_rules_flip_nothing(seed: int) -> None:
    """Under the rules of the journal both worlds are the same to the byte, and no event needed any treatment."""
    fleet = Fleet(compiled(PERSON, LATER, **budget(25)), seed).run()
    whatif, flips = lived(fleet, fleet.rules)
    assert not flips.counts
    assert flips.compared == fleet.asks
    assert whatif.reports.counts == {}
    assert whatif.other.state.rows == {
        key: value for key, value in fleet.writer.ledger.state.rows.items() if not key.startswith("position/")
    }
    assert whatif.here.as_dict() == whatif.then.as_dict()
    assert whatif.then.spent_micros == fleet.spent_micros


@pytest.mark.parametrize("seed", SEEDS)
def test_half_the_budget_is_what_a_run_with_half_the_budget_is(seed: int) -> None:
    """Every answer, what was spent and how many ran, foretold from the journal of a run that had all of it."""
    whole = Fleet(compiled(PERSON, LATER, **budget(30)), seed).run()
    half = Fleet(compiled(PERSON, LATER, **budget(15)), seed).run()
    whatif, flips = lived(whole, half.rules)
    assert {name[1]: verdict for name, verdict in whatif.here.last.items()} == {
        request_id: answers[-1] for request_id, answers in half.answers.items()
    }
    assert whatif.here.spent_micros == half.spent_micros
    assert flips.counts
    assert whatif.failed == 0


def test_what_is_denied_has_no_report_and_what_ran_for_the_first_time_is_assumed() -> None:
    """A block that is new leaves reports out; one that is gone lets asks run as they estimate, and both are counted."""
    free, strict = compiled(PERSON), compiled(PERSON, DEAR)
    whatif, _ = lived(Fleet(free, 1).run(), strict)
    assert whatif.reports.counts[Treated.REPORT_WITHOUT_RUN]
    assert Treated.RUN_ASSUMED not in whatif.reports.counts
    whatif, _ = lived(Fleet(strict, 1).run(), free)
    assert whatif.reports.counts[Treated.RUN_ASSUMED]
    asks = [value for key, value in whatif.other.state.rows.items() if key.startswith("ask/")]
    assert not [value for value in asks if b'"phase":"running"' in value]


def test_a_person_less_is_asked_less() -> None:
    """Without the policy that escalates nobody is called, verdicts are not needed, and the waits are gone."""
    whatif, flips = lived(Fleet(compiled(PERSON), 2).run(), compiled())
    assert (len(whatif.then.escalations) > 0, len(whatif.here.escalations)) == (True, 0)
    assert whatif.reports.counts[Treated.VERDICT_NOT_NEEDED]
    assert {pair[0][0] for pair in flips.counts} == {"escalated"}
    assert max(whatif.here.waits_ms) == 0 < max(whatif.then.waits_ms)


def test_verdicts_are_carried_over_where_the_rules_have_another_digest() -> None:
    """What a person said of the same ask holds under rules that differ elsewhere."""
    fleet = Fleet(compiled(PERSON), 3).run()
    whatif, flips = lived(fleet, compiled(PERSON, "name: other\ncondition: cost > 999999.0\naction: log"))
    assert not flips.counts
    assert {name[1]: verdict for name, verdict in whatif.here.last.items()} == {
        request_id: answers[-1] for request_id, answers in fleet.answers.items()
    }
    assert whatif.reports.counts[Treated.VERDICT_CARRIED_OVER]


def test_only_what_comes_after_the_moment_is_decided_otherwise() -> None:
    """With a moment to begin from, both worlds are the recorded one until then."""
    fleet = Fleet(compiled(PERSON), 4).run()
    middle = list(fleet.records())[len(fleet.writer.log) // 2].header.at_ms
    _, flips = lived(fleet, compiled(PERSON, DEAR), middle)
    assert 0 < flips.compared < fleet.asks
    assert {pair[1][1] for pair in flips.counts} == {"policy_blocked"}


def test_a_budget_that_is_gone_lets_more_run() -> None:
    """More money, more runs, never less; and what was denied for want of it is named."""
    fleet = Fleet(compiled(**budget(10)), 5).run()
    whatif, flips = lived(fleet, compiled())
    assert whatif.here.runs > whatif.then.runs
    rows = flips.rows()
    assert rows[0]["recorded"]["reason"] == "budget_exhausted"
    assert rows[0]["examples"]


def test_every_treatment_is_explained() -> None:
    """Whoever reads the report is told what was done with each kind of event that could not be taken as it is."""
    assert set(EXPLAINED) == set(Treated)
