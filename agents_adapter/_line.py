"""The line of decisions of one ask: which answer is in force, and what is still worth listening to."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from hashlib import sha256
from typing import Final

from aiokafka.structs import ConsumerRecord

from agents_adapter._reader import Position, Watcher
from agents_adapter._sender import Outgoing, Posted
from agents_adapter.approval import Approval, Mark
from ops_stream.contract.clocktext import parse_time
from ops_stream.contract.codec import Malformed, decode
from ops_stream.contract.models import TaskApproval, TaskRequest
from ops_stream.contract.reasons import Reason

logger = logging.getLogger("agents_adapter")

_OUTSIDE: Final = ("duplicate_conflict", "malformed_request")
_CHANGED: Final = "approved_with_changes"
_WAITING: Final = ("escalated", "queued")
_REASONS: Final = frozenset(Reason)
_AGAIN_S: Final = 0.05


def permits(answer: TaskApproval) -> bool:
    """Whether a decision lets something run. A reason that is not known here means no."""
    return answer.decision == "approved" and answer.reason in _REASONS


class Line:
    """Listens to the answers to one ask, from before it is sent until it is over.

    Lives on the background loop.
    """

    proves = False

    def __init__(
        self, request: TaskRequest, digest: str, record: Outgoing, traceparent: str | None, observe: bool
    ) -> None:
        """Describe an ask by its request, the request's digest and the record that asks."""
        self.observe = observe
        self.request = request
        self.digest = digest
        self.body_digest = "sha256:" + sha256(record.value).hexdigest()
        self.record = record
        self.traceparent = traceparent
        self.posted: Posted | None = None
        self.asked_at = 0.0
        self._asked_ms: int | None = None
        self._told = False
        self.mark = Mark()
        self.latest: TaskApproval | None = None
        self.heard_at = time.monotonic()
        self.position: Position = (-1, -1)
        self.doubted: Position | None = None
        self.remaining_s: float | None = None
        self.news = asyncio.Event()
        self.on_revoked: Callable[[], None] | None = None
        self.running = False
        self.over = False
        self.assigned = False
        self.listener: Watcher = self
        """Who is given the records: the line itself, or who proves them first."""

    @property
    def approval(self) -> Approval | None:
        """The answer in force."""
        if self.latest is None:
            return None
        return Approval(self.request, self.latest, self.traceparent, self.mark)

    @property
    def lives(self) -> bool:
        """Whether the approval in force still holds, as far as it says.

        An approval tells the end of its first lease only. Past that it may come late, from a worker that was
        away, or be the answer to an ask made again while heartbeats renew the lease: ask again, and what is
        decided then holds.
        """
        if self.remaining_s is None or self.remaining_s > 0:
            return True
        return self.doubted is not None and self.position > self.doubted

    @property
    def lease_s(self) -> float | None:
        """The length of a whole lease, of which the answer in force is the first."""
        if self.latest is None or self.latest.lease_expires_at is None:
            return None
        return (parse_time(self.latest.lease_expires_at) - parse_time(self.latest.decided_at)) / 1000

    def offer(self, record: ConsumerRecord, position: Position) -> None:
        """Take a record that names this ask in its headers."""
        answer = self.read(record)
        if answer is not None and self.wants(answer):
            self.take(answer, record, position)

    def wants(self, answer: TaskApproval) -> bool:
        """Whether an answer is about this very ask, and not older than the one in force."""
        if not self._concerns_us(answer):
            return False
        if self.latest is None or answer.sequence > self.latest.sequence:
            return True
        return answer.sequence == self.latest.sequence and not self.over

    def take(self, answer: TaskApproval, record: ConsumerRecord, position: Position) -> None:
        """Have an answer be the one in force."""
        self.latest = answer
        self.heard_at = time.monotonic()
        self.position = position
        if answer.lease_expires_at is not None:
            # The broker's time of both ends, so that nobody's clock counts.
            self.remaining_s = (parse_time(answer.lease_expires_at) - record.timestamp) / 1000
        else:
            self.remaining_s = None
        self.news.set()
        if self.over:
            self.mark.after = answer
            return
        if self.mark.trace is not None:
            self.mark.trace.heard(answer)
        if self.running and self.stops(answer):
            self.revoke(answer, answer.explanation)

    @property
    def askable(self) -> bool:
        """Whether the ask can be made again: where a person has changed a step, what was asked is not known here."""
        return not self.assigned or self.latest is None or not self.latest.edits

    def given(self, answer: TaskApproval, record: ConsumerRecord, position: Position, at_ms: int) -> None:
        """Begin approved: `record` is the assignment that holds the answer, journaled at `at_ms`."""
        self._asked_ms = at_ms
        self.running = self.assigned = True
        self.take(answer, record, position)

    def ends(self) -> None:
        """Its call has failed: what is decided from here on says what to do next, and stops nothing."""
        self.running, self.over, self.on_revoked = False, True, None

    async def asked_ms(self) -> int:
        """When this ask first stood on its topic, in milliseconds of the broker's clock.

        Waits until the broker has said so. An answer that was journaled before that answers something else.
        """
        while self._asked_ms is None:
            posted = self.posted
            if posted is not None:
                await asyncio.wait([posted.done])
                self._asked_ms = posted.timestamp_ms
            if self._asked_ms is None:  # never got there: it is asked again, or given up
                await asyncio.sleep(_AGAIN_S)
        return self._asked_ms

    def revoke(self, answer: TaskApproval | None, why: str) -> None:
        """Note that it may not run on, and tell who runs it."""
        if self.mark.revoked:
            return
        self.mark.answer, self.mark.why, self.mark.revoked = answer, why, True
        if self.on_revoked is not None:
            self.on_revoked()

    def stops(self, answer: TaskApproval) -> bool:
        """Whether what runs must stop for this. Who only observes does not stop for a lease."""
        if self.observe and answer.reason == "lease_expired":
            return False
        return answer.decision in ("denied", "revoked")

    def read(self, record: ConsumerRecord) -> TaskApproval | None:
        """Give the answer that a record holds; None where it cannot be read."""
        try:
            answer = decode("approvals", record.value, record.headers).event
        except Malformed as error:
            self._tell("An answer at offset %d cannot be read: %s", record.offset, error.explanation)
            return None
        assert isinstance(answer, TaskApproval)
        return answer

    def _concerns_us(self, answer: TaskApproval) -> bool:
        """Whether the answer is about this very ask: an id may be used twice, by mistake or on purpose."""
        asked = self.request
        if (answer.request_id, answer.tenant) != (asked.request_id, asked.tenant):
            return False
        if answer.decision == "denied":
            # Refusals of a body that never got into the line are told from it by their digest.
            return answer.reason not in _OUTSIDE or answer.action_digest in (self.digest, self.body_digest)
        if answer.decision == "revoked":
            return True
        if (answer.task_id, answer.agent) != (asked.task_id, asked.agent):
            return False
        if answer.action_digest == self.digest:
            return True
        # A person may change what waits, and it may wait again after that.
        waited = self.latest is not None and self.latest.decision in _WAITING
        if waited or (answer.decision == "approved" and answer.reason == _CHANGED):
            return True
        self._tell("An answer to %s is for another action; it does not count.", asked.request_id)
        return False

    def _tell(self, text: str, *values: object) -> None:
        """Log once for each ask: whoever floods the topic is not to flood the log."""
        logger.log(logging.DEBUG if self._told else logging.WARNING, text, *values)
        self._told = True
