"""The budget of a workflow, as the ask of a step meets it: a limit like any other, kept in the workflow's row."""

from __future__ import annotations

from msgspec.structs import replace

from ops_stream.core.budgets_scope import Scope
from ops_stream.core.draft import Draft
from ops_stream.core.rows import STEPS, WORKFLOWS, Ask, Budget
from ops_stream.core.rows_workflows import StepRow, WorkflowRow, place_in, step_key
from ops_stream.core.rules_model import Limit


def budget_of_step(draft: Draft, ask: Ask) -> Scope | None:
    """Give the budget of the workflow whose step an ask is, beside what is set aside for this step; None for none."""
    if not ask.step:
        return None
    key, number, accepted = place_in(ask.tenant, ask.step)
    flow = draft.get(WORKFLOWS, key)
    if flow is None or flow.budget is None or flow.accepted_at != accepted or flow.ended_at:
        return None
    step = draft.get(STEPS, step_key(key, number))
    own = step.hold if step is not None and step.request == ask.request_id else 0
    row = Budget(held=flow.held - own, spent=flow.cost)
    return Scope("workflow", key.rpartition("|")[2], key, "", "total", row, Limit(flow.budget, "total"))


def set_aside(flow: WorkflowRow, step: StepRow, ask: Ask) -> tuple[WorkflowRow, StepRow]:
    """Set aside for a step what its ask really holds once it runs: a model, a policy or a person may change it."""
    held = ask.held or 0
    if step.hold == held:
        return flow, step
    return replace(flow, held=flow.held + held - step.hold), replace(step, hold=held)
