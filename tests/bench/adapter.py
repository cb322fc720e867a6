"""What a report costs the agent that makes it: the time until `report` returns, beside a bare send with aiokafka.

Each way is measured in a process of its own, in turns; asks are answered by a scripted supervisor in this process,
since who approved makes no difference to a report. Reports are paced, so that the sending in the background has its
share.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from ops_stream.contract.settings import Settings
from tests.adapters.responder import Responder
from tests.bench.load import percentile
from tests.brokers import create_topics

WAYS = {
    "OpsClient.report": ("async", ""),
    "OpsClient.report, with OpenTelemetry": ("async", "traced"),
    "SyncOpsClient.report": ("sync", ""),
    "SyncOpsClient.report, with OpenTelemetry": ("sync", "traced"),
    "aiokafka, send": ("bare", ""),
    "aiokafka, send and wait": ("waiting", ""),
}
APART_S = 0.002
WARM = 100
FIELDS = {"cost_usd": 0.01, "input_tokens": 812, "output_tokens": 120, "latency_ms": 950.0, "model": "large"}


def measure_adapter(
    bootstrap: str, say: Callable[[str], None], *, rounds: int, reports: int
) -> dict[str, Any]:
    """Measure every way in turn; the medians over the rounds, in microseconds."""
    settings = Settings(bootstrap_servers=bootstrap, topic_prefix=f"benchreport{secrets.token_hex(3)}.")
    asyncio.run(create_topics(settings))
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in WAYS}
    with _approving(settings):
        for number in range(rounds):
            for name, way in WAYS.items():
                took = _one(settings, *way, reports)
                point = percentile(took, 0.5) * 1e6, percentile(took, 0.99) * 1e6
                found[name].append(point)
                say(f"round {number + 1}: {name:<42} p50 {point[0]:7.0f} µs  p99 {point[1]:7.0f} µs")
    return {
        name: {"p50_us": median(p for p, _ in points), "p99_us": median(p for _, p in points)}
        for name, points in found.items()
    }


@contextmanager
def _approving(settings: Settings) -> Iterator[None]:
    """Approve every ask, in a thread."""
    ready, stop = threading.Event(), threading.Event()

    async def answer() -> None:
        async with Responder(settings) as responder:
            responder.on_ask = responder.answer
            ready.set()
            await asyncio.to_thread(stop.wait)

    thread = threading.Thread(target=lambda: asyncio.run(answer()))
    thread.start()
    try:
        assert ready.wait(30)
        yield
    finally:
        stop.set()
        thread.join()


def _one(settings: Settings, way: str, traced: str, reports: int) -> list[float]:
    arguments = [way, traced, settings.bootstrap_servers, settings.topic_prefix, str(reports)]
    ended = subprocess.run(
        [sys.executable, "-m", "tests.bench.adapter", *arguments],
        stdout=subprocess.PIPE,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    took: list[float] = json.loads(ended.stdout)
    assert len(took) == reports
    return took


# -- the measured process


def _trace() -> None:
    """Use OpenTelemetry as a program does: spans in batches, metrics; only the network is left out."""
    from opentelemetry import metrics, trace
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(InMemorySpanExporter()))
    trace.set_tracer_provider(provider)
    metrics.set_meter_provider(MeterProvider([InMemoryMetricReader()]))


async def _async(settings: Settings, reports: int) -> list[float]:
    from agents_adapter import OpsClient

    took = []
    async with OpsClient(settings=settings) as client:
        for approval in await asyncio.gather(*(client.ask("bench", "x") for _ in range(reports + WARM))):
            await asyncio.sleep(APART_S)
            began = perf_counter()
            await client.report(approval, **FIELDS)
            took.append(perf_counter() - began)
    return took[WARM:]


def _sync(settings: Settings, reports: int) -> list[float]:
    from concurrent.futures import ThreadPoolExecutor
    from time import sleep

    from agents_adapter import SyncOpsClient

    took = []
    with SyncOpsClient(settings=settings) as client:
        with ThreadPoolExecutor(50) as pool:
            approvals = list(pool.map(lambda _: client.ask("bench", "x"), range(reports + WARM)))
        for approval in approvals:
            sleep(APART_S)
            began = perf_counter()
            client.report(approval, **FIELDS)
            took.append(perf_counter() - began)
    return took[WARM:]


async def _bare(settings: Settings, reports: int, *, wait: bool) -> list[float]:
    """Send a body of the same size with nothing around it, as an agent without an adapter would."""
    from aiokafka import AIOKafkaProducer

    took = []
    async with AIOKafkaProducer(**settings.aiokafka(), enable_idempotence=True, acks="all") as producer:
        topic = settings.topic("telemetry")
        for number in range(reports + WARM):
            await asyncio.sleep(APART_S)
            began = perf_counter()
            body = {
                "event_id": f"event-{number}",
                "request_id": "r" * 30,
                "task_id": "t" * 30,
                "agent": "bench",
            }
            value = json.dumps(body | {"kind": "completed", "success": True} | FIELDS).encode()
            if wait:
                await producer.send_and_wait(topic, value, b"default", 0)
            else:
                await producer.send(topic, value, b"default", 0)
            took.append(perf_counter() - began)
    return took[WARM:]


def main() -> None:
    """Measure one way, and print every time in seconds."""
    way, traced, bootstrap, prefix, count = sys.argv[1:]
    settings = Settings(bootstrap_servers=bootstrap, topic_prefix=prefix)
    if traced:
        _trace()
    if way == "sync":
        took = _sync(settings, int(count))
    elif way == "async":
        took = asyncio.run(_async(settings, int(count)))
    else:
        took = asyncio.run(_bare(settings, int(count), wait=way == "waiting"))
    print(json.dumps(took))


if __name__ == "__main__":
    main()
