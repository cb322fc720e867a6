"""The golden journal: one partition's history that every later version must fold, and that this engine must repeat.

A new version of the decisions raises `ENGINE_VERSION` and adds a file; the old files stay, and must fold for ever.
Write the file of the present engine anew, only where its decisions were never released, with:

    python -m tests.journal.golden --throw-the-old-history-away
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Literal

from ops_stream.contract.avro import encode_avro
from ops_stream.contract.codec import decode
from ops_stream.core.amend import base_of, in_force
from ops_stream.core.engine import ENGINE_VERSION
from ops_stream.core.inputs import Gap, Headers, Takeover, Tick
from ops_stream.core.intake import read_input
from ops_stream.core.journal.chain import JournalKey
from ops_stream.core.journal.ledger import Ledger, Prepared
from ops_stream.core.journal.record import RawInput
from ops_stream.core.rows import ASKS, RULES
from ops_stream.core.rules_load import Limits, Load
from ops_stream.core.rules_model import Budgets, Limit, Models, PolicyMatch, Rules, Supervisor
from ops_stream.core.rules_optimization import Optimization
from ops_stream.core.rules_retries import Plan, Retries
from ops_stream.core.state import State
from ops_stream.core.step import step

ROOM: Final = Path(__file__).parent / "golden"
FLAG: Final = "--throw-the-old-history-away"
KEY: Final = JournalKey(b"golden-golden-golden-golden-gold")
START_MS: Final = 1_795_525_200_000  # 2026-11-24T13:00:00Z
PARTITION, PARTITIONS = 0, 2
NEW: Final = ("capped", "rerouted", "elsewhere")
HERE, THERE = "alpha", "bravo"
"""A tenant of this partition, and one of the other."""


class GoldenPolicies:
    """One policy of every kind, on what an ask says."""

    fields: Final = frozenset(("task_type", "consecutive_failures"))

    def match(self, when: Literal["request", "telemetry"], view: Mapping[str, Any]) -> Sequence[PolicyMatch]:
        """Give the policies that match."""
        if when == "telemetry":
            return [PolicyMatch("failures", "escalate")] if view["consecutive_failures"] >= 2 else []
        action = {
            "blocked": PolicyMatch("no", "block", 9),
            "broken": PolicyMatch("broken", "block", 8, error="no such field"),
            "reviewed": PolicyMatch("people", "escalate", 7, parameters={"severity": "critical"}),
            "patient": PolicyMatch("later", "queue_for_batch_processing", 6),
            "simple": PolicyMatch("thrift", "downgrade_model", 5),
            "watched": PolicyMatch("watch", "notify", 4, parameters={"message": "look here"}),
            "shadowed": PolicyMatch("shadow", "block", 3, shadow=True),
            "capped": PolicyMatch("cap", "cap", 2, parameters={"cost_micros": 100_000, "time_s": 30}),
            "rerouted": PolicyMatch("route", "reroute", 1, parameters={"model": "small"}),
            "elsewhere": PolicyMatch("route", "reroute", 1, parameters={"agent": "bob"}),
        }.get(view["task_type"])
        return [] if action is None else [action]


FIRST: Final = Rules(
    "sha256:" + "a" * 64,
    supervisor=Supervisor(lease_min_s=10, batch_window_s=5, escalation_ttl_s=20, remember_s=3_600),
    budgets=Budgets(tenants={"*": Limit(5_000_000, "month")}, tasks={"*": Limit(2_000_000, "task")}),
    models=Models(default="large", ladder=("large", "small")),
    policies=GoldenPolicies(),
)
SECOND: Final = replace(
    FIRST, digest="sha256:" + "b" * 64, budgets=Budgets(tenants={"*": Limit(9_000_000, "day")})
)
THIRD: Final = replace(
    FIRST,
    digest="sha256:" + "c" * 64,
    load=Load(tenants={"*": Limits(concurrency=1)}),
    retries=Retries(on=True, plans={"transient": Plan(max_attempts=4)}),
    optimization=Optimization("act", samples_min=3, retry_worth_percent=90),
)
EVERY: Final = (FIRST, SECOND, THIRD)
BOOK: Final = {rules.digest: replace(rules, known=frozenset(one.digest for one in EVERY)) for rules in EVERY}


class Scribe:
    """Writes the golden journal."""

    def __init__(self) -> None:
        self.ledger = Ledger(State(PARTITION, PARTITIONS), KEY)
        self.records: list[tuple[int, bytes]] = []
        self.now = START_MS
        self._offsets: dict[str, int] = {}

    def rules(self) -> Rules:
        """The rules in force."""
        value = self.ledger.state.rows.get(RULES.prefix)
        if value is None:
            return FIRST
        row = RULES.decode(value)
        return in_force(BOOK[base_of(row)], row)

    def land(self, prepared: Prepared) -> None:
        """A record takes its place."""
        self.ledger.commit(prepared)
        self.records.append((prepared.written.offset, prepared.written.value))
        self.ledger.published_through = max(0, prepared.written.offset - 1)

    def stranger(self, value: bytes) -> None:
        """Something that does not count."""
        self.records.append((self.ledger.next_offset, value))
        self.ledger.next_offset += 1

    def take_over(self, boot_id: str) -> None:
        """A worker takes the partition over."""
        rules, at = self.rules(), self.ledger.at_ms
        takeover = Takeover(boot_id, "golden", ENGINE_VERSION, rules.digest)
        decision = step(self.ledger.state, takeover, rules, at)
        self.land(self.ledger.prepare_takeover(takeover, decision, at, rules.digest))

    def record(self, topic: str, value: bytes | None, headers: Headers = ()) -> None:
        """An input is decided."""
        self.now += 250
        offset = self._offsets.get(topic, 0)
        self._offsets[topic] = offset + 1
        raw = RawInput(topic, PARTITION, offset, self.now, value, headers)
        rules, at = self.rules(), max(self.ledger.at_ms, self.now)
        decision = step(self.ledger.state, read_input(raw), rules, at)
        self.land(self.ledger.prepare_input(raw, decision, at, ENGINE_VERSION, rules.digest))

    def event(self, topic: str, event: str, **body: Any) -> None:
        """An event in JSON."""
        self.record(topic, json.dumps({"event": event, "tenant": HERE, **body}).encode())

    def ask(self, request_id: str, task_type: str = "general", **fields: Any) -> None:
        """An ask."""
        body = {"request_id": request_id, "task_id": "t1", "agent": "ann", "task_description": "do it"}
        self.event("task-requests", "TaskRequest", **{**body, "task_type": task_type, **fields})

    def report(self, event_id: str, request_id: str, kind: str, **fields: Any) -> None:
        """A report."""
        body = {"event_id": event_id, "request_id": request_id, "task_id": "t1", "agent": "ann", "kind": kind}
        self.event("telemetry", "Telemetry", **{**body, **fields})

    def command(self, command_id: str, command: str, **fields: Any) -> None:
        """A command."""
        self.event(
            "control", "ControlCommand", command_id=command_id, command=command, issued_by="op", **fields
        )

    def tick(self, seconds: float, *, late_ms: int = 0) -> None:
        """Time passes; `late_ms` of it with inputs that are not read yet."""
        self.now += round(seconds * 1000)
        rules, at = self.rules(), max(self.ledger.at_ms, self.now)
        tick = Tick(at - late_ms) if late_ms else Tick()
        decision = step(self.ledger.state, tick, rules, at)
        self.land(self.ledger.prepare_tick(decision, at, ENGINE_VERSION, rules.digest, tick))

    def gap(self, topic: str, count: int) -> None:
        """Offsets that hold nothing."""
        first = self._offsets.get(topic, 0)
        self._offsets[topic] = first + count
        gap, rules, at = Gap(topic, PARTITION, first, first + count - 1), self.rules(), self.ledger.at_ms
        decision = step(self.ledger.state, gap, rules, at)
        self.land(self.ledger.prepare_gap(gap, decision, at, ENGINE_VERSION, rules.digest))

    def rebase(self, source: str) -> None:
        """The journal goes on in another cluster."""
        rebase, rules, at = self.ledger.rebase_of(source), self.rules(), self.ledger.at_ms
        decision = step(self.ledger.state, rebase, rules, at)
        self.land(self.ledger.prepare_rebase(rebase, decision, at, ENGINE_VERSION, rules.digest))
        self._offsets.clear()


def write() -> list[tuple[int, bytes]]:
    """Write the history: each kind of record, each kind of answer, and what is hard to keep byte for byte."""
    scribe = Scribe()
    scribe.stranger(b"hello")
    scribe.take_over("boot-1")
    scribe.event("agents", "AgentRegistration", agent="ann", role="clerk", capabilities=["general"])
    for task_type in ("general", "blocked", "broken", "patient", "simple", "watched", "shadowed", *NEW):
        scribe.ask(f"r-{task_type}", task_type, estimated_cost_usd=0.25)
    scribe.ask(
        "r-reviewed", "reviewed", arguments={"amount": 12.5, "text": 'ümlaut "quoted"\\ 𝄞', "n": [None]}
    )
    scribe.ask("r-reviewed", "reviewed", arguments={"amount": 13})
    scribe.ask("r-general", estimated_cost_usd=0.25)
    scribe.ask("r-dear", estimated_cost_usd=900)
    scribe.ask("r-final", effect="irreversible", parent_request_id="r-general")
    escalation = next(row[11:] for row in scribe.ledger.state.rows if row.startswith("escalation/"))
    scribe.event(
        "resolutions",
        "Resolution",
        resolution_id="v1",
        escalation_id=escalation,
        resolver="eve",
        verdict="approve",
    )
    scribe.report("e1", "r-general", "started")
    scribe.report("e2", "r-general", "completed", cost_usd=0.3, latency_ms=12.25, quality_score=0.875)
    scribe.report("e2", "r-general", "completed", cost_usd=0.3)
    scribe.event("agents", "Heartbeat", agent="ann", running=["r-simple"])
    unlikely = {"latency_ms": 9e9, "input_tokens": 10**12, "timestamp": "2020-02-29T23:59:60.5Z"}
    scribe.report("e3", "r-simple", "progress", **unlikely)
    _hostile(scribe)
    scribe.gap("telemetry", 3)
    scribe.tick(5, late_ms=120)
    scribe.tick(60)
    scribe.stranger(scribe.records[3][1])
    scribe.take_over("boot-2")
    _operators(scribe)
    _workflows(scribe)
    _tries(scribe)
    scribe.rebase("sha256:" + "d" * 64)
    scribe.ask("r-elsewhere", task_id="t9")
    return scribe.records


def _hostile(scribe: Scribe) -> None:
    """Bytes that are no text, none at all, Avro, forged headers, and what belongs elsewhere or came from there."""
    body = {
        "request_id": "r-avro",
        "task_id": "t1",
        "agent": "ann",
        "tenant": HERE,
        "task_description": "in Avro",
    }
    ask = decode("task-requests", json.dumps(body).encode()).event
    scribe.record(
        "task-requests", encode_avro("TaskRequest", ask.wire()), (("content-type", b"application/avro"),)
    )
    scribe.record("task-requests", b"\xff\xfe\x00not text", (("odd", b"\x00\xff"),))
    scribe.record("task-requests", None)
    scribe.record(
        "task-requests", json.dumps({**body, "request_id": "r-bad", "task_description": 7}).encode()
    )
    scribe.record("telemetry", b'{"cost_usd":1e400,"event_id":"\\ud800"}')
    scribe.record("task-requests", json.dumps({**body, "request_id": "r-there", "tenant": THERE}).encode())
    origin = {"topic": "task-requests", "partition": 1, "offset": 0, "timestamp": "2026-11-24T12:59:59.000Z"}
    envelope = {"origin": origin, "value": json.dumps({**body, "request_id": "r-moved"}), "headers": []}
    for _ in range(2):
        scribe.record("forwarded", json.dumps(envelope).encode(), (("ops-journal", b"1:7:0"),))


def _operators(scribe: Scribe) -> None:
    """Commands, and what they do to asks."""
    scribe.command("c1", "set_budget", parameters={"limit_usd": 0.5, "window": "total"})
    scribe.ask("r-poor", estimated_cost_usd=0.75)
    scribe.command("c2", "set_budget", parameters={"limit_usd": None})
    scribe.ask("r-doomed")
    scribe.command("c3", "kill", scope="agent", target="ann", reason="a test")
    scribe.ask("r-killed")
    scribe.command("c3", "kill", scope="agent", target="ann")
    scribe.command("c4", "resume", scope="agent", target="ann")
    scribe.command("c5", "kill", scope="all")
    scribe.command("c6", "resume", scope="all")
    scribe.command("c7", "quarantine_agent", target="ann")
    scribe.ask("r-quarantined")
    scribe.command("c8", "reinstate_agent", target="ann")
    scribe.command("c9", "activate_rules", parameters={"digest": SECOND.digest})
    scribe.ask("r-last")
    scribe.tick(4_000)


def _workflows(scribe: Scribe) -> None:
    """A workflow that is done, one whose step is lost and then fails, one that is cancelled, one that is refused."""
    for agent in ("ann", "bob"):
        scribe.event(
            "agents", "AgentRegistration", agent=agent, role="clerk", capabilities=["general", "reviewed"]
        )

    def hand_in(workflow_id: str, *steps: tuple[str, str]) -> None:
        body = [
            {
                "step_id": name,
                "task_type": "general",
                "task_description": "a part",
                "depends_on": before.split(),
            }
            for name, before in steps
        ]
        scribe.event("workflows", "Workflow", workflow_id=workflow_id, objective_id="o1", steps=body)

    def work(kind: str, **fields: Any) -> None:
        """Whoever was given a step reports on it."""
        rows = scribe.ledger.state.rows
        asks = [ASKS.decode(raw) for key, raw in sorted(rows.items()) if key.startswith("ask/")]
        ask = next(ask for ask in asks if ask.step and ask.phase == "running")
        body = {"request_id": ask.request_id, "task_id": ask.task_id, "agent": ask.agent, "kind": kind}
        scribe.event("telemetry", "Telemetry", event_id=f"w{len(scribe.records)}", **body, **fields)

    hand_in("w-circle", ("a", "b"), ("b", "a"))
    hand_in("w-done", ("a", ""), ("b", "a"), ("c", "a b"))
    for number in range(3):
        work("completed", output=f"part {number}", cost_usd=0.05)
    hand_in("w-lost", ("a", ""))
    scribe.tick(200)
    work("failed", error="no", cost_usd=0.01)
    hand_in("w-cancelled", ("a", ""), ("b", "a"))
    scribe.command("c10", "cancel_workflow", target="w-cancelled")


def _tries(scribe: Scribe) -> None:
    """What waits for room, what fails and is tried again until it is seen that it does not pay, and that taken back."""
    scribe.command("c11", "kill", scope="all")
    scribe.command("c12", "resume", scope="all")
    scribe.command("c13", "activate_rules", parameters={"digest": THIRD.digest})
    scribe.ask("r-first", task_id="t2")
    scribe.ask("r-second", task_id="t3")
    scribe.report("t0", "r-first", "completed", task_id="t2", cost_usd=0.02)
    scribe.report("t1", "r-second", "completed", task_id="t3", cost_usd=0.02)
    for number in range(4):
        scribe.ask(f"r-try-{number}", task_id="t4", retry_count=min(number, 1), effect="reversible")
        scribe.report(f"t{number + 2}", f"r-try-{number}", "failed", task_id="t4", cost_usd=0.01)
    scribe.tick(3_600)
    scribe.tick(60)
    scribe.ask("r-amended", task_id="t5", effect="reversible")
    found = next(row for row in scribe.ledger.state.rows if row.startswith("optimization/"))
    scribe.command("c14", "revert_optimization", target=found.rpartition("|")[2])


def path_of(version: str) -> Path:
    """Where the golden journal of an engine is."""
    return ROOM / f"v{version}.jsonl"


def load(path: Path) -> list[tuple[int, bytes]]:
    """Read a golden journal."""
    lines = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    return [(line["offset"], line["value"].encode()) for line in lines]


def save(path: Path, records: list[tuple[int, bytes]]) -> None:
    """Write a golden journal: a line a record, its value as text."""
    lines = [
        json.dumps({"offset": offset, "value": value.decode()}, ensure_ascii=False)
        for offset, value in records
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:] != [FLAG]:
        sys.exit(f"This writes {path_of(ENGINE_VERSION)} anew. If that is what you want, say {FLAG}.")
    save(path_of(ENGINE_VERSION), write())
