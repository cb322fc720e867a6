"""Measures the views on this machine: `python -m tests.views.measure`. A real Kafka, a real Redis, a real worker."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from time import monotonic, perf_counter, process_time
from typing import Any

from redis.asyncio import Redis

from ops_stream.contract.settings import Settings
from ops_stream.embedded import EmbeddedKafka, EmbeddedRedis
from ops_stream.views.keys import Keys
from ops_stream.views.reader import Views
from ops_stream.views.service import Options, Service
from ops_stream.views.store import Store
from tests.audit.journals import KEY, Writer
from tests.brokers import create_topics
from tests.survival.conftest import make_world
from tests.survival.fleet import Fleet
from tests.survival.process import WorkerProcess
from tests.views.looking import put_journal, until

ASKS = 25_000


def long_journal(asks: int = ASKS) -> Writer:
    """Give a journal of asks, each reported."""
    writer = Writer()
    writer.take_over()
    writer.input("agents", event="AgentRegistration", agent="a", role="clerk", capabilities=["general"])
    for number in range(asks):
        writer.ask(f"r{number}", estimated_cost_usd=0.0001)
        writer.input(
            "telemetry",
            event_id=f"e{number}",
            request_id=f"r{number}",
            task_id="t",
            agent="a",
            kind="completed",
            success=True,
            cost_usd=0.0001,
        )
    return writer


async def throughput(kafka: str, redis_url: str, directory: Path) -> dict[str, Any]:
    """Build the views of a long journal of one partition; give records a second and bytes for each ask."""
    settings = Settings(
        bootstrap_servers=kafka, topic_prefix="m1.", data_dir=directory, redis_url=redis_url, partitions=6
    )
    await create_topics(settings)
    writer = long_journal()
    await put_journal(settings, writer.log)
    size = sum(len(value or b"") for _, value in writer.log)
    async with Redis.from_url(redis_url) as client:
        before = (await client.info("memory"))["used_memory"]
        service = Service(Options(settings, lambda: KEY))
        store = Store(client, Keys.of("m1."))
        assert await store.take_lease()
        begun, busy = perf_counter(), process_time()
        redis_busy = await _cpu_s(client)
        await service.rebuild(store)
        took, busy = perf_counter() - begun, process_time() - busy
        redis_busy = await _cpu_s(client) - redis_busy
        after = (await client.info("memory"))["used_memory"]
        asks = await client.hlen(f"{Keys.of('m1.').base(1)}asks:default")
        feed = await client.memory_usage(f"{Keys.of('m1.').base(1)}feed:0", samples=0)
        await store.release()
    return {
        "records": len(writer.log),
        "journal_bytes_per_record": round(size / len(writer.log)),
        "seconds": round(took, 2),
        "records_per_s": round(len(writer.log) / took),
        "records_per_cpu_s": round(len(writer.log) / busy),
        "records_per_cpu_s_of_redis": round(len(writer.log) / redis_busy),
        "asks": asks,
        "bytes_per_ask": round((after - before - feed) / asks),
        "feed_bytes": feed,
    }


async def _cpu_s(client: Redis) -> float:
    info = await client.info("cpu")
    return float(info["used_cpu_sys"]) + float(info["used_cpu_user"])


async def delay(kafka: str, redis_url: str, directory: Path) -> dict[str, Any]:
    """Ask a real worker one thing after the other; give how long after the answer each is in the views."""
    world = await make_world(kafka, "m2.", directory)
    worker = WorkerProcess(world, directory / "worker").start()
    env = os.environ | {
        "OPS_STREAM_BOOTSTRAP_SERVERS": kafka,
        "OPS_STREAM_TOPIC_PREFIX": "m2.",
        "OPS_STREAM_REDIS_URL": redis_url,
        "OPS_STREAM_JOURNAL_KEY_FILE": str(world.journal_key_file),
    }
    views = subprocess.Popen(
        [sys.executable, "-m", "ops_stream", "views", "run", "--port", "off"],
        env=env,
        stderr=subprocess.DEVNULL,
    )
    try:
        await worker.until_live(6)
        reader = Views.of(world.model_copy(update={"redis_url": redis_url}))
        async with Fleet(world, ("a", "b", "c"), report_share=0.0) as fleet:
            await fleet.until_registered()
            await until(lambda: _has_agents(reader), 60)
            waits = []
            for _ in range(300):
                await fleet.ask(1, 1e9)
                name, tenant = list(fleet.asked.items())[-1]
                while (await reader.decision(tenant, name)).value is None:
                    await asyncio.sleep(0.001)
                seen = monotonic()
                await fleet.until_answered()
                waits.append((seen - fleet.answered_at[name]) * 1000)
        await reader.aclose()
        waits.sort()
        return {
            "median_ms_after_the_answer": round(statistics.median(waits), 1),
            "p95_ms": round(waits[int(len(waits) * 0.95)], 1),
        }
    finally:
        views.terminate()
        views.wait(20)
        worker.stop()


async def _has_agents(reader: Views) -> bool:
    from ops_stream.views.reader import NoView

    try:
        return len((await reader.agents()).value) == 3
    except NoView:
        return False


def main() -> None:
    """Measure and print one JSON object a line."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        kafka, redis = EmbeddedKafka(directory / "kafka"), EmbeddedRedis(directory / "redis")
        try:
            address, url = kafka.start(), redis.start()
            print(json.dumps(asyncio.run(throughput(address, url, directory))), flush=True)
            print(json.dumps(asyncio.run(delay(address, url, directory))), flush=True)
        finally:
            kafka.stop()
            redis.stop()


if __name__ == "__main__":
    main()
