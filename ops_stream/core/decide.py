"""One look at an ask and what follows from it: approved, denied, escalated or queued."""

from __future__ import annotations

from typing import Final

from msgspec import Raw
from msgspec.structs import replace

from ops_stream.contract.models import TaskRequest
from ops_stream.contract.reasons import Reason
from ops_stream.core.agents import activate
from ops_stream.core.approvals import emit_answer
from ops_stream.core.batch_price import percent_of
from ops_stream.core.batch_windows import next_release
from ops_stream.core.budgets import charge, use_model
from ops_stream.core.calls import note
from ops_stream.core.checks import Finding, examine_observed
from ops_stream.core.circuit import tried
from ops_stream.core.draft import Draft
from ops_stream.core.escalation import open_for_ask
from ops_stream.core.escalation_folding import crowded, fold_of_ask
from ops_stream.core.kpis import asked
from ops_stream.core.leases import lease_ms
from ops_stream.core.lines import end
from ops_stream.core.load_changes import began, left
from ops_stream.core.load_gates import gates_of, line_of, take
from ops_stream.core.load_lines import line_up
from ops_stream.core.look import Look, Stage, is_observed
from ops_stream.core.optimization_arms import admitted_on_sides
from ops_stream.core.optimization_looks import look_to_decide
from ops_stream.core.policy import NOTHING as NOTHING_DEMANDED
from ops_stream.core.policy import tell
from ops_stream.core.retries import planned
from ops_stream.core.retries_budget import let_in, provider_of, put_off
from ops_stream.core.rows import NOTHING, Answer, Ask, Decided, encode_row
from ops_stream.core.unsure import action_to_watch, let_run
from ops_stream.core.windows import admitted
from ops_stream.core.words import clip, dollars

_APPROVED: Final[dict[Stage, Reason]] = {
    "first": Reason.APPROVED,
    "reviewed": Reason.APPROVED_AFTER_REVIEW,
    "edited": Reason.APPROVED_WITH_CHANGES,
    "again": Reason.APPROVED,
    "released": Reason.APPROVED,
    "released_after_review": Reason.APPROVED_WITH_CHANGES,
    "let_in": Reason.APPROVED,
    "let_in_batched": Reason.APPROVED,
    "let_in_reviewed": Reason.APPROVED_AFTER_REVIEW,
    "let_in_edited": Reason.APPROVED_WITH_CHANGES,
}


def decide(
    draft: Draft,
    key: str,
    request: TaskRequest,
    stage: Stage,
    ask: Ask,
    sequence: int,
    digest: str = "",
) -> None:
    """Look at an ask and put what follows in force.

    `ask` is its row so far (a bare one at the first look), `digest` that of a request that a person edited.
    """
    if draft.watch is not None:
        draft.watch(draft, request, stage, ask)
    look, finding = look_to_decide(draft, request, stage, ask)
    fold = ""
    if finding is not None and finding.reason is Reason.ESCALATED:
        fold = fold_of_ask(request)
        crowd = crowded(draft, request, fold)
        finding = finding if crowd is None else Finding(Reason.OVERLOADED, crowd)
    observed = is_observed(draft, request)
    if observed:
        binding = examine_observed(look, finding)
        if binding is not None:
            finding, observed = binding, False
    answer = _answer(draft, look, finding, observed, sequence, digest, ask)
    if observed:
        look.observe()
    if ask.wait is not None:
        left(draft, ask.tenant, ask.wait)
        ask = replace(ask, wait=None)
    ask = replace(
        ask,
        answer=answer,
        model=look.model,
        effect=look.nature.known,
        depth=look.nature.depth,
        batched=look.batched,
    )
    if answer.decision == "approved":
        ask = _admit(draft, look, ask)
    elif answer.decision == "escalated":
        assert look.call is not None
        ask = open_for_ask(draft, look, ask, look.call, fold)
    elif answer.decision == "queued" and look.lines_up and look.place is not None:
        ask = line_up(draft, look, ask, look.place)
    elif answer.decision == "queued":
        ask = _queue(draft, look, ask)
    else:
        if answer.reason == Reason.RETRIES_EXHAUSTED and answer.retry_at:
            put_off(draft, provider_of(draft, look.model))
        ask = end(draft, ask)
    draft.put(key, ask)
    emit_answer(draft, ask)
    asked(draft, ask, first=stage == "first")
    weighed = look.reported
    if weighed is not None and stage in ("first", "edited") and (weighed.notify or weighed.faults):
        tell(draft, weighed, ask.tenant, ask.request_id, (ask.request_id, sequence))


def _answer(
    draft: Draft,
    look: Look,
    finding: Finding | None,
    observed: bool,
    sequence: int,
    digest: str,
    ask: Ask,
) -> Answer:
    changed = digest not in ("", ask.digest)
    approved = Reason.APPROVED_WITH_CHANGES if changed else _APPROVED[look.stage]
    recommendation = ""
    if finding is None:
        decision: Decided = "approved"
        reason, explanation = approved, _obligations(look)
        if look.stage != "first":
            explanation = f"{_said(look.stage, ask)} {explanation}".strip()
    else:
        decision, reason, explanation = _decision(finding.reason), finding.reason, finding.explanation
        recommendation = _elsewhere(look, finding)
    would: tuple[str, str] = ("", "")
    if observed:
        would = (decision, reason)
        if explanation:
            explanation = f"Observed only; enforced, this ask would be {would[0]}: {explanation}"
        decision, reason, recommendation = "approved", approved, ""
    weighed = look.reported
    return Answer(
        decision=decision,
        reason=reason,
        at=draft.now,
        rules=draft.rules.digest,
        sequence=sequence,
        explanation=clip(explanation),
        digest=digest,
        matched=() if weighed is None else weighed.reported,
        would_decide=would[0],
        would_reason=would[1],
        recommendation=recommendation,
        propensity=_propensity(look) if finding is None and not observed else None,
        retry_at=0 if observed else look.retry_at,
        batch=look.runs_as_batch and finding is None and not observed,
    )


def _propensity(look: Look) -> int | None:
    """Give how probable the choice of the model was; None where chance has no part in it, or a policy chose."""
    route = look.route
    if look.model != look.asked_model:
        return None
    return look.odds if route is None or look.odds is not None else route.propensity


def _said(stage: Stage, ask: Ask) -> str:
    """Say by whose word an ask runs that has waited for people."""
    if ask.approved_by:
        how = "changed and approved" if ask.reviewed == "edit" else "approved"
        return f"{' and '.join(ask.approved_by[:5])} {how} it."
    return "Nobody answered; conf/escalations.yaml approves then." if stage == "reviewed" else ""


def _obligations(look: Look) -> str:
    """Say how its model was chosen, and what policies change about an ask that may run; nothing where neither does."""
    route = look.route
    chosen = "" if route is None else route.sentence
    said = [chosen] if chosen else []
    if look.said:
        said.append(look.said)
    if look.runs_as_batch:
        share = f"{percent_of(look.draft.rules, look.model)} % of the usual one"
        said.append(f"The batch queue has let it out: run it at batch price, {share}.")
    if look.reported is NOTHING_DEMANDED:
        return " ".join(said)
    if look.model != look.asked_model:
        steering = look.weighed.steering
        said.append(f"Policy {steering.name if steering else ''} chose model {look.model}.")
    caps = look.caps
    if caps.names:
        limits = []
        if caps.cost_micros is not None:
            limits.append(dollars(caps.cost_micros))
        if caps.time_ms is not None:
            limits.append(f"{caps.time_ms // 1000} s")
        if caps.tokens is not None:
            limits.append(f"{caps.tokens:,} tokens")
        said.append(f"Capped at {', '.join(limits)} by {', '.join(caps.names)}.")
    return " ".join(said)


def _elsewhere(look: Look, finding: Finding) -> str:
    """Say who may ask, where a policy sends the ask to another agent."""
    weighed = look.reported
    if finding.reason is not Reason.AGENT_NOT_ALLOWED or weighed is None or weighed.rerouting is None:
        return ""
    return f"Ask as agent {weighed.rerouting.parameters['agent']}."


def _decision(reason: Reason) -> Decided:
    if reason is Reason.ESCALATED:
        return "escalated"
    return "queued" if reason is Reason.QUEUED else "denied"


def _admit(draft: Draft, look: Look, ask: Ask) -> Ask:
    """Hold the money and start the lease. An observed ask holds only what fits.

    A cap on the time is the latest end: the first lease is no longer, and no renewal goes beyond it.
    """
    use_model(draft, look.purse, ask.tenant, look.model)
    hold = None if look.purse.lacking(look.hold) is not None else look.hold
    length = lease_ms(look.request.estimated_time_s, draft.rules.supervisor)
    caps = look.caps
    if caps.names:
        length = length if caps.time_ms is None else min(length, caps.time_ms)
        ask = replace(ask, time_cap_ms=caps.time_ms or 0, token_limit=caps.tokens or 0)
    ask = replace(ask, phase="running", lease_ms=length, until=draft.now + length, request=NOTHING)
    if look.agent is not None and look.agent.state == "registered":
        activate(draft, ask.tenant, ask.agent, look.agent)
    if draft.rules.escalations.any_before:
        note(look)
    ask = charge(draft, look.purse, ask, hold, look.estimate)
    tried(draft, ask)
    if draft.rules.load.limited:
        began(draft, ask)
        take(draft, gates_of(draft, ask.tenant, line_of(draft.rules, ask.model)))
    admitted(draft, ask, look.record)
    if look.arms:
        ask = replace(ask, arms=look.arms)
        admitted_on_sides(draft, ask)
    if draft.rules.retries.on:
        action = action_to_watch(draft, look.request, ask.effect)
        plan = planned(draft, look.request, ask.model, ask.arms)
        ask = replace(ask, action=action, answer=replace(ask.answer, retry=plan))
        let_run(draft, ask)
        let_in(draft, ask, look.stage)
    return ask


def _queue(draft: Draft, look: Look, ask: Ask) -> Ask:
    """Put the ask in the batch queue until it is let out. Nothing is held while it waits."""
    not_before = next_release(draft.rules, ask.tenant, draft.now)
    tenant = draft.state.tenants.get(ask.tenant)
    position = (tenant.queued if tenant is not None else 0) + 1
    answer = replace(ask.answer, position=position, not_before=not_before)
    return replace(
        ask, phase="queued", until=not_before, answer=answer, request=Raw(encode_row(look.request.wire()))
    )
