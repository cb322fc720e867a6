"""Rows about what waits, or waited, for people."""

from __future__ import annotations

from typing import Literal

import msgspec

from ops_stream.core.rows_base import NOTHING, Row

EscalationState = Literal["open", "approved", "denied", "expired", "withdrawn"]


class Ballot(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one person said to an escalation."""

    resolver: str
    verdict: Literal["approve", "deny", "edit"]
    at: int
    signed: bool = False
    key_id: str = ""
    reason: str = ""
    edits: msgspec.Raw = NOTHING


class EscalationRow(Row, frozen=True):
    """Something that waits, or waited, for a person.

    It is proposed while open, decided once a verdict lets its ask go on, and done when that ask has ended.
    """

    tenant: str
    status: EscalationState
    until: int
    """While open, when it climbs or expires; 0 while its approved ask goes on; then when it is forgotten."""
    opened_at: int
    expires: int
    trigger: str
    severity: Literal["info", "warning", "critical"]
    summary: str
    recommendation: str
    rules: str
    request_id: str = ""
    agent: str = ""
    waiting: bool = False
    """Whether an ask waits for it."""
    stake: int | None = None
    digest: str = ""
    resolvers: tuple[str, ...] = ()
    """Whose verdict it has: a second one of theirs changes nothing."""
    level: int = 1
    """The rung of the ladder that it has reached."""
    roles: tuple[str, ...] = ()
    """Roles of which an answer needs one, besides those of the ladder."""
    triggers: tuple[str, ...] = ()
    """All that called, where it is more than `trigger`."""
    subject: str = ""
    quorum: int = 1
    """How many distinct people must agree before anything is approved."""
    on_expiry: Literal["deny", "approve"] = "deny"
    suspends: bool = False
    """Whether a denial suspends the agent."""
    count: int = 1
    asks: tuple[str, ...] = ()
    """The other asks that wait for it, in the order in which they came."""
    votes: tuple[Ballot, ...] = ()
    blocking: str = ""
    """What blocks, as it was when the ask was last shown."""
    fold: str = ""
    """The key of the row by which more of the same finds it."""
    told: int = 0
    """How often it has been published."""
    stage: Literal["proposed", "decided", "done"] = "proposed"
    outcome: str = ""
    cost: int | None = None
    ended_at: int = 0


class FoldRow(Row, frozen=True):
    """The open escalation that more of the same joins. Keys: `fold/TENANT|HASH`."""

    escalation_id: str
