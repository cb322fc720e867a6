"""Input topics that are made anew, trimmed, or have holes; and a report that waits while its lease runs out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ops_stream.contract.clocktext import parse_time
from ops_stream.contract.partitions import partition_for
from ops_stream.contract.settings import Settings
from ops_stream.core.journal.record import decode_gap, read
from ops_stream.streams.exits import Exit
from tests.survival.conftest import TENANTS, make_world
from tests.survival.fleet import Fleet
from tests.survival.meddling import bounds, put_in_transaction, put_raw, recreate_topic, trim_topic
from tests.survival.process import WorkerProcess
from tests.survival.proof import Proof, prove, read_all, until_journaled

pytestmark = [pytest.mark.bus, pytest.mark.survival, pytest.mark.timeout(300)]

ASKS = 200
RATE = 100.0
LIMIT = 1_000_000_000
TENANT = TENANTS[0]
PARTITION = partition_for(TENANT, 6)
SHORT_LEASES = {"lease_min_s": 1, "lease_factor": 1}


async def test_inputs_made_anew_or_trimmed_are_refused_until_the_operator_accepts_it(
    world: Settings, workers: Callable[..., WorkerProcess]
) -> None:
    """A topic that was deleted and made again ends before the position that was journaled; one that was trimmed may
    begin behind it, and what lies between is lost. The worker refuses, says what is missing and names the option for
    each. With the operator's word for both it takes them up where they begin, journals the gaps and decides the rest;
    from then on it starts without the option. What retention deletes after it was read is no one's concern."""
    worker = workers(world, "a").start()
    await worker.until_live(6)
    async with Fleet(world, (TENANT,)) as fleet:
        await fleet.until_registered()
        await fleet.ask(ASKS // 2, RATE)
        await fleet.until_answered()
        await fleet.until_reported()
        await until_journaled(world)
        assert await worker.terminate() == 0

        await recreate_topic(world, "telemetry")
        await trim_topic(world, "agents", PARTITION, 1)
        await fleet.ask(ASKS // 2, RATE)
        await trim_topic(world, "task-requests", PARTITION, ASKS // 2 + 30)
        assert (await bounds(world, "agents"))[PARTITION] == (1, 1)
        assert (await bounds(world, "task-requests"))[PARTITION] == (ASKS // 2 + 30, ASKS)
        lost = list(fleet.asked)[ASKS // 2 : ASKS // 2 + 30]
        for request_id in lost:
            del fleet.asked[request_id]

        worker.start()
        assert await worker.exit_code() == Exit.RECOVERY_FAILED
        assert (
            f"offsets {ASKS // 2} to {ASKS // 2 + 29} were deleted before they were read" in worker.last_line
        )
        assert "ops-stream worker --accept-reset task-requests" in worker.last_line
        worker.start(accept_reset=["task-requests"])
        assert await worker.exit_code() == Exit.RECOVERY_FAILED
        assert "is not the one that was journaled: it ends at offset 0" in worker.last_line
        assert "ops-stream worker --accept-reset telemetry" in worker.last_line

        worker.start(accept_reset=["task-requests", "telemetry"])
        await worker.until_live(6)
        await fleet.until_answered()
        await until_journaled(world)
        assert await worker.terminate() == 0
        worker.start()
        await worker.until_live(6)
        await fleet.ask(ASKS // 4, RATE)
        await fleet.until_answered()
        assert await worker.terminate() == 0
        proof = await prove(world, fleet.asked, limit_micros=LIMIT)
    assert not set(lost) & set(fleet.answers)
    assert gaps(proof, "task-requests") == [(PARTITION, ASKS // 2, ASKS // 2 + 29)]
    assert gaps(proof, "telemetry") == [(PARTITION, ASKS // 2, -1)]
    assert not gaps(proof, "agents")


async def test_an_input_made_anew_and_longer_than_before_is_known_by_what_it_holds(
    world: Settings, workers: Callable[..., WorkerProcess]
) -> None:
    """A topic made again may already hold more than the old one: then the record before the position is another one
    than was journaled, and the worker refuses just the same. Accepted, all that it holds is decided."""
    worker = workers(world, "a").start()
    await worker.until_live(6)
    async with Fleet(world, (TENANT,)) as fleet:
        await fleet.until_registered()
        await fleet.ask(ASKS // 4, RATE)
        await fleet.until_answered()
        assert await worker.terminate() == 0
        await recreate_topic(world, "task-requests")
        await fleet.ask(ASKS // 2, RATE)

        worker.start()
        assert await worker.exit_code() == Exit.RECOVERY_FAILED
        assert "is another one than was journaled" in worker.last_line
        assert "ops-stream worker --accept-reset task-requests" in worker.last_line

        worker.start(accept_reset=["task-requests"])
        await worker.until_live(6)
        await fleet.until_answered()
        assert await worker.terminate() == 0
        proof = await prove(world, fleet.asked, limit_micros=LIMIT)
    assert gaps(proof, "task-requests") == [(PARTITION, ASKS // 4, -1)]


@pytest.mark.parametrize("topic", ["task-requests", "control"])
async def test_an_input_made_anew_under_a_running_worker_ends_it(
    world: Settings, workers: Callable[..., WorkerProcess], topic: str
) -> None:
    """Where an input is made again while the worker runs, what is written to it stands at offsets that were taken
    before. None of it may be passed over in silence, least of all a kill: the worker ends and names the option."""
    worker = workers(world, "a").start()
    await worker.until_live(6)
    async with Fleet(world, (TENANT,)) as fleet:
        await fleet.until_registered()
        for number in range(3):
            await fleet.put("control", TENANT, resume(f"c-{number}"))
        await fleet.ask(ASKS // 2, RATE)
        await fleet.until_answered()
        await until_journaled(world, "control")
        await recreate_topic(world, topic)
        if topic == "control":
            await fleet.put("control", TENANT, resume("kill-1") | {"command": "kill", "target": TENANT})
        else:
            await fleet.ask(ASKS // 4, RATE)

        assert await worker.exit_code() == Exit.RECOVERY_FAILED
        if "went away while this worker ran" in worker.last_line:
            # A rebalance found the topic missing before it was there again.
            worker.start()
            assert await worker.exit_code() == Exit.RECOVERY_FAILED
        assert f"ops-stream worker --accept-reset {topic}" in worker.last_line
        worker.start(accept_reset=[topic])
        await worker.until_live(6)
        await fleet.until_answered()
        if topic == "control":
            await until_journaled(world, "control")
            await fleet.ask(1, RATE, name="killed")
            await fleet.until_answered()
        assert await worker.terminate() == 0
        await prove(world, fleet.asked, limit_micros=LIMIT)
        killed = [line for request_id, line in fleet.answers.items() if request_id.startswith("killed")]
        assert killed == ([{0: "denied"}] if topic == "control" else [])


async def test_a_report_that_waited_on_its_topic_wins_over_its_lease(
    kafka: str, prefix: str, tmp_path: Path, workers: Callable[..., WorkerProcess]
) -> None:
    """An agent reports in time, but no worker runs until the lease is over: when one starts, the report counts, and
    the lease is never said to have expired. The lease of another ask, which nobody reports, does expire."""
    world = await make_world(kafka, prefix, tmp_path, supervisor=SHORT_LEASES)
    worker = workers(world, "a").start()
    await worker.until_live(6)
    async with Fleet(world, TENANTS, report_share=0) as fleet:
        await fleet.until_registered()
        await fleet.ask(2 * len(TENANTS), RATE, estimated_time_s=8)
        await fleet.until_answered()
        worker.kill9()
        approvals = [json.loads(r.value) for rs in (await read_all(world, "approvals")).values() for r in rs]
        assert all(approval["decision"] == "approved" for approval in approvals)
        reported, silent = approvals[::2], approvals[1::2]
        for approval in reported:
            await fleet.put("telemetry", approval["tenant"], completed(approval))
        last = max(parse_time(approval["lease_expires_at"]) for approval in approvals)
        written = [r.timestamp for rs in (await read_all(world, "telemetry")).values() for r in rs]
        assert max(written) < min(parse_time(approval["lease_expires_at"]) for approval in approvals)
        await until_broker_time(world, last)

        worker.start()
        await worker.until_live(6)
        await fleet.until_decided([a["request_id"] for a in silent], "revoked")
        assert await worker.terminate() == 0
        proof = await prove(world, fleet.asked, limit_micros=LIMIT)
    for approval in reported:
        assert fleet.answers[approval["request_id"]] == {0: "approved"}
    for approval in silent:
        line = proof.decisions[approval["request_id"]]
        assert json.loads(line[1])["reason"] == "lease_expired"


async def test_transactions_leave_holes_that_hold_nobody_up(
    kafka: str, prefix: str, tmp_path: Path, workers: Callable[..., WorkerProcess]
) -> None:
    """An agent asks in transactions, whose control records take offsets that hold nothing. Every ask is decided once,
    each hole is journaled as a gap, and a hole at the end of a topic does not keep time from passing: a lease still
    runs out. What was given up stands on the topic all the same, and is decided like all that stands there."""
    world = await make_world(kafka, prefix, tmp_path, supervisor=SHORT_LEASES)
    worker = workers(world, "a").start()
    await worker.until_live(6)
    async with Fleet(world, (TENANT,), report_share=0) as fleet:
        await fleet.until_registered()
        names = [[f"x-{number}-{index}" for index in range(3)] for number in range(4)]
        for number, group in enumerate(names):
            values = [json.dumps(ask(name)).encode() for name in group]
            await put_in_transaction(world, "task-requests", PARTITION, values, commit=number != 2)
        fleet.asked |= {name: TENANT for group in names for name in group}
        await fleet.until_answered()
        await fleet.until_decided(list(fleet.asked), "revoked")
        await fleet.ask(3, RATE)
        await fleet.until_answered()
        assert await worker.terminate() == 0
        worker.start()
        await worker.until_live(6)
        assert await worker.terminate() == 0
        proof = await prove(world, fleet.asked, limit_micros=LIMIT)
    assert (await bounds(world, "task-requests"))[PARTITION] == (0, 19), "3 + 1, four times, and 3"
    # The broker writes its markers when it likes, also behind the next transaction's records.
    there = {record.offset for record in (await read_all(world, "task-requests"))[PARTITION]}
    holes = [at for _, first, last in gaps(proof, "task-requests") for at in range(first, last + 1)]
    assert holes == [at for at in range(19) if at not in there]
    assert len(holes) == 4
    assert all(json.loads(proof.decisions[name][1])["reason"] == "lease_expired" for g in names for name in g)


def ask(request_id: str, **fields: Any) -> dict[str, Any]:
    """An ask of the tenant's."""
    return {
        "request_id": request_id,
        "task_id": request_id,
        "agent": "a",
        "tenant": TENANT,
        "task_description": "survive",
        "estimated_time_s": 1,
    } | fields


def completed(approval: dict[str, Any]) -> dict[str, Any]:
    """The report of an approved ask."""
    names = ("request_id", "task_id", "tenant")
    return {name: approval[name] for name in names} | {
        "event_id": f"done-{approval['request_id']}",
        "agent": "a",
        "kind": "completed",
        "success": True,
    }


def resume(command_id: str) -> dict[str, Any]:
    """A command that changes nothing: nothing is stopped."""
    return {
        "command_id": command_id,
        "command": "resume",
        "scope": "tenant",
        "tenant": TENANT,
        "issued_by": "test",
    }


def gaps(proof: Proof, topic: str) -> list[tuple[int, int, int]]:
    """The journaled gaps of a topic: partition, first and last offset."""
    found = []
    for partition, records in sorted(proof.records.items()):
        for _, value in records:
            record = read(value)
            if record.header.kind == "gap" and (gap := decode_gap(record.input)).topic == topic:
                found.append((partition, gap.first, gap.last))
    return found


async def until_broker_time(world: Settings, wanted_ms: int, within_s: float = 60.0) -> None:
    """Wait until the broker's clock has passed a time, by asking it to stamp a record that says nothing."""
    async with asyncio.timeout(within_s):
        while True:
            await put_raw(world, "checkpoints", 0, b"{}", key=b"clock")
            (stamped,) = (await read_all(world, "checkpoints"))[0][-1:]
            if stamped.timestamp > wanted_ms:
                return
            await asyncio.sleep(0.2)
