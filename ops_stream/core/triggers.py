"""What calls a person after it has happened. Whether an ask waits is `ops_stream.core.calls`'s matter.

Each function does nothing where its trigger is off for the tenant. What is the same of the same agent folds into
the escalation that is open already.
"""

from __future__ import annotations

from dataclasses import replace

from ops_stream.contract.models import Telemetry
from ops_stream.core import loops
from ops_stream.core.budgets_scope import Scope
from ops_stream.core.calls import SEVERITIES
from ops_stream.core.draft import Draft
from ops_stream.core.escalation import call_person
from ops_stream.core.rows import Ask, Record
from ops_stream.core.rows_retries import NextStep
from ops_stream.core.rules_escalations import Severity, Trigger, TriggerName
from ops_stream.core.rules_lifecycle import Violation
from ops_stream.core.rules_model import PolicyMatch
from ops_stream.core.words import clip


def rule_for(
    draft: Draft, name: TriggerName, tenant: str, severity: Severity | None = None
) -> Trigger | None:
    """Give a trigger that is on for a tenant, with the quorum that its severity (or the one given) demands."""
    rule = draft.rules.escalations.trigger(name, tenant)
    return None if rule is None else rule_with(draft, rule, severity)


def rule_with(draft: Draft, rule: Trigger, severity: Severity | None = None) -> Trigger:
    """Give a trigger with the quorum that its severity (or the one given) demands."""
    severity = severity or rule.severity
    return replace(rule, severity=severity, quorum=draft.rules.escalations.quorum(rule, severity))


def reported(draft: Draft, before: Ask, event: Telemetry, record: Record | None) -> None:
    """Look at a report that ends an ask: the agent's failures in a row, the quality, and tries in vain.

    `before` is the ask as it was, `record` the agent's as the report leaves it; None where the agent is not known.
    """
    if not draft.rules.escalations.triggers:
        return
    well = event.kind == "completed" and event.success is not False
    if before.answer.decision == "approved" or (well and before.answer.decision == "revoked"):
        tried(draft, before, well=well)  # a revoked one has been counted when it was lost
    if event.kind == "cancelled":
        return
    if record is not None and not well:
        _failures(draft, before, event, record)
    if event.quality_score is not None:
        _quality(draft, before, event, event.quality_score)


def tried(draft: Draft, ask: Ask, *, well: bool) -> None:
    """Take note that an admitted ask has ended, where loops call a person."""
    rule = draft.rules.escalations.trigger("loop", ask.tenant)
    if rule is not None:
        loops.ended(draft, ask, rule, well=well)


def _failures(draft: Draft, ask: Ask, event: Telemetry, record: Record) -> None:
    on = draft.rules.escalations.trigger("failures", ask.tenant)
    if on is None or record.failures % on.in_a_row:
        return
    rule = rule_with(draft, on)
    error = f" Its last error: {clip(event.error, 300)}" if event.error else ""
    _call(
        draft,
        "failures",
        rule,
        ask,
        summary=f"Agent {ask.agent} has failed {record.failures} times in a row, last at ask {ask.request_id}."
        f"{error}",
        advice=f"Find out why agent {ask.agent} fails, and quarantine it if it cannot be helped.",
        stake=event.cost_micros,
    )


def _quality(draft: Draft, ask: Ask, event: Telemetry, score: float) -> None:
    on = draft.rules.escalations.trigger("quality", ask.tenant)
    if on is None or score > on.at_most_milli / 1000:
        return
    rule = rule_with(draft, on)
    _call(
        draft,
        "quality",
        rule,
        ask,
        summary=f"Agent {ask.agent} reports ask {ask.request_id} with a quality of {score:.3g}.",
        advice="Look at the result before anybody relies on it, and have it done again if it is no good.",
        stake=event.cost_micros,
    )


def telemetry_policy(draft: Draft, ask: Ask, event: Telemetry, policy: PolicyMatch) -> None:
    """A policy on reports calls a person."""
    given = policy.parameters.get("severity")
    rule = rule_for(draft, "policy", ask.tenant, given if given in SEVERITIES else None)
    if rule is None:
        return
    advice = policy.parameters.get("recommendation")
    _call(
        draft,
        f"policy:{policy.name}",
        rule,
        ask,
        summary=f"Agent {ask.agent} reports {event.kind} for ask {ask.request_id}.",
        advice=advice if isinstance(advice, str) else f"Look into it, because of policy {policy.name}.",
        stake=event.cost_micros,
    )


def soft_limit(draft: Draft, tenant: str, scope: Scope, percent: int) -> None:
    """A budget has reached so many percent of its soft limit."""
    rule = rule_for(draft, "soft_limit", tenant)
    limit = scope.soft
    if rule is None or limit is None:
        return
    what = f"{scope.what}{scope.for_window}"
    call_person(
        draft,
        trigger="soft_limit",
        tenant=tenant,
        agent="",
        request_id="",
        subject=f"{what} ({scope.unit})",
        summary=f"The soft limit of {what}, {scope.say(limit.limit_micros)}, has reached {percent} %: held "
        f"{scope.say(scope.held)}, unknown {scope.say(scope.unknown)}, spent {scope.say(scope.spent)}.",
        recommendation="Nothing is refused for it. See who spends, and set a hard limit if this must end: "
        "ops-stream budgets set",
        stake=scope.used if scope.unit == "usd" else None,
        digest="",
        rule=rule,
    )


def violation(
    draft: Draft, tenant: str, agent: str, kind: Violation, request_id: str, what: str, *, major: bool
) -> None:
    """An agent has done something against the rules."""
    rule = rule_for(draft, "violation", tenant)
    if rule is None or ("major" if major else "minor") not in rule.weights:
        return
    call_person(
        draft,
        trigger="violation",
        tenant=tenant,
        agent=agent,
        request_id=request_id,
        subject=kind,
        summary=f"Agent {agent}, {kind}: {what}",
        recommendation=f"Look at what it did before agent {agent} goes on: ops-stream agents {agent}",
        stake=None,
        digest="",
        rule=rule,
    )


def unknown_outcome(draft: Draft, ask: Ask, why: str) -> None:
    """An ask was taken from its agent, and nobody knows whether it was done. `ask` is as it was before."""
    tried(draft, ask, well=False)
    _unknown(draft, ask, why)


def unknown_of_report(draft: Draft, ask: Ask, event: Telemetry) -> str:
    """A report says that nobody knows whether an ask was done; gives the escalation, if a person is called."""
    error = clip(event.error or event.error_class or "", 300)
    return _unknown(draft, ask, f"Its report: {error}" if error else "So it reports.")


def exhausted(draft: Draft, ask: Ask, event: Telemetry, step: NextStep, *, always: bool) -> str:
    """No attempt at an ask is left; gives the escalation, if a person is called.

    One is called for what weighs much, by its impact on customers or its effect, and where the plan says so (`always`).
    """
    rule = rule_for(draft, "retries_exhausted", ask.tenant)
    effects = {ask.effect, draft.rules.effects.effective(ask.effect)}
    if rule is None or not (always or ask.impact in rule.impacts or effects & rule.effects):
        return ""
    error = f" Its last error: {clip(event.error, 300)}" if event.error else ""
    ended = (
        f"Ask {ask.request_id} of agent {ask.agent} has failed at attempt {step.attempt} of "
        f"{step.max_attempts} ({step.error_class}), and is not tried again."
    )
    advice = "Have it done in another way, or say that it is not needed; the agent waits for neither."
    if step.error_class == "unknown_outcome":
        ended = f"Nobody knows whether ask {ask.request_id} of agent {ask.agent} was done, and it changes something."
        advice = (
            "Find out whether it was done. Asked for again it waits for a person; the agent does not wait."
        )
    return _call(draft, "retries_exhausted", rule, ask, summary=ended + error, advice=advice, stake=ask.held)


def _unknown(draft: Draft, ask: Ask, why: str) -> str:
    rule = rule_for(draft, "unknown_outcome", ask.tenant)
    if rule is None or ask.effect not in rule.effects:
        return ""
    return _call(
        draft,
        "unknown_outcome",
        rule,
        ask,
        summary=f"Nobody knows whether ask {ask.request_id} of agent {ask.agent} was done. {why}",
        advice="Find out whether it was done before it is asked for again; what it held counts as unknown until "
        "then.",
        stake=ask.held,
    )


def _call(
    draft: Draft, trigger: str, rule: Trigger, ask: Ask, *, summary: str, advice: str, stake: int | None
) -> str:
    return call_person(
        draft,
        trigger=trigger,
        tenant=ask.tenant,
        agent=ask.agent,
        request_id=ask.request_id,
        subject="",
        summary=summary,
        recommendation=advice,
        stake=stake,
        digest=ask.answer.digest or ask.digest,
        rule=rule,
    )
