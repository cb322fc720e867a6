"""What `step` decides about: a record of an input topic, the passing of time, an event of the journal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

from msgspec import Struct

from ops_stream.contract.models import (
    AgentRegistration,
    ControlCommand,
    Heartbeat,
    Resolution,
    RevocationAck,
    TaskRequest,
    Telemetry,
    Workflow,
)

Event: TypeAlias = (
    TaskRequest
    | Telemetry
    | AgentRegistration
    | Heartbeat
    | RevocationAck
    | Workflow
    | Resolution
    | ControlCommand
)

Headers: TypeAlias = tuple[tuple[str, bytes], ...]


class Origin(Struct, frozen=True):
    """Where a record stands. `topic` is the logical name, without prefix; the timestamp is the broker's."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int


class EventInput(Struct, frozen=True):
    """A record that the codec could read.

    `forwarded_from` is where a forwarded record stood first, and `via` the position (partition, offset,
    index) of the journal output that forwarded it; `origin` is then the record on the forwarded topic.
    A copy of a command for all partitions has only `via`.
    """

    origin: Origin
    event: Event
    encoding: str = "json"
    traceparent: str | None = None
    raw: bytes | None = None
    headers: Headers = ()
    forwarded_from: Origin | None = None
    via: tuple[int, int, int] | None = None


class MalformedInput(Struct, frozen=True):
    """A record that the codec refused, with what could still be read of it."""

    origin: Origin
    raw: bytes | None
    headers: Headers
    explanation: str
    request_id: str | None = None
    task_id: str | None = None
    tenant: str | None = None
    agent: str | None = None
    encoding: str = "json"
    traceparent: str | None = None
    forwarded_from: Origin | None = None
    via: tuple[int, int, int] | None = None


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed: everything that is due by now may be done.

    `until_ms` is a moment up to which every input is known to have been read, where that is earlier than now: what
    is due later may still be forestalled by a record that was written in time and waits to be read.
    """

    until_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Takeover:
    """A worker has taken the partition over."""

    boot_id: str
    instance: str
    engine_version: str
    rules_digest: str


@dataclass(frozen=True, slots=True)
class Gap:
    """Offsets `first` to `last` of an input partition hold no record, and the broker says so."""

    topic: str
    partition: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Rebase:
    """The journal goes on in another cluster, whose inputs begin at 0 after those that were `reached` in the old one.

    `source` is the digest of the export that the journal was restored from.
    """

    source: str
    reached: dict[str, int]
    """The next offset of each input of the old cluster, by its topic's logical name."""


RecordInput: TypeAlias = EventInput | MalformedInput
RECORD_INPUTS: Final = (EventInput, MalformedInput)
Input: TypeAlias = EventInput | MalformedInput | Tick | Takeover | Gap | Rebase
