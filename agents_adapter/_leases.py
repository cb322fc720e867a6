"""Keeping leases: while calls run, one heartbeat an agent renews the leases of all of them."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from agents_adapter._line import Line
from agents_adapter._sender import Posted

IDS_MAX: Final = 1000
"""How many running asks one heartbeat may name."""
BEAT_MAX_S: Final = 60.0
"""Heartbeats are no further apart than this, however long the leases: they also say that the agent lives."""
LOST: Final = "Its lease could not be renewed in time, so that the supervisor counts it as expired."


@dataclass(eq=False, slots=True)
class _Kept:
    line: Line
    lease_s: float
    renewed_at: float
    due_at: float

    @property
    def ends_at(self) -> float:
        return self.renewed_at + self.lease_s


class Leases:
    """Sends heartbeats at a third of the lease or every minute, and ends calls whose lease is lost.

    Lives on the background loop.
    """

    def __init__(self, beat: Callable[[str, Sequence[str]], Posted], *, revokes: bool = True) -> None:
        """`beat(agent, request_ids)` posts a heartbeat.

        Where `revokes` is false a lost lease ends nothing.
        """
        self._beat = beat
        self._revokes = revokes
        self._agents: dict[str, dict[Line, _Kept]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._wake: dict[str, asyncio.Event] = {}

    def add(self, line: Line) -> None:
        """Keep the lease of a running ask."""
        lease_s, remaining_s = line.lease_s, line.remaining_s
        if lease_s is None or remaining_s is None or lease_s <= 0:
            return
        now = time.monotonic()
        if remaining_s <= 0:  # renewed before we came: how far is not known, only that it is good now
            kept = _Kept(line, lease_s, now, now)
        else:
            remaining_s = min(remaining_s, lease_s) - (now - line.heard_at)
            kept = _Kept(
                line, lease_s, now + remaining_s - lease_s, now + min(max(0.0, remaining_s) / 3, BEAT_MAX_S)
            )
        agent = line.request.agent
        self._agents.setdefault(agent, {})[line] = kept
        if agent not in self._tasks:
            self._wake[agent] = asyncio.Event()
            self._tasks[agent] = asyncio.get_running_loop().create_task(self._keep(agent))
        self._wake[agent].set()

    def remove(self, line: Line) -> None:
        """Let a lease go."""
        agent = line.request.agent
        kept = self._agents.get(agent)
        if kept is not None and kept.pop(line, None) is not None and not kept:
            del self._agents[agent]
            del self._wake[agent]
            self._tasks.pop(agent).cancel()

    async def close(self) -> None:
        """Send no more heartbeats."""
        tasks = list(self._tasks.values())
        self._agents.clear()
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep(self, agent: str) -> None:
        wake, all_kept = self._wake[agent], self._agents[agent]
        flying: list[Posted] = []
        while True:
            next_at = min(min(kept.due_at, kept.ends_at) for kept in all_kept.values())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, next_at - time.monotonic())):
                    await wake.wait()
            wake.clear()
            now = time.monotonic()
            self._end_lost(now, all_kept)
            if not any(kept.due_at <= now for kept in all_kept.values()):
                continue
            for kept in all_kept.values():
                kept.due_at = now + min(kept.lease_s / 3, BEAT_MAX_S)
            if all(each.done.done() for each in flying):  # else Kafka is away: no second one behind the first
                flying = self._renew(agent, now, list(all_kept.values()))

    def _renew(self, agent: str, now: float, all_kept: list[_Kept]) -> list[Posted]:
        flying = []
        for start in range(0, len(all_kept), IDS_MAX):
            part = all_kept[start : start + IDS_MAX]
            posted = self._beat(agent, [kept.line.request.request_id for kept in part])
            posted.done.add_done_callback(functools.partial(_renewed, now, part))
            flying.append(posted)
        return flying

    def _end_lost(self, now: float, all_kept: dict[Line, _Kept]) -> None:
        for line, kept in list(all_kept.items()):
            if kept.ends_at <= now:
                # Once is enough; the line stays until its call has stopped.
                kept.renewed_at = float("inf")
                if self._revokes:
                    line.revoke(None, LOST)


def _renewed(sent_at: float, part: list[_Kept], done: asyncio.Future[None]) -> None:
    if not done.cancelled() and done.exception() is None:
        for kept in part:
            kept.renewed_at = max(kept.renewed_at, sent_at)
