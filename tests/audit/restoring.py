"""Journals that are exported and gone on with in another cluster."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ops_stream.audit.export_file import reading
from ops_stream.audit.export_lines import Begin, Bundle
from ops_stream.audit.restore import Restoring, Survey, survey
from ops_stream.core.inputs import Takeover
from ops_stream.core.intake import read_input
from ops_stream.core.journal.ledger import Ledger
from ops_stream.core.journal.record import RawInput
from ops_stream.core.state import State
from ops_stream.core.step import step
from tests.audit.journals import ENGINE, KEY, START_MS, Log
from tests.rules.building import compiled

RULES = compiled(
    "name: dear\ncondition: cost > 5.0\naction: escalate",
    "name: cheap\ncondition: priority > 8\naction: queue_for_batch_processing",
    budgets='version: 1\nbudgets:\n  - tenant: "*"\n    limit_usd: 20\n    window: month\n',
)
BOOK = {RULES.digest: RULES}
BUNDLE = json.dumps({"digest": RULES.digest, "files": {}})


def quiet(*_: object) -> None:
    """Take progress."""


class Cell:
    """One partition of several, as one supervisor after another writes it."""

    def __init__(self, number: int = 0, count: int = 1) -> None:
        self.number = number
        self.ledger = Ledger(State(number, count), KEY)
        self.log: Log = []
        self.offsets: dict[str, int] = {}
        self.now = START_MS
        self.told: list[tuple[str, str, bytes]] = []

    def take_over(self, boot: str = "b1") -> None:
        takeover = Takeover(boot, "test", ENGINE, RULES.digest)
        decision = step(self.ledger.state, takeover, RULES, self.ledger.at_ms)
        self.append(self.ledger.prepare_takeover(takeover, decision, self.ledger.at_ms, RULES.digest))

    def put(self, topic: str, via: tuple[tuple[str, bytes], ...] = (), **body: Any) -> None:
        """Take an input in."""
        self.now += 1000
        offset = self.offsets.get(topic, 0)
        self.offsets[topic] = offset + 1
        raw = RawInput(topic, self.number, offset, self.now, json.dumps(body).encode(), via)
        decision = step(self.ledger.state, read_input(raw), RULES, self.now)
        self.append(self.ledger.prepare_input(raw, decision, self.now, ENGINE, RULES.digest))

    def ask(self, request_id: str, **fields: Any) -> None:
        self.put(
            "task-requests",
            **{
                "request_id": request_id,
                "task_id": "t",
                "agent": "a",
                "task_description": "do it",
                "estimated_cost_usd": 0.5,
                **fields,
            },
        )

    def tick(self, seconds: int) -> None:
        from ops_stream.core.inputs import Tick

        self.now += 1000 * seconds
        decision = step(self.ledger.state, Tick(), RULES, self.now)
        self.append(self.ledger.prepare_tick(decision, self.now, ENGINE, RULES.digest))

    def append(self, prepared: Any) -> None:
        self.ledger.commit(prepared)
        self.log.append((prepared.written.offset, prepared.written.value))
        self.told += [(one.topic, one.id, bytes(one.value)) for one in prepared.written.outputs]
        self.ledger.published_through = prepared.written.offset + 1


def a_busy_day() -> Cell:
    """Asks that run, wait for a person and for a batch, a workflow under way, money spent and held."""
    cell = Cell()
    cell.take_over()
    for agent in ("a", "b"):
        cell.put("agents", event="AgentRegistration", agent=agent, role="clerk", capabilities=["general"])
    for number in range(4):
        cell.ask(f"run{number}")
    cell.put(
        "telemetry",
        event_id="e0",
        request_id="run0",
        task_id="t",
        agent="a",
        kind="completed",
        cost_usd=0.25,
    )
    for number in range(3):
        cell.ask(f"dear{number}", estimated_cost_usd=6)
    for number in range(3):
        cell.ask(f"batch{number}", priority=9)
    cell.put("task-requests", nothing="of use")
    steps = [
        {"step_id": "one", "task_type": "general", "task_description": "d", "estimated_cost_usd": 1},
        {
            "step_id": "two",
            "task_type": "general",
            "task_description": "d",
            "depends_on": ["one"],
            "estimated_cost_usd": 1,
        },
    ]
    cell.put("workflows", workflow_id="w1", objective_id="o1", steps=steps)
    return cell


def escalation_of(cell: Cell, request_id: str) -> dict[str, Any]:
    """Give the escalation of an ask."""
    said = [json.loads(value) for topic, _, value in cell.told if topic == "escalations"]
    return next(one for one in said if one.get("request_id") == request_id)


def step_of(cell: Cell) -> dict[str, Any]:
    """Give the newest assignment."""
    return [json.loads(value) for topic, _, value in cell.told if topic == "assignments"][-1]


def go_on(cell: Cell, open_: dict[str, Any], assigned: dict[str, Any]) -> list[tuple[str, str, bytes]]:
    """Take everything up that was left open, and ask for more; give what was told of it."""
    before = len(cell.told)
    cell.put(
        "resolutions",
        resolution_id="v1",
        escalation_id=open_["escalation_id"],
        resolver="olga",
        verdict="approve",
        action_digest=open_["action_digest"],
    )
    cell.ask("run1")  # again: the same answer
    cell.ask("run2", estimated_cost_usd=3)  # another body: a conflict, named by where it stands
    cell.put("task-requests", request_id="bad", priority=99)  # refused, and named by where it stands
    request = assigned["request"]
    cell.put(
        "telemetry",
        event_id="e1",
        request_id=request["request_id"],
        task_id=request["task_id"],
        agent=request["agent"],
        kind="completed",
        cost_usd=0.75,
        success=True,
    )
    cell.ask("batch-new", priority=9)
    cell.tick(90)  # what waits for the batch is let in, in its order
    for number in range(4):  # until the budget is used up
        cell.ask(f"more{number}", estimated_cost_usd=4)
    cell.put("control", event="ControlCommand", command_id="c1", command="kill", scope="all", issued_by="op")
    cell.ask("late")
    return cell.told[before:]


def restored(path: Path, partition: int = 0, key=KEY) -> tuple[Log, Restoring, Survey]:
    """What a restore appends to one partition."""
    found = survey(path, key, {}, quiet)
    restoring = Restoring(partition, found, key)
    values: list[bytes | None] = []
    at = -1
    with reading(path) as reader:
        for line in reader.lines():
            if isinstance(line, Begin):
                at = line.partition
            elif not isinstance(line, Bundle) and at == partition:
                values += restoring.take(reader, line)[0]
    values += restoring.fill()
    prepared = restoring.rebase(BOOK.get, ENGINE)
    if prepared is not None:
        values.append(prepared.written.value)
    return list(enumerate(values)), restoring, found


def moved(cell: Cell, log: Log) -> Cell:
    """A supervisor takes the restored journal over, with inputs that begin at 0."""
    other = Cell(cell.number, cell.ledger.state.partitions)
    for offset, value in log:
        other.ledger.fold(offset, value)
    other.ledger.prove()
    other.log, other.now = list(log), cell.now
    return other
