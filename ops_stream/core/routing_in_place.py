"""A model in the place of another, for the sake of an optimization."""

from __future__ import annotations

from ops_stream.contract.models import TaskRequest
from ops_stream.core.budgets import Purse
from ops_stream.core.circuit import left_until
from ops_stream.core.draft import Draft
from ops_stream.core.evidence import expected_of_all, suits
from ops_stream.core.routing import Router
from ops_stream.core.routing_words import Route, Why
from ops_stream.core.rows import Agent, Record
from ops_stream.core.rows_optimization import Amended


def in_place(
    draft: Draft,
    request: TaskRequest,
    agent: Agent | None,
    record: Record | None,
    purse: Purse,
    hold: int,
    amended: Amended,
    *,
    batched: bool,
) -> Route:
    """Choose the model that is tried in the place of another; a refusal where it may not be used for this ask.

    It must be one that the router might try too: for this work, not left, in time, and within what may be spent.
    """
    name = amended.after
    card = draft.rules.routing.cards.get(name)
    refused = Route(name, refusal=f"Model {name} may not be used for this ask.")
    if card is None or not card.by_default or not suits(card, request.tenant, request.task_type):
        return refused
    router = Router(draft, request, agent, record, purse, hold, batched=batched)
    if router.against(card) or left_until(draft, card) is not None:
        return refused
    models = expected_of_all(draft, request.tenant, request.agent, request.task_type)
    one = router.candidate(next(model for model in models if model.card.name == name))
    if not router.may_try(one):
        return refused
    why = Why("amended", instead=amended.before, optimization=amended.optimization_id)
    return router.routed(one, None, why)
