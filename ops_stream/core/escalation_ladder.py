"""The ladder: an escalation that nobody answers goes to the next level, and at last it expires."""

from __future__ import annotations

from msgspec.structs import replace

from ops_stream.core.draft import Draft
from ops_stream.core.rows import EscalationRow
from ops_stream.core.rules_escalations import Rung, Severity

RANK: dict[Severity, int] = {"info": 0, "warning": 1, "critical": 2}


def worse(one: Severity, other: Severity | None) -> Severity:
    """Give the higher of two severities."""
    return one if other is None or RANK[one] >= RANK[other] else other


def rungs_of(draft: Draft, row: EscalationRow) -> tuple[Rung, ...]:
    """Give the rungs that an escalation can reach before it expires; the first is there from the beginning."""
    ladder = draft.rules.escalations.ladder(row.tenant)
    life = row.expires - row.opened_at
    return (*ladder[:1], *(rung for rung in ladder[1:] if rung.after_s * 1000 < life))


def next_rung_at(draft: Draft, row: EscalationRow) -> int | None:
    """Give when an open escalation goes to its next level; None on the last rung."""
    later = rungs_of(draft, row)[row.level :]
    return row.opened_at + later[0].after_s * 1000 if later else None


def due_at(draft: Draft, row: EscalationRow) -> int:
    """Give when time acts on an open escalation next."""
    later = next_rung_at(draft, row)
    return row.expires if later is None else later


def climbed(draft: Draft, row: EscalationRow) -> EscalationRow:
    """Give an open escalation on the level that it has reached by now; it never goes down."""
    level, severity = row.level, row.severity
    for number, rung in enumerate(rungs_of(draft, row), start=1):
        if number > level and row.opened_at + rung.after_s * 1000 <= draft.now:
            level, severity = number, worse(severity, rung.severity)
    row = replace(row, level=level, severity=severity)
    return replace(row, until=due_at(draft, row))
