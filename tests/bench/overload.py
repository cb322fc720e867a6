"""Overload: more asks than a tenant may run, on a real broker and worker. What stays flat, who waits, who is denied."""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, Final

import psutil
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from ops_stream.contract.partitions import partition_for
from ops_stream.contract.settings import Settings
from ops_stream.streams.cluster import create
from tests.bench.load import percentile
from tests.survival.process import WorkerProcess

TENANT: Final = "busy"
AGENT: Final = "bench"
FILES: Final = {
    "ai_ops_policies.yaml": "version: 1\n",
    "load.yaml": "version: 1\ntenants:\n  busy: {{concurrency: {concurrency}}}\nqueue_max: {queue_max}\n",
    # Ended asks are forgotten within the measurement: what grows beside them would be the queue's.
    "supervisor.yaml": "version: 1\nremember_s: 15\n",
}


@dataclass(frozen=True)
class OverloadPlan:
    """How much is measured."""

    concurrency: int = 40
    work_s: float = 2.0
    queue_max: int = 200
    phases: tuple[tuple[float, float], ...] = ((0.5, 20.0), (1.0, 20.0), (2.0, 60.0))
    """The share of the capacity that arrives, and for how long, in seconds."""

    @property
    def capacity(self) -> float:
        """Asks a second that can run."""
        return self.concurrency / self.work_s


@dataclass
class _Phase:
    """What is seen while asks arrive at one rate."""

    share: float
    seconds: float
    sent: dict[str, tuple[float, int]] = field(default_factory=dict)
    """Request id → when it was sent, and its priority."""
    decided_ms: list[float] = field(default_factory=list)
    waited_s: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Priority → how long those waited that ran."""
    denied: Counter[int] = field(default_factory=Counter)
    without_time: int = 0
    """Denials that name no time to come back at."""
    samples: list[tuple[float, int, float, int]] = field(default_factory=list)
    """Seconds, lag in records, resident MiB, and how many wait."""
    done: int = 0


@dataclass
class _Crowd:
    """Asks, works for a set time, reports."""

    settings: Settings
    plan: OverloadPlan
    phase: _Phase
    waiting: set[str] = field(default_factory=set)
    answered: set[str] = field(default_factory=set)
    position: int = 0
    """Where the journal says that the asks have been read to."""
    running: set[str] = field(default_factory=set)
    most_running: int = 0
    working: set[asyncio.Task[None]] = field(default_factory=set)

    async def __aenter__(self) -> _Crowd:
        kafka = self.settings.aiokafka()
        self.partition = partition_for(TENANT, self.settings.partitions)
        self.producer = AIOKafkaProducer(**kafka, acks="all", enable_idempotence=True, linger_ms=0)
        await self.producer.start()
        self.readers = [
            asyncio.create_task(self._follow("approvals", self._answer)),
            asyncio.create_task(self._follow("journal", self._journal)),
        ]
        body = {"event": "AgentRegistration", "agent": AGENT, "role": "worker", "capabilities": ["general"]}
        await self.put("agents", body)
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in (*self.readers, *self.working):
            task.cancel()
        await asyncio.gather(*self.readers, *self.working, return_exceptions=True)
        await self.producer.stop()

    async def put(self, topic: str, body: dict[str, Any]) -> None:
        """Send one record."""
        value = json.dumps(body | {"tenant": TENANT}).encode()
        name = self.settings.topic(topic)
        await self.producer.send(name, value, key=TENANT.encode(), partition=self.partition)

    async def _follow(self, topic: str, take: Callable[[dict[str, Any]], None]) -> None:
        consumer = AIOKafkaConsumer(
            **self.settings.aiokafka(), group_id=None, auto_offset_reset="earliest", fetch_max_wait_ms=20
        )
        await consumer.start()
        try:
            consumer.assign([TopicPartition(self.settings.topic(topic), self.partition)])
            async for record in consumer:
                take(json.loads(record.value))
        finally:
            await consumer.stop()

    def _answer(self, answer: dict[str, Any]) -> None:
        name, decision, now = answer["request_id"], answer["decision"], perf_counter()
        sent_at, priority = self.phase.sent[name]
        if name not in self.answered:
            self.answered.add(name)
            self.phase.decided_ms.append((now - sent_at) * 1000)
        if decision == "queued":
            self.waiting.add(name)
            return
        self.waiting.discard(name)
        if decision == "approved":
            self.phase.waited_s[priority].append(now - sent_at)
            task = asyncio.create_task(self._work(name))
            self.working.add(task)
            task.add_done_callback(self.working.discard)
            return
        assert answer["reason"] == "overloaded", answer
        self.phase.denied[priority] += 1
        self.phase.without_time += "retry_at" not in answer
        self.phase.done += 1

    async def _work(self, name: str) -> None:
        await asyncio.sleep(self.plan.work_s)
        report = {"event_id": f"e-{name}", "request_id": name, "task_id": "t", "agent": AGENT}
        await self.put("telemetry", report | {"kind": "completed", "success": True, "cost_usd": 0.001})
        self.phase.done += 1

    def _journal(self, record: dict[str, Any]) -> None:
        """Count what runs by the rows that each record leaves, and see how far asks have been read."""
        origin = record.get("input") or {}
        if str(origin.get("topic")).endswith("task-requests"):
            self.position = origin["offset"] + 1
        for key, row in record["changes"].items():
            if key.startswith(f"ask/{TENANT}|"):
                row = json.loads(row) if isinstance(row, str) else row
                (self.running.add if row and row["phase"] == "running" else self.running.discard)(key)
        self.most_running = max(self.most_running, len(self.running))

    async def arrive(self, name: str) -> None:
        """Let asks arrive at the rate of a phase, then wait until all of them are over."""
        phase, rate = self.phase, self.phase.share * self.plan.capacity
        started = perf_counter()
        for number in range(int(rate * phase.seconds)):
            due = started + number / rate
            if due > perf_counter():
                await asyncio.sleep(due - perf_counter())
            request_id, priority = f"{name}-{number}", number * 7 % 10 + 1
            phase.sent[request_id] = (perf_counter(), priority)
            body = {
                "request_id": request_id,
                "task_id": "t",
                "agent": AGENT,
                "task_description": "Look up the customer's booking and write a short answer.",
                "priority": priority,
                "estimated_cost_usd": 0.001,
                "estimated_time_s": 30,
            }
            await self.put("task-requests", body)
        async with asyncio.timeout(120):
            while phase.done < len(phase.sent):
                await asyncio.sleep(0.1)


async def _sample(crowd: _Crowd, worker: psutil.Process, phase: _Phase) -> None:
    """Look once a second at what must stay flat, while asks arrive."""
    source = TopicPartition(crowd.settings.topic("task-requests"), crowd.partition)
    consumer = AIOKafkaConsumer(**crowd.settings.aiokafka(), group_id=None)
    await consumer.start()
    started = perf_counter()
    try:
        while perf_counter() - started < phase.seconds:
            end = (await consumer.end_offsets([source]))[source]
            lag = max(0, end - crowd.position)
            rss = worker.memory_info().rss / 2**20
            phase.samples.append((perf_counter() - started, lag, rss, len(crowd.waiting)))
            await asyncio.sleep(1.0)
    finally:
        await consumer.stop()


async def _measure(
    bootstrap: str, directory: Path, plan: OverloadPlan, say: Callable[[str], None]
) -> dict[str, Any]:
    conf = directory / "overload-conf"
    conf.mkdir(parents=True)
    for name, text in FILES.items():
        filled = text.format(concurrency=plan.concurrency, queue_max=plan.queue_max)
        (conf / name).write_text(filled)
    settings = Settings(
        bootstrap_servers=bootstrap,
        topic_prefix="overload.",
        data_dir=directory / "overload",
        conf_dir=conf,
        journal_key_file=directory / "overload" / "journal.key",
        partitions=1,
    )
    await create(settings)
    worker = WorkerProcess(settings, directory / "overload", snapshot_interval_s=10.0).start()
    try:
        await worker.until_live(1)
        assert worker.process is not None
        process = psutil.Process(worker.process.pid)
        warm = _Phase(1.0, min(10.0, plan.phases[-1][1]))
        async with _Crowd(settings, plan, warm) as crowd:
            await crowd.arrive("warm")
            found = []
            for number, (share, seconds) in enumerate(plan.phases):
                phase = crowd.phase = _Phase(share, seconds)
                crowd.most_running = len(crowd.running)
                looking = asyncio.create_task(_sample(crowd, process, phase))
                await crowd.arrive(f"p{number}")
                await looking
                found.append(_told(phase, crowd.most_running))
                say(json.dumps({key: value for key, value in found[-1].items() if key != "samples"}))
    finally:
        worker.stop()
    return {
        "concurrency": plan.concurrency,
        "work_s": plan.work_s,
        "queue_max": plan.queue_max,
        "load_average": os.getloadavg()[0],
        "phases": found,
    }


def _told(phase: _Phase, most_running: int) -> dict[str, Any]:
    """Put what was seen into figures."""
    third = max(1, len(phase.samples) // 3)
    parts = (phase.samples[:third], phase.samples[-third:])
    asked = Counter(priority for _, priority in phase.sent.values())
    return {
        "share": phase.share,
        "seconds": phase.seconds,
        "asks": len(phase.sent),
        "most_running": most_running,
        "p50_ms": percentile(phase.decided_ms, 0.5),
        "p99_ms": percentile(phase.decided_ms, 0.99),
        "p99_thirds_ms": [percentile(part, 0.99) for part in _thirds(phase.decided_ms)],
        "lag_thirds": [median(lag for _, lag, _, _ in part) for part in parts],
        "lag_most": max(lag for _, lag, _, _ in phase.samples),
        "rss_thirds_mib": [round(median(rss for _, _, rss, _ in part), 1) for part in parts],
        "queue_most": max(waits for _, _, _, waits in phase.samples),
        "denied": sum(phase.denied.values()),
        "denied_without_time": phase.without_time,
        "denied_percent": {p: round(100 * phase.denied[p] / asked[p]) for p in sorted(asked)},
        "waited_p50_s": {p: percentile(waits, 0.5) for p, waits in sorted(phase.waited_s.items())},
        "waited_p99_s": {p: percentile(waits, 0.99) for p, waits in sorted(phase.waited_s.items())},
        "samples": phase.samples,
    }


def _thirds(values: list[float]) -> list[list[float]]:
    size = max(1, len(values) // 3)
    return [values[:size], values[-size:]]


def measure_overload(
    bootstrap: str, directory: Path, say: Callable[[str], None], *, quick: bool = False
) -> dict[str, Any]:
    """Measure it all; raises where a limit was exceeded."""
    plan = OverloadPlan(phases=((0.5, 5.0), (2.0, 12.0))) if quick else OverloadPlan()
    found = asyncio.run(_measure(bootstrap, directory, plan, say))
    for phase in found["phases"]:
        assert phase["most_running"] <= found["concurrency"], "more ran at once than may"
    return found
