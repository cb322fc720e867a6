"""What the adapter's tests share: topics, a tenant of its own for each test, and a scripted supervisor."""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from agents_adapter import OpsClient
from ops_stream.contract.settings import Settings
from tests.adapters.emitted import Collected
from tests.adapters.responder import Responder
from tests.brokers import create_topics


@pytest.fixture(scope="session")
def adapter_prefix(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Give the prefix of topics that all these tests share; each has a tenant of its own on them."""
    prefix = f"adapter{secrets.token_hex(3)}."
    data_dir = tmp_path_factory.mktemp("data")
    settings = Settings(bootstrap_servers=kafka, topic_prefix=prefix, data_dir=data_dir)
    asyncio.run(create_topics(settings))
    return prefix


@pytest.fixture
def settings(kafka: str, adapter_prefix: str, tmp_path: Path) -> Settings:
    """Give the settings of one test's tenant."""
    return Settings(
        bootstrap_servers=kafka,
        topic_prefix=adapter_prefix,
        tenant=f"team-{secrets.token_hex(4)}",
        data_dir=tmp_path / "data",
    )


@pytest.fixture
async def responder(settings: Settings) -> AsyncIterator[Responder]:
    """Give a supervisor that does what the test says."""
    async with Responder(settings) as made:
        yield made


@pytest.fixture
async def client(settings: Settings, responder: Responder) -> AsyncIterator[OpsClient]:
    """Give an open client of the test's tenant, with little patience."""
    async with OpsClient(settings=settings, timeout_s=5.0) as made:
        yield made


@pytest.fixture(scope="session")
def collected_once() -> Collected:
    """Give the process's collector."""
    return Collected()


@pytest.fixture
def collected(collected_once: Collected) -> Iterator[Collected]:
    """Give the process's collector, empty."""
    collected_once.clear()
    yield collected_once
    collected_once.clear()


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Whatever a test does, the adapter's thread ends with its last client."""
    yield
    left = [thread for thread in threading.enumerate() if thread.name == "ops-stream" and thread.is_alive()]
    assert not left
