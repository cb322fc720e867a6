"""Alerts about budgets: thresholds that are reached, and costs that nobody held."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from msgspec.structs import replace

from ops_stream.core.alarms import kept, mark_of
from ops_stream.core.budgets_scope import Purse, Scope
from ops_stream.core.calendar import window_end
from ops_stream.core.draft import Draft
from ops_stream.core.notices import alert, ended
from ops_stream.core.rows import OVERRUNS, Ask, Budget, Overrun
from ops_stream.core.rules_budgets import Limit
from ops_stream.core.triggers import soft_limit
from ops_stream.core.words import dollars

THRESHOLD: Final = "budget_threshold"
FOLD_MS: Final = 3_600_000
"""An agent's overruns are alerted at most once in this time; those in between are added up."""


def alert_thresholds(draft: Draft, tenant: str, purse: Purse, keys: Collection[str] | None = None) -> None:
    """Alert at thresholds that are newly reached: the highest of each limit, once a window.

    `keys` are the rows that have changed; None for all of the purse's.
    """
    for scope in (purse.tenant, purse.task, *purse.more):
        if keys is not None and scope.key not in keys:
            continue
        row = scope.row
        hard = 0 if scope.limit is None else _reached(scope, scope.limit)
        soft = 0 if scope.soft is None else _reached(scope, scope.soft)
        if row.told > hard or row.told_soft > soft:
            row = _raised(draft, tenant, scope, row)
        if hard > row.told and scope.limit is not None:
            row = replace(row, told=hard)
            _alert_threshold(draft, tenant, scope, scope.limit, hard, "hard")
        if soft > row.told_soft and scope.soft is not None:
            row = replace(row, told_soft=soft)
            _alert_threshold(draft, tenant, scope, scope.soft, soft, "soft")
        if scope.soft is not None:
            row = _call_at(draft, tenant, scope, scope.soft, row)
        if row is not scope.row:
            scope.row = row
            draft.put(scope.key, row)


def _call_at(draft: Draft, tenant: str, scope: Scope, limit: Limit, row: Budget) -> Budget:
    """Call a person once a window where so much of a soft limit is used as the trigger says."""
    rule = draft.rules.escalations.trigger("soft_limit", tenant)
    if rule is None or row.called >= rule.percent or not scope.used:
        return row
    if 100 * scope.used < rule.percent * limit.limit_micros:
        return row
    soft_limit(draft, tenant, scope, rule.percent)
    return replace(row, called=rule.percent)


def alert_raised(draft: Draft, tenant: str, scope: Scope) -> None:
    """A limit was set: tell where a reached one has been raised; it is told anew when that is reached."""
    row = _raised(draft, tenant, scope, scope.row)
    if row is not scope.row:
        scope.row = row
        draft.put(scope.key, row)


def _raised(draft: Draft, tenant: str, scope: Scope, row: Budget) -> Budget:
    """End the alerts in whose name a lower limit stands than is in force. What is used less alone ends none."""
    if not kept(draft):
        return row
    for which, limit in (("hard", scope.limit), ("soft", scope.soft)):
        dedupe = f"{scope.key}|{which}"
        mark = mark_of(draft, tenant, THRESHOLD, dedupe)
        if mark is None or (limit is not None and limit.limit_micros <= mark):
            continue
        now = "gone" if limit is None else f"now {scope.say(limit.limit_micros)}"
        why = f"The {which} limit of {scope.what}{scope.for_window} is {now}, {scope.say(scope.used)} of it used."
        ended(draft, tenant, THRESHOLD, why, dedupe=dedupe)
        row = replace(row, told=0) if which == "hard" else replace(row, told_soft=0)
    return row


def forgotten(draft: Draft, key: str, why: str = "Nothing counts there any more.") -> None:
    """A budget's row is forgotten, or its limit taken away, and what was told of it is over."""
    if kept(draft):
        tenant = key.split("|", 2)[1]
        for which in ("hard", "soft"):
            ended(draft, tenant, THRESHOLD, why, dedupe=f"{key}|{which}")
        ended(draft, tenant, "budget_exceeded", why, dedupe=key)


def _reached(scope: Scope, limit: Limit) -> int:
    used, most, reached = 100 * scope.used, limit.limit_micros, 0
    if used:  # a limit of zero is reached by the first that is used of it
        for one in limit.alert_at:
            if one > reached and used >= one * most:
                reached = one
    return reached


def _alert_threshold(
    draft: Draft, tenant: str, scope: Scope, limit: Limit, threshold: int, which: str
) -> None:
    most, say = limit.limit_micros, scope.say
    now = f"{100 * scope.used // most} %" if most else "more"
    again = (draft.now,) if kept(draft) else ()  # a limit that is raised and lowered again is reached again
    alert(
        draft,
        tenant,
        THRESHOLD,
        f"The {which} limit of {scope.what}{scope.for_window}, {say(most)}, has reached {threshold} %: "
        f"{now} of it is used, held {say(scope.held)}, unknown {say(scope.unknown)}, spent {say(scope.spent)}.",
        dedupe=f"{scope.key}|{which}",
        seed=(scope.key, which, threshold, most, *again),
        severity="critical" if threshold >= 100 else "warning",
        subject=scope.what,
        news=True,
        ends=window_end(scope.kind, draft.now, draft.rules.zone(tenant)) if kept(draft) else 0,
        mark=most,
    )


def overrun_key(tenant: str, agent: str) -> str:
    """Give the key of an agent's overruns within the hour."""
    return f"overrun/{tenant}|{agent}"


def alert_overrun(draft: Draft, ask: Ask, cost: int, overrun: int) -> None:
    """Alert a cost that nobody had held; further ones of the agent within the hour are added up."""
    key = overrun_key(ask.tenant, ask.agent)
    row = draft.get(OVERRUNS, key)
    if row is not None:
        draft.put(key, replace(row, count=row.count + 1, micros=row.micros + overrun))
        return
    draft.put(key, Overrun(draft.now + FOLD_MS, ask.tenant, ask.agent))
    permitted = dollars(ask.held) if ask.held is not None and ask.money in ("held", "unknown") else "nothing"
    alert(
        draft,
        ask.tenant,
        "budget_overrun",
        f"Ask {ask.request_id} of agent {ask.agent} cost {dollars(cost)} where {permitted} was held.",
        dedupe=ask.agent,
        seed=(ask.request_id, "overrun"),
        subject=ask.request_id,
    )


def overruns_over(draft: Draft, key: str) -> None:
    """An hour of an agent's overruns is over: tell of those that came after the first, if any did."""
    row = draft.get(OVERRUNS, key)
    if row is None:
        return
    if not row.count:
        draft.delete(key)
        return
    draft.put(key, Overrun(draft.now + FOLD_MS, row.tenant, row.agent))
    asks = "one more ask" if row.count == 1 else f"{row.count:,} more asks"
    alert(
        draft,
        row.tenant,
        "budget_overrun",
        f"In the last hour {asks} of agent {row.agent} cost {dollars(row.micros)} more than was held.",
        dedupe=row.agent,
        seed=(row.agent, row.until, "overruns"),
        subject=row.agent,
    )
