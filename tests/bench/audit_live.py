"""How fast a journal is proved, beside how fast a worker wrote it: both with a broker, by the clock on the wall."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, Final, TypeAlias

from aiokafka import AIOKafkaConsumer, TopicPartition

from ops_stream.contract.settings import Settings
from tests.bench.load import PARTITIONS, Driver, fill, report
from tests.bench.measure import Bench, Plan

Say: TypeAlias = Callable[[str], None]

ASKS: Final = 40_000
ROUNDS: Final = 3
POLL_S: Final = 0.05
KINDS: Final = ("reported", "asked")


async def measure_audit_live(
    bootstrap: str, directory: Path, say: Say, *, asks: int = ASKS, rounds: int = ROUNDS
) -> dict[str, Any]:
    """Let a worker decide as fast as it can, then let `audit verify` prove what it wrote; medians of some rounds.

    Under the shipped rules, as all that is measured with a broker: asks and then their `reported` ends, or asks alone.
    """
    bench = Bench(bootstrap, directory, Plan(), say)
    each: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    for _ in range(rounds):
        for kind in KINDS:
            each[kind].append(await _round(bench, kind, asks, say))
    found: dict[str, Any] = {"cores": len(os.sched_getaffinity(0)), "rounds": rounds}
    for kind, points in each.items():
        found[kind] = {name: median(point[name] for point in points) for name in points[0]}
    return found


async def _round(bench: Bench, kind: str, asks: int, say: Say) -> dict[str, float]:
    """Decide once, and prove it in one process and on all cores; how much a second, and how many times as fast."""
    live, settings = await _decided(bench, kind, asks)
    say(f"audit with the broker, {kind}: decided {live:,.0f} records a second")
    found = {"live_per_s": live}
    for name, options in (("one_job", ("--jobs", "1")), ("all_cores", ())):
        records, seconds = await asyncio.to_thread(_proved, settings, options)
        per_s = records / seconds
        found |= {"records": records, f"{name}_per_s": per_s, f"{name}_ratio": per_s / live}
        say(
            f"  proved {records:,}, {name.replace('_', ' ')}: {per_s:,.0f} a second, {per_s / live:.2f} times"
        )
    return found


async def _decided(bench: Bench, kind: str, asks: int) -> tuple[float, Settings]:
    """Give how many inputs a worker has journaled a second, and where."""
    settings, worker = await bench.worker()
    try:
        topics = settings.topic("task-requests"), settings.topic("approvals")
        async with Driver(bench.bootstrap, *topics) as driver, _Journal(settings) as journal:
            await driver.at_rate(500, 4.0, "warm")
            before = await journal.length()
            begun = perf_counter()
            await driver.flat_out(asks, "flat")
            if kind == "reported":
                await fill(driver.producer, settings.topic("telemetry"), asks, "flat", made=report)
            inputs = asks * (2 if kind == "reported" else 1)
            await journal.until(before + inputs)
            took = perf_counter() - begun
        assert await worker.terminate() == 0, worker.tail()
    finally:
        worker.stop()
    return inputs / took, settings


class _Journal:
    """How long the journal is."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        topic = settings.topic("journal")
        self._partitions = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]

    async def __aenter__(self) -> _Journal:
        self._consumer = AIOKafkaConsumer(bootstrap_servers=self._settings.bootstrap_servers, group_id=None)
        await self._consumer.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._consumer.stop()

    async def length(self) -> int:
        """Give how many offsets all partitions have."""
        return sum((await self._consumer.end_offsets(self._partitions)).values())

    async def until(self, length: int) -> None:
        """Wait until there are so many."""
        async with asyncio.timeout(600):
            while await self.length() < length:
                await asyncio.sleep(POLL_S)


def _proved(settings: Settings, options: tuple[str, ...]) -> tuple[int, float]:
    """Give how many records the command proves, and how long it takes from its start to its end."""
    begun = perf_counter()
    said = _ops(settings, "audit", "verify", "--json", *options)
    took = perf_counter() - begun
    rows = [json.loads(line) for line in said.splitlines()]
    records = sum(row["records"] for row in rows)
    if records != sum(row["decided_again"] for row in rows):
        raise SystemExit("not every record was decided again")
    return records, took


def _ops(settings: Settings, *arguments: str) -> str:
    """Run a verb, and give what it says. Raises CalledProcessError where it does not end well."""
    env = {
        "OPS_STREAM_BOOTSTRAP_SERVERS": settings.bootstrap_servers,
        "OPS_STREAM_TOPIC_PREFIX": settings.topic_prefix,
        "OPS_STREAM_DATA_DIR": str(settings.data_dir),
        "OPS_STREAM_CONF_DIR": str(settings.conf_dir),
        "OPS_STREAM_JOURNAL_KEY_FILE": str(settings.journal_key_file),
        "OPS_STREAM_PARTITIONS": str(settings.partitions),
    }
    command = [sys.executable, "-m", "ops_stream", *arguments]
    return subprocess.run(command, env=os.environ | env, check=True, capture_output=True, text=True).stdout
