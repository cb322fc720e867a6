"""What a ledger that starts in the middle must look at again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_stream.core.journal.ledger import BrokenChain, Folded, Ledger
from ops_stream.core.journal.lookback import look_back, look_back_from
from ops_stream.core.journal.record import decode_outputs
from ops_stream.core.journal.watermark import watermark_of
from ops_stream.core.outputs import Output
from ops_stream.core.state import State
from ops_stream.core.step import Decision
from tests.journal.strategies import FEW, KEY, Log, logs


def again(log: Log, ledger: Ledger) -> list[tuple[int, bytes | None]]:
    """The records that looking back wants."""
    return [one for one in log.records if look_back_from(ledger) <= one[0] <= ledger.last_offset]


def told(number: int) -> Decision:
    """A decision with one output."""
    return Decision({"x/1": b"%d" % number}, (Output("alerts", "t", "Alert", f"al_{number}", {"n": number}),))


def three() -> Log:
    """Three records with an output each, of which the first is known to be out."""
    log = Log()
    for number in range(3):
        log.write("tick", told(number))
        log.publish(max(0, number - 1) + 1)
    return log


@FEW
@given(logs(at_least=1), st.data())
def test_looking_back_from_a_snapshot_finds_all_that_may_not_be_out(log: Log, data: st.DataObject) -> None:
    """From whatever watermark: exactly the outputs of the records that count, from `published_through` on."""
    ledger, known, expected = Ledger(State(0, 6), KEY), [], list[tuple[int, int]]()
    for offset, value in log.records:
        result = ledger.fold(offset, value)
        if isinstance(result, Folded):
            mark = watermark_of(result.record.header, result.record.hash)
            known.append(Ledger.from_watermark(dict(ledger.state.rows), 6, KEY, mark))
    chosen = data.draw(st.sampled_from(known))
    for prepared in log.prepared:
        if (
            chosen.published_through <= prepared.written.offset <= chosen.last_offset
            and prepared.written.outputs
        ):
            expected.append((prepared.written.offset, prepared.written.at_ms))
    found = look_back(chosen, again(log, chosen))
    assert [(written.offset, written.at_ms) for written in found] == expected
    for written in found:
        own = next(p for p in log.prepared if p.written.offset == written.offset)
        assert [bytes(doc.value) for doc in written.outputs] == [
            bytes(doc.value) for doc in own.written.outputs
        ]


def test_a_live_ledger_that_published_everything_looks_at_its_last_record_only() -> None:
    """And finds nothing to publish."""
    log = three()
    log.publish(0)
    assert look_back_from(log.ledger) == 2
    assert look_back(log.ledger, again(log, log.ledger)) == []


def test_an_empty_ledger_has_nothing_behind_it() -> None:
    """Before the first record that counts there is nothing to look at, whatever strangers wrote."""
    log = Log()
    log.intrude(b"hello")
    assert look_back(log.ledger, log.records) == []


def test_late_records_of_another_owner_are_not_published() -> None:
    """Between the records that count may stand sealed ones that do not."""
    log = Log()
    log.write("takeover", told(0))
    late = log.ledger.prepare_tick(told(7), log.now, "1", "rules")
    log.write("takeover", told(1))
    log.intrude(late.written.value)
    log.write("tick", told(2))
    found = look_back(log.ledger, again(log, log.ledger))
    assert [bytes(doc.value) for written in found for doc in written.outputs] == [
        b'{"n":0}',
        b'{"n":1}',
        b'{"n":2}',
    ]


def test_strangers_behind_the_last_record_do_not_hide_it() -> None:
    """The head is looked for where the last record that counts stands, not at the end of the log."""
    log = three()
    log.intrude(b"hello")
    assert [written.offset for written in look_back(log.ledger, again(log, log.ledger))] == [1, 2]


def test_a_ledger_of_another_journal_is_found_out() -> None:
    """The topic was made anew and written to: what stands there is not what the snapshot was taken of."""
    log, other = three(), Log()
    for number in range(5):
        other.write("tick", told(number + 10))
    with pytest.raises(BrokenChain, match="offset 2"):
        look_back(log.ledger, again(other, log.ledger))
    with pytest.raises(BrokenChain, match="offset 2"):
        look_back(log.ledger, [])


def test_a_record_with_a_copied_hash_does_not_pass_for_the_head() -> None:
    """The hash is compared with what stands there, not only with what it says of itself."""
    log = three()
    records = list(log.records)
    value = records[2][1]
    assert value is not None
    records[2] = (2, value.replace(b'{"n":2}', b'{"n":3}'))
    with pytest.raises(BrokenChain):
        look_back(log.ledger, records)


def test_records_come_in_any_order() -> None:
    """They are followed by their hashes."""
    log = three()
    records = again(log, log.ledger)
    assert look_back(log.ledger, records[::-1]) == look_back(log.ledger, records)
    assert all(decode_outputs(rec_outputs(value)) for _, value in records)


def rec_outputs(value: bytes | None) -> bytes:
    """The outputs part of a record."""
    from ops_stream.core.journal.record import read

    return read(value).outputs
