"""Faults inside one journal record."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from ops_stream.contract.partitions import partition_for
from ops_stream.contract.settings import Settings
from ops_stream.core.journal.record import decode_outputs, read
from ops_stream.core.killswitch import FIRST_MAX
from tests.survival.faults import EACH, Ends, creep, ends_of, owner_of, until_shared
from tests.survival.fleet import Fleet
from tests.survival.process import WorkerProcess
from tests.survival.proof import Proof, prove, read_all

pytestmark = [pytest.mark.bus, pytest.mark.survival, pytest.mark.timeout(240)]

ASKS = 1_000
"""What the record holds: the second of the kill, since its own stops only the first few."""
RUNNING = FIRST_MAX + ASKS
TRIES = ("kill-1", "kill-2", "kill-3", "kill-4")


async def test_a_kill_inside_a_record_with_a_thousand_outputs_leaves_none_out(
    world: Settings, workers: Callable[..., WorkerProcess]
) -> None:
    """One record revokes 1,000 running asks of a tenant, and the worker is killed (-9) when some of the 1,000
    revocations are out and not all. The next owner publishes exactly the recorded bytes of all 1,000 and approves
    nothing more for that tenant, while the other worker's tenants go on."""
    pair = [workers(world, name).start() for name in ("a", "b")]
    async with Fleet(world, (*EACH, *TRIES), report_share=0.0) as fleet, ends_of(world) as ends:
        await until_shared(pair)
        await fleet.until_registered()
        tenant, record, out = await _kill_inside_a_record(world, fleet, ends, pair)
        partition = partition_for(tenant, world.partitions)
        survivor = next(worker for worker in pair if worker.running)
        others = [EACH[p] for p in await asyncio.to_thread(survivor.live_partitions)]
        await fleet.ask(50, rate=200, name="meanwhile", tenants=others)
        await fleet.until_answered(tenants=others)
        next(worker for worker in pair if not worker.running).start()
        await owner_of(partition, pair)
        await fleet.ask(5, rate=200, name="after", tenants=(tenant,))
        await fleet.until_answered()
        assert [await worker.terminate() for worker in pair] == [0, 0]
        proof = await prove(world, fleet.asked, limit_micros=1_000_000_000)
    assert 0 < out < ASKS
    await _all_are_out(world, proof, partition, record)
    for request_id in fleet.of((tenant,)):
        last = msgspec.json.decode(proof.decisions[request_id][max(proof.decisions[request_id])])
        expected = "kill_switch" if request_id.startswith("after") else "kill_revoked"
        assert last["reason"] == expected


async def _kill_inside_a_record(
    settings: Settings, fleet: Fleet, ends: Ends, pair: list[WorkerProcess]
) -> tuple[str, int, int]:
    """Kill the owner of a tenant within the record of a kill; the tenant, the record, how many outputs were out."""
    for tenant in TRIES:
        partition = partition_for(tenant, settings.partitions)
        await fleet.ask(RUNNING, rate=4_000, name=tenant, tenants=(tenant,))
        await fleet.until_answered()
        victim = await owner_of(partition, pair)
        record, out = await ends.of("journal", partition), await ends.of("approvals", partition)

        async def first_are_out(partition: int = partition, before: int = out) -> int | None:
            now = await ends.of("approvals", partition)
            return now if now > before + FIRST_MAX else None

        await fleet.put("control", tenant, kill_of(tenant))
        await creep(victim, first_are_out)
        victim.kill9()
        landed = await ends.at_rest("approvals", partition) - out - FIRST_MAX
        assert await ends.of("journal", partition) == record + 2, "the kill is two records"
        if landed < ASKS:
            return tenant, record + 1, landed
        victim.start()
        await until_shared(pair)
    raise AssertionError(f"all outputs were out before each of {len(TRIES)} kills")


def kill_of(tenant: str) -> dict[str, Any]:
    """The command that stops a tenant."""
    return {
        "command_id": f"stop-{tenant}",
        "command": "kill",
        "scope": "tenant",
        "tenant": tenant,
        "issued_by": "operator",
    }


async def _all_are_out(settings: Settings, proof: Proof, partition: int, offset: int) -> None:
    """Each output of the record is on its topic, byte for byte; nothing of these asks is approved after it."""
    value = dict(proof.records[partition])[offset]
    outputs = decode_outputs(read(value).outputs)
    revoked = [output for output in outputs if output.topic == "approvals"]
    assert len(revoked) == ASKS
    for index, output in enumerate(outputs):
        if output.topic == "approvals":
            assert proof.published["approvals", f"{partition}:{offset}:{index}"] == bytes(output.value)
    ids = {msgspec.json.decode(output.value)["request_id"] for output in revoked}
    for record in (await read_all(settings, "approvals"))[partition]:
        body = msgspec.json.decode(record.value)
        if body["request_id"] in ids and body["decision"] == "approved":
            position = dict(record.headers)["ops-journal"].decode()
            assert int(position.split(":")[1]) < offset
