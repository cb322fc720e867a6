"""Checks of who asks."""

from __future__ import annotations

from ops_stream.core.look import Look
from ops_stream.core.standing import STOPPED
from ops_stream.core.words import because


def agent_unregistered(look: Look) -> str | None:
    """An agent must have registered."""
    if look.agent is not None:
        return None
    return (
        f"Agent {look.request.agent} is not registered with tenant {look.request.tenant}; register it first."
    )


def agent_not_allowed(look: Look) -> str | None:
    """Only agents that may ask are let in; what a policy sends to another agent is not this one's to do."""
    return _not_declared(look) or _rerouted(look)


def _rerouted(look: Look) -> str | None:
    """A policy sends the ask elsewhere. A block is stronger, and an agent that is stopped is told only that."""
    agent = look.agent
    if look.suspension is not None or (agent is not None and agent.state in STOPPED):
        return None
    weighed = look.weighed
    policy = weighed.steering and weighed.rerouting
    if policy is None or weighed.blocking is not None or weighed.undecided is not None:
        return None
    return f"Policy {policy.name} sends this ask to agent {policy.parameters['agent']}."


def _not_declared(look: Look) -> str | None:
    """Where agents are declared, only those are let in; a declared agent keeps to its task types."""
    request, rules = look.request, look.draft.rules
    declared = rules.agents.find(request.tenant, request.agent)
    if declared is None:
        if rules.supervisor.registration == "open":
            return None
        return f"Agent {request.agent} is not declared for tenant {request.tenant} in conf/agents.yaml."
    if declared.task_types and request.task_type not in declared.task_types:
        return f"Agent {request.agent} is not declared for tasks of type {request.task_type}."
    return None


def agent_suspended(look: Look) -> str | None:
    """An agent in quarantine gets nothing."""
    return _stopped(look, "suspended")


def agent_blocked(look: Look) -> str | None:
    """Nor does one that is blocked."""
    return _stopped(look, "blocked")


def _stopped(look: Look, state: str) -> str | None:
    row = look.suspension
    if row is not None and row.state == state:
        return f"Agent {look.request.agent} was {state} by {row.issued_by}{because(row.reason)}"
    if look.agent is not None and look.agent.state == state:
        return f"Agent {look.request.agent} is {state}{because(look.agent.reason)}"
    return None
