"""Agents that fall silent: one that sends heartbeats and stops loses what it runs, before the leases end."""

from __future__ import annotations

from ops_stream.contract.clocktext import format_time
from ops_stream.core.draft import ITEMS_MAX, Draft
from ops_stream.core.leases import lose
from ops_stream.core.notices import alert, ended
from ops_stream.core.rows import ASKS, PULSES, RECORDS, Ask, Pulse, pulse_key, record_key


def beat(draft: Draft, tenant: str, name: str) -> None:
    """Begin to watch over an agent that sends heartbeats; later ones cost nothing more."""
    dead_after_s = draft.rules.lifecycle.dead_after_s
    if dead_after_s:
        key = pulse_key(tenant, name)
        if draft.get(PULSES, key) is None:
            draft.put(key, Pulse(draft.now + dead_after_s * 1000))
            ended(draft, tenant, "agent_silent", f"Agent {name} is heard of again.", dedupe=name)


def pulse_due(draft: Draft, key: str) -> None:
    """Look whether an agent still lives. Whatever it said of late, also by a report, is a sign of life."""
    dead_ms = draft.rules.lifecycle.dead_after_s * 1000
    tenant, _, name = key.removeprefix("pulse/").partition("|")
    record = draft.get(RECORDS, record_key(tenant, name))
    seen = 0 if record is None else record.seen_at
    running = _running(draft, tenant, name) if dead_ms and seen + dead_ms <= draft.now else []
    seen = max((_spoke(ask) for _, ask in running), default=seen)
    if not dead_ms or (not running and seen + dead_ms <= draft.now):
        draft.delete(key)  # nothing to lose; the next heartbeat begins anew
    elif seen + dead_ms > draft.now:
        draft.put(key, Pulse(seen + dead_ms))
    else:
        _bury(draft, key, tenant, name, seen, running)


def _running(draft: Draft, tenant: str, name: str) -> list[tuple[str, Ask]]:
    index = draft.state.tenants.get(tenant)
    keys = () if index is None else sorted(index.by_agent.get(name, ()))
    asks = ((key, draft.get(ASKS, key)) for key in keys)
    return [(key, ask) for key, ask in asks if ask is not None and ask.phase == "running"]


def _spoke(ask: Ask) -> int:
    """When the agent last spoke of an ask, or was told that it may run it."""
    return max(ask.answer.at, ask.until - ask.lease_ms)


def _bury(draft: Draft, key: str, tenant: str, name: str, seen: int, running: list[tuple[str, Ask]]) -> None:
    """Take from a dead agent what it runs, as much as one record holds; the rest is due at once again."""
    why = f"Agent {name} has not been heard of since {format_time(seen)}."
    for number, (ask_key, ask) in enumerate(running):
        if number == ITEMS_MAX or draft.full():
            return
        lose(draft, ask_key, ask, why)
    draft.delete(key)
    alert(
        draft,
        tenant,
        "agent_silent",
        f"{why} It has lost what it ran.",
        dedupe=name,
        seed=(name, draft.now),
        subject=name,
    )
