"""From bytes to inputs: nothing raises, and a forwarded record is what it was where it stood first."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings

from ops_stream.contract.models import TaskRequest
from ops_stream.core.inputs import EventInput, MalformedInput, Origin
from ops_stream.core.intake import read_input
from ops_stream.core.journal.record import RawInput
from tests.journal.strategies import START_MS, raw_inputs

ASK = b'{"request_id":"r","task_id":"t","agent":"a","task_description":"d","tenant":"alpha"}'
VIA = (("ops-journal", b"4:17:2"),)


def forwarded(body: Any, headers: Any = VIA) -> RawInput:
    """A record of the forwarded topic."""
    value = body if isinstance(body, bytes) else json.dumps(body).encode()
    return RawInput("forwarded", 0, 9, START_MS + 500, value, headers)


def envelope(**fields: Any) -> dict[str, Any]:
    """What a supervisor forwards."""
    origin = {"topic": "task-requests", "partition": 4, "offset": 3, "timestamp": "2026-11-24T13:00:00.250Z"}
    return {"origin": origin, "value": ASK.decode(), "headers": [], **fields}


@settings(deadline=None)
@given(raw_inputs)
def test_any_record_becomes_an_input(raw: RawInput) -> None:
    """Whatever the bytes are: what cannot be read is malformed, with its bytes, its headers and a sentence."""
    found = read_input(raw)
    assert isinstance(found, EventInput | MalformedInput)
    assert found.origin == raw.origin
    if isinstance(found, MalformedInput) and found.forwarded_from is None:
        assert (found.raw, found.headers) == (raw.value, raw.headers)
        assert found.explanation


def test_a_forwarded_record_is_read_as_it_was_first() -> None:
    """Its event, its first place and time, and the output that forwarded it."""
    found = read_input(forwarded(envelope()))
    assert isinstance(found, EventInput)
    assert isinstance(found.event, TaskRequest)
    assert found.origin == Origin("forwarded", 0, 9, START_MS + 500)
    assert found.forwarded_from == Origin("task-requests", 4, 3, START_MS + 250)
    assert found.via == (4, 17, 2)
    assert found.raw == ASK


def test_forwarded_bytes_that_are_no_text_come_back() -> None:
    """An ask that could not be read is malformed where it arrives as it was where it stood."""
    found = read_input(forwarded(envelope(value=None, value_b64="//79", headers=[["h", "AP8="]])))
    assert isinstance(found, MalformedInput)
    assert (found.raw, found.headers) == (b"\xff\xfe\xfd", (("h", b"\x00\xff"),))
    assert found.via == (4, 17, 2)


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (("ops-journal", b""),),
        (("ops-journal", b"1:2"),),
        (("ops-journal", b"1:2:3:4"),),
        (("ops-journal", b"-1:2:3"),),
        (("ops-journal", "١:2:3".encode()),),
        (("ops-journal", b"1:" + b"9" * 5_000 + b":3"),),
        (("other", b"1:2:3"),),
    ],
)
def test_a_forwarded_record_without_a_proven_position_is_malformed(headers: Any) -> None:
    """The worker keeps the position only where a MAC proves it; without one nobody of us has forwarded it."""
    found = read_input(forwarded(envelope(), headers))
    assert isinstance(found, MalformedInput)
    assert "not forwarded by a supervisor" in found.explanation
    assert found.via is None


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"hello",
        b"\xff",
        b"[]",
        b"{" * 100_000,
        b'{"origin":' * 10_000,
        envelope(origin=None),
        envelope(origin={"topic": "task-requests"}),
        envelope(origin={"topic": "task-requests", "partition": 0, "offset": 0, "timestamp": "now"}),
        envelope(value=7),
        envelope(value=None, value_b64="*"),
        envelope(headers=[["h"]]),
        envelope(headers=[["h", "a"]]),
    ],
)
def test_an_envelope_that_cannot_be_read_is_malformed(body: Any) -> None:
    """Only a supervisor can have written it, and still nothing raises."""
    found = read_input(forwarded(body))
    assert isinstance(found, MalformedInput)
    assert "cannot be read" in found.explanation


@pytest.mark.parametrize("topic", ["journal", "forwarded", "approvals", "nowhere", ""])
def test_what_cannot_be_forwarded_is_malformed(topic: str) -> None:
    """A record of a topic that is no input is none, whoever vouches for it."""
    origin = {"topic": topic, "partition": 0, "offset": 0, "timestamp": "2026-11-24T13:00:00Z"}
    assert isinstance(read_input(forwarded(envelope(origin=origin))), MalformedInput)
