"""The answer to a report of a failure: the permit is over, and this is what to do next.

Steps of workflows get no such answer: `core/workflows_steps.py` tries them again by the same plan.
"""

from __future__ import annotations

from typing import NamedTuple

from msgspec.structs import replace

from ops_stream.contract.clocktext import format_time
from ops_stream.contract.models import Telemetry
from ops_stream.contract.reasons import Reason
from ops_stream.core.approvals import emit_answer, next_answer
from ops_stream.core.draft import Draft
from ops_stream.core.retries import attempts_at, backoff_ms, fallbacks, plan_of, ways_after
from ops_stream.core.retries_budget import provider_of, put_off, room_at
from ops_stream.core.retries_classes import classed
from ops_stream.core.rows import ASKS, Ask
from ops_stream.core.rows_retries import ErrorClass, NextStep
from ops_stream.core.rules_retries import Plan
from ops_stream.core.triggers import exhausted, unknown_of_report
from ops_stream.core.workflows_agents import Agents


class Again(NamedTuple):
    """With what to try again; both are empty for the same."""

    model: str = ""
    agent: str = ""


def is_failure(event: Telemetry) -> bool:
    """Say whether a report ends an ask without success; what was given up has not failed."""
    return event.kind == "failed" or (event.kind == "completed" and event.success is False)


def answer_failure(draft: Draft, key: str, before: Ask, event: Telemetry) -> None:
    """Answer a report of a failure, if it is of an ask that was permitted; `before` is its row before the report."""
    if not draft.rules.retries.on or before.step or not is_failure(event) or not _permitted(before):
        return
    ask = draft.get(ASKS, key)
    assert ask is not None
    step, why = _next_step(draft, before, event, classed(draft, before, event))
    answer = next_answer(draft, ask, "revoked", Reason.ATTEMPT_FAILED, why)
    ask = replace(ask, answer=replace(answer, next_step=step))
    draft.put(key, ask)
    emit_answer(draft, ask)


def _permitted(before: Ask) -> bool:
    """Say whether it may be tried again by its agent's own doing: it was let go, and no person has stopped it since."""
    return before.answer.decision == "approved" or before.answer.reason == Reason.LEASE_EXPIRED


def _next_step(draft: Draft, ask: Ask, event: Telemetry, class_: ErrorClass) -> tuple[NextStep, str]:
    """Give what to do next, and a sentence that says so."""
    plan = plan_of(draft, class_)
    attempt, most = ask.retry_count + 1, attempts_at(draft, plan, class_, ask.tenant, ask.arms)
    step = NextStep("give_up", class_, attempt, most)
    if class_ == "unknown_outcome":
        return _unknown(draft, ask, event, step)
    failed = f"Attempt {attempt} of {most} failed ({class_})"
    if attempt >= most:
        return _no_more(draft, ask, event, plan, step, f"{failed}, and no other is left")
    again = _again(draft, ask, plan, attempt)
    if again is None:
        return _no_more(draft, ask, event, plan, step, f"{failed}, and nobody and nothing else may try")
    again, step = _in_time(draft, ask, plan, again, step)
    when = f" from {format_time(step.not_before)} on" if step.not_before else ""
    count = f"with a new request id and a retry_count of {attempt}"
    if again.model:
        step = replace(step, action="retry_model", model=again.model)
        return step, f"{failed}: try again with model {again.model}{when}, {count}."
    if again.agent:
        step = replace(step, action="retry_agent", agent=again.agent)
        what = f"it is registered for {ask.task_type} and free"
        return step, f"{failed}: let agent {again.agent} try it{when}, {count}; {what}."
    return replace(step, action="retry"), f"{failed}: try again{when}, {count}."


def _in_time(draft: Draft, ask: Ask, plan: Plan, again: Again, step: NextStep) -> tuple[Again, NextStep]:
    """Say when to try again: after the wait, and not before the provider takes retries again.

    Where it takes none now, another model is tried if its provider does and the plan tries others at all.
    """
    wait = backoff_ms(plan, step.attempt, ask.tenant, ask.request_id)
    not_before = draft.now + wait if wait else 0
    provider = provider_of(draft, again.model or ask.model)
    room = room_at(draft, provider, ask.tenant, ask.request_id)
    if room > not_before:
        other = _elsewhere(draft, ask, provider) if "model" in plan.ways else ""
        if other:
            return Again(model=other), replace(step, not_before=not_before)
        put_off(draft, provider)
    return again, replace(step, not_before=max(room, not_before))


def _elsewhere(draft: Draft, ask: Ask, provider: str) -> str:
    """Give a fallback at another provider that takes retries now; empty where there is none."""
    for card in fallbacks(draft, ask.tenant, ask.task_type, ask.model):
        free = not room_at(draft, card.provider, ask.tenant, ask.request_id)
        if card.provider != provider and free:
            return card.name
    return ""


def _unknown(draft: Draft, ask: Ask, event: Telemetry, step: NextStep) -> tuple[NextStep, str]:
    """Nobody knows whether it was done: a person is called, and is asked again if the same is asked for again."""
    called = unknown_of_report(draft, ask, event) or exhausted(draft, ask, event, step, always=True)
    told = f" Escalation {called} is open." if called else ""
    why = (
        "Nobody knows whether this was done, and it changes something: find out. Asked for again, it waits for a "
        f"person.{told}"
    )
    return replace(step, action="escalate", escalation=called), why


def _no_more(
    draft: Draft, ask: Ask, event: Telemetry, plan: Plan, step: NextStep, failed: str
) -> tuple[NextStep, str]:
    called = exhausted(draft, ask, event, step, always=plan.after == "escalate")
    if not called:
        return step, f"{failed}: give it up."
    why = f"{failed}: a person is called by escalation {called}. Do not try again before they have answered."
    return replace(step, action="escalate", escalation=called), why


def _again(draft: Draft, ask: Ask, plan: Plan, attempt: int) -> Again | None:
    """Say with what an ask is tried again; None where there is nothing and nobody that may."""
    for way in ways_after(plan, attempt):
        if way == "same":
            return Again()
        if way == "model":
            model = next_model(draft, ask)
            if model:
                return Again(model=model)
        else:
            agent = next_agent(draft, ask)
            if agent:
                return Again(agent=agent)
    return None


def next_model(draft: Draft, ask: Ask) -> str:
    """Give the model that an ask is to be tried with next: the one of its plan while it may be used, else another."""
    names = [card.name for card in fallbacks(draft, ask.tenant, ask.task_type, ask.model)]
    planned = ask.answer.retry.model if ask.answer.retry is not None else ""
    return planned if planned in names else next(iter(names), "")


def next_agent(draft: Draft, ask: Ask) -> str:
    """Give another agent that could have the work now, as a step of a workflow would be given; empty for none."""
    agents = Agents(draft)
    group = (ask.task_type, "")
    agents.look_up(ask.tenant, [group])
    found = agents.best(ask.tenant, group, ask.workflow, (ask.agent,))
    return "" if found is None or found == ask.agent else found
