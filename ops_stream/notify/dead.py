"""Dead letters of webhooks: what could not be told stays on `ops.dead-letters`, and can be delivered later."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from ops_stream.contract.clocktext import format_time
from ops_stream.contract.codec import Malformed, decode, encode_json
from ops_stream.contract.headers import NOTIFIER_SOURCE, WEBHOOK_FAILED, event_headers, read_position
from ops_stream.notify.told import Notice, Place

TARGET_HEADER: Final = "ops-webhook-target"
TYPE_HEADER: Final = "ops-webhook-event"
TIME_HEADER: Final = "ops-webhook-time"

Headers = Sequence[tuple[str, bytes | None]]


def dead_letter(
    place: Place,
    value: bytes | None,
    headers: Headers,
    *,
    target: str,
    type_: str,
    at: int,
    explanation: str,
    now: int,
) -> tuple[bytes, list[tuple[str, bytes]]]:
    """Give value and headers of a dead letter: the record as it was, and beside its headers who was to be told what.

    `at` is when the record was written, `now` when it was given up; both in milliseconds since 1970.
    """
    ours = [(TARGET_HEADER, target.encode()), (TYPE_HEADER, type_.encode()), (TIME_HEADER, str(at).encode())]
    kept = [(name, text or b"") for name, text in headers if name not in dict(ours)]
    body: dict[str, Any] = {
        "event": "DeadLetter",
        "topic": place.topic,
        "partition": place.partition,
        "offset": place.offset,
        "headers": [[name, base64.b64encode(text).decode()] for name, text in (*kept, *ours)],
        "reason": WEBHOOK_FAILED,
        "explanation": explanation,
        "at": format_time(now),
    }
    if value is not None:
        body["value_b64"] = base64.b64encode(value).decode()
    id_ = f"{place}@{target}"
    return encode_json(body), event_headers("DeadLetter", id_, time=format_time(now), source=NOTIFIER_SOURCE)


def target_of(body: Mapping[str, Any]) -> str | None:
    """Give who was to be told, of a dead letter; None where it is of another kind."""
    if body.get("reason") != WEBHOOK_FAILED:
        return None
    return _header(body.get("headers", ()), TARGET_HEADER)


def _header(rows: Iterable[Sequence[str]], wanted: str) -> str | None:
    found = None
    for name, text in rows:
        if name == wanted:
            try:
                found = base64.b64decode(text, validate=True).decode("ascii")
            except (binascii.Error, ValueError):
                return None
    return found


def notice_of(body: Mapping[str, Any]) -> Notice | None:
    """Give what was to be told, of a webhook's dead letter; None where it cannot be read back."""
    rows = body.get("headers", ())
    type_, at = _header(rows, TYPE_HEADER), _header(rows, TIME_HEADER)
    if type_ is None or at is None or not (at.isascii() and at.isdigit()) or len(at) > 15:
        return None
    try:
        value = base64.b64decode(body.get("value_b64") or "", validate=True)
        headers = [(str(name), base64.b64decode(text or "", validate=True)) for name, text in rows]
        event = decode(str(body["topic"]), value, headers).event
    except (binascii.Error, Malformed, ValueError, TypeError):
        return None
    journal = read_position(headers)
    if journal is None:
        return None
    place = Place(str(body["topic"]), int(body["partition"]), int(body["offset"]))
    return Notice(type_, event.wire(), place, journal, int(at))
