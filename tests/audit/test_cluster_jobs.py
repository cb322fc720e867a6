"""Partitions verified in processes: what goes wrong in one of them is told by the one that started it."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from multiprocessing import active_children

import pytest
from aiokafka.errors import KafkaConnectionError
from hypothesis import given
from hypothesis import strategies as st

from ops_stream.audit.cluster import Audit
from ops_stream.audit.cluster_jobs import WORTH_A_PROCESS, jobs_for, shared_out, verify_in_processes
from ops_stream.cli.audit_plan import compile_rules
from ops_stream.contract.errors import NotSo
from ops_stream.contract.settings import Settings
from tests.audit.journals import ENGINE, KEY

SHARES = [(0,), (1,)]


def plan(port: int = 1) -> Audit:
    """An audit of a cluster that is not there."""
    settings = Settings(bootstrap_servers=f"127.0.0.1:{port}")
    return Audit(settings, KEY, ENGINE, compile_rules, 2, [0, 1])


def nothing(*_said: object) -> None:
    """Keep nothing."""


def test_a_kafka_that_cannot_be_reached_is_told_as_such() -> None:
    """As by one process, so that the command ends with 3."""
    with pytest.raises(KafkaConnectionError):
        asyncio.run(verify_in_processes(plan(), SHARES, nothing, nothing))


@pytest.fixture
def silent() -> Iterator[int]:
    """A port on which somebody listens who never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


async def _begun(port: int) -> asyncio.Task[object]:
    """A verification with its first processes running."""
    task = asyncio.create_task(verify_in_processes(plan(port), SHARES, nothing, nothing))
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


def test_the_largest_partitions_are_shared_out_first() -> None:
    """Each to the process that has least to do until then, so that none ends long after the others."""
    sizes = {0: 5_000, 1: 5_000, 2: 12_500, 3: 20_000, 4: 10_000, 5: 7_500}
    assert shared_out(sizes, 2) == [(1, 3, 5), (0, 2, 4)]
    assert shared_out({0: 0, 1: 0, 2: 0}, 2) == [(0, 2), (1,)]
    assert shared_out({0: 7}, 4) == [(0,)]


@given(st.dictionaries(st.integers(0, 63), st.integers(0, 10**7), min_size=1), st.integers(1, 9))
def test_every_partition_is_verified_by_one_process(sizes: dict[int, int], jobs: int) -> None:
    """None twice, none by nobody; no process has nothing, and the busiest has at most one partition too many."""
    shares = shared_out(sizes, jobs)
    assert sorted(one for share in shares for one in share) == sorted(sizes)
    assert all(shares)
    assert len(shares) == min(jobs, len(sizes))
    loads = [sum(sizes[one] + 1 for one in share) for share in shares]
    busiest = shares[loads.index(max(loads))]
    assert max(loads) - min(loads) <= min(sizes[one] + 1 for one in busiest) or len(busiest) == 1


def test_a_small_journal_is_verified_at_once() -> None:
    """Beginning a process takes as long as proving some thousand records."""
    assert jobs_for({0: 0}) == 1
    assert jobs_for({0: WORTH_A_PROCESS, 1: WORTH_A_PROCESS - 1}) == 1
    assert jobs_for(dict.fromkeys(range(512), WORTH_A_PROCESS)) == len(os.sched_getaffinity(0))
