"""What holds of every choice of a model. Replays, folds and promise 3 are in `test_histories`, with routing too."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from ops_stream.core.circuit import TABLE
from ops_stream.core.rows import CIRCUITS
from ops_stream.core.rules_routing import Breaker, ModelCard
from tests.core.routes import answer, routed, runs, tell
from tests.core.world import World
from tests.properties import histories
from tests.thorough import examples

SEEDS = st.integers(0, 2**32)
PROFILE = settings(max_examples=examples(60, quick=8), deadline=None, derandomize=True)
NAMES = ("a", "b", "c", "d")


@PROFILE
@given(SEEDS)
def test_no_model_is_approved_that_may_not_be_used(seed: int) -> None:
    """Whatever happens, and whatever policies demand: one of the catalogue, for the tenant, and not stopped."""
    world = histories.play(seed)
    cards = world.rules.routing.cards
    for told in world.of("TaskApproval"):
        if told["decision"] == "approved" and cards and "would_have" not in told:
            card = cards[told["model"]]
            assert not card.tenants or told["tenant"] in card.tenants


@PROFILE
@given(SEEDS)
def test_good_reports_never_make_a_model_less_chosen(seed: int) -> None:
    """What is chosen stays chosen after one more report of the best quality, whatever was known before."""
    rng = Random(seed)
    world = _random_world(rng)
    for number in range(rng.randrange(12)):
        kind = rng.choice(("completed", "completed", "failed"))
        fields = {"cost_usd": rng.choice((0.0001, 0.004, 0.1))} if rng.random() < 0.5 else {}
        if kind == "completed" and rng.random() < 0.7:
            fields["quality_score"] = rng.choice((0.1, 0.5, 0.8, 1.0))
        name = f"u{number}"
        answer(world, name, required_model=rng.choice(NAMES))
        world.advance(rng.choice((0, 40, 4_000)))
        tell(world, name, kind, **fields)
    wanted = {"complexity": rng.choice(("low", "medium", "high"))}
    if rng.random() < 0.3:
        wanted |= {"estimated_cost_usd": rng.choice((0.0001, 0.003, 1))}
    before = answer(world, "r1", **wanted)["model"]
    runs(world, before, 1, quality_score=1.0)
    assert answer(world, "r2", **wanted)["model"] == before


@PROFILE
@given(SEEDS)
def test_circuits_move_along_their_table_alone(seed: int) -> None:
    """Each row of each record goes from its state to one that the table has, and one trial at most runs at a time."""
    rng = Random(seed)
    world = _random_world(
        rng, breaker=Breaker(rng.choice((1, 2, 3)), 3, open_s=30, trials=rng.choice((1, 2)))
    )
    running: list[str] = []
    for number in range(40):
        told = answer(world, f"r{number}", required_model=rng.choice((None, *NAMES)))
        if told["decision"] == "approved":
            running.append(told["request_id"])
        for name in list(running):
            if rng.random() < 0.4:
                running.remove(name)
                tell(world, name, rng.choice(("completed", "failed", "failed", "cancelled")))
        world.advance(rng.choice((0.001, 5, 31, 90_000 if rng.random() < 0.1 else 1)))
    moved = _moves(world)
    assert moved <= {(before, after) for (before, _), after in TABLE.items()}, moved


def _random_world(rng: Random, breaker: Breaker | None = None) -> World:
    cards = [
        ModelCard(
            name,
            rng.choice((100_000, 1_000_000, 3_000_000)),
            rng.choice((500_000, 5_000_000)),
            rng.choice(("north", "south")),
            quality_percent=rng.choice((30, 55, 65, 90)),
            fallbacks=tuple(rng.sample([one for one in NAMES if one != name], 2)),
        )
        for name in NAMES
    ]
    quality = {"low": 30, "high": 80}
    return routed(*cards, strict=False, breaker=breaker or Breaker(100, 100), quality_by_complexity=quality)


def _moves(world: World) -> set[tuple[str, str]]:
    """Give every change of state; a circuit without a row is closed."""
    states: dict[str, str] = {}
    moved: set[tuple[str, str]] = set()
    for entry in world.partitions[0].journal:
        for key, raw in entry.decision.changes.items():
            if key.startswith("circuit/"):
                before = states.get(key, "closed")
                states[key] = after = "closed" if raw is None else CIRCUITS.decode(raw).state
                if before != after:
                    moved.add((before, after))
    return moved
