"""One step at a time: what is contained, what halts, and who is answered how."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest

from ops_stream.contract.codec import encode_avro
from ops_stream.contract.models import TaskRequest
from ops_stream.contract.partitions import partition_for
from ops_stream.core.inputs import EventInput, Gap, Origin, Tick
from ops_stream.core.rows import RULES
from ops_stream.core.rules_model import Models, Rules
from ops_stream.core.state import State
from ops_stream.core.step import InvariantBroken, step
from tests.core.policies import TestPolicies, TestPolicy
from tests.core.world import DIGEST, START_MS, TENANT, World

QUEUE_ALL = TestPolicies([TestPolicy("idle", "queue_for_batch_processing")])


def ask(request_id: str = "r1", **fields: Any) -> dict[str, Any]:
    """A body of a TaskRequest."""
    return {
        "request_id": request_id,
        "task_id": "t1",
        "agent": "engineer",
        "tenant": TENANT,
        "task_description": "Do it.",
        "estimated_cost_usd": 1,
        **fields,
    }


def registered(world: World, tenant: str = TENANT) -> World:
    """A world in which the engineer has registered."""
    registration = {"agent": "engineer", "tenant": tenant, "role": "worker", "capabilities": []}
    world.send("agents", {"event": "AgentRegistration", **registration})
    return world


class BrokenModels(Models):
    """Models that fail when asked."""

    def known(self, model: str) -> bool:
        """Fail."""
        raise RuntimeError("a bug")


def test_a_failure_becomes_a_dead_letter_and_a_denial() -> None:
    """An exception changes nothing but this: the record is kept, and whoever asked is denied, for good."""
    world = registered(World(Rules(DIGEST, models=BrokenModels("large"))))
    world.send("task-requests", ask())
    assert [letter["reason"] for letter in world.of("DeadLetter")] == ["internal_error"]
    assert [(a["decision"], a["reason"], a["sequence"]) for a in world.answers("r1")] == [
        ("denied", "policy_error", 0)
    ]
    assert world.budget(f"tenant|{TENANT}|2026-11") is None
    world.rules = Rules(DIGEST)
    world.send("task-requests", ask())
    assert world.answers("r1")[1] == world.answers("r1")[0]


def test_a_failure_about_a_known_ask_leaves_its_line_alone() -> None:
    """A verdict that cannot be decided is kept as a dead letter; the ask goes on waiting."""
    dear = TestPolicies([TestPolicy("dear", "escalate")])
    world = registered(World(Rules(DIGEST, policies=dear)))
    world.send("task-requests", ask())
    escalation = world.of("Escalation")[0]
    world.rules = Rules(DIGEST, policies=dear, models=BrokenModels("large"))
    verdict = {
        "resolution_id": "v1",
        "escalation_id": escalation["escalation_id"],
        "tenant": TENANT,
        "resolver": "ann",
        "verdict": "approve",
    }
    world.send("resolutions", verdict)
    assert [letter["reason"] for letter in world.of("DeadLetter")] == ["internal_error"]
    assert world.ask_row("r1").phase == "escalated"
    world.advance(4_000)
    assert world.answers("r1")[-1]["reason"] == "escalation_expired"


def test_a_failure_in_the_batch_queue_denies_that_ask_and_lets_the_others_go() -> None:
    """One ask that cannot be looked at again does not hold up the queue."""

    class Picky(Models):
        def known(self, model: str) -> bool:
            if model == "bad":
                raise RuntimeError("a bug")
            return True

    world = registered(World(Rules(DIGEST, policies=QUEUE_ALL)))
    for request_id, model in (("r1", "good"), ("r2", "bad"), ("r3", "good")):
        world.send("task-requests", ask(request_id, required_model=model))
    world.rules = Rules(DIGEST, policies=QUEUE_ALL, models=Picky("good"))
    world.advance(60)
    assert [world.answers(name)[-1]["decision"] for name in ("r1", "r2", "r3")] == [
        "approved",
        "denied",
        "approved",
    ]
    assert world.answers("r2")[-1]["reason"] == "policy_error"


def test_a_state_that_contradicts_itself_halts_the_partition() -> None:
    """A missing budget row is not contained: it must be seen."""
    world = registered(World())
    world.send("task-requests", ask())
    world.state.apply({f"budget/tenant|{TENANT}|2026-11": None})
    world.strict = False
    report = {
        "event_id": "e1",
        "request_id": "r1",
        "task_id": "t1",
        "agent": "engineer",
        "tenant": TENANT,
        "kind": "completed",
        "cost_usd": 1,
    }
    with pytest.raises(InvariantBroken, match="is missing"):
        world.send("telemetry", report)


def test_a_takeover_names_the_rules_where_none_are_in_force() -> None:
    """The first worker's rules come into force; a later worker's do not."""
    world = World()
    world.takeover()
    assert RULES.decode(world.state.rows["rules"]).digest == DIGEST
    world.rules = Rules("sha256:" + "cd" * 32)
    assert not world.takeover().changes
    assert RULES.decode(world.state.rows["rules"]).digest == DIGEST


def test_rules_are_activated_by_a_command() -> None:
    """The command names a bundle that the worker has; the state then says so."""
    other = "sha256:" + "cd" * 32
    world = World(Rules(DIGEST, known=frozenset((DIGEST, other))))
    world.takeover()
    command = {
        "command_id": "c1",
        "command": "activate_rules",
        "issued_by": "olga",
        "parameters": {"digest": other},
    }
    world.send("control", command)
    assert RULES.decode(world.state.rows["rules"]).digest == other


def test_a_gap_in_an_input_is_alerted() -> None:
    """Records that the broker no longer has are told of, loudly."""
    world = World()
    world.take(0, Gap("telemetry", 0, 5, 9))
    assert [(a["kind"], a["severity"]) for a in world.of("Alert")] == [("input_gap", "critical")]


def test_gaps_that_a_writer_in_transactions_leaves_are_no_storm_of_alerts() -> None:
    """Every transaction ends with an offset that holds nothing: people hear of it once an hour and topic."""
    world = World()
    for number in range(50):
        world.take(0, Gap("telemetry", 0, 2 * number, 2 * number))
    world.take(0, Gap("workflows", 0, 1, 1))
    assert [alert["subject"] for alert in world.of("Alert")] == ["telemetry", "workflows"]
    world.take(0, Gap("telemetry", 0, 200, 99))
    assert "made anew" in world.of("Alert")[-1]["summary"], "what may have lost records is told of always"
    world.now += 3_600_000
    world.take(0, Gap("telemetry", 0, 104, 104))
    assert len(world.of("Alert")) == 4


def test_an_idle_tick_does_nothing() -> None:
    """Time that passes over an empty state changes nothing."""
    decision = step(State(0, 1), Tick(), Rules(DIGEST), START_MS)
    assert (decision.changes, decision.outputs) == ({}, ())


@pytest.mark.parametrize("value", [None, b"", b"\xff\xfe", b"{" * 50, b"5"])
def test_bytes_that_are_no_event_are_kept(value: bytes | None) -> None:
    """A dead letter has the very bytes, or none where the record had none."""
    world = World()
    world.send("task-requests", value, headers=(("x", b"1"),))
    letter = world.of("DeadLetter")[0]
    assert (letter["topic"], letter["partition"], letter["offset"]) == ("task-requests", 0, 0)
    assert ("value_b64" in letter) == (value is not None)
    if value is not None:
        assert base64.b64decode(letter["value_b64"]) == value
    assert letter["headers"] == [["x", base64.b64encode(b"1").decode()]]
    assert not world.of("TaskApproval")


def test_a_malformed_ask_is_answered_on_its_tenants_partition() -> None:
    """Whoever reads that tenant's answers sees the denial, wherever the record was written."""
    world = World(partitions=6)
    home = partition_for(TENANT, 6)
    body = b'{"request_id": "r1", "tenant": "team-a", "task_id": 5}'
    world.send("task-requests", body, partition=(home + 1) % 6)
    assert [a["reason"] for a in world.answers("r1")] == ["malformed_request"]
    assert world.partitions[home].journal, "it was decided at home"
    letter = world.of("DeadLetter")[0]
    assert letter["partition"] == (home + 1) % 6, "the letter says where it was written"


def test_answers_come_in_the_encoding_and_the_trace_of_the_ask() -> None:
    """Also those that only time brings."""
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    world = registered(World(Rules(DIGEST, policies=QUEUE_ALL)))
    request = TaskRequest.from_wire(ask())
    headers = (("content-type", b"application/avro"), ("traceparent", trace.encode()))
    world.send("task-requests", encode_avro("TaskRequest", request.wire()), headers=headers)
    world.advance(60)
    answers = [out for out in world.outputs if out.type == "TaskApproval"]
    assert [(out.encoding, out.traceparent) for out in answers] == [("avro", trace)] * 2


def test_a_repeated_ask_is_answered_in_its_own_encoding() -> None:
    """The same decision, written as the one who asks again reads it."""
    world = registered(World())
    world.send("task-requests", ask())
    request = TaskRequest.from_wire(ask())
    headers = (("content-type", b"application/avro"),)
    world.send("task-requests", encode_avro("TaskRequest", request.wire()), headers=headers)
    answers = [out for out in world.outputs if out.type == "TaskApproval"]
    assert [out.encoding for out in answers] == ["json", "avro"]
    assert answers[0].value == answers[1].value


def test_every_id_derives_from_the_input() -> None:
    """Two workers that decide the same records publish the same ids."""
    worlds = [registered(World()) for _ in range(2)]
    for world in worlds:
        world.send("task-requests", ask())
        world.send("control", {"command_id": "k", "command": "kill", "issued_by": "olga"})
    assert [out.id for out in worlds[0].outputs] == [out.id for out in worlds[1].outputs]
    assert len({out.id for out in worlds[0].outputs}) == len(worlds[0].outputs)


def test_outputs_are_plain_json() -> None:
    """What is published reads back as it was, with no type of our own in it."""
    world = registered(World())
    world.send("task-requests", ask())
    for output in world.outputs:
        assert msgspec.json.decode(msgspec.json.encode(output.value)) == output.value


def test_forged_journal_headers_mean_nothing_on_an_input() -> None:
    """A record that claims to come from the journal is an ask like any other."""
    world = registered(World())
    world.send("task-requests", ask(), headers=(("ops-journal", b"0:999:0"),))
    world.send("task-requests", ask("r2"), headers=(("ops-journal", b"0:1:0"),))
    assert [world.answers(name)[0]["decision"] for name in ("r1", "r2")] == ["approved", "approved"]


def test_a_records_time_far_in_the_future_is_held_to_now() -> None:
    """A timestamp that a producer chose moves no clock and expires no lease."""
    world = registered(World())
    world.send("task-requests", ask())
    world.send("task-requests", ask(), written=START_MS + 10 * 365 * 86_400_000)
    assert [a["decision"] for a in world.answers("r1")] == ["approved", "approved"]


def test_step_takes_an_event_without_its_bytes() -> None:
    """Bytes matter only to dead letters and forwarding."""
    event = EventInput(Origin("task-requests", 0, 0, START_MS), TaskRequest.from_wire(ask()))
    decision = step(State(0, 1), event, Rules(DIGEST), START_MS)
    assert decision.outputs[0].value["reason"] == "agent_unregistered"


def test_an_agent_cannot_close_the_escalation_of_its_ask_by_the_name_of_a_report() -> None:
    """What a report calls a person for is another matter than the ask, whatever the report is called."""
    policies = TestPolicies([TestPolicy("ask", "escalate"), TestPolicy("told", "escalate", when="telemetry")])
    world = registered(World(Rules(DIGEST, policies=policies)))
    world.send("task-requests", ask())
    world.send(
        "telemetry",
        {
            "event_id": "0",
            "request_id": "r1",
            "task_id": "t1",
            "agent": "engineer",
            "tenant": TENANT,
            "kind": "progress",
        },
    )
    assert len({value["escalation_id"] for value in world.of("Escalation")}) == 2
    world.advance(world.rules.supervisor.escalation_ttl_s)
    assert world.answers("r1")[-1]["reason"] == "escalation_expired"
