"""What is valid in `models.yaml` and may still surprise: ways out that are narrower than they look, idle settings."""

from collections.abc import Callable, Collection, Iterator, Sequence
from difflib import get_close_matches
from typing import Final

from ops_stream.core.rules_model import Agents
from ops_stream.core.rules_routing import ModelCard, Routing

NOTED_MAX: Final = 50
"""Sentences at most; a file of a thousand models could fill a screen for hours."""
_DEARER: Final = 2
"""A fallback that costs more than so many times as much is worth a word: the ask's hold does not grow with it."""
_COMPLEXITIES: Final = ("low", "medium", "high")


def surprises(routing: Routing, agents: Agents, registration: str) -> list[str]:
    """Give a sentence for whatever may surprise about the catalogue and the choice."""
    found: list[str] = []
    for note in _notes(routing, agents, registration):
        if len(found) == NOTED_MAX:
            found.append("There is more to note about models.yaml.")
            break
        found.append(note)
    return found


def _notes(routing: Routing, agents: Agents, registration: str) -> Iterator[str]:
    yield from _idle(routing)
    if routing.mode != "off":
        yield from _out_of_reach(routing)
        yield from _no_latency(routing)
    for card in routing.cards.values():
        others = [routing.cards[name] for name in card.fallbacks]
        if others:
            yield from _narrower(card, others)
            yield from _dearer(card, others)
    yield from _misspelt(routing)
    if registration == "declared":
        yield from _nobodys(routing, agents)


def _idle(routing: Routing) -> Iterator[str]:
    if routing.mode == "off" and routing.explore_percent:
        yield "'explore_percent' does nothing while 'mode' is off."


def _out_of_reach(routing: Routing) -> Iterator[str]:
    """Note a quality that no model is expected to reach before it has been measured."""
    best = max((card.quality_percent for card in routing.cards.values() if card.by_default), default=0)
    for complexity in _COMPLEXITIES:
        needed = routing.quality_by_complexity.get(complexity, routing.quality_percent)
        if needed > best:
            yield (
                f"Asks of {complexity} complexity need a quality of {needed}, and no model that may be used by "
                f"default is expected to reach more than {best} before it has been measured."
            )


def _no_latency(routing: Routing) -> Iterator[str]:
    missing = sorted(card.name for card in routing.cards.values() if card.latency_ms is None)
    if missing:
        yield (
            f"Nothing is said of the latency of {_some(missing)}: until it has been measured, no deadline is too "
            "near for it, and it is never too slow."
        )


def _narrower(card: ModelCard, others: Sequence[ModelCard]) -> Iterator[str]:
    """Note asks that a model takes and none of its fallbacks does."""
    checks: tuple[tuple[Callable[[ModelCard], bool], str], ...] = (
        (lambda one: _fits(card, one), "takes nearly as much context: what is longer has"),
        (
            lambda one: one.by_default or not card.by_default,
            "may be used by default: asks that name none have",
        ),
        (lambda one: _covers(card.tenants, one.tenants), "is for all of its tenants: some have"),
        (lambda one: _covers(card.task_types, one.task_types), "is for all of its task types: some have"),
        (
            lambda one: not card.provider or one.provider != card.provider,
            "is another provider's: while that fails, its asks have",
        ),
        *(
            (lambda one, name=name: name in one.capabilities, f"can do '{name}': asks that need it have")
            for name in sorted(card.capabilities)
        ),
    )
    for holds, what in checks:
        if not any(holds(one) for one in others):
            yield f"No fallback of '{card.name}' {what} no way out."


def _fits(card: ModelCard, other: ModelCard) -> bool:
    if other.context_tokens is None:
        return True
    return card.context_tokens is not None and 95 * card.context_tokens <= 100 * other.context_tokens


def _covers(own: Collection[str], others: Collection[str]) -> bool:
    return not others or (bool(own) and set(own) <= set(others))


def _dearer(card: ModelCard, others: Sequence[ModelCard]) -> Iterator[str]:
    for other in others:
        dearer = (
            other.input_micros_per_mtok > _DEARER * card.input_micros_per_mtok
            or other.output_micros_per_mtok > _DEARER * card.output_micros_per_mtok
        )
        if dearer:
            yield (
                f"The fallback '{other.name}' costs more than {_DEARER} times as much as '{card.name}': what goes "
                "there is checked against the budget again, and may be denied."
            )


def _misspelt(routing: Routing) -> Iterator[str]:
    """Note a capability of one model alone that looks like one that others have."""
    holders: dict[str, list[str]] = {}
    for card in routing.cards.values():
        for capability in card.capabilities:
            holders.setdefault(capability, []).append(card.name)
    common = sorted(name for name, who in holders.items() if len(who) > 1)
    for capability in sorted(name for name, who in holders.items() if len(who) == 1)[:NOTED_MAX]:
        near = get_close_matches(capability, common[:1_000], n=1, cutoff=0.8)
        if near:
            only = holders[capability][0]
            yield f"Only '{only}' can do '{capability}'; others can do '{near[0]}'. Is that the same?"


def _nobodys(routing: Routing, agents: Agents) -> Iterator[str]:
    """Note task types of models that none of the agents which may ask is declared for."""
    declared = agents.declared.values()
    if not declared or any(not agent.task_types for agent in declared):
        return
    asked = frozenset[str]().union(*(agent.task_types for agent in declared))
    for card in routing.cards.values():
        idle = sorted(card.task_types - asked)
        if idle:
            yield f"No agent of agents.yaml is declared for {_some(idle)}, which '{card.name}' is for."


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"
