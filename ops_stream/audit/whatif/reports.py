"""Reports in the other world: taken, moved to when their ask runs, left out, or assumed where there are none.

A report comes as long after the approval as it was recorded. Where an ask ran then and waits here, its reports wait
with it; where it did not run then and does here, it is assumed to take and to cost what it estimates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Final, TypeAlias

from msgspec.structs import replace

from ops_stream.audit.whatif.treatment import OPEN, Treated, ran
from ops_stream.audit.whatif.world import World
from ops_stream.contract.models import Telemetry
from ops_stream.contract.reasons import Reason
from ops_stream.core.inputs import EventInput, Origin
from ops_stream.core.rows import Ask

Name: TypeAlias = tuple[str, str]
"""A tenant and a request id."""
Factor: TypeAlias = Callable[[Ask, str], float | None]
"""Gives how many times as much an ask would have cost with another model; None where nobody knows."""
WAITING: Final = frozenset(("escalated", "queued"))
LATER_MAX: Final = 200_000
"""Reports that wait for their ask to run; beyond it the oldest are left out, and counted so."""


@dataclass(slots=True)
class Reports:
    """What of reports is still to come in the other world."""

    recorded: World
    other: World
    factor: Factor | None = None
    """What another model costs of what the recorded one did; without it reports cost what they did."""
    counts: dict[Treated, int] = field(default_factory=dict)
    _due: list[tuple[int, int, EventInput]] = field(default_factory=list)
    """Reports by when they come here, and a number that tells equal ones apart."""
    _waiting: dict[Name, list[tuple[int, EventInput]]] = field(default_factory=dict)
    """Reports of asks that do not run yet, with how long after the approval each was recorded."""
    _open: dict[str, None] = field(default_factory=dict)
    """Keys of asks that run here and of which the recorded world has yet to decide."""
    _coming: dict[Name, int] = field(default_factory=dict)
    """How many reports of an ask are still to come here."""
    _number: int = 0

    def count(self, treated: Treated) -> None:
        """Count something that was done with an event."""
        self.counts[treated] = self.counts.get(treated, 0) + 1

    def take(self, read: EventInput, event: Telemetry, at_ms: int) -> EventInput | None:
        """Give a recorded report where it belongs here and now; what comes later or never is kept or counted."""
        name = (event.tenant, event.request_id)
        then, here = self.recorded.ask(*name), self.other.ask(*name)
        if then is None or (here is None and not ran(then)):
            return read if here is None else self._as_own(read, event, here)
        if here is None or (here.phase == "ended" and not ran(here)):
            if here is not None and not ran(then):
                return self._as_own(read, event, here)  # nobody let it run, then as now
            self.count(Treated.REPORT_WITHOUT_RUN)
            return None
        if here.phase in WAITING:
            if then.phase in WAITING or event.kind == "cancelled":
                return self._as_own(read, event, here)
            self._keep(name, max(0, at_ms - _approved_at(then)), read)
            return None
        if event.kind == "cancelled" and then.phase in WAITING and here.phase == "running":
            self.count(Treated.GIVEN_UP_NOT_NEEDED)
            self._assume(here, at_ms)
            return None
        due = _approved_at(here) + max(0, at_ms - _approved_at(then)) if ran(then) else at_ms
        if due <= at_ms:
            return self._as_own(read, event, here)
        self.count(Treated.REPORT_MOVED)
        self._push(due, self._as_own(read, event, here))
        return None

    def ran_here(self, key: str, ask: Ask) -> None:
        """Take note that an ask has begun to run here."""
        name = (ask.tenant, ask.request_id)
        for after, read in self._waiting.pop(name, ()):
            self.count(Treated.REPORT_MOVED)
            assert isinstance(read.event, Telemetry)
            self._push(self.other.now_ms + after, self._as_own(read, read.event, ask))
        then = self.recorded.ask(*name)
        if then is not None and then.phase in WAITING:
            self._open[key] = None
        elif not ran(then):
            self._assume(ask, self.other.now_ms)

    def settled_then(self, key: str) -> None:
        """Take note that the recorded world has changed an ask: where it will not run then, its run here is assumed."""
        if key not in self._open:
            return
        tenant, _, request_id = key[4:].partition("|")
        then, here = self.recorded.ask(tenant, request_id), self.other.ask(tenant, request_id)
        if then is not None and then.phase in WAITING:
            return
        del self._open[key]
        if not ran(then) and here is not None and here.phase == "running":
            self._assume(here, self.other.now_ms)

    def over_here(self, ask: Ask) -> None:
        """Take note that an ask has ended here without running: nothing is heard of it any more."""
        for _ in self._waiting.pop((ask.tenant, ask.request_id), ()):
            self.count(Treated.REPORT_WITHOUT_RUN)

    def next_ms(self) -> int | None:
        """Say when the next report comes, or None."""
        return self._due[0][0] if self._due else None

    def due(self, until_ms: int) -> Iterator[tuple[int, EventInput]]:
        """Give the next report that has come by then."""
        while self._due and self._due[0][0] <= until_ms:
            at, _, read = heappop(self._due)
            assert isinstance(read.event, Telemetry)
            name = (read.event.tenant, read.event.request_id)
            left = self._coming.pop(name) - 1
            if left:
                self._coming[name] = left
            yield at, read

    def kept_alive(self, ask: Ask) -> EventInput | None:
        """Give a sign of life for an ask whose lease ends here before its recorded report could come."""
        then = self.recorded.ask(ask.tenant, ask.request_id)
        waits = then is not None and then.phase in OPEN and then.answer.at != ask.answer.at
        if not waits and (ask.tenant, ask.request_id) not in self._coming:
            return None
        self.count(Treated.LEASE_KEPT)
        return self._event(ask, "progress", self.other.now_ms, {})

    def _as_own(self, read: EventInput, event: Telemetry, here: Ask) -> EventInput:
        """Take a report as that of the agent which has the ask here; only steps of workflows change agents."""
        read = self._priced(read, event, here)
        if event.agent == here.agent or not here.step:
            return read
        assert isinstance(read.event, Telemetry)
        event = read.event
        self.count(Treated.REPORT_OF_OTHER_AGENT)
        return replace(read, event=event.model_copy(update={"agent": here.agent}))

    def _priced(self, read: EventInput, event: Telemetry, here: Ask) -> EventInput:
        """Let a report of an ask that has another model here cost what that one costs."""
        then = None if self.factor is None else self.recorded.ask(here.tenant, here.request_id)
        if self.factor is None or then is None or event.cost_micros is None or then.model == here.model:
            return read
        factor = self.factor(then, here.model)
        if factor is None:
            self.count(Treated.COST_NOT_KNOWN)
            return read
        self.count(Treated.COST_OF_OTHER_MODEL)
        changes = {"cost_micros": round(event.cost_micros * factor), "model": here.model}
        return replace(read, event=event.model_copy(update=changes))

    def _keep(self, name: Name, after_ms: int, read: EventInput) -> None:
        self._waiting.setdefault(name, []).append((after_ms, read))
        if len(self._waiting) > LATER_MAX:
            oldest = next(iter(self._waiting))
            for _ in self._waiting.pop(oldest):
                self.count(Treated.REPORT_WITHOUT_RUN)

    def _push(self, at_ms: int, read: EventInput) -> None:
        self._number += 1
        assert isinstance(read.event, Telemetry)
        name = (read.event.tenant, read.event.request_id)
        self._coming[name] = self._coming.get(name, 0) + 1
        origin = replace(read.origin, timestamp_ms=at_ms)
        heappush(
            self._due, (at_ms, self._number, replace(read, origin=origin, forwarded_from=None, via=None))
        )

    def _assume(self, ask: Ask, from_ms: int) -> None:
        """Let an ask end as it estimates: in its time, at what is held for it."""
        self.count(Treated.RUN_ASSUMED)
        at = max(from_ms, self.other.now_ms) + min(ask.estimated_ms, max(1, ask.lease_ms - 1))
        self._push(
            at, self._event(ask, "completed", at, {"success": True, "latency_ms": float(ask.estimated_ms)})
        )

    def _event(self, ask: Ask, kind: str, at_ms: int, more: dict[str, object]) -> EventInput:
        self._number += 1
        event = Telemetry.model_validate(
            {
                "event_id": f"whatif-{self._number}",
                "request_id": ask.request_id,
                "task_id": ask.task_id,
                "agent": ask.agent,
                "tenant": ask.tenant,
                "kind": kind,
                **more,
            }
        )
        return EventInput(Origin("telemetry", 0, 0, at_ms), event)


def _approved_at(ask: Ask) -> int:
    """When an ask that runs, or has run, was let go; of one that has lost its lease, when it would have been."""
    lapsed = ask.answer.reason == Reason.LEASE_EXPIRED
    return ask.answer.at - ask.lease_ms if lapsed else ask.answer.at
