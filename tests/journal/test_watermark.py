"""Snapshots: a watermark that nobody can make up, and rows that are believed only once the journal proves them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_stream.core.journal.ledger import BrokenChain, Folded, Ledger
from ops_stream.core.journal.watermark import Watermark, open_watermark, seal_watermark, watermark_of
from ops_stream.core.rows import Answer, Ask, ask_key, encode_row
from ops_stream.core.state import State
from ops_stream.core.step import Decision
from tests.journal.strategies import FEW, KEY, OTHER, Log, logs, standing

MARK = Watermark(2, 17, "a" * 64, 1_000, 15, "b" * 64, "1+cel")


def snapshots(log: Log) -> list[tuple[Watermark, dict[str, bytes]]]:
    """What a snapshot holds after each record that counts."""
    ledger = Ledger(State(0, 6), KEY)
    found = []
    for offset, value in log.records:
        result = ledger.fold(offset, value)
        if isinstance(result, Folded):
            found.append((watermark_of(result.record.header, result.record.hash), dict(ledger.state.rows)))
    return found


def resumed(log: Log, watermark: Watermark, rows: dict[str, bytes]) -> Ledger:
    """A ledger over a snapshot that has folded the rest of a log."""
    ledger = Ledger.from_watermark(rows, 6, KEY, watermark)
    for offset, value in log.records:
        if offset >= watermark.next_offset:
            ledger.fold(offset, value)
    return ledger


# -- the watermark itself


def test_a_watermark_comes_back() -> None:
    """Sealed and opened under the same key it is the same."""
    assert open_watermark(seal_watermark(MARK, KEY), KEY) == MARK


def test_a_watermark_that_was_changed_is_none() -> None:
    """Every single byte counts: of its MAC and of what it says."""
    sealed = seal_watermark(MARK, KEY)
    for at in range(len(sealed)):
        for bit in range(8):
            changed = sealed[:at] + bytes((sealed[at] ^ 1 << bit,)) + sealed[at + 1 :]
            assert open_watermark(changed, KEY) is None


@pytest.mark.parametrize("length", [0, 1, 63, 64, 65, 100])
def test_a_watermark_that_was_cut_is_none(length: int) -> None:
    """However little is left of it."""
    assert open_watermark(seal_watermark(MARK, KEY)[:length], KEY) is None


def test_a_watermark_under_another_key_is_none() -> None:
    """Nor does a MAC of something else open one."""
    assert open_watermark(seal_watermark(MARK, OTHER), KEY) is None
    assert open_watermark(KEY.mac(b"{}").encode() + b"{}", KEY) is None
    assert open_watermark(KEY.mac(b"watermark\n{}").encode() + b"{}", KEY) is None


def test_a_watermark_of_another_partition_says_so() -> None:
    """Whoever reads snapshots compares it; it cannot be changed on the way."""
    found = open_watermark(seal_watermark(MARK, KEY), KEY)
    assert found is not None
    assert found.partition == 2


# -- going on from one


@FEW
@given(logs(at_least=1), st.data())
def test_going_on_from_a_snapshot_equals_folding_everything(log: Log, data: st.DataObject) -> None:
    """From wherever a snapshot was taken, the ledger at the end is the same, and proved."""
    watermark, rows = data.draw(st.sampled_from(snapshots(log)))
    ledger = resumed(log, watermark, dict(rows))
    assert not ledger.proved
    ledger.prove()
    assert standing(ledger) == standing(log.ledger)
    assert ledger.published_through == log.prepared[-1].header.published_through


@FEW
@given(logs(at_least=2), st.data())
def test_an_old_watermark_over_newer_rows_only_means_folding_more(log: Log, data: st.DataObject) -> None:
    """The rows after it are written again as they were; what comes out is the same."""
    found = snapshots(log)
    older = data.draw(st.integers(0, len(found) - 1))
    newer = data.draw(st.integers(older, len(found) - 1))
    ledger = resumed(log, found[older][0], dict(found[newer][1]))
    ledger.prove()
    assert standing(ledger) == standing(log.ledger)


@FEW
@given(logs(at_least=2), st.data())
def test_a_stale_missing_or_foreign_row_is_found(log: Log, data: st.DataObject) -> None:
    """A snapshot whose rows differ in anything from the journal's is not believed."""
    watermark, rows = data.draw(st.sampled_from(snapshots(log)))
    wrong = dict(rows)
    name = data.draw(st.sampled_from([*rows, "x/stranger"]))
    wrong[name] = wrong.get(name, b"") + b"0"
    if data.draw(st.booleans()) and name in rows:
        del wrong[name]
    ledger = resumed(log, watermark, wrong)
    if ledger.state.rows == log.ledger.state.rows:
        ledger.prove()  # the wrong row was written over since
        assert standing(ledger) == standing(log.ledger)
    else:
        with pytest.raises(BrokenChain, match="do not sum"):
            ledger.prove()


def test_newer_rows_than_their_watermark_are_found_where_nothing_follows() -> None:
    """Rows of a record that never counted cannot hide behind a watermark that does."""
    log = Log()
    log.write("takeover", Decision({"x/1": b"1"}))
    watermark, rows = snapshots(log)[0]
    ledger = resumed(log, watermark, {**rows, "x/1": b"2"})
    with pytest.raises(BrokenChain, match="do not sum"):
        ledger.prove()


@pytest.mark.parametrize(
    "row", ["ask/t|r", "ask/", "ask", "agent/x", "kill", "limit/", "sweep/1", "escalation/1"]
)
@pytest.mark.parametrize("value", [b"garbage", b"", b"{}", b"[1]", b"\xff"])
def test_forged_rows_are_not_read_before_they_are_proved(row: str, value: bytes) -> None:
    """Whatever somebody wrote into a snapshot ends in one kind of error, and the journal is folded instead."""
    log = Log()
    log.write("takeover", Decision({"x/1": b"1"}))
    watermark, rows = snapshots(log)[0]
    log.write("tick", Decision({row: None}) if row == "ask/" else Decision({"x/2": b"2"}))
    ledger = resumed(log, watermark, {**rows, row: value})
    if row == "ask/":
        ledger.prove()
    else:
        with pytest.raises(BrokenChain, match="do not sum"):
            ledger.prove()


def test_what_a_forged_row_said_leaves_no_mark_where_it_was_written_over() -> None:
    """Indexes are built from the proved rows alone: no ask of a tenant who never asked is open."""
    asks = {
        tenant: encode_row(
            Ask(tenant, "r", "t", "a", "sha256:0", "running", 99, Answer("approved", "approved", 1, "rules"))
        )
        for tenant in ("alpha", "bravo")
    }
    key = ask_key("alpha", "r")
    log = Log()
    log.write("takeover", Decision({"x/1": b"1"}))
    watermark, rows = snapshots(log)[0]
    log.write("input", Decision({key: asks["alpha"]}))
    log.write("input", Decision({key: None}))
    ledger = resumed(log, watermark, {**rows, key: asks["bravo"]})
    ledger.prove()
    assert standing(ledger) == standing(log.ledger)
    assert (ledger.state.tenants, ledger.state.next_due_ms()) == ({}, None)
    log.write("input", Decision({key: asks["alpha"]}))
    ledger.fold(*log.records[-1])
    assert list(ledger.state.tenants) == ["alpha"]
