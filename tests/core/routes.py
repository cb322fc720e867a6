"""A world in which models are chosen: three of them, whose figures are easy to reckon with."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ops_stream.core.rules_model import Models, Rules
from ops_stream.core.rules_routing import ModelCard, Routing
from tests.core.test_step import ask, registered
from tests.core.world import DIGEST, TENANT, World

LARGE = ModelCard(
    "large", 5_000_000, 25_000_000, "north", 200_000, 4_000, 90, frozenset(("vision",)), fallbacks=("medium",)
)
MEDIUM = ModelCard("medium", 1_000_000, 5_000_000, "north", 100_000, 2_000, 75, fallbacks=("large", "spare"))
SMALL = ModelCard("small", 100_000, 400_000, "south", 10_000, 500, 50)
SPARE = ModelCard("spare", 2_000_000, 10_000_000, "south", None, None, 80, by_default=False)
CARDS = (LARGE, MEDIUM, SMALL, SPARE)
"""1,000 tokens read and 500 written cost 0.0175, 0.0035, 0.0003 and 0.007 USD."""
TOKENS = {"estimated_input_tokens": 1_000, "estimated_output_tokens": 500}


def routing_rules(*cards: ModelCard, **fields: Any) -> Rules:
    """Rules that choose; what is not of `Routing` goes to the rules."""
    cards = cards or CARDS
    own = {name: fields.pop(name) for name in list(fields) if name in Routing.__dataclass_fields__}
    routing = Routing(
        **{"mode": "cheapest", "evidence_weight": 10, "cards": {card.name: card for card in cards}, **own}
    )
    names = tuple(card.name for card in cards)
    return replace(Rules(DIGEST, models=Models(names[0], names), routing=routing), **fields)


def routed(*cards: ModelCard, strict: bool = True, **fields: Any) -> World:
    """A world that chooses, with the engineer in it."""
    return registered(World(routing_rules(*cards, **fields), strict=strict))


def answer(world: World, request_id: str, **fields: Any) -> dict[str, Any]:
    """Let the engineer ask, without naming a cost, and give the answer."""
    body = ask(request_id, **{**TOKENS, **fields})
    if "estimated_cost_usd" not in fields:
        del body["estimated_cost_usd"]
    world.send("task-requests", {name: value for name, value in body.items() if value is not None})
    return world.answers(request_id)[-1]


def tell(
    world: World, request_id: str, kind: str = "completed", agent: str = "engineer", **fields: Any
) -> None:
    """Let an agent report."""
    body = {"event_id": f"e-{request_id}", "request_id": request_id, "task_id": "t1", "agent": agent}
    world.send("telemetry", {**body, "tenant": TENANT, "kind": kind, **fields})


def runs(world: World, model: str, times: int, kind: str = "completed", **fields: Any) -> None:
    """Let the engineer use a model so often, and report the same each time."""
    for _ in range(times):
        name = f"u{len(world.partitions[0].journal)}"
        assert answer(world, name, required_model=model)["model"] == model
        tell(world, name, kind, **fields)
