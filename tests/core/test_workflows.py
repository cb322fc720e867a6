"""Workflows, step by step: what is kept, what is bounded, and what becomes of a step on which the supervisor fails."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest

from ops_stream.contract.avro import encode_avro
from ops_stream.contract.models import Workflow
from ops_stream.core import workflows, workflows_check, workflows_giving, workflows_steps
from ops_stream.core.inputs import Tick
from ops_stream.core.rows import ASKS, encode_row
from ops_stream.core.rules_kills import AutomaticKill, Kills
from ops_stream.core.rules_model import Models, Rules, Supervisor
from tests.core.flows import (
    check_flows,
    command,
    flow_of,
    given,
    hand_in,
    register,
    report,
    states,
    status,
    step,
)
from tests.core.test_sizes import RECORD_MAX, record_bytes
from tests.core.test_step import BrokenModels, ask
from tests.core.world import DIGEST, TENANT, World, refold
from tests.thorough import examples


def _world(*agents: str, strict: bool = True, rules: Rules | None = None, **fields: Any) -> World:
    world = World(rules, strict=strict)
    world.takeover(0)
    for agent in agents:
        register(world, agent, **fields)
    return world


def _work_off(world: World, output: str = "") -> int:
    """Let every step that is handed out be done, with a Tick whenever one is due; gives how many were."""
    done: set[str] = set()
    while True:
        while (due := world.state.next_due_ms()) is not None and due <= world.now:
            world.take(0, Tick())
        handed = [out["request"] for out in world.of("TaskAssignment")]
        new = [request for request in handed if request["request_id"] not in done]
        if not new:
            return len(done)
        for request in new:
            done.add(request["request_id"])
            body = {name: request[name] for name in ("request_id", "task_id", "agent", "tenant")}
            body |= {"event_id": f"e{len(done)}", "kind": "completed", "cost_usd": 0.01, "output": output}
            world.now += 1
            world.send("telemetry", body)


def test_the_ask_of_a_step_says_what_it_is_for() -> None:
    """It names its workflow, objective and task, and has the step's estimates and the workflow's deadline."""
    world = _world("ann")
    deadline = "2026-11-25T13:00:00Z"
    hand_in(world, step("a", estimated_input_tokens=7, complexity="high"), deadline=deadline)
    (handed,) = world.of("TaskAssignment")
    request, approval = handed["request"], handed["approval"]
    assert request["workflow_id"] == "w1"
    assert request["objective_id"] == "o1"
    assert request["task_id"] == "w1/a"
    assert (request["complexity"], request["estimated_input_tokens"]) == ("high", 7)
    assert request["deadline"] == deadline
    assert approval == world.answers(request["request_id"])[-1]
    world.send("task-requests", request)  # the agent asks what it was handed: it is the same ask
    assert world.answers(request["request_id"])[-1] == approval


def test_an_id_that_somebody_has_taken_is_not_used_for_a_step() -> None:
    """Ids of steps can be worked out; an ask that bears one already stays what it is."""
    probe = _world("ann")
    hand_in(probe, step("a"))
    taken = probe.of("TaskAssignment")[0]["request"]["request_id"]
    world = _world("ann", max_concurrency=2)
    world.send("task-requests", ask(taken, agent="ann"))
    hand_in(world, step("a"))
    assert world.of("TaskAssignment")[0]["request"]["request_id"] != taken
    assert world.ask_row(taken).step == ""


def test_outputs_are_kept_as_long_as_a_later_step_needs_them() -> None:
    """An output that nobody needs is not kept, and one that everybody has had is let go."""
    world = _world("ann", max_concurrency=9)
    hand_in(world, step("a"), step("b", "a"), step("c", "a"), step("alone"))
    report(world, "a", output="A")
    report(world, "alone", output="nobody's")
    kept = {key for key in world.state.rows if key.startswith("stepoutput/")}
    assert kept == {f"stepoutput/{TENANT}|w1|1"}
    report(world, "b")
    assert flow_of(world).kept == len(encode_row("A"))
    report(world, "c")
    assert status(world)["state"] == "completed"
    assert not [key for key in world.state.rows if key.startswith("step")]
    assert world.state.workflows.bytes == len(world.state.rows[f"workflow/{TENANT}|w1"])


def test_a_late_success_counts_while_the_step_waits_to_be_tried_again() -> None:
    """What was done is not done twice where the report comes before anybody else was given the step."""
    world = _world("ann")
    hand_in(world, step("a"), step("b", "a"))
    first = world.of("TaskAssignment")[0]["request"]["request_id"]
    command(world, "quarantine_agent", target="ann", tenant=TENANT)
    world.advance(61)
    assert states(world)["a"] == "running"
    assert world.answers(first)[-1]["decision"] == "revoked"
    report(world, "a", output="late")
    command(world, "reinstate_agent", target="ann", tenant=TENANT)
    assert given(world) == [("a", "ann"), ("b", "ann")]
    assert world.of("TaskAssignment")[-1]["inputs"] == {"a": "late"}


@pytest.mark.parametrize("again", ["report", "tick"])
def test_where_the_supervisor_fails_on_a_step_only_that_step_is_denied(again: str) -> None:
    """The report that let the step begin counts; so does the Tick. Nothing is a dead letter."""
    rules = Rules(DIGEST, models=Models())
    world = _world("ann", rules=rules)
    hand_in(world, step("a"), step("b", "a"))
    if again == "tick":
        command(world, "quarantine_agent", target="ann", tenant=TENANT)
        report(world, "a")
        object.__setattr__(rules, "models", BrokenModels("large"))
        command(world, "reinstate_agent", target="ann", tenant=TENANT)
    else:
        object.__setattr__(rules, "models", BrokenModels("large"))
        report(world, "a")
    last = status(world)
    assert last["state"] == "failed"
    assert last["problems"][0]["code"] == "policy_error"
    assert states(world) == {"a": "completed", "b": "failed"}
    assert not world.of("DeadLetter")
    assert ASKS.decode(world.state.rows[f"ask/{TENANT}|{last['steps'][0]['request_id']}"]).phase == "ended"


@pytest.mark.parametrize("more", [-1, 0, 40])
def test_however_many_steps_the_supervisor_fails_on_they_are_all_denied(more: int) -> None:
    """One record gives up on a number of them, and the Ticks that follow at once on the others."""
    bad = workflows_giving.FAILURES_MAX + more
    world = _world("ann", rules=Rules(DIGEST, models=Models()))
    register(world, "ann", max_concurrency=1_000)
    command(world, "quarantine_agent", target="ann", tenant=TENANT)
    for number in range(bad):
        hand_in(world, step("a"), workflow_id=f"w{number}")
    world.rules = replace(world.rules, models=BrokenModels("large"))
    command(world, "reinstate_agent", target="ann", tenant=TENANT)
    world.advance(0)
    ends = [status(world, f"w{number}") for number in range(bad)]
    assert {one["problems"][0]["code"] for one in ends} == {"policy_error"}
    assert not world.of("DeadLetter")


def test_inputs_fit_into_an_assignment_and_it_says_what_is_cut() -> None:
    """What is short is kept whole, the longest share the room; escapes count as they are written."""
    world = _world("ann", strict=False, max_concurrency=200)
    names = [f"s{n}" for n in range(60)]
    hand_in(world, *(step(name) for name in names), step("join", *names))
    for number, name in enumerate(names):
        report(world, name, output="short" if number < 20 else "\x01" * 16_000)
    handed = world.of("TaskAssignment")[-1]
    sizes = [len(encode_row(handed["inputs"][name])) for name in names]
    assert sum(sizes) <= workflows_steps.INPUTS_BYTES_MAX
    assert sum(sizes) > workflows_steps.INPUTS_BYTES_MAX - 6 * len(names)
    assert handed["clipped"] == names[20:]
    assert {handed["inputs"][name] for name in names[:20]} == {"short"}


def test_outputs_beyond_the_room_of_a_workflow_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The step goes on without them, and its assignment says so."""
    monkeypatch.setattr(workflows_steps, "KEPT_BYTES_MAX", 10)
    world = _world("ann", max_concurrency=9)
    hand_in(world, step("a"), step("b"), step("c", "a", "b"))
    report(world, "a", output="12345678")
    report(world, "b", output="x")
    handed = world.of("TaskAssignment")[-1]
    assert (handed["inputs"], handed["clipped"]) == ({"a": "12345678"}, ["b"])


def test_the_largest_workflow_is_worked_off_within_records() -> None:
    """1,000 steps in a fork and a join, each with 16 KiB of output: handed out piece by piece, each once."""
    world = _world(*(f"a{n}" for n in range(20)), strict=False, max_concurrency=50)
    count = examples(1_000, quick=150)
    names = [f"s{n}" for n in range(count - 2)]
    hand_in(world, step("root"), *(step(name, "root") for name in names), step("join", *names))
    assert _work_off(world, "y" * 16_384) == count
    assert status(world)["state"] == "completed"
    assert status(world)["cost_usd"] == count / 100
    journal = world.partitions[0].journal
    assert max(record_bytes(entry.decision) for entry in journal) < RECORD_MAX
    assert max(_handed(entry.decision) for entry in journal) <= workflows_giving.GIVEN_MAX
    assert len(world.of("WorkflowStatus")) < 40, "each is large, and told of now and then"
    assert refold(world.partitions[0]).rows == world.state.rows


def _handed(decision: Any) -> int:
    return sum(output.type == "TaskAssignment" for output in decision.outputs)


def test_a_large_workflow_is_cancelled_piece_by_piece() -> None:
    """Everything that runs of it is revoked, in records of a bounded size."""
    world = _world(*(f"a{n}" for n in range(20)), strict=False, max_concurrency=50)
    count = examples(900, quick=300)
    hand_in(world, *(step(f"s{n}") for n in range(count)))
    while (due := world.state.next_due_ms()) is not None and due <= world.now:
        world.take(0, Tick())
    assert len(given(world)) == count
    command(world, "cancel_workflow", target="w1", tenant=TENANT)
    while (due := world.state.next_due_ms()) is not None and due <= world.now:
        world.take(0, Tick())
    revoked = [out for out in world.of("TaskApproval") if out["decision"] == "revoked"]
    assert len(revoked) == count
    assert status(world)["state"] == "cancelled"
    assert not world.state.tenants
    assert max(record_bytes(entry.decision) for entry in world.partitions[0].journal) < RECORD_MAX


def test_a_kill_reaches_every_workflow_that_only_waits() -> None:
    """All that it binds are stopped by the Ticks that follow; those of another tenant go on."""
    world = _world("ann", "bob", strict=False)
    count = examples(300, quick=60)
    for number in range(count):
        hand_in(world, step("a"), workflow_id=f"w{number}")
    command(world, "kill", scope="tenant", target=TENANT)
    while (due := world.state.next_due_ms()) is not None and due <= world.now:
        world.take(0, Tick())
    assert not world.state.workflows.active
    assert len(world.of("TaskAssignment")) == 2
    assert {status(world, f"w{number}")["state"] for number in range(count)} == {"cancelled"}


def test_too_many_workflows_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound is on those that run; those that ended first are forgotten to make room for new ones."""
    monkeypatch.setattr(workflows_check, "ACTIVE_MAX", 2)
    monkeypatch.setattr("ops_stream.core.workflows.KNOWN_MAX", 3)
    world = _world("ann")
    for number in range(3):
        hand_in(world, step("a"), workflow_id=f"w{number}")
    assert status(world, "w2")["problems"][0]["code"] == "overloaded"
    for number in range(3, 6):
        report(world, "a")
        hand_in(world, step("a"), workflow_id=f"w{number}")
    known = sorted(key.rpartition("|")[2] for key in world.state.rows if key.startswith("workflow/"))
    assert len(known) == 3
    assert "w5" in known
    check_flows(world.state)


def test_workflows_that_have_ended_make_room_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """What they take in bytes is bounded with all others, and nothing is refused for it."""
    world = _world("ann")
    for number in range(5):
        hand_in(world, step("a"), workflow_id=f"w{number}")
        report(world, "a")
    index = world.state.workflows
    assert index.bytes == index.ended_bytes
    for name in (workflows_check, workflows_steps, workflows):
        monkeypatch.setattr(name, "BYTES_MAX", index.bytes // 2)
    hand_in(world, step("a"), workflow_id="w5")
    assert status(world, "w5")["state"] == "running"
    assert len(index.ended) == 2
    hand_in(world, step("a", task_description="x" * 2_000), workflow_id="w6")
    hand_in(world, step("a"), workflow_id="w7")
    assert status(world, "w7")["problems"][0]["code"] == "overloaded"


def test_a_status_fits_whatever_agents_say() -> None:
    """Of each failure the beginning is kept; where a thousand steps have failed only the first of these are told."""
    count = examples(1_000, quick=100)
    world = _world("ann", strict=False, max_concurrency=count)
    steps = [step("s" * 100 + str(number), task_description="x") for number in range(count)]
    hand_in(world, *steps)
    _tick(world)
    for handed in list(world.of("TaskAssignment")):
        report(world, handed["step_id"], "failed", error="\x01" * 400)
    hand_in(world, *steps)  # the same again: it is told where it stands
    last = status(world)
    assert len(encode_row(last)) < 1_000_000
    reasons = [one["reason"] for one in last["steps"] if "reason" in one]
    assert 0 < len(reasons) < count
    assert max(map(len, reasons)) <= 300


def _tick(world: World) -> None:
    """Let Ticks do what is due now."""
    while (due := world.state.next_due_ms()) is not None and due <= world.now:
        world.take(0, Tick())


def test_a_late_report_mends_what_a_workflow_that_is_over_has_cost() -> None:
    """What was held for a lost step counts until its cost is known; the status that is told again has it right."""
    world = _world("ann", "bob")
    hand_in(world, step("a"))
    lost = world.of("TaskAssignment")[0]["request"]
    world.advance(61)
    report(world, "a")
    assert status(world)["cost_usd"] == 1.5
    body = {name: lost[name] for name in ("request_id", "task_id", "agent", "tenant")}
    world.send("telemetry", {**body, "event_id": "late", "kind": "completed", "cost_usd": 0.25})
    assert status(world)["cost_usd"] == 0.75
    assert status(world)["steps"][0]["cost_usd"] == 0.75
    assert msgspec.json.decode(flow_of(world).status) == status(world)


def test_an_ask_of_a_workflow_that_is_forgotten_changes_nothing_about_one_of_the_same_id() -> None:
    """A late report of the old one's step is that ask's alone, whatever the new one's step of that number does."""
    world = _world("ann", rules=Rules(DIGEST, supervisor=Supervisor(remember_s=1, workflow_attempts=1)))
    hand_in(world, step("a"))
    lost = world.of("TaskAssignment")[0]["request"]
    world.advance(70)
    assert status(world)["state"] == "failed"
    assert not len(world.state.workflows)
    hand_in(world, step("a"))
    body = {name: lost[name] for name in ("request_id", "task_id", "agent", "tenant")}
    world.send("telemetry", {**body, "event_id": "late", "kind": "completed", "cost_usd": 0.25})
    assert world.ask_row(lost["request_id"]).money == "settled"
    assert flow_of(world).cost == 0
    report(world, "a")
    assert status(world)["cost_usd"] == 0.5


def test_what_runs_counts_against_the_budget_of_a_workflow() -> None:
    """A second attempt must leave room for what is set aside for the steps beside it."""
    world = _world("ann", max_concurrency=2)
    hand_in(world, step("a"), step("b"), budget_usd=2)
    report(world, "a", "failed", cost_usd=0.5)
    assert states(world) == {"a": "failed", "b": "running"}
    assert status(world)["problems"][0]["code"] == "workflow_budget_exhausted"
    report(world, "b", cost_usd=1)
    assert (status(world)["state"], status(world)["cost_usd"]) == ("failed", 1.5)


def test_a_step_learns_that_a_kill_stops_it_in_the_record_that_hands_it_out() -> None:
    """An agent that is stopped by itself while it is given the next step loses the one before it, and both wait."""
    kills = Kills(automatic=(AutomaticKill("burst", asks=2, within_s=60),))
    world = _world("ann", rules=Rules(DIGEST, kills=kills), max_concurrency=5)
    hand_in(world, step("a"), step("b"), step("c"))
    check_flows(world.state)
    assert {out["decision"] for out in world.of("TaskApproval")} == {"approved", "revoked", "denied"}
    hand_in(world, step("a"), step("b"), step("c"))  # the same again: it is told where it stands
    assert set(states(world).values()) == {"ready"}


def test_a_workflow_that_is_handed_in_in_avro_is_answered_in_avro() -> None:
    """Answers and assignments come in the encoding of whoever handed it in, whatever else is being decided."""
    world = _world("ann")
    body = {"workflow_id": "w1", "objective_id": "o1", "tenant": TENANT, "steps": [step("a"), step("b", "a")]}
    raw = encode_avro("Workflow", Workflow.from_wire(body).wire())
    world.send("workflows", raw, headers=(("content-type", b"application/avro"),))
    report(world, "a")
    about = [out for out in world.outputs if out.type in ("TaskAssignment", "WorkflowStatus", "TaskApproval")]
    assert len(about) >= 5
    assert {out.encoding for out in about} == {"avro"}


def test_a_step_does_not_complete_its_objective_before_the_workflow_is_done() -> None:
    """`cost_per_completed_objective` counts a workflow once, when its last step is done."""
    world = _world("ann")
    hand_in(world, step("a"), step("b", "a"), step("c", "b"))
    for name in "ab":
        report(world, name)
    tallies = [raw for key, raw in world.state.rows.items() if key.startswith(f"tally/{TENANT}|h")]
    assert not any(b'"objectives"' in raw for raw in tallies)
    report(world, "c")
    (tally,) = [raw for key, raw in world.state.rows.items() if key.startswith(f"tally/{TENANT}|h")]
    assert b'"objectives":1' in tally
