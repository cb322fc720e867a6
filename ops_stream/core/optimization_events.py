"""What is told of an optimization: an event each time that it moves, and an alert or a line of the daily summary."""

from __future__ import annotations

from typing import Any, Final

from msgspec.structs import replace

from ops_stream.contract.clocktext import format_time
from ops_stream.contract.money import usd
from ops_stream.core.alarm_telling import moment
from ops_stream.core.calendar import DAY_MS, local
from ops_stream.core.draft import Draft
from ops_stream.core.ids import derived_id
from ops_stream.core.notices import alert
from ops_stream.core.rows import FINDERS, RULES, Finder, OptimizationRow
from ops_stream.core.rows_optimization import Arm
from ops_stream.core.words import clip, dollars

LINES_MAX: Final = 50
LINE_MAX: Final = 300
_MILLION: Final = 1_000_000


def publish(draft: Draft, id_: str, row: OptimizationRow, *, tell: bool = True) -> None:
    """Publish where an optimization stands; `tell` people of it, too, as the rules say."""
    rules = draft.get(RULES, "rules")
    money = row.kind != "faster_model"
    value: dict[str, Any] = {
        "optimization_id": id_,
        "tenant": row.tenant,
        "kind": row.kind,
        "scope": row.scope,
        "state": row.state,
        "change": {"path": row.path, "from": row.before, "to": row.after},
        "samples": row.samples,
        "effect": _figure(row.effect, money),
        "interval": [_figure(row.low, money), _figure(row.high, money)],
        "confidence": row.confidence / 100,
        "expected_saving_usd": usd(max(0, row.saving_micros)),
        "risk": row.risk,
        "summary": clip(row.why, 1_000),
        "since": format_time(row.since),
        "rules_digest": draft.rules.digest if rules is None else rules.digest,
        "permanent": row.permanent,
    }
    if row.until and row.state in ("trial", "applied"):
        value["expires_at"] = format_time(row.until)
    for name, text in (
        ("decided_by", row.by),
        ("rules_before", row.rules_before),
        ("escalation_id", row.escalation),
    ):
        if text:
            value[name] = text
    if row.changed.asks or row.kept.asks:
        value["changed"], value["kept"] = side_of(row.changed), side_of(row.kept)
    seed = derived_id("oe_", id_, row.state, *moment(draft))
    draft.emit("optimizations", row.tenant, "Optimization", seed, value, subject=id_)
    if tell:
        _tell(draft, id_, row)


def side_of(arm: Arm) -> dict[str, Any]:
    """Give the figures of one side as people read them: means for a report."""
    reports = arm.reports
    found: dict[str, Any] = {"asks": arm.asks, "reports": reports, "good": arm.good}
    if reports:
        found["cost_usd"] = usd(arm.cost // reports)
        found["quality"] = arm.quality // reports / 1_000
    if arm.timed:
        found["latency_ms"] = arm.taken_ms // arm.timed
    return found


def _figure(value: int, money: bool) -> float:
    return value / _MILLION if money else float(value)


def _tell(draft: Draft, id_: str, row: OptimizationRow) -> None:
    how = draft.rules.optimization.tell
    if how == "none":
        return
    text = _line(id_, row)
    if how == "alert":
        alert(
            draft,
            row.tenant,
            "optimization",
            text,
            dedupe=id_,
            seed=(id_, row.state, *moment(draft)),
            severity="warning" if row.state == "reverted" else "info",
            subject=id_,
        )
        return
    key = f"finder/{row.tenant}"
    finder = draft.get(FINDERS, key)
    if finder is None:
        finder = Finder(
            draft.now + draft.rules.optimization.look_every_s * 1000, told_on=day_of(draft, row.tenant)
        )
    draft.put(key, replace(finder, lines=(*finder.lines, clip(text, LINE_MAX))[-LINES_MAX:]))


def summarise(draft: Draft, tenant: str, finder: Finder) -> Finder:
    """Tell the daily summary where a day of the tenant is over and there is something to tell."""
    today = day_of(draft, tenant)
    if today <= finder.told_on:
        return finder
    if finder.lines:
        number = len(finder.lines)
        text = f"What could be better, {number} {'line' if number == 1 else 'lines'}: " + " ".join(
            finder.lines
        )
        alert(
            draft,
            tenant,
            "optimization_summary",
            clip(text, 10_000),
            dedupe=f"day {finder.told_on}",
            seed=(finder.told_on,),
            severity="info",
            subject=tenant,
        )
    return replace(finder, lines=(), told_on=today)


def day_of(draft: Draft, tenant: str) -> int:
    """Give the number of the tenant's present day, by its own clocks."""
    return local(draft.now, draft.rules.zone(tenant)) // DAY_MS


def _line(id_: str, row: OptimizationRow) -> str:
    saving = f", saves {dollars(row.saving_micros)} in 30 days" if row.saving_micros > 0 else ""
    return (
        f"{id_} {row.state}: {row.scope}, {row.before} → {row.after} ({row.confidence} %{saving}). {row.why}"
    )
