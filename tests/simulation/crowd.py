"""Agents, people and operators: they write to the input topics what such people write, good and bad."""

from __future__ import annotations

import json
from random import Random
from typing import Any, Final

from ops_stream.contract.avro import encode_avro
from ops_stream.contract.codec import decode
from ops_stream.contract.partitions import partition_for
from ops_stream.core.inputs import Headers
from tests.simulation.applications import Applications
from tests.simulation.broker import Broker
from tests.simulation.rules import FIRST, SECOND, THIRD

TENANTS: Final = ("alpha", "bravo", "carol", "delta")
AGENTS: Final = ("ann", "bob")
AVRO: Final[Headers] = (("content-type", b"application/avro"),)
FORGED: Final[Headers] = (("ops-journal", b"0:999999:0"), ("ops-mac", b"0" * 64))
HOSTILE: Final = (
    b"",
    b"not json",
    b"\xff\xfe",
    b'{"request_id":"x1","request_id":"x1"}',
    b'{"request_id":"x2","task_id":"t","agent":"ann","tenant":"alpha","task_description":"a","estimated_cost_usd":-1}',
    b'{"request_id":"x3","task_id":"t","agent":"ann","tenant":"bravo","task_description":"a",'
    b'"estimated_cost_usd":1e400}',
    b'{"request_id":"x4","task_id":"t","agent":"ann","tenant":"carol","task_description":"\\ud800"}',
    b"[" * 40 + b"]" * 40,
)
HOSTILE_IDS: Final = ("x1", "x2", "x3", "x4")


class Crowd:
    """Everybody outside the supervisor."""

    def __init__(self, broker: Broker, partitions: int, rng: Random) -> None:
        self.asks: list[dict[str, Any]] = []
        self.asked: dict[tuple[str, str], None] = {}
        """Asks that were acknowledged by the bus."""
        self._broker = broker
        self._partitions = partitions
        self._rng = rng
        self._number = 0
        self._commands: list[dict[str, Any]] = []
        flows = Random(rng.random())
        self._tenants = TENANTS[: rng.randint(1, len(TENANTS))]
        self.applications = Applications(broker, partitions, flows, self._tenants, self._send)
        self._astray = rng.random() < 0.3
        """Whether some write to the wrong partition."""
        for tenant in self._tenants:
            for agent in AGENTS:
                if rng.random() < 0.9:
                    self._register(tenant, agent)
        broker.now += 10

    def act(self) -> None:
        """Somebody does something."""
        self.applications.act()
        dice = self._rng.random()
        if dice < 0.38 or not self.asks:
            self._ask()
        elif dice < 0.45:
            self._send("task-requests", self._rng.choice(self.asks))
        elif dice < 0.48:
            self._send("task-requests", {**self._rng.choice(self.asks), "task_description": "another"})
        elif dice < 0.72:
            self._report()
        elif dice < 0.76:
            self._heartbeat()
        elif dice < 0.78:
            ask = self._rng.choice(self.asks)
            body = self._by(
                ask, "RevocationAck", request_id=ask["request_id"], stopped_at="2026-11-24T13:00:00Z"
            )
            self._send("agents", body)
        elif dice < 0.86:
            self.resolve()
        elif dice < 0.95:
            self._command()
        elif dice < 0.96:
            topic = self._rng.choice(("task-requests", "telemetry", "agents", "control", "resolutions"))
            self._append(topic, self._anywhere(), self._rng.choice(HOSTILE), FORGED)
        elif dice < 0.98:
            forged = json.dumps({**self._rng.choice(self.asks), "request_id": "forged"})
            origin = {
                "topic": "task-requests",
                "partition": 0,
                "offset": 0,
                "timestamp": "2026-11-24T13:00:00Z",
            }
            body = {"origin": origin, "value": forged, "headers": []}
            self._append("forwarded", self._anywhere(), json.dumps(body).encode(), FORGED)
        else:
            self._register(self._rng.choice(self._tenants), self._rng.choice(AGENTS))

    # -- what they do

    def _ask(self) -> None:
        rng = self._rng
        self._number += 1
        ask: dict[str, Any] = {
            "request_id": f"r{self._number}",
            "task_id": f"t{rng.randint(1, 3)}",
            "agent": rng.choice(AGENTS),
            "tenant": rng.choice(self._tenants),
            "task_description": "do it",
            "estimated_cost_usd": round(rng.random() ** 2 * 1.1, 3),
            "estimated_time_s": rng.choice((1, 2, 4)),
        }
        if rng.random() < 0.5:
            ask |= {
                "task_type": rng.choice(("general", "general", "general", "forbidden", "odd")),
                "priority": rng.choice((1, 2, 5, 9)),
                "complexity": rng.choice(("low", "high")),
                "customer_impact": rng.choice(("none", "high")),
                "retry_count": rng.choice((0, 0, 0, 4)),
                "workflow_id": rng.choice(("w1", "w2")),
            }
        if rng.random() < 0.1:
            ask["arguments"] = {"amount": 12.5, "text": 'a "quoted" ümlaut\\', "deep": [[1]]}
        if rng.random() < 0.05:
            ask["deadline"] = "2026-11-24T13:00:02Z"
        self.asks.append(ask)
        self._send("task-requests", ask)

    def _report(self) -> None:
        rng = self._rng
        ask = rng.choice(self.asks[-8:])
        kind = rng.choice(
            ("started", "progress", "completed", "completed", "completed", "failed", "cancelled")
        )
        self._number += rng.random() < 0.9
        body = self._by(
            ask, "Telemetry", event_id=f"e{self._number}", request_id=ask["request_id"], kind=kind
        )
        body["task_id"] = ask["task_id"]
        if rng.random() < 0.7:
            body["cost_usd"] = round(rng.random() * 0.9, 3)
        self._send("telemetry", body)

    def _heartbeat(self) -> None:
        ask = self._rng.choice(self.asks)
        running = [one["request_id"] for one in self.asks[-5:]]
        self._send("agents", self._by(ask, "Heartbeat", running=running))

    def _register(self, tenant: str, agent: str) -> None:
        self._send(
            "agents",
            {
                "event": "AgentRegistration",
                "agent": agent,
                "tenant": tenant,
                "role": "clerk",
                "capabilities": ["general", "ship"],
                "max_concurrency": self.applications.places(),
            },
        )

    def resolve(self) -> None:
        """A person answers an escalation, if one was published lately."""
        seen = [
            stored
            for partition in range(self._partitions)
            for stored in self._broker.log("escalations", partition)[-4:]
            if stored is not None and stored.value is not None and b'"status":"open"' in stored.value
        ]
        if not seen:
            return
        escalation = json.loads(self._rng.choice(seen).value or b"")
        verdict = self._rng.choice(("approve", "approve", "deny", "edit"))
        body = {
            "resolution_id": f"v{self._number}",
            "escalation_id": escalation["escalation_id"],
            "tenant": escalation["tenant"],
            "resolver": self._rng.choice(("eve", "mallory")),
            "verdict": verdict,
        }
        if verdict == "edit":
            body["edits"] = {"estimated_cost_usd": 0.2, "priority": self._rng.choice((1, 5))}
        self._send("resolutions", body)

    def _command(self) -> None:
        rng = self._rng
        if self._commands and rng.random() < 0.1:
            self._send("control", rng.choice(self._commands))
            return
        self._number += 1
        found = self._found() if rng.random() < 0.3 else []
        if found:
            told = rng.choice(found[-3:])
            command: dict[str, Any] = {
                "command_id": f"c{self._number}",
                "issued_by": "operator",
                "command": f"{rng.choice(('apply', 'apply', 'revert', 'reject'))}_optimization",
                "tenant": told["tenant"],
                "target": told["optimization_id"],
            }
            self._commands.append(command)
            self._send("control", command)
            return
        tenant = rng.choice(self._tenants)
        command = {
            "command_id": f"c{self._number}",
            "issued_by": "operator",
            "command": rng.choice(
                (
                    "kill",
                    "resume",
                    "resume",
                    "set_budget",
                    "set_budget",
                    "quarantine_agent",
                    "reinstate_agent",
                )
            ),
        }
        name = command["command"]
        if name in ("kill", "resume"):
            scope = rng.choice(("all", "tenant", "agent", "workflow", "model"))
            command |= {
                "scope": scope,
                "target": {"agent": "ann", "workflow": "w1", "model": "small"}.get(scope),
            }
            if scope != "all" and rng.random() < 0.7:
                command["tenant"] = tenant
        elif name == "set_budget":
            command |= {"tenant": tenant, "parameters": self._budget()}
            if rng.random() < 0.2:
                digest = rng.choice((FIRST.digest, SECOND.digest, THIRD.digest, "sha256:" + "0" * 64))
                command |= {"command": "activate_rules", "parameters": {"digest": digest}}
        else:
            command |= {"tenant": tenant, "target": rng.choice(AGENTS)}
        self._commands.append(command)
        self._send("control", command)

    def _found(self) -> list[dict[str, Any]]:
        """Give what was told of optimizations."""
        logs = [self._broker.log("optimizations", partition) for partition in range(self._partitions)]
        return [json.loads(one.value or b"{}") for log in logs for one in log if one is not None]

    def _budget(self) -> dict[str, Any]:
        rng = self._rng
        if rng.random() < 0.3:
            return {"release_unknown": rng.choice((True, rng.choice(self.asks)["request_id"]))}
        limit = rng.choice((None, 0.3, 1, 3))
        return {
            "limit_usd": limit,
            "scope": rng.choice(("tenant", "task")),
            "window": rng.choice(("total", "day")),
        }

    # -- how they write

    def _by(self, ask: dict[str, Any], event: str, **fields: Any) -> dict[str, Any]:
        return {"event": event, "agent": ask["agent"], "tenant": ask["tenant"], **fields}

    def _anywhere(self) -> int:
        return self._rng.randrange(self._partitions)

    def _send(self, topic: str, body: dict[str, Any]) -> None:
        rng = self._rng
        partition = partition_for(body.get("tenant", "default"), self._partitions)
        if self._astray and rng.random() < 0.2:
            partition = self._anywhere()
        if topic == "task-requests":
            self.asked[body["tenant"], body["request_id"]] = None
            if rng.random() < 0.1:
                # As from_wire gives it, so that the Avro says what the JSON would.
                event = decode(topic, json.dumps(body).encode()).event
                self._append(topic, partition, encode_avro("TaskRequest", event.wire()), AVRO)
                return
        headers = FORGED if rng.random() < 0.05 else ()
        self._append(topic, partition, json.dumps(body).encode(), headers)

    def _append(self, topic: str, partition: int, value: bytes, headers: Headers) -> None:
        self._broker.append(topic, partition, "key", value, headers)
