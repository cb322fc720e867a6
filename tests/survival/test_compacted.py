"""A zombie's late write to a compacted topic is undone by whoever takes the partition over."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from aiokafka import AIOKafkaProducer

from ops_stream.contract.partitions import partition_for
from ops_stream.contract.settings import Settings
from tests.survival.fleet import Fleet
from tests.survival.process import WorkerProcess
from tests.survival.proof import read_all

pytestmark = [pytest.mark.bus, pytest.mark.survival]

TENANT = "team-1"


async def test_the_newest_status_of_an_agent_is_the_last_again_after_a_takeover(
    world: Settings, workers: Callable[..., WorkerProcess]
) -> None:
    """The newest AgentStatus by journal position is overtaken by an older one, as a zombie writes it. After the next
    takeover the newest is the last of its key again, so that compaction keeps the right one."""
    worker = workers(world, "a").start()
    await worker.until_live(world.partitions)
    partition = partition_for(TENANT, world.partitions)
    async with Fleet(world, (TENANT,)) as fleet:
        await fleet.put("control", TENANT, _command("quarantine_agent"))
        while len(statuses := (await read_all(world, "agent-status"))[partition]) < 2:
            pass
    older, newest = statuses[0], statuses[-1]
    assert json.loads(newest.value)["state"] == "suspended"
    await worker.terminate()
    await _write_again(world, older)
    stale = (await read_all(world, "agent-status"))[partition][-1]
    assert stale.value == older.value, "the late write must have landed"
    await worker.start().until_live(world.partitions)
    last = (await read_all(world, "agent-status"))[partition][-1]
    assert (last.key, last.value, last.headers) == (newest.key, newest.value, newest.headers)


def _command(name: str) -> dict[str, object]:
    return {
        "event": "ControlCommand",
        "command_id": "c-1",
        "command": name,
        "scope": "agent",
        "tenant": TENANT,
        "target": "a",
        "issued_by": "test",
    }


async def _write_again(settings: Settings, record: object) -> None:
    producer = AIOKafkaProducer(**settings.aiokafka(), acks="all")
    await producer.start()
    await producer.send_and_wait(
        settings.topic("agent-status"),
        record.value,  # type: ignore[attr-defined]
        key=record.key,  # type: ignore[attr-defined]
        partition=record.partition,  # type: ignore[attr-defined]
        headers=list(record.headers),  # type: ignore[attr-defined]
    )
    await producer.stop()
