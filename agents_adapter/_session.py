"""One client's side on the background loop: its seat, its outbox and its desk together."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from aiokafka.structs import ConsumerRecord

from agents_adapter._assignments import Assignments, HandOver
from agents_adapter._desk import Desk
from agents_adapter._outbox import Outbox
from agents_adapter._reader import Position
from agents_adapter._records import new_id
from agents_adapter._seat import Options, Seat
from ops_stream.contract.codec import Malformed, decode
from ops_stream.contract.models import AgentRegistration, AgentStatus


class Session:
    """Opened and closed with its client."""

    def __init__(self, options: Options) -> None:
        """Describe a session."""
        self.options = options
        self.seat = Seat(options)
        self.outbox = Outbox(self.seat)
        self.desk = Desk(self.seat, self.outbox)
        self.assignments = Assignments(self.seat, self.desk)

    async def open(self) -> None:
        """Connect."""
        await self.seat.open()
        self.seat.taken().listeners.add(self.desk.ask_again)

    async def close(self) -> None:
        """Send what waits, for as long as an ask may take, and disconnect.

        Raises NotDelivered for what was lost.
        """
        if self.seat.link is None:
            return
        self.seat.link.listeners.discard(self.desk.ask_again)
        await self.assignments.close()
        await self.desk.close()
        try:
            await self.outbox.flush(self.options.timeout_s)
        finally:
            await self.seat.close()

    async def register(self, event: AgentRegistration, wait_status_s: float | None) -> AgentStatus | None:
        """Register an agent.

        Return when Kafka has it or, with a time, when the status that follows is there.
        """
        return await self._register(event, wait_status_s, lambda at_ms: None)

    async def serve(
        self, agents: Sequence[tuple[AgentRegistration, HandOver]], wait_status_s: float
    ) -> list[AgentStatus | None]:
        """Register agents and hand over what is assigned to them from then on; give what became of each."""
        inboxes = await self.assignments.open(agents)
        events = [event for event, _ in agents]
        made = (
            self._register(event, wait_status_s, inbox.begins)
            for event, inbox in zip(events, inboxes, strict=True)
        )
        try:
            return await asyncio.gather(*made)
        except BaseException:
            await self.assignments.close()
            raise

    async def _register(
        self, event: AgentRegistration, wait_status_s: float | None, began: Callable[[int], None]
    ) -> AgentStatus | None:
        """Do so; `began` is told the broker's time of the registration, before anything can follow from it."""
        until = time.monotonic() + self.options.timeout_s
        place, _ = await self.seat.ready(until)
        record = place.record(event, new_id("event"), agent=event.agent, subject=event.agent)
        if wait_status_s is None:
            await self.outbox.deliver(record, until, began)
            return None
        intake = self.seat.taken().intake
        reader = intake.open(self.options.settings.topic("agent-status"), place.partition, by=None)
        status, subject = _Status(event), f"{event.tenant}/{event.agent}"
        reader.watch(subject, status)
        try:
            async with asyncio.timeout_at(asyncio.get_running_loop().time() + self.options.timeout_s):
                await reader.established.wait()
            await self.outbox.deliver(record, until, began)
            async with asyncio.timeout(wait_status_s):
                return await status.found
        except TimeoutError:
            return None
        finally:
            reader.unwatch(subject, status)
            await intake.close(reader)


class _Status:
    """Waits for the status of one agent."""

    proves = False

    def __init__(self, event: AgentRegistration) -> None:
        self.found: asyncio.Future[AgentStatus] = asyncio.get_running_loop().create_future()
        self._event = event

    def offer(self, record: ConsumerRecord, position: Position) -> None:
        try:
            status = decode("agent-status", record.value, record.headers).event
        except Malformed:
            return
        assert isinstance(status, AgentStatus)
        if (status.agent, status.tenant) == (self._event.agent, self._event.tenant) and not self.found.done():
            self.found.set_result(status)
