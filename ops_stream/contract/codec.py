"""From the bytes of a record to an event, and back. Whatever cannot be read becomes one Malformed."""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, NamedTuple

from pydantic import ValidationError

from ops_stream.contract.avro import MARKER, NotAvro, decode_avro, encode_avro
from ops_stream.contract.headers import read_headers
from ops_stream.contract.jsontext import NotJson, parse, salvage
from ops_stream.contract.models import EVENTS_OF_TOPIC, INPUT_TOPICS, Event, is_id
from ops_stream.contract.wire import DEPTH_MAX, DEPTH_MAX_OUTPUT

__all__ = [
    "INPUT_BYTES_MAX",
    "Decoded",
    "Encoding",
    "Malformed",
    "decode",
    "decode_avro",
    "encode_avro",
    "encode_json",
]

INPUT_BYTES_MAX: Final = 262_144
"""The largest value of an input."""
OUTPUT_BYTES_MAX: Final = 4_194_304
"""The largest value of anything else."""

Encoding = Literal["json", "avro"]
_IDS: Final = frozenset(("request_id", "task_id", "tenant", "agent"))


class Decoded(NamedTuple):
    """An event, how it was written, and the trace that it belongs to."""

    event: Event
    encoding: Encoding
    traceparent: str | None


class Malformed(Exception):
    """A record that cannot be read as one of its topic's events.

    `explanation` is a sentence that repeats nothing of the value. The ids are what could be read of them
    all the same; on `task-requests` they say whom to answer.
    """

    def __init__(
        self,
        explanation: str,
        *,
        request_id: str | None = None,
        tenant: str | None = None,
        agent: str | None = None,
        task_id: str | None = None,
        encoding: Encoding = "json",
    ) -> None:
        """Keep what is known."""
        super().__init__(explanation)
        self.explanation = explanation
        self.request_id = request_id
        self.tenant = tenant
        self.agent = agent
        self.task_id = task_id
        self.encoding: Encoding = encoding


def decode(topic: str, value: bytes | None, headers: Iterable[tuple[str, bytes | None]] = ()) -> Decoded:
    """Read a record of a topic (by its name without the prefix); raises Malformed for all that is not one.

    Records of `forwarded` are unwrapped by their reader and decoded under the topic that they came from.
    """
    if topic not in EVENTS_OF_TOPIC:
        raise Malformed("This topic carries no events of the contract.")
    told = read_headers(headers)
    is_input = topic in INPUT_TOPICS
    levels = DEPTH_MAX if is_input else DEPTH_MAX_OUTPUT
    encoding: Encoding = "avro" if told.avro else "json"
    name: object
    try:
        if not value:
            raise NotJson("The record has no value.")
        limit = INPUT_BYTES_MAX if is_input else OUTPUT_BYTES_MAX
        if len(value) > limit:
            raise NotJson(f"The value has {len(value):,} bytes; the limit is {limit:,}.")
        if told.avro:
            name, body = decode_avro(value, levels)
        else:
            body = _json_object(value, levels)
            name = body.get("event")
    except (NotJson, NotAvro) as error:
        ids = {} if told.avro else salvage(value or b"", _IDS)
        raise Malformed(str(error), encoding=encoding, **ids) from None
    try:
        return Decoded(_model(topic, name, told.event).from_wire(body), encoding, told.traceparent)
    except ValidationError as error:
        explanation = _sentences(error)
    except NotJson as error:
        explanation = str(error)
    raise Malformed(explanation, encoding=encoding, **_readable_ids(body))


def encode_json(obj: Mapping[str, Any]) -> bytes:
    """Write a JSON-shaped object as one line of JSON in UTF-8."""
    return _ENCODER.encode(obj).encode()


_ENCODER: Final = json.JSONEncoder(
    ensure_ascii=False, check_circular=False, allow_nan=False, separators=(",", ":")
)


def _json_object(value: bytes, levels: int) -> dict[str, Any]:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        hint = " It looks like Avro: say so in the header content-type." if value[:2] == MARKER else ""
        raise NotJson(f"It is not UTF-8.{hint}") from None
    body = parse(text, levels)
    if type(body) is not dict:
        raise NotJson("It is JSON, but not an object.")
    return body


def _model(topic: str, name: object, ce_type: str | None) -> type[Event]:
    """Choose the event by what the body says, else the header, else by the topic having only one."""
    events = EVENTS_OF_TOPIC[topic]
    if name is None and ce_type is None and len(events) == 1:
        return events[0]
    if name is not None and ce_type is not None and name != ce_type:
        raise NotJson("The body's event and the header ce_type name different events.")
    for event in events:
        if event.__name__ == (name or ce_type):
            return event
    known = ", ".join(event.__name__ for event in events)
    said = "It does not name its event" if name is None and ce_type is None else "It names an unknown event"
    raise NotJson(f"{said}; this topic carries {known}.")


def _readable_ids(body: Mapping[str, Any]) -> dict[str, Any]:
    return {name: body[name] for name in _IDS if type(body.get(name)) is str and is_id(body[name])}


def _sentences(error: ValidationError) -> str:
    """Say what is wrong with the first few fields, without their values."""
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    sentences = []
    for problem in problems[:3]:
        field = ".".join(str(step)[:64] for step in problem["loc"])
        text = problem["msg"].removeprefix("Value error, ")
        sentences.append(f"{field}: {text}." if field else f"{text}.")
    if len(problems) > 3:
        sentences.append(f"And {len(problems) - 3} more.")
    return " ".join(sentences)
