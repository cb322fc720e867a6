"""Random histories of little worlds that are short of room, and what must hold of them at every record."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import Any

from ops_stream.contract.clocktext import format_time
from ops_stream.core.decision import Decision
from ops_stream.core.draft import Draft
from ops_stream.core.inputs import Input, Tick
from ops_stream.core.load_gates import Gate, gates_of, is_open, line_of
from ops_stream.core.rows import ASKS, Ask
from ops_stream.core.rules_load import Limits, Load, ProviderLimits
from ops_stream.core.rules_model import Budgets, Enforcement, Limit, Models, Rules, Supervisor
from ops_stream.core.rules_routing import Breaker, ModelCard, Routing
from ops_stream.core.state import State
from tests.core.policies import TestPolicies, TestPolicy
from tests.core.world import DIGEST, World

TENANTS = ("team-a", "team-b", "team-c")
AGENTS = ("ann", "bob")
MODELS = ("n1", "n2", "s1", "plain")
PROVIDERS = {"n1": "north", "n2": "north", "s1": "south", "plain": ""}
FLOWS = ("w1", "w2", None, None)


def random_load(rng: Random) -> Load:
    """Limits of any kind, tight ones; sometimes none at all."""

    def limits() -> Limits:
        return Limits(
            rng.choice((None, 1, 2, 3)),
            rng.choice((None, None, 2, 7, 60)),
            rng.choice((1, 2, 3)),
        )

    def provider() -> ProviderLimits:
        shares = {name: rng.choice((0, 1, 1, 1, 2, 2)) for name in ("team-a", "*") if rng.random() < 0.9}
        whole = limits()
        if whole.concurrency is not None:
            whole = replace(whole, concurrency=whole.concurrency * 2)
        return ProviderLimits(whole, shares or {"*": 1})

    tenants = {name: limits() for name in ("team-a", "team-c", "*") if rng.random() < 0.5}
    providers = {name: provider() for name in ("north", "south") if rng.random() < 0.6}
    return Load(
        tenants,
        providers,
        queue_max=rng.choice((3, 1_000, 1_000)),
        ageing_s=rng.choice((0, 10, 60)),
    )


def random_rules(rng: Random) -> Rules:
    """Rules with limits, and with what else sends an ask to wait or stops it."""
    policies = [
        TestPolicy("idle", "queue_for_batch_processing", "priority < 3"),
        TestPolicy("dear", "escalate", "cost > 3"),
        TestPolicy("cheap", "downgrade_model", "cost > 2 and priority > 5"),
        TestPolicy("busy", "block", "tenant_held_usd > 9"),
    ]
    cards = {name: ModelCard(name, 10, 10, PROVIDERS[name]) for name in MODELS}
    breaker = Breaker(2, 4, open_s=30)
    observed = Enforcement("team-b", "*", "observe", rng.choice((0, 0, 50, 100)))
    return Rules(
        DIGEST,
        supervisor=Supervisor(escalation_ttl_s=600, enforcement=(observed,)),
        budgets=Budgets({"team-a": Limit(40_000_000, "day")} if rng.random() < 0.3 else {}),
        models=Models("n1", MODELS),
        policies=TestPolicies(rng.sample(policies, rng.randrange(len(policies) + 1))),
        routing=Routing(rng.choice(("off", "off", "cheapest")), breaker=breaker, cards=cards),
        load=random_load(rng),
        known=frozenset((DIGEST,)),
    )


class Short(World):
    """A world that holds the limits against every record."""

    begun: dict[tuple[int, str, str], list[int]]

    def take(self, number: int, input_: Input) -> Decision:
        """Decide one input, and look at what it let in."""
        state = self.partitions[number].state
        known = {key: ASKS.decode(raw) for key, raw in state.rows.items() if key.startswith("ask/")}
        decision = super().take(number, input_)
        let_in = [ask for key, ask in _asks(decision) if _runs(ask) and not _runs(known.get(key))]
        self._check_limits(state, [ask for ask in let_in if not ask.answer.would_decide])
        self._check_order(state, known, let_in)
        check_waits(self, number)
        return decision

    def _check_limits(self, state: State, let_in: list[Ask]) -> None:
        """No more run than a limit has room for, by what the rows say, where anything was let in."""
        running = [ask for ask in all_asks(state) if ask.phase == "running"]
        for ask in let_in:
            for gate in gates_of(Draft(state, self.rules, self.now, Tick()), ask.tenant, self.line_of(ask)):
                mine = [other for other in running if self._counts(gate, other)]
                assert not gate.shut, gate
                if gate.concurrency is not None:
                    assert len(mine) <= gate.concurrency, f"{len(mine)} run, {gate}"
                if gate.interval_us:
                    self._check_rate(state.partition, gate)

    def _check_rate(self, partition: int, gate: Gate) -> None:
        times = self.begun.setdefault((partition, gate.tenant, gate.provider), [])
        times.append(self.now * 1000)
        for at, begun in enumerate(times):
            count, length = len(times) - at, times[-1] - begun
            assert (count - gate.burst) * gate.interval_us <= length, f"{count} began in {length} µs, {gate}"

    def _check_order(self, state: State, known: dict[str, Ask], let_in: list[Ask]) -> None:
        """Nobody new passes those that wait in its line, and nobody an older one of its workflow that is as urgent."""
        waiting = [ask for ask in known.values() if ask.wait is not None]
        # Whoever was looked at first and then waits elsewhere, because of another model, has not been passed.
        still = {(ask.request_id, ask.wait.line) for ask in all_asks(state) if ask.wait is not None}
        for ask in let_in:
            if ask.answer.would_decide:
                continue
            before = known.get(f"ask/{ask.tenant}|{ask.request_id}")
            mine = [
                one
                for one in waiting
                if one.tenant == ask.tenant and one.wait and (one.request_id, one.wait.line) in still
            ]
            if before is None:
                assert not [one for one in mine if one.wait and one.wait.line == self.line_of(ask)]
            elif before.wait is not None:
                for one in mine:
                    assert one.wait is not None
                    same = (one.wait.line, one.wait.level, one.wait.flow)
                    if same == (before.wait.line, before.wait.level, before.wait.flow):
                        # With other rules in between, a later one may have been given an earlier rank.
                        earlier = one.wait.rank < before.wait.rank and one.wait.tag < before.wait.tag
                        assert not earlier, f"{ask.request_id} passed {one.request_id}"

    def _counts(self, gate: Gate, ask: Ask) -> bool:
        if not gate.provider:
            return ask.tenant == gate.tenant
        if PROVIDERS.get(ask.model, "") != gate.provider:
            return False
        shares = self.rules.load.providers[gate.provider].shares
        return ask.tenant == gate.tenant if gate.tenant else ask.tenant not in shares

    def line_of(self, ask: Ask) -> str:
        """Give the line of an ask by its model."""
        return line_of(self.rules, ask.model)


def check_waits(world: World, number: int) -> None:
    """Whoever waits although there is room is looked at at once; no row of a line is left without anybody in it."""
    state = world.partitions[number].state
    waiting = Counter((ask.tenant, ask.wait.line) for ask in all_asks(state) if ask.wait is not None)
    rows = {tuple(key[5:].split("|")) for key in state.rows if key.startswith("line/")}
    assert rows == set(waiting)
    draft = Draft(state, world.rules, world.now, Tick())
    for tenant, line in waiting:
        if all(is_open(draft, gate) for gate in gates_of(draft, tenant, line)):
            due = state.next_due_ms()
            assert due is not None
            assert due <= world.now, f"{tenant} waits for {line or 'its own limit'}, which has room"


def _asks(decision: Decision) -> Iterator[tuple[str, Ask]]:
    for key, raw in decision.changes.items():
        if key.startswith("ask/") and raw is not None:
            yield key, ASKS.decode(raw)


def all_asks(state: State) -> Iterator[Ask]:
    """Give every ask that is known."""
    for key, raw in state.rows.items():
        if key.startswith("ask/"):
            yield ASKS.decode(raw)


def _runs(ask: Ask | None) -> bool:
    return ask is not None and ask.phase == "running"


class Rush:
    """One history."""

    def __init__(self, seed: int, partitions: int = 1) -> None:
        self.rng = Random(f"load {seed}")
        self.world = Short(random_rules(self.rng), partitions)
        self.world.begun = defaultdict(list)
        self.count = 0
        self.bodies: list[dict[str, Any]] = []
        self.killed: list[dict[str, Any]] = []

    def play(self, length: int = 80) -> Short:
        """Play it."""
        world = self.world
        for number in range(len(world.partitions)):
            world.takeover(number)
        for tenant in TENANTS:
            for agent in AGENTS:
                body = {"tenant": tenant, "agent": agent, "role": "worker", "capabilities": ["general"]}
                world.send("agents", {"event": "AgentRegistration", **body})
        acts = (
            [self.ask] * 35
            + [self.report] * 20
            + [self.wait] * 8
            + [self.again] * 3
            + [self.verdict] * 6
            + [self.kill] * 2
            + [self.change] * 2
            + [self.quarantine]
        )
        for _ in range(length):
            self.count += 1
            world.advance(0.001)
            self.rng.choice(acts)()
        return world

    def end(self) -> Short:
        """Let everything come to its end: nobody stops anything any more, and time passes."""
        for body in self.killed:
            self._command(**{**body, "command": "resume"})
        for _ in range(60):
            self.world.advance(86_400)
            if not any(ask.phase not in ("ended", "unknown") for ask in self.asks()):
                break
        return self.world

    def asks(self) -> Iterator[Ask]:
        """Give all asks of all partitions."""
        for partition in self.world.partitions:
            yield from all_asks(partition.state)

    def ask(self) -> None:
        """One of them asks."""
        rng = self.rng
        body: dict[str, Any] = {
            "request_id": f"r{self.count}",
            "tenant": rng.choice(TENANTS),
            "agent": rng.choice(AGENTS),
            "task_id": rng.choice(("t1", "t2")),
            "task_description": f"Do {self.count}.",
            "priority": rng.choice((1, 5, 5, 5, 9)),
            "customer_impact": rng.choice(("none", "none", "high")),
            "estimated_cost_usd": rng.choice((0, 0.1, 1, 2.5, 4)),
            "estimated_time_s": rng.choice((1, 30, 600)),
            "required_model": rng.choice(MODELS),
        }
        flow = rng.choice(FLOWS)
        if flow:
            body["workflow_id"] = flow
        if rng.random() < 0.2:
            body["deadline"] = format_time(self.world.now + rng.choice((1, 60, 3_600)) * 1000)
        if rng.random() < 0.3:
            del body["required_model"]
        self.bodies.append(body)
        self.world.send("task-requests", body)

    def again(self) -> None:
        """The same ask comes once more."""
        if self.bodies:
            self.world.send("task-requests", self.rng.choice(self.bodies[-10:]))

    def report(self) -> None:
        """An ask is reported on, most often one that runs."""
        rng = self.rng
        open_ = [ask for ask in self.asks() if ask.phase in ("running", "queued")]
        running = [ask for ask in open_ if ask.phase == "running"]
        about = rng.choice(running if running and rng.random() < 0.9 else open_) if open_ else None
        if about is None:
            return
        body = {
            "event_id": f"e{self.count}",
            "request_id": about.request_id,
            "tenant": about.tenant,
            "task_id": about.task_id,
            "agent": about.agent,
            "kind": "cancelled"
            if about.phase == "queued"
            else rng.choice(("started", "completed", "completed", "failed")),
            "cost_usd": rng.choice((0, 0.5)),
        }
        self.world.send("telemetry", body)

    def wait(self) -> None:
        """Time passes."""
        self.world.advance(self.rng.choice((0.5, 1, 10, 30, 61, 200)))

    def verdict(self) -> None:
        """A person answers."""
        opened = {
            value["escalation_id"]: value["status"] == "open" and value
            for value in self.world.of("Escalation")
        }
        left = [value for value in opened.values() if value]
        if not left:
            return
        seen = self.rng.choice(left)
        body = {
            "resolution_id": f"v{self.count}",
            "escalation_id": seen["escalation_id"],
            "tenant": seen["tenant"],
            "resolver": "olga",
            "verdict": self.rng.choice(("approve", "approve", "deny", "edit")),
            "action_digest": seen["action_digest"],
            "edits": self.rng.choice(({"priority": 9}, {"estimated_cost_usd": 1}, {"required_model": "s1"})),
        }
        self.world.send("resolutions", body)

    def kill(self) -> None:
        """Something is stopped, or may go on."""
        scope = self.rng.choice(("tenant", "agent", "model"))
        body: dict[str, Any] = {"scope": scope}
        if scope == "tenant":
            body |= {"target": self.rng.choice(TENANTS)}
        else:
            body |= {"target": self.rng.choice(AGENTS if scope == "agent" else MODELS)}
        if self.rng.random() < 0.25:
            self.killed.append(body)
            self._command(**body, command="kill")
        else:
            self._command(**body, command="resume")

    def quarantine(self) -> None:
        """An agent is stopped, or may go on."""
        command = self.rng.choice(
            ("quarantine_agent", "reinstate_agent", "reinstate_agent", "reinstate_agent")
        )
        self._command(command=command, tenant=self.rng.choice(TENANTS), target=self.rng.choice(AGENTS))

    def change(self) -> None:
        """Other limits are put in force."""
        digest = f"sha256:{self.count:064x}"
        world = self.world
        world.rules = replace(world.rules, known=frozenset((digest,)))
        self._command(command="activate_rules", parameters={"digest": digest})
        world.rules = replace(world.rules, digest=digest, load=random_load(self.rng))
        world.begun.clear()

    def _command(self, **fields: Any) -> None:
        self.count += 1
        self.world.send("control", {"command_id": f"c{self.count}", "issued_by": "olga", **fields})
