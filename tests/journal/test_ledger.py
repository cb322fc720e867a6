"""Writing a journal and folding it leave the same ledger; what does not count changes nothing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ops_stream.core.inputs import Gap, Takeover
from ops_stream.core.journal import record as rec
from ops_stream.core.journal.chain import JournalKey, short_digest
from ops_stream.core.journal.ledger import GAP_DIGEST, BrokenChain, Folded, Ledger, Position, Void
from ops_stream.core.journal.record import RawInput
from ops_stream.core.state import State
from ops_stream.core.step import Decision
from tests.journal.strategies import FEW, KEY, KINDS, OTHER, Log, decisions, logs, standing

NOTHING = Decision()


def folded(log: Log, records: Any = None) -> Ledger:
    """A new ledger that has folded a log."""
    ledger = Ledger(State(0, 6), KEY)
    for offset, value in log.records if records is None else records:
        ledger.fold(offset, value)
    return ledger


def small() -> Log:
    """A takeover, two inputs and a tick."""
    log = Log()
    log.write("takeover", Decision({"x/1": b"1"}))
    log.write("input", Decision({"x/1": b"2", "x/2": b"2"}), value=b"one")
    log.write("input", Decision({"x/1": None}), value=b"two")
    log.write("tick", Decision({"x/3": b"3"}))
    return log


def resealed(value: bytes | None, key: JournalKey = KEY, **changes: Any) -> bytes:
    """A record with other header fields or parts, sealed again."""
    record = rec.read(value)
    input_, outputs, rows = (
        changes.pop(name, getattr(record, name)) for name in ("input", "outputs", "changes")
    )
    return rec.seal(replace(record.header, **changes), input_, outputs, rows, key).value


# -- writing and folding


@FEW
@given(logs())
def test_writing_and_folding_leave_the_same_ledger(log: Log) -> None:
    """State, digest, chain, time and positions are the same whether a ledger wrote a journal or read it."""
    reader = folded(log)
    assert standing(reader) == standing(log.ledger)
    last = log.prepared[-1].header.published_through if log.prepared else 0
    assert reader.published_through == last
    reader.prove()
    assert reader.voids == len(log.records) - len(log.prepared)


@FEW
@given(logs(at_least=1), decisions, st.sampled_from(KINDS))
def test_whoever_has_folded_a_journal_writes_on_as_its_writer_would(
    log: Log, decision: Decision, kind: str
) -> None:
    """The next record is the same to the byte."""
    reader = folded(log)
    reader.published_through = log.ledger.published_through
    other = Log(reader, [], [], log.now, dict(log.offsets))
    assert other.write(kind, decision).written.value == log.write(kind, decision).written.value


@FEW
@given(logs(), decisions)
def test_preparing_a_record_changes_nothing(log: Log, decision: Decision) -> None:
    """A takeover that lands elsewhere has never been."""
    ledger = log.ledger
    before = standing(ledger) | {"rows": dict(ledger.state.rows)}
    ledger.prepare_takeover(Takeover("b", "i", "2", "r"), decision, log.now + 1, "r")
    ledger.prepare_gap(Gap("telemetry", 0, 0, 9), decision, log.now + 1, "1", "r")
    ledger.prepare_input(RawInput("telemetry", 0, 99, 0, b"x"), decision, log.now + 1, "1", "r")
    assert standing(ledger) == before


def test_records_are_committed_in_their_turn() -> None:
    """One that was prepared before another was written can no longer be committed."""
    log = small()
    late = log.ledger.prepare_tick(NOTHING, log.now, "1", "rules")
    log.write("tick", NOTHING)
    with pytest.raises(BrokenChain, match="out of turn"):
        log.ledger.commit(late)


def test_positions_say_what_comes_next_and_what_came_before() -> None:
    """After an input its digest stands there, after a gap that there is nothing to compare."""
    log = Log()
    assert log.ledger.position("telemetry") is None
    log.write("input", NOTHING, value=b"abc")
    assert log.ledger.position("telemetry") == Position(1, short_digest(b"abc"))
    log.write("input", NOTHING, value=None)
    assert log.ledger.position("telemetry") == Position(2, "-")
    log.write("gap", NOTHING)
    assert log.ledger.position("telemetry") == Position(5, GAP_DIGEST)
    assert log.ledger.position("control") is None
    assert folded(log).position("telemetry") == Position(5, GAP_DIGEST)


def test_folding_remembers_which_rows_a_snapshot_lacks() -> None:
    """Each with the offset of its last change, positions and deletions too."""
    reader = folded(small())
    assert reader.touched == {"x/1": 2, "x/2": 1, "x/3": 3, "position/telemetry": 2}


def test_offsets_that_hold_nothing_are_passed_over() -> None:
    """A foreign transaction's marker takes an offset; the next record that expects to come after it counts."""
    log = small()
    log.ledger.next_offset += 2
    log.write("tick", NOTHING)
    reader = folded(log)
    assert standing(reader) == standing(log.ledger)
    assert reader.next_offset == 7


# -- what does not count


def broken(log: Log, at: int, value: bytes | None) -> list[Folded | Void]:
    """What folding a log comes to, with another value at one place."""
    ledger = Ledger(State(0, 6), KEY)
    return [ledger.fold(offset, value if offset == at else one) for offset, one in log.records]


@pytest.mark.parametrize("value", [None, b"", b"hello", b"{}", b"\xff", b"[" * 9_999])
def test_foreign_bytes_are_void(value: bytes | None) -> None:
    """They take an offset and change nothing else."""
    log = small()
    before = standing(log.ledger) | {"next": 5}
    log.intrude(value)
    reader = folded(log)
    assert standing(reader) == before
    assert reader.voids == 1
    log.write("tick", NOTHING)
    assert standing(folded(log)) == standing(log.ledger)


def test_a_record_that_landed_elsewhere_is_void() -> None:
    """It may be sealed and follow: whoever wrote it has lost the partition, and all that follows it too."""
    log = small()
    late = [log.ledger.prepare_tick(Decision({"x/1": b"9"}), log.now, "1", "rules")]
    loser = folded(log)
    loser.commit(late[0])
    late.append(loser.prepare_tick(NOTHING, log.now, "1", "rules"))
    log.write("takeover", NOTHING)
    for prepared in late:
        log.intrude(prepared.written.value)
    reader = folded(log)
    assert standing(reader) == standing(log.ledger)
    assert reader.voids == 2
    result = reader.fold(7, late[0].written.value)
    assert isinstance(result, Void)
    assert "expected to land at offset 4" in result.reason
    assert not result.astray


def test_a_replayed_record_is_void() -> None:
    """An old record that is written once more stands at another offset than it expected."""
    log = small()
    for _, value in list(log.records):
        log.intrude(value)
    reader = folded(log)
    assert reader.voids == 4
    assert standing(reader) == standing(log.ledger)


def test_a_record_of_another_partition_is_void() -> None:
    """Also at the same offset, under the same key."""
    other = Log(Ledger(State(1, 6), KEY))
    other.write("takeover", NOTHING)
    result = Ledger(State(0, 6), KEY).fold(0, other.records[0][1])
    assert isinstance(result, Void)
    assert "partition 1" in result.reason


def test_a_record_under_another_key_is_void_and_says_so() -> None:
    """Where it stands where it should, the ledger may be the one with the wrong key: then a worker must not start."""
    log = Log(Ledger(State(0, 6), OTHER))
    log.write("takeover", NOTHING)
    ledger = Ledger(State(0, 6), KEY)
    at_its_place = ledger.fold(0, log.records[0][1])
    elsewhere = ledger.fold(1, log.records[0][1])
    assert isinstance(at_its_place, Void)
    assert isinstance(elsewhere, Void)
    assert at_its_place.foreign_key_id == OTHER.key_id
    assert OTHER.key_id in at_its_place.reason or "offset" in at_its_place.reason
    assert elsewhere.foreign_key_id == ""


def test_a_record_with_a_wrong_mac_is_void() -> None:
    """Whoever has not the key can copy a hash, not make one."""
    log = small()
    value = log.records[1][1]
    assert value is not None
    forged = value.replace(b'"x/2":2', b'"x/2":3')
    assert forged != value
    result = broken(log, 1, forged)[1]
    assert isinstance(result, Void)
    assert "MAC" in result.reason


def test_what_follows_a_changed_record_is_astray() -> None:
    """Sealed under our key, at its place, and following nothing: no lost race looks like that."""
    log = small()
    results = broken(log, 1, b"changed")
    assert [isinstance(result, Folded) for result in results] == [True, False, False, False]
    assert [isinstance(result, Void) and result.astray for result in results] == [False, False, True, True]


def test_swapped_records_are_void_and_what_follows_is_astray() -> None:
    """Each of the two stands at the other's place."""
    log = small()
    values = [value for _, value in log.records]
    values[1], values[2] = values[2], values[1]
    ledger = Ledger(State(0, 6), KEY)
    results = [ledger.fold(offset, value) for offset, value in enumerate(values)]
    assert [type(result) for result in results] == [Folded, Void, Void, Void]
    assert [isinstance(result, Void) and result.astray for result in results] == [False, False, False, True]


def test_a_removed_record_leaves_the_next_at_the_wrong_place() -> None:
    """A journal from which one is missing, copied to another topic, counts up to there."""
    log = small()
    values = [value for offset, value in log.records if offset != 1]
    ledger = Ledger(State(0, 6), KEY)
    assert [type(ledger.fold(offset, value)) for offset, value in enumerate(values)] == [Folded, Void, Void]


@FEW
@given(logs(at_least=2), st.data())
def test_void_records_change_nothing(log: Log, data: st.DataObject) -> None:
    """Whatever stands between the records that count, the ledger stands as if it had not been there."""
    ledger = Ledger(State(0, 6), KEY)
    for offset, value in log.records:
        before = standing(ledger) | {"rows": dict(ledger.state.rows)}
        strange = data.draw(st.sampled_from(log.records))[1]
        result = ledger.fold(offset, strange)
        if isinstance(result, Folded):
            assert strange == value
        else:
            assert standing(ledger) == before | {"next": offset + 1}
            ledger.next_offset = offset
            ledger.fold(offset, value)
    assert standing(ledger) == standing(log.ledger)


# -- a journal that contradicts itself


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"state_digest": "0" * 64}, "another digest"),
        ({"changes": b'{"x/1":5}'}, "another digest"),
        ({"changes": b"{}"}, "another digest"),
        ({"changes": b"[]"}, "cannot be read"),
        ({"input": b"null"}, "cannot be read"),
        (
            {"input": b'{"topic":"telemetry","partition":0,"offset":7,"timestamp":"yesterday"}'},
            "cannot be read",
        ),
        ({"kind": "gap"}, "cannot be read"),
    ],
)
def test_a_sealed_record_that_cannot_be_true_breaks_the_chain(change: dict[str, Any], what: str) -> None:
    """Whoever has the key and writes nonsense is found: its place, its time and what is wrong are named."""
    log = small()
    ledger = folded(log, log.records[:1])
    with pytest.raises(BrokenChain, match=what) as caught:
        ledger.fold(1, resealed(log.records[1][1], **change))
    assert "partition 0 offset 1" in str(caught.value)


def test_rows_that_were_changed_in_memory_are_found() -> None:
    """`prove` sums the rows themselves."""
    log = small()
    log.ledger.prove()
    log.ledger.state.rows["x/2"] = b"3"
    with pytest.raises(BrokenChain, match="do not sum"):
        log.ledger.prove()
