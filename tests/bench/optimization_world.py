"""Small fleets whose truth is known: what each model really costs and does, and what its catalogue claims of it.

The asks and their luck are drawn from a seed and are the same for whichever model runs them and whichever rule chooses,
so that rules differ in nothing but their choices.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

START_MS: Final = 1_795_478_400_000  # 2026-11-24T00:00:00Z
DAY_MS: Final = 86_400_000
PER_DAY: Final = 120
DRIFT_DAY: Final = 7
TENANT: Final = "team-a"
TASK_TYPE: Final = "summarise"
USUAL: Final = "steady"
"""The model that asks get that name none."""
AGENTS: Final = ("ada", "ben")
NAMED: Final = 0.15
"""The share of asks that name one of the other models, so that something is known of these."""
CRITICAL: Final = 0.10
"""The share of asks that nobody may try anything with."""
QUALITY: Final = 0.80
FAILS: Final = 0.015
SCORE_NOISE: Final = 0.10
COST_NOISE: Final = 0.30
LATENCY_MS: Final = 30_000
LATENCY_NOISE: Final = 0.3
LUCKY_COST: Final = 0.6
LUCKY_SCORE: Final = 0.10
SAVING_MIN: Final = 0.05
QUALITY_MARGIN: Final = 0.03
"""What counts as worth a change, and as equal quality: the settings `saving_min_percent` and `quality_margin_percent`
as they are shipped. A change is truly better by the same measure."""


@dataclass(frozen=True, slots=True)
class Truth:
    """What a model is, and what its catalogue says of it. Prices are dollars for a million tokens."""

    input_usd: float = 2.0
    output_usd: float = 8.0
    claimed_percent: int = 80
    dearer: float = 1.0
    """What it costs of its list price: more where it writes more than others for the same work."""
    quality: float = QUALITY
    drifted: float | None = None
    """Its quality from `DRIFT_DAY` on, where it becomes another."""
    lucky: int = 0
    """So many of its first reports are lucky: cheaper and better than it is."""

    def price(self) -> float:
        """Give what it costs of what the usual model costs: asks read and write in one proportion."""
        return self.input_usd / 2.0 * self.dearer

    def quality_at(self, at_ms: int) -> float:
        """Give its quality at a moment."""
        late = at_ms >= START_MS + DRIFT_DAY * DAY_MS
        return self.drifted if late and self.drifted is not None else self.quality


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """Some models, of which `USUAL` is the default, and whether there is anything to find among the others."""

    name: str
    what: str
    days: int
    """How long its fleets are played: as long as something can happen in it."""
    others: Mapping[str, Truth]
    usual: Truth = field(default_factory=Truth)

    def truth(self, model: str) -> Truth:
        """Give what a model is."""
        return self.usual if model == USUAL else self.others[model]

    def better(self, model: str, at_ms: int) -> bool:
        """Say whether a model truly saves something worth it at this moment, without a loss of quality."""
        truth = self.truth(model)
        if model == USUAL or truth.price() > self.usual.price() * (1 - SAVING_MIN):
            return False
        return truth.quality_at(at_ms) >= self.usual.quality_at(at_ms) - QUALITY_MARGIN

    def best(self, at_ms: int) -> str:
        """Give the model of who knows everything: the cheapest that is truly better, else the usual one."""
        found = [name for name in self.others if self.better(name, at_ms)]
        return min(found, key=lambda name: (self.others[name].price(), name), default=USUAL)


WORLDS: Final = (
    World(
        "cheaper",
        "a model at half the price that is truly as good",
        9,
        {"lean": Truth(input_usd=1.0, output_usd=4.0)},
    ),
    World(
        "worse",
        "a model at half the price whose catalogue claims that it is as good; in truth it is 0.12 worse",
        6,
        {"lean": Truth(input_usd=1.0, output_usd=4.0, quality=QUALITY - 0.12)},
    ),
    World(
        "lucky",
        "a model of the same price, 0.02 worse, whose first 30 reports cost 40 % less and score 0.10 more",
        7,
        {"lean": Truth(quality=QUALITY - 0.02, lucky=30)},
    ),
    World(
        "drifting",
        f"a model at half the price that is as good for {DRIFT_DAY} days and then 0.20 worse",
        12,
        {"lean": Truth(input_usd=1.0, output_usd=4.0, drifted=QUALITY - 0.20)},
    ),
    World(
        "alike",
        "three models that claim to be 20 to 30 % cheaper, and write so much more that all cost the same",
        8,
        {
            "lean": Truth(input_usd=1.4, output_usd=5.6, dearer=1 / 0.7),
            "spare": Truth(input_usd=1.5, output_usd=6.0, dearer=1 / 0.75),
            "thrift": Truth(input_usd=1.6, output_usd=6.4, dearer=1 / 0.8),
        },
    ),
)


@dataclass(frozen=True, slots=True)
class Ask:
    """One ask, with the luck that it would have with any model."""

    number: int
    at_ms: int
    agent: str
    named: str
    """The model that it demands; empty for none."""
    critical: bool
    read: int
    written: int
    cost_luck: float
    score_luck: float
    fail_luck: float
    slowness: float

    @property
    def free(self) -> bool:
        """Whether another model may be chosen for it."""
        return not self.named and not self.critical


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an ask."""

    cost_usd: float
    score: float
    """0 where it failed."""
    failed: bool
    latency_ms: int


def asks(world: World, seed: int) -> list[Ask]:
    """Draw the asks of a fleet, the same for every world of one set of models."""
    rng = random.Random(f"optimization {seed}")
    every, others = DAY_MS // PER_DAY, sorted(world.others)
    return [
        Ask(
            number,
            START_MS + number * every + rng.randrange(every // 2),
            AGENTS[number % len(AGENTS)],
            others[number % len(others)] if rng.random() < NAMED else "",
            rng.random() < CRITICAL,
            size * 4,
            size,
            math.exp(rng.gauss(-(COST_NOISE**2) / 2, COST_NOISE)),
            rng.gauss(0.0, SCORE_NOISE),
            rng.random(),
            math.exp(rng.gauss(0.0, LATENCY_NOISE)),
        )
        for number, size in ((number, rng.randrange(200, 600)) for number in range(world.days * PER_DAY))
    ]


def run(world: World, ask: Ask, model: str, earlier: int) -> Outcome:
    """Say what becomes of an ask with a model that has run `earlier` asks before it."""
    truth = world.truth(model)
    lucky = earlier < truth.lucky
    listed = (ask.read * truth.input_usd + ask.written * truth.output_usd) / 1e6
    cost = listed * truth.dearer * ask.cost_luck * (LUCKY_COST if lucky else 1.0)
    failed = ask.fail_luck < FAILS
    score = truth.quality_at(ask.at_ms) + ask.score_luck + (LUCKY_SCORE if lucky else 0.0)
    score = 0.0 if failed else round(min(1.0, max(0.0, score)), 3)
    return Outcome(round(cost, 6), score, failed, round(LATENCY_MS * ask.slowness))


def catalogue(world: World) -> str:
    """Give the world's `models.yaml`: what is claimed."""
    lines = ["version: 1", f"default: {USUAL}", "models:"]
    for name in (USUAL, *sorted(world.others)):
        truth = world.truth(name)
        lines += [
            f"  - name: {name}",
            f"    input_usd: {truth.input_usd}",
            f"    output_usd: {truth.output_usd}",
            f"    quality_percent: {truth.claimed_percent}",
            f"    latency_ms: {LATENCY_MS}",
        ]
    return "\n".join(lines) + "\n"
