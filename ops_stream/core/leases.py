"""Leases: how long an approval is good for, how it is renewed and what becomes of it when nobody reports."""

from __future__ import annotations

from math import ceil
from typing import Final

from msgspec.structs import replace

from ops_stream.contract.clocktext import format_time
from ops_stream.contract.models import TaskRequest
from ops_stream.contract.reasons import Reason
from ops_stream.core.budgets import make_unknown
from ops_stream.core.draft import Draft
from ops_stream.core.learning import lost
from ops_stream.core.lifecycle import violated
from ops_stream.core.lines import end, follow
from ops_stream.core.optimization_arms import lost_on_sides
from ops_stream.core.rows import Ask
from ops_stream.core.rules_model import Supervisor
from ops_stream.core.triggers import unknown_outcome
from ops_stream.core.unsure import lost_sight

LEASE_MAX_S: Final = 30 * 86_400
"""No lease is longer, whatever an ask estimates."""


def lease_ms(estimated_time_s: float, settings: Supervisor) -> int:
    """Give the length of a lease: a multiple of the estimate, within bounds."""
    wanted = min(estimated_time_s * settings.lease_factor, LEASE_MAX_S)
    return ceil(max(wanted, settings.lease_min_s) * 1000)


def estimated_ms(request: TaskRequest) -> int:
    """Give what an ask estimates that it takes, within the bounds of a lease."""
    return ceil(min(request.estimated_time_s, LEASE_MAX_S) * 1000)


def overdue(draft: Draft, ask: Ask) -> bool:
    """Say whether the record being decided was written after the lease had ended."""
    return ask.phase == "running" and ask.until <= draft.written_ms


def renew(draft: Draft, key: str, ask: Ask) -> Ask:
    """Let the lease run from now again, but not past a cap; whoever speaks of the ask has started it."""
    until = max(ask.until, draft.now + ask.lease_ms)
    if ask.time_cap_ms:
        until = min(until, max(ask.until, _cap_end(ask)))
    ask = replace(ask, until=until, started=True)
    draft.put(key, ask)
    return ask


def _cap_end(ask: Ask) -> int:
    return ask.answer.at + ask.time_cap_ms


def expire(draft: Draft, key: str, ask: Ask, *, spoken_of: bool = False) -> Ask:
    """End a lease: the permit is revoked, what it held counts as unknown until somebody reports.

    `spoken_of` says that the agent has just told that it goes on, which makes it late and not silent.
    """
    lapsed = format_time(ask.until)
    taken = lose(draft, key, ask, f"The lease ended at {lapsed} without a report.")
    if spoken_of or (ask.started and ask.time_cap_ms and ask.until >= _cap_end(ask)):
        violated(
            draft, ask, "over_time", f"Ask {ask.request_id} went on although its time ended at {lapsed}."
        )
    else:
        violated(
            draft, ask, "no_report", f"Ask {ask.request_id} had no report when its lease ended at {lapsed}."
        )
    return taken


def lose(draft: Draft, key: str, ask: Ask, why: str) -> Ask:
    """Take an ask from its agent, which may or may not have run it."""
    unknown_outcome(draft, ask, why)
    lost(draft, ask)
    if ask.arms:
        lost_on_sides(draft, ask)
    lost_sight(draft, ask)
    ask = end(draft, make_unknown(draft, ask), "unknown")
    return follow(draft, key, ask, "revoked", Reason.LEASE_EXPIRED, why)
