"""The worlds in which optimization is measured are what they say, and ops-stream is played in them as it is."""

from __future__ import annotations

from functools import cache
from statistics import fmean
from typing import Final

import pytest

from tests.bench.optimization import (
    GREEDY,
    KNOWING,
    NOTHING,
    OWN,
    RULES,
    Fleet,
    interval,
    play,
    rules_of,
    summary,
)
from tests.bench.optimization_play import Play
from tests.bench.optimization_report import page
from tests.bench.optimization_rules import Adoption, Greedy, Knowing, Played, Rule, play_rule
from tests.bench.optimization_world import (
    CRITICAL,
    DAY_MS,
    DRIFT_DAY,
    NAMED,
    START_MS,
    USUAL,
    WORLDS,
    World,
    asks,
    run,
)
from tests.thorough import THOROUGH

BY_NAME: Final = {world.name: world for world in WORLDS}


@cache
def _short(name: str, days: int) -> World:
    """A world that ends sooner: after a day, before any trial does, or after three, in the middle of one."""
    world = BY_NAME[name]
    return World(world.name, world.what, days, world.others, world.usual)


@cache
def _fleet(name: str, seed: int = 1) -> Fleet:
    return play(BY_NAME[name], seed)


def test_the_same_seed_gives_the_same_asks() -> None:
    """And another seed others; so does the outcome of each with each model."""
    world = BY_NAME["cheaper"]
    assert asks(world, 1) == asks(world, 1) != asks(world, 2)
    ask = asks(world, 1)[0]
    assert run(world, ask, "lean", 0) == run(world, ask, "lean", 5)


def test_shares_of_asks_are_as_stated() -> None:
    """Some name their model, some are critical, and the rest may be changed."""
    drawn = [ask for seed in range(1, 6) for ask in asks(BY_NAME["alike"], seed)]
    assert fmean(bool(ask.named) for ask in drawn) == pytest.approx(NAMED, abs=0.02)
    assert fmean(ask.critical for ask in drawn) == pytest.approx(CRITICAL, abs=0.02)
    assert {ask.named for ask in drawn} == {"", "lean", "spare", "thrift"}
    assert [ask.at_ms for ask in asks(BY_NAME["alike"], 1)] == sorted(
        ask.at_ms for ask in asks(BY_NAME["alike"], 1)
    )


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)
def test_what_models_cost_and_do_is_the_truth_of_the_world(world: World) -> None:
    """On average over many asks each model costs and scores what its truth says, once its luck is over."""
    early = [ask for seed in range(1, 4) for ask in asks(world, seed) if ask.at_ms < START_MS + 5 * DAY_MS]
    usual = [run(world, ask, USUAL, 100) for ask in early]
    for name, truth in world.others.items():
        found = [run(world, ask, name, 100) for ask in early]
        ratio = sum(one.cost_usd for one in found) / sum(one.cost_usd for one in usual)
        assert ratio == pytest.approx(truth.price(), rel=0.01)
        lost = fmean(one.score for one in usual) - fmean(one.score for one in found)
        assert lost == pytest.approx(world.usual.quality - truth.quality, abs=0.01)


def test_what_is_better_is_known() -> None:
    """The cheaper model always, the drifting one until it drifts, and no other ever."""
    late = START_MS + DRIFT_DAY * DAY_MS
    assert {
        (world.name, at >= late)
        for world in WORLDS
        for at in (START_MS, late - 1, late)
        for model in (*world.others, USUAL)
        if world.better(model, at)
    } == {("cheaper", False), ("cheaper", True), ("drifting", False)}


def test_a_streak_ends() -> None:
    """The lucky model is cheaper and better in its first reports, and neither afterwards."""
    world = BY_NAME["lucky"]
    ask = next(one for one in asks(world, 1) if one.fail_luck > 0.5 and abs(one.score_luck) < 0.05)
    lucky, then, usual = run(world, ask, "lean", 29), run(world, ask, "lean", 30), run(world, ask, USUAL, 0)
    assert lucky.cost_usd < 0.7 * usual.cost_usd
    assert then.cost_usd == usual.cost_usd
    assert lucky.score > usual.score > then.score


def test_a_fleet_that_nobody_looks_after_is_the_same_through_the_core() -> None:
    """With optimization off every ask gets its own model, so that other rules need not be played through the core."""
    world = _short("drifting", 1)
    played = Play(world, 1, rules_of(world, "off")).play()
    plain = play_rule(world, 1, Rule())
    assert (played.cost_usd, played.score, played.asks) == (plain.cost_usd, plain.score, plain.asks)
    assert (played.changed, played.touched, played.odd) == (0, 0, [])


def test_knowing_everything_saves_most_and_loses_no_quality() -> None:
    """In a world with something to save; in the others it is as doing nothing."""
    for world in WORLDS:
        nothing, knowing = (play_rule(world, 1, rule) for rule in (Rule(), Knowing(world)))
        assert knowing.score == pytest.approx(nothing.score)
        if world.name in ("cheaper", "drifting"):
            assert knowing.cost_usd < play_rule(world, 1, Greedy()).cost_usd < nothing.cost_usd
        else:
            assert knowing.cost_usd == nothing.cost_usd


def test_the_greedy_rule_falls_for_a_lucky_streak() -> None:
    """So the world is a trap for whoever believes thirty reports."""
    fooled = [play_rule(BY_NAME["lucky"], seed, Greedy()).adoptions for seed in range(1, 11)]
    assert sum(any(one.false for one in adoptions) for adoptions in fooled) >= 8


def test_a_trial_leaves_alone_what_is_critical_or_names_its_model() -> None:
    """It begins by itself, changes many asks and none of these, and is seen from outside: by its events and answers."""
    world = _short("cheaper", 3)
    played = Play(world, 1, rules_of(world, "act")).play()
    assert (played.odd, played.critical_changed) == ([], 0)
    assert (played.trials, played.adoptions) == (1, [])
    assert played.touched > 50
    assert played.cost_usd < play_rule(world, 1, Rule()).cost_usd


@pytest.mark.skipif(not THOROUGH, reason="takes seconds")
def test_ops_stream_finds_what_is_cheaper() -> None:
    """It is adopted once, rightly, and stays; a person has approved that."""
    fleet = _fleet("cheaper")
    (found,) = fleet.played[OWN].adoptions
    assert (found.false, found.until_ms) == (False, None)
    assert found.permanent_ms is not None
    assert (fleet.played[OWN].odd, fleet.played[OWN].critical_changed) == ([], 0)
    assert fleet.played[OWN].cost_usd < 0.9 * fleet.played[NOTHING].cost_usd


@pytest.mark.skipif(not THOROUGH, reason="takes seconds")
@pytest.mark.parametrize("name", ["worse", "lucky", "alike"])
def test_ops_stream_adopts_nothing_that_is_not_better(name: str) -> None:
    """One fleet of each; how often it happens in many is the benchmark's to say."""
    played = _fleet(name).played[OWN]
    assert [one for one in played.adoptions if one.false] == []
    assert (played.odd, played.critical_changed) == ([], 0)


def test_an_interval_holds_its_share() -> None:
    """Wilson's, as in its paper and every table of it."""
    assert interval(0, 200) == pytest.approx((0.0, 0.01885), abs=1e-4)
    assert interval(10, 200) == pytest.approx((0.0274, 0.0896), abs=1e-4)


def test_figures_are_those_of_the_fleets() -> None:
    """Savings, false adoptions and times to revert of fleets that were made up."""
    world = BY_NAME["drifting"]
    drift = START_MS + DRIFT_DAY * DAY_MS
    fleets = [
        Fleet(
            "drifting",
            seed,
            {
                KNOWING: _made(60.0),
                NOTHING: _made(100.0),
                GREEDY: _made(100.0, Adoption("rule", "lean", drift + 1, True, None, drift + 2 * DAY_MS)),
                OWN: _made(80.0, Adoption("router", "cheapest", START_MS, False, 1, until)),
            },
        )
        for seed, until in ((1, drift + DAY_MS), (2, drift + 3 * DAY_MS), (3, None))
    ]
    found = summary(world, fleets)
    own, greedy = found["rules"][OWN], found["rules"][GREEDY]
    assert found["could_percent"] == pytest.approx(40)
    assert own["saved_percent"] == pytest.approx(50)
    assert (own["false_fleets"], greedy["false_fleets"]) == (0, 3)
    assert (own["in_force_at_drift"], own["never_reverted"]) == (3, 1)
    assert (own["revert_days_median"], own["revert_days_p90"]) == (3.0, None)
    assert greedy["in_force_at_drift"] == 0
    assert [*found["rules"]] == [*RULES]


def _made(cost: float, *adoptions: Adoption) -> Played:
    days = BY_NAME["drifting"].days
    return Played(cost_usd=cost, score=10.0, asks=20, adoptions=list(adoptions), by_day=[cost / days] * days)


def test_the_page_says_whether_the_stated_rate_is_kept() -> None:
    """Fleets that were made up: none of 200 is within it, all of them are not."""
    world = BY_NAME["drifting"]
    fine, bad = _made(100.0), _made(100.0, Adoption("rule", "lean", START_MS, True, None, None))
    fleets = [
        Fleet("drifting", n, {KNOWING: fine, NOTHING: fine, OWN: fine, GREEDY: bad}) for n in range(200)
    ]
    shown = summary(world, fleets)
    found = {
        "worlds": {one.name: shown for one in WORLDS},
        "seeds": 200,
        "per_day": 120,
        "steps": 1,
        "seconds": 1,
        "processes": 1,
        "settings": {},
        "stated_percent": 5,
    }
    text = page(found)
    assert "| all alike | ops-stream | 0 of 200 | 0.0 % | 0.0 to 1.9 % | yes | 0.0 |" in text
    assert "| all alike | greedy | 200 of 200 | 100.0 % | 98.1 to 100.0 % | **no** |" in text
