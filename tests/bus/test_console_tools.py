"""Kafka's console tools and librdkafka take part with nothing of ours: a line of JSON is an event."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Message, Producer

from ops_stream.contract.partitions import partition_for
from ops_stream.contract.settings import Settings
from ops_stream.core.rows import ASKS, ask_key
from ops_stream.embedded import train
from ops_stream.embedded.java import Runtime
from ops_stream.embedded.process import environment
from tests.survival.conftest import make_world, workers  # noqa: F401
from tests.survival.meddling import bounds
from tests.survival.process import WorkerProcess
from tests.survival.proof import Proof, prove, read_all, until_journaled

pytestmark = [pytest.mark.bus, pytest.mark.timeout(240)]

WITHIN_S = 90.0
CODECS = ("gzip", "snappy", "lz4", "zstd")
ASKS_EACH = 5
TENANTS = tuple(f"customer-{number:03}" for number in range(120))
LIMIT = 1_000_000_000


@pytest.fixture
async def supervised(
    kafka: str,
    prefix: str,
    tmp_path: Path,
    workers: Callable[..., WorkerProcess],  # noqa: F811
) -> AsyncIterator[tuple[Settings, WorkerProcess]]:
    """Give a world with a worker that is live."""
    world = await make_world(kafka, prefix, tmp_path)
    worker = workers(world, "a").start()
    await worker.until_live(6)
    yield world, worker


async def test_an_agent_of_console_tools_alone_takes_part(supervised: tuple[Settings, WorkerProcess]) -> None:
    """kafka-console-producer registers an agent, asks and reports, without a key and with every compression that it
    knows; kafka-console-consumer shows that the agent is known, and every answer. No other client is involved."""
    world, worker = supervised
    console = Console(world, await asyncio.to_thread(train))
    await console.produce(
        "agents",
        [{"event": "AgentRegistration", "agent": "shell", "role": "tester", "capabilities": ["general"]}],
    )
    async with console.consuming("agent-status") as lines:
        status = await anext(lines)
    assert (status["agent"], status["tenant"], status["state"]) == ("shell", "default", "registered")

    asked = {f"{codec}-{number}" for codec in CODECS for number in range(ASKS_EACH)}
    async with console.consuming("approvals") as lines:
        await asyncio.gather(
            *(
                console.produce("task-requests", [ask(f"{codec}-{n}") for n in range(ASKS_EACH)], codec=codec)
                for codec in CODECS
            )
        )
        approvals = {}
        while asked - approvals.keys():
            approval = await anext(lines)
            assert approval["request_id"] not in approvals, "each answer comes once"
            approvals[approval["request_id"]] = approval
    assert approvals.keys() == asked
    assert all(approval["decision"] == "approved" for approval in approvals.values())
    assert all(approval["cost_limit_usd"] == 0.5 for approval in approvals.values())

    await console.produce("telemetry", [completed(approval) for approval in approvals.values()])
    await until_journaled(world)
    assert await worker.terminate() == 0
    proof = await prove(world, dict.fromkeys(asked, "default"), limit_micros=LIMIT)
    assert all(settled(proof, world, "default", request_id) for request_id in asked)


async def test_librdkafkas_partitioner_costs_a_detour_and_nothing_else(
    supervised: tuple[Settings, WorkerProcess],
) -> None:
    """kcat and every other librdkafka client put most keys on other partitions than Java does. What stands on the wrong
    one is moved to its tenant's, once, and decided there, once: registrations, asks and reports of 120 tenants."""
    world, worker = supervised
    client = Rdkafka(world)
    registrations = {
        tenant: {
            "event": "AgentRegistration",
            "agent": "shell",
            "role": "tester",
            "capabilities": ["general"],
        }
        for tenant in TENANTS
    }
    astray = client.produce("agents", registrations)
    await until_known(world, TENANTS)
    astray += client.produce("task-requests", {tenant: ask(f"ask-{tenant}") for tenant in TENANTS})
    await until_journaled(world)
    approvals = [json.loads(r.value) for rs in (await read_all(world, "approvals")).values() for r in rs]
    assert sorted(approval["tenant"] for approval in approvals) == sorted(TENANTS), "each once"
    assert {approval["decision"] for approval in approvals} == {"approved"}
    astray += client.produce("telemetry", {a["tenant"]: completed(a) for a in approvals})
    await until_journaled(world)
    assert await worker.terminate() == 0

    assert astray > 200, "of 360 records most must have stood on the wrong partition"
    assert sum(end for _, end in (await bounds(world, "forwarded")).values()) == astray
    proof = await prove(world, {f"ask-{tenant}": tenant for tenant in TENANTS}, limit_micros=LIMIT)
    assert all(settled(proof, world, tenant, f"ask-{tenant}") for tenant in TENANTS)
    assert not await read_all(world, "dead-letters")


class Console:
    """Kafka's own console tools, as someone at a terminal uses them."""

    def __init__(self, world: Settings, runtime: Runtime) -> None:
        self._world = world
        self._runtime = runtime

    def _command(self, tool: str, topic: str, *more: str) -> list[str]:
        where = ["--bootstrap-server", self._world.bootstrap_servers, "--topic", self._world.topic(topic)]
        return self._runtime.tool(tool, [*where, *more])

    async def produce(self, topic: str, events: Iterable[Any], codec: str = "none") -> None:
        """Type events at kafka-console-producer, a line each."""
        process = await asyncio.create_subprocess_exec(
            *self._command("kafka-console-producer", topic, "--compression-codec", codec),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment(),
        )
        typed = "".join(json.dumps(event) + "\n" for event in events)
        async with asyncio.timeout(WITHIN_S):
            said, _ = await process.communicate(typed.encode())
        assert process.returncode == 0, said.decode()

    @asynccontextmanager
    async def consuming(self, topic: str) -> AsyncIterator[AsyncIterator[Any]]:
        """Have kafka-console-consumer print a topic from its beginning; give what it prints."""
        process = await asyncio.create_subprocess_exec(
            *self._command("kafka-console-consumer", topic, "--from-beginning"),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment(),
            limit=1 << 20,
        )
        assert process.stdout is not None
        lines = process.stdout

        async def printed() -> AsyncIterator[Any]:
            while True:
                async with asyncio.timeout(WITHIN_S):
                    line = await lines.readline()
                assert line, "the consumer ended"
                yield json.loads(line)

        try:
            yield printed()
        finally:
            process.terminate()
            await process.wait()


class Rdkafka:
    """librdkafka as kcat uses it: the key is the tenant, the partitioner its default."""

    def __init__(self, world: Settings) -> None:
        self._world = world
        self._producer = Producer({"bootstrap.servers": world.bootstrap_servers})

    def produce(self, topic: str, events: dict[str, Any]) -> int:
        """Write an event for each tenant; give how many landed on another partition than the tenant's."""
        astray: list[str] = []
        landed: list[str] = []

        def delivered(error: Any, message: Message) -> None:
            assert error is None, error
            tenant = (message.key() or b"").decode()
            landed.append(tenant)
            if message.partition() != partition_for(tenant, self._world.partitions):
                astray.append(tenant)

        for tenant, event in events.items():
            body = json.dumps({**event, "tenant": tenant}).encode()
            self._producer.produce(self._world.topic(topic), body, key=tenant.encode(), on_delivery=delivered)
        assert self._producer.flush(WITHIN_S) == 0
        assert sorted(landed) == sorted(events)
        return len(astray)


def ask(request_id: str) -> dict[str, Any]:
    """An ask, with what must be there and a cost."""
    return {
        "request_id": request_id,
        "task_id": f"task-{request_id}",
        "agent": "shell",
        "task_description": "typed at a terminal",
        "estimated_cost_usd": 0.5,
    }


def completed(approval: dict[str, Any]) -> dict[str, Any]:
    """The report of an approved ask."""
    return {
        "event_id": f"done-{approval['request_id']}",
        "request_id": approval["request_id"],
        "task_id": approval["task_id"],
        "agent": "shell",
        "kind": "completed",
        "success": True,
        "cost_usd": 0.25,
    }


def settled(proof: Proof, world: Settings, tenant: str, request_id: str) -> bool:
    """Whether the journal's state has the ask as reported and paid."""
    rows = proof.ledgers[partition_for(tenant, world.partitions)].state.rows
    row = ASKS.decode(rows[ask_key(tenant, request_id)])
    return (row.phase, row.money, row.report) == ("ended", "settled", f"done-{request_id}")


async def until_known(world: Settings, tenants: Iterable[str]) -> None:
    """Wait until the agents of all tenants are registered."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            found = await read_all(world, "agent-status")
            if {json.loads(r.value)["tenant"] for records in found.values() for r in records} >= set(tenants):
                return
            await asyncio.sleep(0.1)
