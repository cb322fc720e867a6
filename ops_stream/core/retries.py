"""The plan of an ask for its failure: how often again, after how long, and with what.

All of it follows from the rules, the ask and the rows, in whole numbers; what is drawn by lot is drawn from its id.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final

from ops_stream.contract.models import TaskRequest
from ops_stream.core.circuit import left_until
from ops_stream.core.draft import Draft
from ops_stream.core.evidence import suits
from ops_stream.core.ids import short_hash
from ops_stream.core.kills import model_killed
from ops_stream.core.optimization_sides import attempts_within
from ops_stream.core.rows_retries import ErrorClass, RetryPlan
from ops_stream.core.rules_retries import Plan, Way
from ops_stream.core.rules_routing import ModelCard

STEPS_MAX: Final = 100
"""No wait grows further beyond so many attempts; none of the rules allows more."""
_NEVER: Final = Plan(max_attempts=1)
_NEEDS: Final = "needs:"
_NO_NEEDS: Final = frozenset[str]()
_PASSING: Final[frozenset[ErrorClass]] = frozenset(("transient", "rate_limit"))
"""Classes of failures of which an optimization may have fewer attempts made."""


def plan_of(draft: Draft, class_: ErrorClass) -> Plan:
    """Give what is done about failures of a class; nothing where no rule says."""
    return draft.rules.retries.plans.get(class_, _NEVER)


def attempts_of(draft: Draft, plan: Plan) -> int:
    """Give how many attempts there are in all: those of the plan, unless fewer retries are let in at all."""
    most = draft.rules.supervisor.retries_max
    return plan.max_attempts if most is None else min(plan.max_attempts, most + 1)


def attempts_at(draft: Draft, plan: Plan, class_: ErrorClass, tenant: str, arms: Collection[str]) -> int:
    """Give how many there are for an ask by its sides of optimizations: on a changed one fewer, and never more."""
    most = attempts_of(draft, plan)
    return attempts_within(draft, tenant, arms, most) if arms and class_ in _PASSING else most


def longest_ms(plan: Plan, attempt: int) -> int:
    """Give the longest wait after an attempt (from 1) has failed."""
    steps = max(0, min(attempt - 1, STEPS_MAX))
    grown: int = plan.base_ms * plan.factor_percent**steps // 100**steps
    return min(plan.cap_ms, grown)


def backoff_ms(plan: Plan, attempt: int, tenant: str, request_id: str) -> int:
    """Give the wait after an attempt has failed: the longest, less what is drawn from the id of the ask that failed."""
    longest = longest_ms(plan, attempt)
    drawn = longest * plan.jitter_percent // 100
    return longest - short_hash(f"backoff|{tenant}|{request_id}") % (drawn + 1)


def ways_after(plan: Plan, attempt: int) -> tuple[Way, ...]:
    """Give with what may be tried again after an attempt has failed: the first that there is counts."""
    at = min(attempt, len(plan.ways)) - 1
    ways = plan.ways[at:]
    return (*ways, "same") if "same" in plan.ways[:at] else ways


def fallbacks(draft: Draft, tenant: str, task_type: str, model: str) -> Iterator[ModelCard]:
    """Give the fallbacks of a model that may be used for a tenant's work now, in their order."""
    cards = draft.rules.routing.cards
    card = cards.get(model)
    for name in () if card is None else card.fallbacks:
        other = cards.get(name)
        if other is not None and _may_be_used(draft, tenant, task_type, other):
            yield other


def _may_be_used(draft: Draft, tenant: str, task_type: str, card: ModelCard) -> bool:
    if not suits(card, tenant, task_type) or not draft.rules.models.known(card.name):
        return False
    counts = draft.state.counts
    if (counts["kill/"] or draft.kills) and model_killed(draft, tenant, card.name):
        return False
    return not counts["circuit/"] or left_until(draft, card) is None


def planned(draft: Draft, request: TaskRequest, model: str, arms: Collection[str] = ()) -> RetryPlan | None:
    """Give the plan that goes with an approval: what to expect of a failure that passes; None where none is left."""
    plan = plan_of(draft, "transient")
    attempt, most = request.retry_count + 1, attempts_at(draft, plan, "transient", request.tenant, arms)
    if attempt >= most:
        return None
    other = _fallback_for(draft, request, model)
    for way in ways_after(plan, attempt):
        if way != "model" or other:
            break
    else:
        return None
    return RetryPlan(most, backoff_ms(plan, attempt, request.tenant, request.request_id), way, other)


def _fallback_for(draft: Draft, request: TaskRequest, model: str) -> str:
    """Give the model that an ask would be tried with if it were not its own; empty where there is none."""
    read, written = request.estimated_input_tokens or 0, request.estimated_output_tokens or 0
    tags = request.tags
    needs = {tag.removeprefix(_NEEDS) for tag in tags if tag.startswith(_NEEDS)} if tags else _NO_NEEDS
    for card in fallbacks(draft, request.tenant, request.task_type, model):
        fits = card.context_tokens is None or read + written <= card.context_tokens
        if fits and needs <= card.capabilities:
            return card.name
    return ""
