"""Finds policies that can never do anything: their action has no way, or nobody is who they are for."""

from collections.abc import Iterable, Sequence

from ops_stream.core.rules_model import ANY
from ops_stream.rules.conf_tables import Tables
from ops_stream.rules.policies import Policy
from ops_stream.rules.problems import Problem, did_you_mean
from ops_stream.rules.yamlfile import Document, Path


def unreachable(policies: Sequence[Policy], tables: Tables, document: Document) -> Iterable[Problem]:
    """Give everything about the enabled policies that can never come to anything."""
    places = _places(policies, document)
    for policy in policies:
        yield from _no_way(policy, tables, document, places[policy.name])
        yield from _nobody(policy.agent, "agent", tables, document, places[policy.name])


def _places(policies: Sequence[Policy], document: Document) -> dict[str, Path]:
    names = {policy.name for policy in policies}
    return {
        entry["name"]: ("policies", at)
        for at, entry in enumerate(document.data["policies"] if policies else ())
        if isinstance(entry, dict) and entry.get("name") in names
    }


def _no_way(policy: Policy, tables: Tables, document: Document, path: Path) -> Iterable[Problem]:
    """Find actions that lead to a model or an agent which is not there."""
    models = tables.models
    ways_down = getattr(models, "chain", {}) or models.ladder
    if policy.action == "downgrade_model" and not ways_down:
        message = "The action can never be carried out: no model in models.yaml has a 'cheaper' one."
        yield document.problem((*path, "action"), message, "Add 'cheaper' to a model.")
    if policy.action != "reroute":
        return
    model, agent = policy.parameters.get("model"), policy.parameters.get("agent")
    if isinstance(model, str) and not models.known(model):
        message = f"The action can never be carried out: no model in models.yaml has the name '{model}'."
        yield document.problem((*path, "parameters", "model"), message, did_you_mean(model, models.prices))
    if isinstance(agent, str):
        names = {declared.name for declared in tables.agents.declared.values()}
        if tables.supervisor.registration == "declared" and agent not in names:
            message = f"No agent in agents.yaml has the name '{agent}', and no other may ask."
            yield document.problem((*path, "parameters", "agent"), message, did_you_mean(agent, names))
        if agent == policy.agent:
            message = f"The policy sends agent '{agent}' to itself."
            yield document.problem((*path, "parameters", "agent"), message, "Name another agent, or 'block'.")


def _nobody(selector: str, key: str, tables: Tables, document: Document, path: Path) -> Iterable[Problem]:
    """Find selectors that fit none of the agents that may ask."""
    agents = tables.agents.declared.values()
    names = {agent.name for agent in agents} | {agent.role for agent in agents if agent.role}
    if tables.supervisor.registration == "declared" and selector not in (ANY, *names):
        message = f"No agent in agents.yaml has the name or role '{selector}', and no other may ask."
        yield document.problem((*path, key), message, did_you_mean(selector, names))
