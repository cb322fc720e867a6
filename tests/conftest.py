"""What tests on real servers share: one Kafka and one Redis a run, and names of its own for each test."""

from __future__ import annotations

import gc
import os
import secrets
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings as hypothesis

from ops_stream.contract.settings import Settings
from ops_stream.embedded import EmbeddedKafka, EmbeddedRedis, train
from tests import brokers
from tests.thorough import examples

# Shells start what runs in the background with Ctrl-C ignored, and what a test starts would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
# So does nohup with the end of the terminal. What has a handler here has none in what a test starts, while the run
# itself goes on as it was meant to.
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)

# As the worker does: collecting often would only look at what lives on again and again.
gc.set_threshold(20_000, 20, 20)

hypothesis.register_profile("run", max_examples=examples(100))
hypothesis.load_profile("run")


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the address of a real Kafka: OPS_STREAM_TEST_BOOTSTRAP, else Docker's, else the embedded one."""
    with ExitStack() as stack:
        address = os.environ.get("OPS_STREAM_TEST_BOOTSTRAP") or _in_docker(stack, brokers.kafka_in_docker)
        if not address:
            broker = EmbeddedKafka(tmp_path_factory.mktemp("kafka"), runtime=train())
            stack.callback(broker.stop)
            address = broker.start()
        yield address


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the address of a real Redis: OPS_STREAM_TEST_REDIS_URL, else Docker's, else the embedded one."""
    with ExitStack() as stack:
        url = os.environ.get("OPS_STREAM_TEST_REDIS_URL") or _in_docker(stack, brokers.redis_in_docker)
        if not url:
            server = EmbeddedRedis(tmp_path_factory.mktemp("redis"))
            stack.callback(server.stop)
            url = server.start()
        yield url


def _in_docker(stack: ExitStack, start: Callable[[], AbstractContextManager[str]]) -> str | None:
    """Start a server in Docker; None where no engine answers, or where it cannot (no image, no network)."""
    if not brokers.docker_answers():
        return None
    try:
        return stack.enter_context(start())
    except Exception as problem:
        warnings.warn(
            f"Docker answers but cannot run the image, the embedded one serves: {problem}", stacklevel=2
        )
        return None


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
