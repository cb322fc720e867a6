"""Escalations: opened for a person, ended by people, by their expiry, or because their ask is gone.

What waits for a person is an ask (`open_for_ask`) or something that has happened already (`call_person`). Every change
of an escalation goes through here and is published.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Raw
from msgspec.structs import replace

from ops_stream.contract.clocktext import format_time, parse_time
from ops_stream.core.draft import Draft
from ops_stream.core.escalation_events import find, publish
from ops_stream.core.escalation_folding import fold_of_call, folded, forget, joins, remember
from ops_stream.core.escalation_ladder import climbed, due_at, worse
from ops_stream.core.ids import derived_id
from ops_stream.core.inputs import RECORD_INPUTS
from ops_stream.core.kills import kill_on
from ops_stream.core.kpis import resolved
from ops_stream.core.notices import alert
from ops_stream.core.rows import (
    ASKS,
    FIRINGS,
    Ask,
    EscalationRow,
    EscalationState,
    Firing,
    ask_key,
    encode_row,
)
from ops_stream.core.rules_effects import IRREVERSIBLE
from ops_stream.core.rules_escalations import Trigger
from ops_stream.core.words import clip

if TYPE_CHECKING:
    from ops_stream.core.calls import Call
    from ops_stream.core.look import Look

CALLS_MAX: Final = 100_000
"""Escalations of a partition beyond which nobody is called about what has happened; asks have a limit of their own."""
CALL_BYTES_MAX: Final = 67_108_864
"""What the escalations of a partition may take before that is so."""
CALL_TEXT_MAX: Final = 1_000
REMIND_MS: Final = 3_600_000


def open_for_ask(draft: Draft, look: Look, ask: Ask, call: Call, fold: str) -> Ask:
    """Let an ask wait for a person: it joins the escalation of those that are the same, or opens one.

    `fold` is the key by which more of the same finds it (`fold_of_ask`). Nothing is held while it waits.
    """
    request = look.request
    if ask.escalation:
        finish(draft, ask, "asked_again")
    ask = replace(ask, phase="escalated", until=0, escalation="", approved_by=())
    ask = replace(ask, request=Raw(encode_row(request.wire())))
    same = joins(draft, request, fold)
    if same is not None:
        return _join(draft, *same, ask, look, call)
    rule = call.rule
    ttl_s = draft.rules.supervisor.escalation_ttl_s if rule.ttl_s is None else rule.ttl_s
    expires = draft.now + ttl_s * 1000
    if request.deadline is not None:
        expires = min(expires, parse_time(request.deadline))
    row = EscalationRow(
        tenant=ask.tenant,
        status="open",
        until=expires,
        opened_at=draft.now,
        expires=expires,
        trigger=clip(call.trigger, 256),
        severity=call.severity,
        summary=clip(f"Agent {ask.agent} asks: {request.task_description}"),
        recommendation=clip(call.advice),
        rules=ask.answer.rules,
        request_id=ask.request_id,
        agent=ask.agent,
        waiting=True,
        stake=look.hold,
        digest=ask.answer.digest or ask.digest,
        triggers=_named(call.triggers),
        quorum=rule.quorum,
        roles=tuple(sorted(rule.roles)),
        on_expiry="deny" if look.nature.effective == IRREVERSIBLE else rule.on_expiry,
        blocking=draft.rules.blocking_digest,
    )
    id_ = free_id(draft, ask.tenant, ask.request_id, ask.answer.sequence)
    ask = _waits(draft, ask, id_, row, "")  # publishing shows the ask by its row
    open_row(draft, id_, row, fold)
    return ask


def call_person(
    draft: Draft,
    *,
    trigger: str,
    tenant: str,
    agent: str,
    request_id: str,
    subject: str,
    summary: str,
    recommendation: str,
    stake: int | None,
    digest: str,
    rule: Trigger,
) -> str:
    """Call a person about what has happened; no ask waits for the answer. Gives the escalation, if any is open.

    What is the same (tenant, trigger, and agent or else subject) folds into the escalation that is open already.
    `agent`, `request_id`, `subject` and `digest` are empty and `stake` (micro-dollars) is None where there is none.
    """
    fold = fold_of_call(tenant, trigger, agent or subject)
    known = folded(draft, fold)
    if known is not None:
        _count(draft, *known, rule, stake)
        return known[0]
    if _full(draft):
        _tell_full(draft)
        return ""
    ttl_s = draft.rules.supervisor.escalation_ttl_s if rule.ttl_s is None else rule.ttl_s
    row = EscalationRow(
        tenant=tenant,
        status="open",
        until=draft.now + ttl_s * 1000,
        opened_at=draft.now,
        expires=draft.now + ttl_s * 1000,
        trigger=clip(trigger, 256),
        severity=rule.severity,
        summary=clip(summary, CALL_TEXT_MAX),
        recommendation=clip(_advice(recommendation, agent, rule), CALL_TEXT_MAX),
        rules=draft.rules.digest,
        request_id=request_id,
        agent=agent,
        subject=clip(subject, 256),
        stake=stake,
        digest=digest,
        quorum=draft.rules.escalations.quorum(rule, rule.severity),
        roles=tuple(sorted(rule.roles)),
        suspends=rule.deny_suspends and agent != "",
        blocking=draft.rules.blocking_digest,
    )
    id_ = free_id(draft, tenant, trigger, agent, subject, request_id)
    open_row(draft, id_, row, fold)
    return id_


def close(draft: Draft, escalation_id: str, row: EscalationRow, status: EscalationState) -> EscalationRow:
    """End an open escalation for good: nothing that waited for it runs.

    It is remembered so that a late answer can be told so.
    """
    forget(draft, row)
    later = draft.now + draft.rules.supervisor.remember_s * 1000
    outcome = "not_run" if row.waiting else ""
    row = replace(row, status=status, fold="", stage="done", outcome=outcome, until=later, ended_at=draft.now)
    resolved(draft, row)
    return _shrunk(draft, escalation_id, publish(draft, escalation_id, row))


def let_go(draft: Draft, escalation_id: str, row: EscalationRow, status: EscalationState) -> EscalationRow:
    """End an open escalation whose ask may go on: how that ends is told once it has (`finish`)."""
    forget(draft, row)
    row = replace(row, status=status, fold="", asks=(), stage="decided", until=0)
    resolved(draft, row)
    return publish(draft, escalation_id, row)


def finish(draft: Draft, ask: Ask, outcome: str, cost: int | None = None) -> None:
    """Tell how an ask ended that an escalation let go on; a late report mends what was told.

    `outcome` is completed, failed, cancelled, revoked, unknown, not_run, or asked_again where people are asked once
    more; `cost` is in micro-dollars.
    """
    row = find(draft, ask.escalation)
    if row is not None and row.outcome == "revoked" and outcome == "cancelled":
        outcome = "revoked"  # that is what the agent reports of it
    if row is None or row.status == "open" or (row.outcome, row.cost) == (outcome, cost):
        return
    later = draft.now + draft.rules.supervisor.remember_s * 1000
    row = replace(row, stage="done", outcome=outcome, cost=cost, ended_at=draft.now, until=later)
    row = publish(draft, ask.escalation, row)
    if outcome not in ("unknown", "revoked"):  # a late report may still mend these
        _shrunk(draft, ask.escalation, row)


def withdraw(draft: Draft, ask: Ask) -> None:
    """Take an ask that waits for a person, and no longer will, out of its escalation.

    Where it is the one shown, the next of those that are the same is shown, and what was said is not said of that.
    Those that a kill switch stops too are not shown any more: its sweep comes to them.
    """
    escalation_id = ask.answer.escalation
    row = find(draft, escalation_id)
    if row is None or row.status != "open":
        return
    if ask.request_id != row.request_id:
        others = tuple(other for other in row.asks if other != ask.request_id)
        publish(draft, escalation_id, replace(row, asks=others))
        return
    for other in row.asks:
        waiting = draft.get(ASKS, ask_key(row.tenant, other))
        if waiting is not None and waiting.phase == "escalated" and not _killed(draft, waiting):
            left = tuple(name for name in row.asks if name != other)
            _show(draft, escalation_id, replace(row, asks=left), waiting)
            return
    close(draft, escalation_id, row, "withdrawn")


def show_anew(draft: Draft, escalation_id: str, row: EscalationRow, look: Look) -> None:
    """Show an ask again under the present rules; what was said under others is not said of this."""
    row = replace(row, rules=draft.rules.digest, blocking=draft.rules.blocking_digest, votes=(), resolvers=())
    call = look.call
    if call is not None:
        row = stricter(row, look, call)
        row = replace(row, trigger=clip(call.trigger, 256), triggers=_named(call.triggers), stake=look.hold)
        row = replace(row, recommendation=clip(call.advice))
    publish(draft, escalation_id, row)


def climb(draft: Draft, escalation_id: str, row: EscalationRow) -> None:
    """Let an open escalation go to the level that it has reached; people are told where that is a new one."""
    higher = climbed(draft, row)
    if higher.level > row.level:
        publish(draft, escalation_id, higher)
    else:
        draft.put(f"escalation/{escalation_id}", higher)


def open_row(draft: Draft, escalation_id: str, row: EscalationRow, fold: str) -> None:
    first = draft.rules.escalations.ladder(row.tenant)[0]
    row = replace(row, severity=worse(row.severity, first.severity), until=due_at(draft, row))
    publish(draft, escalation_id, remember(draft, escalation_id, row, fold))


def _join(draft: Draft, escalation_id: str, row: EscalationRow, ask: Ask, look: Look, call: Call) -> Ask:
    """Let an ask wait with those that are the same; the strictest of what each demands holds for all."""
    ask = _waits(
        draft, ask, escalation_id, row, f" It is the same as ask {row.request_id}, which waits already."
    )
    row = stricter(row, look, call)
    row = replace(
        row,
        count=row.count + 1,
        asks=(*row.asks, ask.request_id),
        triggers=_named((*(row.triggers or (row.trigger,)), *call.triggers)),
    )
    publish(draft, escalation_id, row)
    return ask


def stricter(row: EscalationRow, look: Look, call: Call) -> EscalationRow:
    """Add the demands of a call: nothing that was demanded before is let off."""
    rule = call.rule
    strict = rule.on_expiry == "deny" or look.nature.effective == IRREVERSIBLE
    return replace(
        row,
        severity=worse(row.severity, call.severity),
        quorum=max(row.quorum, rule.quorum),
        roles=tuple(sorted({*row.roles, *rule.roles})),
        on_expiry="deny" if strict else row.on_expiry,
    )


def _waits(draft: Draft, ask: Ask, escalation_id: str, row: EscalationRow, same: str) -> Ask:
    """Put the escalation that an ask waits for into its answer, and write it."""
    answer = ask.answer
    until = format_time(row.expires)
    explanation = f"{answer.explanation}{same} Escalation {escalation_id} is open until {until}."
    answer = replace(
        answer, escalation=escalation_id, explanation=explanation, recommendation=row.recommendation
    )
    ask = replace(ask, answer=answer)
    draft.put(ask_key(ask.tenant, ask.request_id), ask)
    return ask


def _killed(draft: Draft, ask: Ask) -> bool:
    return kill_on(draft, ask.tenant, ask.agent, ask.workflow, ask.model) is not None


def _show(draft: Draft, escalation_id: str, row: EscalationRow, ask: Ask) -> None:
    digest = ask.answer.digest or ask.digest
    row = replace(row, request_id=ask.request_id, digest=digest, votes=(), resolvers=())
    publish(draft, escalation_id, row)


def _count(draft: Draft, escalation_id: str, row: EscalationRow, rule: Trigger, stake: int | None) -> None:
    """Count one more of the same, and tell of it each time at first, later at every tenth, hundredth and so on."""
    count = row.count + 1
    stakes = [one for one in (row.stake, stake) if one is not None]
    row = replace(
        row, count=count, severity=worse(row.severity, rule.severity), stake=max(stakes, default=None)
    )
    if count % 10 ** (len(str(count)) - 1) == 0:
        publish(draft, escalation_id, row)
    else:
        draft.put(f"escalation/{escalation_id}", row)


def free_id(draft: Draft, tenant: str, *seed: str | int) -> str:
    """Give the id of a new escalation, which is also its nonce: no verdict on an earlier one is one on this."""
    input_ = draft.input
    at: tuple[str | int, ...] = (draft.now,)
    if isinstance(input_, RECORD_INPUTS):
        at = (*at, input_.origin.topic, input_.origin.partition, input_.origin.offset)
    number = 0
    while True:
        found = derived_id("esc_", tenant, *seed, *at, number)
        if find(draft, found) is None:
            return found
        number += 1


def _named(triggers: tuple[str, ...]) -> tuple[str, ...]:
    """Give each trigger once, in order, as long as a name may be; nothing where there is only one."""
    names = tuple(dict.fromkeys(clip(name, 256) for name in triggers))
    return names[:100] if len(names) > 1 else ()


def _advice(recommendation: str, agent: str, rule: Trigger) -> str:
    if not rule.deny_suspends or not agent:
        return recommendation
    return f"{recommendation} A denial suspends agent {agent} until a person reinstates it."


def _shrunk(draft: Draft, escalation_id: str, row: EscalationRow) -> EscalationRow:
    """Keep of what is over only what a late answer is told by."""
    row = replace(row, summary="", recommendation="", asks=(), votes=(), triggers=())
    draft.put(f"escalation/{escalation_id}", row)
    return row


def _full(draft: Draft) -> bool:
    state = draft.state
    return state.counts["escalation/"] >= CALLS_MAX or state.escalation_bytes >= CALL_BYTES_MAX


def _tell_full(draft: Draft) -> None:
    """Say once an hour that nobody is called any more."""
    key = "alert/escalations_full"
    firing = draft.get(FIRINGS, key)
    if firing is not None and draft.now - firing.since < REMIND_MS:
        return
    text = "So many escalations are open or remembered that nobody is called about more; answer those that are open."
    where = f"partition {draft.state.partition}"
    id_ = alert(
        draft,
        "default",
        "escalations_full",
        text,
        dedupe=where,
        seed=(where, draft.now),
        severity="critical",
    )
    draft.put(key, Firing(draft.now, id_))
