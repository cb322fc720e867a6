"""Kafka and Redis in Docker, for runs where an engine answers; and topics for a test."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from ops_stream.contract.settings import Settings
from ops_stream.embedded.ports import choose
from ops_stream.streams.cluster import create

KAFKA_IMAGE = "apache/kafka:4.3.0"
REDIS_IMAGE = "redis:7.2-alpine"


async def create_topics(settings: Settings) -> tuple[str, ...]:
    """Create the catalogue's topics under the test's prefix."""
    return await create(settings)


@lru_cache(maxsize=1)
def docker_answers() -> bool:
    """Say whether a Docker engine answers (the client alone is not enough)."""
    try:
        asked = subprocess.run(
            ["docker", "info", "--format", "{{.ServerVersion}}"], capture_output=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return asked.returncode == 0 and bool(asked.stdout.strip())


@contextmanager
def kafka_in_docker() -> Iterator[str]:
    """Run one Kafka in Docker, on a loopback port."""
    port = choose()
    environment = {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_LISTENERS": "PLAINTEXT://:9092,CONTROLLER://:9093",
        "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://127.0.0.1:{port}",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        "KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS": "1000",
    }
    with _container(KAFKA_IMAGE, 9092, port, "Kafka Server started", environment):
        yield f"127.0.0.1:{port}"


@contextmanager
def redis_in_docker() -> Iterator[str]:
    """Run one Redis in Docker, on a loopback port."""
    port = choose()
    with _container(REDIS_IMAGE, 6379, port, "Ready to accept connections", {}):
        yield f"redis://127.0.0.1:{port}/0"


@contextmanager
def _container(image: str, inside: int, port: int, ready: str, environment: dict[str, str]) -> Iterator[None]:
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.wait_strategies import LogMessageWaitStrategy

    container = DockerContainer(image)
    # with_bind_ports would publish the port to the whole network.
    container.ports[str(inside)] = ("127.0.0.1", port)
    for name, value in environment.items():
        container = container.with_env(name, value)
    with container.waiting_for(LogMessageWaitStrategy(ready).with_startup_timeout(120)):
        yield
