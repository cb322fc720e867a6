"""Rules for the simulation: small numbers, so that limits, leases and windows are met often."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Literal

from ops_stream.core.amend import base_of, in_force
from ops_stream.core.rows import RULES
from ops_stream.core.rules_alerts import Alerts
from ops_stream.core.rules_effects import Effects
from ops_stream.core.rules_escalations import Rung, Trigger, escalations_of
from ops_stream.core.rules_load import Limits, Load, ProviderLimits
from ops_stream.core.rules_model import Budgets, Limit, Models, PolicyMatch, Rules, Supervisor
from ops_stream.core.rules_optimization import Optimization
from ops_stream.core.rules_retries import Plan, Retries
from ops_stream.core.rules_routing import Breaker, ModelCard, Routing

ENGINE: Final = "1+simulation"


class HousePolicies:
    """A few policies in plain Python: block, escalate, queue, downgrade, notify, and one that cannot be decided."""

    fields: frozenset[str] = frozenset()
    """Nothing that has to be found out for a policy."""

    def match(self, when: Literal["request", "telemetry"], view: Mapping[str, Any]) -> Sequence[PolicyMatch]:
        """Give the policies that match."""
        found: list[PolicyMatch] = []
        if when == "telemetry":
            if view["consecutive_failures"] >= 2:
                found.append(PolicyMatch("failures", "escalate", parameters={"severity": "critical"}))
            return found
        kind = view["task_type"]
        if kind == "forbidden":
            found.append(PolicyMatch("forbidden", "block", 10))
        elif kind == "odd":
            found.append(PolicyMatch("odd", "block", 9, error="nothing is known of odd tasks"))
        if view["cost"] > 0.8:
            found.append(PolicyMatch("dear", "escalate", 5))
        if view["priority"] <= 2:
            found.append(PolicyMatch("patient", "queue_for_batch_processing", 4))
        if view.get("model") == "large" and view["complexity"] == "low":
            found.append(PolicyMatch("thrift", "downgrade_model", 3))
        if view["customer_impact"] == "high":
            found.append(PolicyMatch("look", "notify", 1))
        return found


SUPERVISOR: Final = Supervisor(
    default_hold_micros=100_000,
    lease_factor=1,
    lease_min_s=2,
    batch_window_s=3,
    escalation_ttl_s=5,
    remember_s=120,
    retries_max=3,
    workflow_wait_s=6,
)
ROUTING: Final = Routing(
    "cheapest",
    breaker=Breaker(failures=1, window=2, open_s=2, trials=1),
    explore_percent=30,
    cards={
        "large": ModelCard("large", 5_000_000, 25_000_000, "one", quality_percent=90, fallbacks=("small",)),
        "small": ModelCard("small", 100_000, 400_000, "one", quality_percent=65, fallbacks=("large",)),
    },
)
"""In force only where the second rules are activated."""
OPTIMIZATION: Final = Optimization(
    "act",
    tell="alert",
    look_every_s=2,
    samples_min=1,
    quality_margin_percent=40,
    share_percent=50,
    horizon_samples=2,
    horizon_s=6,
    time_box_s=6,
    cooldown_s=8,
    retry_worth_percent=90,
)
"""So easily content that something is tried, made and taken back in most histories where these rules are in force."""
FIRST: Final = Rules(
    "sha256:" + "1" * 64,
    supervisor=SUPERVISOR,
    budgets=Budgets(tenants={"*": Limit(2_500_000, "total")}, tasks={"*": Limit(1_200_000, "task")}),
    models=Models(default="large", ladder=("large", "small")),
    policies=HousePolicies(),
    escalations=escalations_of(
        {
            ("failures", "*"): Trigger(on=True, in_a_row=2),
            ("cost", "*"): Trigger(on=True, cost_micros=600_000),
            ("loop", "*"): Trigger(on=True, repeats=2, handovers=2, within_s=60),
            ("violation", "*"): Trigger(on=True, weights=frozenset(("minor", "major"))),
            ("unknown_outcome", "*"): Trigger(on=True),
        },
        {"*": (Rung(), Rung(2))},
    ),
    blocking_digest="first",
)
SECOND: Final = replace(
    FIRST,
    digest="sha256:" + "2" * 64,
    budgets=Budgets(tenants={"*": Limit(1_500_000, "day")}),
    supervisor=replace(SUPERVISOR, remember_max=6, batch_window_s=2, workflow_attempts=3),
    alerts=Alerts(repeat_s=3, group_s=2, resolve_after_s=20),
    escalations=escalations_of({("policy", "*"): Trigger(on=True, quorum=2, on_expiry="approve")}),
    routing=ROUTING,
    optimization=replace(OPTIMIZATION, tell="daily", mode="propose"),
    blocking_digest="second",
)
THIRD: Final = replace(
    FIRST,
    digest="sha256:" + "3" * 64,
    budgets=Budgets(tenants={"*": Limit(20_000_000, "total")}),
    routing=ROUTING,
    effects=Effects(task_types={"ship": "reversible"}),
    load=Load(
        tenants={"*": Limits(concurrency=3, rate_per_minute=60, burst=3)},
        providers={"one": ProviderLimits(Limits(concurrency=6), shares={"alpha": 1, "*": 2})},
        queue_max=5,
        ageing_s=2,
    ),
    retries=Retries(
        on=True,
        plans={
            "transient": Plan(base_ms=500, cap_ms=2_000),
            "rate_limit": Plan(base_ms=1_000, cap_ms=2_000, ways=("same", "model"), after="escalate"),
        },
        budget_percent=50,
        budget_min_per_minute=3,
    ),
    optimization=OPTIMIZATION,
    blocking_digest="third",
)
"""Limits on what runs at once and begins in a minute, tries again, and tries what could be better."""
EVERY: Final = (FIRST, SECOND, THIRD)
BOOK: Final = {rules.digest: replace(rules, known=frozenset(one.digest for one in EVERY)) for rules in EVERY}


def of_row(value: bytes | None) -> Rules:
    """Give the rules in force by the row `rules`, with what optimizations change of them."""
    if value is None:
        return FIRST
    row = RULES.decode(value)
    return in_force(BOOK[base_of(row)], row)
