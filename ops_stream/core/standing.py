"""Where an agent stands: the states, the ways between them, and the AgentStatus that tells of each."""

from __future__ import annotations

from typing import Any, Final, Literal

from msgspec.structs import replace

from ops_stream.contract.clocktext import format_time
from ops_stream.core.decision import InvariantBroken
from ops_stream.core.draft import Draft
from ops_stream.core.ids import derived_id
from ops_stream.core.ranks import rank_of
from ops_stream.core.rows import RECORDS, Agent, agent_key, record_key
from ops_stream.core.scores import scores
from ops_stream.core.words import clip

State = Literal["registered", "active", "warned", "suspended", "blocked"]
Cause = Literal["approval", "warning", "suspension", "block", "forgiveness", "quarantine", "reinstatement"]

STOPPED: Final = frozenset(("suspended", "blocked"))
"""States in which an agent gets nothing new."""

TRANSITIONS: Final[dict[Cause, dict[State, tuple[State, ...]]]] = {
    "approval": {"registered": ("active",)},
    "warning": {"registered": ("warned",), "active": ("warned",)},
    "suspension": {"registered": ("suspended",), "active": ("suspended",), "warned": ("suspended",)},
    "block": {
        "registered": ("blocked",),
        "active": ("blocked",),
        "warned": ("blocked",),
        "suspended": ("blocked",),
    },
    "forgiveness": {"warned": ("active",)},
    "quarantine": {
        "registered": ("suspended", "blocked"),
        "active": ("suspended", "blocked"),
        "warned": ("suspended", "blocked"),
        "suspended": ("suspended", "blocked"),
        "blocked": ("suspended", "blocked"),
    },
    "reinstatement": {
        "warned": ("active",),
        "suspended": ("active",),
        "blocked": ("active",),
    },
}
"""Every way from one state to another, by what leads there; `docs/lifecycle.md` shows the same."""


def move(
    draft: Draft, tenant: str, name: str, agent: Agent, state: State, cause: Cause, reason: str = ""
) -> Agent:
    """Put a registered agent into a state, and tell of it."""
    if state not in TRANSITIONS[cause].get(agent.state, ()):
        raise InvariantBroken(f"agent {name} would go from {agent.state} to {state} by {cause}")
    row = replace(agent, state=state, since=draft.now, reason=reason)
    draft.put(agent_key(tenant, name), row)
    publish_status(draft, tenant, name, row)
    return row


def publish_status(draft: Draft, tenant: str, name: str, row: Agent) -> None:
    """Say where an agent stands."""
    publish_state(draft, tenant, name, row.state, row.reason, row.since)


def publish_state(
    draft: Draft, tenant: str, name: str, state: str, reason: str, since: int | None = None
) -> None:
    """Say where an agent stands that may have no row."""
    found = scores(draft.get(RECORDS, record_key(tenant, name)), draft.rules, draft.now)
    value: dict[str, Any] = {
        "agent": name,
        "tenant": tenant,
        "state": state,
        "scores": {score: scored.value for score, scored in found.items()},
        "since": format_time(draft.now if since is None else since),
    }
    if found:
        value["samples"] = {score: scored.samples for score, scored in found.items()}
        value["intervals"] = {score: [scored.low, scored.high] for score, scored in found.items()}
    rank = rank_of(draft, tenant, name)
    if rank is not None:
        value["rank"] = rank
    if reason:
        value["reason"] = clip(reason)
    id_ = derived_id("as_", tenant, name, state, draft.now)
    draft.emit("agent-status", f"{tenant}/{name}", "AgentStatus", id_, value, subject=name)
