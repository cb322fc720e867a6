"""What is promised of workflows, held against the journal of one partition, record by record.

It knows what was handed in and what was reported, and shares no code with what decides on it: only rows are read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from ops_stream.contract.models import Telemetry, Workflow
from ops_stream.core.journal.record import OutputDoc
from ops_stream.core.rows import ASKS, STEPS, WORKFLOWS, Ask
from ops_stream.core.rows_workflows import StepRow, WorkflowRow

Demand = Callable[[bool, str], None]
"""Objects, with what was to be so, where it is not."""
Changes = Mapping[str, bytes | None]

OPEN: Final = frozenset(("running", "escalated", "queued"))
RANK: Final = {"accepted": 0, "running": 1, "completed": 2, "failed": 2, "cancelled": 2}


@dataclass(slots=True)
class Run:
    """One workflow, from its acceptance until it is forgotten."""

    accepted_at: int
    names: list[str]
    """Its steps, in the order in which they were handed in."""
    needs: dict[str, tuple[str, ...]]
    done: dict[str, str | None] = field(default_factory=dict)
    """The steps that are completed, each with what its report brought."""
    open: dict[str, str] = field(default_factory=dict)
    """The steps that have an ask which waits or runs, each with the ask."""
    costs: dict[str, int] = field(default_factory=dict)
    """What each ask of a step has cost, as its row says."""
    handed: dict[tuple[str, int], None] = field(default_factory=dict)
    """Every ask that was handed out, with the decision by which it was."""
    row: WorkflowRow | None = None
    told: dict[str, Any] = field(default_factory=dict)
    """The latest WorkflowStatus."""

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.row is not None and bool(self.row.ended_at)


class FlowProof:
    """The workflows of one partition."""

    def __init__(self) -> None:
        self.runs: dict[str, Run] = {}
        """By the keys of their rows: those that are known now."""
        self.accepted: dict[tuple[str, str], None] = {}
        self.ends: dict[tuple[str, str], str] = {}
        """How each ended, by tenant and id; where an id was used again, the latest."""
        self.given = 0
        """How many steps were handed out."""

    def take(self, event: object, changes: Changes, outputs: Sequence[OutputDoc], demand: Demand) -> None:
        """Look at what one record has changed and published. `event` is what it decided, None for a tick."""
        relevant = any(key.startswith("workflow/") for key in changes) or (
            self.runs and any(_of_a_flow(key, value) for key, value in changes.items())
        )
        if not relevant:
            return
        touched = self._flows(event, changes, demand)
        rows = [(key, STEPS.decode(value)) for key, value in changes.items() if key[:5] == "step/" and value]
        self._steps(rows, event, demand)
        touched |= self._asks(changes, demand)
        self._outputs(outputs, demand)
        for key in touched:
            self._consistent(key, event, demand)

    # -- rows

    def _flows(self, event: object, changes: Changes, demand: Demand) -> set[str]:
        touched = set()
        for key, value in changes.items():
            if not key.startswith("workflow/"):
                continue
            run = self.runs.get(key)
            if value is None:
                demand(run is None or run.over, f"{key} is not forgotten before it has ended")
                self.runs.pop(key, None)
                continue
            row = WORKFLOWS.decode(value)
            if run is None or run.accepted_at != row.accepted_at:
                demand(isinstance(event, Workflow), f"{key} begins as it is handed in")
                assert isinstance(event, Workflow)
                run = self.runs[key] = _begun(event, row)
                self.accepted[event.tenant, event.workflow_id] = None
            demand(not run.over or bool(row.ended_at), f"{key} does not begin again after its end")
            run.row = row
            touched.add(key)
        return touched

    def _steps(self, rows: Iterable[tuple[str, StepRow]], event: object, demand: Demand) -> None:
        """What is completed was reported so and stays so; what is ready or runs waits for nothing any more."""
        later = []
        for key, row in rows:
            run = self.runs["workflow/" + key[5:].rpartition("|")[0]]
            if row.state == "completed" and row.step not in run.done:
                self._done(run, row.step, row.request, event, demand)
            demand(row.state == "completed" or row.step not in run.done, f"{key} is completed only once")
            later.append((run, row))
        for run, row in later:
            if row.state == "ready" or row.state in OPEN:
                missing = [name for name in run.needs[row.step] if name not in run.done]
                demand(not missing, f"step {row.step} is {row.state} when {missing} are done")

    def _done(self, run: Run, step: str, request_id: str, event: object, demand: Demand) -> None:
        said = isinstance(event, Telemetry) and event.request_id == request_id and event.kind == "completed"
        demand(said, f"step {step} is completed by a report of its ask {request_id}")
        assert isinstance(event, Telemetry)
        run.done[step] = event.output

    def _asks(self, changes: Changes, demand: Demand) -> set[str]:
        touched = set()
        opened: list[tuple[Run, str, str]] = []
        for key, value in changes.items():
            if value is None or not key.startswith("ask/") or b'"step":"' not in value:
                continue
            ask = ASKS.decode(value)
            name, run, step = self._place(ask)
            if run is None:
                continue
            touched.add(name)
            run.costs[ask.request_id] = _cost(ask)
            if ask.phase in OPEN:
                opened.append((run, step, ask.request_id))
            elif run.open.get(step) == ask.request_id:
                del run.open[step]
        for run, step, request_id in opened:
            other = run.open.setdefault(step, request_id)
            demand(other == request_id, f"step {step} has one ask at a time, not {other} and {request_id}")
            demand(step not in run.done, f"step {step} is not asked for after it was completed")
        return touched

    def _place(self, ask: Ask) -> tuple[str, Run | None, str]:
        """Give the workflow that an ask is a step of, if it is known still, and the step."""
        if not ask.step:
            return "", None, ""
        workflow_id, number, accepted = ask.step.rsplit("|", 2)
        name = f"workflow/{ask.tenant}|{workflow_id}"
        run = self.runs.get(name)
        if run is None or run.accepted_at != int(accepted):
            return name, None, ""
        return name, run, run.names[int(number) - 1]

    # -- what goes out

    def _outputs(self, outputs: Sequence[OutputDoc], demand: Demand) -> None:
        latest: dict[tuple[str, str], Any] = {}
        told: dict[str, Run] = {}
        for output in outputs:
            if output.type not in ("TaskApproval", "TaskAssignment", "WorkflowStatus"):
                continue
            value = msgspec.json.decode(output.value)
            if output.type == "TaskApproval":
                latest[value["tenant"], value["request_id"]] = value
            elif output.type == "TaskAssignment":
                request = value["request"]
                self._assignment(value, latest.get((request["tenant"], request["request_id"])), demand)
            elif value["state"] != "rejected":
                told[value["workflow_id"]] = self._status(value, demand)
        for name, run in told.items():
            cost, total = micros(run.told["cost_usd"]), sum(run.costs.values())
            demand(cost == total, f"{name} is said to cost what its asks cost: {total}, not {cost}")

    def _assignment(self, value: dict[str, Any], approval: object, demand: Demand) -> None:
        request, step = value["request"], value["step_id"]
        where = f"step {step} of {value['workflow_id']} as {request['request_id']}"
        run = self.runs.get(f"workflow/{request['tenant']}|{value['workflow_id']}")
        demand(run is not None and step in run.needs, f"{where} is of a workflow that was accepted")
        assert run is not None
        self.given += 1
        demand(approval == value["approval"], f"{where} is handed out beside its approval")
        demand(value["approval"]["decision"] == "approved", f"{where} is approved when it is handed out")
        place = (request["request_id"], value["approval"]["sequence"])
        demand(place not in run.handed, f"{where} is handed out once")
        run.handed[place] = None
        demand(step not in run.done, f"{where} is not handed out after it was completed")
        demand(run.open.get(step, place[0]) == place[0], f"{where} is handed out while nobody else has it")
        demand(
            all(name in run.done for name in run.needs[step]), f"{where} is handed out after what it needs"
        )
        expected = {name: run.done[name] for name in run.needs[step] if run.done.get(name)}
        found = dict(value["inputs"])
        for name in value.get("clipped", ()):
            expected.pop(name, None)
            found.pop(name, None)
        demand(found == expected, f"{where} gets what the steps before it brought: {expected}, not {found}")

    def _status(self, value: dict[str, Any], demand: Demand) -> Run:
        run = self.runs.get(f"workflow/{value['tenant']}|{value['workflow_id']}")
        demand(run is not None, f"{value['workflow_id']} is known while it is told of")
        assert run is not None
        before, now = run.told.get("state", "accepted"), value["state"]
        demand(
            before == now or RANK[before] < RANK[now], f"a workflow that is {before} does not become {now}"
        )
        demand(RANK[now] < 2 or run.over, f"{now} is told of {value['workflow_id']} when it is so")
        run.told = value
        return run

    # -- after each record

    def _consistent(self, key: str, event: object, demand: Demand) -> None:
        run = self.runs.get(key)
        if run is None or run.row is None:
            return
        total = sum(run.costs.values())
        demand(run.row.cost == total, f"{key} costs what its asks cost: {total}, not {run.row.cost}")
        demand(run.told.get("state") == run.row.state, f"it was told that {key} is {run.row.state}")
        if not run.over:
            return
        tenant, _, workflow_id = key[9:].partition("|")
        status = msgspec.json.decode(run.row.status)
        for one in status["steps"]:
            if one["state"] == "completed" and one["step_id"] not in run.done:
                self._done(run, one["step_id"], one["request_id"], event, demand)
        demand(not run.open, f"{key} has ended and {run.open} have not")
        every = {one["step_id"]: one["state"] for one in status["steps"]}
        demand({name for name in every if every[name] == "completed"} == run.done.keys(), f"{key}: {every}")
        whole = len(run.done) == len(run.names)
        demand((run.row.state == "completed") == whole, f"{key} is completed when all of its steps are")
        demand(
            set(every.values()) <= {"completed", "failed", "cancelled"}, f"all of {key} has ended: {every}"
        )
        demand(run.told == status, f"how {key} ended was told as it is kept")
        self.ends[tenant, workflow_id] = run.row.state

    def stuck(self) -> list[str]:
        """Give the workflows that have not ended and wait for nothing."""
        runs = self.runs.items()
        return [key for key, run in runs if run.row and not run.over and not run.open and not run.row.until]

    def unended(self) -> list[str]:
        """Give the workflows that have not ended."""
        return [key for key, run in self.runs.items() if not run.over]


def micros(usd: float) -> int:
    """Give an amount as told in whole micro-dollars."""
    return round(usd * 1_000_000)


def _of_a_flow(key: str, value: bytes | None) -> bool:
    return key.startswith("step/") or (key.startswith("ask/") and value is not None and b'"step":"' in value)


def _begun(event: Workflow, row: WorkflowRow) -> Run:
    needs = {step.step_id: tuple(step.depends_on) for step in event.steps}
    return Run(row.accepted_at, [step.step_id for step in event.steps], needs)


def _cost(ask: Ask) -> int:
    if ask.money == "settled":
        return ask.cost
    return (ask.held or 0) if ask.money == "unknown" else 0
