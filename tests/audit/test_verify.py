"""`audit verify` on copied journals: what is whole passes, what anybody did to it is found."""

from __future__ import annotations

import pytest

from ops_stream.core.journal import record as rec
from tests.audit.journals import KEY, OTHER_KEY, RULES, Log, Writer, audit, changed, ordinary_day, resealed

DAY = ordinary_day()
LAST = len(DAY.log) - 1


def test_an_untouched_journal_passes_and_every_record_is_decided_again() -> None:
    """Nothing is found, and the counts say what was looked at."""
    report = audit(DAY.log)
    assert report.passed, report.findings
    assert report.records == report.decided_again == len(DAY.log)
    assert report.records == report.inputs + report.ticks + report.takeovers + report.gaps
    assert (report.takeovers, report.ticks, report.gaps) == (2, 2, 1)
    assert not report.voids


def test_an_empty_journal_passes() -> None:
    """There is nothing to be wrong."""
    assert audit([]).passed


@pytest.mark.parametrize("at", range(len(DAY.log)))
def test_a_change_to_any_record_is_found_there(at: int) -> None:
    """One changed digit in any record is the first wrong record, whatever it was."""
    log = list(DAY.log)
    record = rec.read(log[at][1])
    digit = record.header.state_digest[-1]
    other = "0" if digit != "0" else "1"
    ending = record.header.state_digest[-8:]
    log[at] = (at, changed(log[at][1], ending, ending[:-1] + other))
    report = audit(log)
    assert report.findings[0].offset == at
    assert report.findings[0].what == "changed"


@pytest.mark.parametrize("at", range(len(DAY.log)))
def test_a_record_overwritten_with_rubbish_is_found_there(at: int) -> None:
    """Rubbish in a record's place breaks the chain behind it; at the very end only the outputs can tell."""
    log = list(DAY.log)
    log[at] = (at, b"rubbish")
    report = audit(log)
    if at == LAST:
        assert report.voids == {"foreign": 1}
    else:
        assert report.findings[0].offset == at


@pytest.mark.parametrize("at", range(len(DAY.log) - 1))
def test_a_removed_record_is_found_where_its_offset_stays_empty(at: int) -> None:
    """What follows a removed record does not follow what is left."""
    log = [entry for entry in DAY.log if entry[0] != at]
    report = audit(log)
    assert report.findings[0].offset == at + 1
    assert report.findings[0].what == "removed"


@pytest.mark.parametrize("at", range(len(DAY.log) - 1))
def test_a_removed_record_is_found_where_the_later_ones_move_up(at: int) -> None:
    """A record that stands before the offset it was written for shows that something is gone."""
    report = audit(renumbered([entry for entry in DAY.log if entry[0] != at]))
    assert report.findings[0].offset == at
    assert report.findings[0].what == "removed"


@pytest.mark.parametrize("at", range(len(DAY.log)))
@pytest.mark.parametrize("what", ["rubbish", "copy", "forged"])
def test_an_inserted_record_is_found_where_the_later_ones_move_down(at: int, what: str) -> None:
    """Nothing inserted passes as a lost race: what the supervisor wrote after it gives it away."""
    copied = DAY.log[max(0, at - 3)][1]
    inserted = {"rubbish": b"rubbish", "copy": copied, "forged": changed(copied, '"hash":"', '"hash":"0')}
    report = audit(renumbered([*DAY.log[:at], (at, inserted[what]), *DAY.log[at:]]))
    assert not report.passed
    assert report.findings[0].offset in (at, at + 1)


@pytest.mark.parametrize("at", range(len(DAY.log) - 1))
def test_two_records_that_changed_places_are_found(at: int) -> None:
    """Order is part of the proof."""
    log = list(DAY.log)
    log[at], log[at + 1] = (at, log[at + 1][1]), (at + 1, log[at][1])
    report = audit(log)
    assert report.findings[0].offset == at


def test_a_chain_made_anew_without_the_key_is_found_at_its_first_record() -> None:
    """Whoever chains the records again needs the key: MACs under another are wrong."""
    log, previous = list(DAY.log), ""
    for at in range(5, len(log)):
        header = {"previous_hash": previous} if previous else {"published_through": 0}
        value = resealed(log[at][1], OTHER_KEY, **header)
        previous = rec.read(value).hash
        log[at] = (at, value)
    report = audit(log)
    assert report.findings[0].offset == 5
    assert report.wrong == len(log) - 5


def test_a_journal_under_another_key_is_not_passed() -> None:
    """A record under an unknown key is no lost race."""
    stranger = Writer(OTHER_KEY)
    stranger.take_over()
    report = audit(stranger.log)
    assert report.findings[0].what == "other_key"
    assert report.records == 0


def test_a_record_of_another_partition_is_found() -> None:
    """A genuine record copied from another partition does not belong here."""
    writer = Writer()
    writer.take_over()
    writer.land(resealed(writer.log[0][1], KEY, partition=3))
    assert audit(writer.log).findings[0].offset == 1


@pytest.mark.parametrize("kind", ["input", "tick", "takeover", "gap"])
def test_a_decision_that_does_not_come_out_again_is_found_even_under_the_key(kind: str) -> None:
    """Who has the key can seal anything, but deciding again shows what was not decided so."""
    cut = next(at for at, value in reversed(DAY.log) if rec.read(value).header.kind == kind)
    record = rec.read(DAY.log[cut][1])
    outputs = (
        b"[]"
        if record.outputs != b"[]"
        else b'[{"topic":"approvals","key":"k","type":"T","id":"i","value":{}}]'
    )
    sealed = rec.seal(record.header, record.input, outputs, record.changes, KEY)
    report = audit([*DAY.log[:cut], (cut, sealed.value)])
    assert [(finding.offset, finding.what) for finding in report.findings] == [(cut, "decision")]
    assert "outputs" in report.findings[0].explanation


def test_a_state_that_is_not_the_one_named_is_found_even_under_the_key() -> None:
    """The digest of the state is recomputed, not believed."""
    value = resealed(DAY.log[6][1], KEY, state_digest="0" * 64)
    report = audit([*DAY.log[:6], (6, value), *DAY.log[7:]])
    assert [finding.what for finding in report.findings[:2]] == ["decision", "state"]


@pytest.mark.parametrize("header", [{"at_ms": 1_800_000_000_000}, {"rules_digest": RULES.digest[:-1] + "c"}])
def test_a_header_that_is_not_as_decided_is_found_even_under_the_key(header: dict[str, object]) -> None:
    """Time and rules follow from the input and the state before."""
    value = resealed(DAY.log[6][1], KEY, **header)
    assert audit([*DAY.log[:6], (6, value)]).findings[0].what == "decision"


def test_rules_that_nobody_has_any_more_are_named_once() -> None:
    """Without its rules nothing can be decided again, and that is not passed over."""
    report = audit(DAY.log, book={})
    assert [finding.what for finding in report.findings] == ["rules", "rules"]
    assert report.decided_again == 0
    assert report.records == len(DAY.log)


def test_another_engine_is_no_proof_against_a_record() -> None:
    """What another engine decided is decided again all the same, and counted where it comes out otherwise."""
    assert audit(DAY.log, engine="2").passed
    record = rec.read(DAY.log[6][1])
    sealed = rec.seal(record.header, record.input, b"[]", record.changes, KEY)
    report = audit([*DAY.log[:6], (6, sealed.value)], engine="2")
    assert report.passed
    assert report.other_engine == {"1+test": 1}


def test_lost_races_and_strangers_are_counted_and_pass() -> None:
    """Two supervisors fight for a partition while somebody writes rubbish: all void, none of it wrong."""
    old = ordinary_day()
    log = list(old.log)
    in_flight = [old.prepare("telemetry", broken=True)]
    old.ledger.commit(in_flight[0])
    in_flight.append(old.prepare("telemetry", broken=True))
    new = Writer()
    new.log = log
    new.land(b"rubbish")
    new.land(None)
    new.recover("b3")
    for prepared in in_flight:
        new.land(prepared.written.value)
    new.recover("b4")
    report = audit(new.log)
    assert report.passed, report.findings
    assert report.voids == {"foreign": 2, "late": 2}
    assert report.takeovers == 4


def test_a_takeover_that_lost_its_race_passes() -> None:
    """The old owner's record lands first, the takeover lands late, and its second try counts."""
    old = ordinary_day()
    new = Writer()
    new.log = list(old.log)
    new.recover("b3")
    lost = new.log.pop()[1]
    old.ask("r20")
    new.log = list(old.log)
    new.land(lost)
    in_flight = old.prepare("telemetry", broken=True)
    new.land(in_flight.written.value)
    assert not audit(new.log).passed, "nothing says yet that the record in flight was not pushed aside"
    new.recover("b3")
    report = audit(new.log)
    assert report.passed, report.findings
    assert report.voids == {"late": 1, "displaced": 1}


def renumbered(log: Log) -> Log:
    """Give the records the offsets of their places, as in a log written anew."""
    return [(at, value) for at, (_, value) in enumerate(log)]
