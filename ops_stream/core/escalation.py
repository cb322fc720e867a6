"""Escalations: opened for a person, ended by a person, by their expiry, or because their ask is gone."""

from __future__ import annotations

from typing import Any, Final

from msgspec.structs import replace

from ops_stream.contract.clocktext import format_time
from ops_stream.contract.money import usd
from ops_stream.core.draft import Draft
from ops_stream.core.ids import derived_id
from ops_stream.core.rows import ESCALATIONS, EscalationRow, EscalationState, encode_row
from ops_stream.core.words import clip

REQUEST_BYTES_MAX: Final = 32_768
"""A larger ask is shown to people without its arguments."""


def escalation_key(escalation_id: str) -> str:
    """Give the key of an escalation's row."""
    return f"escalation/{escalation_id}"


def escalation_id_of(tenant: str, request_id: str, *seed: str | int) -> str:
    """Give the id of an escalation, which is also its nonce."""
    return derived_id("esc_", tenant, request_id, *seed)


def open_escalation(
    draft: Draft, escalation_id: str, row: EscalationRow, request: dict[str, Any] | None
) -> None:
    """Open an escalation and publish it, with the ask as it was seen."""
    draft.put(escalation_key(escalation_id), row)
    _publish(draft, escalation_id, row, None if request is None else _presentable(request))


def close_escalation(
    draft: Draft, escalation_id: str, status: EscalationState, resolver: str | None = None
) -> None:
    """End an open escalation; it is remembered so that a late answer can be told so."""
    key = escalation_key(escalation_id)
    row = draft.get(ESCALATIONS, key)
    if row is None or row.status != "open":
        return
    row = replace(
        row,
        status=status,
        until=draft.now + draft.rules.supervisor.remember_s * 1000,
        waiting=False,
        resolvers=row.resolvers if resolver is None else (*row.resolvers, resolver),
    )
    draft.put(key, row)
    _publish(draft, escalation_id, row, None)


def _publish(draft: Draft, escalation_id: str, row: EscalationRow, request: dict[str, Any] | None) -> None:
    value: dict[str, Any] = {
        "escalation_id": escalation_id,
        "tenant": row.tenant,
        "trigger": row.trigger,
        "severity": row.severity,
        "summary": row.summary,
        "recommendation": row.recommendation,
        "rules_digest": row.rules,
        "quorum": 1,
        "expires_at": format_time(row.expires),
        "on_expiry": "deny",
        "status": row.status,
        "level": 1,
        "count": 1,
    }
    if row.request_id:
        value["request_id"] = row.request_id
    if row.agent:
        value["agent"] = row.agent
    if row.stake is not None:
        value["at_stake_usd"] = usd(row.stake)
    if row.digest:
        value["action_digest"] = row.digest
    if request is not None:
        value["request"] = request
    draft.emit(
        "escalations",
        row.tenant,
        "Escalation",
        derived_id("ev_", escalation_id, row.status),
        value,
        subject=escalation_id,
    )


def _presentable(request: dict[str, Any]) -> dict[str, Any]:
    if len(encode_row(request)) <= REQUEST_BYTES_MAX:
        return request
    shown = {
        name: value for name, value in request.items() if name not in ("arguments", "attributes", "tags")
    }
    shown["task_description"] = clip(request["task_description"])
    shown["arguments"] = {"...": "left out: the ask is too large to be shown whole"}
    return shown
