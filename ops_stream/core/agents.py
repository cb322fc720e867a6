"""Agents: they register, live, are put in quarantine and taken out; every change is an AgentStatus."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from ops_stream.contract.models import AgentRegistration, Heartbeat, RevocationAck
from ops_stream.contract.reasons import Reason
from ops_stream.core.containment import proved
from ops_stream.core.draft import Draft
from ops_stream.core.kills import kill_on
from ops_stream.core.leases import overdue, renew
from ops_stream.core.lifecycle import start_anew
from ops_stream.core.notices import dead_letter, ended
from ops_stream.core.rows import (
    AGENTS,
    ASKS,
    RECORDS,
    SUSPENSIONS,
    Agent,
    Record,
    Suspension,
    agent_key,
    ask_key,
    encode_row,
    record_key,
)
from ops_stream.core.silence import beat
from ops_stream.core.standing import move, publish_state, publish_status

AGENTS_MAX: Final = 100_000
"""Agents of one tenant."""
AGENT_BYTES_MAX: Final = 268_435_456
"""What the rows of a partition's agents may take, of all tenants together."""


def suspension_key(tenant: str, agent: str) -> str:
    """Give the key of an agent's quarantine."""
    return f"suspension/{tenant}|{agent}"


def register(draft: Draft, event: AgentRegistration) -> None:
    """Take an agent in, or take note of what it now says of itself. Its state stays as it was."""
    tenant, name = event.tenant, event.agent
    declared = draft.rules.agents.find(tenant, name)
    if declared is None and draft.rules.supervisor.registration == "declared":
        why = f"{Reason.AGENT_NOT_ALLOWED}: not declared in conf/agents.yaml"
        publish_state(draft, tenant, name, "blocked", why)
        return
    key = agent_key(tenant, name)
    known = draft.get(AGENTS, key)
    if known is None and len(draft.state.agents.get(tenant, ())) >= AGENTS_MAX:
        dead_letter(
            draft, tenant, Reason.OVERLOADED, f"Tenant {tenant} has {AGENTS_MAX:,} agents, the limit."
        )
        return
    suspension = draft.get(SUSPENSIONS, suspension_key(tenant, name))
    row = Agent(
        state="registered" if known is None else known.state,
        since=draft.now if known is None else known.since,
        role=declared.role if declared is not None and declared.role else event.role,
        capabilities=event.capabilities,
        models=event.models,
        max_concurrency=event.max_concurrency,
        version=event.version or "",
        reason="" if known is None else known.reason,
    )
    if known is None and suspension is not None:
        row = replace(row, state=suspension.state, reason=suspension.reason)
    if draft.state.agent_bytes >= AGENT_BYTES_MAX and _grows(known, row):
        dead_letter(
            draft, tenant, Reason.OVERLOADED, "The agents of this partition fill the room that they may."
        )
        return
    draft.put(key, row)
    seen(draft, tenant, name)
    publish_status(draft, tenant, name, row)


def _grows(known: Agent | None, row: Agent) -> bool:
    return known is None or len(encode_row(row)) > len(encode_row(known))


def activate(draft: Draft, tenant: str, name: str, agent: Agent) -> None:
    """Note that a registered agent has begun to work."""
    move(draft, tenant, name, agent, "active", "approval")


def heartbeat(draft: Draft, event: Heartbeat) -> None:
    """Renew the leases of what an agent says it runs, as far as that is its own and still permitted."""
    if draft.get(AGENTS, agent_key(event.tenant, event.agent)) is not None:
        seen(draft, event.tenant, event.agent)
        beat(draft, event.tenant, event.agent)
    for request_id in event.running:
        key = ask_key(event.tenant, request_id)
        ask = draft.get(ASKS, key)
        if ask is None or ask.agent != event.agent or ask.phase != "running" or overdue(draft, ask):
            continue
        if kill_on(draft, ask.tenant, ask.agent, ask.workflow, ask.model) is None:
            renew(draft, key, ask)


def acknowledge(draft: Draft, event: RevocationAck) -> None:
    """Note when an agent stopped what was revoked."""
    key = ask_key(event.tenant, event.request_id)
    ask = draft.get(ASKS, key)
    if ask is None or ask.agent != event.agent:
        dead_letter(
            draft,
            event.tenant,
            "unknown_ask",
            f"No ask {event.request_id} of agent {event.agent} is known, so nothing was revoked.",
        )
    elif ask.answer.decision == "revoked" and not ask.acked_at:
        draft.put(key, replace(proved(draft, ask, "acked"), acked_at=event.stopped_at))


def seen(draft: Draft, tenant: str, name: str) -> None:
    """Note that an agent lives."""
    key = record_key(tenant, name)
    draft.put(key, replace(draft.get(RECORDS, key) or Record(), seen_at=draft.now))


def quarantine(draft: Draft, tenant: str, name: str, suspension: Suspension) -> None:
    """Let an agent, registered or not, have nothing more. What it runs goes on; a kill stops that."""
    draft.put(suspension_key(tenant, name), suspension)
    agent = draft.get(AGENTS, agent_key(tenant, name))
    if agent is None:
        publish_state(draft, tenant, name, suspension.state, suspension.reason)
    else:
        move(draft, tenant, name, agent, suspension.state, "quarantine", suspension.reason)


def reinstate(draft: Draft, tenant: str, name: str) -> bool:
    """End a quarantine, a warning or what the supervisor has stopped itself; violations are counted anew.

    Says whether there was any of these.
    """
    quarantined = draft.get(SUSPENSIONS, suspension_key(tenant, name)) is not None
    draft.delete(suspension_key(tenant, name))
    agent = draft.get(AGENTS, agent_key(tenant, name))
    if agent is None or agent.state in ("registered", "active"):
        return quarantined
    start_anew(draft, tenant, name, blocked=agent.state == "blocked")
    for kind in ("agent_suspended", "agent_blocked"):
        ended(draft, tenant, kind, f"Agent {name} of tenant {tenant} was reinstated.", dedupe=name)
    move(draft, tenant, name, agent, "active", "reinstatement")
    return True
