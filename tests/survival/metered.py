"""What a worker serves at `/metrics`, read by Prometheus' own parser."""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import Callable
from time import monotonic

from prometheus_client.parser import text_string_to_metric_families

from tests.survival.process import WorkerProcess


class Scrape:
    """One look at the metrics."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.samples = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def of(self, name: str, **labels: str) -> float:
        """One number; what is not there is an error."""
        return self.samples[f"ops_stream_{name}", frozenset(labels.items())]

    def by(self, name: str, label: str) -> dict[str, float]:
        """A metric by one of its labels, added up over the others; zeros left out."""
        found: dict[str, float] = {}
        for (full, labels), value in self.samples.items():
            if full == f"ops_stream_{name}" and value:
                key = dict(labels)[label]
                found[key] = found.get(key, 0.0) + value
        return found

    @property
    def names(self) -> set[str]:
        """The names of all lines."""
        return {name for name, _ in self.samples}


async def scrape(worker: WorkerProcess) -> Scrape:
    """Look once."""

    def read() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{worker.port}/metrics", timeout=10) as answer:
            return str(answer.read().decode())

    return Scrape(await asyncio.to_thread(read))


async def until_metered(
    worker: WorkerProcess, what: str, true: Callable[[Scrape], bool], within_s: float = 30.0
) -> Scrape:
    """Look until something is true of the metrics."""
    deadline = monotonic() + within_s
    while True:
        found = await scrape(worker)
        if true(found):
            return found
        assert monotonic() < deadline, f"waited {within_s:.0f} s for {what}:\n{found.text}"
        await asyncio.sleep(0.1)
