"""Escalations as they are published: the whole object each time, from its opening until what was decided ended."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec.structs import replace

from ops_stream.contract.clocktext import format_time
from ops_stream.contract.money import usd
from ops_stream.core.draft import Draft
from ops_stream.core.escalation_ladder import next_rung_at, rungs_of
from ops_stream.core.ids import derived_id
from ops_stream.core.rows import (
    AGENTS,
    ASKS,
    CONDUCTS,
    ESCALATIONS,
    NOTHING,
    RECORDS,
    Ballot,
    EscalationRow,
    agent_key,
    ask_key,
    conduct_key,
    record_key,
)
from ops_stream.core.scores import values
from ops_stream.core.words import clip

REQUEST_BYTES_MAX: Final = 32_768
"""A larger ask is shown to people without its arguments."""
DAY_MS: Final = 86_400_000


def escalation_key(escalation_id: str) -> str:
    """Give the key of an escalation's row."""
    return f"escalation/{escalation_id}"


def find(draft: Draft, escalation_id: str) -> EscalationRow | None:
    """Give the row of an escalation, or None."""
    return draft.get(ESCALATIONS, escalation_key(escalation_id))


def publish(draft: Draft, escalation_id: str, row: EscalationRow) -> EscalationRow:
    """Write an escalation and tell people how it stands; while an ask waits for it, with the ask as it is seen."""
    row = replace(row, told=row.told + 1)
    draft.put(escalation_key(escalation_id), row)
    draft.emit(
        "escalations",
        row.tenant,
        "Escalation",
        derived_id("ev_", escalation_id, row.told),
        _event(draft, escalation_id, row),
        subject=escalation_id,
    )
    return row


def _event(draft: Draft, escalation_id: str, row: EscalationRow) -> dict[str, Any]:
    value: dict[str, Any] = {
        "escalation_id": escalation_id,
        "tenant": row.tenant,
        "trigger": row.trigger,
        "severity": row.severity,
        "summary": row.summary,
        "recommendation": row.recommendation,
        "rules_digest": row.rules,
        "quorum": row.quorum,
        "expires_at": format_time(row.expires),
        "on_expiry": row.on_expiry,
        "status": row.status,
        "level": row.level,
        "count": row.count,
        "stage": row.stage,
        "opened_at": format_time(row.opened_at),
        "triggers": list(row.triggers or (row.trigger,)),
        "votes": [_vote(ballot) for ballot in row.votes],
    }
    _add_names(draft, value, row)
    if row.status == "open":
        _add_ladder(draft, value, row)
        shown = _request(draft, row)
        if shown is not None:
            value["request"] = shown
    if row.outcome:
        value["outcome"] = row.outcome
    if row.cost is not None:
        value["cost_usd"] = usd(row.cost)
    if row.ended_at:
        value["ended_at"] = format_time(row.ended_at)
    return value


def _add_names(draft: Draft, value: dict[str, Any], row: EscalationRow) -> None:
    """Add who and what it is about, as far as it is about any."""
    if row.request_id:
        value["request_id"] = row.request_id
    if row.waiting or row.asks:
        value["asks"] = [row.request_id, *row.asks]
    if row.subject:
        value["subject"] = row.subject
    if row.agent:
        value["agent"] = row.agent
        value["agent_record"] = _agent_record(draft, row.tenant, row.agent)
    if row.stake is not None:
        value["at_stake_usd"] = usd(row.stake)
    if row.digest:
        value["action_digest"] = row.digest


def _add_ladder(draft: Draft, value: dict[str, Any], row: EscalationRow) -> None:
    rungs = rungs_of(draft, row)
    value["levels"] = max(len(rungs), row.level)
    later = next_rung_at(draft, row)
    if later is not None:
        value["next_level_at"] = format_time(later)
    reached = rungs[: row.level]
    if row.roles:
        value["roles"] = list(row.roles)
    elif all(rung.roles for rung in reached):
        value["roles"] = sorted(frozenset[str]().union(*(rung.roles for rung in reached)))


def _vote(ballot: Ballot) -> dict[str, Any]:
    value: dict[str, Any] = {
        "resolver": ballot.resolver,
        "verdict": ballot.verdict,
        "at": format_time(ballot.at),
        "signed": ballot.signed,
    }
    if ballot.key_id:
        value["key_id"] = ballot.key_id
    if ballot.reason:
        value["reason"] = ballot.reason
    if ballot.edits is not NOTHING:
        value["edits"] = msgspec.json.decode(ballot.edits)
    return value


def _agent_record(draft: Draft, tenant: str, name: str) -> dict[str, Any]:
    """Say how an agent has done so far, for whoever has to decide about it."""
    agent = draft.get(AGENTS, agent_key(tenant, name))
    record = draft.get(RECORDS, record_key(tenant, name))
    conduct = draft.get(CONDUCTS, conduct_key(tenant, name))
    breaches = () if conduct is None else conduct.breaches
    return {
        "state": "unregistered" if agent is None else agent.state,
        "done": 0 if record is None else record.done,
        "failed": 0 if record is None else record.failed,
        "failures_in_a_row": 0 if record is None else record.failures,
        "cost_usd": usd(0 if record is None else record.cost),
        "violations_1d": sum(breach.at > draft.now - DAY_MS for breach in breaches),
        "scores": values(record, draft.rules, draft.now),
    }


def _request(draft: Draft, row: EscalationRow) -> dict[str, Any] | None:
    if not row.waiting:
        return None
    ask = draft.get(ASKS, ask_key(row.tenant, row.request_id))
    if ask is None or ask.request is NOTHING:
        return None
    request: dict[str, Any] = msgspec.json.decode(ask.request)
    return request if len(bytes(ask.request)) <= REQUEST_BYTES_MAX else _shortened(request)


def _shortened(request: dict[str, Any]) -> dict[str, Any]:
    """Leave the largest parts of an ask out that is too large to be shown whole."""
    shown = {
        name: value for name, value in request.items() if name not in ("arguments", "attributes", "tags")
    }
    shown["task_description"] = clip(str(request["task_description"]))
    shown["arguments"] = {"...": "left out: the ask is too large to be shown whole"}
    return shown
