"""How an alert that is kept gets onto `ops.alerts`."""

from __future__ import annotations

from typing import Any, Literal

from ops_stream.contract.clocktext import format_time
from ops_stream.core.draft import Draft
from ops_stream.core.ids import derived_id
from ops_stream.core.inputs import RECORD_INPUTS
from ops_stream.core.rows_alarms import Alarm, Severity
from ops_stream.core.words import clip


def tell_alarm(draft: Draft, row: Alarm, count: int, alert_id: str | None = None) -> None:
    """Tell an alert by itself, as firing; without an id it gets one that derives from the moment."""
    id_ = alert_id or derived_id("al_", row.dedupe, "again", *moment(draft))
    publish(draft, row, id_, status="firing", severity=row.severity, count=count, summary=row.summary)


def tell_end(draft: Draft, row: Alarm, why: str) -> None:
    """Tell that an alert has ended, as severe as it was told, with how often it has come in all."""
    id_ = derived_id("al_", row.dedupe, "ended", row.since, *moment(draft))
    severity = row.told_as or row.severity
    publish(draft, row, id_, status="resolved", severity=severity, count=row.count, summary=why)


def moment(draft: Draft) -> tuple[str | int, ...]:
    """Give what tells this decision from every other that says something of the same alert, for an id."""
    input_ = draft.input
    if isinstance(input_, RECORD_INPUTS):
        origin = input_.forwarded_from or input_.origin
        return draft.now, origin.topic, origin.partition, origin.offset
    return (draft.now,)


def publish(
    draft: Draft,
    row: Alarm,
    id_: str,
    *,
    status: Literal["firing", "resolved"],
    severity: Severity,
    count: int,
    summary: str,
) -> None:
    """Publish what is said of an alert."""
    value: dict[str, Any] = {
        "alert_id": id_,
        "tenant": row.tenant,
        "kind": row.kind,
        "severity": severity,
        "status": status,
        "dedupe_key": row.dedupe,
        "count": count,
        "summary": clip(summary),
        "since": format_time(row.since),
    }
    if status == "resolved":
        value["ended_at"] = format_time(draft.now)
    if row.subject:
        value["subject"] = row.subject
    draft.emit("alerts", row.tenant, "Alert", id_, value, subject=row.subject or None)
