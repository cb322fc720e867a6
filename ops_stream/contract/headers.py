"""Record headers: the CloudEvents 1.0 Kafka binding, trace context, and the journal position."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

JSON_TYPE: Final = "application/json"
AVRO_TYPE: Final = "application/avro"
SOURCE: Final = "/ops-stream"
NOTIFIER_SOURCE: Final = "/ops-stream/notifier"
"""The source of dead letters of webhooks: the notifier writes them, and no journal holds them."""
WEBHOOK_FAILED: Final = "webhook_failed"
"""Their reason."""
JOURNAL_HEADER: Final = "ops-journal"
AGENT_HEADER: Final = "ops-agent"
"""Names the agent that an assignment is for, so that others need not read it."""

_CONTENT_TYPES: Final = {"json": JSON_TYPE.encode(), "avro": AVRO_TYPE.encode()}
_TRACEPARENT: Final = re.compile(
    rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)
_POSITION: Final = re.compile(rb"([0-9]{1,9}):([0-9]{1,18}):([0-9]{1,9})")


@dataclass(frozen=True, slots=True, order=True)
class JournalPosition:
    """The journal record, and the output in it, that caused a record. Later compares as greater."""

    partition: int
    offset: int
    index: int

    def __str__(self) -> str:
        """Write it as the header does."""
        return f"{self.partition}:{self.offset}:{self.index}"


class InputHeaders(NamedTuple):
    """What the headers of an input say; everything else in them means nothing."""

    event: str | None
    avro: bool
    traceparent: str | None


def event_headers(
    event: str,
    event_id: str,
    *,
    time: str,
    subject: str | None = None,
    source: str = SOURCE,
    encoding: str = "json",
    traceparent: str | None = None,
    journal: JournalPosition | None = None,
) -> list[tuple[str, bytes]]:
    """Write the headers of one record."""
    headers = [
        ("ce_specversion", b"1.0"),
        ("ce_id", event_id.encode()),
        ("ce_type", event.encode()),
        ("ce_source", source.encode()),
        ("ce_time", time.encode()),
        ("content-type", _CONTENT_TYPES[encoding]),
    ]
    if subject is not None:
        headers.append(("ce_subject", subject.encode()))
    if traceparent is not None:
        headers.append(("traceparent", traceparent.encode()))
    if journal is not None:
        headers.append((JOURNAL_HEADER, str(journal).encode()))
    return headers


def read_headers(headers: Iterable[tuple[str, bytes | None]]) -> InputHeaders:
    """Read the headers of an input; of a name given twice the last counts, as Kafka clients have it."""
    event, avro, traceparent = None, False, None
    for name, value in headers:
        if value is None:
            continue
        if name == "content-type":
            avro = value.split(b";", 1)[0].strip().lower() == b"application/avro"
        elif name == "ce_type":
            event = value.decode(errors="replace")
        elif name == "traceparent":
            traceparent = value.decode() if _TRACEPARENT.fullmatch(value) else None
    return InputHeaders(event, avro, traceparent)


def read_position(headers: Iterable[tuple[str, bytes | None]]) -> JournalPosition | None:
    """Read the journal position of an output; None where there is none that can be read."""
    found = None
    for name, value in headers:
        if name == JOURNAL_HEADER and value is not None:
            match = _POSITION.fullmatch(value)
            found = JournalPosition(*map(int, match.groups())) if match else None
    return found
