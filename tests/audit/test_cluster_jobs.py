"""Partitions verified in processes: what goes wrong in one of them is told by the one that started it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from multiprocessing import active_children

import pytest
from aiokafka.errors import KafkaConnectionError

from ops_stream.audit.cluster import Audit
from ops_stream.audit.cluster_jobs import verify_in_processes
from ops_stream.cli.audit_plan import compile_rules
from ops_stream.contract.errors import NotSo
from ops_stream.contract.settings import Settings
from tests.audit.journals import ENGINE, KEY


def plan(port: int = 1) -> Audit:
    """An audit of a cluster that is not there."""
    settings = Settings(bootstrap_servers=f"127.0.0.1:{port}")
    return Audit(settings, KEY, ENGINE, compile_rules, 2, [0, 1])


def nothing(*_said: object) -> None:
    """Keep nothing."""


def test_a_kafka_that_cannot_be_reached_is_told_as_such() -> None:
    """As by one process, so that the command ends with 3."""
    with pytest.raises(KafkaConnectionError):
        asyncio.run(verify_in_processes(plan(), 2, nothing, nothing))


@pytest.fixture
def silent() -> Iterator[int]:
    """A port on which somebody listens who never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


async def _begun(port: int) -> asyncio.Task[object]:
    """A verification with its first processes running."""
    task = asyncio.create_task(verify_in_processes(plan(port), 2, nothing, nothing))
    while len(active_children()) < 2:
        await asyncio.sleep(0.01)
        assert not task.done()
    return task


def test_a_process_that_is_killed_is_noticed(silent: int) -> None:
    """For want of memory, say: nothing is called proved, and the others are ended."""

    async def killed() -> None:
        task = await _begun(silent)
        active_children()[0].kill()
        await task

    with pytest.raises(NotSo, match="has ended"):
        asyncio.run(killed())
    assert active_children() == []


def test_who_is_interrupted_leaves_no_process_behind(silent: int) -> None:
    """As by Ctrl-C."""

    async def interrupted() -> None:
        task = await _begun(silent)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(interrupted())
    assert active_children() == []
