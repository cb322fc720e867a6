"""Rules that an optimization changes, in the journal: they are proved as all rules are, and what it claims is too."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from ops_stream.audit.bypass import Bypass
from ops_stream.audit.export_file import reading
from ops_stream.audit.export_lines import Begin, Bundle
from ops_stream.audit.report import PartitionReport
from ops_stream.audit.restore import Restoring, survey
from ops_stream.audit.restore_again import Again, still_open
from ops_stream.audit.trail import Subject, Trail
from ops_stream.audit.verify import verify
from ops_stream.audit.whatif.claim import Claim, Factors
from ops_stream.audit.whatif.engine import WhatIf
from ops_stream.audit.whatif.optimized import rules_tried
from ops_stream.audit.whatif.sides import Ended, Sides, Sums, saved
from ops_stream.audit.whatif.tally import Flips
from ops_stream.contract.errors import NotSo
from ops_stream.core.decision import Decision
from ops_stream.core.journal import record as rec
from ops_stream.core.optimization_judging import judge
from ops_stream.core.rows import OPTIMIZATIONS, RULES, OptimizationRow, encode_row
from ops_stream.core.rows_optimization import NO_ARM
from ops_stream.core.rules_optimization import Kind, Optimization
from ops_stream.rules.bundle import POLICIES
from ops_stream.streams.exits import Refusal
from ops_stream.streams.rulebook import Rulebook, active_bundle
from tests.audit.exports import exported
from tests.audit.journals import ENGINE, KEY, Log
from tests.audit.trying import FILES, PLAIN, TRIED, USUAL_MICROS, Trying, finds
from tests.rules.building import yaml_of

SAVED = (USUAL_MICROS["large"] - USUAL_MICROS["small"]) / 1e6


@pytest.fixture(name="tried")
def _tried(monkeypatch: pytest.MonkeyPatch) -> Trying:
    """A journal in which a change was tried and put into force, and a worker started again."""
    finds(monkeypatch)
    writer = Trying().run(220)
    writer.start_again()
    return writer.run(30)


def audited(writer: Trying, log: Log | None = None) -> PartitionReport:
    """Audit its journal with the bundle alone: nobody has a bundle under the digest in force."""
    return verify(
        writer.log if log is None else log,
        partition=0,
        partitions=1,
        key=KEY,
        rules_of={one.digest: one for one in (TRIED, PLAIN)}.get,
        engine=ENGINE,
    )


def claimed(writer: Trying, log: Log | None = None) -> dict[str, Any]:
    """Put what its optimization claims to the proof."""
    records = [rec.read(value) for _, value in (writer.log if log is None else log)]
    sides = Sides(writer.id)
    for record in records:
        sides.take(record)
    sides.finish()
    assert sides.row is not None
    rules = rules_tried(TRIED, writer.id, sides.row)
    assert rules is not None
    factors = Factors(sides.usual, rules.models)
    lived = WhatIf(0, 1, rules, factor=factors)
    for record in records:
        if record.header.at_ms < sides.began_ms:
            lived.take(record)
    lived.finish()
    return Claim(sides, lived, factors.said()).as_dict()


def test_a_journal_under_amended_rules_is_decided_again_to_the_byte(tried: Trying) -> None:
    """Records name the digest in force, which no bundle has; the bundle behind it and the row give the rules again."""
    assert tried.found.state == "applied"
    assert tried.active.amended
    digests = {record.header.rules_digest for record in tried.records()}
    assert TRIED.digest in digests
    assert tried.active.digest in digests
    assert len(digests) == 3, "the bundle's, the trial's, and that of the change in force"
    report = audited(tried)
    assert report.findings == []
    assert report.decided_again == len(tried.log)


def test_a_worker_that_starts_again_goes_on_under_them(tried: Trying) -> None:
    """What is asked after it took over is decided with the change, on the side of its task."""
    ask = tried.row_of(f"r{tried.number}")
    assert ask is not None
    assert ask.arms
    assert ask.answer.rules == tried.active.digest


@pytest.mark.parametrize("what", ["share", "after", "tenant"])
def test_an_amendment_that_was_changed_in_the_row_is_found(tried: Trying, what: str) -> None:
    """Whoever has the key and seals a record again with another amendment is found by deciding that record again."""
    other = {"share": 99, "after": "large", "tenant": "team-x"}[what]
    log, offset = _resealed(tried, lambda row: _amended_otherwise(row, **{what: other}))
    findings = audited(tried, log).findings
    assert (findings[0].offset, findings[0].what) == (offset, "decision")


def test_nothing_is_decided_under_a_row_that_is_not_what_it_says(tried: Trying) -> None:
    """Where a record puts another amendment into the row under the old digest, a worker refuses to start, and an audit
    finds that record and every one after it."""
    row = _amended_otherwise(tried.ledger.state.rows["rules"], share=99)
    tried.now += 1000
    digest = tried.active.digest
    both: tuple[dict[str, bytes | None], ...] = ({"rules": row}, {})
    for changes in both:
        decision = Decision(changes, ())
        tried.append(tried.ledger.prepare_tick(decision, tried.now, ENGINE, digest))
    findings = audited(tried).findings
    assert [finding.what for finding in findings] == ["decision", "decision"]
    assert "comes out otherwise: changes" in findings[0].explanation
    assert "its row of rules names" in findings[1].explanation
    book = Rulebook()
    book.add(FILES)
    with pytest.raises(Refusal, match="its row of rules names"):
        book.active(tried.ledger.state)


def test_a_worker_takes_the_rules_of_the_row(tried: Trying) -> None:
    """The rulebook, which knows the bundle alone, gives it with the change, once more after another bundle came."""
    book = Rulebook()
    book.add(FILES)
    rules = book.active(tried.ledger.state)
    assert rules.digest == tried.active.digest
    assert rules.amended == {"default": tried.active.amended}
    assert book.active(tried.ledger.state) is rules
    other = book.add({POLICIES: yaml_of()})
    assert book.active(tried.ledger.state).known == {TRIED.digest, other}
    assert active_bundle(tried.ledger.state) == TRIED.digest


def test_the_same_rules_flip_nothing_in_another_world(tried: Trying) -> None:
    """Lived through under its own bundle, a journal finds, tries and applies the same change by itself."""
    whatif = WhatIf(0, 1, TRIED)
    for record in tried.records():
        whatif.take(record)
    whatif.finish()
    flips = Flips()
    whatif.compare(flips)
    assert not flips.counts
    assert whatif.here.spent_micros == whatif.then.spent_micros
    assert RULES.decode(whatif.other.state.rows["rules"]).digest == tried.active.digest


def test_from_the_middle_of_a_trial_the_same_rules_flip_nothing_either(tried: Trying) -> None:
    """The other world begins with what was tried then."""
    records = tried.records()
    whatif = WhatIf(0, 1, TRIED, from_ms=records[len(records) // 2].header.at_ms)
    for record in records:
        whatif.take(record)
    whatif.finish()
    flips = Flips()
    whatif.compare(flips)
    assert not flips.counts
    assert whatif.here.spent_micros == whatif.then.spent_micros


def test_a_claim_agrees_with_the_sides_as_they_were_drawn(tried: Trying) -> None:
    """Counted ask by ask from the journal, without the row's sums: the claim, and the truth, lie in the interval."""
    doc = claimed(tried)
    assert doc["agrees"] is True
    first = doc["judged"][0]
    assert first["state"] == "applied"
    low, high = first["interval"]
    assert low <= first["claimed"] <= high
    assert low <= SAVED <= high
    assert abs(first["found"] - first["claimed"]) < 0.002, "the row counts in units and rounds"
    assert first["reports"]["changed"] >= 60
    row, sides = tried.found, doc["sides"]
    assert abs(sides["changed"]["reports"] - row.changed.reports) <= 2, (
        "both halve what is older, the row rounds"
    )
    assert abs(sides["kept"]["reports"] - row.kept.reports) <= 2


def test_choices_that_were_drawn_say_the_same(tried: Trying) -> None:
    """Each side's model was chosen by chance, and the approval says how probable it was: weighed by that."""
    drawn = claimed(tried)["drawn"]
    assert drawn["claim_within"] is True
    assert drawn["interval"][0] <= SAVED <= drawn["interval"][1]


def test_the_time_before_is_lived_through_with_the_change(tried: Trying) -> None:
    """Every ask that may be tried gets the cheaper model; only its price was known, and it says so."""
    history = claimed(tried)["history"]
    assert history["asks"] == history["asks_changed"] > 5
    assert history["failed"] == 0
    assert history["other_usd"] == pytest.approx(history["recorded_usd"] / 5, rel=0.01), (
        "a fifth of the price"
    )
    assert any("in proportion to their prices" in line for line in history["assumptions"])
    assert any(row["what"] == "cost_of_other_model" for row in history["treated"])


def test_a_claim_that_the_journal_does_not_bear_out_is_found(tried: Trying) -> None:
    """A row that claims three times the saving does not agree, whatever its own sums say."""

    def boast(row: bytes) -> bytes:
        claim = OPTIMIZATIONS.decode(row)
        return encode_row(msgspec.structs.replace(claim, effect=claim.effect * 3))

    log, _ = _resealed(tried, boast, key=f"optimization/default|{tried.id}", when='"state":"applied"')
    doc = claimed(tried, log)
    assert doc["agrees"] is False


def test_before_anything_was_reported_there_is_nothing_to_compare(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trial that has just begun has a claim and no sides."""
    finds(monkeypatch)
    doc = claimed(Trying().run(15))
    assert doc["state"] == "trial"
    assert doc["agrees"] is None
    assert doc["judged"][0]["interval"] is None


def test_a_change_that_saves_nothing_is_no_finding_but_its_claim_agrees(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What a rejected trial has shown is what the journal says too."""
    finds(monkeypatch)
    monkeypatch.setitem(USUAL_MICROS, "small", USUAL_MICROS["large"])
    writer = Trying(seed=3).run(260)
    row = writer.found
    assert row.state in ("rejected", "reverted")
    doc = claimed(writer)
    assert doc["agrees"] is True
    low, high = doc["judged"][0]["interval"]
    assert low <= 0 <= high
    assert audited(writer).findings == []
    assert writer.active.digest == TRIED.digest


def test_rules_that_are_activated_while_something_is_tried_are_proved_too(tried: Trying) -> None:
    """Then the row names another bundle and no amendments, and the same bundle once more is one that was known."""
    for number, digest in enumerate((PLAIN.digest, TRIED.digest)):
        body: dict[str, Any] = {"event": "ControlCommand", "command": "activate_rules", "issued_by": "ana"}
        tried.input("control", command_id=f"cmd-{number}", parameters={"digest": digest}, **body)
        assert tried.active.digest == digest
        tried.run(3)
    report = audited(tried)
    assert report.findings == []
    assert report.decided_again == len(tried.log)


def test_a_journal_goes_on_in_another_cluster_under_them(tried: Trying, tmp_path: Path) -> None:
    """An export has the bundle alone; the record by which the restored journal goes on is decided with the change."""
    path = exported([tried.log], tmp_path / "out.jsonl")
    found = survey(path, KEY, {}, lambda *_: None)
    restoring = Restoring(0, found, KEY)
    with reading(path) as reader:
        for line in reader.lines():
            if not isinstance(line, Begin | Bundle):
                restoring.take(reader, line)
    rebase = restoring.rebase({TRIED.digest: TRIED}.get, ENGINE)
    assert rebase is not None
    log = [*tried.log, (rebase.written.offset, rebase.written.value)]
    assert rec.read(rebase.written.value).header.rules_digest == tried.active.digest
    assert audited(tried, log).findings == []
    with pytest.raises(NotSo, match="rules in force") as missing:
        restoring.rebase({tried.active.digest: TRIED}.get, ENGINE)
    assert missing.value.where == TRIED.digest


def test_whether_an_agent_is_observed_is_asked_of_the_bundle(tried: Trying) -> None:
    """Nobody has a bundle under the digest that the records name."""
    tried.input("telemetry", event_id="e-x", request_id="nobody", task_id="t", agent="a", kind="completed")
    asked: list[str] = []

    def observed(digest: str, tenant: str, agent: str) -> bool:
        asked.append(digest)
        return True

    bypass = Bypass(0, 1, observed)
    kinds = [
        found.kind for number, record in enumerate(tried.records()) for found in bypass.take(number, record)
    ]
    assert (kinds, asked) == (["observed_run"], [TRIED.digest])


def test_an_ask_is_explained_under_the_rules_of_its_day(tried: Trying) -> None:
    """What was seen as it was decided can be had again, and the digest in force is named."""
    name = f"r{tried.number}"
    trail = Trail(0, 1, KEY, {TRIED.digest: TRIED}.get, Subject("ask", "default", name))
    for offset, value in tried.log:
        trail.take(offset, value)
    assert trail.notes == []
    first = trail.moments[0]
    assert first["rules_digest"] == tried.active.digest
    assert first["looks"]


def test_a_restore_tells_once_more_of_what_is_in_force(tried: Trying) -> None:
    """The newest word on a change that is tried or in force goes out in the new cluster, and none before it."""
    rows = tried.ledger.state.rows
    again = Again(0, {}, set(still_open(rows)))
    for record in tried.records():
        again.take(record)
    told = [
        output for written in again.records for output in written.outputs if output.topic == "optimizations"
    ]
    assert [msgspec.json.decode(output.value)["state"] for output in told] == ["applied"]


def _amended_otherwise(row: bytes, **fields: Any) -> bytes:
    active = RULES.decode(row)
    (one,) = active.amended
    return encode_row(msgspec.structs.replace(active, amended=(msgspec.structs.replace(one, **fields),)))


def _resealed(writer: Trying, change: Any, key: str = "rules", when: str = '"amended"') -> tuple[Log, int]:
    """Change the first row under a key that says `when` and seal that record again, as one who has the key could;
    gives the journal and where it was."""
    log = list(writer.log)
    for at, (offset, value) in enumerate(log):
        record = rec.read(value)
        changes = rec.decode_changes(record.changes)
        row = changes.get(key)
        if row is None or when not in row.decode():
            continue
        body = json.loads(record.changes)
        body[key] = json.loads(change(row))
        sealed = rec.seal(record.header, record.input, record.outputs, json.dumps(body).encode(), KEY)
        log[at] = (offset, sealed.value)
        return log, offset
    raise AssertionError(key)


@pytest.mark.parametrize(
    "kind", ["cheaper_model", "faster_model", "router", "hold_safety", "agent", "retry_plan"]
)
def test_every_kind_is_counted_again_as_it_is_judged(kind: Kind) -> None:
    """Of the same reports the sums made here and those of the row say the same, but for rounding."""
    chance = Random(kind)
    row = OptimizationRow(
        tenant="t", kind=kind, scope="", state="trial", until=0, since=0, path="", before="4", after="2"
    )
    sides = {"changed": Sums(), "kept": Sums()}
    arms = {"changed": NO_ARM, "kept": NO_ARM}
    for _ in range(400):
        name = chance.choice(("changed", "kept"))
        cost, taken = chance.randrange(2_000, 9_000), chance.randrange(100, 900)
        over = chance.choice((0, 0, 700))
        ended = Ended(chance.random() < 0.8, cost, taken, over)
        sides[name].add(ended)
        arm = arms[name]
        arms[name] = msgspec.structs.replace(
            arm,
            reports=arm.reports + 1,
            good=arm.good + ended.good,
            cost_units=arm.cost_units + cost,
            cost_squares=arm.cost_squares + cost * cost,
            timed=arm.timed + 1,
            taken_units=arm.taken_units + taken,
            taken_squares=arm.taken_squares + taken * taken,
            quality=arm.quality + 1_000 * ended.good,
            quality_squares=arm.quality_squares + 1_000_000 * ended.good,
            over=arm.over + (over > 0),
            overrun=arm.overrun + over,
        )
    judged = judge(msgspec.structs.replace(row, **arms), Optimization())
    found = saved(row, sides["changed"], sides["kept"])
    assert found is not None
    assert [round(value) for value in (found.value, found.low, found.high)] == [
        judged.effect,
        judged.low,
        judged.high,
    ]
