"""Histories in which everything that is about workflows and models happens to everything else, under rules that change.

Tenants, agents, people and operators act at random, and the rules become others in the middle: routing, circuits, load,
retries, policies that fail. `watching.py` holds every record against the promises.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

from ops_stream.contract.clocktext import format_time
from ops_stream.core.inputs import Tick
from ops_stream.core.rows import ASKS, Ask
from ops_stream.core.rules_model import Rules
from tests.core.flows import step
from tests.properties.mixture_rules import TENANTS, random_rules
from tests.properties.watching import Watched

AGENTS = ("ann", "bob", "cid")
TYPES = ("general", "review", "ship")
COSTS = (0, 0.5, 0.5, 1, 1, 1.8, 2.2, 2.8)
EDITS: tuple[dict[str, Any], ...] = (
    {"estimated_cost_usd": 1},
    {"estimated_cost_usd": 5},
    {"workflow_id": "w9"},
    {"workflow_id": None},
    {"task_type": "review"},
    {"required_model": "large"},
    {"effect": "none"},
    {"objective_id": "o7"},
)
LIMITS: tuple[dict[str, Any], ...] = (
    {"limit_usd": 4},
    {"limit_usd": None},
    {"release_unknown": True},
    {"scope": "workflow", "target": "w1", "limit_usd": 2},
    {"scope": "model", "target": "small", "limit_usd": 1},
)
WEIGHTS = {
    "report": 60,
    "again": 4,
    "resolve": 9,
    "wait": 8,
    "hand_in": 6,
    "register": 4,
    "switch": 3,
    "cancel": 2,
    "quarantine": 2,
    "beat": 3,
    "ask": 10,
    "new_rules": 2,
    "odd_tick": 2,
    "hand_in_again": 2,
    "set_budget": 1,
    "ask_again": 2,
}


class Mixture:
    """One history."""

    watched: type[Watched] = Watched

    def __init__(self, seed: int) -> None:
        self.rng = Random(f"mixture {seed}")
        self.world = self.watched(self.new(), seed)
        self.world.takeover(0)
        self.handed: list[dict[str, Any]] = []
        self.count = 0
        for tenant in TENANTS:
            for agent in AGENTS:
                self.register(tenant, agent)

    def play(self, length: int) -> Watched:
        """Let things happen, and then let all of it come to rest."""
        for _ in range(length):
            self.act()
        self.rest()
        return self.world

    def new(self) -> Rules:
        """Give rules that nobody has seen."""
        return random_rules(self.rng)

    def act(self) -> None:
        """Let one thing happen."""
        getattr(self, self.rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0])()

    def rest(self) -> None:
        """Nobody stops anything any more, and agents do what they were given."""
        scopes = [("agent", name) for name in AGENTS] + [("workflow", f"w{number}") for number in range(6)]
        for tenant in TENANTS:
            for scope, target in scopes:
                self.command("resume", scope=scope, target=target, tenant=tenant)
            self.command("resume", scope="tenant", target=tenant)
        self.command("resume")
        for _ in range(80):
            running = self.asks("running")
            for ask in running:
                self.tell(ask, "completed")
            if not running:
                self.world.advance(700)
            if not self.world.state.workflows.active and not running:
                return
        self.world.advance(90_000)

    def send(self, topic: str, **body: Any) -> None:
        """Send something, now or a moment later."""
        self.count += 1
        self.world.now += self.rng.choice((0, 1, 1))
        self.world.send(topic, body)

    def command(self, name: str, **fields: Any) -> None:
        """Give a command."""
        self.send("control", command_id=f"c-{self.count}", command=name, issued_by="olga", **fields)

    def asks(self, *phases: str) -> list[Ask]:
        """Give the asks that are in some phases; in any where none is named."""
        asks = (ASKS.decode(raw) for key, raw in self.world.state.rows.items() if key.startswith("ask/"))
        return [ask for ask in asks if not phases or ask.phase in phases]

    def tell(self, ask: Ask, kind: str, event_id: str = "") -> None:
        """Let the agent of an ask report."""
        rng = self.rng
        body: dict[str, Any] = {"output": "x" * rng.choice((0, 5, 2_000))}
        if rng.random() < 0.8:
            body["cost_usd"] = rng.choice((0, 0.25, 1, 3))
        if rng.random() < 0.5:
            body["latency_ms"] = rng.choice((1, 100, 5_000))
        if rng.random() < 0.1:
            body["model"] = rng.choice(("large", "small", "nope"))
        if kind == "failed" and rng.random() < 0.5:
            body["error_class"] = rng.choice(("timeout", "bad_input", "policy", "rate_limit"))
        names = {
            "request_id": ask.request_id,
            "task_id": ask.task_id,
            "agent": ask.agent,
            "tenant": ask.tenant,
        }
        self.send("telemetry", event_id=event_id or f"e-{self.count}", kind=kind, **names, **body)

    # -- what happens --------------------

    def register(self, tenant: str = "", agent: str = "") -> None:
        rng = self.rng
        types = list(TYPES) if agent else rng.sample(TYPES, rng.randrange(4))
        body: dict[str, Any] = (
            {"models": rng.sample(("large", "small", "big"), 2)} if rng.random() < 0.15 else {}
        )
        self.send(
            "agents",
            event="AgentRegistration",
            agent=agent or rng.choice((*AGENTS, "dan")),
            tenant=tenant or rng.choice(TENANTS),
            role="worker",
            capabilities=types,
            max_concurrency=rng.choice((1, 1, 2, 5, 300)),
            **body,
        )

    def hand_in(self) -> None:
        rng = self.rng
        names = [f"s{number}" for number in range(rng.choice((1, 2, 3, 5, 8, 12)))]
        steps = [self._step(names, at) for at in range(len(names))]
        body: dict[str, Any] = {
            "workflow_id": f"w{rng.randrange(6)}",
            "objective_id": rng.choice(("o1", "o2")),
        }
        if rng.random() < 0.35:
            total = sum(one.get("estimated_cost_usd", 0.1) for one in steps)
            body["budget_usd"] = round(total + rng.choice((0, 0, 0.5)), 6)
        if rng.random() < 0.3:
            body["deadline"] = format_time(self.world.now + rng.choice((1, 60_000, 200_000, 1_000_000)))
        body |= {"tenant": rng.choice(TENANTS), "steps": steps}
        self.handed.append(body)
        self.send("workflows", **body)

    def _step(self, names: list[str], at: int) -> dict[str, Any]:
        rng = self.rng
        needs = rng.sample(names[:at], rng.randrange(min(at, 3) + 1))
        one = step(
            names[at], *needs, task_type=rng.choice(TYPES), complexity=rng.choice(("low", "medium", "high"))
        )
        one |= {"estimated_cost_usd": rng.choice(COSTS), "estimated_time_s": rng.choice((0, 5, 40))}
        if rng.random() < 0.25:
            del one["estimated_cost_usd"]
            one |= {
                "estimated_input_tokens": rng.choice((100, 30_000, 200_000)),
                "estimated_output_tokens": 500,
            }
        return one | ({"agent": "bob"} if rng.random() < 0.1 else {})

    def hand_in_again(self) -> None:
        if self.handed:
            self.send("workflows", **self.rng.choice(self.handed[-8:]))

    def report(self) -> None:
        running = self.asks("running")
        if running:
            kinds = ("started", "progress", *["completed"] * 7, "failed", "failed", "cancelled")
            self.tell(self.rng.choice(running), self.rng.choice(kinds))

    def again(self) -> None:
        """A report of any ask, perhaps of one that is over, perhaps one that came before."""
        asks = self.asks()
        if asks:
            kind = self.rng.choice(("completed", "failed", "cancelled", "started"))
            self.tell(self.rng.choice(asks), kind, self.rng.choice(("e1", "")))

    def resolve(self) -> None:
        opened = [value for value in self.world.of("Escalation") if value["status"] == "open"]
        if opened:
            seen = self.rng.choice(opened[-4:])
            shown = {"action_digest": seen["action_digest"]} if "action_digest" in seen else {}
            self.send(
                "resolutions",
                resolution_id=f"v{self.count}",
                escalation_id=seen["escalation_id"],
                tenant=seen["tenant"],
                resolver=self.rng.choice(("olga", "pete")),
                verdict=self.rng.choice(("approve", "approve", "edit", "edit", "deny")),
                edits=self.rng.choice(EDITS),
                **shown,
            )

    def wait(self) -> None:
        self.world.advance(self.rng.choice((0.001, 1, 5, 20, 61, 200, 700, 4_000)))

    def odd_tick(self) -> None:
        """A Tick at a time at which perhaps nothing is due, and for a time that is over."""
        self.world.now += self.rng.choice((0, 1_000, 50_000))
        self.world.take(0, Tick(self.rng.choice((None, self.world.now, self.world.now - 500))))

    def switch(self) -> None:
        rng, tenant = self.rng, self.rng.choice(TENANTS)
        scope, target = rng.choice(
            (
                ("all", ""),
                ("agent", rng.choice(AGENTS)),
                ("workflow", f"w{rng.randrange(6)}"),
                ("tenant", tenant),
                ("model", rng.choice(("large", "small"))),
            )
        )
        fields = {"target": target} if target else {}
        if target and (scope == "tenant" or rng.random() < 0.6):
            fields["tenant"] = tenant
        for name in ("kill", "resume")[: rng.choice((1, 2, 2))]:
            self.command(name, scope=scope, **fields)

    def cancel(self) -> None:
        self.command("cancel_workflow", target=f"w{self.rng.randrange(6)}", tenant=self.rng.choice(TENANTS))

    def quarantine(self) -> None:
        name = self.rng.choice(("quarantine_agent", "reinstate_agent", "reinstate_agent"))
        self.command(name, target=self.rng.choice(AGENTS), tenant=self.rng.choice(TENANTS))

    def set_budget(self) -> None:
        self.command("set_budget", tenant=self.rng.choice(TENANTS), parameters=self.rng.choice(LIMITS))

    def beat(self) -> None:
        agent, tenant = self.rng.choice(AGENTS), self.rng.choice(TENANTS)
        running = [
            ask.request_id for ask in self.asks("running") if (ask.agent, ask.tenant) == (agent, tenant)
        ]
        self.send("agents", event="Heartbeat", agent=agent, tenant=tenant, running=running)

    def ask(self) -> None:
        """An agent asks for something of its own, which takes one of its places."""
        rng = self.rng
        body: dict[str, Any] = {"workflow_id": f"w{rng.randrange(3)}"} if rng.random() < 0.5 else {}
        if rng.random() < 0.5:
            body["estimated_cost_usd"] = rng.choice((0, 0.1, 1, 2.1))
        if rng.random() < 0.5:
            body |= {
                "estimated_input_tokens": rng.choice((0, 1_000, 300_000)),
                "estimated_output_tokens": 500,
            }
        if rng.random() < 0.3:
            body["required_model"] = rng.choice(("large", "small", "big", "nope"))
        if rng.random() < 0.2:
            body["tags"] = ["needs:vision"]
        body |= {"agent": rng.choice(AGENTS), "tenant": rng.choice(TENANTS), "task_type": rng.choice(TYPES)}
        body |= {"effect": rng.choice(("none", "unknown", "reversible")), "task_description": "Do mine."}
        self.send("task-requests", request_id=f"own-{self.count}", task_id=rng.choice(("own", "t1")), **body)

    def ask_again(self) -> None:
        """An agent asks for a step itself: as it was given it, or for something else under its id."""
        given = self.world.of("TaskAssignment")
        if given:
            body = dict(self.rng.choice(given[-5:])["request"])
            self.send(
                "task-requests", **body | ({"task_description": "x"} if self.rng.random() < 0.4 else {})
            )

    def new_rules(self) -> None:
        """An operator activates others."""
        digest = f"sha256:{self.count:064x}"
        self.world.rules = replace(self.world.rules, known={digest})
        self.command("activate_rules", parameters={"digest": digest})
        self.world.rules = replace(self.new(), digest=digest)
