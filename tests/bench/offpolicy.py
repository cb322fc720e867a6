"""Whether another way of choosing can be judged by the history: from the propensities that approvals tell.

Models are chosen and tried out through the core, with everything that risks little; what was recorded then estimates
what other routers would have lost on the same asks (inverse propensity scoring: each ask on which both agree counts as
often as it was improbable). The truth of the workload says what they would have lost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import sqrt
from statistics import fmean, stdev
from typing import Any, Final, NamedTuple

from ops_stream.core.rules_routing import ModelCard
from tests.bench.routers import Fixed, Play, rules_with
from tests.bench.workload import MISS_USD, Ask, Workload, workload

SHARE: Final = 50
"""Hundredths that try another model: as many as the rules allow."""
Target = Callable[[Ask], str]


class Judged(NamedTuple):
    """What a router would lose with an ask on average, in dollars: as history tells it, and as it is."""

    estimate: float
    error: float
    """The standard error of the estimate."""
    truth: float

    @property
    def off(self) -> float:
        """How many standard errors the estimate is off."""
        return abs(self.estimate - self.truth) / self.error


class Logged(NamedTuple):
    """One ask of the history."""

    ask: Ask
    model: str
    propensity: float
    lost: float


def history(seed: int, count: int) -> tuple[Workload, list[Logged]]:
    """Let models be chosen and tried out; give the asks of which any model might have been tried.

    Nobody is out and no circuit opens, no ask has a deadline: each model may be chosen for each of them.
    """
    rules = rules_with(explore_percent=SHARE, failures=100, window=100)
    work = workload(rules.routing, seed, count, outage=False)
    played = Play(work, rules, Fixed(None)).play()
    logged = [
        Logged(ask, model, propensity, _lost(work, ask, model))
        for ask, model, propensity in played.chosen
        if propensity is not None and propensity < 1 and ask.deadline_s is None
    ]
    return work, logged


def judge(work: Workload, logged: Sequence[Logged], target: Target) -> Judged:
    """Estimate what a router would have lost, and look it up."""
    weighed = [one.lost / one.propensity if target(one.ask) == one.model else 0.0 for one in logged]
    truth = fmean(_lost(work, one.ask, target(one.ask)) for one in logged)
    return Judged(fmean(weighed), stdev(weighed) / sqrt(len(weighed)), truth)


def measure_offpolicy(say: Callable[[str], None], *, seed: int = 11, count: int = 5_000) -> dict[str, Any]:
    """Judge other routers by a history, and say what they would really have lost."""
    work, logged = history(seed, count)
    found = {name: judge(work, logged, target) for name, target in targets(work).items()}
    for name, one in found.items():
        say(
            f"routers, judged by the history, {name}: {1000 * one.estimate:.2f} $ ± {1960 * one.error:.2f} $ on 1,000 "
            f"asks, in truth {1000 * one.truth:.2f} $"
        )
    return {
        "judged": {name: one._asdict() for name, one in found.items()},
        "asks": len(logged),
        "share": SHARE,
    }


def targets(work: Workload) -> Mapping[str, Target]:
    """Give routers to be judged: each model for itself, turns, and the cheapest that the catalogue takes for good."""
    names, cards = sorted(work.truth), work.routing.cards.values()

    def cheap(ask: Ask) -> str:
        def cost(card: ModelCard) -> int:
            return ask.read * card.input_micros_per_mtok + ask.said * card.output_micros_per_mtok

        good = [card for card in cards if card.quality_percent / 100 >= work.demanded(ask)]
        return min(good, key=lambda card: (cost(card), card.name)).name

    def always(name: str) -> Target:
        return lambda ask: name

    return {
        "the catalogue alone": cheap,
        "round robin": lambda ask: names[ask.number % len(names)],
        **{f"always {name}": always(name) for name in names},
    }


def _lost(work: Workload, ask: Ask, model: str) -> float:
    outcome = work.run(ask, model)
    return outcome.cost_usd + MISS_USD * outcome.missed
