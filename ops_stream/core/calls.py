"""Whether an ask must wait for a person, and why.

A policy, an irreversible effect and what is unsure call at every look that no person has answered; cost, words,
priority and loops call once, and not again about an ask that a person has approved or edited.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace as replace_row

from ops_stream.core import loops, unsure
from ops_stream.core.effects import why_irreversible
from ops_stream.core.policy import ESCALATE
from ops_stream.core.rules_effects import IRREVERSIBLE
from ops_stream.core.rules_escalations import Severity, Trigger
from ops_stream.core.rules_model import PolicyMatch
from ops_stream.core.words import clip, dollars

if TYPE_CHECKING:
    from ops_stream.contract.models import TaskRequest
    from ops_stream.core.look import Look
    from ops_stream.core.rows import Unsure

SEVERITIES: Final[tuple[Severity, ...]] = ("info", "warning", "critical")
"""From the least to the most."""
UNSEEN: Final = frozenset(("first", "again", "released", "let_in", "let_in_batched"))
"""Stages of an ask that no person has seen."""


@dataclass(frozen=True, slots=True)
class Call:
    """What calls for a person."""

    trigger: str
    """The strongest reason, by its name on the wire, as in `policy:NAME`."""
    triggers: tuple[str, ...]
    """All of them, the strongest first."""
    severity: Severity
    """The highest of all that called."""
    advice: str
    """What the supervisor would do, and why."""
    why: str
    """A sentence for the agent."""
    rule: Trigger
    """What an answer must fulfil: the strictest of all that called."""


def call_for(look: Look) -> Call | None:
    """Say whether an ask must wait for a person, and why; None where it need not."""
    escalations = look.draft.rules.escalations
    calls: list[Call] = []
    doubt = unsure.unsure_of(look.draft, look.request)
    if doubt is not None and (look.ask is None or not unsure.may_run(look.draft, look.ask)):
        calls.append(_unsure(look, doubt))
    steering = look.weighed.steering
    if steering is not None and steering.action == ESCALATE:
        calls.append(_policy(look, steering))
    if look.needs_person:
        calls.append(_effect(look))
    if escalations.any_before and look.stage in UNSEEN:
        calls += _triggered(look)
    return _joined(look, calls) if calls else None


def note(look: Look) -> None:
    """Take note of an ask that may run, before it is held, as far as triggers look back at it later."""
    request, by_person = look.request, look.stage not in UNSEEN
    for name, rule in look.draft.rules.escalations.before_for(request.tenant):
        task = look.purse.task
        if name == "loop":
            loops.admitted(look.draft, request, task, rule, by_person=by_person)
        elif name == "cost" and by_person and rule.cost_micros:
            reached = (task.used + look.hold) // rule.cost_micros
            if reached > task.row.passed:
                task.row = replace_row(task.row, passed=reached)


def _joined(look: Look, calls: list[Call]) -> Call:
    """Put all that calls into one: the first is named, the strictest demands hold."""
    first, rules = calls[0], [call.rule for call in calls]
    severity = max((call.severity for call in calls), key=SEVERITIES.index)
    times = [rule.ttl_s for rule in rules if rule.ttl_s is not None]
    lenient = all(rule.on_expiry == "approve" for rule in rules) and look.nature.effective != IRREVERSIBLE
    escalations = look.draft.rules.escalations
    return Call(
        trigger=first.trigger,
        triggers=tuple(call.trigger for call in calls),
        severity=severity,
        advice=" ".join([first.advice, *(f"Besides: {call.why}" for call in calls[1:])]),
        why=" ".join(call.why for call in calls),
        rule=replace(
            first.rule,
            severity=severity,
            quorum=max(escalations.quorum(rule, severity) for rule in rules),
            roles=frozenset().union(*(rule.roles for rule in rules)),
            ttl_s=min(times, default=None),
            on_expiry="approve" if lenient else "deny",
        ),
    )


def _one(name: str, rule: Trigger, why: str, advice: str, severity: Severity | None = None) -> Call:
    return Call(name, (name,), severity or rule.severity, advice, why, rule)


def _unsure(look: Look, row: Unsure) -> Call:
    """Nobody knows whether the same was done already. No policy and no setting lets it run without a person."""
    rule = look.draft.rules.escalations.trigger("unknown_outcome", look.request.tenant) or Trigger(on=True)
    asked = f"ask {row.asks[-1]} of agent {row.agent}" if row.asks else f"an ask of agent {row.agent}"
    return _one(
        unsure.TRIGGER,
        replace(rule, on_expiry="deny"),
        f"Nobody knows whether the same was done already, by {asked}: a person decides.",
        f"Find out whether {asked} was done; approve only if it was not, or if doing it twice does no harm.",
        "critical" if row.effect == IRREVERSIBLE else None,
    )


def _policy(look: Look, policy: PolicyMatch) -> Call:
    rule = look.draft.rules.escalations.trigger("policy", look.request.tenant) or Trigger(on=True)
    given = policy.parameters.get("severity")
    advice = policy.parameters.get("recommendation")
    return _one(
        f"policy:{policy.name}",
        rule,
        f"Policy {policy.name} wants a person to decide.",
        advice if isinstance(advice, str) else f"Deny, because of policy {policy.name}.",
        given if given in SEVERITIES else None,
    )


def _effect(look: Look) -> Call:
    rule = look.draft.rules.escalations.trigger("effect", look.request.tenant) or Trigger(on=True)
    why = why_irreversible(look.draft, look.request, look.nature)
    return _one(
        "effect:irreversible",
        rule,
        f"What is asked cannot be taken back ({clip(why, 300)}): a person decides.",
        "Approve only what may stay done: it cannot be taken back.",
    )


def _triggered(look: Look) -> list[Call]:
    """Give what calls beside policies and effects; on the hot path, where most often nothing does."""
    calls: list[Call] = []
    request, task = look.request, look.purse.task
    for name, rule in look.draft.rules.escalations.before_for(request.tenant):
        if name == "cost":
            if (task.used + look.hold) // rule.cost_micros > task.row.passed:
                calls.append(_cost(look, rule))
        elif name == "words":
            if rule.words is not None:
                calls += [_words(rule, *found) for found in rule.words.find(_texts(request))]
        elif name == "priority":
            if request.priority >= rule.priority_at_least or request.customer_impact in rule.impacts:
                calls.append(_priority(request, rule))
        elif name == "loop":
            calls += _loop(look, rule)
    return calls


def _cost(look: Look, rule: Trigger) -> Call:
    step, total = rule.cost_micros, look.purse.task.used + look.hold
    reached = total // step
    return _one(
        "cost",
        rule,
        f"With this ask, task {look.request.task_id} comes to {dollars(total)}; a person decides from "
        f"{dollars(reached * step)} on.",
        f"Approve if the task is worth it, else ask for smaller steps: with this ask it comes to "
        f"{dollars(total)}. The next question comes at {dollars((reached + 1) * step)}.",
    )


def _words(rule: Trigger, kind: str, word: str) -> Call:
    word = clip(word, 100)
    return _one(
        f"words:{kind}",
        rule,
        f"The ask speaks of {kind} matters ({word!r}): a person decides.",
        f"Read it before it runs, because of the word {word!r}; approve it if nobody is bound or harmed by it.",
    )


def _texts(request: TaskRequest) -> list[str]:
    """Give what an ask says in words: its description, its tool, its tags and the texts of its arguments.

    All of it is searched: an ask is at most as large as an input may be, and padding must hide nothing.
    """
    texts = [request.task_description, request.tool or "", *request.tags]
    waiting: list[Any] = [request.arguments] if request.arguments else []
    while waiting:
        value = waiting.pop()
        kind = type(value)
        if kind is str:
            texts.append(value)
        elif kind is dict:
            waiting += value.values()
        elif kind is list:
            waiting += value
    return texts


def _priority(request: TaskRequest, rule: Trigger) -> Call:
    what = f"priority {request.priority} and customer impact {request.customer_impact}"
    return _one(
        "priority",
        rule,
        f"The ask has {what}: a person decides.",
        f"Approve if it is as urgent as it says, and right for the customer: it has {what}.",
    )


def _loop(look: Look, rule: Trigger) -> list[Call]:
    calls: list[Call] = []
    request, draft = look.request, look.draft
    tries = loops.tries_with(draft, request, rule) if rule.repeats else 0
    if rule.repeats and tries >= rule.repeats:
        what = (
            f"this is try {tries} in a row of agent {request.agent} at {request.task_type} of task "
            f"{request.task_id}, each after the one before had ended without success"
        )
        advice = f"Deny, and look at what fails: {what}. An approval gives it {rule.repeats} more tries."
        calls.append(_one("loop:repeat", rule, f"This looks like a loop: {what}.", advice))
    count, other = loops.handovers_with(draft, request, look.purse.task, rule) if rule.handovers else (0, "")
    if rule.handovers and count >= rule.handovers:
        what = f"agents {other} and {request.agent} have handed task {request.task_id} to each other {count} times"
        advice = f"Deny, and say who does it: {what}. An approval lets them hand it over as often again."
        calls.append(_one("loop:handover", rule, f"This looks like a loop: {what}.", advice))
    return calls
