"""Looks through a tenant's figures once in a while, proposes what could be better and begins to try it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from ops_stream.core.amend import has_room
from ops_stream.core.draft import Draft
from ops_stream.core.ids import derived_id
from ops_stream.core.optimization import ACTIVE, begin, in_the_way, key_of, rows_of
from ops_stream.core.optimization_events import day_of, publish, summarise
from ops_stream.core.optimization_finds import find
from ops_stream.core.optimization_found import Found
from ops_stream.core.rows import FINDERS, Finder, OptimizationRow
from ops_stream.core.rules_optimization import OBSERVED_MAX, TRIAL, TRIED

KEPT_MAX: Final = 200
"""Optimizations of a tenant that are remembered; while there are so many nothing more is proposed."""


def begin_looking(draft: Draft, tenant: str) -> None:
    """See to it that the figures of a tenant are looked through, from its first report on."""
    rules = draft.rules.optimization
    key = f"finder/{tenant}"
    if rules.mode != "off" and key not in draft.state.rows and not draft.touched(key):
        draft.put(key, Finder(draft.now + rules.look_every_s * 1000, told_on=day_of(draft, tenant)))


def finder_due(draft: Draft, key: str) -> None:
    """Look through a tenant's figures, and tell the daily summary when its day is over."""
    finder, rules = draft.get(FINDERS, key), draft.rules.optimization
    if finder is None:
        return
    if rules.mode == "off":
        draft.delete(key)
        return
    tenant = key.removeprefix(FINDERS.prefix)
    finder = summarise(draft, tenant, finder)
    draft.put(key, replace(finder, until=draft.now + rules.look_every_s * 1000))
    consider(draft, tenant, find(draft, tenant))


def consider(draft: Draft, tenant: str, found: Sequence[Found]) -> None:
    """Propose what was found, and begin to try it where the rules and the confidence permit."""
    rules = draft.rules.optimization
    rows = rows_of(draft, tenant)
    for one in found:
        sure = one.confidence if one.certain else min(one.confidence, OBSERVED_MAX)
        if one.kind not in rules.kinds or sure < TRIAL:
            continue
        known = _known(rows, one)
        if known is not None and rows[known].state != "proposed":
            continue  # it is tried, in force, or was found wanting a short while ago
        if known is None and len(rows) >= KEPT_MAX:
            continue
        id_ = known or _new_id(draft, tenant, one, rows)
        row = _proposed(draft, tenant, one, sure, rows.get(id_))
        rows[id_] = row
        draft.put(key_of(tenant, id_), row)
        begun = rules.mode == "act" and row.kind in TRIED and _room(draft, rows, id_, row)
        if known is None or begun:
            publish(draft, id_, row, tell=not begun)
        if begun:
            rows[id_] = begin(draft, id_, row)


def _known(rows: dict[str, OptimizationRow], one: Found) -> str | None:
    for id_, row in rows.items():
        if (row.path, row.before, row.after, row.task_type) == (
            one.path,
            one.before,
            one.after,
            one.task_type,
        ):
            return id_
    return None


def _new_id(draft: Draft, tenant: str, one: Found, rows: dict[str, OptimizationRow]) -> str:
    number = 0
    while (id_ := derived_id("opt_", tenant, one.path, one.before, one.after, draft.now, number)) in rows:
        number += 1
    return id_


def _proposed(
    draft: Draft, tenant: str, one: Found, sure: int, known: OptimizationRow | None
) -> OptimizationRow:
    return OptimizationRow(
        tenant=tenant,
        kind=one.kind,
        scope=one.scope,
        state="proposed",
        until=draft.now + draft.rules.optimization.cooldown_s * 1000,
        since=draft.now if known is None else known.since,
        path=one.path,
        before=one.before,
        after=one.after,
        task_type=one.task_type,
        samples=one.samples,
        effect=one.effect,
        low=one.low,
        high=one.high,
        confidence=sure,
        saving_micros=max(0, one.saving_micros),
        risk=one.risk,
        found_at=draft.now if known is None else known.found_at,
        asks_30d=one.asks_30d,
        cost_unit=max(1, one.cost_unit),
        taken_unit=max(1, one.taken_unit),
        why=one.why,
    )


def _room(draft: Draft, rows: dict[str, OptimizationRow], id_: str, row: OptimizationRow) -> bool:
    """Say whether one more change may begin now, and no other is in its way."""
    active = [one for one in rows.values() if one.state in ACTIVE]
    if sum(not one.permanent for one in active) >= draft.rules.optimization.trials_max:
        return False
    return in_the_way(rows, id_, row) is None and has_room(draft)
