"""One partition that a worker was given, and how long it may take over what."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from time import monotonic

from ops_stream.streams.around import Phase
from ops_stream.streams.sequencer import Sequencer


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds past which a worker ends itself, or says that it is not ready. In seconds."""

    append_deadline_s: float = 30.0
    stalled_s: float = 5.0
    """So long a record may wait for what is done with it at once; what takes several turns may take some times that."""

    @property
    def overdue_s(self) -> float:
        """So long after it was due, and after the last thing that time did, something must have happened."""
        return 2 * self.stalled_s

    @property
    def still_s(self) -> float:
        """A task that turns every few seconds and has not for so long stands still."""
        return 3 * self.stalled_s

    @property
    def lost_s(self) -> float:
        """One that stands still for so long, while the broker answers, will not go on by itself."""
        return 18 * self.stalled_s


@dataclass(slots=True)
class Owned:
    """One partition of the present generation."""

    partition: int
    phase: Phase = Phase.RECOVERING
    since: float = field(default_factory=monotonic)
    task: asyncio.Task[None] | None = None
    sequencer: Sequencer | None = None
    before: Owned | None = None
    """The same partition a generation ago, until its ledger is taken over: a rebalance may come in between."""
