"""One codec for both encodings: what goes in comes out the same."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops_stream.contract.codec import Malformed, decode, encode_avro, encode_json
from ops_stream.contract.headers import event_headers
from ops_stream.contract.models import EVENTS_OF_TOPIC, Event, Heartbeat, TaskRequest
from tests.contract.strategies import bodies
from tests.thorough import examples

CASES = [(topic, event) for topic, events in EVENTS_OF_TOPIC.items() for event in events]
NAMES = [event.__name__ for _, event in CASES]
ASK = b'{"request_id":"r1","task_id":"t1","agent":"engineer","task_description":"Say hello"}'
AVRO = [("content-type", b"application/avro")]
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize(("topic", "event"), CASES, ids=NAMES)
@settings(max_examples=examples(25))
@given(data=st.data())
def test_both_encodings_mean_the_same(topic: str, event: type[Event], data: st.DataObject) -> None:
    """An event written in JSON and in Avro is read as the same event, with the encoding that it came in."""
    body = data.draw(bodies(event))
    name = event.__name__
    headers = event_headers(name, "id", time="2026-11-24T13:00:00Z")
    from_json = decode(topic, encode_json(body), headers)
    from_avro = decode(topic, encode_avro(name, body), AVRO)
    assert from_json.event == from_avro.event == event.from_wire(body)
    assert (from_json.encoding, from_avro.encoding) == ("json", "avro")


def test_a_line_of_json_without_headers_is_enough() -> None:
    """What kafka-console-producer sends is an ask."""
    event, encoding, traceparent = decode("task-requests", ASK + b"\n", ())
    assert isinstance(event, TaskRequest)
    assert (event.agent, encoding, traceparent) == ("engineer", "json", None)


def test_json_is_one_line_of_utf8() -> None:
    """Written JSON has no line breaks, keeps characters as they are, and refuses what is not JSON."""
    assert encode_json({"a": "é\n", "b": [1, 0.5]}) == '{"a":"é\\n","b":[1,0.5]}'.encode()
    with pytest.raises(ValueError):
        encode_json({"a": float("nan")})


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("content-type", b"application/json; charset=utf-8")],
        [("content-type", b"text/plain")],
        [("content-type", None), ("ce_type", None)],
        [("ce_type", b"TaskRequest"), ("ce_specversion", b"1.0")],
        [("ops-journal", b"forged"), ("ops-signature", b"\xff"), ("", b"")],
        [("content-type", b"application/avro"), ("content-type", b"application/json")],
    ],
)
def test_headers_that_change_nothing(headers: list[tuple[str, bytes | None]]) -> None:
    """Headers that are absent, null, foreign or forged do not keep an ask from being read."""
    assert decode("task-requests", ASK, headers).event == decode("task-requests", ASK).event


def test_the_trace_goes_on() -> None:
    """A valid traceparent is handed on; a broken one is dropped, not the ask."""
    assert decode("task-requests", ASK, [("traceparent", TRACE.encode())]).traceparent == TRACE
    for broken in (
        b"",
        b"00-xyz",
        TRACE.upper().encode(),
        b"00-" + b"0" * 32 + b"-00f067aa0ba902b7-01",
        b"\xff",
    ):
        assert decode("task-requests", ASK, [("traceparent", broken)]).traceparent is None


@pytest.mark.parametrize(
    ("body", "ce_type"), [("Heartbeat", None), (None, b"Heartbeat"), ("Heartbeat", b"Heartbeat")]
)
def test_an_event_is_named_by_body_or_header(body: str | None, ce_type: bytes | None) -> None:
    """On a topic with several events the body's `event` or the header ce_type says which one it is."""
    value = encode_json({"agent": "a", "running": []} | ({"event": body} if body else {}))
    headers = [("ce_type", ce_type)] if ce_type else []
    assert isinstance(decode("agents", value, headers).event, Heartbeat)


@pytest.mark.parametrize(
    ("body", "ce_type", "says"),
    [
        (None, None, "does not name its event"),
        ("Beat", None, "unknown event"),
        ("heartbeat", None, "unknown event"),
        ("TaskRequest", None, "unknown event"),
        (7, None, "unknown event"),
        (["Heartbeat"], None, "unknown event"),
        ("", None, "unknown event"),
        (None, b"com.example.beat", "unknown event"),
        (None, b"\xff", "unknown event"),
        ("Heartbeat", b"RevocationAck", "different events"),
    ],
)
def test_an_event_that_is_not_the_topics_is_refused(body: Any, ce_type: bytes | None, says: str) -> None:
    """Not named, unknown, or named differently by body and header: malformed, with the choices."""
    value = encode_json({"agent": "a", "running": []} | ({"event": body} if body is not None else {}))
    with pytest.raises(Malformed, match=says):
        decode("agents", value, [("ce_type", ce_type)] if ce_type else [])


def test_another_event_in_avro_is_refused() -> None:
    """A known event on a topic that does not carry it is malformed."""
    value = encode_avro("Heartbeat", {"agent": "a", "tenant": "default", "running": []})
    assert isinstance(decode("agents", value, AVRO).event, Heartbeat)
    with pytest.raises(Malformed, match="unknown event; this topic carries TaskRequest"):
        decode("task-requests", value, AVRO)
    with pytest.raises(Malformed, match="different events"):
        decode("agents", value, [*AVRO, ("ce_type", b"RevocationAck")])


def test_a_topic_without_events_is_refused() -> None:
    """A record of an unknown topic is malformed, not an accident."""
    with pytest.raises(Malformed, match="no events"):
        decode("elsewhere", ASK)


@given(bodies(TaskRequest))
def test_the_bytes_are_json_that_everybody_reads(body: dict[str, Any]) -> None:
    """What is written is read back by a plain JSON parser."""
    assert json.loads(encode_json(body)) == body


def test_unfit_objects_are_not_written_in_avro() -> None:
    """A missing field or a wrong type is an error of the writer, not a broken record."""
    for body in ({}, {"agent": "a", "running": 5}, {"agent": 1, "running": []}):
        with pytest.raises(ValueError):
            encode_avro("Heartbeat", body)
