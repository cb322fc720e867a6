"""One cluster with a worker for the verbs that need one."""

from __future__ import annotations

import asyncio
import json
import secrets
import signal
import subprocess
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from ops_stream.contract.partitions import partition_for
from ops_stream.contract.settings import Settings
from ops_stream.embedded.ports import choose
from tests.brokers import create_topics
from tests.cli.running import Result, ops, start

PARTITIONS = 3
CONF = {
    "ai_ops_policies.yaml": """version: 1
policies:
  - name: dear
    condition: cost > 5.0
    action: escalate
  - name: never
    condition: task_type == "drop_database"
    action: block
""",
    "budgets.yaml": 'version: 1\nbudgets:\n  - tenant: "*"\n    limit_usd: 100\n    window: month\n',
    "agents.yaml": "version: 1\nregistration: open\nagents:\n  - {name: clerk, owner: finance}\n",
    "supervisor.yaml": "version: 1\n",
    "kills.yaml": "version: 1\nconfirm_s: 3\n",
}


@dataclass(frozen=True, slots=True)
class World:
    """A cluster with the topics, and what the command line needs to find it."""

    settings: Settings
    env: dict[str, str]

    def ops(self, *args: str) -> Result:
        """Run a verb in this process."""
        return ops(*args, env=self.env)

    def start(self, *args: str, **options: Any) -> subprocess.Popen[str]:
        """Start a verb as a process of its own."""
        return start(*args, env=self.env, **options)

    def put(self, topic: str, value: bytes | None, **options: Any) -> int:
        """Write one record as anybody could; give its offset."""
        return asyncio.run(self._put(topic, value, **options))

    async def _put(self, topic: str, value: bytes | None, *, tenant: str = "default", **options: Any) -> int:
        producer = AIOKafkaProducer(**self.settings.aiokafka())
        await producer.start()
        try:
            options.setdefault("partition", partition_for(tenant, PARTITIONS))
            options.setdefault("key", tenant.encode())
            done = await producer.send_and_wait(self.settings.topic(topic), value, **options)
        finally:
            await producer.stop()
        return int(done.offset)


def make_world(kafka: str, directory: Path, more: Mapping[str, str] | None = None) -> World:
    """Make topics under a prefix of their own, rules (`CONF`, and more files) and a data directory."""
    conf = directory / "conf"
    conf.mkdir()
    for name, text in (CONF | dict(more or {})).items():
        (conf / name).write_text(text)
    env = {
        "OPS_STREAM_BOOTSTRAP_SERVERS": kafka,
        "OPS_STREAM_TOPIC_PREFIX": f"t{secrets.token_hex(4)}.",
        "OPS_STREAM_DATA_DIR": str(directory / "data"),
        "OPS_STREAM_CONF_DIR": str(conf),
        "OPS_STREAM_PARTITIONS": str(PARTITIONS),
    }
    settings = Settings(
        bootstrap_servers=kafka,
        topic_prefix=env["OPS_STREAM_TOPIC_PREFIX"],
        data_dir=directory / "data",
        conf_dir=conf,
        partitions=PARTITIONS,
    )
    asyncio.run(create_topics(settings))
    return World(settings, env)


@pytest.fixture(scope="module")
def idle(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> World:
    """Give a cluster with its topics, on which no worker runs."""
    return make_world(kafka, tmp_path_factory.mktemp("idle"))


@pytest.fixture(scope="module")
def world(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Give a cluster on which a worker decides, itself started by the command line."""
    found = make_world(kafka, tmp_path_factory.mktemp("world"))
    with running_worker(found):
        yield found


@contextmanager
def running_worker(found: World) -> Iterator[None]:
    """Run a worker on a cluster, and see that it ends well."""
    port = choose()
    worker = found.start("worker", "--port", str(port), "--json")
    try:
        until(lambda: is_ready(port), worker)
        yield
        worker.send_signal(signal.SIGTERM)
        _, said = worker.communicate(timeout=60)
        assert worker.returncode == 0, said
    finally:
        if worker.poll() is None:
            worker.kill()
            worker.communicate()


def is_ready(port: int) -> bool:
    """Ask a worker's `/readyz`."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
            return bool(json.load(answer)["ready"])
    except (OSError, ValueError):
        return False


def until(is_so: Callable[[], bool], process: subprocess.Popen[str], within_s: float = 60.0) -> None:
    """Wait until something that only another process can tell is so."""
    deadline = monotonic() + within_s
    while not is_so():
        assert process.poll() is None, process.communicate()
        assert monotonic() < deadline, "it took too long"
        sleep(0.05)
