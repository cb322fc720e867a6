"""What a choice of models is worth: part of `make bench`, and alone `python -m tests.bench --only routers`.

Every router meets the same asks with the same luck (`tests/bench/workload.py`). Each ask goes through the core, as
JSON, and so does each report, in the order of time: ops-stream's own choice is that of its answers, the others name
their model in `required_model`. Regret is what a router's choices cost on average over their luck, misses among it,
beyond those of somebody who knows everything. There are two workloads: few agents with many asks, and a crowd with few
asks each, where whoever learns from each agent alone begins anew a hundred times.
"""

from __future__ import annotations

import heapq
import json
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from statistics import mean, median
from time import thread_time_ns
from typing import Any, Final, NamedTuple, Protocol

from ops_stream.contract.rooms import room
from ops_stream.core.inputs import Tick
from ops_stream.core.intake import read_input
from ops_stream.core.journal.record import RawInput
from ops_stream.core.outputs import Output
from ops_stream.core.rules_model import Rules
from ops_stream.core.rules_routing import Routing
from ops_stream.core.state import State
from ops_stream.core.step import step
from ops_stream.rules.bundle import POLICIES, compile_bundle
from tests.bench.workload import AGENTS, CROWD, MISS_USD, TASK_TYPES, Ask, Outcome, Workload, workload

SEEDS: Final = (11, 12, 13)
"""Not those (1 to 4) on which the shipped `evidence_weight` was chosen."""
ASKS: Final = 2_000
START_MS: Final = 1_795_525_200_000  # 2026-11-24T13:00:00Z
EPSILON: Final = 0.1
TENANT: Final = "team-a"
OWN: Final = "ops-stream"
EXPLORE_PERCENT: Final = 10
HEAVY: Final = 20
"""An `evidence_weight` for a catalogue that is trusted more than the shipped one."""


class Router(Protocol):
    """Chooses a model for an ask, and learns from what became of it."""

    def choose(self, ask: Ask) -> str | None:
        """Name a model; None to leave it to the supervisor."""
        ...

    def learn(self, ask: Ask, model: str, outcome: Outcome) -> None:
        """Hear what a report says."""
        ...


@dataclass(slots=True)
class Fixed:
    """Takes one model, or leaves all to the supervisor."""

    model: str | None

    def choose(self, ask: Ask) -> str | None:
        """Give it."""
        return self.model

    def learn(self, ask: Ask, model: str, outcome: Outcome) -> None:
        """Learn nothing."""


@dataclass(slots=True)
class RoundRobin:
    """Takes one after the other."""

    models: Sequence[str]

    def choose(self, ask: Ask) -> str:
        """Give the next."""
        return self.models[ask.number % len(self.models)]

    def learn(self, ask: Ask, model: str, outcome: Outcome) -> None:
        """Learn nothing."""


@dataclass(slots=True)
class Knowing:
    """Takes what is best, knowing the truth and the outage: nobody can do better on average."""

    work: Workload

    def choose(self, ask: Ask) -> str:
        """Give the best."""
        return self.work.best(ask)

    def learn(self, ask: Ask, model: str, outcome: Outcome) -> None:
        """Learn nothing."""


@dataclass(slots=True)
class EpsilonGreedy:
    """Takes what has cost least so far at such asks, misses among it, and in one of ten any other.

    It begins with what the catalogue says, counted as one report. That a score was too low is all that it knows of
    misses, as the supervisor does.
    """

    work: Workload
    rng: random.Random
    per_agent: bool = False
    """Whether it learns for each agent by itself, as the supervisor does."""
    seen: dict[tuple[str, ...], tuple[int, float]] = field(default_factory=dict)

    def choose(self, ask: Ask) -> str:
        """Give the best so far, or any."""
        if self.rng.random() < EPSILON:
            return self.rng.choice(sorted(self.work.truth))
        return min(sorted(self.work.truth), key=lambda model: self._mean(ask, model))

    def learn(self, ask: Ask, model: str, outcome: Outcome) -> None:
        """Take in what it cost."""
        late = ask.deadline_s is not None and outcome.latency_ms > ask.deadline_s * 1000
        missed = outcome.failed or late or outcome.quality < self.work.demanded(ask)
        key = self._key(ask, model)
        count, sum_ = self.seen.get(key, (0, 0.0))
        self.seen[key] = (count + 1, sum_ + outcome.cost_usd + (MISS_USD if missed else 0.0))

    def _key(self, ask: Ask, model: str) -> tuple[str, ...]:
        return (ask.agent if self.per_agent else "", ask.task_type, ask.complexity, model)

    def _mean(self, ask: Ask, model: str) -> float:
        card = self.work.card(model)
        micros = ask.read * card.input_micros_per_mtok + ask.said * card.output_micros_per_mtok
        expected = micros / 1e12 + (MISS_USD if card.quality_percent / 100 < self.work.demanded(ask) else 0.0)
        count, sum_ = self.seen.get(self._key(ask, model), (0, 0.0))
        return (expected + sum_) / (1 + count)


@dataclass(slots=True)
class Played:
    """What became of one run of a router."""

    spent_usd: float = 0.0
    missed: int = 0
    missed_while_out: int = 0
    asked_while_out: int = 0
    regrets_usd: list[float] = field(default_factory=list)
    denied: int = 0
    rejected: int = 0
    """Dead letters, and alerts about reports that are not believed."""
    models: set[str] = field(default_factory=set)
    took_ns: list[int] = field(default_factory=list)
    chosen: list[tuple[Ask, str, float | None]] = field(default_factory=list)
    """Each ask that was approved, the model that it got, and how probable the approval says that was."""


class Play:
    """One router with one workload, through the core."""

    def __init__(self, work: Workload, rules: Rules, router: Router, *, alone: bool = False) -> None:
        """Begin with nothing known, and the agents registered; `alone` each in a tenant of its own."""
        self.work, self.rules, self.router, self.alone = work, rules, router, alone
        self.state = State(0, 1)
        self.result = Played()
        self._offsets: dict[str, int] = {}
        self._reports: list[tuple[int, int, Ask, str, Outcome]] = []
        for agent in dict.fromkeys(ask.agent for ask in work.asks):
            body = {"event": "AgentRegistration", "agent": agent, "tenant": self._tenant(agent)}
            self._send("agents", {**body, "role": "worker", "capabilities": list(TASK_TYPES)}, START_MS)

    def play(self) -> Played:
        """Let everything be asked and reported."""
        for ask in self.work.asks:
            now = START_MS + round(ask.at_s * 1000)
            self._report_until(now)
            self._ask(ask, now)
        self._report_until(None)
        return self.result

    def _tenant(self, agent: str) -> str:
        return agent if self.alone else TENANT

    def _ask(self, ask: Ask, now: int) -> None:
        result = self.result
        body = _request(ask, self.router.choose(ask), now, self._tenant(ask.agent))
        started = thread_time_ns()
        outputs = self._send("task-requests", body, now)
        result.took_ns.append(thread_time_ns() - started)
        (answer,) = (one.value for one in outputs if one.type == "TaskApproval")
        result.asked_while_out += ask.out
        if answer["decision"] != "approved":
            result.denied += 1
            result.missed += 1
            result.missed_while_out += ask.out
            result.regrets_usd.append(MISS_USD - self.work.best_loss(ask))
            return
        model = answer["model"]
        outcome = self.work.run(ask, model)
        result.models.add(model)
        result.chosen.append((ask, model, answer.get("propensity")))
        result.spent_usd += outcome.cost_usd
        result.missed += outcome.missed
        result.missed_while_out += outcome.missed and ask.out
        result.regrets_usd.append(self.work.loss(ask, model) - self.work.best_loss(ask))
        heapq.heappush(self._reports, (now + round(outcome.latency_ms), ask.number, ask, model, outcome))

    def _report_until(self, now: int | None) -> None:
        while self._reports and (now is None or self._reports[0][0] <= now):
            at, _, ask, model, outcome = heapq.heappop(self._reports)
            self._send("telemetry", _report(ask, outcome, self._tenant(ask.agent)), at)
            self.router.learn(ask, model, outcome)

    def _send(self, topic: str, body: Mapping[str, Any], now: int) -> Sequence[Output]:
        due = self.state.next_due_ms()
        while due is not None and due <= now:
            tick = step(self.state, Tick(), self.rules, due)
            self.state.apply(tick.changes)
            due = self.state.next_due_ms()
        offset = self._offsets[topic] = self._offsets.get(topic, -1) + 1
        raw = RawInput(topic, 0, offset, now, json.dumps(body).encode(), ())
        decision = step(self.state, read_input(raw), self.rules, now)
        self.state.apply(decision.changes)
        for output in decision.outputs:
            told = output.type == "Alert" and output.value["kind"] == "telemetry_invalid"
            self.result.rejected += told or output.type == "DeadLetter"
        return decision.outputs


def _request(ask: Ask, model: str | None, now: int, tenant: str) -> dict[str, Any]:
    """Make an ask that does not say how long it takes: by an estimate beyond its deadline it would be denied."""
    body: dict[str, Any] = {
        "request_id": f"r{ask.number}",
        "task_id": f"t{ask.number}",
        "agent": ask.agent,
        "tenant": tenant,
        "task_description": f"Do {ask.task_type} number {ask.number}",
        "task_type": ask.task_type,
        "complexity": ask.complexity,
        "effect": ask.effect,
        "estimated_input_tokens": ask.read,
        "estimated_output_tokens": ask.said,
    }
    if model is not None:
        body["required_model"] = model
    if ask.deadline_s is not None:
        at = datetime.fromtimestamp((now + round(ask.deadline_s * 1000)) / 1000, UTC)
        body["deadline"] = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return body


def _report(ask: Ask, outcome: Outcome, tenant: str) -> dict[str, Any]:
    body: dict[str, Any] = {
        "event_id": f"e{ask.number}",
        "request_id": f"r{ask.number}",
        "task_id": f"t{ask.number}",
        "agent": ask.agent,
        "tenant": tenant,
        "kind": "failed" if outcome.failed else "completed",
        "latency_ms": round(outcome.latency_ms),
        "cost_usd": round(outcome.cost_usd, 6),
    }
    if outcome.failed:
        return body | {"error": "unavailable", "error_class": "transient"}
    return body | {
        "success": True,
        "quality_score": round(outcome.quality, 3),
        "input_tokens": ask.read,
        "output_tokens": outcome.written,
    }


def rules_with(**settings: str | int) -> Rules:
    """Compile the shipped catalogue with other settings of the choice; no policies, budgets or triggers beside it."""
    text = (room("conf") / "models.yaml").read_text(encoding="utf-8")
    head, section, rest = text.partition("\nrouting:\n")
    assert section
    for name, value in settings.items():
        rest, replaced = re.subn(rf"^( +{name}:) \S+", rf"\g<1> {value}", rest, flags=re.MULTILINE)
        assert replaced == 1, f"conf/models.yaml has no routing.{name}"
    return compile_bundle({POLICIES: "version: 1\n", "models.yaml": head + section + rest})


class Way(NamedTuple):
    """A router, the rules that it plays under, and whether each agent has a tenant of its own."""

    rules: Rules
    router: Router
    alone: bool = False


def routers(work: Workload, seed: int) -> dict[str, Way]:
    """Give every router."""
    off, on = rules_with(mode="off"), rules_with(mode="cheapest")
    cards = work.routing.cards.values()
    cheapest = min(
        cards, key=lambda card: (card.input_micros_per_mtok + card.output_micros_per_mtok, card.name)
    )
    best = max(cards, key=lambda card: (card.quality_percent, card.name))
    luck = random.Random(f"epsilon {seed}"), random.Random(f"epsilon {seed}")
    return {
        "knowing everything": Way(off, Knowing(work)),
        OWN: Way(on, Fixed(None)),
        f"{OWN}, each agent by itself": Way(on, Fixed(None), alone=True),
        f"{OWN}, evidence_weight {HEAVY}": Way(rules_with(evidence_weight=HEAVY), Fixed(None)),
        f"{OWN}, exploring {EXPLORE_PERCENT} %": Way(
            rules_with(explore_percent=EXPLORE_PERCENT), Fixed(None)
        ),
        "epsilon-greedy": Way(off, EpsilonGreedy(work, luck[0])),
        "epsilon-greedy, each agent by itself": Way(off, EpsilonGreedy(work, luck[1], per_agent=True)),
        f"always the best ({best.name})": Way(off, Fixed(best.name)),
        f"the default ({off.models.default})": Way(off, Fixed(None)),
        "round robin": Way(off, RoundRobin(sorted(work.truth))),
        f"always the cheapest ({cheapest.name})": Way(off, Fixed(cheapest.name)),
    }


def measure_routers(
    say: Callable[[str], None], *, seeds: Sequence[int] = SEEDS, count: int = ASKS
) -> dict[str, Any]:
    """Play every router with every seed: for few agents, and for a crowd."""
    routing: Routing = rules_with(mode="off").routing
    return {
        "routers": _played(say, routing, seeds, count, AGENTS),
        "crowd": _played(say, routing, seeds, count, CROWD),
        "asks": count,
        "agents": [len(AGENTS), len(CROWD)],
        "seeds": list(seeds),
        "models": len(routing.cards),
        "miss_usd": MISS_USD,
    }


def _played(
    say: Callable[[str], None], routing: Routing, seeds: Sequence[int], count: int, agents: Sequence[str]
) -> dict[str, dict[str, float]]:
    played: dict[str, list[Played]] = {}
    for seed in seeds:
        work = workload(routing, seed, count, agents)
        for name, way in routers(work, seed).items():
            played.setdefault(name, []).append(Play(work, way.rules, way.router, alone=way.alone).play())
    found = {name: _summary(runs, count) for name, runs in played.items()}
    for name, row in found.items():
        say(
            f"routers, {len(agents)} agents, {name}: regret {row['regret_usd']:.2f} $ "
            f"({row['regret_usd_least']:.2f} to {row['regret_usd_most']:.2f}) and {row['spent_usd']:.2f} $ spent "
            f"on 1,000 asks, {row['missed_percent']:.1f} % missed, "
            f"{row['missed_while_out_percent']:.1f} % while a provider is out; {row['ask_us']:.0f} µs an ask"
        )
    return found


def _summary(runs: Sequence[Played], count: int) -> dict[str, float]:
    """Give the means over the seeds, for a thousand asks."""
    regrets = [1000 * mean(run.regrets_usd) for run in runs]
    return {
        "regret_usd": mean(regrets),
        "regret_usd_least": min(regrets),
        "regret_usd_most": max(regrets),
        "regret_at_first_usd": mean(1000 * mean(run.regrets_usd[: count // 4]) for run in runs),
        "regret_at_last_usd": mean(1000 * mean(run.regrets_usd[-count // 4 :]) for run in runs),
        "spent_usd": mean(1000 * run.spent_usd / count for run in runs),
        "missed_percent": mean(100 * run.missed / count for run in runs),
        "missed_while_out_percent": mean(100 * run.missed_while_out / run.asked_while_out for run in runs),
        "denied_percent": mean(100 * run.denied / count for run in runs),
        "models_used": mean(len(run.models) for run in runs),
        "ask_us": median(took for run in runs for took in run.took_ns) / 1000,
    }
