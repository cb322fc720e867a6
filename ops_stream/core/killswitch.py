"""The kill switch: running asks are revoked, waiting ones dropped, a bounded piece at a time."""

from __future__ import annotations

from heapq import nsmallest
from typing import Final

from msgspec.structs import replace

from ops_stream.contract.reasons import Reason
from ops_stream.core.budgets import make_unknown, release
from ops_stream.core.containment import opened, stopped, swept
from ops_stream.core.draft import ITEMS_MAX, Draft
from ops_stream.core.escalation import withdraw
from ops_stream.core.kills import in_scope, kill_on
from ops_stream.core.lines import end, follow
from ops_stream.core.rows import ASKS, Ask, Kill, Sweep
from ops_stream.core.state import FORGETTING
from ops_stream.core.unsure import lost_sight, never_ran
from ops_stream.core.words import because

FIRST_MAX: Final = 100
"""Asks that the record of a kill itself stops: a small one is sooner in the journal, and its copies elsewhere."""


def stop(draft: Draft, key: str, ask: Ask, kill: Kill) -> Ask:
    """Stop one open ask: what runs is revoked, what waits is denied.

    What was held is released where the agent never said that it had started, and unknown where it did.
    """
    why = f"The kill switch was pulled by {kill.issued_by}{because(kill.reason)}"
    running = ask.phase == "running"
    ask = stopped(draft, ask, kill.command_id, ran=running)
    if running:
        (lost_sight if ask.started else never_ran)(draft, ask)
        ask = make_unknown(draft, ask) if ask.started else release(draft, ask)
        return follow(draft, key, end(draft, ask, "revoked"), "revoked", Reason.KILL_REVOKED, why)
    if ask.phase == "escalated":
        withdraw(draft, ask)
    return follow(draft, key, end(draft, ask), "denied", Reason.KILL_SWITCH, why)


def enforce_kill(draft: Draft, key: str, ask: Ask) -> Ask | None:
    """Stop an open ask that a kill switch binds and that its sweep has not reached; else give None."""
    kill = kill_on(draft, ask.tenant, ask.agent, ask.workflow, ask.model)
    return None if kill is None else stop(draft, key, ask, kill)


def pull(draft: Draft, key: str, kill: Kill, row: Sweep) -> None:
    """Turn a kill switch on, and stop what is in its scope; what is too much for one record is left to Ticks."""
    draft.put(key, kill)
    draft.kills = True
    begin_sweep(draft, row)


def begin_sweep(draft: Draft, row: Sweep) -> None:
    """Stop what is open in a kill's scope, and count how far it is proved."""
    opened(draft, row.command_id, row.tenant)
    sweep(draft, f"sweep/{row.command_id}", row, FIRST_MAX)


def sweep(draft: Draft, key: str, row: Sweep, most: int = ITEMS_MAX) -> None:
    """Stop the next open asks in a kill's scope, in the order of their keys; keep the rest for a Tick."""
    kill = Kill(row.command_id, row.issued_by, row.at, row.reason)
    tenants = draft.state.tenants
    chosen = tenants.values() if row.tenant == "*" else [tenants[row.tenant]] if row.tenant in tenants else []
    cursor = row.cursor
    found = nsmallest(
        most + 1,
        (
            ask_key
            for tenant in chosen
            for ask_key, facts in tenant.open.items()
            if ask_key > cursor
            and in_scope(
                row.scope, row.tenant, row.target, (facts.tenant, facts.agent, facts.workflow, facts.model)
            )
        ),
    )
    for ask_key in found[:most]:
        if draft.full():
            break
        ask = draft.get(ASKS, ask_key)
        cursor = ask_key
        # An ask approved after the switch was pulled was asked after a resume: this kill does not mean it.
        if ask is not None and ask.phase not in FORGETTING and ask.answer.at <= row.at:
            stop(draft, ask_key, ask, kill)
    if not found or cursor == found[-1]:
        draft.delete(key)
        swept(draft, row.command_id)
    else:
        draft.put(key, replace(row, cursor=cursor))
