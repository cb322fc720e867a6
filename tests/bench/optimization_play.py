"""Plays a fleet through the core: ops-stream looks after it by itself.

Every ask and every report goes through `step` as JSON, in the order of time; time passes by Ticks once an hour, where
a worker's come each second, since nothing here waits for less. Where optimization is off it is a fleet of which nobody
takes care.
"""

from __future__ import annotations

import heapq
import json
import random
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ops_stream.core.amend import in_force
from ops_stream.core.inputs import Takeover, Tick
from ops_stream.core.intake import read_input
from ops_stream.core.journal.record import RawInput
from ops_stream.core.outputs import Output
from ops_stream.core.rows import RULES
from ops_stream.core.rules_model import Rules
from ops_stream.core.state import State
from ops_stream.core.step import step
from tests.bench.optimization_rules import HOUR_MS, Adoption, Chances, Played
from tests.bench.optimization_world import (
    DAY_MS,
    START_MS,
    TASK_TYPE,
    TENANT,
    USUAL,
    Ask,
    Outcome,
    World,
    asks,
)

PEOPLE_HOURS: Final = (4, 30)
"""How long people take to approve what they are asked, from and to."""


class Play:
    """One fleet that ops-stream looks after."""

    def __init__(self, world: World, seed: int, rules: Rules) -> None:
        """Begin with nothing known and the agents registered."""
        self.world, self.bundle, self.rules = world, rules, rules
        self.asks = asks(world, seed)
        self.chances = Chances(world)
        self.result = self.chances.result
        self.state = State(0, 1)
        self._people = random.Random(f"people {seed}")
        self._offsets: dict[str, int] = {}
        self._later: list[tuple[int, int, str, dict[str, Any]]] = []
        self._number = 0
        self._open: dict[str, Adoption] = {}
        self._trials: set[str] = set()
        self._ticked = START_MS
        self._step(Takeover("boot", "one", "engine", rules.digest), START_MS)
        for agent in dict.fromkeys(ask.agent for ask in self.asks):
            body = {"event": "AgentRegistration", "agent": agent, "tenant": TENANT, "role": "worker"}
            self._send("agents", {**body, "capabilities": [TASK_TYPE]}, START_MS)

    def play(self) -> Played:
        """Let everything be asked, reported and answered."""
        for ask in self.asks:
            self._until(ask.at_ms)
            self._ask(ask)
        self._until(START_MS + self.world.days * DAY_MS)
        self.result.adoptions += self._open.values()
        self.result.adoptions.sort(key=lambda one: one.at_ms)
        return self.result

    def _until(self, end_ms: int) -> None:
        """Let time pass: reports and people's answers come, and each hour what is due is done."""
        while True:
            at = self._later[0][0] if self._later else end_ms + 1
            tick = self._ticked + HOUR_MS
            if tick <= min(at, end_ms):
                self._ticked = tick
                while (due := self.state.next_due_ms()) is not None and due <= tick:
                    self._step(Tick(), tick)
            elif at <= end_ms:
                _, _, topic, body = heapq.heappop(self._later)
                self._send(topic, body, at)
            else:
                return

    def _ask(self, ask: Ask) -> None:
        result = self.result
        outputs = self._send("task-requests", _request(ask), ask.at_ms)
        answers = [one.value for one in outputs if one.type == "TaskApproval"]
        if [one["decision"] for one in answers] != ["approved"]:
            result.odd.append(f"ask {ask.number}: {answers}")
            return
        model, own = answers[0]["model"], ask.named or USUAL
        outcome = self.chances.run(ask, model)
        if model != own:
            result.critical_changed += not ask.free
            result.touched += bool(self._trials)
            result.changed += not self._trials
        self._put(ask.at_ms + outcome.latency_ms, "telemetry", _report(ask, outcome))

    def _put(self, at_ms: int, topic: str, body: dict[str, Any]) -> None:
        self._number += 1
        heapq.heappush(self._later, (at_ms, self._number, topic, body))

    def _send(self, topic: str, body: Mapping[str, Any], now: int) -> Sequence[Output]:
        offset = self._offsets[topic] = self._offsets.get(topic, -1) + 1
        return self._step(read_input(RawInput(topic, 0, offset, now, json.dumps(body).encode(), ())), now)

    def _step(self, input_: Any, now: int) -> Sequence[Output]:
        decision = step(self.state, input_, self.rules, now)
        self.state.apply(decision.changes)
        self.result.steps += 1
        if "rules" in decision.changes:
            value = decision.changes["rules"]
            assert value is not None
            self.rules = in_force(self.bundle, RULES.decode(value))
        for output in decision.outputs:
            if output.type == "Optimization":
                self._optimized(output.value, now)
            elif output.type == "Escalation":
                self._asked(output.value, now)
            elif output.type == "DeadLetter":
                self.result.odd.append(f"dead letter: {output.value.get('explanation')}")
        return decision.outputs

    def _asked(self, value: Mapping[str, Any], now: int) -> None:
        """Let a person approve a change after some hours."""
        if (
            value["trigger"] != "optimization"
            or value["status"] != "open"
            or value.get("stage") != "proposed"
        ):
            return
        hours = self._people.randrange(*PEOPLE_HOURS)
        body = {
            "event": "Resolution",
            "resolution_id": f"r-{value['escalation_id']}",
            "escalation_id": value["escalation_id"],
            "tenant": TENANT,
            "resolver": "ana",
            "verdict": "approve",
        }
        self._put(now + hours * HOUR_MS, "resolutions", body)

    def _optimized(self, value: Mapping[str, Any], now: int) -> None:
        """Follow what ops-stream tries, adopts and takes back."""
        id_, state = value["optimization_id"], value["state"]
        self._trials.discard(id_)
        if state == "trial":
            self._trials.add(id_)
            self.result.trials += 1
        elif state == "applied":
            known = self._open.get(id_)
            if known is None:
                model, kind = str(value["change"]["to"]), value["kind"]
                self._open[id_] = known = Adoption(
                    kind, model, now, not self._good(kind, model, now), None, None
                )
            if value.get("permanent") and known.permanent_ms is None:
                self._open[id_] = known._replace(permanent_ms=now)
        elif id_ in self._open:
            self.result.adoptions.append(self._open.pop(id_)._replace(until_ms=now))

    def _good(self, kind: str, model: str, now: int) -> bool:
        """Say whether a change is truly better. The router is where there is any model that is; none is faster."""
        if kind == "router":
            return self.world.best(now) != USUAL
        return kind == "cheaper_model" and self.world.better(model, now)


def _request(ask: Ask) -> dict[str, Any]:
    body: dict[str, Any] = {
        "request_id": f"r{ask.number}",
        "task_id": f"t{ask.number}",
        "agent": ask.agent,
        "tenant": TENANT,
        "task_description": f"Summarise number {ask.number}",
        "task_type": TASK_TYPE,
        "effect": "none",
        "customer_impact": "high" if ask.critical and ask.number % 2 else "none",
        "priority": 9 if ask.critical and not ask.number % 2 else 5,
        "estimated_input_tokens": ask.read,
        "estimated_output_tokens": ask.written,
        "estimated_time_s": 300,
    }
    return body | {"required_model": ask.named} if ask.named else body


def _report(ask: Ask, outcome: Outcome) -> dict[str, Any]:
    body: dict[str, Any] = {
        "event_id": f"e{ask.number}",
        "request_id": f"r{ask.number}",
        "task_id": f"t{ask.number}",
        "agent": ask.agent,
        "tenant": TENANT,
        "kind": "failed" if outcome.failed else "completed",
        "latency_ms": outcome.latency_ms,
        "cost_usd": outcome.cost_usd,
    }
    if outcome.failed:
        return body | {"error": "unavailable", "error_class": "transient"}
    return body | {"success": True, "quality_score": outcome.score}
