"""Rules for mixtures of workflows and models: what is chosen, limited, tried again, asked of people, or fails."""

from __future__ import annotations

from random import Random
from typing import Any

from ops_stream.core.rules_effects import Effects
from ops_stream.core.rules_kills import AutomaticKill, Kills
from ops_stream.core.rules_lifecycle import Lifecycle
from ops_stream.core.rules_load import Batch, BatchWindow, Limits, Load, ProviderLimits
from ops_stream.core.rules_model import ANY, Agents, Budgets, DeclaredAgent, Enforcement, Limit, Models, Rules
from ops_stream.core.rules_model import Supervisor as Settings
from ops_stream.core.rules_retries import Plan, Retries
from ops_stream.core.rules_routing import Breaker, ModelCard, Routing
from tests.core.policies import TestPolicies, TestPolicy
from tests.core.test_step import BrokenModels
from tests.core.world import DIGEST

TENANTS = ("team-a", "team-b")
POLICIES = (
    TestPolicy("dear", "escalate", "cost > 2"),
    TestPolicy("review", "escalate", "task_type == 'review'"),
    TestPolicy("never", "block", "cost > 2.5"),
    TestPolicy("later", "queue_for_batch_processing", "cost > 1.5", 1),
    TestPolicy("cheap", "cap", "cost > 0", parameters={"cost_micros": 700_000}),
    TestPolicy("quick", "cap", "cost > 0", parameters={"time_s": 20}),
    TestPolicy("down", "downgrade_model", "cost > 0.9", 3),
    TestPolicy("small", "reroute", "priority < 9", 1, parameters={"model": "small"}),
    TestPolicy("bob", "reroute", "cost > 1.5", 4, parameters={"agent": "bob"}),
    TestPolicy("undecided", "block", "nothing > 1 and cost > 2"),
    TestPolicy("after", "escalate", "cost_usd > 2", when="telemetry"),
)


class _Flaky(TestPolicies):
    """Policies that fail where it is about one step."""

    def __init__(self, policies: list[TestPolicy]) -> None:
        super().__init__(policies)
        self.fields = self.fields | {"task_id"}

    def match(self, when: Any, view: Any) -> Any:
        if when == "request" and str(view.get("task_id", "")).endswith("s1"):
            raise RuntimeError("a bug")
        return super().match(when, view)


def random_rules(rng: Random) -> Rules:
    """Rules under which anything can come between a step and its end."""
    policies = rng.sample(POLICIES, rng.choice((0, 0, 1, 2, 3)))
    limit = Limit(rng.choice((0, 3_000_000, 90_000_000, 90_000_000)), "total")
    declared = {("team-a", "ann"): DeclaredAgent("ann", task_types=frozenset(("general",)))}
    automatic = (
        AutomaticKill("burst", agent="ann", asks=3, within_s=120),
        AutomaticKill("dear", spend_micros=4_000_000),
    )
    return Rules(
        DIGEST,
        supervisor=Settings(
            workflow_attempts=rng.choice((1, 2, 2, 3)),
            workflow_wait_s=rng.choice((1, 300, 3_600)),
            escalation_ttl_s=rng.choice((60, 600)),
            remember_s=rng.choice((1, 300, 86_400, 86_400)),
            remember_max=rng.choice((3, 1_000, 1_000)),
            open_max=rng.choice((4, 1_000, 1_000)),
            retries_max=rng.choice((None, None, 0, 1)),
            hold_safety=rng.choice(("off", "learned")),
            enforcement=(Enforcement("team-b", ANY, "observe", rng.choice((0, 0, 0, 50, 100))),),
        ),
        budgets=Budgets({name: limit for name in TENANTS if rng.random() < 0.5}),
        models=(BrokenModels if rng.random() < 0.04 else Models)(
            "large", ("large", "medium", "small", "spare")
        ),
        policies=(_Flaky if rng.random() < 0.1 else TestPolicies)(policies),
        agents=Agents(declared if rng.random() < 0.2 else {}),
        effects=Effects(
            rng.random() < 0.3, task_types={"ship": "irreversible"} if rng.random() < 0.5 else {}
        ),
        lifecycle=rng.choice((Lifecycle(), Lifecycle(dead_after_s=90, warn_after=2, suspend_after=4))),
        kills=Kills(confirm_s=5, automatic=automatic[: rng.choice((0, 0, 1, 2))]),
        routing=_routing(rng),
        load=_load(rng),
        retries=_retries(rng),
    )


def _routing(rng: Random) -> Routing:
    some = rng.choice((frozenset[str](), frozenset(("team-a",))))
    cards = [
        ModelCard(
            "large",
            5_000_000,
            25_000_000,
            "north",
            200_000,
            4_000,
            90,
            frozenset(("vision",)),
            fallbacks=("medium",),
        ),
        ModelCard(
            "medium", 1_000_000, 5_000_000, "north", 100_000, rng.choice((None, 50)), 75, fallbacks=("small",)
        ),
        ModelCard("small", 100_000, 400_000, "south", 10_000, 500, 50, tenants=some),
        ModelCard("spare", 2_000_000, 10_000_000, "south", quality_percent=80, by_default=False),
    ]
    return Routing(
        rng.choice(("off", "cheapest", "cheapest")),
        evidence_weight=rng.choice((1, 5)),
        explore_percent=rng.choice((0, 0, 30, 50)),
        breaker=rng.choice((Breaker(), Breaker(2, 4, 150, 30, 2), Breaker(1, 1, 0, 5, 1))),
        cards={card.name: card for card in cards},
        aliases={"big": "large"},
        quality_by_complexity={"high": 80, "low": 30},
    )


def _limits(rng: Random) -> Limits:
    return Limits(rng.choice((None, 0, 1, 2)), rng.choice((None, None, 1, 6)), rng.choice((1, 2)))


def _load(rng: Random) -> Load:
    if rng.random() < 0.5:
        return Load()
    shares = rng.choice(({ANY: 1}, {ANY: 1, "team-a": 1}, {"team-a": 3}))
    providers = {
        name: ProviderLimits(_limits(rng), shares) for name in ("north", "south") if rng.random() < 0.4
    }
    batch = Batch(rng.choice(({}, {ANY: (BatchWindow(0, 1),)})), rng.choice((None, 50)))
    tenants = {rng.choice((ANY, "team-a")): _limits(rng)}
    return Load(tenants, providers, rng.choice((0, 1, 1_000)), rng.choice((1, 60)), batch=batch)


def _retries(rng: Random) -> Retries:
    if rng.random() < 0.5:
        return Retries()
    plans = {
        name: Plan(rng.choice((1, 2, 3)), rng.choice((0, 60_000)), after=rng.choice(("escalate", "give_up")))
        for name in ("transient", "rate_limit", "bad_input", "policy", "unknown_outcome")
        if rng.random() < 0.7
    }
    return Retries(
        True, plans, budget_percent=rng.choice((None, 10)), budget_min_per_minute=rng.choice((0, 10))
    )
