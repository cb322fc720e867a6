"""Random histories: small worlds in which everything happens to everything else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any, TypeAlias

from ops_stream.contract.clocktext import format_time
from ops_stream.core.rules_alerts import Alerts
from ops_stream.core.rules_kills import AutomaticKill, Kills
from ops_stream.core.rules_lifecycle import Lifecycle
from ops_stream.core.rules_load import Limits, Load, ProviderLimits
from ops_stream.core.rules_model import (
    ANY,
    Budgets,
    Enforcement,
    Limit,
    Models,
    Rules,
    Supervisor,
    WindowKind,
)
from ops_stream.core.rules_retries import Retries
from ops_stream.core.rules_routing import Breaker, ModelCard, Routing
from ops_stream.core.rules_telemetry import Memory, TelemetryRules
from tests.core.policies import TestPolicies, TestPolicy
from tests.core.world import DIGEST, World
from tests.scenarios.retrying import shipped

AGENTS = ("ann", "bob")
TENANTS = ("team-a", "team-b")
TASKS = ("t1", "t2")
REQUESTS = tuple(f"r{n}" for n in range(30))
MODELS = ("large", "medium", "small")
ACTIONS = (
    "block",
    "downgrade_model",
    "escalate",
    "escalate",
    "queue_for_batch_processing",
    "queue_for_batch_processing",
    "cap",
    "cap",
    "reroute",
    "log",
    "notify",
)
PARAMETERS: dict[str, tuple[dict[str, Any], ...]] = {
    "cap": ({"cost_micros": 2_000_000}, {"cost_micros": 500_000, "time_s": 90}, {"time_s": 20, "tokens": 9}),
    "reroute": ({"model": "small"}, {"model": "medium"}, {"agent": "bob"}),
    "log": ({}, {"permit_irreversible": True}),
}
CONDITIONS = (
    "cost > 3",
    "cost > 0",
    "cost > 2",
    "priority < 3",
    "retry_count > 1",
    "consecutive_failures >= 2",
    "tenant_held_usd > 4",
    "missing > 1",
    "agent == 'bob'",
    "effect == 'irreversible' or depth > 1",
    "agent_requests_10m > 3 or agent_failures_1h > 2",
    "agent_cost_1d_usd > 9 or agent_violations_1d > 0",
    "workflow_held_usd + workflow_spent_usd > 5 or workflow_steps > 4",
)

Op: TypeAlias = tuple[str, dict[str, Any]]


LIFECYCLES = (
    Lifecycle(unpermitted_run="ignore", warn_after=0, suspend_after=0),
    Lifecycle(unpermitted_run="minor", warn_after=2, suspend_after=6, tolerated_percent=0, forgive_s=300),
    Lifecycle(over_cost="major", over_cost_tolerance_percent=20, block_after=2, dead_after_s=90),
)


KILLS = (
    Kills(),
    Kills(confirm_s=5),
    Kills(confirm_s=60, automatic=(AutomaticKill("burst", agent="ann", asks=4, within_s=120),)),
    Kills(
        confirm_s=5,
        automatic=(
            AutomaticKill("dear", spend_micros=6_000_000, within_s=600),
            AutomaticKill("burst", asks=3, within_s=30, shadow=True),
        ),
    ),
)


def _routing(**fields: Any) -> Routing:
    cards = (
        ModelCard("large", 5_000_000, 25_000_000, "north", quality_percent=90, fallbacks=("medium", "small")),
        ModelCard("medium", 1_000_000, 5_000_000, "north", latency_ms=50, fallbacks=("small",)),
        ModelCard("small", 100_000, 400_000, "south", quality_percent=50, tenants=frozenset(("team-a",))),
    )
    return Routing("cheapest", cards={card.name: card for card in cards}, **fields)


ROUTINGS = (
    Routing(),
    Routing(),
    _routing(breaker=Breaker(1_000, 1_000), explore_percent=30),
    _routing(breaker=Breaker(2, 4, slow_percent=150, open_s=60, trials=2), quality_percent=40),
)
"""Off, without circuits, and with circuits that open soon: those are of a partition, and not of a tenant."""


RETRIES = (
    Retries(),
    shipped(),
    replace(shipped(), budget_percent=10, budget_min_per_minute=1, remember_s=300),
    replace(shipped(), unsure_effects=frozenset(("irreversible", "reversible", "unknown"))),
)
"""Off, as shipped, with little room for retries, and with everything in doubt that is not known to be harmless."""


MEMORIES = (Memory(), Memory(keys_max=2, workflows_max=1, half_life_s=900))


LOADS = (
    Load(),
    Load(),
    Load({"team-a": Limits(2), "team-b": Limits(1, 6)}, queue_max=3),
    Load({ANY: Limits(3)}, {"north": ProviderLimits(Limits(2, 30, 2), {"team-a": 1, ANY: 1})}),
)
"""No limits, those of tenants, and those of a provider too: what tenants share of it is of a partition."""


def random_rules(seed: int) -> Rules:
    """Rules with budgets, models, policies and modes."""
    rng = Random(f"rules {seed}")
    names = rng.sample([f"p{n}" for n in range(9)], rng.choice((0, 1, 2, 3, 4)))
    policies = [
        TestPolicy(
            name,
            action := rng.choice(ACTIONS),
            rng.choice(CONDITIONS),
            rng.randrange(4),
            rng.choice(("request", "request", "telemetry")),
            rng.random() < 0.2,
            rng.choice(PARAMETERS.get(action, ({},))),
        )
        for name in names
    ]
    windows: tuple[WindowKind, ...] = ("day", "month", "total")
    task_windows: tuple[WindowKind, ...] = ("task", "day")
    limit = Limit(rng.choice((0, 5_000_000, 10_000_000, 30_000_000, 30_000_000)), rng.choice(windows))
    task_limit = Limit(rng.choice((6_000_000, 20_000_000)), rng.choice(task_windows))
    return Rules(
        DIGEST,
        supervisor=Supervisor(
            remember_s=rng.choice((300, 86_400)),
            remember_max=rng.choice((3, 1_000, 1_000)),
            open_max=rng.choice((4, 1_000, 1_000)),
            waiting_max=rng.choice((2, 1_000, 1_000)),
            retries_max=rng.choice((None, 2)),
            escalation_ttl_s=600,
            enforcement=(Enforcement("team-b", ANY, "observe", rng.choice((0, 0, 50, 100))),),
        ),
        budgets=Budgets(
            {"team-a": limit} if rng.random() < 0.7 else {}, {ANY: task_limit} if rng.random() < 0.5 else {}
        ),
        models=Models(rng.choice((None, "large")), MODELS),
        policies=TestPolicies(policies),
        lifecycle=Random(f"lifecycle {seed}").choice(LIFECYCLES),
        kills=Random(f"kills {seed}").choice(KILLS),
        telemetry=TelemetryRules(memory=Random(f"memory {seed}").choice(MEMORIES)),
        routing=Random(f"routing {seed}").choice(ROUTINGS),
        load=Random(f"load {seed}").choice(LOADS),
        retries=Random(f"retries {seed}").choice(RETRIES),
    )


WEIGHTS: dict[str, int] = {
    "ask": 30,
    "ask_again": 8,
    "report": 25,
    "heartbeat": 4,
    "ack": 2,
    "resolve": 10,
    "switch": 3,
    "quarantine": 2,
    "set_budget": 4,
    "bad": 1,
    "wait": 9,
}


def random_history(seed: int, length: int = 60) -> list[Op]:
    """Operations, most of them sensible; what they are about is chosen when they are played."""
    rng = Random(f"history {seed}")
    return [_random_op(rng) for _ in range(length)]


def _random_op(rng: Random) -> Op:
    name = rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
    tenant, agent, request_id = rng.choice(TENANTS), rng.choice(AGENTS), rng.choice(REQUESTS)
    cost = rng.choice((0, 0.000001, 1, 2.5, 4, 7))
    fields: dict[str, Any] = {"tenant": tenant, "agent": agent}
    if name == "ask":
        fields |= {
            "request_id": request_id,
            "cost": cost,
            "task_id": rng.choice(TASKS),
            "priority": rng.choice((1, 5, 5)),
            "retry_count": rng.choice((0, 0, 0, 3)),
            "deadline": rng.choice((None, None, None, None, 30, -5)),
            "model": rng.choice((None, None, None, "small", "small", "huge")),
            "workflow_id": rng.choice(("w1", "w2")),
            "effect": rng.choice(("unknown", "unknown", "unknown", "none", "irreversible")),
            "parent_request_id": rng.choice(REQUESTS),
        }
    elif name == "ask_again":
        fields = {"at": rng.randrange(10)}
    elif name == "report":
        fields |= {
            "at": rng.randrange(20),
            "request_id": request_id if rng.random() < 0.1 else None,
            "kind": rng.choice(
                ("started", "progress", "completed", "completed", "failed", "failed", "cancelled")
            ),
            "cost": rng.choice((None, cost)),
            "event": "same" if rng.random() < 0.1 else "",
            "agent": "bob" if rng.random() < 0.1 else None,
        }
    elif name == "heartbeat":
        fields["running"] = rng.sample(REQUESTS, 4)
    elif name == "ack":
        fields["request_id"] = request_id
    elif name == "resolve":
        fields = {
            "at": rng.randrange(4),
            "verdict": rng.choice(("approve", "approve", "approve", "deny", "edit")),
            "resolver": rng.choice(("olga", "pete")),
            "edits": rng.choice(({"estimated_cost_usd": 1}, {"priority": 1}, {"priority": 50}, {})),
        }
    elif name == "switch":
        fields |= {
            "command": rng.choice(("kill", "resume", "resume", "resume")),
            "scope": rng.choice(("all", "tenant", "agent", "model")),
        }
    elif name == "quarantine":
        fields["command"] = rng.choice(("quarantine_agent", "reinstate_agent", "reinstate_agent"))
    elif name == "set_budget":
        fields = {"tenant": tenant, "parameters": rng.choice(SETTINGS)}
    elif name == "bad":
        fields = {"topic": rng.choice(("task-requests", "telemetry", "agents", "control"))}
    else:
        fields = {"seconds": rng.choice((0.001, 1, 1, 61, 61, 200, 700, 90_000))}
    return name, fields


SETTINGS: tuple[dict[str, Any], ...] = (
    {"limit_usd": 4},
    {"limit_usd": 0},
    {"limit_usd": None},
    {"limit_usd": 8, "window": "day"},
    {"scope": "task", "limit_usd": 3},
    {"scope": "task", "limit_usd": None},
    {"release_unknown": True},
    {"release_unknown": "r1"},
    {"release_unknown": "r2", "cost_usd": 1},
)


class Player:
    """Plays operations on a world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.count = 0
        self.bodies: list[dict[str, Any]] = []

    def begin(self) -> None:
        """Take over and register everybody but bob of team-b."""
        for number in range(len(self.world.partitions)):
            self.world.takeover(number)
        for tenant in TENANTS:
            for agent in AGENTS:
                if (tenant, agent) != ("team-b", "bob"):
                    body = {"tenant": tenant, "agent": agent, "role": "worker", "capabilities": []}
                    self.world.send("agents", {"event": "AgentRegistration", **body})

    def play(self, op: Op) -> None:
        """Play one operation."""
        name, fields = op
        self.count += 1
        self.world.advance(0.001)
        act: Callable[..., None] = getattr(self, f"_{name}")
        act(**fields)

    def _ask(self, deadline: float | None, model: str | None, cost: float, **fields: Any) -> None:
        body = {**fields, "task_description": "Do it.", "estimated_cost_usd": cost}
        if int(body["request_id"][1:]) % 3 == 0:
            body["objective_id"] = "o1"
        if deadline is not None:
            body["deadline"] = format_time(self.world.now + round(deadline * 1000))
        if model is not None:
            body["required_model"] = model
        self.bodies.append(body)
        self.world.send("task-requests", body)

    def _ask_again(self, at: int) -> None:
        if self.bodies:
            self.world.send("task-requests", self.bodies[-1 - at % len(self.bodies)])

    def _report(
        self,
        at: int,
        tenant: str,
        request_id: str | None,
        kind: str,
        cost: float | None,
        event: str,
        agent: str | None,
    ) -> None:
        """Report on one of the latest asks, or on a request id of which perhaps nobody knows."""
        about = self.bodies[-1 - at % len(self.bodies)] if self.bodies else {}
        body = {
            "event_id": event or f"e{self.count}",
            "request_id": request_id or about.get("request_id", "r0"),
            "tenant": tenant if request_id else about.get("tenant", tenant),
            "task_id": about.get("task_id", "t1"),
            "agent": agent or about.get("agent", "ann"),
            "kind": kind,
            "quality_score": 0.5,
            "latency_ms": 100,
        }
        if cost is not None:
            body["cost_usd"] = cost
        self.world.send("telemetry", body)

    def _heartbeat(self, **fields: Any) -> None:
        self.world.send("agents", {"event": "Heartbeat", **fields})

    def _ack(self, **fields: Any) -> None:
        stopped = format_time(self.world.now)
        self.world.send("agents", {"event": "RevocationAck", "stopped_at": stopped, **fields})

    def _resolve(self, at: int, verdict: str, resolver: str, edits: dict[str, Any]) -> None:
        opened = [value for value in self.world.of("Escalation") if value["status"] == "open"]
        if not opened:
            return
        seen = opened[-1 - at % len(opened)]
        body = {
            "resolution_id": f"v{self.count}",
            "escalation_id": seen["escalation_id"],
            "tenant": seen["tenant"],
            "resolver": resolver,
            "verdict": verdict,
            "action_digest": seen["action_digest"],
            "edits": edits,
        }
        self.world.send("resolutions", body)

    def _switch(self, command: str, scope: str, tenant: str, agent: str) -> None:
        body = {"command_id": f"c{self.count}", "command": command, "scope": scope, "issued_by": "olga"}
        if scope == "tenant":
            body["target"] = tenant
        elif scope != "all":
            body["target"] = agent if scope == "agent" else "large"
        self.world.send("control", body)

    def _quarantine(self, tenant: str, agent: str, command: str) -> None:
        self._command(command=command, tenant=tenant, target=agent)

    def _set_budget(self, tenant: str, parameters: dict[str, Any]) -> None:
        self._command(command="set_budget", tenant=tenant, parameters=parameters)

    def _command(self, **fields: Any) -> None:
        self.world.send("control", {"command_id": f"c{self.count}", "issued_by": "olga", **fields})

    def _bad(self, topic: str) -> None:
        self.world.send(topic, b'{"request_id": "r1", "tenant": "team-a", "task_id": 7}')

    def _wait(self, seconds: float) -> None:
        self.world.advance(seconds)


def play(seed: int, partitions: int = 1, alerts: Alerts | None = None) -> World:
    """Play a whole history, every check on; alerts are told as they come unless it is said how."""
    world = World(replace(random_rules(seed), alerts=alerts or Alerts()), partitions)
    player = Player(world)
    player.begin()
    for op in random_history(seed):
        player.play(op)
    return world
