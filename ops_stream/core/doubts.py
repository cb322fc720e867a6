"""What follows from a report that breaks rules: it is flagged on its ask, counted for its agent, and told of."""

from __future__ import annotations

from typing import Final, Literal

from msgspec.structs import replace

from ops_stream.core.draft import Draft
from ops_stream.core.notices import alert
from ops_stream.core.rows import AGENTS, RECORDS, Ask, Folded, Record, agent_key, record_key
from ops_stream.core.validation import RULES, Checked, Finding

FOLD_MS: Final = 3_600_000
"""One alert an hour of each agent and rule; what comes meanwhile is counted in the next."""
MONEY: Final = frozenset(("cost_range", "cost_per_token"))
"""Rules about a cost, which budgets were charged with all the same: these weigh more."""


def doubt(draft: Draft, ask: Ask, found: Checked, event_id: str) -> Ask:
    """Flag a report that breaks rules. Gives its ask as it is to be written; the agent's record is written here.

    Of an agent that is not registered nothing is kept, and nothing is told: the ask alone says it.
    """
    flags = found.flags
    draft.flags.extend(flags)
    _count(draft, ask, found, event_id)
    known = {*ask.flags, *flags}
    return replace(ask, flags=tuple(rule for rule in RULES if rule in known))


def _count(draft: Draft, ask: Ask, found: Checked, event_id: str) -> None:
    key = record_key(ask.tenant, ask.agent)
    record = draft.get(RECORDS, key)
    if record is None:
        if draft.get(AGENTS, agent_key(ask.tenant, ask.agent)) is None:
            return
        record = Record()
    doubts = record.doubts
    for finding in found.findings:
        doubts = _tell(draft, ask, doubts, finding, event_id)
    draft.put(key, replace(record, flagged=record.flagged + 1, doubts=doubts))


def _tell(
    draft: Draft, ask: Ask, doubts: tuple[Folded, ...], finding: Finding, event_id: str
) -> tuple[Folded, ...]:
    """Alert, unless the last one about this rule is less than an hour old: then it is counted in the next."""
    rule = finding.rule
    last = next((folded for folded in doubts if folded.kind == rule), None)
    others = tuple(folded for folded in doubts if folded.kind != rule and folded.kind in RULES)
    if last is not None and draft.now - last.at < FOLD_MS:
        return (*others, Folded(rule, last.at, last.more + 1))
    more = 0 if last is None else last.more
    before = f" {more} more came before, within the hour of the last alert." if more else ""
    severity: Literal["warning", "info"] = "warning" if rule in MONEY else "info"
    alert(
        draft,
        ask.tenant,
        "telemetry_invalid",
        f"Agent {ask.agent}, {rule}: its report on ask {ask.request_id} {finding.what}.{before}",
        dedupe=f"{ask.agent}|{rule}",
        seed=(ask.agent, rule, ask.request_id, event_id),
        severity=severity,
        subject=ask.agent,
        count=1 + more,
    )
    return (*others, Folded(rule, draft.now))
