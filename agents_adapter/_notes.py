"""The records that the adapter writes by itself: heartbeats, withdrawals, acknowledged revocations."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from agents_adapter._outbox import Outbox
from agents_adapter._records import Place, new_id, now_ms
from agents_adapter._seat import Seat
from agents_adapter._sender import Posted
from agents_adapter.approval import Approval
from ops_stream.contract.clocktext import format_time
from ops_stream.contract.models import Heartbeat, RevocationAck, TaskRequest, Telemetry

logger = logging.getLogger("agents_adapter")


class Notes:
    """Writes them through a client's outbox."""

    def __init__(self, seat: Seat, outbox: Outbox) -> None:
        """Write for the tenant of a seat."""
        self._seat = seat
        self._outbox = outbox

    def heartbeat(self, agent: str, request_ids: Sequence[str]) -> Posted:
        """Renew the leases of what an agent runs."""
        place = self._place()
        event = Heartbeat(agent=agent, tenant=place.tenant, running=tuple(request_ids))
        return self._outbox.post(place.record(event, new_id("event"), agent=agent, subject=agent))

    def cancelled(self, request: TaskRequest, traceparent: str | None) -> None:
        """Withdraw an ask."""
        if self._seat.link is None:
            logger.warning("The client closed before request %s could be withdrawn.", request.request_id)
            return
        event = Telemetry(
            event_id=new_id("event"),
            request_id=request.request_id,
            task_id=request.task_id,
            agent=request.agent,
            tenant=request.tenant,
            kind="cancelled",
            success=False,
            timestamp=format_time(now_ms()),
        )
        self._outbox.post(
            self._place().record(
                event,
                event.event_id,
                agent=request.agent,
                subject=request.request_id,
                traceparent=traceparent,
            )
        )

    def acknowledge(self, approval: Approval) -> None:
        """Say that what was revoked has stopped."""
        event = RevocationAck(
            agent=approval.agent,
            tenant=approval.tenant,
            request_id=approval.request_id,
            stopped_at=format_time(now_ms()),
        )
        self._outbox.post(
            self._place().record(event, new_id("event"), agent=approval.agent, subject=approval.request_id)
        )

    def _place(self) -> Place:
        self._seat.taken()
        assert self._seat.place is not None
        return self._seat.place
