"""What became of a kill, followed in the journal: which partitions have it, and how far its stops are proved."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiokafka import TopicPartition
from aiokafka.structs import ConsumerRecord

from ops_stream.cli.bus import Bus
from ops_stream.cli.command import obeyed_in
from ops_stream.core.containment import containment_key
from ops_stream.core.journal import record as rec
from ops_stream.core.rows import CONTAINMENTS, Containment


@dataclass(slots=True)
class Stopping:
    """How far one partition has got."""

    partition: int
    offset: int | None = None
    """Where its journal has the kill; None while it has not."""
    ms: int | None = None
    """The broker's time of that record, less that of the command."""
    refused: str = ""
    proof: Containment | None = None

    @property
    def settled(self) -> bool:
        """Whether nothing more is to be waited for: all is stopped, and heard of or too late."""
        if self.offset is None:
            return False
        return bool(self.refused) or self.proof is None or self.proof.settled

    @property
    def proved(self) -> bool:
        """Whether everything that it stopped is known to have stopped."""
        return self.settled and self.proof is not None and not self.proof.unconfirmed

    def as_dict(self) -> dict[str, Any]:
        """Give it as a JSON-shaped object."""
        row: dict[str, Any] = {"partition": self.partition, "journal_offset": self.offset, "ms": self.ms}
        proof = self.proof
        if proof is not None:
            row |= {
                "stopped": proof.revoked + proof.dropped,
                "revoked": proof.revoked,
                "dropped": proof.dropped,
                "contained": proof.contained,
                "acked": proof.acked,
                "pending": proof.pending,
                "unconfirmed": proof.unconfirmed,
                "stopping": proof.sweeping,
            }
            if proof.unconfirmed:
                row["unconfirmed_asks"] = [list(name.split("|", 1)) for name in proof.names]
        return row | ({"refused": self.refused} if self.refused else {})


@dataclass(slots=True)
class Kill:
    """A kill that is under way."""

    command_id: str
    stops: dict[int, Stopping] = field(default_factory=dict)
    """By partition."""

    @property
    def settled(self) -> bool:
        """Whether nothing more is to be waited for on any partition; what is refused is not handed on to the others."""
        stops = self.stops.values()
        return any(stop.refused for stop in stops) or all(stop.settled for stop in stops)

    def total(self, name: str) -> int:
        """Add up a count over the partitions."""
        return sum(getattr(stop.proof, name) for stop in self.stops.values() if stop.proof is not None)

    def take(self, record: ConsumerRecord, sent_ms: int) -> Stopping | None:
        """Take in a journal record; gives the partition of which it tells something."""
        stop = self.stops.get(record.partition)
        if stop is None or record.value is None or self.command_id.encode() not in record.value:
            return None
        obeyed = obeyed_in(record, self.command_id) if stop.offset is None else None
        if obeyed is not None:
            stop.offset, stop.refused = obeyed.offset, obeyed.refused
            stop.ms = max(0, record.timestamp - sent_ms)
        proof = _proof_in(record, self.command_id)
        if proof is None and obeyed is None:
            return None
        stop.proof = proof or stop.proof
        return stop


def _proof_in(record: ConsumerRecord, command_id: str) -> Containment | None:
    """Find what a journal record says of a kill's proof."""
    try:
        read = rec.read(record.value)
        if read.header.expected_offset != record.offset:
            return None  # a void record of a lost owner
        row = rec.decode_changes(read.changes).get(containment_key(command_id))
        return None if row is None else CONTAINMENTS.decode(row)
    except ValueError:
        return None


async def follow(
    bus: Bus, kill: Kill, starts: Mapping[TopicPartition, int], sent_ms: int, wait_s: float
) -> AsyncIterator[Stopping]:
    """Give each partition of which something new is known, until all are settled or the time is over."""
    deadline = asyncio.get_running_loop().time() + wait_s
    records = aiter(bus.follow(starts))
    while not kill.settled:
        try:
            async with asyncio.timeout_at(deadline):
                record = await anext(records)
        except TimeoutError:
            return
        stop = kill.take(record, sent_ms)
        if stop is not None:
            yield stop


def names_of(stops: Iterable[Stopping]) -> list[str]:
    """Name the unconfirmed asks that are known by name."""
    return [
        name.replace("|", "/", 1) for stop in stops if stop.proof is not None for name in stop.proof.names
    ]
