"""Random workflows in random histories: agents come, fall silent, fail and are stopped; people say yes or no."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

from ops_stream.core.rows import ASKS, STEP_BODIES, STEPS, Ask
from ops_stream.core.rows_workflows import body_key, place_in, step_key
from ops_stream.core.rules_effects import Effects
from ops_stream.core.rules_lifecycle import Lifecycle
from ops_stream.core.rules_model import Budgets, Limit, Rules, Supervisor
from ops_stream.core.rules_retries import Retries
from ops_stream.core.workflows_steps import cost_of
from tests.core.flows import check_flows, command, hand_in, register, step
from tests.core.policies import TestPolicies, TestPolicy
from tests.core.world import DIGEST, TENANT, World
from tests.scenarios.retrying import shipped

AGENTS = ("ann", "bob", "cid")
TYPES = ("general", "review", "ship")
HASTY = replace(
    shipped(),
    plans={name: replace(plan, base_ms=0, cap_ms=0) for name, plan in shipped().plans.items()},
    unsure_effects=frozenset(("irreversible", "reversible", "unknown")),
)
"""Nothing waits before it is tried again, and what nobody has classed can be in doubt."""
POLICIES = (
    TestPolicy("dear", "escalate", "cost > 2"),
    TestPolicy("never", "block", "cost > 2.5"),
    TestPolicy("later", "queue_for_batch_processing", "cost > 1.5", 1),
    TestPolicy("cheap", "cap", "cost > 0", 0, parameters={"cost_micros": 1_500_000}),
)
WEIGHTS = {
    "report": 70,
    "again": 3,
    "resolve": 8,
    "wait": 6,
    "hand_in": 5,
    "register": 4,
    "switch": 2,
    "cancel": 1,
    "quarantine": 2,
    "beat": 3,
    "ask": 4,
}


def rules(rng: Random) -> Rules:
    """Rules under which anything can come between a step and its end."""
    return Rules(
        DIGEST,
        supervisor=Supervisor(
            workflow_attempts=rng.choice((1, 2, 2, 3)),
            workflow_wait_s=rng.choice((300, 3_600)),
            escalation_ttl_s=600,
        ),
        budgets=Budgets({TENANT: Limit(rng.choice((8_000_000, 90_000_000, 90_000_000)), "total")}),
        policies=TestPolicies(rng.sample(POLICIES, rng.choice((0, 0, 1, 2, 3)))),
        effects=Effects(irreversible_needs_person=rng.random() < 0.5, task_types={"ship": "irreversible"}),
        lifecycle=rng.choice((Lifecycle(), Lifecycle(dead_after_s=90, warn_after=2, suspend_after=4))),
    )


class Story:
    """One history of workflows, with every promise held at every step."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(f"flows {seed}")
        retries = Random(f"retries {seed}").choice((Retries(), shipped(), HASTY))
        self.world = _Watched(replace(rules(self.rng), retries=retries))
        self.world.takeover(0)
        self.handed: list[str] = []
        for agent in AGENTS:
            self.register(agent)

    def play(self, length: int = 70) -> World:
        """Let things happen, and then let all of it come to rest."""
        for _ in range(length):
            name = self.rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
            getattr(self, name)()
        self.rest()
        return self.world

    def rest(self) -> None:
        """Nobody stops anything any more; agents do what they were given, people answer nothing."""
        command(self.world, "resume")
        for scope, target in (("tenant", TENANT), ("agent", "ann"), ("workflow", "w1")):
            command(self.world, "resume", scope=scope, target=target, tenant=TENANT)
        for _ in range(60):
            running = self.running()
            for ask in running:
                self.tell(ask, "completed")
            if not running:
                self.world.advance(700)
            if not self.world.state.workflows.active:
                return
        self.world.advance(90_000)

    # -- what happens --------------------

    def register(self, agent: str = "") -> None:
        types = self.rng.sample(TYPES, self.rng.randrange(1, 4)) if agent == "" else TYPES
        name = agent or self.rng.choice((*AGENTS, "dan"))
        places, known = self.rng.choice((1, 1, 2, 5)), self.world.state.workflows.able.get(TENANT, {})
        if name in known and known[name].max_concurrency > places:
            self.world.shrunk.add(name)
        register(self.world, name, *types, max_concurrency=places)

    def hand_in(self) -> None:
        rng, names = self.rng, [f"s{n}" for n in range(self.rng.randrange(1, 8))]
        steps = [
            step(
                name,
                *(rng.sample(names[:at], rng.randrange(min(at, 3) + 1))),
                task_type=rng.choice(TYPES),
                estimated_cost_usd=rng.choice((0, 0.5, 0.5, 1, 1, 1.8, 2.2, 2.8)),
                estimated_time_s=rng.choice((0, 5, 40)),
                **({"agent": "bob"} if rng.random() < 0.1 else {}),
            )
            for at, name in enumerate(names)
        ]
        fields = {"budget_usd": sum(one["estimated_cost_usd"] for one in steps)} if rng.random() < 0.3 else {}
        workflow_id = f"w{rng.randrange(6)}"
        hand_in(self.world, *steps, workflow_id=workflow_id, **fields)

    def running(self) -> list[Ask]:
        asks = (ASKS.decode(raw) for key, raw in self.world.state.rows.items() if key.startswith("ask/"))
        return [ask for ask in asks if ask.step and ask.phase == "running"]

    def report(self) -> None:
        running = self.running()
        if running:
            kinds = ("started", *["completed"] * 7, "failed", "cancelled")
            self.tell(self.rng.choice(running), self.rng.choice(kinds))

    def again(self) -> None:
        """A report of any ask, perhaps of one that is over."""
        rows = self.world.state.rows.items()
        asks = [ask for key, raw in rows if key.startswith("ask/") and (ask := ASKS.decode(raw)).step]
        if asks:
            self.tell(
                self.rng.choice(asks), self.rng.choice(("completed", "failed")), self.rng.choice(("e1", ""))
            )

    def tell(self, ask: Ask, kind: str, event_id: str = "") -> None:
        self.world.now += 1
        body = {
            "event_id": event_id or f"e-{self.world.now}",
            "request_id": ask.request_id,
            "task_id": ask.task_id,
            "agent": ask.agent,
            "tenant": ask.tenant,
            "kind": kind,
            "output": f"{kind} {ask.task_id}",
        }
        if self.rng.random() < 0.8:
            body["cost_usd"] = self.rng.choice((0, 0.25, 1, 3))
        if kind == "failed":
            body["error"] = Random(self.world.now).choice(("timeout", "HTTP 429", "ValueError", "Boom"))
        self.world.send("telemetry", body)

    def resolve(self) -> None:
        opened = [value for value in self.world.of("Escalation") if value["status"] == "open"]
        if opened:
            seen = self.rng.choice(opened[-3:])
            verdict = self.rng.choice(("approve", "approve", "edit", "deny"))
            self.world.now += 1
            body = {
                "resolution_id": f"v{self.world.now}",
                "escalation_id": seen["escalation_id"],
                "tenant": seen["tenant"],
                "resolver": "olga",
                "verdict": verdict,
                "edits": {"estimated_cost_usd": 1},
            }
            if "action_digest" in seen:
                body["action_digest"] = seen["action_digest"]
            self.world.send("resolutions", body)

    def wait(self) -> None:
        self.world.advance(self.rng.choice((1, 1, 5, 20, 61, 200, 700)))

    def switch(self) -> None:
        scope, target = self.rng.choice(
            (("all", None), ("agent", "ann"), ("workflow", "w1"), ("tenant", TENANT))
        )
        fields = {"target": target, "tenant": TENANT} if target else {}
        for name in ("kill", "resume")[: self.rng.choice((1, 2, 2))]:
            command(self.world, name, scope=scope, **fields)

    def cancel(self) -> None:
        command(self.world, "cancel_workflow", target=f"w{self.rng.randrange(6)}", tenant=TENANT)

    def quarantine(self) -> None:
        name = self.rng.choice(("quarantine_agent", "reinstate_agent", "reinstate_agent"))
        command(self.world, name, target=self.rng.choice(AGENTS), tenant=TENANT)

    def beat(self) -> None:
        agent = self.rng.choice(AGENTS)
        running = [ask.request_id for ask in self.running() if ask.agent == agent]
        body = {"event": "Heartbeat", "agent": agent, "tenant": TENANT, "running": running}
        self.world.send("agents", body)

    def ask(self) -> None:
        """An agent asks for something of its own, which takes one of its places."""
        self.world.now += 1
        body: dict[str, Any] = {
            "request_id": f"own-{self.world.now}",
            "task_id": "own",
            "agent": self.rng.choice(AGENTS),
            "tenant": TENANT,
            "task_description": "Do mine.",
            "workflow_id": "w1",
            "estimated_cost_usd": 0.1,
        }
        self.world.send("task-requests", body)


class _Watched(World):
    """A world that holds every record against the promises about workflows."""

    def __init__(self, rules: Rules) -> None:
        super().__init__(rules)
        self.shrunk: set[str] = set()
        """Agents that have said that they take less than they did."""

    def take(self, number: int, input_: Any) -> Any:
        decision = super().take(number, input_)
        state = self.partitions[number].state
        check_flows(state)
        open_: set[str] = set()
        for key, raw in state.rows.items():
            if key.startswith("ask/"):
                ask = ASKS.decode(raw)
                if ask.step and ask.phase in ("running", "queued", "escalated"):
                    assert ask.step not in open_, f"{ask.step} runs twice at once"
                    open_.add(ask.step)
                    self._in_order(state, ask)
        handed = [out.value for out in decision.outputs if out.type == "TaskAssignment"]
        told = [out.value for out in decision.outputs if out.type == "TaskApproval"]
        for one in handed:
            self._has_room(state, one["request"]["agent"])
            assert one["approval"]["decision"] == "approved"
            assert one["approval"] in told, "beside its approval"
        return decision

    def _has_room(self, state: Any, name: str) -> None:
        """Whoever is given a step had a place free for it: an ask that waited for a person has kept its own."""
        keys = state.tenants[TENANT].by_agent.get(name, ())
        own = [key for key in keys if not ASKS.decode(state.rows[key]).step]
        if not own and name not in self.shrunk:
            assert len(keys) <= state.workflows.able[TENANT][name].max_concurrency, f"{name} has {len(keys)}"

    def _in_order(self, state: Any, ask: Ask) -> None:
        """Everything that a step with an open ask depends on is done."""
        flow, number, _ = place_in(ask.tenant, ask.step)
        body = STEP_BODIES.decode(state.rows[body_key(flow, number)])
        for other in body.needs:
            assert STEPS.decode(state.rows[step_key(flow, other)]).state == "completed"


def cost_by_asks(world: World, workflow_id: str, accepted: int) -> int:
    """Add up what the asks of a workflow's steps have cost."""
    total = 0
    for key, raw in world.state.rows.items():
        if key.startswith("ask/"):
            ask = ASKS.decode(raw)
            if ask.step.startswith(f"{workflow_id}|") and ask.step.endswith(f"|{accepted}"):
                total += cost_of(ask)
    return total
