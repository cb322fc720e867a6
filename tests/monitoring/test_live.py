"""A real worker's /metrics: what rules and dashboard ask for is there, and says what the rules take it to say."""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import Callable

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ops_stream.contract.settings import Settings
from tests.monitoring.exported import TARGET, exported
from tests.survival.process import WorkerProcess

Workers = Callable[..., WorkerProcess]
SNAPSHOTS_S = 1.0


def _samples(worker: WorkerProcess) -> list[tuple[str, frozenset[str], float]]:
    with urllib.request.urlopen(f"http://127.0.0.1:{worker.port}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    return [
        (one.name, frozenset(one.labels), one.value)
        for metric in text_string_to_metric_families(text)
        for one in metric.samples
    ]


@pytest.mark.bus
async def test_an_idle_worker_shows_what_is_expected_and_has_no_old_snapshot(
    world: Settings, workers: Workers
) -> None:
    """Every line has a name and labels that the rules know. Where nothing happens a snapshot does not get old: there is
    nothing that a recovery would have to read."""
    worker = workers(world, "w", snapshot_interval_s=SNAPSHOTS_S).start()
    await worker.until_live(world.partitions)
    await asyncio.sleep(4 * SNAPSHOTS_S)
    ages = []
    for _ in range(8):
        await asyncio.sleep(0.5)
        samples = await asyncio.to_thread(_samples, worker)
        ages += [value for name, _, value in samples if name == "ops_stream_snapshot_age_seconds"]
    known = exported()
    assert [(name, labels) for name, labels, _ in samples if known.get(name) != labels | TARGET] == []
    assert len(ages) == 8 and max(ages) < 3 * SNAPSHOTS_S, ages
