"""States with figures in them, for looks at what could be better."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from random import Random
from typing import Any

from ops_stream.core.draft import Draft
from ops_stream.core.inputs import Tick
from ops_stream.core.optimization_finds import find
from ops_stream.core.optimization_found import Found
from ops_stream.core.rows import Agent, Attempts, FlowLearned, Learned, Pooled, Record, Row, encode_row
from ops_stream.core.rows_learning import Counts, FlowStep, Pool, Stats, key_of, pooled_key, whole_name
from ops_stream.core.rules_model import Models, Rules
from ops_stream.core.rules_optimization import Optimization
from ops_stream.core.rules_retries import Plan, Retries
from ops_stream.core.rules_routing import ModelCard, Routing
from ops_stream.core.state import State
from tests.core.test_step import ask
from tests.core.world import DIGEST, START_MS, TENANT, World

DEAR = ModelCard("dear", 10_000_000, 10_000_000, latency_ms=4_000, quality_percent=80)
CHEAP = ModelCard("cheap", 2_000_000, 2_000_000, latency_ms=5_000, quality_percent=80)
QUICK = ModelCard("quick", 10_000_000, 10_000_000, latency_ms=1_000, quality_percent=80)
NOW = START_MS
LOOKING = Optimization(mode="propose")
ODD = "\x01|\U0001f680 sum " * 30
"""A name of 240 characters that cannot stand in a key."""
Rows = Mapping[str, Row]


def rules_with(*cards: ModelCard, **fields: Any) -> Rules:
    """Rules under which it is looked for what could be better; the first card is the default."""
    cards = cards or (DEAR, CHEAP)
    own = {name: fields.pop(name) for name in list(fields) if name in Optimization.__dataclass_fields__}
    routing = fields.pop("routing", Routing(cards={card.name: card for card in cards}))
    plan = Plan(max_attempts=4)
    base = Rules(
        DIGEST,
        models=Models(cards[0].name, tuple(card.name for card in cards)),
        routing=routing,
        retries=Retries(on=True, plans={"transient": plan, "rate_limit": plan}),
        optimization=replace(LOOKING, **own),
    )
    return replace(base, **fields)


def measured(
    model: str = "dear",
    runs: int = 200,
    good: int = 190,
    task_type: str = "sum",
    used: int = NOW,
    **each: Any,
) -> dict[str, Row]:
    """What all agents measured of a model: so many runs, and of each what it costs and so on."""
    counts = {"good": good, "failed": runs - good, "costed": runs, "timed": runs}
    counts |= {"cost": runs * each.get("cost", 100_000), "taken_ms": runs * each.get("taken_ms", 2_000)}
    if "quality" in each:
        counts |= {"rated": runs, "quality_milli": round(1_000 * runs * each["quality"])}
    pool = Pool(**{name: 1_000 * value for name, value in counts.items()})
    return {pooled_key(TENANT, task_type, model): Pooled(used, pool, whole_name(task_type))}


def agent(
    name: str, runs: int, good: int, *types: str, cost: int = 100_000, capable: bool = True
) -> dict[str, Row]:
    """An agent that does types of work, and how it did at each of late."""
    types = types or ("sum",)
    counts = Counts(good=good, failed=runs - good, costed=runs, cost=runs * cost)
    rows: dict[str, Row] = {
        f"agent/{TENANT}|{name}": Agent("active", NOW, "worker", types if capable else ("other",))
    }
    for one in types:
        rows["learned/" + key_of(TENANT, name, one, "dear")] = Learned(NOW, Stats(counts))
    return rows


def recorded(name: str, ended: int, held: int, cost: int) -> dict[str, Row]:
    """An agent's record: of each ask what was held and what it cost."""
    over = max(0, cost - held) * ended
    row = Record(NOW, done=ended, held=held * ended, cost=cost * ended, overrun=over)
    return {f"agent/{TENANT}|{name}": Agent("active", NOW, "worker"), f"record/{TENANT}|{name}": row}


def tried(*places: tuple[int, int], task_type: str = "sum", cost: int = 50_000) -> dict[str, Row]:
    """How attempts went: of each place how many ended and went well."""
    ended = tuple(1_000 * number for number, _ in places)
    good = tuple(1_000 * well for _, well in places)
    spent = tuple(1_000 * number * cost for number, _ in places)
    return {f"attempts/{TENANT}|{task_type}": Attempts(NOW, ended, good, spent)}


def flow(name: str, **types: tuple[int, int]) -> dict[str, Row]:
    """How a workflow went: of each type of work how many steps ended, and how long each took."""
    steps = tuple(FlowStep(one, number, number * ms) for one, (number, ms) in sorted(types.items()))
    return {f"flowlearned/{TENANT}|{name}": FlowLearned(NOW, NOW, good=1, steps=steps)}


def run(world: World, name: str, kind: str = "completed", **fields: Any) -> None:
    """Let the engineer ask and report at once."""
    told: dict[str, Any] = {
        key: fields.pop(key) for key in ("cost_usd", "latency_ms", "quality_score") if key in fields
    }
    world.send("task-requests", ask(name, **fields))
    body = {"event_id": f"e-{name}", "request_id": name, "task_id": "t1", "agent": "engineer"}
    world.send("telemetry", {**body, "tenant": TENANT, "kind": kind, **told})


def state_of(rows: Rows, order: Random | None = None) -> State:
    """A state that these rows were applied to, in any order."""
    items = list(rows.items())
    if order is not None:
        order.shuffle(items)
    state = State(0, 1)
    for key, row in items:
        state.apply({key: encode_row(row)})
    return state


def looked(
    rows: Rows, rules: Rules | None = None, now: int = NOW, order: Random | None = None
) -> list[Found]:
    """Look through the figures once."""
    return find(Draft(state_of(rows, order), rules or rules_with(), now, Tick()), TENANT)


def only(kind: str, rows: Rows, rules: Rules | None = None) -> list[Found]:
    """Look once, for one kind."""
    return [one for one in looked(rows, rules) if one.kind == kind]
