"""Taking what is handed out: which assignments are for agents served here, genuine, new, and still in force."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from aiokafka.structs import ConsumerRecord

from agents_adapter._desk import Desk, Missed
from agents_adapter._line import permits
from agents_adapter._proof import Unproved
from agents_adapter._reader import Lately, PartitionReader, Position
from agents_adapter._seat import Seat
from agents_adapter._sender import NotDelivered
from agents_adapter.approval import Approval
from ops_stream.contract.clocktext import parse_time
from ops_stream.contract.codec import Malformed, decode
from ops_stream.contract.digest import action_digest
from ops_stream.contract.headers import AGENT_HEADER, JournalPosition
from ops_stream.contract.models import AgentRegistration, TaskAssignment

logger = logging.getLogger("agents_adapter")

KNOWN_MAX: Final = 20_000
"""So many steps are known again when they are handed over once more; what is older is told by its lease."""
WAITING_MAX: Final = 1000
"""How many assignments of one agent may be looked at at once; whoever writes more forges."""
WAITING_BYTES_MAX: Final = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Given:
    """A step that this agent may run. `until` is when its first lease ends, on this machine's monotonic clock."""

    assignment: TaskAssignment
    approval: Approval
    until: float


HandOver = Callable[[Given], None]


class Assignments:
    """What is handed out to the agents that one client serves. Lives on the background loop."""

    def __init__(self, seat: Seat, desk: Desk) -> None:
        """Read through a seat, and let a desk listen to what becomes of each."""
        self.seat = seat
        self.desk = desk
        self.reader: PartitionReader | None = None
        self._known: OrderedDict[str, None] = OrderedDict()
        self._inboxes: list[Inbox] = []

    async def open(self, agents: Sequence[tuple[AgentRegistration, HandOver]]) -> list[Inbox]:
        """Listen for agents that are about to be registered; each begins to be served with its registration."""
        timeout_s = self.seat.options.timeout_s
        place, approvals = await self.seat.ready(time.monotonic() + timeout_s)
        link = self.seat.taken()
        topic = link.assignments()
        if approvals.lately is None:
            approvals.lately = Lately()
        reader = self.reader = link.intake.open(topic, place.partition, by=AGENT_HEADER)
        try:
            async with asyncio.timeout(timeout_s):
                await reader.established.wait()
        except BaseException as error:
            await self.close()
            if isinstance(error, TimeoutError):
                raise NotDelivered("Kafka did not tell in time where the assignments end.") from None
            raise
        for event, hand_over in agents:
            inbox = Inbox(self, event, hand_over)
            self._inboxes.append(inbox)
            reader.watch(event.agent, inbox)
        return list(self._inboxes)

    async def close(self) -> None:
        """Take nothing more."""
        reader, self.reader = self.reader, None
        if reader is None:
            return
        inboxes, self._inboxes = self._inboxes, []
        for inbox in inboxes:
            reader.unwatch(inbox.event.agent, inbox)
        await asyncio.gather(*(inbox.close() for inbox in inboxes))
        if self.seat.link is not None:
            await self.seat.link.intake.close(reader)

    def is_new(self, request_id: str) -> bool:
        """Whether a step comes for the first time; from now on it is known."""
        if request_id in self._known:
            return False
        self._known[request_id] = None
        if len(self._known) > KNOWN_MAX:
            self._known.popitem(last=False)
        return True


class Inbox:
    """Watches for the assignments of one agent. Lives on the background loop."""

    def __init__(self, all_: Assignments, event: AgentRegistration, hand_over: HandOver) -> None:
        """`hand_over` is given what may run."""
        self.event = event
        self._all = all_
        self._hand_over = hand_over
        self._since_ms: int | None = None
        self._early: list[tuple[ConsumerRecord, Position]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._bytes = 0
        self._told = False

    @property
    def proves(self) -> bool:
        """Whether each is proved to be the supervisor's."""
        return self._all.seat.prover is not None

    def begins(self, at_ms: int) -> None:
        """The agent was registered, at this time of the broker's: what was handed out before is not for this process.

        It may have been begun by the one before. Its lease ends, and the supervisor decides what becomes of it.
        """
        if self._since_ms is not None:
            return
        self._since_ms = at_ms
        early, self._early = self._early, []
        for record, position in early:
            self.offer(record, position)

    def offer(self, record: ConsumerRecord, position: Position) -> None:
        """Take a record that names the agent in its headers."""
        size = len(record.value or b"")
        waiting = len(self._tasks) + len(self._early)
        if waiting >= WAITING_MAX or (waiting and self._bytes + size > WAITING_BYTES_MAX):
            self._doubt(record, "too many come at once")
            return
        if self._since_ms is None:
            self._early.append((record, position))
            return
        self._bytes += size
        task = asyncio.get_running_loop().create_task(self._take(record, position, self._oldest))
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._taken(done, size))

    async def close(self) -> None:
        """Take nothing more."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def _oldest(self) -> Position:
        return self._all.reader.proved if self._all.reader is not None else (-1, -1)

    def _taken(self, task: asyncio.Task[None], size: int) -> None:
        self._tasks.discard(task)
        self._bytes -= size
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("An assignment of agent %s could not be used.", self.event.agent, exc_info=error)

    async def _take(self, record: ConsumerRecord, position: Position, oldest: Position) -> None:
        assignment = self._read(record)
        if assignment is None:
            return
        at_ms = await self._proved(record, position, oldest, assignment)
        assert self._since_ms is not None
        if at_ms is None or not self._in_force(record, assignment, at_ms):
            return
        if not self._all.is_new(assignment.request.request_id):
            logger.debug("Step %s was handed over once more.", assignment.request.task_id)
            return
        try:
            line = await self._all.desk.take_up(assignment, record, position, at_ms)
        except Missed as missed:
            logger.warning("Step %s came too late, and is handed back.", assignment.request.task_id)
            self._all.desk.hand_back(missed.line)
            return
        approval = line.approval
        assert approval is not None
        lasts_s = float("inf") if line.remaining_s is None else line.remaining_s
        self._hand_over(Given(assignment, approval, line.heard_at + lasts_s))

    async def _proved(
        self, record: ConsumerRecord, position: Position, oldest: Position, assignment: TaskAssignment
    ) -> int | None:
        """Give when an assignment was journaled; None where it is not the supervisor's, or was there before."""
        prover = self._all.seat.prover
        if prover is None:
            return parse_time(assignment.approval.decided_at)
        try:
            async with asyncio.timeout(self._all.seat.options.timeout_s):
                at_ms = await prover.prove(record, JournalPosition(record.partition, *position), assignment)
        except Unproved as error:
            self._doubt(record, str(error), error.kind)
        except TimeoutError:
            self._doubt(record, "it could not be checked in time")
        else:
            if position >= oldest:
                if self._all.reader is not None:
                    self._all.reader.proved = max(self._all.reader.proved, position)
                return at_ms
            self._doubt(record, "it is genuine, but older than what came before", "old")
        return None

    def _in_force(self, record: ConsumerRecord, assignment: TaskAssignment, at_ms: int) -> bool:
        """Whether it was handed out to this process, and its lease was not over when it was published."""
        task_id = assignment.request.task_id
        assert self._since_ms is not None
        if at_ms < self._since_ms:
            logger.info("Step %s was handed out before this process served its agent.", task_id)
            return False
        expires = assignment.approval.lease_expires_at
        if expires is not None and parse_time(expires) <= record.timestamp:
            logger.warning("Step %s came when its lease was over.", task_id)
            return False
        return True

    def _read(self, record: ConsumerRecord) -> TaskAssignment | None:
        """Give the assignment that a record holds; None where it is none of this agent's."""
        try:
            found = decode("assignments", record.value, record.headers).event
        except Malformed as error:
            self._tell("An assignment at offset %d cannot be read: %s", record.offset, error.explanation)
            return None
        assert isinstance(found, TaskAssignment)
        request, answer = found.request, found.approval
        if (request.tenant, request.agent) != (self.event.tenant, self.event.agent):
            return None
        same = (
            (answer.request_id, answer.task_id) == (request.request_id, request.task_id)
            and (answer.tenant, answer.agent) == (request.tenant, request.agent)
            and request.workflow_id == found.workflow_id
        )
        if not same or not permits(answer) or answer.action_digest != action_digest(request):
            self._tell(
                "An assignment at offset %d holds no approval of its step; it does not count.", record.offset
            )
            return None
        return found

    def _doubt(self, record: ConsumerRecord, why: str, kind: str = "") -> None:
        self._all.seat.doubts.add(record, why, kind)

    def _tell(self, text: str, *values: object) -> None:
        """Log once for each agent: whoever floods the topic is not to flood the log."""
        logger.log(logging.DEBUG if self._told else logging.WARNING, text, *values)
        self._told = True
