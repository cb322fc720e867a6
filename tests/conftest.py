"""What tests on real servers share: one Kafka and one Redis a run, and names of its own for each test."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ops_stream.contract.settings import Settings
from ops_stream.embedded import EmbeddedKafka, EmbeddedRedis, train
from tests import brokers


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the address of a real Kafka: OPS_STREAM_TEST_BOOTSTRAP, else Docker's, else the embedded one."""
    given = os.environ.get("OPS_STREAM_TEST_BOOTSTRAP")
    if given:
        yield given
    elif brokers.docker_answers():
        with brokers.kafka_in_docker() as bootstrap:
            yield bootstrap
    else:
        broker = EmbeddedKafka(tmp_path_factory.mktemp("kafka"), runtime=train())
        try:
            yield broker.start()
        finally:
            broker.stop()


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the address of a real Redis: OPS_STREAM_TEST_REDIS_URL, else Docker's, else the embedded one."""
    given = os.environ.get("OPS_STREAM_TEST_REDIS_URL")
    if given:
        yield given
    elif brokers.docker_answers():
        with brokers.redis_in_docker() as url:
            yield url
    else:
        server = EmbeddedRedis(tmp_path_factory.mktemp("redis"))
        try:
            yield server.start()
        finally:
            server.stop()


@pytest.fixture
def new_broker(tmp_path: Path) -> Iterator[Callable[..., EmbeddedKafka]]:
    """Give a function that makes embedded brokers of the test's own, to pause, kill and start again."""
    made: list[EmbeddedKafka] = []

    def make(name: str = "kafka", **options: Any) -> EmbeddedKafka:
        made.append(EmbeddedKafka(tmp_path / name, runtime=train(), **options))
        return made[-1]

    yield make
    for broker in made:
        broker.stop()


@pytest.fixture
def prefix() -> str:
    """Give a topic prefix that no other test has."""
    return f"t{secrets.token_hex(4)}."


@pytest.fixture
def settings(kafka: str, prefix: str, tmp_path: Path) -> Settings:
    """Give the settings of a test: its own prefix and data directory, on the shared broker."""
    return Settings(bootstrap_servers=kafka, topic_prefix=prefix, data_dir=tmp_path / "data")
