"""A generated workload whose truth is known: what each model would really do with each ask.

The models, their prices and what is expected of them are those of the shipped `conf/models.yaml`. What is true of them
is drawn from a seed around that: quality by task type, how long they take, how much they write, how often they fail;
and in the middle one provider is out. The sizes of the asks are real ones (`ops_stream/demo/data`).
"""

from __future__ import annotations

import csv
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ops_stream import demo
from ops_stream.core.rules_routing import ModelCard, Routing

MISS_USD: Final = 0.05
"""What it costs whoever wanted the answer that it failed, came too late or was not good enough."""
TASK_TYPES: Final = ("extract", "summarise", "plan", "code", "review")
AGENTS: Final = ("ada", "ben", "cleo")
CROWD: Final = tuple(f"agent-{number:03d}" for number in range(100))
"""Many agents, so that each has few asks: what any of them measures by itself says little."""
COMPLEXITIES: Final = (("low", 0.4), ("medium", 0.4), ("high", 0.2))
EFFECTS: Final = (("none", 0.5), ("reversible", 0.2), ("unknown", 0.3))
EVERY_S: Final = 2.0
"""One ask so often, so that some are under way at any time."""
QUALITY_SPREAD: Final = 0.10
"""How far the truth is from the catalogue, by model and task type (a standard deviation)."""
QUALITY_NOISE: Final = 0.08
"""How far a score is from the truth."""
AGENT_SPREAD: Final = 0.04
"""How far what a model is to one agent is from what it is to all, by agent and model."""
LATENCY_SPREAD: Final = 0.35
LATENCY_NOISE: Final = 0.4
OUT_FROM, OUT_TO = 0.45, 0.60
"""Which part of the run one provider is out for."""
OUT_FAILS: Final = 0.95
FAILED_MS: Final = 1_000.0


@dataclass(frozen=True, slots=True)
class Ask:
    """One ask, with the luck it would have: the same for whichever model runs it."""

    number: int
    at_s: float
    agent: str
    task_type: str
    complexity: str
    effect: str
    read: int
    written: int
    """Tokens that a model of ordinary length writes."""
    said: int
    """What the agent estimates of that."""
    deadline_s: float | None
    out: bool
    """Whether the provider is out when it is asked."""
    luck: float
    slowness: float
    score: float


@dataclass(frozen=True, slots=True)
class Truth:
    """What a model really is."""

    quality: Mapping[str, float]
    fails: float
    latency_ms: float
    length: float
    """How much it writes, of what is ordinary."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one run."""

    failed: bool
    latency_ms: float
    cost_usd: float
    written: int
    quality: float
    """As it was scored."""
    missed: bool
    """Whether it really was of no use: failed, late, or truly not good enough."""


@dataclass(slots=True)
class Workload:
    """Everything that is asked in one run, and what is true."""

    routing: Routing
    asks: Sequence[Ask]
    truth: Mapping[str, Truth]
    out: str
    """The provider that is out in the middle."""
    agents: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """How much better or worse each model is for each agent."""
    _best: list[float] = field(default_factory=list)

    def demanded(self, ask: Ask) -> float:
        """Give the quality that an ask needs."""
        routing = self.routing
        return routing.quality_by_complexity.get(ask.complexity, routing.quality_percent) / 100

    def card(self, model: str) -> ModelCard:
        """Give what the catalogue says of a model."""
        return self.routing.cards[model]

    def cost_usd(self, ask: Ask, model: str) -> float:
        """Give what a run that goes well really costs."""
        card, truth = self.card(model), self.truth[model]
        micros = (
            ask.read * card.input_micros_per_mtok + ask.written * truth.length * card.output_micros_per_mtok
        )
        return micros / 1e12

    def fails(self, ask: Ask, model: str) -> float:
        """Give how likely a run fails."""
        out = ask.out and self.card(model).provider == self.out
        return OUT_FAILS if out else self.truth[model].fails

    def good_enough(self, ask: Ask, model: str) -> bool:
        """Say whether a model is truly good enough for an ask."""
        return self.quality(ask, model) >= self.demanded(ask)

    def quality(self, ask: Ask, model: str) -> float:
        """Give what a model's answer is truly worth."""
        found = self.truth[model].quality[ask.task_type] + self.agents.get((ask.agent, model), 0.0)
        return min(0.99, max(0.05, found))

    def loss(self, ask: Ask, model: str) -> float:
        """Give what an ask costs with a model, a miss among it, on average over its luck."""
        goes = 1 - self.fails(ask, model)
        useful = goes * self._in_time(ask, model) if self.good_enough(ask, model) else 0.0
        return goes * self.cost_usd(ask, model) + (1 - useful) * MISS_USD

    def _in_time(self, ask: Ask, model: str) -> float:
        if ask.deadline_s is None:
            return 1.0
        z = math.log(ask.deadline_s * 1000 / self.truth[model].latency_ms) / LATENCY_NOISE
        return 0.5 * (1 + math.erf(z / math.sqrt(2)))

    def best(self, ask: Ask) -> str:
        """Give the model that whoever knows everything would take."""
        return min(self.truth, key=lambda model: (self.loss(ask, model), model))

    def best_loss(self, ask: Ask) -> float:
        """Give what that costs."""
        if not self._best:
            self._best = [self.loss(one, self.best(one)) for one in self.asks]
        return self._best[ask.number]

    def run(self, ask: Ask, model: str) -> Outcome:
        """Let a model do it, with the luck of this ask."""
        truth = self.truth[model]
        if ask.luck < self.fails(ask, model):
            return Outcome(True, FAILED_MS, 0.0, 0, 0.0, True)
        latency = truth.latency_ms * math.exp(LATENCY_NOISE * ask.slowness)
        late = ask.deadline_s is not None and latency > ask.deadline_s * 1000
        score = min(1.0, max(0.0, self.quality(ask, model) + QUALITY_NOISE * ask.score))
        missed = late or not self.good_enough(ask, model)
        written = round(ask.written * truth.length)
        return Outcome(False, latency, self.cost_usd(ask, model), written, score, missed)


def workload(
    routing: Routing, seed: int, count: int, agents: Sequence[str] = AGENTS, *, outage: bool = True
) -> Workload:
    """Generate a workload; the same seed gives the same."""
    rng = random.Random(f"routers {seed}")
    sizes = _sizes()
    truth = {name: _truth(rng, card) for name, card in routing.cards.items()}
    asks = [_ask(rng, number, count, sizes, agents, outage) for number in range(count)]
    own = random.Random(f"agents {seed}")
    made = Workload(
        routing,
        asks,
        truth,
        "",
        {(agent, model): own.gauss(0, AGENT_SPREAD) for agent in agents for model in truth},
    )
    # Out is whoever would have had most of the work: an outage of others would show nothing.
    had: dict[str, int] = {}
    for ask in asks:
        provider = made.card(made.best(ask)).provider
        had[provider] = had.get(provider, 0) + 1
    made.out = max(sorted(had), key=lambda name: had[name])
    return made


def _sizes() -> list[tuple[int, int]]:
    path = Path(demo.__file__).parent / "data" / "azure-llm-code-2023-first-600.csv"
    with path.open(encoding="utf-8") as file:
        return [(int(row["ContextTokens"]), int(row["GeneratedTokens"])) for row in csv.DictReader(file)]


def _truth(rng: random.Random, card: ModelCard) -> Truth:
    expected = card.quality_percent / 100
    return Truth(
        {kind: min(0.99, max(0.05, rng.gauss(expected, QUALITY_SPREAD))) for kind in TASK_TYPES},
        rng.uniform(0.005, 0.04),
        (card.latency_ms or 5_000) * math.exp(rng.gauss(0, LATENCY_SPREAD)),
        math.exp(rng.gauss(0, 0.2)),
    )


def _ask(
    rng: random.Random,
    number: int,
    count: int,
    sizes: Sequence[tuple[int, int]],
    agents: Sequence[str],
    outage: bool,
) -> Ask:
    read, written = rng.choice(sizes)
    return Ask(
        number,
        number * EVERY_S,
        rng.choice(agents),
        rng.choice(TASK_TYPES),
        _one_of(rng, COMPLEXITIES),
        _one_of(rng, EFFECTS),
        max(1, read),
        max(1, written),
        max(1, round(written * math.exp(rng.gauss(0, 0.3)))),
        rng.uniform(5, 30) if rng.random() < 0.25 else None,
        outage and OUT_FROM <= number / count < OUT_TO,
        rng.random(),
        rng.gauss(0, 1),
        rng.gauss(0, 1),
    )


def _one_of(rng: random.Random, choices: Sequence[tuple[str, float]]) -> str:
    return rng.choices([name for name, _ in choices], [share for _, share in choices])[0]
