"""The measurements: each system at each rate in turn, several rounds, so that noise meets all alike."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import psutil
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from ops_stream.contract.rooms import room
from ops_stream.contract.settings import Settings
from ops_stream.streams.cluster import create
from tests.bench.load import PARTITIONS, TENANTS, Driver, ask, fill, percentile
from tests.survival.process import WorkerProcess
from tests.survival.stopping import kill_behind_lag, kill_in_flight, no_approval_while_killed

RATES = (200, 1000)


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    rounds: int = 2
    warm_up_s: float = 40.0
    seconds: float = 12.0
    flat_out: int = 40_000
    open_asks: int = 60_000
    kills: int = 3
    kill_rounds: int = 5


@dataclass
class Bench:
    """One run of the benchmark."""

    bootstrap: str
    directory: Path
    plan: Plan
    say: Callable[[str], None]
    results: dict[str, Any] = field(default_factory=dict)
    samples: dict[str, list[float]] = field(default_factory=dict)
    _number: int = 0

    async def _warm_up(self) -> None:
        """Let the broker compile itself, unmeasured: for most of a minute it takes several times as long at first."""
        self.say("warming up the broker")
        async with self._ops_stream() as (source, target), Driver(self.bootstrap, source, target) as driver:
            await driver.at_rate(1000, self.plan.warm_up_s, "cold")

    async def run(self) -> dict[str, Any]:
        """Measure everything."""
        await self._warm_up()
        await self._rates()
        await self._flat_out()
        await self._memory()
        await self._failover()
        await self._kill_switch()
        self.results["samples"] = self.samples
        return self.results

    # -- latency

    async def _rates(self) -> None:
        found: dict[str, dict[int, list[tuple[float, float]]]] = {
            "echo": {rate: [] for rate in RATES},
            "ops-stream": {rate: [] for rate in RATES},
        }
        for number in range(self.plan.rounds):
            for rate in RATES:
                for name, system in (("echo", self._echo()), ("ops-stream", self._ops_stream())):
                    async with system as (source, target), Driver(self.bootstrap, source, target) as driver:
                        await driver.at_rate(rate, 2.0, f"warm{number}")
                        latencies = await driver.at_rate(rate, self.plan.seconds, f"r{number}")
                    point = percentile(latencies, 0.5), percentile(latencies, 0.99)
                    found[name][rate].append(point)
                    self.samples.setdefault(f"{name} {rate}/s", []).extend(latencies)
                    self.say(
                        f"round {number + 1}: {name:<10} {rate:>5}/s  p50 {point[0]:6.2f} ms  p99 {point[1]:7.2f} ms"
                    )
        self.results["latency_ms"] = {
            name: {
                str(rate): {"p50": median(p for p, _ in points), "p99": median(p for _, p in points)}
                for rate, points in rates.items()
            }
            for name, rates in found.items()
        }

    @asynccontextmanager
    async def _echo(self) -> AsyncIterator[tuple[str, str]]:
        source, target = await self._topics("echo")
        process = _start("echo", self.bootstrap, source, target)
        try:
            await asyncio.to_thread(process.stdout.readline)  # type: ignore[union-attr]
            yield source, target
        finally:
            process.kill()
            process.wait()

    @asynccontextmanager
    async def _ops_stream(self) -> AsyncIterator[tuple[str, str]]:
        settings, worker = await self.worker()
        try:
            yield settings.topic("task-requests"), settings.topic("approvals")
        finally:
            worker.stop()

    async def worker(self, **options: Any) -> tuple[Settings, WorkerProcess]:
        """Start a worker on topics of its own, with agents registered."""
        self._number += 1
        directory = self.directory / f"w{self._number}"
        settings = Settings(
            bootstrap_servers=self.bootstrap,
            topic_prefix=f"bench{self._number}.",
            data_dir=directory,
            conf_dir=room("conf"),
            journal_key_file=directory / "journal.key",
            partitions=PARTITIONS,
        )
        await create(settings)
        await self._register(settings)
        worker = WorkerProcess(settings, directory, snapshot_interval_s=10.0, **options).start()
        await worker.until_live(PARTITIONS)
        return settings, worker

    async def _register(self, settings: Settings) -> None:
        from tests.survival.fleet import Fleet

        async with Fleet(settings, TENANTS) as fleet:
            for tenant in TENANTS:
                await fleet.put(
                    "agents",
                    tenant,
                    {
                        "event": "AgentRegistration",
                        "agent": "bench",
                        "tenant": tenant,
                        "role": "support",
                        "capabilities": ["support"],
                    },
                )

    # -- throughput

    async def _flat_out(self) -> None:
        nothing, ours = [], []
        for number in range(self.plan.rounds):
            nothing.append(await self._nothing())
            self.say(
                f"round {number + 1}: a Faust agent that does nothing, flat out: {nothing[-1]:8.0f} records/s"
            )
            async with (
                self._ops_stream() as (source, target),
                Driver(self.bootstrap, source, target) as driver,
            ):
                await driver.at_rate(500, 2.0, "warm")
                ours.append(await driver.flat_out(self.plan.flat_out, f"flat{number}"))
            self.say(f"round {number + 1}: ops-stream, flat out: {ours[-1]:8.0f} decisions/s")
        self.results["flat_out_per_s"] = {"faust, doing nothing": median(nothing), "ops-stream": median(ours)}

    async def _nothing(self) -> float:
        source, _ = await self._topics("nothing")
        producer = AIOKafkaProducer(bootstrap_servers=self.bootstrap, acks="all", enable_idempotence=True)
        await producer.start()
        await fill(producer, source, self.plan.flat_out, "n")
        await producer.stop()
        process = _start("nothing", self.bootstrap, source, str(self.plan.flat_out))
        try:
            line = await asyncio.wait_for(asyncio.to_thread(process.stdout.readline), 120)  # type: ignore[union-attr]
        finally:
            process.kill()
            process.wait()
        return self.plan.flat_out / float(line)

    # -- memory, failover

    async def _memory(self) -> None:
        """What open asks add to a worker that has run warm, two floods of them, over their number."""
        settings, worker = await self.worker()
        assert worker.process is not None
        process = psutil.Process(worker.process.pid)
        source, target = settings.topic("task-requests"), settings.topic("approvals")
        try:
            async with Driver(self.bootstrap, source, target) as driver:
                await driver.at_rate(500, 4.0, "warm")
                before = process.memory_info().rss
                for flood in ("first", "second"):
                    await driver.flat_out(self.plan.open_asks // 2, flood)
                    await asyncio.sleep(22)  # two snapshots, so that nothing waits to be written
                after = process.memory_info().rss
        finally:
            worker.stop()
        per_ask = (after - before) / self.plan.open_asks
        self.say(f"memory: {per_ask:.0f} bytes of resident memory per open ask ({self.plan.open_asks} open)")
        self.results["memory_bytes_per_open_ask"] = per_ask

    async def _failover(self) -> None:
        took = [await self._one_failover() for _ in range(self.plan.kills)]
        self.say(
            f"kill -9 to the next decision of a partition that it had: {median(took):.1f} s (session timeout 12 s)"
        )
        self.results["failover_s"] = median(took)
        self.results["session_timeout_s"] = 12.0

    async def _one_failover(self) -> float:
        settings, first = await self.worker()
        second = WorkerProcess(settings, self.directory / f"w{self._number}b").start()
        try:
            while (
                len(first.live_partitions()) != PARTITIONS // 2
                or len(second.live_partitions()) != PARTITIONS // 2
            ):
                await asyncio.sleep(0.1)
            lost = first.live_partitions()
            tenant = next(t for t in TENANTS if _partition(t) in lost)
            number = TENANTS.index(tenant)
            async with Driver(
                self.bootstrap, settings.topic("task-requests"), settings.topic("approvals")
            ) as driver:
                first.kill9()
                started = perf_counter()
                await driver.one(*ask(number, "failover"))
                return perf_counter() - started
        finally:
            first.stop()
            second.stop()

    # -- the kill switch

    async def _kill_switch(self) -> None:
        """From the command to the last partition's journal record of it, with two workers."""
        found = {}
        for name, measure in (
            ("1,000 asks in flight", kill_in_flight),
            ("100,000 asks waiting", kill_behind_lag),
        ):
            settings, first = await self.worker()
            second = WorkerProcess(settings, self.directory / f"w{self._number}b").start()
            try:
                for worker in (first, second):
                    await worker.until_live(PARTITIONS // 2)
                rounds = await measure(settings, TENANTS, self.plan.kill_rounds)
                await no_approval_while_killed(settings, rounds)
            finally:
                first.stop()
                second.stop()
            found[name] = median(one.took_ms for one in rounds)
            self.say(f"kill, {name}: {found[name]:.0f} ms to the last partition's journal record")
        self.results["kill_ms"] = found

    # -- topics

    async def _topics(self, name: str) -> tuple[str, str]:
        self._number += 1
        names = f"{name}{self._number}.in", f"{name}{self._number}.out"
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        await admin.create_topics(
            [
                NewTopic(n, PARTITIONS, 1, topic_configs={"message.timestamp.type": "LogAppendTime"})
                for n in names
            ]
        )
        await admin.close()
        return names


def _partition(tenant: str) -> int:
    from ops_stream.contract.partitions import partition_for

    return partition_for(tenant, PARTITIONS)


def _start(*arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.bench.systems", *arguments],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
