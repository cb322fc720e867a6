"""A new agent begins with what the others of its tenant measured, and goes over to what it measures itself."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ops_stream.core import learning_room
from ops_stream.core.draft import Draft
from ops_stream.core.evidence import NOTHING, WHOLE, Expected, expected_of, expected_of_all, weighed
from ops_stream.core.inputs import Tick
from ops_stream.core.learning import look
from ops_stream.core.rows import POOLED
from ops_stream.core.rows_learning import Counts, Pool, looked_at, pooled_key
from ops_stream.core.rules_routing import Breaker, ModelCard, Routing
from ops_stream.core.rules_telemetry import Memory, TelemetryRules
from tests.core.routes import SMALL, answer, routed, tell
from tests.core.world import TENANT, World, from_snapshot, refold

NEVER_LEFT = Breaker(failures=100, window=100)
CARD = ModelCard("m", 1_000_000, 1_000_000, latency_ms=1_000, quality_percent=50)
RULES = Routing("cheapest", evidence_weight=5, pool_weight=20, cards={"m": CARD})


def counted(**fields: int) -> tuple[int, ...]:
    """Reports, each of which counts a thousand."""
    return tuple(looked_at(Counts(**{name: value * 1_000 for name, value in fields.items()})))


def reported(world: World, agent: str, times: int, model: str = "small", **fields: object) -> None:
    """Let an agent, that registers where it has not, use a model so often, and report the same each time."""
    body = {"agent": agent, "tenant": TENANT, "role": "worker", "capabilities": ["general"]}
    world.send("agents", {"event": "AgentRegistration", **body})
    for _ in range(times):
        name = f"{agent}-{len(world.partitions[0].journal)}"
        assert answer(world, name, agent=agent, required_model=model)["decision"] == "approved"
        tell(world, name, agent=agent, **{"kind": "completed", **fields})


def seen_by(world: World, agent: str, task_type: str = "general", tenant: str = TENANT) -> Expected:
    """Give what is expected of small."""
    draft = Draft(world.state, world.rules, world.now, Tick())
    return expected_of(draft, tenant, agent, task_type, SMALL)


def pool_of(world: World, model: str = "small") -> Pool:
    """Give what all agents measured."""
    return POOLED.decode(world.state.rows[pooled_key(TENANT, "general", model)]).pool


@pytest.mark.parametrize(
    ("own", "others", "quality"),
    [
        ({}, {}, 0.5),
        ({}, {"rated": 5, "quality_milli": 4_500}, 0.7),  # (5 × 0.5 + 4.5) ÷ 10
        ({}, {"rated": 995, "quality_milli": 895_500}, 0.898),  # (2.5 + 895.5) ÷ 1,000
        ({"rated": 10, "quality_milli": 9_000}, {}, 0.766667),  # (5 × 0.5 + 9) ÷ 15
        (
            {"rated": 10, "quality_milli": 1_000},
            {"rated": 5, "quality_milli": 4_500},
            0.4,
        ),  # (10 × 0.7 + 1) ÷ 20
        ({"rated": 20, "quality_milli": 2_000}, {"rated": 995, "quality_milli": 895_500}, 0.499),  # ÷ 40
    ],
)
def test_quality_is_shrunk_towards_the_others_and_these_towards_the_catalogue(
    own: dict[str, int], others: dict[str, int], quality: float
) -> None:
    """Five imagined reports stand behind the catalogue, twenty at most behind what the others measured."""
    found = weighed(RULES, CARD, counted(**own), counted(**others))
    assert found.quality == pytest.approx(quality * 1_000_000, abs=1)


def test_time_failures_and_cost_are_shrunk_alike() -> None:
    """Worked out by hand for five reports of others and ten of its own."""
    others = {"timed": 5, "taken_ms": 15_000, "good": 1, "failed": 3, "lost": 2, "found": 1}
    own = {"timed": 10, "taken_ms": 40_000, "good": 5, "failed": 5}
    found = weighed(RULES, CARD, counted(**own), counted(**others))
    assert found.latency_ms == (10 * 2_000 + 40_000) // 20
    assert (found.runs, found.good) == (10_000 + 10_000, 10_000 * 6 // 10 + 5_000)
    others = {"costed": 5, "cost": 200, "held": 100}
    assert weighed(RULES, CARD, NOTHING, counted(**others)).cost(80, 80) == (5 * 80 + 5 * 160 * 10**6) // 10
    own = {"costed": 10, "cost": 4_000, "held": 1_000}
    both = weighed(RULES, CARD, counted(**own), counted(**others))
    assert both.listed == WHOLE // 4, "half of the half that is not its own"
    assert both.cost(0, 100) == pytest.approx((10 * 100 * 10**6 + 10 * 400 * 10**6) // 20, abs=1)


def test_where_nothing_was_held_the_mean_cost_counts() -> None:
    """Of the others', as of its own."""
    spent = counted(costed=5, cost=500)
    assert weighed(RULES, CARD, NOTHING, spent).cost(0, 7) == 50 * 10**6
    assert weighed(RULES, CARD, spent, NOTHING).cost(0, 7) == 50 * 10**6


def test_where_the_catalogue_says_no_time_the_others_do() -> None:
    """Their mean stands behind its own as so many reports as they are; without either nobody knows."""
    card = replace(CARD, latency_ms=None)
    others = counted(timed=2, taken_ms=6_000)
    assert weighed(RULES, card, NOTHING, NOTHING).latency_ms is None
    assert weighed(RULES, card, NOTHING, others).latency_ms == 3_000
    assert weighed(RULES, card, counted(timed=1, taken_ms=9_000), others).latency_ms == 5_000
    assert weighed(RULES, card, counted(timed=1, taken_ms=9_000), NOTHING).latency_ms == 9_000


def test_a_lighter_pool_than_the_catalogue_counts_like_it() -> None:
    """`pool_weight` below `evidence_weight`: what was measured never counts for less than what was imagined."""
    rules = replace(RULES, pool_weight=1)
    own = counted(rated=5, quality_milli=4_500)
    assert weighed(rules, CARD, own, NOTHING) == weighed(RULES, CARD, own, NOTHING)


def test_a_new_agent_gets_what_others_measured_to_be_good_enough() -> None:
    """Two agents rate small four times: (10 × 0.50 + 4 × 0.90) ÷ 14 is 0.614, for whoever comes after them."""
    world = routed(strict=False)
    reported(world, "ann", 2, quality_score=0.9)
    assert answer(world, "r1")["model"] == "medium"
    reported(world, "ben", 2, quality_score=0.9)
    told = answer(world, "r2")
    assert (told["model"], "quality 0.61 of 0.60" in told["explanation"]) == ("small", True)
    assert answer(world, "r3", task_type="review")["model"] == "medium", "another type of work"


def test_what_an_agent_measures_itself_wins_over_what_the_others_say() -> None:
    """(20 × 0.864 + 40 × 0.1) ÷ 60: forty bad ratings of its own stand against a hundred good ones."""
    world = routed(strict=False, breaker=NEVER_LEFT)
    reported(world, "ann", 100, quality_score=0.9)
    assert seen_by(world, "engineer").quality > 850_000
    reported(world, "engineer", 40, quality_score=0.1)
    assert seen_by(world, "engineer").quality == 354_545
    assert seen_by(world, "ann").quality > 750_000, "and they move the others as little"


def test_nothing_is_counted_twice() -> None:
    """Who is alone is told what it measured itself, hours and half-lives later too: the others are nobody."""
    world = routed(strict=False, breaker=NEVER_LEFT)
    for hours in (0, 1, 30, 200):
        world.advance(hours * 3_600)
        reported(world, "engineer", 2, quality_score=0.9, cost_usd=0.001)
        reported(world, "engineer", 1, kind="failed", cost_usd=0.002)
        seen = look(
            Draft(world.state, world.rules, world.now, Tick()), TENANT, "engineer", "general", "small"
        )
        assert seen is not None
        alone = weighed(world.rules.routing, SMALL, looked_at(seen.stats.counts), NOTHING)
        found = seen_by(world, "engineer")
        assert (found.quality, found.runs, found.good) == pytest.approx(
            (alone.quality, alone.runs, alone.good), abs=20
        )
        assert found.cost(10**9, 1_000) == pytest.approx(alone.cost(10**9, 1_000), rel=0.001)
    assert found.quality > 600_000


def test_it_is_of_one_tenant() -> None:
    """What others do says nothing of it."""
    world = routed(strict=False)
    reported(world, "ann", 5, quality_score=0.9)
    assert seen_by(world, "ann", tenant="team-b").quality == 500_000


def test_leases_that_are_lost_count_for_all() -> None:
    """As failures, until a report comes after all."""
    world = routed(strict=False, breaker=NEVER_LEFT)
    reported(world, "ann", 0)
    answer(world, "u1", agent="ann", required_model="small", estimated_time_s=20)
    world.advance(61)
    assert pool_of(world) == Pool(lost=1_000)
    assert seen_by(world, "engineer").runs == 11_000
    tell(world, "u1", agent="ann")
    assert (pool_of(world).good, pool_of(world).found) == (1_000, 1_000)
    assert seen_by(world, "engineer").runs == 11_000


def test_it_fades_as_memory_does() -> None:
    """After a half-life of seven days a report counts half, and what was kept of it is worked out anew."""
    world = routed(strict=False)
    reported(world, "ann", 4, quality_score=0.9)
    draft = Draft(world.state, world.rules, world.now, Tick())
    before = expected_of_all(draft, TENANT, "engineer", "general")
    world.advance(7 * 86_400)
    draft = Draft(world.state, world.rules, world.now, Tick())
    assert seen_by(world, "engineer").quality == (10_000 * 500 + 1_800_000) * 1_000 // 12_000
    after = expected_of_all(draft, TENANT, "engineer", "general")
    assert after != before
    assert seen_by(world, "engineer") in after
    reported(world, "ben", 1, quality_score=0.9)
    assert (pool_of(world).rated, pool_of(world).quality_milli) == (3_000, 2_700_000)


def test_only_what_a_choice_may_use_is_pooled() -> None:
    """Nothing while no model is chosen, and nothing of models that are not of the catalogue."""
    world = routed(mode="off")
    reported(world, "ann", 2, quality_score=0.9)
    assert world.state.learned.keys.earliest(9)
    assert not [key for key in world.state.rows if key.startswith("pooled/")]
    world = routed()
    reported(world, "ann", 1)
    assert [key for key in world.state.rows if key.startswith("pooled/")] == [
        f"pooled/{TENANT}|general|small"
    ]


def test_it_makes_room_as_memory_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """It counts among the keys of the partition, and a tenant has a bound; live as recovered."""
    monkeypatch.setattr(learning_room, "POOLED_MAX", 2)
    world = routed(strict=False)
    reported(world, "ann", 0)
    for number in range(6):
        world.advance(1)
        answer(world, f"r{number}", agent="ann", task_type=f"kind-{number}", required_model="small")
        tell(world, f"r{number}", agent="ann")
    pooled = sorted(key for key in world.state.rows if key.startswith("pooled/"))
    assert pooled == [f"pooled/{TENANT}|kind-4|small", f"pooled/{TENANT}|kind-5|small"]
    assert world.state.learned.evicted.keys == 4
    for rebuilt in (refold(world.partitions[0]), from_snapshot(world.state)):
        assert rebuilt.learned.keys.earliest(99) == world.state.learned.keys.earliest(99)
        assert rebuilt.learned.of_agent == world.state.learned.of_agent
        assert rebuilt.learned.bytes == world.state.learned.bytes


def test_a_flood_of_types_of_work_leaves_no_more_than_the_partition_keeps() -> None:
    """Keys of agents and of all of them together, by one rule; what was not used for 90 days goes by itself."""
    world = routed(strict=False, telemetry=TelemetryRules(memory=Memory(keys_max=10)))
    reported(world, "ann", 0)
    for number in range(30):
        world.advance(1)
        answer(world, f"r{number}", agent="ann", task_type=f"kind-{number}", required_model="small")
        tell(world, f"r{number}", agent="ann")
    assert 8 <= len(world.state.learned.keys) <= 11
    world.advance(91 * 86_400)
    assert len(world.state.learned.keys) == 0
    assert world.state.learned.bytes == 0
