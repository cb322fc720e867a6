"""Reports of what became of an ask: the first that ends it settles its money, a repeated one does nothing."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from ops_stream.contract.models import Telemetry
from ops_stream.contract.reasons import Reason
from ops_stream.core.automatic import spent
from ops_stream.core.budgets import release, settle, tokens_of
from ops_stream.core.circuit import heard
from ops_stream.core.containment import proved
from ops_stream.core.doubts import doubt
from ops_stream.core.draft import Draft
from ops_stream.core.escalation import withdraw
from ops_stream.core.ids import short_hash
from ops_stream.core.killswitch import enforce_kill
from ops_stream.core.kpis import spent as count_spent
from ops_stream.core.lately import went
from ops_stream.core.learning import learn
from ops_stream.core.leases import expire, overdue, renew
from ops_stream.core.lifecycle import came_late, counted, ran_unasked, violated
from ops_stream.core.lines import end, follow
from ops_stream.core.notices import alert, dead_letter
from ops_stream.core.optimization_arms import ended_on_sides
from ops_stream.core.optimization_looking import begin_looking
from ops_stream.core.policy import BLOCK, ESCALATE, NOTICES_MAX, NOTIFY, evaluate, tell
from ops_stream.core.retries_answers import answer_failure
from ops_stream.core.rows import (
    AGENTS,
    ASKS,
    RECORDS,
    Ask,
    Record,
    agent_key,
    ask_key,
    record_key,
)
from ops_stream.core.scores import lately_of
from ops_stream.core.trespass import breaches, ran_against, unpermitted
from ops_stream.core.triggers import reported, telemetry_policy
from ops_stream.core.unsure import ended, lost_sight
from ops_stream.core.validation import Checked, checked
from ops_stream.core.views import telemetry_view
from ops_stream.core.windows import failed, mark

SEEN_MAX: Final = 8
"""Reports of one ask that are known again; an older one repeated would renew its lease once more."""


def report(draft: Draft, event: Telemetry) -> None:
    """Take in one report."""
    key = ask_key(event.tenant, event.request_id)
    ask = draft.get(ASKS, key)
    if ask is None:
        _refuse(draft, event, "unknown_ask", "No such ask is known: it was never asked, or it is long over.")
        _ran_unasked(draft, event, "which is not known")
        return
    if ask.agent != event.agent:
        _refuse(draft, event, "wrong_agent", f"The ask is agent {ask.agent}'s.")
        _ran_unasked(draft, event, f"which is agent {ask.agent}'s")
        return
    mark = short_hash(event.event_id)
    if ask.report == event.event_id or mark in ask.seen:
        return
    if ask.report:
        _refuse(draft, event, "report_after_end", f"Report {ask.report} had already ended the ask.")
        if ask.answer.reason == Reason.WITHDRAWN and event.kind != "cancelled":
            _ran_after_all(draft, key, ask, event)
        return
    found = checked(draft, ask, event)
    ask = _noted(draft, ask, event, found, mark)
    if event.kind in ("started", "progress"):
        _runs(draft, key, ask)
    else:
        ask = _over(draft, key, ask, event, found.event)
    _apply_policies(draft, ask, event)


def _noted(draft: Draft, ask: Ask, event: Telemetry, found: Checked, mark: int) -> Ask:
    """Take down that a report came, when it says so, and what is wrong with it."""
    if found.findings:
        ask = doubt(draft, ask, found, event.event_id)
    started_at = ask.started_at
    if not started_at and event.kind == "started":
        started_at = draft.written_ms
    return replace(
        ask,
        seen=(*ask.seen, mark)[-SEEN_MAX:],
        started_at=started_at,
        told_at=max(ask.told_at, found.told_at),
    )


def _over(draft: Draft, key: str, ask: Ask, event: Telemetry, believed: Telemetry) -> Ask:
    """Take in a report that ends an ask.

    The money moves as reported, and what the agent did is judged by it; figures are made from what is `believed`.
    docs/telemetry.md says of each which it goes by.
    """
    found = breaches(draft, ask, event, believed)
    doubted = event.cost_micros is not None and believed.cost_micros is None
    before, ask = ask, _ended(draft, key, ask, event, doubted=doubted)
    reported(draft, before, event, _remember(draft, ask, event, believed))
    certain = tuple(kind for kind, _ in found if not (doubted and kind == "over_cost"))
    learn(draft, before, believed, certain)
    if draft.rules.optimization.mode != "off":
        begin_looking(draft, before.tenant)
    if before.arms:
        ended_on_sides(draft, before, believed)
    heard(draft, before, believed)
    went(draft, before, event, believed, counted(draft, before, (kind for kind, _ in found)))
    for kind, what in found:
        violated(draft, before, kind, what, scored=kind in certain)
    came_late(draft, before)
    ended(draft, before, event)
    answer_failure(draft, key, before, event)
    return ask


def _ran_after_all(draft: Draft, key: str, ask: Ask, event: Telemetry) -> None:
    """An ask that was given up, so that its money is free again, ran: what it cost is spent, and held by nobody."""
    what = f"It reports that it ran ask {ask.request_id}, which it had given up."
    violated(draft, ask, "unpermitted_run", what)
    if event.kind in ("started", "progress"):
        lost_sight(draft, ask)
    else:
        ended(draft, ask, event)
    if event.cost_micros and ask.money in ("none", "released"):
        found = checked(draft, ask, event)
        if found.findings:
            ask = doubt(draft, ask, found, event.event_id)
        ask = settle(draft, ask, event.cost_micros, tokens_of(event))
        count_spent(draft, ask.tenant, found.event.cost_micros or 0)
        draft.put(key, replace(ask, seen=(*ask.seen, short_hash(event.event_id))[-SEEN_MAX:]))


def _refuse(draft: Draft, event: Telemetry, reason: str, why: str) -> None:
    text = f"Report {event.event_id} ({event.kind}) of agent {event.agent} for ask {event.request_id}: {why}"
    dead_letter(draft, event.tenant, reason, text)


def _runs(draft: Draft, key: str, ask: Ask) -> None:
    """The agent is at it: its lease runs anew, unless there is none."""
    if ask.phase == "running":
        if overdue(draft, ask):
            expire(draft, key, replace(ask, started=True), spoken_of=True)
        elif not enforce_kill(draft, key, replace(ask, started=True)):
            renew(draft, key, ask)
        return
    if unpermitted(ask):
        violated(draft, ask, "unpermitted_run", ran_against(ask))
    if ask.answer.decision == "revoked":
        lost_sight(draft, ask)  # it had begun after all
    came_late(draft, ask)
    draft.put(key, replace(ask, started=True))


def _ended(draft: Draft, key: str, ask: Ask, event: Telemetry, *, doubted: bool) -> Ask:
    """The agent is done: the money is settled, and a waiting ask is withdrawn.

    Where the cost is `doubted`, what would have been settled without one is believed in its place.
    """
    waited = ask.phase in ("escalated", "queued")
    ran = event.kind != "cancelled"
    ask = _settle(draft, ask, event.cost_micros, ran, tokens_of(event))
    withdrawn = waited or (not ran and ask.answer.decision == "approved")
    if ask.phase == "escalated":
        withdraw(draft, ask)
    outcome = "failed" if event.kind == "completed" and event.success is False else event.kind
    cost = event.cost_micros if event.cost_micros is not None or not ran else ask.held or 0
    ask = replace(proved(draft, ask, "contained"), report=event.event_id, started_at=0, told_at=0)
    believed = (ask.held or 0 if ran or ask.started else 0) if doubted else None
    ask = end(draft, ask, "not_run" if waited else outcome, cost, believed=believed)
    if withdrawn:
        why = (
            f"Agent {ask.agent} has given the ask up."
            if not ran
            else "The agent reported an end while it waited."
        )
        return follow(draft, key, ask, "denied", Reason.WITHDRAWN, why)
    draft.put(key, ask)
    return ask


def _settle(draft: Draft, ask: Ask, cost: int | None, ran: bool, tokens: int | None) -> Ask:
    """Settle to the cost reported. Without one, what was held counts as spent, unless it never started."""
    if cost is not None:
        return settle(draft, ask, cost, tokens)
    if ran:
        # What held nothing and costs nothing is not counted, unless it tells of tokens that it used.
        if ask.money == "none" and tokens is None:
            return ask
        return settle(draft, ask, ask.held or 0, tokens)
    if ask.started and ask.money in ("held", "unknown"):
        return settle(draft, ask, ask.held or 0, tokens)
    return release(draft, ask)


def _remember(draft: Draft, ask: Ask, event: Telemetry, believed: Telemetry) -> Record | None:
    """Add what is believed of a report to the agent's record, and give it; None where there is none to add to."""
    if event.kind == "cancelled":
        return None
    key = record_key(ask.tenant, ask.agent)
    record = draft.get(RECORDS, key)
    if record is None:
        if draft.get(AGENTS, agent_key(ask.tenant, ask.agent)) is None:
            return None
        record = Record()
    good = event.kind == "completed" and event.success is not False
    quality = believed.quality_score
    cost = believed.cost_micros
    latency = believed.latency_ms
    held = ask.held or 0
    told = event.cost_micros
    mark(draft, ask.tenant, ask.agent, record)
    if not good:
        failed(draft, ask)
    record = replace(
        record,
        seen_at=draft.now,
        failures=0 if good else record.failures + 1,
        done=record.done + good,
        failed=record.failed + (not good),
        quality_milli=record.quality_milli + (0 if quality is None else round(quality * 1000)),
        quality_count=record.quality_count + (quality is not None),
        held=record.held + (0 if cost is None else ask.asked or held),
        cost=record.cost + (cost or 0),
        assumed=record.assumed + (held if told is None else 0),
        doubted=record.doubted + (told or 0 if cost is None else 0),
        overrun=record.overrun + (0 if ask.held is None else max(0, (cost or 0) - held)),
        estimated_ms=record.estimated_ms + (0 if latency is None else ask.estimated_ms),
        taken_ms=record.taken_ms + (0 if latency is None else round(latency)),
        lately=lately_of(record),
    )
    if draft.rules.kills.automatic:
        record = spent(draft, ask, record, held if told is None else told)
    draft.put(key, record)
    return record


def _ran_unasked(draft: Draft, event: Telemetry, what: str) -> None:
    if event.kind != "cancelled":
        text = f"It reports that it ran ask {event.request_id}, {what}."
        ran_unasked(draft, event.tenant, event.agent, event.request_id, text)


def _apply_policies(draft: Draft, ask: Ask, event: Telemetry) -> None:
    """What is done cannot be blocked or put off: such a policy alerts; `escalate` calls a person."""
    agent = draft.get(AGENTS, agent_key(ask.tenant, ask.agent))
    record = draft.get(RECORDS, record_key(ask.tenant, ask.agent))
    weighed = evaluate(draft, "telemetry", telemetry_view(draft, event, ask, agent, record))
    seed = (ask.request_id, event.event_id)
    tell(draft, weighed, ask.tenant, ask.request_id, seed)
    if weighed.steering is not None and weighed.steering.action == ESCALATE:
        telemetry_policy(draft, ask, event, weighed.steering)
    blocks = [matched for matched in weighed.reported if matched.action == BLOCK and not matched.shadow]
    for matched in blocks[:NOTICES_MAX]:
        text = f"Policy {matched.name} would block what ask {ask.request_id} reports as {event.kind}."
        alert(
            draft,
            ask.tenant,
            "policy_notice",
            text,
            dedupe=matched.name,
            seed=(matched.name, NOTIFY, *seed),
            subject=ask.request_id,
        )
