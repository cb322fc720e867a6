"""Records as bytes: nothing is lost, and nothing can be changed without being found."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from ops_stream.contract.models import JournalRecord
from ops_stream.core.inputs import Gap, Takeover, Tick
from ops_stream.core.journal import record as rec
from ops_stream.core.journal.record import RawInput, Unreadable
from ops_stream.core.outputs import Output
from ops_stream.core.step import Decision
from tests.journal.strategies import (
    HOSTILE,
    KEY,
    KINDS,
    OTHER,
    START_MS,
    Log,
    changes,
    decisions,
    outputs,
    raw_inputs,
)
from tests.thorough import THOROUGH

HEADER = rec.Header(3, 17, "input", START_MS, "1+cel0.1", "sha256:ab", 12, "0" * 64, "f" * 64, KEY.key_id)


def sealed(header: rec.Header = HEADER) -> bytes:
    """A small record."""
    raw = RawInput("telemetry", 3, 9, START_MS, b'{"a":1}', (("h", b"v"),))
    _, docs = rec.encode_outputs((Output("alerts", "t", "Alert", "al_1", {"x": 1.5}),))
    out = rec.encode_outputs((Output("alerts", "t", "Alert", "al_1", {"x": 1.5}),))[0]
    assert docs
    return rec.seal(header, rec.encode_input(raw), out, b'{"x/1":{"a":1},"x/2":null}', KEY).value


@settings(deadline=None)
@given(raw_inputs)
def test_an_input_comes_back_byte_for_byte(raw: RawInput) -> None:
    """Whatever stood on the topic stands in the journal: any bytes, none at all, any headers."""
    assert rec.decode_input(rec.encode_input(raw)) == raw


@pytest.mark.parametrize("value", HOSTILE)
def test_hostile_values_come_back_byte_for_byte(value: bytes | None) -> None:
    """Invalid UTF-8, half surrogates, NULs, numbers beyond a double, quotes and line separators are all kept."""
    raw = RawInput("task-requests", 0, 0, 0, value, (("", b""), ("ce_type", b"\xff\x00")))
    assert rec.decode_input(rec.encode_input(raw)) == raw


@pytest.mark.parametrize("byte", [b"\x00", b"\x1f", b'"', b"\\", b"\xff", b"a", "é".encode()])
def test_no_value_swells_the_record_beyond_twice_its_size(byte: bytes) -> None:
    """What the broker let in can be recorded: JSON would write a control character with six bytes."""
    value = byte * (262_144 // len(byte))
    part = rec.encode_input(RawInput("task-requests", 0, 0, 0, value))
    assert len(part) < 2.1 * len(value)
    assert rec.decode_input(part).value == value


@settings(deadline=None)
@given(changes)
def test_changes_come_back_byte_for_byte(rows: dict[str, bytes | None]) -> None:
    """Rows keep the very text that was written: 1e400 stays 1e400, -0 stays -0, a deletion is a deletion."""
    assert rec.decode_changes(rec.encode_changes(rows)) == rows


@settings(deadline=None)
@given(st.lists(outputs, max_size=4).map(tuple))
def test_outputs_come_back_with_the_bytes_that_are_published(found: tuple[Output, ...]) -> None:
    """What is read from a record is what went out when it was written."""
    part, docs = rec.encode_outputs(found)
    again = rec.decode_outputs(part)
    assert [bytes(doc.value) for doc in again] == [bytes(doc.value) for doc in docs]
    kept = [(d.topic, d.key, d.type, d.id, d.partition, d.encoding, d.traceparent, d.subject) for d in again]
    assert kept == [
        (o.topic, o.key, o.type, o.id, o.partition, o.encoding, o.traceparent, o.subject) for o in found
    ]


@pytest.mark.parametrize("tick", [Tick(), Tick(0), Tick(START_MS + 1)])
def test_a_tick_says_up_to_when_inputs_were_read(tick: Tick) -> None:
    """To the millisecond, and null where there is nothing to say."""
    assert rec.decode_tick(rec.encode_tick(tick)) == tick


def test_takeovers_and_gaps_come_back() -> None:
    """Who took over under what, and which offsets held nothing."""
    takeover, gap = Takeover("boot", 'host "x"', "1+ü", "sha256:1"), Gap("telemetry", 2, 5, 2**40)
    assert rec.decode_takeover(rec.encode_takeover(takeover)) == takeover
    assert rec.decode_gap(rec.encode_gap(gap)) == gap


@settings(deadline=None)
@given(st.sampled_from(KINDS), decisions)
def test_what_is_sealed_is_read(kind: str, decision: Decision) -> None:
    """Header and parts of a record of every kind are the same before and after; its hash is its MAC."""
    log = Log()
    prepared = log.write(kind, decision)
    record = rec.read(prepared.written.value)
    assert (record.header, record.hash) == (prepared.header, prepared.hash)
    assert rec.mac_of(record, KEY) == record.hash
    assert rec.mac_of(record, OTHER) != record.hash
    again = rec.seal(record.header, record.input, record.outputs, record.changes, KEY)
    assert again.value == prepared.written.value


def test_a_record_is_what_the_contract_says() -> None:
    """Auditors read it with the contract's model and nothing else."""
    record = JournalRecord.from_wire(json.loads(sealed()))
    assert (record.partition, record.expected_offset, record.kind) == (3, 17, "input")
    assert record.changes == {"x/1": {"a": 1}, "x/2": None}


def test_every_change_of_a_single_byte_is_found() -> None:
    """Whichever byte of a record is replaced by whichever other, it is no record or its MAC is wrong.

    In the fast loop: by those that differ in one bit, and by the one that differs in all.
    """
    value = sealed()
    passed = []
    for at in range(len(value)):
        for change in range(1, 256) if THOROUGH else (1, 2, 4, 8, 16, 32, 64, 128, 255):
            byte = value[at] ^ change
            if counts(value[:at] + bytes((byte,)) + value[at + 1 :]):
                passed.append((at, byte))
    assert not passed


def test_every_byte_that_is_taken_out_put_in_or_swapped_is_found() -> None:
    """So is whatever is shorter, longer or in another order: also space that JSON would pass over."""
    value = sealed()
    for at in range(len(value) + 1):
        for byte in (b" ", b"\n", b"0", b"\x00", b"}"):
            assert not counts(value[:at] + byte + value[at:]), at
        if at < len(value):
            assert not counts(value[:at] + value[at + 1 :]), at
        if at + 1 < len(value) and value[at] != value[at + 1]:
            assert not counts(value[:at] + value[at + 1 : at + 2] + value[at : at + 1] + value[at + 2 :]), at


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"at":"2026-11-24T', b'"at":"2026-11-24t'),
        (b'.000Z","engine', b'.000z","engine'),
        (b'.000Z","engine', b'.0004Z","engine'),
        (b'.000Z","engine', b'.000+00:00","engine'),
        (b',"outputs":[', b',"outputs":[],"outputs":['),
        (b',"hash":', b',"note":"hello","hash":'),
        (b'"event":"JournalRecord"', b'"event":"Alert"'),
        (b'{"event":"JournalRecord",', b"{"),
        (b'"engine_version":"1+', b'"engine_version":"\\u0031+'),
        (b'"partition":3,"expected', b'"partition":3.0,"expected'),
    ],
)
def test_another_form_of_the_same_record_is_no_record(old: bytes, new: bytes) -> None:
    """What a lenient reader would take for the same, and another reader for something else, does not count."""
    value = sealed()
    assert old in value
    with pytest.raises(Unreadable):
        rec.read(value.replace(old, new, 1))


@pytest.mark.parametrize(
    "change",
    [
        {"partition": 4},
        {"expected_offset": 18},
        {"kind": "tick"},
        {"at_ms": START_MS + 1},
        {"engine_version": "2"},
        {"rules_digest": "sha256:ac"},
        {"published_through": 11},
        {"state_digest": "1" + "0" * 63},
        {"previous_hash": "e" + "f" * 63},
        {"key_id": OTHER.key_id},
        {"engine_version": "1+cel0.1\nsha256:ab", "rules_digest": ""},
    ],
)
def test_the_mac_covers_every_field_of_the_header(change: dict[str, object]) -> None:
    """Another header has another hash, also where two of its texts are only cut elsewhere."""
    one, two = (rec.read(sealed(header)) for header in (HEADER, replace(HEADER, **change)))  # type: ignore[arg-type]
    assert one.hash != two.hash


def test_the_mac_covers_every_part() -> None:
    """Exchanging the contents of two parts is a change too."""
    parts = (b'{"a":1}', b"[]", b"{}")
    hashes = {
        rec.seal(HEADER, *order, KEY).hash for order in (parts, parts[::-1], (parts[0], parts[2], parts[1]))
    }
    assert len(hashes) == 3


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"hello",
        b"null",
        b"[]",
        b"{}",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"input":' + b"[" * 100_000,
        b'{"partition":' + b"9" * 5_000 + b"}",
        sealed().replace(b'"at":"2026-11-24T13:00:00.000Z"', b'"at":"9999-12-31T23:59:60.000Z"'),
        sealed().replace(b'"kind":"input"', b'"kind":"other"'),
        sealed().replace(b'"expected_offset":17', b'"expected_offset":"17"'),
        sealed().replace(b'"1+cel0.1"', b'"1+cel0.\xff"'),
        sealed()[:-1],
        sealed() + b" ",
    ],
)
def test_what_strangers_write_is_unreadable_and_nothing_worse(value: bytes | None) -> None:
    """Any bytes may stand in the journal; reading them ends in one kind of error."""
    with pytest.raises(Unreadable):
        rec.read(value)


@pytest.mark.parametrize("part", [b"", b"{}", b"[]", b"null", b'{"topic":1}', b"\xff", b"{" * 5_000])
def test_parts_that_are_not_what_their_kind_says_are_unreadable(part: bytes) -> None:
    """The same for the parts of a record."""
    for read in (rec.decode_input, rec.decode_takeover, rec.decode_gap):
        with pytest.raises(Unreadable):
            read(part)
    if part != rec.NULL:
        with pytest.raises(Unreadable):
            rec.decode_tick(part)
    if part != b"[]":
        with pytest.raises(Unreadable):
            rec.decode_outputs(part)
    if part not in (b"{}", b'{"topic":1}'):
        with pytest.raises(Unreadable):
            rec.decode_changes(part)


def counts(value: bytes) -> bool:
    """Whether bytes would count under our key, if they stood at their place."""
    try:
        record = rec.read(value)
    except Unreadable:
        return False
    return rec.mac_of(record, KEY) == record.hash
