"""From the bytes of an input record to what `step` decides on: the same for the live worker and for replay."""

from __future__ import annotations

import base64
from typing import cast

import msgspec

from ops_stream.contract.clocktext import parse_time
from ops_stream.contract.codec import Malformed, decode
from ops_stream.contract.headers import read_position
from ops_stream.core.inputs import Event, EventInput, Headers, MalformedInput, Origin, RecordInput
from ops_stream.core.journal.record import RawInput

FORWARDED = "forwarded"
CONTROL = "control"
UNKNOWN_RULES_HEADER = "ops-rules-unknown"
"""Set by the worker on a command that names rules which `ops.rules` did not hold when it was decided."""


class _OriginDoc(msgspec.Struct):
    topic: str
    partition: int
    offset: int
    timestamp: str


class _Envelope(msgspec.Struct):
    origin: _OriginDoc
    value: str | None = None
    value_b64: str | None = None
    headers: tuple[tuple[str, str], ...] = ()


def read_input(raw: RawInput) -> RecordInput:
    """The input of a record. What cannot be read becomes a `MalformedInput`; nothing raises."""
    if raw.topic != FORWARDED:
        # A copy of a command for all partitions; the worker keeps its position only where a MAC proves it.
        via = _via(raw.headers) if raw.topic == CONTROL else None
        return _read(raw.origin, raw.topic, raw.value, raw.headers, None, via)
    via = _via(raw.headers)
    if via is None:
        return MalformedInput(
            raw.origin, raw.value, raw.headers, "the record was not forwarded by a supervisor of this journal"
        )
    try:
        envelope = msgspec.json.decode(raw.value or b"", type=_Envelope)
        origin = Origin(
            envelope.origin.topic,
            envelope.origin.partition,
            envelope.origin.offset,
            parse_time(envelope.origin.timestamp),
        )
        value = envelope.value.encode() if envelope.value is not None else None
        if envelope.value_b64 is not None:
            value = base64.b64decode(envelope.value_b64, validate=True)
        headers = tuple((name, base64.b64decode(text, validate=True)) for name, text in envelope.headers)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        return MalformedInput(
            raw.origin, raw.value, raw.headers, f"the forwarded record cannot be read: {error}"
        )
    return _read(raw.origin, origin.topic, value, headers, origin, via)


def _read(
    origin: Origin,
    topic: str,
    value: bytes | None,
    headers: Headers,
    forwarded_from: Origin | None,
    via: tuple[int, int, int] | None,
) -> RecordInput:
    try:
        decoded = decode(topic, value, headers)
    except Malformed as bad:
        return MalformedInput(
            origin,
            value,
            headers,
            bad.explanation,
            bad.request_id,
            bad.task_id,
            bad.tenant,
            bad.agent,
            bad.encoding,
            None,
            forwarded_from,
            via,
        )
    return EventInput(
        origin,
        cast("Event", decoded.event),
        decoded.encoding,
        decoded.traceparent,
        value,
        headers,
        forwarded_from,
        via,
    )


def _via(headers: Headers) -> tuple[int, int, int] | None:
    """The journal position that forwarded a record. The worker keeps the header only where a MAC proves it."""
    position = read_position(headers)
    return None if position is None else (position.partition, position.offset, position.index)


def unknown_rules(raw: RawInput) -> frozenset[str]:
    """Digests that could not be activated when this record was decided; replay must not know them either."""
    return frozenset(value.decode() for name, value in raw.headers if name == UNKNOWN_RULES_HEADER)
