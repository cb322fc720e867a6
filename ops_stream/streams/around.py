"""What stands around a sequencer: the phases of a partition, what comes in, what it asks of the bus, who counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from ops_stream.core.decision import Decision
from ops_stream.core.inputs import Input
from ops_stream.core.journal.ledger import Prepared
from ops_stream.core.journal.record import RawInput


class Phase(StrEnum):
    """Where a partition is; only `live` decides."""

    RECOVERING = "recovering"
    LIVE = "live"
    DRAINING = "draining"
    HALTED = "halted"


@dataclass(frozen=True, slots=True)
class Arrival:
    """An input record and what to call when all that it caused is out (or it was dropped)."""

    raw: RawInput
    ack: Callable[[], None]


class Flow(Protocol):
    """What the sequencer asks of the bus."""

    def pause(self, partition: int) -> None:
        """Deliver nothing more of this partition for now."""

    def resume(self, partition: int) -> None:
        """Deliver again."""

    def seek(self, partition: int, topic: str, offset: int) -> None:
        """Deliver `topic` again from `offset`."""

    def probe(self, partition: int, topic: str, offset: int) -> None:
        """Ask the broker whether anything stands at `offset`; what is there is delivered, a hole is skipped."""


class Observer(Protocol):
    """What the worker counts. Called for every record: nothing here may take long, or fail."""

    def decided(
        self, prepared: Prepared, decision: Decision, input_: Input, started: float, sealed_at: float
    ) -> None:
        """A record was decided and sealed between two moments of the monotonic clock, and is enqueued."""

    def journaled(self, took_s: float) -> None:
        """The journal has acknowledged records, the first of them so long after it was sealed."""
