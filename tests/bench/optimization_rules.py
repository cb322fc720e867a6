"""Rules that choose a model in a world of known truth, and what becomes of a fleet under one of them.

None of them needs the core: what they choose follows from what was reported alone. ops-stream is played through the
core (`optimization_play.py`) and counted likewise.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from tests.bench.optimization_world import (
    DAY_MS,
    QUALITY_MARGIN,
    START_MS,
    USUAL,
    Ask,
    Outcome,
    World,
    asks,
    run,
)

HOUR_MS: Final = 3_600_000
LOOK_MS: Final = 6 * HOUR_MS
"""How often a rule looks at its figures: ops-stream and the greedy one alike."""
GREEDY_REPORTS: Final = 30


class Adoption(NamedTuple):
    """One time at which a model, or the router, was put into force for more than a trial."""

    kind: str
    model: str
    at_ms: int
    false: bool
    """Whether it was truly not better then."""
    permanent_ms: int | None
    """When a person approved that it stays."""
    until_ms: int | None
    """When it was taken back; None where it never was."""


@dataclass(slots=True)
class Played:
    """What became of one fleet under one rule."""

    cost_usd: float = 0.0
    score: float = 0.0
    asks: int = 0
    touched: int = 0
    """Asks that got another model because of a trial."""
    changed: int = 0
    """Asks that got another model because of what was adopted."""
    critical_changed: int = 0
    """Critical asks, or asks that name their model, that got another than their own: there must be none."""
    trials: int = 0
    adoptions: list[Adoption] = field(default_factory=list)
    steps: int = 0
    odd: list[str] = field(default_factory=list)
    """Asks that were not approved, and dead letters: there must be none."""
    by_day: list[float] = field(default_factory=list)
    """What was spent each day."""


class Rule:
    """Chooses nothing: every ask gets the usual model, or the one that it names."""

    def choose(self, ask: Ask) -> str:
        """Name the model of asks for which another may be chosen, as of this one."""
        return USUAL

    def learn(self, model: str, outcome: Outcome) -> None:
        """Hear of a report."""


class Knowing(Rule):
    """Takes what is truly best at any moment."""

    def __init__(self, world: World) -> None:
        """Know everything."""
        self._world = world

    def choose(self, ask: Ask) -> str:
        """Give the best."""
        return self._world.best(ask.at_ms)


class Greedy(Rule):
    """Takes for all asks what has been cheapest on average at a quality not below the usual model's, at each look.

    As for ops-stream, up to 0.03 less counts as not below. Thirty reports are enough for it.
    """

    def __init__(self) -> None:
        """Begin with the usual model."""
        self._seen: dict[str, tuple[int, float, float]] = {}
        self._look = START_MS + LOOK_MS
        self._chosen = USUAL

    def choose(self, ask: Ask) -> str:
        """Give what the last look found."""
        self._compare(ask.at_ms)
        return self._chosen

    def _compare(self, now_ms: int) -> None:
        """Compare the means when it is time."""
        if now_ms < self._look:
            return
        self._look += ((now_ms - self._look) // LOOK_MS + 1) * LOOK_MS
        known = {name: row for name, row in self._seen.items() if row[0] >= GREEDY_REPORTS}
        if USUAL not in known:
            return
        number, _, score = known[USUAL]
        least = score / number - QUALITY_MARGIN
        good = {name: row for name, row in known.items() if row[2] / row[0] >= least}
        best = min(sorted(good), key=lambda name: good[name][1] / good[name][0])
        self._chosen = best

    def learn(self, model: str, outcome: Outcome) -> None:
        """Add it to the model's sums."""
        number, cost, score = self._seen.get(model, (0, 0.0, 0.0))
        self._seen[model] = (number + 1, cost + outcome.cost_usd, score + outcome.score)


class Chances:
    """Gives each ask the outcome that it has with a model, and adds it up."""

    def __init__(self, world: World) -> None:
        """Begin with nothing run."""
        self.world = world
        self.result = Played(by_day=[0.0] * world.days)
        self._runs: dict[str, int] = {}

    def run(self, ask: Ask, model: str) -> Outcome:
        """Run an ask."""
        earlier = self._runs.get(model, 0)
        self._runs[model] = earlier + 1
        outcome, result = run(self.world, ask, model, earlier), self.result
        result.asks += 1
        result.cost_usd += outcome.cost_usd
        result.score += outcome.score
        result.by_day[(ask.at_ms - START_MS) // DAY_MS] += outcome.cost_usd
        return outcome


def play_rule(world: World, seed: int, rule: Rule) -> Played:
    """Play a fleet under a rule other than ops-stream."""
    chances = Chances(world)
    result, in_force = chances.result, None
    since: Adoption | None = None
    reports: list[tuple[int, int, str, Outcome]] = []
    for ask in asks(world, seed):
        while reports and reports[0][0] <= ask.at_ms:
            _, _, model, outcome = heapq.heappop(reports)
            rule.learn(model, outcome)
        chosen = rule.choose(ask)
        if chosen != in_force:
            if since is not None:
                result.adoptions.append(since._replace(until_ms=ask.at_ms))
            since = None if chosen == USUAL else _adopted(world, chosen, ask.at_ms)
            in_force = chosen
        model = chosen if ask.free else ask.named or USUAL
        result.changed += ask.free and model != USUAL
        outcome = chances.run(ask, model)
        heapq.heappush(reports, (ask.at_ms + outcome.latency_ms, ask.number, model, outcome))
    if since is not None:
        result.adoptions.append(since)
    return result


def _adopted(world: World, model: str, at_ms: int) -> Adoption:
    return Adoption("rule", model, at_ms, not world.better(model, at_ms), None, None)
