"""Which tenants are nearest to their limits, found a few tenants at a time: there may be any number of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from heapq import nlargest
from itertools import islice
from time import thread_time
from typing import Final

import structlog

from ops_stream.core.budgets_find import purse_of
from ops_stream.core.draft import Draft
from ops_stream.core.inputs import Tick
from ops_stream.streams.brokertime import BrokerClock
from ops_stream.streams.rulebook import Rulebook
from ops_stream.streams.sequencer import Sequencer

log = structlog.get_logger(__name__)

PAUSE_S_MAX: Final = 300.0
"""Between two looks, however long one takes."""
SHARE: Final = 0.01
"""At most this part of a core goes into it, up to that pause."""
SLICE: Final = 50
"""Tenants that are looked at in one piece, under a millisecond."""
SLICES_APART_S: Final = 0.01
SHOWN_MAX: Final = 20
"""Tenants that are shown; each has at most one limit a kind of window."""


@dataclass(frozen=True, slots=True)
class Used:
    """A hard limit of a tenant in dollars, and how much of it is gone, in micro-dollars."""

    tenant: str
    window: str
    used: int
    limit: int

    @property
    def share(self) -> float:
        """How near it is to its limit; nothing is nearer than a limit of nothing."""
        return self.used / self.limit if self.limit else float("inf")


@dataclass(frozen=True, slots=True)
class Sample:
    """What was found last."""

    shown: tuple[Used, ...] = ()
    others: int = 0
    """Tenants with a limit that are not shown."""


class BudgetSampler:
    """Goes through the tenants that have spent or hold something, of all live partitions."""

    def __init__(
        self,
        clock: BrokerClock,
        sequencers: Callable[[], Iterable[Sequencer]],
        rulebook: Rulebook,
        every_s: float,
    ) -> None:
        self.sample = Sample()
        self.errors = 0
        """How often a look failed."""
        self._clock = clock
        self._sequencers = sequencers
        self._rulebook = rulebook
        self._every_s = every_s
        self._took_s = 0.0

    async def run(self) -> None:
        """Look until cancelled. A look that fails shows nothing, and is counted."""
        while True:
            await asyncio.sleep(max(self._every_s, min(self._took_s / SHARE, PAUSE_S_MAX)))
            try:
                await self.look()
            except Exception as error:
                self.sample = Sample()
                self.errors += 1
                log.error("the budgets cannot be looked at", exc_info=error)

    async def look(self) -> None:
        """Look once."""
        self._took_s = 0.0
        nearest: list[tuple[Used, ...]] = []
        limited = 0
        for sequencer in list(self._sequencers()):
            state = sequencer.ledger.state
            keys, seen = iter(list(state.totals.money)), set[str]()
            while piece := list(islice(keys, SLICE)):
                started = thread_time()
                now_ms = max(sequencer.ledger.at_ms, self._clock.now_ms() or 0)
                draft = Draft(state, self._rulebook.active(state), now_ms, Tick())
                for key in piece:
                    tenant = key.split("|", 2)[1]
                    if tenant not in seen and (found := _limits_of(draft, tenant)):
                        limited += 1
                        nearest.append(found)
                    seen.add(tenant)
                nearest = _nearest(nearest)
                self._took_s += thread_time() - started
                await asyncio.sleep(SLICES_APART_S)
        self.sample = Sample(tuple(one for tenant in nearest for one in tenant), limited - len(nearest))


def _limits_of(draft: Draft, tenant: str) -> tuple[Used, ...]:
    """The tenant's hard limits in dollars, the nearest first. The draft is thrown away: nothing is written."""
    scopes = [s for s in purse_of(draft, tenant, "") if (s.level, s.unit) == ("tenant", "usd")]
    found = [Used(tenant, s.kind, s.used, s.limit.limit_micros) for s in scopes if s.limit is not None]
    return tuple(sorted(found, key=lambda one: -one.share))


def _nearest(tenants: list[tuple[Used, ...]]) -> list[tuple[Used, ...]]:
    return nlargest(SHOWN_MAX, tenants, key=lambda limits: limits[0].share)
