"""What a client has sent and Kafka has not yet acknowledged, apart from asks, which look after themselves."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from agents_adapter._seat import Seat
from agents_adapter._sender import NotDelivered, Outgoing, Posted

logger = logging.getLogger("agents_adapter")

WAITING_MAX: Final = 10_000
"""How many records of a client may wait for Kafka before `report` waits too."""


class Outbox:
    """Posts records and remembers what was lost.

    Lives on the background loop; `backlog` may be read from elsewhere.
    """

    def __init__(self, seat: Seat) -> None:
        """Send through a seat."""
        self.backlog = 0
        self._seat = seat
        self._flying: set[asyncio.Future[None]] = set()
        self._lost: list[BaseException] = []

    def post(self, record: Outgoing) -> Posted:
        """Send a record and do not wait."""
        posted = self._seat.taken().sender.post(record)
        self._flying.add(posted.done)
        self.backlog = len(self._flying)
        posted.done.add_done_callback(self._landed)
        return posted

    async def deliver(
        self, record: Outgoing, until: float, landed: Callable[[int], None] = lambda at_ms: None
    ) -> None:
        """Send a record and wait until Kafka has it; raises NotDelivered past `until`.

        `landed` is told the broker's time of it, at once, however late that is.
        """
        posted = self.post(record)
        posted.done.add_done_callback(
            lambda done: None if posted.timestamp_ms is None else landed(posted.timestamp_ms)
        )
        await asyncio.wait([posted.done], timeout=max(0.0, until - time.monotonic()))
        if not posted.done.done():
            raise NotDelivered("Kafka did not acknowledge the record in time.", where=record.topic)
        posted.done.result()

    async def room(self, timeout_s: float) -> None:
        """Wait until less is waiting; raises NotDelivered past the time-out."""
        until = time.monotonic() + timeout_s
        while len(self._flying) >= WAITING_MAX:
            left_s = until - time.monotonic()
            if left_s <= 0:
                raise NotDelivered(f"Reports are not getting through: {len(self._flying):,} are waiting.")
            await asyncio.wait(set(self._flying), timeout=left_s, return_when=asyncio.FIRST_COMPLETED)

    async def flush(self, timeout_s: float) -> None:
        """Wait until Kafka has everything; raises NotDelivered where something was lost or time ran out."""
        until = time.monotonic() + timeout_s
        while self._flying and (left_s := until - time.monotonic()) > 0:
            await asyncio.wait(set(self._flying), timeout=left_s)
        lost, self._lost = self._lost, []
        if lost:
            raise NotDelivered(f"{len(lost)} record(s) did not reach Kafka; the first, because: {lost[0]}")
        if self._flying:
            raise NotDelivered(f"{len(self._flying)} record(s) were not acknowledged within {timeout_s:g} s.")

    def _landed(self, done: asyncio.Future[None]) -> None:
        self._flying.discard(done)
        self.backlog = len(self._flying)
        error = None if done.cancelled() else done.exception()
        if error is not None:
            logger.error("%s", error)
            self._lost.append(error)
