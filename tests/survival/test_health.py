"""`/readyz`, `/healthz` and the metrics say what is true while parts of a worker, or of its broker, stand still."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from ops_stream.contract.settings import Settings
from ops_stream.embedded import EmbeddedKafka
from ops_stream.embedded.kafka_config import Listener
from ops_stream.embedded.ports import choose
from tests.survival.conftest import make_world
from tests.survival.faults import EACH, ends_of, health_of, until
from tests.survival.fleet import Fleet
from tests.survival.holding import holding_door
from tests.survival.meddling import put_in_transaction
from tests.survival.metered import scrape, until_metered
from tests.survival.process import WorkerProcess
from tests.survival.proof import prove

pytestmark = [pytest.mark.bus, pytest.mark.survival, pytest.mark.timeout(240)]

HELD, OTHERS = 2, tuple(tenant for tenant in EACH if tenant != EACH[2])


async def test_a_partition_whose_appends_are_not_acknowledged_is_told_as_stalled_and_alone(
    new_broker: Callable[..., EmbeddedKafka],
    prefix: str,
    workers: Callable[..., WorkerProcess],
    tmp_path: Path,
) -> None:
    """The broker acknowledges nothing of the journal's partition 2 any more. Its asks have no answer, all other asks
    do. `/readyz` is 503, names the partition and says what it waits for, and the metrics say the same; the
    worker is healthy, for a new process would not help. When the broker acknowledges again, the answers come, and
    nothing was decided twice."""
    port, door_port = choose(), choose()
    doors = f"PLAINTEXT://127.0.0.1:{port},SIDE://127.0.0.1:{door_port}"
    broker = new_broker(
        port=port, listeners=[Listener("SIDE", "PLAINTEXT")], properties={"advertised.listeners": doors}
    )
    world = await make_world(broker.start(), prefix, tmp_path)
    side = world.model_copy(update={"bootstrap_servers": f"127.0.0.1:{door_port}"})
    async with holding_door(broker.address_of("SIDE"), door_port) as door, Fleet(world, EACH) as fleet:
        worker = workers(side, "a").start()
        await worker.until_live(6)
        await fleet.until_registered()
        await fleet.ask(12, rate=200)
        await fleet.until_answered()
        before = await scrape(worker)
        assert (before.of("ready"), before.of("partitions", phase="live")) == (1, 6)

        door.hold(world.topic("journal"), HELD)
        await fleet.ask(4, rate=200, name="held", tenants=(EACH[HELD],))
        body = await until("the stall to be told", lambda: _not_ready(worker))
        assert body["partitions"][str(HELD)]["phase"] == "stalled"
        assert "journal has not acknowledged" in body["partitions"][str(HELD)]["why"]
        assert [reason.split(":")[0] for reason in body["reasons"]] == [f"partition {HELD} is stalled"]
        await fleet.ask(20, rate=200, name="others", tenants=OTHERS)
        await fleet.until_answered(tenants=OTHERS)
        assert not any(name in fleet.answers for name in fleet.of([EACH[HELD]]) if name.startswith("held"))
        during = await until_metered(worker, "the stall", lambda now: now.of("ready") == 0)
        assert (during.of("partitions", phase="stalled"), during.of("partitions", phase="live")) == (1, 5)
        assert health_of(worker)[0] == 200
        assert door.kept_back

        door.release()
        await worker.until_live(6)
        await fleet.until_answered()
        after = await until_metered(worker, "all goes on", lambda now: now.of("ready") == 1)
        assert after.of("partitions", phase="stalled") == 0
        assert after.of("append_seconds_bucket", le="+Inf") > after.of("append_seconds_bucket", le="5.0"), (
            "the append that was held back took longer than five seconds"
        )
        assert await worker.terminate() == 0
        await prove(world, fleet.asked, limit_micros=1_000_000_000)


async def test_a_part_that_stands_still_is_named(
    kafka: str, prefix: str, tmp_path: Path, workers: Callable[..., WorkerProcess]
) -> None:
    """One part of the worker after the other does nothing any more, and raises no error: what was delivered is decided,
    and the loop turns. `/readyz` names it all the same, and what it holds up, and is 200 again when it goes on. The end
    of a transaction, which takes an offset and is no record, is no such thing before."""
    world = await make_world(kafka, prefix, tmp_path, supervisor={"lease_min_s": 1, "lease_factor": 1})
    part_file = tmp_path / "part"
    worker = workers(world, "a", sabotage=str(part_file), stalled_s=1.0).start()
    async with Fleet(world, EACH, report_share=0.0) as fleet:
        await worker.until_live(6)
        await fleet.until_registered()
        beat = {"event": "Heartbeat", "agent": "a", "tenant": EACH[HELD], "running": []}
        (offset,) = await put_in_transaction(world, "agents", HELD, [json.dumps(beat).encode()])
        async with ends_of(world) as ends:
            assert await ends.of("agents", HELD) == offset + 2, (
                "the marker that ended it stands behind the record"
            )
        quiet_until = monotonic() + 4.0
        while monotonic() < quiet_until:
            assert (await asyncio.to_thread(worker.ready) or {})["ready"], "a marker waits for nobody"
            await asyncio.sleep(0.1)
        assert not (await scrape(worker)).by("lag_records", "topic")
        for part, says in {
            "deliveries": f"partition {HELD} is stalled: the broker holds records of task-requests",
            "ticks": f"partition {HELD} is stalled: what is due has not happened",
            "ticker": "the ticker has stood still",
            "commands": "the reader of control and resolutions has stood still",
        }.items():
            part_file.write_text(part)
            worker.send(signal.SIGUSR1)
            if part in ("deliveries", "ticks"):
                await fleet.ask(3, rate=200, name=part, tenants=(EACH[HELD],), estimated_time_s=1)
            body = await until(f"{part} to be told", partial(_not_ready, worker, says))
            others = [p for p, state in body["partitions"].items() if state["phase"] != "live"]
            assert set(others) <= {str(HELD)}, body
            await until_metered(worker, f"{part} in the metrics", lambda now: now.of("ready") == 0)
            worker.send(signal.SIGUSR2)
            await worker.until_live()
        assert await worker.terminate() == 0


async def test_a_broker_that_says_nothing_is_told(
    new_broker: Callable[..., EmbeddedKafka],
    prefix: str,
    workers: Callable[..., WorkerProcess],
    tmp_path: Path,
) -> None:
    """A broker that stands still (SIGSTOP) answers nothing and closes nothing: after ten seconds the worker is not
    ready, and it is again when the broker goes on."""
    broker = new_broker()
    world = await make_world(broker.start(), prefix, tmp_path)
    worker = workers(world, "a", session_timeout_s=60.0).start()
    await worker.until_live(6)
    broker.pause()
    try:
        body = await until(
            "the silence to be told", lambda: _not_ready(worker, "the broker has not answered")
        )
        assert body["broker_silent_s"] >= 10
        found = await until_metered(worker, "the silence", lambda now: now.of("ready") == 0)
        assert found.of("broker_silent_seconds") >= 10
    finally:
        broker.resume()
    await worker.until_live()
    await until_metered(worker, "an answer", lambda now: now.of("broker_silent_seconds") < 10)
    assert await worker.terminate() == 0


async def test_a_worker_that_is_stopped_is_not_ready_before_it_is_gone(
    world: Settings, workers: Callable[..., WorkerProcess]
) -> None:
    """From the signal on it is not ready, and says why; its partitions go to the other worker."""
    first, second = workers(world, "a").start(), workers(world, "b")
    await first.until_live(6)
    second.start()
    await first.until_live(3)
    first.send(signal.SIGTERM)
    said = []
    while (body := await asyncio.to_thread(first.ready)) is not None:
        said.append(body)
        await asyncio.sleep(0.005)
    assert await first.exit_code() == 0
    stopping = [body for body in said if "it is being stopped" in body["reasons"]]
    assert stopping, said
    assert not any(body["ready"] for body in stopping)
    await second.until_live(6)
    assert await second.terminate() == 0


async def _not_ready(worker: WorkerProcess, says: str = "") -> dict[str, Any] | None:
    body = await asyncio.to_thread(worker.ready)
    if body is None or body["ready"]:
        return None
    return body if any(says in reason for reason in body["reasons"]) else None
