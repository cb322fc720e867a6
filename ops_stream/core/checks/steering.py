"""Checks by kill switches, policies and models."""

from __future__ import annotations

from ops_stream.core.kills import kill_on
from ops_stream.core.look import Look
from ops_stream.core.policy import QUEUE
from ops_stream.core.routing import own_model
from ops_stream.core.words import because, clip


def kill_switch(look: Look) -> str | None:
    """No ask in the scope of a kill is approved."""
    return _killed(look, look.asked_model)


def own_model_stopped(look: Look) -> str | None:
    """An ask that is only observed runs with its own model, whatever would have been chosen for it."""
    return None if look.route is None else _killed(look, own_model(look.draft, look.request))


def _killed(look: Look, model: str) -> str | None:
    request = look.request
    kill = kill_on(look.draft, request.tenant, request.agent, request.workflow_id or "", model)
    look.binding = kill is not None
    return None if kill is None else f"The kill switch was pulled by {kill.issued_by}{because(kill.reason)}"


def policy_error(look: Look) -> str | None:
    """A blocking policy that cannot be decided blocks."""
    match = look.weighed.undecided
    return (
        None
        if match is None
        else f"Policy {match.name} could not be decided: {clip(match.error or '', 1_000)}"
    )


def policy_blocked(look: Look) -> str | None:
    """A blocking policy trumps everything that would permit."""
    match = look.weighed.blocking
    return None if match is None else f"Policy {match.name} blocks this ask."


def no_model(look: Look) -> str | None:
    """The model must be one that may be used."""
    model, rules = look.model, look.draft.rules
    if look.route is not None and look.route.refusal and model == look.asked_model:
        return look.route.refusal
    if not model:
        return None
    if not rules.models.known(model):
        return f"Model {model} is not among those in conf/models.yaml."
    card = rules.routing.cards.get(model)
    if card is not None and card.tenants and look.request.tenant not in card.tenants:
        return f"Model {model} is not for tenant {look.request.tenant}."
    return _model_stopped(look)


def _model_stopped(look: Look) -> str | None:
    """A model that a policy demands must not be one that a kill switch has stopped."""
    model, request = look.model, look.request
    if model == look.asked_model:
        return None  # the first check of all has looked at it
    if kill_on(look.draft, request.tenant, request.agent, request.workflow_id or "", model) is None:
        return None
    return f"A policy demands model {model}, which the kill switch has stopped."


def escalated(look: Look) -> str | None:
    """A policy or a trigger wants a person to decide, or what is asked cannot be taken back."""
    call = look.call
    return None if call is None else call.why


def queued(look: Look) -> str | None:
    """A policy puts the ask off to the next batch."""
    steering = look.weighed.steering
    if steering is None or steering.action != QUEUE:
        return None
    return f"Policy {steering.name} puts this ask in the batch queue."
