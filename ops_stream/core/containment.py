"""The proof of a stop: each ask that a kill revoked is contained, acknowledged, or unconfirmed after a while.

One row a kill and partition counts them. An ask carries the kill's command id until it is proved, so that the state's
index of these is exactly what is still open.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import nsmallest
from typing import Final, Literal

from msgspec.structs import replace

from ops_stream.core.draft import Draft
from ops_stream.core.notices import alert
from ops_stream.core.rows import ASKS, CONTAINMENTS, Ask, Containment

NAMES_MAX: Final = 20
"""Unconfirmed asks that are named."""
KEEP_MS: Final = 86_400_000
"""How long a kill's counts are kept at least, and kept again while something of it is unproved."""

Proof = Literal["contained", "acked", "forgotten"]


def containment_key(command_id: str) -> str:
    """Give the key of a kill's row of proofs."""
    return f"containment/{command_id}"


def opened(draft: Draft, command_id: str, tenant: str) -> None:
    """Begin to count what a kill stops; nothing may be stopped by it, which is a proof too."""
    key = containment_key(command_id)
    if draft.get(CONTAINMENTS, key) is None:
        draft.put(key, Containment(draft.now + KEEP_MS, draft.now, tenant, sweeping=True))


def swept(draft: Draft, command_id: str) -> None:
    """Note that everything which the kill meant is stopped."""
    row = draft.get(CONTAINMENTS, containment_key(command_id))
    if row is not None and row.sweeping:
        draft.put(containment_key(command_id), replace(row, sweeping=False))


def stopped(draft: Draft, ask: Ask, command_id: str, *, ran: bool) -> Ask:
    """Count an ask that a kill stops; one that may have run (`ran`) is unproved until something is heard of it."""
    row = draft.get(CONTAINMENTS, containment_key(command_id))
    if row is None:  # a kill of long ago binds an ask that its sweep never met
        row = Containment(draft.now + KEEP_MS, draft.now, ask.tenant)
    if not ran:
        draft.put(
            containment_key(command_id), replace(row, dropped=row.dropped + 1, contained=row.contained + 1)
        )
        return ask
    until = row.until if row.overdue else draft.now + draft.rules.kills.confirm_s * 1000
    row = replace(row, until=until, revoked=row.revoked + 1, unproved=row.unproved + 1)
    draft.put(containment_key(command_id), row)
    return replace(ask, kill=command_id)


def proved(draft: Draft, ask: Ask, how: Proof) -> Ask:
    """Note what became of an ask that a kill revoked. Gives the ask as it is to be written."""
    if not ask.kill:
        return ask
    key = containment_key(ask.kill)
    row = draft.get(CONTAINMENTS, key)
    if row is not None:
        name = ask_name(ask)
        names = tuple(one for one in row.names if one != name) if row.names else ()
        row = replace(row, unproved=row.unproved - 1, names=names, **{how: getattr(row, how) + 1})
        if not row.unproved:
            row = replace(_resolved(draft, ask.kill, row), until=draft.now + KEEP_MS)
        draft.put(key, row)
    return replace(ask, kill="")


def confirm_due(draft: Draft, key: str) -> None:
    """The time to hear of what was revoked is over, or the row may be forgotten."""
    row = draft.get(CONTAINMENTS, key)
    if row is None:
        return
    command_id = key.removeprefix("containment/")
    if row.unproved and not row.overdue:
        names = _unproved_names(draft, command_id)
        row = replace(row, overdue=True, names=names, alert=draft.now, until=draft.now + KEEP_MS)
        draft.put(key, row)
        _alert(draft, command_id, row, "firing", _complaint(draft, command_id, row))
    elif row.unproved or row.sweeping:
        draft.put(key, replace(row, until=draft.now + KEEP_MS))
    else:
        draft.delete(key)


def ask_name(ask: Ask) -> str:
    """Name an ask as a kill's row does."""
    return f"{ask.tenant}|{ask.request_id}"


def _unproved_names(draft: Draft, command_id: str) -> tuple[str, ...]:
    keys = draft.state.unproved.get(command_id, {})
    return tuple(key.removeprefix("ask/") for key in nsmallest(NAMES_MAX, _still(draft, command_id, keys)))


def _still(draft: Draft, command_id: str, keys: dict[str, None]) -> Iterator[str]:
    """Give the asks that are unproved also after what this draft has done so far."""
    for key in keys:
        if not draft.touched(key):
            yield key
            continue
        ask = draft.get(ASKS, key)
        if ask is not None and ask.kill == command_id:
            yield key


def _complaint(draft: Draft, command_id: str, row: Containment) -> str:
    names = ", ".join(name.partition("|")[2] for name in row.names)
    more = row.unproved - len(row.names)
    all_names = f"{names} and {more:,} more" if more > 0 else names
    return (
        f"{row.unproved:,} of {row.revoked:,} asks that {command_id} revoked are not known to have stopped after "
        f"{draft.rules.kills.confirm_s} s: {all_names}. Stop their agents by hand."
    )


def _resolved(draft: Draft, command_id: str, row: Containment) -> Containment:
    if not row.alert:
        return row
    text = f"Of every ask that {command_id} revoked it is known now that it has stopped."
    if row.forgotten:
        text = f"Nothing more can be heard of {row.forgotten:,} asks that {command_id} revoked: they are forgotten."
    _alert(draft, command_id, row, "resolved", text)
    return replace(row, alert=0)


def _alert(
    draft: Draft, command_id: str, row: Containment, status: Literal["firing", "resolved"], text: str
) -> None:
    alert(
        draft,
        "default" if row.tenant == "*" else row.tenant,
        "kill_unconfirmed",
        text,
        dedupe=f"{command_id}|{draft.state.partition}",
        seed=(command_id, draft.state.partition, status),
        severity="critical" if status == "firing" else "info",
        status=status,
        subject=command_id,
        since=row.alert,
        count=max(1, row.unproved),
    )
