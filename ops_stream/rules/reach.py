"""Finds policies that can never do anything: their action has no way, nobody is who they are for, or a block
stands before them wherever they match."""

from collections.abc import Iterable, Sequence
from typing import Final

from ops_stream.core.rules_model import ANY
from ops_stream.rules.catalogue import meant
from ops_stream.rules.cel import Condition
from ops_stream.rules.codegen import asked_of, fields_of
from ops_stream.rules.conf_tables import Tables
from ops_stream.rules.policies import Policy
from ops_stream.rules.possible import Branch, Effort, branches, implies
from ops_stream.rules.problems import Problem, did_you_mean
from ops_stream.rules.yamlfile import Document, Path

BLOCK: Final = "block"
_STOPPED: Final = frozenset(("downgrade_model", "escalate", "queue_for_batch_processing", "cap", "reroute"))
"""What a block leaves undone."""
_PASSED_BY: Final = {
    "reroute": frozenset(("reroute", "downgrade_model", "escalate", "queue_for_batch_processing")),
    "downgrade_model": frozenset(("reroute", "escalate", "queue_for_batch_processing")),
    "escalate": frozenset(("queue_for_batch_processing",)),
    "queue_for_batch_processing": frozenset[str](),
}
"""By a steering action: those that are never carried out where it goes before them, however the ask goes on."""


def unreachable(
    policies: Sequence[Policy], tables: Tables, document: Document, *, models_read: bool = True
) -> Iterable[Problem]:
    """Give everything about the enabled policies that can never come to anything.

    Where the models could not be read (`models_read`), nothing is said about ways to them.
    """
    places = _places(policies, document)
    for policy, block in _behind_blocks(policies):
        message = f"The action can never be carried out: the policy '{block.name}' blocks whatever this one matches."
        hint = f"Narrow '{block.name}', or remove this one."
        yield document.problem((*places[policy.name], "action"), message, hint)
    for policy in policies:
        if models_read or ("model" not in policy.parameters and policy.action != "downgrade_model"):
            yield from _no_way(policy, tables, document, places[policy.name])
        yield from _nobody(policy.agent, "agent", tables, document, places[policy.name])


def _places(policies: Sequence[Policy], document: Document) -> dict[str, Path]:
    names = {policy.name for policy in policies}
    return {
        entry["name"]: ("policies", at)
        for at, entry in enumerate(document.data["policies"] if policies else ())
        if isinstance(entry, dict) and entry.get("name") in names
    }


def _behind_blocks(policies: Sequence[Policy]) -> Iterable[tuple[Policy, Policy]]:
    """Find policies that only match where a block matches too, as far as that can be decided."""
    live = [policy for policy in policies if not policy.shadow and policy.when == "request"]
    conditions = Conditions()
    blocks = [policy for policy in live if policy.action == BLOCK]
    for policy in live:
        if policy.action in _STOPPED:
            for block in blocks:
                if within(policy, block) and conditions.implies(policy.condition, block.condition):
                    yield policy, block
                    break


def idle(policies: Sequence[Policy]) -> Iterable[tuple[Policy, Policy]]:
    """Find policies that steer only where another, which goes before them for ever, steers too."""
    live = [policy for policy in policies if not policy.shadow and policy.when == "request"]
    steering = sorted(
        (one for one in live if one.action in _PASSED_BY), key=lambda one: (-one.priority, one.name)
    )
    conditions = Conditions()
    for at, policy in enumerate(steering):
        for first in steering[:at]:
            passed = policy.action in _PASSED_BY[first.action] and within(policy, first)
            passed = passed and "agent" not in first.parameters  # it leaves that agent's own asks alone
            if passed and conditions.implies(policy.condition, first.condition):
                yield policy, first
                break


def within(policy: Policy, other: Policy) -> bool:
    """Say whether a policy is only ever for agents, tenants and times that another is for too."""
    begins = other.valid_from is None or (policy.valid_from or 0) >= other.valid_from
    ends = other.valid_until is None or (
        policy.valid_until is not None and policy.valid_until <= other.valid_until
    )
    return other.agent in (ANY, policy.agent) and other.tenant in (ANY, policy.tenant) and begins and ends


class Conditions:
    """Compares conditions, with an end to how much is compared."""

    def __init__(self) -> None:
        """Begin with all of the effort left."""
        self._effort = Effort()
        self._ways: dict[tuple[str, bool], list[Branch] | None] = {}
        self._fields: dict[str, frozenset[str]] = {}

    def implies(self, one: Condition, other: Condition) -> bool:
        """Say whether one condition certainly holds only where the other does."""
        if self._seen(other) and not self._seen(other) & self._seen(one):
            return False
        return implies(self._in(one, True), self._in(other, False), one.when, self._effort)

    def _seen(self, condition: Condition) -> frozenset[str]:
        if condition.source not in self._fields:
            tree = condition.tree
            self._fields[condition.source] = fields_of(tree) | asked_of(tree)
        return self._fields[condition.source]

    def _in(self, condition: Condition, holds: bool) -> list[Branch] | None:
        key = condition.source, holds
        if key not in self._ways:
            self._ways[key] = branches(condition.tree.root, condition.when, holds=holds)
        return self._ways[key]


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
        hint = meant(model, models.prices, tables.routing.aliases)
        yield document.problem((*path, "parameters", "model"), message, hint)
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
