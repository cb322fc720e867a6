"""A world that holds every record against what is promised of workflows, of models, of time and of sizes."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import msgspec

from ops_stream.core.circuit import TABLE
from ops_stream.core.decision import Decision
from ops_stream.core.inputs import Input, Tick
from ops_stream.core.rows import ASKS, CIRCUITS, STEP_BODIES, STEPS, WORKFLOWS, Ask
from ops_stream.core.rows_workflows import body_key, place_in, step_key
from ops_stream.core.rules_model import Rules
from ops_stream.core.state import State
from ops_stream.core.workflows_steps import cost_of
from tests.core.flows import check_flows
from tests.core.test_sizes import RECORD_MAX, record_bytes
from tests.core.totals import check_totals
from tests.core.world import World

TICKS_MAX = 60
"""Ticks at one moment, of worlds as small as these: more would never end."""
MOVES = {(before, after) for (before, _), after in TABLE.items()}
KINDS = ("workflow/", "step/", "stepbody/", "stepoutput/")


class Watched(World):
    """A world under watch."""

    def __init__(self, rules: Rules, seed: int) -> None:
        super().__init__(rules)
        self._rng = Random(f"watch {seed}")
        self._ticks: Counter[int] = Counter()

    def take(self, number: int, input_: Input) -> Decision:
        """Decide one input, and hold what comes of it against the promises."""
        state = self.partitions[number].state
        before = dict(state.rows)
        if isinstance(input_, Tick):
            self._ticks[self.now] += 1
            assert self._ticks[self.now] <= TICKS_MAX, f"time stands still: {state.due.earliest(5)}"
        decision = super().take(number, input_)
        assert record_bytes(decision) < RECORD_MAX - 262_144
        check_flows(state)
        open_ = self._open(state)
        self._budgets(before, decision, open_)
        self._killed(state)
        self._nothing_left(state)
        self._circuits(before, decision)
        self._told(before, state, decision)
        if len(self.partitions[number].journal) % 9 == 0:
            self._indexes(state)
        return decision

    def _open(self, state: State) -> dict[str, list[Ask]]:
        """Give the open asks of each workflow: one of a step at most, and not before what it depends on is done."""
        found: dict[str, list[Ask]] = {}
        steps: set[tuple[str, str]] = set()
        for key, raw in state.rows.items():
            ask = ASKS.decode(raw) if key.startswith("ask/") else None
            if ask is None or not ask.step or ask.phase not in ("running", "queued", "escalated"):
                continue
            assert (ask.tenant, ask.step) not in steps, f"{ask.step} has two open asks"
            steps.add((ask.tenant, ask.step))
            name, place, accepted = place_in(ask.tenant, ask.step)
            flow = WORKFLOWS.decode(state.rows[name])
            assert (flow.accepted_at, flow.ended_at) == (accepted, 0), "nothing runs of what is over"
            assert STEPS.decode(state.rows[step_key(name, place)]).request == ask.request_id
            for other in STEP_BODIES.decode(state.rows[body_key(name, place)]).needs:
                assert STEPS.decode(state.rows[step_key(name, other)]).state == "completed"
            found.setdefault(name, []).append(ask)
        return found

    def _budgets(self, before: dict[str, bytes], decision: Decision, open_: dict[str, list[Ask]]) -> None:
        """No step is admitted that brings a workflow above its budget; only what costs more than was held does."""
        for key, raw in decision.changes.items():
            flow = WORKFLOWS.decode(raw) if raw is not None and key.startswith("workflow/") else None
            if flow is None or flow.budget is None or flow.ended_at:
                continue
            held = sum(ask.held or 0 for ask in open_.get(key, ()) if ask.phase == "running")
            old = WORKFLOWS.decode(before[key]) if key in before else None
            if held + flow.cost > flow.budget and old is not None:
                assert held <= old.held or held + flow.cost <= old.held + old.cost, (
                    f"{key} was admitted beyond it"
                )

    def _killed(self, state: State) -> None:
        """What a kill switch binds is being cancelled, or will be by a Tick that is due."""
        for key in state.workflows.active:
            tenant, workflow_id = key[9:].split("|")
            kills = (
                "all",
                f"tenant|{tenant}",
                f"workflow|{tenant}|{workflow_id}",
                f"workflow|*|{workflow_id}",
            )
            if any(f"kill/{name}" in state.rows for name in kills):
                flow = WORKFLOWS.decode(state.rows[key])
                assert flow.stopping == "cancelled" or 0 < flow.until <= self.now, f"{key} goes on"

    def _nothing_left(self, state: State) -> None:
        for key in state.rows:
            if key.startswith(KINDS[1:]):
                assert "workflow/" + key.partition("/")[2].rpartition("|")[0] in state.rows, f"{key} is left"
            if key.startswith("stepoutput/"):
                assert STEPS.decode(state.rows["step/" + key[11:]]).needed, f"{key} is needed by nobody"

    def _circuits(self, before: dict[str, bytes], decision: Decision) -> None:
        for key, raw in decision.changes.items():
            if key.startswith("circuit/"):
                old = CIRCUITS.decode(before[key]).state if key in before else "closed"
                new = "closed" if raw is None else CIRCUITS.decode(raw).state
                assert old == new or (old, new) in MOVES, f"{key} was {old} and is {new}"

    def _told(self, before: dict[str, bytes], state: State, decision: Decision) -> None:
        """A step is handed out beside its approval; a model that is approved may be used, and its odds add up."""
        latest: dict[tuple[str, str], Any] = {}
        for out in decision.outputs:
            value = out.value
            if out.type == "TaskApproval":
                latest[value["tenant"], value["request_id"]] = value
                assert len(value["explanation"]) <= 4_200
                raw = state.rows.get(f"ask/{value['tenant']}|{value['request_id']}")
                new = raw is not None and ASKS.decode(raw).answer.at == self.now
                if value["decision"] == "approved" and new and "would_have" not in value:
                    self._model(before, state, value)
            elif out.type == "TaskAssignment":
                asked = value["request"]
                assert latest.get((asked["tenant"], asked["request_id"])) == value["approval"]
                assert value["approval"]["decision"] == "approved"

    def _model(self, before: dict[str, bytes], state: State, value: dict[str, Any]) -> None:
        routing, name = self.rules.routing, value.get("model")
        card = routing.cards.get(name) if name else None
        if routing.mode == "off" or card is None:
            return
        assert not card.tenants or value["tenant"] in card.tenants
        for kill in (f"kill/model|{value['tenant']}|{name}", f"kill/model|*|{name}"):
            assert kill not in before or kill not in state.rows, f"{name} is killed"
        share, odds = routing.explore_percent, value.get("propensity")
        if odds is not None:
            others = {share * 10_000 // number for number in range(1, len(routing.cards))}
            assert round(odds * 1_000_000) in {1_000_000, 1_000_000 - share * 10_000, *others}

    def _indexes(self, state: State) -> None:
        """The rows alone, in any order, give the same indexes, totals and next moment."""
        rows = list(state.rows.items())
        self._rng.shuffle(rows)
        copy = State(state.partition, state.partitions)
        copy.apply(dict(rows))
        assert index_of(copy) == index_of(state)
        check_totals(state)
        assert state.workflows.bytes == sum(len(raw) for key, raw in rows if key.startswith(KINDS))


def index_of(state: State) -> object:
    """Give what the state derives from its rows, to be compared."""
    flows = state.workflows
    waiting = {
        tenant: {group: heap.earliest(1_000) for group, heap in groups.items()}
        for tenant, groups in flows.waiting.items()
    }
    tenants = {
        name: (one.open, one.by_agent, one.flows, one.goals, one.queued, one.waiting, one.waiting_bytes)
        for name, one in state.tenants.items()
    }
    return (
        (flows.active, flows.ended.earliest(1_000), waiting, flows.able, flows.bytes, flows.ended_bytes),
        (tenants, state.unknown, state.counts, state.next_due_ms()),
        (state.due.earliest(10_000), state.forget.earliest(10_000), state.goals.earliest(10_000)),
    )


def check_ends(world: World, tenant: str, workflow_id: str) -> None:
    """Hold a workflow that has ended against what was told of it and what the asks of its steps have cost."""
    key = f"workflow/{tenant}|{workflow_id}"
    flow = WORKFLOWS.decode(world.state.rows[key])
    status = msgspec.json.decode(flow.status)
    told = [
        one
        for one in world.of("WorkflowStatus")
        if (one["tenant"], one["workflow_id"]) == (tenant, workflow_id) and one["state"] != "rejected"
    ]
    assert told[-1] == status
    assert {one["state"] for one in status["steps"]} <= {"completed", "failed", "cancelled"}
    assert (flow.state == "completed") == (not status["problems"])
    costs = [round(one["cost_usd"] * 1_000_000) for one in status["steps"]]
    assert flow.cost == round(status["cost_usd"] * 1_000_000) == sum(costs)
    rules = [entry.rules.supervisor for entry in world.partitions[0].journal]
    if min(one.remember_s for one in rules) >= 86_400 and min(one.remember_max for one in rules) >= 1_000:
        asks = (
            ASKS.decode(raw) for name, raw in world.state.rows.items() if name.startswith(f"ask/{tenant}|")
        )
        own = [ask for ask in asks if ask.step and place_in(tenant, ask.step)[::2] == (key, flow.accepted_at)]
        assert flow.cost == sum(map(cost_of, own))
