"""Headers follow the CloudEvents 1.0 Kafka binding; the `cloudevents` package is the judge."""

import json
from datetime import UTC, datetime

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary_event, to_binary_event
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from ops_stream.contract.clocktext import parse_time
from ops_stream.contract.headers import JournalPosition, event_headers, read_headers, read_position
from tests.contract.strategies import ids, times

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
POSITIONS = st.builds(
    JournalPosition, st.integers(0, 10**9 - 1), st.integers(0, 10**18 - 1), st.integers(0, 10**9 - 1)
)


@given(ids, times, st.none() | ids, st.sampled_from(["TaskApproval", "Alert"]))
def test_cloudevents_reads_what_we_write(event_id: str, time: str, subject: str | None, name: str) -> None:
    """The official library finds a valid CloudEvent with our id, type, source, time and subject."""
    headers = event_headers(name, event_id, time=time, subject=subject)
    read = from_binary_event(KafkaMessage(headers=dict(headers), key=None, value=b'{"a":1}'))
    assert (read.get_id(), read.get_type(), read.get_source()) == (event_id, name, "/ops-stream")
    assert (read.get_specversion(), read.get_subject()) == ("1.0", subject)
    assert read.get_time() == datetime.fromtimestamp(parse_time(time) / 1000, UTC)
    assert (read.get_datacontenttype(), read.get_data()) == ("application/json", {"a": 1})


def test_we_read_what_cloudevents_writes() -> None:
    """An event that the official library wrote is recognised by its type."""
    attributes = {
        "type": "TaskRequest",
        "source": "/agents",
        "id": "1",
        "datacontenttype": "application/json",
    }
    message = to_binary_event(CloudEvent(attributes=attributes, data={"a": 1}))
    told = read_headers(message.headers.items())
    assert (told.event, told.avro) == ("TaskRequest", False)
    assert json.loads(message.value) == {"a": 1}


def test_an_output_carries_everything() -> None:
    """An output has the CloudEvents attributes, its encoding, the trace and the journal position."""
    headers = event_headers(
        "TaskApproval",
        "a1",
        time="2026-11-24T13:00:00.000Z",
        subject="r1",
        encoding="avro",
        traceparent=TRACE,
        journal=JournalPosition(3, 41, 0),
    )
    assert dict(headers) == {
        "ce_specversion": b"1.0",
        "ce_id": b"a1",
        "ce_type": b"TaskApproval",
        "ce_source": b"/ops-stream",
        "ce_time": b"2026-11-24T13:00:00.000Z",
        "content-type": b"application/avro",
        "ce_subject": b"r1",
        "traceparent": TRACE.encode(),
        "ops-journal": b"3:41:0",
    }
    told = read_headers(headers)
    assert (told.event, told.avro, told.traceparent) == ("TaskApproval", True, TRACE)


@given(POSITIONS)
def test_a_position_is_read_back(position: JournalPosition) -> None:
    """The journal position survives the way through the header."""
    assert read_position([("ops-journal", str(position).encode())]) == position


@given(st.lists(POSITIONS, min_size=2))
def test_positions_of_a_partition_are_ordered(positions: list[JournalPosition]) -> None:
    """Within a partition the later offset, then the later output, is the greater: what readers drop by."""
    same = [JournalPosition(0, position.offset, position.index) for position in positions]
    assert sorted(same) == sorted(same, key=lambda position: (position.offset, position.index))


@pytest.mark.parametrize(
    "value", [None, b"", b"1:2", b"1:2:3:4", b"-1:2:3", b"1:2:x", b"1: 2:3", b"\xff", b"1:2:" + b"9" * 100]
)
def test_a_broken_position_is_none(value: bytes | None) -> None:
    """A header that is not three numbers is not a position."""
    assert read_position([("ops-journal", value)]) is None
    assert read_position([]) is None


@pytest.mark.parametrize(
    ("value", "avro"),
    [
        (b"application/avro", True),
        (b"Application/Avro; v=1", True),
        (b" application/avro ", True),
        (b"application/json", False),
        (b"application/avro-json", False),
        (b"\xff", False),
        (None, False),
    ],
)
def test_content_types(value: bytes | None, avro: bool) -> None:
    """Avro is said by the content type alone, in any case and with parameters."""
    assert read_headers([("content-type", value)]).avro is avro
