"""Applications that hand workflows in and take them back, and the agents that are given their steps."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Final

from tests.simulation.broker import Broker
from tests.simulation.rules import THIRD

SHARES: Final = (0.02, 0.05, 0.35)
"""How much of what is done is about workflows: in most histories little, in some a third."""
OWN: Final = ("cid", "dan")
"""Agents that do nothing but what they are given."""
LATELY: Final = 6
"""Assignments of a partition that agents still think of."""
KINDS: Final = ("completed",) * 12 + ("started", "started", "started", "failed", "failed", "cancelled")
DEEDS: Final = {"report": 60, "hand_in": 24, "cancel": 4, "switch": 5, "beat": 4, "repeat": 3}


class Applications:
    """Everybody who has to do with workflows; nothing that they do draws on the rest of the crowd's chance."""

    def __init__(
        self,
        broker: Broker,
        partitions: int,
        rng: Random,
        tenants: Sequence[str],
        send: Callable[[str, dict[str, Any]], None],
    ) -> None:
        self.handed_in: dict[str, None] = {}
        """Tenants that have handed in a workflow, for whose steps nobody asks."""
        self._broker = broker
        self._partitions = partitions
        self._rng = rng
        self._tenants = tenants
        self._send = send
        self._share = rng.choice(SHARES)
        self._diligence = rng.choice((0.0, 0.9, 1.0))
        self._number = 0
        self._limited = rng.random() < 0.3
        """Whether limits and tries again are in force before anybody asks."""
        self._bodies: list[dict[str, Any]] = []
        self._done: set[str] = set()
        """Asks that were reported on for good."""

    def act(self) -> None:
        """Somebody may do something."""
        if self._limited:
            self._limited = False
            self._command("activate_rules", parameters={"digest": THIRD.digest})
        while self._rng.random() < self._share:
            self._number += 1
            deed = self._rng.choices(list(DEEDS), list(DEEDS.values()))[0]
            {
                "report": self._report,
                "hand_in": self._hand_in,
                "cancel": self._cancel,
                "switch": self._switch,
                "beat": self._beat,
                "repeat": self._repeat,
            }[deed]()

    # -- agents

    def places(self) -> int:
        """How much an agent that registers takes at a time."""
        return self._rng.choice((1, 2, 5))

    def _handed(self) -> list[dict[str, Any]]:
        """Assignments that went out lately."""
        return [
            json.loads(stored.value)
            for partition in range(self._partitions)
            for stored in self._broker.log("assignments", partition)[-LATELY:]
            if stored is not None and stored.value is not None
        ]

    def _fresh(self) -> list[dict[str, Any]]:
        """Those of them on which nobody has reported for good."""
        return [one for one in self._handed() if one["request"]["request_id"] not in self._done]

    def _given(self) -> list[dict[str, Any]]:
        """Assignments that somebody thinks of: mostly such on which nobody has reported for good."""
        return (self._rng.random() < 0.9 and self._fresh()) or self._handed()

    def work_off(self) -> None:
        """Agents report on most of what they were given; of the rest nothing is heard."""
        for one in self._fresh():
            if self._rng.random() < self._diligence:
                self._number += 1
                self._tell(one["request"])

    def _report(self) -> None:
        handed = self._given()
        if handed:
            self._tell(self._rng.choice(handed)["request"])
        else:
            self._hand_in()

    def _tell(self, request: dict[str, Any]) -> None:
        rng = self._rng
        kind = rng.choice(KINDS)
        if kind != "started":
            self._done.add(request["request_id"])
        names = ("request_id", "task_id", "agent", "tenant")
        body = {name: request[name] for name in names} | {"event": "Telemetry", "kind": kind}
        body["event_id"] = f"f{self._number if rng.random() < 0.95 else self._number - 1}"
        if rng.random() < 0.8:
            body["output"] = f"part {self._number}"
        if rng.random() < 0.7:
            body["cost_usd"] = rng.choice((0, 0.02, 0.05, 0.3))
        if kind == "failed" and rng.random() < 0.7:
            body["error_class"] = rng.choice(("transient", "rate_limit", "bad_input", "unknown_outcome"))
        self._send("telemetry", body)

    def _beat(self) -> None:
        """An agent says that it lives; it may name what it was given, or be silent about it."""
        handed = self._given()
        if handed:
            request = self._rng.choice(handed)["request"]
            running = [request["request_id"]] if self._rng.random() < 0.7 else []
            names = ("agent", "tenant")
            body = {name: request[name] for name in names} | {"event": "Heartbeat", "running": running}
            self._send("agents", body)

    # -- applications and operators

    def _hand_in(self) -> None:
        rng = self._rng
        body: dict[str, Any] = {
            "workflow_id": f"w{rng.randint(1, rng.choice((4, 40)))}",
            "objective_id": "o1",
            "tenant": rng.choice(self._tenants),
            "steps": [self._step(number) for number in range(rng.randint(1, 5))],
        }
        if rng.random() < 0.2:
            body["budget_usd"] = sum(step["estimated_cost_usd"] for step in body["steps"])
        if rng.random() < 0.1:
            body["deadline"] = "2026-11-24T13:00:30Z"
        self._bodies.append(body)
        for agent in OWN if body["tenant"] not in self.handed_in else ():
            self._register(body["tenant"], agent)
        self.handed_in[body["tenant"]] = None
        self._send("workflows", body)

    def _register(self, tenant: str, agent: str) -> None:
        names = {"event": "AgentRegistration", "agent": agent, "tenant": tenant, "role": "clerk"}
        takes = {"capabilities": ["general", "ship"], "max_concurrency": self.places()}
        self._send("agents", names | takes)

    def _step(self, number: int) -> dict[str, Any]:
        rng = self._rng
        before = range(number)
        needs = sorted(rng.sample(before, min(number, rng.choice((0, 1, 1, 2)))))
        step = {
            "step_id": f"s{number}",
            "task_type": rng.choice((*["general"] * 6, "ship", "ship", "odd")),
            "task_description": f"part {number} of {self._number}",
            "depends_on": [f"s{one}" for one in needs],
            "estimated_cost_usd": rng.choice((0.02, 0.05, 0.05, 0.85)) if rng.random() < 0.3 else 0.02,
            "estimated_time_s": rng.choice((1, 2, 4, 8)),
        }
        if rng.random() < 0.1:
            step["agent"] = rng.choice(("ann", "cid", "nobody"))
        return step

    def _repeat(self) -> None:
        """The same workflow comes again, or another under its name."""
        if self._bodies:
            body = self._rng.choice(self._bodies)
            if self._rng.random() < 0.4:
                body = {**body, "objective_id": "o2"}
            self._send("workflows", body)

    def _command(self, name: str, **fields: Any) -> None:
        body = {"command_id": f"f{self._number}", "issued_by": "operator", "command": name}
        self._send("control", body | fields)

    def _cancel(self) -> None:
        handed, known = self._given(), [(body["tenant"], body["workflow_id"]) for body in self._bodies]
        known += 3 * [(one["request"]["tenant"], one["workflow_id"]) for one in handed]
        if known:
            tenant, target = self._rng.choice(known)
            self._command("cancel_workflow", tenant=tenant, target=target)

    def _switch(self) -> None:
        """A kill switch is pulled for a workflow or an agent that was given something, or pushed back."""
        handed = self._given()
        if handed:
            one = self._rng.choice(handed)
            request = one["request"]
            scope = self._rng.choice(("workflow", "agent"))
            target = request["agent"] if scope == "agent" else one["workflow_id"]
            name = self._rng.choice(("kill", "resume", "resume"))
            self._command(name, scope=scope, target=target, tenant=request["tenant"])
