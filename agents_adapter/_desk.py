"""Asking and waiting: from a request to an approval or a refusal, and on to the end of the call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from aiokafka.structs import ConsumerRecord

from agents_adapter._afterwards import Afterwards
from agents_adapter._leases import Leases
from agents_adapter._line import Line, permits
from agents_adapter._notes import Notes
from agents_adapter._outbox import Outbox
from agents_adapter._proving import Proving
from agents_adapter._reader import Position
from agents_adapter._records import now_ms
from agents_adapter._seat import Seat
from agents_adapter._sender import Outgoing
from agents_adapter.approval import Approval, Mark
from agents_adapter.errors import Denied, NoAnswer, Revoked
from ops_stream.contract.clocktext import parse_time
from ops_stream.contract.digest import action_digest
from ops_stream.contract.errors import OpsError, WrongUse
from ops_stream.contract.headers import read_headers
from ops_stream.contract.models import TaskApproval, TaskAssignment, TaskRequest

if TYPE_CHECKING:
    from agents_adapter._spans import AskTrace

_WORKER: Final = "Is a worker running? `ops-stream status` tells."


class Missed(Exception):
    """A step came so late that it may have been revoked without anybody here knowing."""

    def __init__(self, line: Line) -> None:
        """Keep what was not taken up."""
        super().__init__()
        self.line = line


class Desk:
    """The asks of one client. Lives on the background loop."""

    def __init__(self, seat: Seat, outbox: Outbox) -> None:
        """Ask through a seat, report through an outbox."""
        self._seat = seat
        self._outbox = outbox
        self._notes = Notes(seat, outbox)
        self._lines: set[Line] = set()
        self._running: dict[Mark, Line] = {}
        self._afterwards = Afterwards(seat.options.timeout_s, self._drop)
        self._leases = Leases(self._notes.heartbeat, revokes=not seat.options.observe)

    async def close(self) -> None:
        """Listen to nothing more."""
        await self._leases.close()
        for line in tuple(self._lines):
            self._drop(line)

    # -- asking ----------------------------------------------------------------------------------------------

    async def ask(
        self,
        request: TaskRequest,
        traceparent: str | None,
        accept_changes: bool,
        trace: AskTrace | None = None,
    ) -> Approval:
        """Ask and wait for the decision; raises Refused. `trace` is told of every answer."""
        until = time.monotonic() + self._seat.options.timeout_s
        try:
            place, reader = await self._seat.ready(until)
        except WrongUse:
            raise
        except OpsError as error:
            if self._runs_unanswered(None):
                return Approval(request, None, traceparent)
            raise self._no_answer(request, None, str(error)) from error
        record = place.record(
            request,
            request.request_id,
            agent=request.agent,
            subject=request.request_id,
            traceparent=traceparent,
        )
        line = Line(request, action_digest(request), record, traceparent, self._seat.options.observe)
        line.mark.trace = trace
        line.listener = self._seat.listener(line, self._send)
        reader.watch(request.request_id, line.listener)
        self._lines.add(line)
        try:
            self._send(line)
            if await self._decision(line, until):
                return self._conclude(line, accept_changes)
            if self._runs_unanswered(line.approval):
                # It runs, and is listened to: a kill that comes late still holds.
                return self._run(line, Approval(request, None, traceparent, line.mark))
            self._give_up(line)
            raise self._no_answer(request, line.approval)
        except asyncio.CancelledError:
            self._give_up(line)
            raise
        finally:
            if not line.running:
                self._drop(line)

    def ask_again(self) -> None:
        """After a reconnect answers may be missing: whoever asks again gets the decision in force."""
        for line in self._lines:
            asked = line.assigned if line.posted is None else line.posted.done.done()
            if asked and not line.over:
                self._send(line)

    async def _decision(self, line: Line, first_by: float) -> bool:
        """Wait until the ask is decided; False when it is time to give up."""
        while True:
            line.news.clear()
            answer = line.latest
            if answer is None or (answer.decision == "approved" and not line.lives):
                if answer is not None and line.doubted is None:
                    line.doubted = line.position
                    self._send(line)
                    first_by = time.monotonic() + self._seat.options.timeout_s
                if not await _news(line, first_by):
                    return False
            elif answer.decision in ("escalated", "queued"):
                if not await self._review(line):
                    return False
            else:
                return True

    async def _review(self, line: Line) -> bool:
        """Wait while a person or the batch queue has it; False when it is time to give up.

        That is the ask's deadline. Without one the supervisor ends the wait: an escalation's expiry is a
        denial. Only where it stays silent, also when asked again, do we give up by ourselves.
        """
        check_at = max(line.heard_at, line.asked_at) + self._seat.options.review_check_s
        deadline = line.request.deadline
        ends_at = (
            float("inf") if deadline is None else time.monotonic() + (parse_time(deadline) - now_ms()) / 1000
        )
        if await _news(line, min(check_at, ends_at)):
            return True
        asked_in_vain = line.asked_at > line.heard_at
        if time.monotonic() >= ends_at or (asked_in_vain and deadline is None):
            return False
        self._send(line)
        return True

    def _conclude(self, line: Line, accept_changes: bool) -> Approval:
        approval = line.approval
        assert approval is not None
        if approval.decision == "denied":
            raise Denied(f"Denied, {approval.reason}: {approval.explanation}", approval=approval)
        if approval.decision == "revoked":
            line.mark.revoked = True
            self._notes.acknowledge(approval)
            raise Revoked(f"Revoked, {approval.reason}: {approval.explanation}", approval=approval)
        assert line.latest is not None
        if not permits(line.latest):
            self._give_up(line)
            raise Denied(
                f"Approved for a reason that is not known here, {approval.reason}: {approval.explanation}",
                approval=approval,
                next_step="Use an adapter of the supervisor's version.",
            )
        if approval.changed:
            self._hold_to_changes(line, approval, accept_changes)
        return self._run(line, approval)

    def _hold_to_changes(self, line: Line, approval: Approval, accepted: bool) -> None:
        """Refuse what a person changed where what would run is something else."""
        changes = ", ".join(sorted(approval.edits))
        if not accepted:
            self._give_up(line)
            raise Denied(
                "A person approved this with changes"
                f"{f' ({changes})' if changes else ''}, and what would run is what was asked.",
                approval=approval,
                next_step="With `apply`, or `accept_changes=True` in ask, run what was approved instead.",
            )
        if changes and approval.to_run is None:
            self._give_up(line)
            raise Denied(
                f"A person approved this with changes, and those that the answer tells ({changes}) do not make of "
                "the ask what was approved.",
                approval=approval,
            )

    def _run(self, line: Line, approval: Approval) -> Approval:
        line.running = True
        self._running[line.mark] = line
        return approval

    def _runs_unanswered(self, last: Approval | None) -> bool:
        return self._seat.options.observe and last is None

    def _no_answer(self, request: TaskRequest, last: Approval | None, why: str = "") -> NoAnswer:
        if last is None:
            doubts = self._seat.doubts
            if doubts.count and not why:
                why = (
                    f"{doubts.count} answer(s) to this client did not count; the last, because {doubts.last}."
                )
            what = f"Nobody answered within {self._seat.options.timeout_s:g} s. {why}".rstrip()
        else:
            what = f"Nobody decided in time; the last answer was {last.decision}, {last.reason}."
        return NoAnswer(what, approval=last, where=f"request {request.request_id}", next_step=_WORKER)

    def _send(self, line: Line) -> None:
        if not line.askable:
            return
        line.asked_at = time.monotonic()
        line.posted = self._seat.taken().sender.post(line.record)

    def _give_up(self, line: Line) -> None:
        """Withdraw an ask that may have reached the supervisor; the withdrawal follows the ask."""
        posted = line.posted
        if posted is None or posted.withdraw():
            return
        posted.done.add_done_callback(lambda _: self._notes.cancelled(line.request, line.traceparent))

    def _drop(self, line: Line) -> None:
        self._lines.discard(line)
        self._afterwards.discard(line.mark)
        self._running.pop(line.mark, None)
        self._leases.remove(line)
        if self._seat.reader is not None:
            self._seat.reader.unwatch(line.request.request_id, line.listener)
        if isinstance(line.listener, Proving):
            line.listener.close()

    # -- assignments -----------------------------------------------------------------------------------------

    async def take_up(
        self, assignment: TaskAssignment, record: ConsumerRecord, position: Position, at_ms: int
    ) -> Line:
        """Listen to what is decided about a step that was handed out at `at_ms`, also since then.

        Raises Missed where too much has been decided since for it to be known.
        """
        place, reader = self._seat.place, self._seat.reader
        assert place is not None
        assert reader is not None
        assert reader.lately is not None
        request, answer = assignment.request, assignment.approval
        traceparent = read_headers(record.headers).traceparent
        asked = place.record(
            request,
            request.request_id,
            agent=request.agent,
            subject=request.request_id,
            traceparent=traceparent,
        )
        line = Line(request, answer.action_digest, asked, traceparent, self._seat.options.observe)
        if not reader.lately.covers(at_ms):
            raise Missed(line)
        line.given(answer, record, position, at_ms)
        line.listener = self._seat.listener(line, self._send)
        reader.watch(request.request_id, line.listener)
        self._lines.add(line)
        self._running[line.mark] = line
        reader.lately.tell(request.request_id, line.listener)
        if isinstance(line.listener, Proving):
            await line.listener.settled()
        return line

    def hand_back(self, line: Line) -> None:
        """Give up a step that was not taken up."""
        self._notes.cancelled(line.request, line.traceparent)

    # -- running and reporting -------------------------------------------------------------------------------

    def begin(self, approval: Approval, on_revoked: Callable[[], None]) -> None:
        """The call runs: renew its lease, and tell when it is revoked."""
        line = self._running.get(approval.mark)
        if line is not None:
            line.on_revoked = on_revoked
            self._leases.add(line)
        if approval.mark.revoked:
            on_revoked()

    def rest(self, approval: Approval) -> None:
        """The call does not run at the moment, or its end is yet to be reported."""
        line = self._running.get(approval.mark)
        if line is not None:
            line.on_revoked = None
            self._leases.remove(line)

    def report(self, record: Outgoing, ended: Approval | None, failed: bool = False) -> None:
        """Send a report; `ended` is the approval whose call it ends, and `failed` says that it did."""
        line = self._running.get(ended.mark) if ended is not None else None
        if line is not None and ended is not None and failed and not line.assigned and not ended.revoked:
            del self._running[ended.mark]
            self._leases.remove(line)
            self._afterwards.add(line)
        self._outbox.post(record)
        if ended is not None:
            self._finish(ended)

    async def after(self, approval: Approval, timeout_s: float) -> TaskApproval | None:
        """Wait for the decision that follows the report of a failure; None where none comes in time."""
        if approval.mark in self._running:
            raise WrongUse(
                f"Request {approval.request_id} has not failed.", next_step="Report `failed` first, then ask."
            )
        return await self._afterwards.answer(approval.mark, timeout_s)

    def abandon(self, approval: Approval) -> None:
        """An approval came for a caller who is gone: withdraw it."""
        if approval.answered:
            self._notes.cancelled(approval.request, approval.traceparent)
        self._finish(approval)

    def _finish(self, approval: Approval) -> None:
        line = self._running.get(approval.mark)
        if line is not None:
            self._drop(line)
        if approval.revoked:
            self._notes.acknowledge(approval)


async def _news(line: Line, until: float) -> bool:
    try:
        async with asyncio.timeout(max(0.0, until - time.monotonic()) if until != float("inf") else None):
            await line.news.wait()
    except TimeoutError:
        return False
    return True
