"""What is remembered of how agents do at types of work with models, and how workflows go: a fold of the journal.

Each report that ends an ask counts at once in the row of its key (`ops_stream.core.rows_learning`), which holds the
present hour. When something comes in a later hour, the hour that is over goes into its place, its day and the past;
so what is not used costs nothing. What it all says is read in `ops_stream.core.recall`, how it stays small is in
`ops_stream.core.learning_room`, workflows are in `ops_stream.core.learning_flows`.
"""

from __future__ import annotations

from typing import Final

from ops_stream.contract.models import Telemetry
from ops_stream.contract.reasons import STOPPED_BY_PEOPLE, Reason
from ops_stream.core.attempts import attempted
from ops_stream.core.draft import Draft
from ops_stream.core.learning_flows import flow_ended, flow_lost
from ops_stream.core.learning_room import make_room
from ops_stream.core.pooled import pool
from ops_stream.core.recall import SUM_MAX, decay_stats, faded, look, plus, stats_over, together
from ops_stream.core.rows import LEARNED, PASTS, PERIODS, Ask, record_key
from ops_stream.core.rows_learning import (
    DAY_MS,
    HOUR_MS,
    NO_STATS,
    Counts,
    Learned,
    Past,
    Period,
    Stats,
    day_key,
    hour_key,
    kept_name,
    key_of,
)
from ops_stream.core.sketch import VALUE_MAX, add
from ops_stream.core.validation import model_of

__all__ = ["learn", "look", "lost", "reversed_by_people", "stats_over"]

TOKENS_MAX: Final = 10**9
RETRIES_MAX: Final = 1_000
"""More than so many count as that in one report, whatever is believed."""
_LOST: Final = Counts(lost=1)
_REVERSED: Final = Counts(reversed=1)


def learn(draft: Draft, ask: Ask, event: Telemetry, violations: tuple[str, ...]) -> None:
    """Take in how an ask ended; `ask` is its row before that, `event` the report without what is not believed."""
    if event.kind == "cancelled" and ask.phase not in ("running", "unknown"):
        return  # it was never approved: there is nothing to learn of it
    good, failed, cancelled = _outcome(ask, event)
    found = int(ask.answer.reason == Reason.LEASE_EXPIRED)
    latency = None if event.latency_ms is None else min(round(event.latency_ms), VALUE_MAX)
    if ask.workflow:
        flow_ended(draft, ask, (good, failed, cancelled), found, event.cost_micros or 0, latency)
    if not _known(draft, ask):
        return
    outcome = (good, failed, cancelled, found)
    model = model_of(draft, ask, event)
    key, row = _row(draft, ask, model)
    counts = _counted(row.stats.counts, ask, event, outcome, latency, late="over_time" in violations)
    spread = row.stats.latency if latency is None else add(row.stats.latency, latency)
    draft.put(key, Learned(draft.now, Stats(counts, spread), row.task_type, row.model))
    pool(draft, ask, model, row.stats.counts, counts)
    attempted(draft, ask, good, failed, event.cost_micros)


def lost(draft: Draft, ask: Ask) -> None:
    """Take in that an ask was taken from its agent, which did not report in time."""
    if ask.workflow:
        flow_lost(draft, ask)
    if _known(draft, ask):
        _grow(draft, ask, _LOST)


def reversed_by_people(draft: Draft, ask: Ask) -> None:
    """Take in that people denied or changed what an agent asked."""
    if _known(draft, ask):
        _grow(draft, ask, _REVERSED)


def _known(draft: Draft, ask: Ask) -> bool:
    """Say whether the agent is registered, or was: names that anybody may think of are not remembered."""
    key = record_key(ask.tenant, ask.agent)
    return draft.touched(key) or key in draft.state.rows


def _outcome(ask: Ask, event: Telemetry) -> tuple[int, int, int]:
    """Say whether it ended well, failed, or was cancelled. What people stopped has not failed."""
    if event.kind == "completed":
        good = event.success is not False
        return int(good), int(not good), 0
    stopped = ask.answer.reason in STOPPED_BY_PEOPLE
    return (0, 0, 1) if event.kind == "cancelled" or stopped else (0, 1, 0)


def _counted(
    before: Counts,
    ask: Ask,
    event: Telemetry,
    outcome: tuple[int, int, int, int],
    latency: int | None,
    *,
    late: bool,
) -> Counts:
    """Give counts with a report more. It is written out, field by field, because every report comes here."""
    good, failed, cancelled, found = outcome
    cost, quality = event.cost_micros, event.quality_score
    tokens_in, tokens_out = event.input_tokens, event.output_tokens
    held = ask.held or 0
    over = max(0, cost - held) if cost is not None and ask.held is not None else 0
    return Counts(
        before.good + good,
        before.failed + failed,
        before.cancelled + cancelled,
        before.lost,
        before.found + found,
        before.costed + (cost is not None),
        min(before.cost + (cost or 0), SUM_MAX),
        min(before.held + (0 if cost is None else held), SUM_MAX),
        before.overruns + (over > 0),
        min(before.overrun + over, SUM_MAX),
        before.timed + (latency is not None),
        before.taken_ms + (latency or 0),
        before.estimated_ms + (0 if latency is None else ask.estimated_ms),
        before.late + late,
        before.rated + (quality is not None),
        before.quality_milli + (0 if quality is None else round(quality * 1000)),
        before.metered + (tokens_in is not None or tokens_out is not None),
        before.tokens_in + min(tokens_in or 0, TOKENS_MAX),
        before.tokens_out + min(tokens_out or 0, TOKENS_MAX),
        before.retried + (ask.retry_count > 0),
        before.retries + min(ask.retry_count, RETRIES_MAX),
        before.reviewed + (ask.approved_by != ()),
        before.reversed,
    )


def _grow(draft: Draft, ask: Ask, counts: Counts) -> None:
    """Count something that is no report, for the model that was approved."""
    key, row = _row(draft, ask, ask.model)
    stats = Stats(plus(row.stats.counts, counts), row.stats.latency)
    draft.put(key, Learned(draft.now, stats, row.task_type, row.model))
    if counts is _LOST:
        pool(draft, ask, ask.model, row.stats.counts, stats.counts)


def _row(draft: Draft, ask: Ask, model: str) -> tuple[str, Learned]:
    """Give the present hour of a key, empty where nothing came in it yet; an hour that is over is put away."""
    key = key_of(ask.tenant, ask.agent, ask.task_type, model)
    row_key = f"learned/{key}"
    row = draft.get(LEARNED, row_key)
    if row is None:
        make_room(draft, f"{ask.tenant}|{ask.agent}")
        return row_key, Learned(draft.now, NO_STATS, kept_name(ask.task_type), kept_name(model))
    if row.used // HOUR_MS != draft.now // HOUR_MS:
        _put_away(draft, key, row)
        row = Learned(draft.now, NO_STATS, row.task_type, row.model)
        draft.put(row_key, row)  # in use, so that it is not what makes room
        make_room(draft, "", more=0)
    return row_key, row


def _put_away(draft: Draft, key: str, row: Learned) -> None:
    """Put an hour that is over into its place, add it to its day and to the past."""
    hour, day = row.used // HOUR_MS, row.used // DAY_MS
    draft.put(hour_key(key, hour), Period(hour, row.stats))
    place = day_key(key, day)
    before = draft.get(PERIODS, place)
    same = before is not None and before.number == day
    draft.put(place, Period(day, together(before.stats, row.stats) if before and same else row.stats))
    past = draft.get(PASTS, f"past/{key}") or Past(hour)
    half_life_s = draft.rules.telemetry.memory.half_life_s
    decayed = decay_stats(past.decayed, past.hour * HOUR_MS, hour * HOUR_MS, half_life_s)
    new = Past(hour, together(past.total, row.stats), together(decayed, faded(row.stats)))
    draft.put(f"past/{key}", new)
