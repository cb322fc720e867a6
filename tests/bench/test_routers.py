"""The workload of the routers' benchmark is what it says: the same for all, with a truth that only one router knows."""

from __future__ import annotations

from functools import cache

import pytest

from tests.bench.offpolicy import Judged, Logged, history, judge, targets
from tests.bench.routers import OWN, Fixed, Play, Played, routers, rules_with
from tests.bench.workload import CROWD, Workload, workload

SEED, COUNT = 11, 800


@cache
def _work() -> Workload:
    return workload(rules_with(mode="off").routing, SEED, COUNT)


@cache
def _played(name: str) -> Played:
    found = routers(_work(), SEED)
    (key,) = (one for one in found if one.split(" (")[0] == name)
    return Play(_work(), found[key].rules, found[key].router).play()


def test_the_same_seed_gives_the_same_workload() -> None:
    """And another seed another one."""
    routing = rules_with(mode="off").routing
    again, other = workload(routing, SEED, COUNT), workload(routing, SEED + 1, COUNT)
    assert (again.asks, again.truth, again.out) == (_work().asks, _work().truth, _work().out)
    assert other.truth != again.truth


def test_nobody_does_better_than_who_knows_everything() -> None:
    """Its regret is nothing, and no choice of a model loses less than it does."""
    assert sum(_played("knowing everything").regrets_usd) == pytest.approx(0)
    for ask in _work().asks[:50]:
        assert all(_work().loss(ask, model) >= _work().best_loss(ask) for model in _work().truth)


def test_what_is_lost_on_average_is_what_luck_brings() -> None:
    """The closed form of an ask's loss is the mean of many runs with luck drawn anew."""
    work = _work()
    ask = next(one for one in work.asks if one.deadline_s is not None and not one.out)
    model = work.best(ask)
    others = [one for one in work.asks if not one.out]
    drawn = []
    for one in others:
        again = type(ask)(
            **{name: getattr(ask, name) for name in type(ask).__dataclass_fields__}
            | {"luck": one.luck, "slowness": one.slowness}
        )
        outcome = work.run(again, model)
        drawn.append(outcome.cost_usd + 0.05 * outcome.missed)
    assert sum(drawn) / len(drawn) == pytest.approx(work.loss(ask, model), abs=0.006)


def test_every_ask_is_decided_and_every_report_is_believed() -> None:
    """Whoever plays: next to nothing is denied, nothing is a dead letter, and no report breaks a rule."""
    for name in (OWN, "round robin", "epsilon-greedy"):
        result = _played(name)
        assert len(result.took_ns) == COUNT
        assert result.denied <= COUNT // 100, name
        assert result.rejected == 0, name


def test_choosing_is_worth_more_than_any_rule_that_learns_nothing() -> None:
    """Once it has learned it loses less than the best, the cheapest and turns; how much is the benchmark's to say."""
    half = COUNT // 2
    own = sum(_played(OWN).regrets_usd[half:])
    for name in ("always the best", "always the cheapest", "round robin", "the default"):
        assert own < sum(_played(name).regrets_usd[half:]), name


def test_an_outage_is_gone_around() -> None:
    """While the provider with most of the work is out, most asks still get an answer of use; from it none do."""
    work = _work()
    model = next(name for name in sorted(work.truth) if work.card(name).provider == work.out)
    own, fixed = _played(OWN), Play(work, rules_with(mode="off"), Fixed(model)).play()
    assert own.missed_while_out < own.asked_while_out / 2 < fixed.missed_while_out


def test_a_crowd_does_better_together_than_each_by_itself() -> None:
    """A hundred agents with eight asks each: what the others measured is worth more than beginning anew."""
    work = workload(rules_with(mode="off").routing, SEED, COUNT, CROWD)
    rules = rules_with(mode="cheapest")
    together, alone = (Play(work, rules, Fixed(None), alone=alone).play() for alone in (False, True))
    assert sum(together.regrets_usd) < 0.9 * sum(alone.regrets_usd)


@cache
def _judged() -> tuple[Workload, list[Logged], dict[str, Judged]]:
    work, logged = history(SEED, 3_000)
    return work, logged, {name: judge(work, logged, target) for name, target in targets(work).items()}


def test_another_router_is_judged_rightly_by_the_propensities_of_the_history() -> None:
    """Of 14 routers each estimate is within 3.5 of its standard errors of the truth, and most are within 2."""
    _, logged, judged = _judged()
    assert len(logged) > 1_000
    assert [name for name, one in judged.items() if one.off > 3.5] == []
    assert sum(one.off <= 2 for one in judged.values()) >= 11


def test_wrong_propensities_would_be_found_out() -> None:
    """As if each choice had been certain, or each model as probable: the same check then fails."""
    work, logged, _ = _judged()
    for wrong in (1.0, 1 / 12):
        taken = [one._replace(propensity=wrong) for one in logged]
        assert any(judge(work, taken, target).off > 3.5 for target in targets(work).values()), wrong
