"""Alerts that are kept while they fire: told once in a while, together, not in a silence, and told when they end.

An alert that comes counts in its row (`Alarm`). From there the count is *told* by itself, or *handed on* to be told
with others of its kind and tenant (`ops_stream.core.alarm_groups`), or it waits: for the end of a silence, or until the
same alert may be told again. No count is ever told twice; one is lost only by an end before it was told.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from ops_stream.core.alarm_groups import goes_first, hand_on, leave
from ops_stream.core.alarm_kinds import ends_by_itself
from ops_stream.core.alarm_telling import tell_alarm, tell_end
from ops_stream.core.draft import Draft
from ops_stream.core.ids import derived_id
from ops_stream.core.muting import silent_until
from ops_stream.core.rows import ALARMS
from ops_stream.core.rows_alarms import RANK, Alarm, higher
from ops_stream.core.words import clip

ALARMS_MAX: Final = 5_000
"""Firing alerts kept per partition; the least severe and longest unheard of make room."""
EVICTIONS_MAX: Final = 20
"""Alerts that one new one makes room for at most, where there are too many."""
SUMMARY_MAX: Final = 1_000
"""Characters of a summary that are kept for when it is told later."""
SUBJECT_MAX: Final = 256
LOOK_AGAIN_MS: Final = 3_600_000
"""How long one waits at most for the end of a silence: other rules may have taken it away."""


def alarm_key(tenant: str, dedupe_key: str) -> str:
    """Give the key of an alert's row."""
    return f"alarm/{tenant}|{derived_id('', dedupe_key)}"


def kept(draft: Draft) -> bool:
    """Say whether any alert is kept, or may be: else there is nothing to look for."""
    return draft.rules.alerts.kept or draft.state.counts["alarm/"] > 0


def mark_of(draft: Draft, tenant: str, kind: str, dedupe: str) -> int | None:
    """Give the limit in whose name an alert fires; None where it is not kept as firing."""
    row = draft.get(ALARMS, alarm_key(tenant, clip(f"{kind}|{tenant}|{dedupe}")))
    return None if row is None else row.mark


def come(draft: Draft, key: str, new: Alarm, alert_id: str, *, news: bool) -> None:
    """Take in an alert that comes, for the first time or again; `alert_id` is its id where it is told at once.

    `news` says that it tells more than the one before, so that it does not wait for its time.
    """
    old = draft.get(ALARMS, key)
    if old is None:
        _make_room(draft)
        _offer(draft, key, new, alert_id, news=news)
        return
    severity = higher(old.severity, new.severity) if old.more else new.severity
    row = replace(
        old,
        severity=severity,
        last=draft.now,
        count=old.count + new.count,
        more=old.more + new.count,
        ends=new.ends or old.ends,
        mark=new.mark,
        summary=new.summary,
        subject=new.subject,
    )
    news = news or (row.told > 0 and RANK[severity] > RANK[old.told_as])
    _offer(draft, key, row, alert_id, news=news)


def end(draft: Draft, key: str, row: Alarm, why: str, *, tell: bool = True) -> None:
    """An alert has ended: tell so where it was told by itself, and let those know that it was told with."""
    draft.delete(key)
    if row.own and tell:
        tell_end(draft, row, why)
    if row.grouped:
        leave(draft, row, tell=tell)


def alarm_due(draft: Draft, key: str) -> None:
    """Something is due for a firing alert: it is over, or may be told."""
    row = draft.get(ALARMS, key)
    if row is None:
        return
    over = _over(draft, row)
    if over and over <= draft.now:
        if row.ends == over:
            why = f"Over, with the window that it was about: {row.summary}"
        else:
            why = f"It has not come again for {(draft.now - row.last) // 1000:,} s: {row.summary}"
        end(draft, key, row, why, tell=not _forgets(draft, row))
    elif row.more:
        _offer(draft, key, row, None, news=False)
    else:
        _keep(draft, key, row)


def _offer(draft: Draft, key: str, row: Alarm, alert_id: str | None, *, news: bool) -> None:
    """Tell what was not told yet, by itself or together with others, if it may be told now."""
    waits = row.told and not news and draft.now < row.told + draft.rules.alerts.repeat_s * 1000
    if waits or _silent_until(draft, row):
        _keep(draft, key, row)
        return
    first = goes_first(draft, row)
    if first:
        tell_alarm(draft, row, row.more, alert_id)
    else:
        hand_on(draft, key, row)
    row = replace(
        row,
        own=row.own or first,
        grouped=row.grouped or not first,
        told=draft.now,
        told_as=higher(row.told_as, row.severity),
        more=0,
    )
    _keep(draft, key, row)


def _keep(draft: Draft, key: str, row: Alarm) -> None:
    """Write the row with the moment at which something is due for it; a long text is cut for that."""
    moments = [_tell_at(draft, row)] if row.more else []
    over = _over(draft, row)
    if over:
        moments.append(over)
    row = replace(
        row,
        until=min(moments, default=0),
        summary=clip(row.summary, SUMMARY_MAX),
        subject=clip(row.subject, SUBJECT_MAX),
    )
    draft.put(key, row)


def _tell_at(draft: Draft, row: Alarm) -> int:
    """Give when to try again to tell what was not told."""
    silent = _silent_until(draft, row)
    if silent:
        return min(silent, draft.now + LOOK_AGAIN_MS)
    return row.told + draft.rules.alerts.repeat_s * 1000


def _silent_until(draft: Draft, row: Alarm) -> int:
    silences = draft.rules.alerts.silences
    if not silences:
        return 0
    zone = draft.rules.zone(row.tenant)
    return silent_until(silences, row.tenant, row.kind, row.severity, draft.now, zone)


def _over(draft: Draft, row: Alarm) -> int:
    """Give when an alert is over unless it comes again; 0 where only whoever raised it can say."""
    if not ends_by_itself(row.kind):
        return row.ends
    rules = draft.rules.alerts
    if rules.resolve_after_s:
        return row.last + rules.resolve_after_s * 1000
    # It is never told as over: it is only kept for as long as that makes a difference.
    return 0 if row.more else row.told + (max(rules.repeat_s, rules.group_s) + 1) * 1000


def _forgets(draft: Draft, row: Alarm) -> bool:
    return ends_by_itself(row.kind) and not draft.rules.alerts.resolve_after_s


def _make_room(draft: Draft) -> None:
    """Let the least severe of those that have not come for longest go, and say so of what was told."""
    over = draft.state.counts["alarm/"] + 1 - ALARMS_MAX
    if over <= 0:
        return
    why = f"It is not watched any longer, because more than {ALARMS_MAX:,} alerts fire"
    for _, _, _, key in draft.state.alarms.earliest(min(over, EVICTIONS_MAX)):
        row = None if draft.touched(key) else draft.get(ALARMS, key)
        if row is not None:
            end(draft, key, row, f"{why}: {row.summary}")
