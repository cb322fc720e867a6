"""A broker, topics, rules and workers of a survival test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ops_stream.contract.settings import Settings
from ops_stream.streams.cluster import create
from tests.survival.process import WorkerProcess
from tests.survival.rules import write_conf

TENANTS = tuple(f"team-{number}" for number in range(12))


@pytest.fixture
async def world(kafka: str, prefix: str, tmp_path: Path) -> AsyncIterator[Settings]:
    """Give settings with topics made, rules written and one journal key for all workers."""
    yield await make_world(kafka, prefix, tmp_path)


async def make_world(bootstrap: str, prefix: str, directory: Path, **conf: Any) -> Settings:
    """Make topics and rules under a prefix. What is estimated to take a moment has a short lease, as steps have,
    and no workflow waits long where its agents were stopped."""
    conf.setdefault("supervisor", {"lease_min_s": 8, "workflow_wait_s": 60})
    settings = Settings(
        bootstrap_servers=bootstrap,
        topic_prefix=prefix,
        data_dir=directory / "data",
        conf_dir=write_conf(directory / "conf", **conf),
        journal_key_file=directory / "journal.key",
        partitions=6,
    )
    await create(settings)
    return settings


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Callable[..., WorkerProcess]]:
    """Give a function that makes workers; all are ended after the test."""
    made: list[WorkerProcess] = []

    def make(settings: Settings, name: str, **options: Any) -> WorkerProcess:
        options.setdefault("session_timeout_s", 6.0)
        made.append(WorkerProcess(settings, tmp_path / name, **options))
        return made[-1]

    yield make
    for worker in made:
        worker.stop()
