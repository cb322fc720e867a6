"""No record grows beyond what the journal takes, however much there is to do."""

from __future__ import annotations

from functools import cache
from typing import Any, Literal

import msgspec
import pytest

from ops_stream.core import agents
from ops_stream.core.decision import Decision
from ops_stream.core.inputs import RecordInput, Tick
from ops_stream.core.intake import read_input
from ops_stream.core.journal.record import RawInput
from ops_stream.core.rules_model import Rules, Supervisor
from tests.core.policies import TestPolicies, TestPolicy
from tests.core.test_step import QUEUE_ALL, ask, registered
from tests.core.world import DIGEST, START_MS, TENANT, World, fork

RECORD_MAX = 4 * 1_048_576
CROWD = 1_500
WHENS: tuple[Literal["request", "telemetry"], ...] = ("request", "telemetry")
KILL = {"command_id": "k", "command": "kill", "issued_by": "olga"}
LONG = {"task_type": "\U0001f680" * 256, "tool": "\U0001f680" * 256, "required_model": "\U0001f680" * 256}


def record_bytes(decision: Decision) -> int:
    """How much a decision puts into its journal record."""
    outputs = sum(len(msgspec.json.encode(output.value)) + 400 for output in decision.outputs)
    return outputs + sum(len(key) + len(value or b"null") + 4 for key, value in decision.changes.items())


def _many(count: int, rules: Rules | None = None, **fields: Any) -> World:
    usual = count >= CROWD and rules is None and not fields
    world = fork(_crowd()) if usual else registered(World(rules, strict=False))
    for number in range(CROWD if usual else 0, count):
        world.send("task-requests", ask(f"r{number:05d}", **fields))
    return world


@cache
def _crowd() -> World:
    """More asks than one record does anything about: it takes a second to ask them, and many tests begin so."""
    world = registered(World(strict=False))
    for number in range(CROWD):
        world.send("task-requests", ask(f"r{number:05d}"))
    return world


def _sweep(world: World) -> list[Decision]:
    """Tick until nothing is due now."""
    decisions = []
    while (due := world.state.next_due_ms()) is not None and due <= world.now:
        decisions.append(world.take(0, Tick()))
    return decisions


@pytest.mark.parametrize("fields", [{}, LONG], ids=["short", "long"])
def test_a_kill_of_many_goes_piece_by_piece(fields: dict[str, Any]) -> None:
    """One record revokes at most 1,000, the rest follow in Ticks that are due at once; no record is too large."""
    count = 2_500 if not fields else 1_200
    world = _many(count, **fields)
    world.send("control", KILL)
    first = world.partitions[0].journal[-1].decision
    decisions = [first, *_sweep(world)]
    revoked = [sum(out.type == "TaskApproval" for out in decision.outputs) for decision in decisions]
    assert sum(revoked) == count
    assert max(revoked) <= 1_000
    assert max(record_bytes(decision) for decision in decisions) < RECORD_MAX
    assert not world.state.tenants
    assert all(
        out.value["reason"] == "kill_revoked"
        for d in decisions
        for out in d.outputs
        if out.type == "TaskApproval"
    )


def test_what_a_sweep_has_not_reached_is_stopped_when_it_speaks() -> None:
    """Between the kill and its last piece no permit is repeated and no lease renewed."""
    world = _many(CROWD)
    world.send("control", KILL)
    late = "r01499"
    assert world.ask_row(late).phase == "running"
    lease = world.ask_row(late).until
    world.now += 1_000
    world.send("agents", {"event": "Heartbeat", "tenant": TENANT, "agent": "engineer", "running": [late]})
    assert world.ask_row(late).until == lease
    world.send("task-requests", ask(late))
    assert world.answers(late)[-1]["reason"] == "kill_revoked"
    world.send(
        "telemetry",
        {
            "event_id": "e",
            "request_id": "r01498",
            "task_id": "t1",
            "agent": "engineer",
            "tenant": TENANT,
            "kind": "progress",
        },
    )
    assert world.answers("r01498")[-1]["reason"] == "kill_revoked"
    assert world.ask_row("r01498").money == "unknown", "it had started"
    _sweep(world)
    assert not world.state.tenants


def test_a_kill_leaves_alone_what_is_asked_after_a_resume() -> None:
    """A sweep that is still under way means only what was there when the switch was pulled."""
    world = _many(CROWD)
    world.send("control", KILL)
    world.now += 1
    world.send("control", {"command_id": "u", "command": "resume", "issued_by": "olga"})
    world.send("task-requests", ask("z-new"))
    _sweep(world)
    assert world.answers("z-new")[-1]["decision"] == "approved"
    assert world.ask_row("z-new").phase == "running"
    assert world.ask_row("r01499").phase == "ended"


def test_many_leases_that_end_together_go_piece_by_piece() -> None:
    """A Tick does a bounded piece and is due at once again."""
    world = _many(CROWD)
    world.now += 181_000
    decisions = _sweep(world)
    assert [sum(out.type == "TaskApproval" for out in d.outputs) for d in decisions] == [999, 501]
    assert [sum(out.type == "Kpi" for out in d.outputs) for d in decisions] == [2, 0], "what was due first"


def test_a_batch_of_large_asks_goes_piece_by_piece() -> None:
    """Asks that go from the queue to a person with all they carry do not fill a record beyond its bound."""
    queue = TestPolicy("idle", "queue_for_batch_processing", priority=2)
    policies = TestPolicies([queue, TestPolicy("dear", "escalate", priority=1)])
    world = registered(World(Rules(DIGEST, policies=policies), strict=False))
    for number in range(60):  # each for a task of its own: none is the same as another
        body = ask(f"r{number:05d}", task_id=f"t{number}", arguments={"text": "x" * 200_000})
        world.send("task-requests", body)
    world.now += 60_000
    decisions = _sweep(world)
    assert len(decisions) > 5
    assert max(record_bytes(decision) for decision in decisions) < RECORD_MAX - 524_288
    assert len(world.of("Escalation")) == 60


def test_the_largest_ask_fits_with_its_escalation() -> None:
    """256 KiB of ask: its row, its answer and its escalation stay well below what the journal takes."""
    rules = Rules(DIGEST, policies=TestPolicies([TestPolicy("dear", "escalate")]))
    world = registered(World(rules))
    world.send("task-requests", ask(arguments={"numbers": [10**15] * 7_000}, task_description="é" * 20_000))
    assert world.answers("r1")[0]["decision"] == "escalated"
    shown = world.of("Escalation")[0]["request"]
    assert len(msgspec.json.encode(shown)) < 65_536
    assert record_bytes(world.partitions[0].journal[-1].decision) < RECORD_MAX // 4


def test_waiting_asks_are_bounded_in_bytes() -> None:
    """A tenant cannot fill the memory with asks that wait."""
    rules = Rules(DIGEST, policies=QUEUE_ALL)
    object.__setattr__(rules.supervisor, "waiting_bytes_max", 500_000)
    world = _many(5, rules, arguments={"text": "x" * 200_000})
    assert [world.answers(f"r{n:05d}")[0]["reason"] for n in range(5)] == ["queued"] * 3 + ["overloaded"] * 2


def test_a_release_of_everything_unknown_goes_piece_by_piece() -> None:
    """An operator's release of thousands of asks ends with nothing unknown."""
    world = _many(CROWD)
    world.now += 181_000
    _sweep(world)
    assert world.budget(f"tenant|{TENANT}|2026-11").unknown == 1_500_000_000
    command = {"command_id": "u", "command": "set_budget", "tenant": TENANT, "issued_by": "olga"}
    world.send("control", {**command, "parameters": {"release_unknown": True}})
    assert len(world.state.unknown) == 500
    _sweep(world)
    assert not world.state.unknown
    assert world.budget(f"tenant|{TENANT}|2026-11").unknown == 0


def test_a_release_means_only_what_was_unknown_when_it_was_ordered() -> None:
    """What becomes unknown while the release is still under way stays unknown, and counts."""
    world = _many(CROWD)
    world.now += 100_000
    world.send("task-requests", ask("z-late", estimated_cost_usd=7))
    world.now += 100_000
    _sweep(world)
    command = {"command_id": "u", "command": "set_budget", "tenant": TENANT, "issued_by": "olga"}
    world.send("control", {**command, "parameters": {"release_unknown": True}})
    world.now += 90_000
    world.send("task-requests", ask("z-late", estimated_cost_usd=7))
    assert world.answers("z-late")[-1]["reason"] == "lease_expired"
    _sweep(world)
    assert list(world.state.unknown) == [f"ask/{TENANT}|z-late"]
    assert world.budget(f"tenant|{TENANT}|2026-11").unknown == 7_000_000


def test_what_forgotten_asks_left_unknown_can_be_released() -> None:
    """Past the bound on memory an ask is forgotten, its unknown cost is not, until an operator says so."""
    rules = Rules(DIGEST, supervisor=Supervisor(remember_max=2))
    world = _many(5, rules)
    world.now += 181_000
    _sweep(world)
    world.send("task-requests", ask("one-more", estimated_cost_usd=0))
    assert len(world.state.unknown) == 2
    assert world.budget(f"tenant|{TENANT}|2026-11").unknown == 5_000_000
    command = {"command_id": "u", "command": "set_budget", "tenant": TENANT, "issued_by": "olga"}
    world.send("control", {**command, "parameters": {"release_unknown": True}})
    assert world.budget(f"tenant|{TENANT}|2026-11").unknown == 0
    assert [alert["kind"] for alert in world.of("Alert")] == ["violation", "remember_max"]


@pytest.mark.parametrize("partitions", [6, 1_000])
def test_the_largest_kill_reaches_every_partition(partitions: int) -> None:
    """A kill is written to every other partition in one record, whatever it carries that a kill does not need."""
    world = registered(World(partitions=partitions, strict=False))
    swelling = {"numbers": [msgspec.Raw(b"1e15")] * 40_000}
    world.take(0, _command({**KILL, "reason": "\x01" * 4_096, "parameters": swelling}))
    decision = world.partitions[0].journal[-1].decision
    copies = [out for out in decision.outputs if out.topic == "control"]
    assert len(copies) == partitions - 1
    assert not world.of("DeadLetter")
    assert record_bytes(decision) < RECORD_MAX // 2
    assert world.partitions[0].state.counts["kill/"] == 1


def test_a_command_that_cannot_be_written_to_every_partition_is_refused() -> None:
    """A record has a largest size: what would need more is a dead letter, and not the end of every worker."""
    world = registered(World(partitions=50, strict=False))
    command = {**KILL, "command": "activate_rules", "parameters": {"digest": "x" * 200_000}}
    world.take(0, _command(command))
    decision = world.partitions[0].journal[-1].decision
    assert [out.topic for out in decision.outputs] == ["dead-letters"]
    assert world.of("DeadLetter")[0]["reason"] == "malformed_command"


def test_agents_of_any_number_of_tenants_fill_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever registers names its tenant: all agents of a partition together are bounded, and those there stay."""
    monkeypatch.setattr(agents, "AGENT_BYTES_MAX", 1_000_000)
    world = World(strict=False)

    def register(number: int, words: int) -> None:
        body = {
            "agent": "engineer",
            "tenant": f"t{number}",
            "role": "worker",
            "capabilities": ["x" * 256] * words,
        }
        world.send("agents", {"event": "AgentRegistration", **body})

    for number in range(40):
        register(number, 256)
    assert len(world.state.agents) == 16
    assert {letter["reason"] for letter in world.of("DeadLetter")} == {"overloaded"}
    assert world.state.agent_bytes == sum(
        len(value) for key, value in world.state.rows.items() if key.startswith("agent/")
    )
    register(0, 255)
    assert len(world.of("DeadLetter")) == 24, "one that is there may say of itself what takes no more room"


def _command(body: dict[str, Any]) -> RecordInput:
    return read_input(RawInput("control", 0, 0, START_MS, msgspec.json.encode(body)))


@pytest.mark.parametrize(
    ("action", "condition"),
    [("notify", "True"), ("notify", "nothing"), ("log", "nothing"), ("block", "True")],
)
def test_thousands_of_policies_that_speak_at_once_fit_into_a_record(action: str, condition: str) -> None:
    """Rules may hold thousands of policies: an event that concerns them all raises the most important alerts only."""
    speak = {"message": "\u20ac" * 4_000}
    policies = [
        TestPolicy(f"p{number:04d}", action, condition, number, when, parameters=speak)
        for number in range(2_000)
        for when in (WHENS if action != "block" else WHENS[1:])
    ]
    world = registered(World(Rules(DIGEST, policies=TestPolicies(policies)), strict=False))
    world.send("task-requests", ask())
    assert world.answers("r1")[0]["decision"] == "approved"
    report = {"event_id": "e1", "request_id": "r1", "task_id": "t1", "agent": "engineer", "tenant": TENANT}
    world.send("telemetry", {**report, "kind": "completed"})
    decisions = [entry.decision for entry in world.partitions[0].journal]
    assert max(record_bytes(decision) for decision in decisions) < RECORD_MAX // 2
    told = [alert["dedupe_key"].rpartition("|")[2] for alert in world.of("Alert")]
    assert told[0] == "p1999", "the one of the highest priority"
    assert all(sum(out.type == "Alert" for out in decision.outputs) <= 50 for decision in decisions)
