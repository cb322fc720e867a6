"""Actions of which nobody knows whether they were done: the same is not done again before a person has said so.

An action is what is done for a task: its type, its tool and its arguments, whoever asks for it, with whatever model, in
whatever words and with whatever effect it is said to have. It is remembered where it changes state and its ask ended
without anybody knowing how.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from msgspec.structs import replace

from ops_stream.contract.digest import canonical
from ops_stream.contract.models import TaskRequest, Telemetry
from ops_stream.core.draft import Draft
from ops_stream.core.due import Ahead
from ops_stream.core.escalation_events import find
from ops_stream.core.retries_classes import changes_state, classed
from ops_stream.core.rows import UNSURE, Ask, Unsure
from ops_stream.core.rules_effects import worst

TRIGGER: Final = "unsure"
"""What escalations about it are called by."""
ROWS_MAX: Final = 20_000
"""Actions that a partition remembers; those of the tenant that has most of them make room."""
ASKS_MAX: Final = 10
"""Asks that are remembered of one action."""


def action_of(request: TaskRequest) -> str:
    """Name what an ask would do."""
    what = (request.task_id, request.task_type, request.tool or "", request.arguments or {})
    return sha256(canonical(what).encode()).hexdigest()[:32]


def unsure_key(tenant: str, action: str) -> str:
    """Give the key of the row of an action."""
    return f"unsure/{tenant}|{action}"


def action_to_watch(draft: Draft, request: TaskRequest, effect: str) -> str:
    """Name what an ask does where it changes state; empty where it does not, so that nothing has to be remembered."""
    return action_of(request) if changes_state(draft, effect) else ""


def unsure_of(draft: Draft, request: TaskRequest) -> Unsure | None:
    """Give the row of what an ask would do, if nobody knows whether that was done already."""
    if not (len(draft.state.unsure) or draft.unsure) or not draft.rules.retries.on:
        return None
    return draft.get(UNSURE, unsure_key(request.tenant, action_of(request)))


def in_doubt(draft: Draft, ask: Ask) -> bool:
    """Say whether nobody knows if an ask that has ended was done."""
    row = _row_of(draft, ask)
    return row is not None and ask.request_id in row.asks


def stay_in_doubt(draft: Draft, request: TaskRequest, lost: Ask) -> None:
    """Remember an action on behalf of a step that waits for a person, should it have been forgotten meanwhile."""
    if unsure_of(draft, request) is None and draft.rules.retries.on:
        lost_sight(draft, replace(lost, action=action_of(request)))


def may_run(draft: Draft, ask: Ask) -> bool:
    """Say whether people have let an ask run who were told that it is unsure; an edited one is another action."""
    if not ask.approved_by or ask.reviewed != "review":
        return False
    row = find(draft, ask.escalation)
    return row is not None and TRIGGER in (row.trigger, *row.triggers)


def let_run(draft: Draft, ask: Ask) -> None:
    """Take down that people have let an ask run although it is unsure: how it ends says how all of it ended."""
    if not ask.action or not may_run(draft, ask):
        return
    key = unsure_key(ask.tenant, ask.action)
    row = draft.get(UNSURE, key)
    if row is not None:
        draft.put(key, replace(row, allowed=(*row.allowed, ask.request_id)[-ASKS_MAX:]))


def lost_sight(draft: Draft, ask: Ask) -> None:
    """An ask has ended, and nobody knows whether it was done: remember what it does, if that changes state."""
    if not ask.action or not draft.rules.retries.on:
        return
    key = unsure_key(ask.tenant, ask.action)
    row = draft.get(UNSURE, key)
    if row is None:
        _make_room(draft)
        row = Unsure(0, 0, ask.task_id, ask.agent, ask.effect, ())
    asks = (*(one for one in row.asks if one != ask.request_id), ask.request_id)
    row = replace(
        row,
        until=draft.now + draft.rules.retries.remember_s * 1000,
        since=draft.now,
        agent=ask.agent,
        effect=worst(row.effect, ask.effect),
        asks=asks[-ASKS_MAX:],
        more=row.more or len(asks) > ASKS_MAX,
        allowed=tuple(one for one in row.allowed if one != ask.request_id),
    )
    draft.put(key, row)
    draft.unsure = True


def ended(draft: Draft, before: Ask, event: Telemetry) -> None:
    """Take in what a report that ends an ask says of its outcome; `before` is its row before the report."""
    if not before.action:
        return
    if event.kind == "cancelled":
        # Whoever gives up what has begun cannot say how far it came.
        (lost_sight if before.started else never_ran)(draft, before)
    elif event.kind == "completed" and event.success is not False:
        _known(draft, before)
    elif classed(draft, before, event) == "unknown_outcome":
        lost_sight(draft, before)
    else:
        _known(draft, before)


def never_ran(draft: Draft, ask: Ask) -> None:
    """An ask was over before it began, so that it says nothing of those before it."""
    row = _row_of(draft, ask)
    if row is None:
        return
    allowed = tuple(one for one in row.allowed if one != ask.request_id)
    _without(draft, ask, replace(row, allowed=allowed))


def _known(draft: Draft, ask: Ask) -> None:
    """It is known how an ask ended. What people let run says so of all before it: they knew of them."""
    row = _row_of(draft, ask)
    if row is None:
        return
    if ask.request_id in row.allowed:
        draft.delete(unsure_key(ask.tenant, ask.action))
    else:
        _without(draft, ask, row)


def _without(draft: Draft, ask: Ask, row: Unsure) -> None:
    """Take an ask out of those whose outcome is unknown; with the last of them the action is forgotten."""
    key = unsure_key(ask.tenant, ask.action)
    asks = tuple(one for one in row.asks if one != ask.request_id)
    if asks or row.more:
        draft.put(key, replace(row, asks=asks))
    else:
        draft.delete(key)


def _row_of(draft: Draft, ask: Ask) -> Unsure | None:
    return draft.get(UNSURE, unsure_key(ask.tenant, ask.action)) if ask.action else None


def _make_room(draft: Draft) -> None:
    index = draft.state.unsure
    if len(index) < ROWS_MAX:
        return
    if draft.unsure_oldest is None:
        draft.unsure_oldest = Ahead(index.of_the_most())
    ahead = draft.unsure_oldest
    while (item := ahead.item()) is not None:
        ahead.at += 1
        if not draft.touched(item[3]):
            draft.delete(item[3])
            return
