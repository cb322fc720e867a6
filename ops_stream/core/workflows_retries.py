"""How a step whose ask has failed is tried again: by the same plan as any other ask, and never without end."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from ops_stream.core.draft import Draft
from ops_stream.core.retries import attempts_at, backoff_ms, plan_of, ways_after
from ops_stream.core.retries_answers import next_model
from ops_stream.core.retries_budget import provider_of, put_off, room_at
from ops_stream.core.rows import STEPS, WORKFLOWS, Ask
from ops_stream.core.rows_retries import ErrorClass
from ops_stream.core.rows_workflows import StepRow, WorkflowRow, step_key
from ops_stream.core.rules_effects import IRREVERSIBLE
from ops_stream.core.rules_model import ANY

PUT_OFF_MAX: Final = 20
"""How often a step waits for its provider's retries before it fails."""


def failed_again(draft: Draft, step: StepRow, ask: Ask, class_: ErrorClass) -> StepRow | None:
    """Give a step whose agent has reported a failure as it is tried again, once it has waited; None for no more."""
    if class_ == "unknown_outcome":
        return unknown_again(draft, step, ask)
    plan = plan_of(draft, class_)
    most = attempts_at(draft, plan, class_, ask.tenant, ask.arms)
    if step.attempts >= min(draft.rules.supervisor.workflow_attempts, most):
        return None
    for way in ways_after(plan, step.attempts):
        model = next_model(draft, ask) if way == "model" else ""
        if way == "model" and not model:
            continue
        wait = draft.now + backoff_ms(plan, step.attempts, ask.tenant, ask.request_id)
        provider = provider_of(draft, model or ask.model)
        room = room_at(draft, provider, ask.tenant, ask.request_id)
        if room > wait:
            put_off(draft, provider)
        step = replace(step, model=model or step.model, prefer="" if way == "agent" else step.agent)
        if way == "agent":
            step = _by_others(step)
        return _backing_off(draft, step, max(wait, room))
    return None


def lost_again(draft: Draft, step: StepRow) -> StepRow | None:
    """Give a step that its agent has lost, or given up, as another has it at once; None for no more."""
    if step.attempts >= draft.rules.supervisor.workflow_attempts:
        return None
    return _by_others(replace(step, state="ready", since=draft.now, prefer=""))


def unknown_again(draft: Draft, step: StepRow, ask: Ask) -> StepRow | None:
    """Give a step of which nobody knows whether it was done as it waits for a person: what it does is unsure.

    Where asks may be only observed no person would be asked: what cannot be taken back is not tried again there.
    """
    if step.attempts >= max(2, draft.rules.supervisor.workflow_attempts):
        return None
    if _observes(draft, ask.tenant) and draft.rules.effects.effective(ask.effect) == IRREVERSIBLE:
        return None
    return _by_others(replace(step, state="ready", since=draft.now, prefer="", unsure=True))


def later(draft: Draft, step: StepRow, at: int) -> StepRow | None:
    """Give a step that was denied for now as it waits: that was no attempt. None where it has waited too often."""
    if step.put_off >= PUT_OFF_MAX:
        return None
    return _backing_off(draft, replace(step, attempts=step.attempts - 1, put_off=step.put_off + 1), at)


def _by_others(step: StepRow) -> StepRow:
    return replace(step, tried=tuple(dict.fromkeys((*step.tried, step.agent))))


def _backing_off(draft: Draft, step: StepRow, until: int) -> StepRow:
    if until <= draft.now:
        return replace(step, state="ready", since=draft.now, until=0)
    return replace(step, state="backing_off", until=until)


def _observes(draft: Draft, tenant: str) -> bool:
    return any(
        (one.mode == "observe" or one.percent < 100) and one.tenant in (ANY, tenant)
        for one in draft.rules.supervisor.enforcement
    )


def woken_at(flow: WorkflowRow, step: StepRow) -> WorkflowRow:
    """Note when the first of a workflow's steps has waited long enough."""
    if step.state != "backing_off":
        return flow
    return replace(flow, wake=min(flow.wake or step.until, step.until))


def wake(draft: Draft, key: str) -> None:
    """Let the steps of a workflow be given out that have waited long enough."""
    flow = draft.get(WORKFLOWS, key)
    if flow is None or not flow.wake or flow.wake > draft.now:
        return
    flow = replace(flow, wake=0)
    for number in range(1, flow.size + 1):
        step = draft.get(STEPS, step_key(key, number))
        if step is None or step.state != "backing_off":
            continue
        if step.until <= draft.now and not flow.stopping:
            draft.put(step_key(key, number), replace(step, state="ready", since=draft.now, until=0))
        else:
            flow = woken_at(flow, step)
    draft.put(key, flow)
