"""Alerts for people on duty, and dead letters for what could not be decided."""

from __future__ import annotations

import base64
from typing import Literal

from ops_stream.contract.clocktext import format_time
from ops_stream.core.draft import Draft
from ops_stream.core.ids import derived_id
from ops_stream.core.inputs import RECORD_INPUTS, EventInput, MalformedInput, Origin
from ops_stream.core.words import clip


def alert(
    draft: Draft,
    tenant: str,
    kind: str,
    summary: str,
    *,
    dedupe: str,
    seed: tuple[str | int, ...],
    severity: Literal["info", "warning", "critical"] = "warning",
    status: Literal["firing", "resolved"] = "firing",
    subject: str | None = None,
    since: int | None = None,
    count: int = 1,
) -> str:
    """Raise (or resolve) an alert; `seed` are the names that tell it from every other. Gives its id."""
    alert_id = derived_id("al_", kind, tenant, *seed)
    value = {
        "alert_id": alert_id,
        "tenant": tenant,
        "kind": kind,
        "severity": severity,
        "status": status,
        "dedupe_key": clip(f"{kind}|{tenant}|{dedupe}"),
        "count": count,
        "summary": clip(summary),
        "since": format_time(draft.now if since is None else since),
    }
    if subject is not None:
        value["subject"] = clip(subject)
    draft.emit("alerts", tenant, "Alert", alert_id, value, subject=subject)
    return alert_id


def record_of(draft: Draft) -> tuple[EventInput | MalformedInput, Origin] | None:
    """Give the input record being decided and where it stood first; None where time or the journal speaks."""
    input_ = draft.input
    if isinstance(input_, RECORD_INPUTS):
        return input_, input_.forwarded_from or input_.origin
    return None


def dead_letter(draft: Draft, tenant: str, reason: str, explanation: str) -> None:
    """Keep the input with its bytes, its origin and why it came to nothing."""
    found = record_of(draft)
    if found is None:
        return
    input_, origin = found
    value = {
        "topic": origin.topic,
        "partition": origin.partition,
        "offset": origin.offset,
        "headers": [[name, base64.b64encode(text or b"").decode()] for name, text in input_.headers],
        "reason": reason,
        "explanation": clip(explanation),
        "at": format_time(draft.now),
    }
    if input_.raw is not None:
        value["value_b64"] = base64.b64encode(input_.raw).decode()
    id_ = derived_id("dl_", origin.topic, origin.partition, origin.offset)
    draft.emit("dead-letters", tenant, "DeadLetter", id_, value)
