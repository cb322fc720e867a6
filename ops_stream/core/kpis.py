"""What happens, counted for the figures of the system: each event adds to the hour of its tenant (docs/kpis.md).

Counts are whole numbers. What becomes of them when time passes stands in `core/kpis_windows.py`, the scores of
agents in `core/kpis_agents.py`.
"""

from __future__ import annotations

from msgspec.structs import replace

from ops_stream.contract.reasons import Reason
from ops_stream.core.draft import Draft
from ops_stream.core.goals import MINUTE_MS, ended, mended
from ops_stream.core.kpis_agents import reported
from ops_stream.core.kpis_windows import (
    ANSWERED,
    COST,
    DAY_MS,
    ESCALATED,
    HOUR_MS,
    MENDED,
    SUCCESS,
    next_telling,
)
from ops_stream.core.rows import TALLIES, Ask, EscalationRow, Tally

_DECIDED = frozenset(("approved", "denied", "expired"))


def asked(draft: Draft, ask: Ask, *, first: bool) -> None:
    """Count an ask at its first decision, and once when it first waits for a person, be that later."""
    waits = ask.answer.decision == "escalated"
    if first:
        key, row = _hour(draft, ask.tenant, ESCALATED)
        draft.put(key, replace(row, asked=row.asked + 1, escalated=row.escalated + waits))
    elif waits and not ask.reviewed:
        key, row = _hour(draft, ask.tenant, ESCALATED)
        draft.put(key, replace(row, escalated=row.escalated + 1))


def ran(draft: Draft, ask: Ask, outcome: str, cost: int | None) -> None:
    """Count an ask that ends, as `lines.end` is told; `ask` is its row before that, with its money settled.

    `cost` in micro-dollars is what is believed of it; what was held counts as spent where nothing is told.

    Counted is what ran and ended well or not, without a report for a failure, once. A report after its lease had ended
    can still resolve the failure, and complete the objective.
    """
    if ask.money == "settled":
        spent(draft, ask.tenant, cost if cost is not None else ask.held or 0)
    good = outcome == "completed"
    told = good or outcome == "failed"
    if ask.phase == "running" and (told or outcome == "unknown"):
        _went(draft, ask, good, anew=True)
        reported(draft, ask)
    elif told and ask.ended_at and ask.answer.reason == Reason.LEASE_EXPIRED:
        _went(draft, ask, good, anew=False)
        reported(draft, ask)
    elif ended(draft, ask, None):
        key, row = _hour(draft, ask.tenant, COST)
        draft.put(key, replace(row, objectives=row.objectives + 1))


def spent(draft: Draft, tenant: str, micros: int) -> None:
    """Count micro-dollars that were spent, in the window in which that became known."""
    if micros:
        key, row = _hour(draft, tenant, COST)
        draft.put(key, replace(row, spent=row.spent + micros))


def resolved(draft: Draft, row: EscalationRow) -> None:
    """Count an escalation that has been decided, or has expired; not one that was withdrawn."""
    if row.status in _DECIDED:
        key, tally = _hour(draft, row.tenant, ANSWERED)
        took = draft.now - row.opened_at
        draft.put(
            key, replace(tally, answered=tally.answered + 1, answered_ms=tally.answered_ms + max(0, took))
        )


def _went(draft: Draft, ask: Ask, good: bool, *, anew: bool) -> None:
    """Take in how an ask went; `anew` where it was not counted before."""
    took = mended(draft, ask, good)
    done = ended(draft, ask, good)
    news = (SUCCESS if anew else 0) | (COST if done else 0) | (0 if took is None else MENDED)
    if anew and ask.workflow:
        _count_workflow(draft, ask, good)
    if not news:
        return
    key, row = _hour(draft, ask.tenant, news)
    row = replace(
        row,
        objectives=row.objectives + done,
        good=row.good + (good and anew),
        ended=row.ended + anew,
        mended=row.mended + (took is not None),
        mended_ms=row.mended_ms + (took or 0),
    )
    draft.put(key, row)


def _hour(draft: Draft, tenant: str, news: int) -> tuple[str, Tally]:
    """Give the hour of a tenant to count in, with the figures that change by it."""
    number = draft.now // HOUR_MS
    key = f"tally/{tenant}|h{number}"
    row = draft.get(TALLIES, key)
    if row is None:
        return key, Tally(next_telling(draft, (number + 1) * HOUR_MS), news)
    if not row.news:
        return key, replace(row, until=next_telling(draft, (number + 1) * HOUR_MS), news=news)
    return key, row if row.news | news == row.news else replace(row, news=row.news | news)


def _count_workflow(draft: Draft, ask: Ask, good: bool) -> None:
    """Workflows are counted by the day alone: there may be one for every few asks."""
    day = draft.now // DAY_MS
    key = f"tally/{ask.tenant}|d{day}|{ask.workflow}"
    row = draft.get(TALLIES, key) or Tally(0)
    until = row.until if row.news else next_telling(draft, (day + 1) * DAY_MS)
    used = draft.now // MINUTE_MS
    draft.put(key, Tally(until, SUCCESS, used=used, good=row.good + good, ended=row.ended + 1))
