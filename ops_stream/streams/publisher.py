"""Publishing behind the journal: outputs go out in offset order, each with the position that caused it.

An input is acknowledged to the bus only when all its outputs are delivered, and `published_through` is the first
journal offset whose outputs may not all be out yet.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

import msgspec
from aiokafka import AIOKafkaProducer

from ops_stream.contract.answers import PROVED as SIGNED
from ops_stream.contract.avro import encode_avro
from ops_stream.contract.clocktext import format_time
from ops_stream.contract.headers import AGENT_HEADER, JournalPosition, event_headers
from ops_stream.contract.signing import SigningKey
from ops_stream.core.journal.chain import JournalKey
from ops_stream.core.journal.record import OutputDoc
from ops_stream.streams.lane import Lane, Parcel
from ops_stream.streams.signing import answer_signature

FORWARD_MAC_HEADER = "ops-mac"
PROVED = ("forwarded", "control")
"""What supervisors write to each other, on topics that others may write to as well."""


ASSIGNED = "assignments"


class _Named(msgspec.Struct):
    agent: str


class _Assigned(msgspec.Struct):
    request: _Named


@dataclass(slots=True)
class _Entry:
    offset: int
    remaining: int
    ack: Callable[[], None] | None
    sealed_at: float
    """When its record was sealed; 0 for one of before this worker."""


class Publisher:
    """Publishes one partition's outputs. `failed(topic, error)` is called when a topic cannot be written.

    With a signing key the answers to agents are signed. `published` is told how long it took from the seal of a record
    with outputs until all of them were out.
    """

    def __init__(
        self,
        producer: AIOKafkaProducer,
        partition: int,
        topic_name: Callable[[str], str],
        key: JournalKey,
        failed: Callable[[str, BaseException], None],
        signing_key: SigningKey | None = None,
        published: Callable[[float], None] = lambda took_s: None,
    ) -> None:
        self.partition = partition
        self.published_through = 0
        self.on_progress: Callable[[], None] = lambda: None
        self._producer = producer
        self._topic_name = topic_name
        self._key = key
        self._failed = failed
        self._signing_key = signing_key
        self._published = published
        self._entries: deque[_Entry] = deque()
        self._lanes: dict[tuple[str, int], Lane[_Entry]] = {}

    @property
    def waiting(self) -> int:
        """Journal records whose outputs are not all acknowledged."""
        return len(self._entries)

    def publish(
        self,
        offset: int,
        at_ms: int,
        outputs: tuple[OutputDoc, ...],
        ack: Callable[[], None] | None = None,
        sealed_at: float = 0.0,
    ) -> None:
        """Send the outputs of the journal record at `offset`, in offset order; `ack` is called when all are out."""
        entry = _Entry(offset, len(outputs), ack, sealed_at if outputs else 0.0)
        self._entries.append(entry)
        for index, output in enumerate(outputs):
            self._send(entry, offset, at_ms, index, output)
        if not outputs:
            self._advance()

    def oldest_age_s(self, now: float) -> float:
        """Age of the oldest output that is not acknowledged."""
        return self.oldest(now)[0]

    def oldest(self, now: float) -> tuple[float, str]:
        """The same, and the topic on which it is waited for."""
        return max(((lane.oldest_age_s(now), lane.topic) for lane in self._lanes.values()), default=(0.0, ""))

    def close(self) -> None:
        """Send nothing more."""
        for lane in self._lanes.values():
            lane.close()

    def _send(self, entry: _Entry, offset: int, at_ms: int, index: int, output: OutputDoc) -> None:
        value = bytes(output.value)
        agent = _agent_of(value) if output.topic == ASSIGNED else None
        position, time = JournalPosition(self.partition, offset, index), format_time(at_ms)
        if output.encoding == "avro":
            value = encode_avro(output.type, msgspec.json.decode(value))
        headers = event_headers(
            output.type,
            output.id,
            time=time,
            subject=output.subject,
            encoding=output.encoding,
            traceparent=output.traceparent,
            journal=position,
        )
        if agent is not None:
            headers.append((AGENT_HEADER, agent))
        target = self.partition if output.partition is None else output.partition
        if output.topic in PROVED:
            mac = forward_mac(self._key, str(position), value, output.topic, target)
            headers.append((FORWARD_MAC_HEADER, mac))
        if self._signing_key is not None and output.topic in SIGNED:
            topic, type_ = self._topic_name(output.topic), SIGNED[output.topic]
            headers.append(
                answer_signature(self._signing_key, topic, output.key, value, position, time, type_)
            )
        self._lane(output.topic, target).put(Parcel(output.key.encode(), value, headers, entry))

    def _lane(self, topic: str, partition: int) -> Lane[_Entry]:
        lane = self._lanes.get((topic, partition))
        if lane is None:
            full = self._topic_name(topic)
            lane = Lane(
                self._producer,
                full,
                partition,
                self._delivered,
                lambda error: self._failed(full, error),
            )
            self._lanes[topic, partition] = lane
        return lane

    def _delivered(self, _offset: int, _timestamp_ms: int, entries: list[_Entry]) -> None:
        for entry in entries:
            entry.remaining -= 1
        self._advance()

    def _advance(self) -> None:
        entries = self._entries
        moved, now = False, monotonic()
        while entries and entries[0].remaining == 0:
            entry = entries.popleft()
            self.published_through = entry.offset + 1
            moved = True
            if entry.sealed_at:
                self._published(now - entry.sealed_at)
            if entry.ack is not None:
                entry.ack()
        if moved:
            self.on_progress()


def _agent_of(assignment: bytes) -> bytes:
    """Whom an assignment is for; only that is read of it."""
    return msgspec.json.decode(assignment, type=_Assigned).request.agent.encode()


def forward_mac(
    key: JournalKey, position: str, value: bytes, topic: str = "forwarded", partition: int | None = None
) -> bytes:
    """Proves to the receiving partition that a supervisor wrote a forwarded record, or a command's copy.

    A copy is proved for its partition only: played again on another it would not be known there.
    """
    place = topic if topic == "forwarded" else f"{topic} {partition}"
    return key.mac(place.encode() + b"\n" + position.encode() + b"\n" + value).encode()
