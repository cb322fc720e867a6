"""A record on the wrong partition is moved once, never lost and never decided twice."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from ops_stream.contract.partitions import partition_for
from ops_stream.core.intake import read_input
from ops_stream.core.journal.record import RawInput
from ops_stream.core.rules_model import Rules
from tests.core.test_step import BrokenModels, ask, registered
from tests.core.world import DIGEST, TENANT, World

PARTITIONS = 6
HOME = partition_for(TENANT, PARTITIONS)
AWAY = (HOME + 1) % PARTITIONS


def _forwarded_record(world: World, offset: int, position: bytes) -> RawInput:
    output = next(out for out in world.outputs if out.topic == "forwarded")
    body = msgspec.json.encode(output.value)
    return RawInput("forwarded", HOME, offset, world.now, body, (("ops-journal", position),))


def test_a_record_is_decided_at_home_with_its_first_time() -> None:
    """It arrives with its origin, so that its lease and its dead letters speak of the first record."""
    world = registered(World(partitions=PARTITIONS))
    world.send("task-requests", ask(), partition=AWAY)
    assert [a["decision"] for a in world.answers("r1")] == ["approved"]
    assert world.ask_row("r1") is not None
    away = world.partitions[AWAY]
    assert not away.state.rows, "nothing is kept where it does not belong"


def test_a_forwarding_that_is_published_twice_is_decided_once() -> None:
    """After a recovery the same journal output may come again: it is known by its position."""
    world = registered(World(partitions=PARTITIONS))
    world.send("task-requests", ask(), partition=AWAY)
    seen = len(world.outputs)
    decision = world.take(HOME, read_input(_forwarded_record(world, 1, b"%d:0:0" % AWAY)))
    assert (decision.changes, decision.outputs) == ({}, ())
    assert len(world.outputs) == seen


def test_positions_are_told_apart_by_partition() -> None:
    """The same offset of another partition is another record."""
    world = registered(World(partitions=PARTITIONS))
    world.send("task-requests", ask(), partition=AWAY)
    other = (HOME + 2) % PARTITIONS
    world.take(HOME, read_input(_forwarded_record(world, 1, b"%d:0:0" % other)))
    assert len(world.answers("r1")) == 2, "the same ask again gets its decision again"


def test_a_forwarded_record_goes_no_further() -> None:
    """One that stands on yet another wrong partition is kept as a dead letter: it must not go round."""
    world = registered(World(partitions=PARTITIONS))
    world.send("task-requests", ask(), partition=AWAY)
    third = (HOME + 2) % PARTITIONS
    record = _forwarded_record(world, 1, b"%d:7:0" % AWAY)
    stray = RawInput("forwarded", third, 0, world.now, record.value, record.headers)
    decision = world.take(third, read_input(stray))
    assert [out.value["reason"] for out in decision.outputs] == ["wrong_partition"]


@pytest.mark.parametrize(
    ("topic", "body"),
    [
        (
            "telemetry",
            {"event_id": "e", "request_id": "r1", "task_id": "t1", "agent": "engineer", "kind": "started"},
        ),
        ("agents", {"event": "Heartbeat", "agent": "engineer", "running": ["r1"]}),
        ("control", {"command_id": "c", "command": "kill", "scope": "tenant", "issued_by": "o"}),
        (
            "control",
            {"command_id": "c", "command": "set_budget", "parameters": {"limit_usd": 5}, "issued_by": "o"},
        ),
        ("resolutions", {"resolution_id": "v", "escalation_id": "x", "resolver": "a", "verdict": "deny"}),
        ("workflows", {"workflow_id": "w", "objective_id": "o", "steps": []}),
    ],
)
def test_every_input_topic_is_forwarded(topic: str, body: dict[str, Any]) -> None:
    """Whatever belongs to a tenant is decided on that tenant's partition."""
    world = registered(World(partitions=PARTITIONS))
    world.send("task-requests", ask())
    before = len(world.partitions[HOME].journal)
    world.send(topic, {"tenant": TENANT, **body}, partition=AWAY)
    assert len(world.partitions[HOME].journal) == before + 1
    assert len(world.partitions[AWAY].journal) == 1


def test_bytes_that_are_not_text_are_forwarded_whole() -> None:
    """Avro, or anything else, arrives to the byte."""
    world = World(partitions=PARTITIONS)
    value = b'{"request_id": "r1", "tenant": "team-a", "tool": "\xff"}'
    world.send("task-requests", value, partition=AWAY)
    letters = world.of("DeadLetter")
    assert len(letters) == 1


def test_a_command_for_all_reaches_every_partition_once() -> None:
    """Copies say so and are not copied again."""
    world = World(partitions=PARTITIONS)
    world.send("control", {"command_id": "k", "command": "kill", "issued_by": "olga"}, partition=3)
    assert all("kill/all" in partition.state.rows for partition in world.partitions)
    assert [len(partition.journal) for partition in world.partitions] == [1] * PARTITIONS
    copies = [out.value for out in world.outputs if out.topic == "control"]
    assert len(copies) == PARTITIONS - 1
    assert all(copy["spread"] and copy["event"] == "ControlCommand" for copy in copies)
    assert len(world.of("Alert")) == 1, "people hear of it once"
    world.send("control", {"command_id": "k", "command": "kill", "issued_by": "olga"}, partition=0)
    assert len(world.outputs) == PARTITIONS, "written twice, it is obeyed once"


def test_a_kill_of_an_agent_without_a_tenant_is_for_all() -> None:
    """Where no tenant is named, the agent is stopped everywhere; where one is, only there."""
    world = World(partitions=PARTITIONS)
    body = {"command_id": "k", "command": "kill", "scope": "agent", "target": "engineer", "issued_by": "olga"}
    world.send("control", body)
    assert all("kill/agent|*|engineer" in partition.state.rows for partition in world.partitions)
    world.send("control", {**body, "command_id": "k2", "tenant": TENANT, "target": "writer"}, partition=AWAY)
    holders = [n for n, p in enumerate(world.partitions) if f"kill/agent|{TENANT}|writer" in p.state.rows]
    assert holders == [HOME]


def test_a_forwarded_record_that_fails_is_dealt_with_once() -> None:
    """A failure is kept as one dead letter, however often the record is forwarded."""
    world = registered(World(Rules(DIGEST, models=BrokenModels("large")), PARTITIONS))
    world.send("task-requests", ask(), partition=AWAY)
    assert [letter["reason"] for letter in world.of("DeadLetter")] == ["internal_error"]
    decision = world.take(HOME, read_input(_forwarded_record(world, 1, b"%d:0:0" % AWAY)))
    assert (decision.changes, decision.outputs) == ({}, ())
