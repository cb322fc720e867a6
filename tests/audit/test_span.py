"""Deciding only a part of a journal again: all that can be found without deciding is found all the same."""

from __future__ import annotations

import pytest
from msgspec.structs import replace as with_

from ops_stream.audit.published import Outputs
from ops_stream.audit.span import Proved, Span
from ops_stream.audit.verify import Verifier
from ops_stream.core.journal import record as rec
from tests.audit.journals import BOOK, ENGINE, KEY, OTHER_KEY, Log, Writer, changed, ordinary_day, resealed

DAY = ordinary_day()
LAST = len(DAY.log) - 1
TIMES = [rec.read(value).header.at_ms for _, value in DAY.log]


def proving(log: Log, span: Span) -> Verifier:
    """A verifier that has read a log and given its report."""
    verifier = Verifier(0, 1, KEY, BOOK.get, ENGINE, Outputs((0,)), span=span)
    for offset, value in log:
        verifier.take(offset, value)
    verifier.finish()
    return verifier


def proved_to(offset: int, log: Log = DAY.log) -> Proved:
    """What a run says that has proved a log up to a record."""
    mark = proving(log[: offset + 1], Span()).mark
    assert mark is not None
    return mark


def decided_wrongly(at: int) -> Log:
    """A log in which one record, and all that follow it, were sealed anew over outputs that nobody decided."""
    writer = Writer()
    for offset, value in DAY.log[:at]:
        writer.ledger.fold(offset, value)
    log = list(DAY.log[:at])
    previous = rec.read(log[-1][1]).hash
    for offset, value in DAY.log[at:]:
        record = rec.read(value)
        outputs = b"[]" if offset == at else record.outputs
        header = with_(record.header, previous_hash=previous)
        sealed = rec.seal(header, record.input, outputs, record.changes, KEY)
        log.append((offset, sealed.value))
        previous = sealed.hash
    return log


@pytest.mark.parametrize("begin", range(0, LAST, 4))
@pytest.mark.parametrize("end", [5, 12, LAST])
def test_only_what_was_decided_between_two_moments_is_decided_again(begin: int, end: int) -> None:
    """The beginning is in it and the end is not; everything is folded, and nothing is wrong."""
    report = proving(DAY.log, Span(TIMES[begin], TIMES[end])).report
    wanted = sum(TIMES[begin] <= at < TIMES[end] for at in TIMES)
    assert report.passed, report.findings
    assert (report.decided_again, report.sealed_only) == (wanted, len(DAY.log) - wanted)
    assert report.records == len(DAY.log)


def test_a_wrong_decision_is_found_where_it_is_decided_again_and_only_there() -> None:
    """Whoever has the journal key can seal anything: only deciding finds it."""
    at = 4
    log = decided_wrongly(at)
    assert proving(log, Span(TIMES[at], TIMES[at] + 1)).report.findings[0].offset == at
    assert proving(log, Span(TIMES[at] + 1)).report.passed
    assert proving(log, Span(0, TIMES[at])).report.passed


@pytest.mark.parametrize("at", range(0, LAST, 3))
def test_what_needs_no_deciding_is_found_also_outside_of_the_period(at: int) -> None:
    """A record that was changed or removed: its seal and its place are looked at everywhere."""
    nothing = Span(TIMES[-1] + 1)
    log = list(DAY.log)
    log[at] = (at, changed(log[at][1], '"changes":{', '"changes":{ '))
    found = proving(log, nothing).report.findings
    assert found
    assert found[0].offset in (at, at + 1)
    gone = [entry for entry in DAY.log if entry[0] != at]
    assert proving(gone, nothing).report.findings[0].what == "removed"


@pytest.mark.parametrize("at", range(0, LAST, 4))
def test_a_later_run_decides_only_what_came_since(at: int) -> None:
    """And says the same of the whole journal."""
    verifier = proving(DAY.log, Span(proved=proved_to(at)))
    assert verifier.report.passed
    assert verifier.report.decided_again == LAST - at
    assert verifier.mark == proved_to(LAST)


def test_a_journal_that_was_sealed_again_since_is_found() -> None:
    """Wherever it begins to differ: the hash of the last record that was proved stands for all before it."""
    before = proved_to(10)
    for at in (4, 10):
        report = proving(decided_wrongly(at), Span(proved=before)).report
        assert [(finding.what, finding.offset) for finding in report.findings] == [("resume", 10)]
    assert proving(decided_wrongly(11), Span(proved=before)).report.findings[0].what == "decision"


def test_a_journal_that_is_shorter_than_what_was_proved_is_found() -> None:
    """Its tail was cut, without a checkpoint that tells of it."""
    report = proving(DAY.log[:6], Span(proved=proved_to(10))).report
    assert [finding.what for finding in report.findings] == ["resume"]


def test_nothing_is_called_proved_that_was_not() -> None:
    """A run that found something wrong, decided only a part, or met another engine's record leaves no mark."""
    wrong = list(DAY.log)
    wrong[4] = (4, b"rubbish")
    assert proving(wrong, Span()).mark is None
    assert proving(DAY.log, Span(TIMES[3])).mark is None
    assert proving([], Span()).mark is None
    verifier = Verifier(0, 1, KEY, BOOK.get, "another", Outputs((0,)))
    log = [(offset, resealed(value, KEY, engine_version="old")) for offset, value in DAY.log[:1]]
    for offset, value in log:
        verifier.take(offset, value)
    assert verifier.finish().other_engine == {"old": 1}
    assert verifier.mark is None


def test_a_mark_is_believed_only_with_its_seal() -> None:
    """Each part of it is under the seal, and the seal is that of the journal key."""
    mark = proved_to(10).sealed(KEY)
    assert mark.holds(KEY)
    assert not mark.holds(OTHER_KEY)
    for change in ({"partition": 1}, {"offset": 11}, {"hash": "0" * 64}, {"engine": "x"}, {"seal": "é"}):
        assert not with_(mark, **change).holds(KEY)
