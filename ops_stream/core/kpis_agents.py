"""The four scores of agents as figures of the day: told once in a while after asks end, and when the day is over."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from msgspec.structs import replace

from ops_stream.core.draft import Draft
from ops_stream.core.kpis_windows import DAY_MS, DAY_SLOTS, emit_kpi, next_telling, trend_of
from ops_stream.core.rows import RECORDS, TELLINGS, Ask, Telling, agent_key, record_key
from ops_stream.core.scores import NAMES, Scored, scores

MILLION: Final = 1_000_000


def reported(draft: Draft, ask: Ask) -> None:
    """Take in that an agent reports, or that its lease ends without, before that counts in its record.

    Of who is not registered nothing is told.
    """
    key = f"telling/{ask.tenant}|{ask.agent}"
    today = draft.now // DAY_MS
    row = draft.get(TELLINGS, key)
    if row is not None and row.day < today:
        if not row.closed:  # no tick has come between
            _tell(draft, key, row)
            row = draft.get(TELLINGS, key)
        row = Telling(0, today, before=row.told if row is not None and row.day == today - 1 else ())
    elif row is None:
        if agent_key(ask.tenant, ask.agent) not in draft.state.rows:
            return
        row = Telling(0, today)
    if not row.news:
        draft.put(key, replace(row, news=True, until=next_telling(draft, (today + 1) * DAY_MS)))


def telling_due(draft: Draft, key: str) -> None:
    """Tell the scores of an agent, or forget what its day came to."""
    row = draft.get(TELLINGS, key)
    if row is None:
        return
    if row.closed:
        draft.delete(key)
    else:
        _tell(draft, key, row)


def _tell(draft: Draft, key: str, row: Telling) -> None:
    tenant, agent = key.removeprefix(TELLINGS.prefix).split("|")
    end = (row.day + 1) * DAY_MS
    over = draft.now >= end
    found = scores(draft.get(RECORDS, record_key(tenant, agent)), draft.rules, min(draft.now, end - 1))
    before, already = dict(row.before), dict(row.told)
    told = []
    for name in NAMES:
        if name in found and (found[name].samples or name in already):
            told.append((name, _millionths(found[name].value)))
            slot = f"a/{agent}/{row.day % DAY_SLOTS}"
            figure = _figure(name, found[name], before)
            emit_kpi(
                draft, tenant, name, f"agent/{tenant}/{agent}", DAY_MS, row.day, slot, figure, closed=over
            )
    until = end + DAY_MS if over else end
    draft.put(key, replace(row, until=until, news=False, closed=over, told=tuple(told)))


def _figure(name: str, scored: Scored, before: Mapping[str, int]) -> dict[str, Any]:
    """Write a score so that it can be added up: each agent weighs as much as it has reported."""
    value = _millionths(scored.value)
    figure: dict[str, Any] = {
        "value": value / MILLION,
        "numerator": round(scored.value * scored.samples, 6),
        "denominator": round(scored.samples, 6),
        "samples": int(scored.samples) or int(scored.samples > 0),
        "interval": [round(scored.low, 6), round(scored.high, 6)],
    }
    if name in before:
        figure["previous"] = before[name] / MILLION
        figure["trend"] = trend_of(value, MILLION, before[name], MILLION)
    return figure


def _millionths(value: float) -> int:
    return round(value * MILLION)
