"""Alerts of one kind and tenant that come close to each other: the first is told at once, the others as one."""

from __future__ import annotations

from typing import Any, Final

from msgspec.structs import replace

from ops_stream.contract.clocktext import format_time
from ops_stream.core.alarm_telling import moment, tell_alarm
from ops_stream.core.draft import Draft
from ops_stream.core.ids import derived_id
from ops_stream.core.rows import ALARMS, GATHERINGS
from ops_stream.core.rows_alarms import RANK, Alarm, Gathered, Named, higher
from ops_stream.core.words import clip

GATHERED_MAX: Final = 50
"""Alerts that wait to be told together: with these they are told before their time."""
NAMED_MAX: Final = 5
"""Subjects that the summary names."""
_TEXT_MAX: Final = 500


def goes_first(draft: Draft, row: Alarm) -> bool:
    """Say whether an alert is told at once: none of its kind was of late, or only less severe ones."""
    group_ms = draft.rules.alerts.group_s * 1000
    if not group_ms:
        return True
    key = _key(row)
    group = draft.get(GATHERINGS, key)
    if group is None or group.until <= draft.now:
        fresh = Gathered(row.tenant, row.kind, row.severity, draft.now + group_ms)
        draft.put(key, fresh if group is None else replace(group, severity=row.severity, until=fresh.until))
        return True
    if RANK[row.severity] > RANK[group.severity]:
        draft.put(key, replace(group, severity=row.severity))
        return True
    return False


def hand_on(draft: Draft, alarm_key: str, row: Alarm) -> None:
    """Let an alert wait to be told with others, all of its count that was not told yet."""
    key = _key(row)
    group = draft.get(GATHERINGS, key)
    assert group is not None
    id_ = alarm_key.rpartition("|")[2]
    names = group.names
    if all(named.id != id_ for named in names):
        names = (*names, Named(id_, clip(row.subject or row.dedupe, 256)))
    group = replace(
        group,
        names=names,
        count=group.count + row.more,
        worst=higher(group.worst, row.severity),
        summary=clip(row.summary, _TEXT_MAX),
        begun=min(group.begun or row.since, row.since),
        firing=group.firing + (not row.grouped),
    )
    if len(names) >= GATHERED_MAX:
        _tell(draft, key, group)
    else:
        draft.put(key, group)


def leave(draft: Draft, row: Alarm, *, tell: bool) -> None:
    """An alert that was handed on has ended; when the last has, those told together have ended too."""
    key = _key(row)
    group = draft.get(GATHERINGS, key)
    if group is not None:
        _keep(draft, key, replace(group, firing=group.firing - 1), tell=tell)


def gathered_due(draft: Draft, key: str) -> None:
    """The time to wait is over: tell what has gathered, or wait no more."""
    group = draft.get(GATHERINGS, key)
    if group is None:
        return
    if group.names:
        _tell(draft, key, group)
    else:
        _keep(draft, key, replace(group, until=0), tell=True)


def _tell(draft: Draft, key: str, group: Gathered) -> None:
    """Tell what has gathered; one alert alone is told as if it had not waited."""
    until = draft.now + draft.rules.alerts.group_s * 1000
    after = replace(
        group, severity=group.worst, until=until, names=(), count=0, worst="info", summary="", begun=0
    )
    alone = _alone(draft, group)
    if alone is not None:
        alarm_key, row = alone
        tell_alarm(draft, replace(row, severity=group.worst), group.count)
        told_as = higher(row.told_as, group.worst)
        draft.put(alarm_key, replace(row, own=True, told=draft.now, told_as=told_as))
    else:
        after = replace(
            after,
            since=min(group.since or group.begun, group.begun),
            total=group.total + group.count,
            told_as=higher(group.told_as, group.worst),
        )
        names = [named.subject for named in group.names]
        fields = {"severity": group.worst, "count": group.count, "summary": _say(group, names)}
        _publish(draft, after, **fields, subjects=names)
    _keep(draft, key, after, tell=True)


def _alone(draft: Draft, group: Gathered) -> tuple[str, Alarm] | None:
    if len(group.names) != 1:
        return None
    key = f"alarm/{group.tenant}|{group.names[0].id}"
    row = draft.get(ALARMS, key)
    return None if row is None else (key, row)


def _keep(draft: Draft, key: str, group: Gathered, *, tell: bool) -> None:
    """Write what is left; where nothing that was told together fires any more, tell that."""
    if group.since and not group.firing:
        if tell:
            text = f"All {group.kind} alerts that were told together have ended; they came {group.total:,} times."
            ended = {"status": "resolved", "ended_at": format_time(draft.now)}
            _publish(draft, group, severity=group.told_as, count=group.total, summary=text, **ended)
        group = replace(group, since=0, total=0, told_as="info")
    if group.until or group.firing:
        draft.put(key, group)
    else:
        draft.delete(key)


def _publish(draft: Draft, group: Gathered, **fields: Any) -> None:
    name = f"{group.kind}|{group.tenant}"
    id_ = derived_id("al_", name, *map(str, fields.values()), group.total, *moment(draft))
    value: dict[str, Any] = {
        "alert_id": id_,
        "tenant": group.tenant,
        "kind": group.kind,
        "status": "firing",
        "dedupe_key": f"{name}|*",
        "group": name,
        "since": format_time(group.since),
        **fields,
    }
    draft.emit("alerts", group.tenant, "Alert", id_, value)


def _say(group: Gathered, names: list[str]) -> str:
    number = "One alert" if len(names) == 1 else f"{len(names)} alerts"
    more = f" and {len(names) - NAMED_MAX} more" if len(names) > NAMED_MAX else ""
    return (
        f"{number} of kind {group.kind} came soon after another, about {', '.join(names[:NAMED_MAX])}{more}. "
        f"The latest: {group.summary}"
    )


def _key(row: Alarm) -> str:
    return f"gathered/{row.tenant}|{row.kind}"
