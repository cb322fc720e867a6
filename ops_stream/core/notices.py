"""Alerts for people on duty, and dead letters for what could not be decided."""

from __future__ import annotations

import base64
from typing import Literal

from ops_stream.contract.clocktext import format_time
from ops_stream.core.alarm_telling import publish
from ops_stream.core.alarms import alarm_key, come, end, kept
from ops_stream.core.draft import Draft
from ops_stream.core.ids import derived_id
from ops_stream.core.inputs import RECORD_INPUTS, EventInput, MalformedInput, Origin
from ops_stream.core.rows import ALARMS, Alarm
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
    news: bool = False,
    ends: int = 0,
    mark: int = 0,
) -> str:
    """Raise (or resolve) an alert; `seed` are the names that tell it from every other. Gives its id.

    Where `conf/alerts.yaml` says so it may be told later, with others, or not at all: `news` that it says more than
    the one before of the same `dedupe`, so that it does not wait for its time; `ends` when it is over whatever
    happens (ms since 1970); `mark` the limit in whose name it is raised. A kind that is new belongs into
    `ops_stream.core.alarm_kinds`, and into docs/alerts.md.
    """
    id_ = derived_id("al_", kind, tenant, *seed)
    row = Alarm(
        tenant=tenant,
        kind=kind,
        dedupe=clip(f"{kind}|{tenant}|{dedupe}"),
        severity=severity,
        since=draft.now if since is None else since,
        last=draft.now,
        count=count,
        more=count,
        ends=ends,
        mark=mark,
        summary=summary,
        subject=clip(subject or ""),
    )
    if not (kept(draft) and _keep(draft, row, status, id_, news=news)):
        publish(draft, row, id_, status=status, severity=severity, count=count, summary=summary)
    return id_


def _keep(draft: Draft, new: Alarm, status: str, alert_id: str, *, news: bool) -> bool:
    """Let the rules say whether and when it is told; says False where they have nothing to say to it."""
    key = alarm_key(new.tenant, new.dedupe)
    row = draft.get(ALARMS, key)
    if status == "firing":
        if row is None and not draft.rules.alerts.kept:
            return False
        come(draft, key, new, alert_id, news=news)
        return True
    if row is None:
        return False  # it came before the rules kept any, or made room for others
    end(draft, key, row, new.summary)
    return True


def ended(draft: Draft, tenant: str, kind: str, why: str, *, dedupe: str, tell: bool = True) -> None:
    """Say that what an alert told of is over, if it is kept as firing; costs nothing where none is kept."""
    if kept(draft):
        key = alarm_key(tenant, clip(f"{kind}|{tenant}|{dedupe}"))
        row = draft.get(ALARMS, key)
        if row is not None:
            end(draft, key, row, why, tell=tell)


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
