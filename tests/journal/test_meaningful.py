"""Which headers are journaled: an agent's `ops-*` never, a signature and a proved position where they count."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_stream.contract.signing import HEADER, HEADER_BYTES_MAX, TOPIC_HEADER
from ops_stream.streams.intake import meaningful, meaningful_forwarded, meaningful_signed
from ops_stream.streams.publisher import forward_mac
from tests.journal.strategies import KEY, OTHER

VALUE = b'{"event":"ControlCommand","spread":true}'
PLACE = b"3:41:0"
headers = st.lists(
    st.tuples(
        st.sampled_from(("ce_type", "ops-journal", "ops-mac", HEADER, TOPIC_HEADER, "x"))
        | st.text(max_size=8),
        st.none() | st.binary(max_size=20),
    ),
    max_size=8,
)


def proved(
    topic: str = "control", value: bytes = VALUE, partition: int = 2
) -> list[tuple[str, bytes | None]]:
    """The headers of a copy that the supervisor with KEY wrote for a partition."""
    return [("ops-journal", PLACE), ("ops-mac", forward_mac(KEY, PLACE.decode(), value, topic, partition))]


@given(headers)
def test_an_agents_record_keeps_nothing_of_ours(given_headers: list[tuple[str, bytes | None]]) -> None:
    """On the topics of agents no header that begins with `ops-` is kept, a signature neither."""
    assert not [name for name, _ in meaningful(given_headers) if name.startswith("ops-")]


@given(headers)
def test_what_nobody_proved_is_never_kept_as_a_position(
    given_headers: list[tuple[str, bytes | None]],
) -> None:
    """Whatever headers somebody writes, without the key there is no position; the topic is the one it was read from."""
    for topic in ("control", "resolutions"):
        kept = meaningful_signed(KEY, topic, 2, f"prod.{topic}", given_headers, VALUE)
        ours = [(name, text) for name, text in kept if name.startswith("ops-")]
        signed = HEADER in dict(given_headers)
        assert [name for name, _ in ours] == ([HEADER, TOPIC_HEADER] if signed else [])
        assert not signed or ours[1][1] == f"prod.{topic}".encode()


def test_a_signature_is_kept_as_it_is_and_of_two_the_last() -> None:
    """As Kafka clients read headers; one too long to be any is kept as one that is none."""
    several: list[tuple[str, bytes | None]] = [(HEADER, b"one"), (HEADER, b"two"), ("ce_type", b"Resolution")]
    kept = dict(meaningful_signed(KEY, "resolutions", 2, "ops.resolutions", several, VALUE))
    assert (kept[HEADER], kept["ce_type"]) == (b"two", b"Resolution")
    for text, expected in (
        (b"s" * HEADER_BYTES_MAX, b"s" * HEADER_BYTES_MAX),
        (b"s" * 1_025, b""),
        (None, b""),
    ):
        kept = dict(meaningful_signed(KEY, "control", 2, "ops.control", [(HEADER, text)], VALUE))
        assert kept[HEADER] == expected


def test_a_copys_position_is_kept_where_its_mac_is_right() -> None:
    """The same key, position, value, topic and partition; on resolutions, which no supervisor writes, never."""
    assert meaningful_signed(KEY, "control", 2, "ops.control", proved(), VALUE) == (("ops-journal", PLACE),)
    assert meaningful_signed(KEY, "resolutions", 2, "ops.resolutions", proved("resolutions"), VALUE) == ()


@pytest.mark.parametrize(
    "found",
    [
        proved("forwarded"),
        proved(value=VALUE + b" "),
        proved(partition=3),
        [("ops-journal", b"3:41:1"), proved()[1]],
        [proved()[0]],
        [proved()[0], ("ops-mac", None)],
        [proved()[0], ("ops-mac", b"")],
        [proved()[1]],
        [("ops-journal", PLACE), ("ops-mac", forward_mac(OTHER, PLACE.decode(), VALUE, "control", 2))],
    ],
    ids=[
        "forwarded",
        "value",
        "partition",
        "position",
        "no mac",
        "null mac",
        "empty mac",
        "no position",
        "key",
    ],
)
def test_and_nowhere_else(found: list[tuple[str, bytes | None]]) -> None:
    """A MAC of a forwarded record, of another value, partition, position or journal proves nothing here."""
    assert meaningful_signed(KEY, "control", 2, "ops.control", found, VALUE) == ()


def test_a_copys_mac_forwards_nothing() -> None:
    """Nor the other way round: what proves a command's copy is no proof of a forwarded record."""
    assert meaningful_forwarded(KEY, proved("control"), VALUE) == ()
    assert meaningful_forwarded(KEY, proved("forwarded"), VALUE) == (("ops-journal", PLACE),)
