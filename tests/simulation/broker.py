"""Partitioned logs with the broker's time, and the way of one producer to them.

Every producer has one lane a partition: what it sends lands in order, in batches, and is acknowledged in order. Between
these moments anything may happen to either side.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from ops_stream.core.inputs import Headers

START_MS: Final = 1_795_525_200_000  # 2026-11-24T13:00:00Z
Place = tuple[str, int]
"""A topic and a partition."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A record on the broker."""

    offset: int
    at_ms: int
    key: str
    value: bytes | None
    headers: Headers


class Broker:
    """Topics are made as they are used; a log is a list whose index is the offset, `None` where nothing is."""

    def __init__(self) -> None:
        self.now = START_MS
        self.logs: dict[Place, list[Stored | None]] = {}
        self.closed: set[Place] = set()
        """Partitions whose leader takes nothing for now."""
        self.watch: Callable[[str, int, Stored, int | None], None] = lambda *_: None
        """Told of every record that lands, and of the moment at which a worker sent it."""
        self.moment = 0

    def log(self, topic: str, partition: int) -> list[Stored | None]:
        """Give a partition's log."""
        return self.logs.setdefault((topic, partition), [])

    def end(self, topic: str, partition: int) -> int:
        """Give the offset that the next record gets."""
        return len(self.log(topic, partition))

    def append(
        self,
        topic: str,
        partition: int,
        key: str,
        value: bytes | None,
        headers: Headers = (),
        sent: int | None = None,
    ) -> Stored:
        """Take a record."""
        log = self.log(topic, partition)
        stored = Stored(len(log), self.now, key, value, headers)
        log.append(stored)
        self.watch(topic, partition, stored, sent)
        return stored

    def leave_hole(self, topic: str, partition: int) -> None:
        """Use an offset up for nothing, as the marker of a transaction does."""
        self.log(topic, partition).append(None)


@dataclass(frozen=True, slots=True)
class Parcel:
    """A record on its way. `sent` is the moment at which it was handed over."""

    key: str
    value: bytes | None
    headers: Headers
    token: object
    sent: int


Delivered = Callable[[int, list[object]], None]
"""Told the offset of the first record of a batch, and its tokens."""


@dataclass(slots=True)
class Lane:
    """What a producer has under way to one partition."""

    place: Place
    delivered: Delivered
    sent: deque[Parcel] = field(default_factory=deque)
    landed: deque[tuple[int, list[object]]] = field(default_factory=deque)


class Wire:
    """The connection of one producer."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.lanes: dict[tuple[str, int, str], Lane] = {}

    def put(
        self,
        place: Place,
        key: str,
        value: bytes | None,
        headers: Headers,
        token: object,
        delivered: Delivered,
        owner: str = "",
    ) -> None:
        """Hand a record over."""
        name = (*place, owner)
        lane = self.lanes.get(name)
        if lane is None:
            lane = self.lanes[name] = Lane(place, delivered)
        lane.sent.append(Parcel(key, value, headers, token, self.broker.moment))

    def sending(self) -> list[Lane]:
        """Lanes with something that may land now."""
        return [lane for lane in self.lanes.values() if lane.sent and lane.place not in self.broker.closed]

    def waiting(self) -> list[Lane]:
        """Lanes with something that landed and is not acknowledged."""
        return [lane for lane in self.lanes.values() if lane.landed]

    def land(self, lane: Lane, count: int) -> None:
        """Let the first records of a lane arrive, as one batch."""
        batch = [lane.sent.popleft() for _ in range(min(count, len(lane.sent)))]
        stored = [
            self.broker.append(*lane.place, parcel.key, parcel.value, parcel.headers, parcel.sent)
            for parcel in batch
        ]
        lane.landed.append((stored[0].offset, [parcel.token for parcel in batch]))

    def acknowledge(self, lane: Lane) -> None:
        """Let the producer hear of the oldest batch that landed."""
        lane.delivered(*lane.landed.popleft())

    def cut(self, keep: Callable[[int], int], owners: Iterable[str] | None = None) -> None:
        """The producer is gone: of each lane a beginning is on its way all the same, nobody hears of it."""
        wanted = None if owners is None else set(owners)
        for (_, _, owner), lane in self.lanes.items():
            if wanted is not None and owner not in wanted:
                continue
            for _ in range(len(lane.sent) - keep(len(lane.sent))):
                lane.sent.pop()
            lane.landed.clear()
            lane.delivered = _nobody


def _nobody(_offset: int, _tokens: list[object]) -> None:
    """What was sent by a producer that is gone is acknowledged to nobody."""
