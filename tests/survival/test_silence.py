"""Nothing of a worker ends in silence, and its health says so where it does not decide."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ops_stream.contract.settings import Settings
from ops_stream.core.journal.chain import JournalKey
from ops_stream.streams import supervisor as module
from ops_stream.streams.exits import Exit
from ops_stream.streams.metrics import Metrics
from ops_stream.streams.owned import Limits, Owned
from ops_stream.streams.recovery import Owner
from ops_stream.streams.rulebook import Rulebook
from ops_stream.streams.supervisor import Supervisor


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Exit, str]]:
    """How the process would have ended."""
    found: list[tuple[Exit, str]] = []
    monkeypatch.setattr(module, "die", lambda code, sentence: found.append((code, sentence)))
    return found


async def _supervisor() -> Supervisor:
    owner = SimpleNamespace(
        rulebook=Rulebook(), refresh_rules=None, key=JournalKey(b"k" * 32), producer=None, signing_key=None
    )
    return Supervisor(Settings(), cast(Owner, owner), 6, Metrics(), Limits(), frozenset())


async def _cancelled_within() -> None:
    raise asyncio.CancelledError  # as aiokafka's clients do when a part of theirs is closed


async def test_a_task_that_is_cancelled_from_within_ends_the_worker(ends: list[tuple[Exit, str]]) -> None:
    """aiokafka may raise CancelledError: the reader of kills must not be gone without a word for that."""
    supervisor = await _supervisor()
    supervisor.run_in_background(_cancelled_within(), "the reader of control")
    await asyncio.sleep(0.01)
    assert ends == [(Exit.CRASHED, "the reader of control was cancelled from within")]


async def test_a_task_that_is_cancelled_by_the_worker_ends_nothing(ends: list[tuple[Exit, str]]) -> None:
    """Who stops a worker cancels its tasks."""
    supervisor = await _supervisor()
    supervisor.run_in_background(asyncio.sleep(60), "the ticker")
    await asyncio.sleep(0)
    await supervisor.stop()
    assert ends == []


async def test_a_recovery_that_is_cancelled_from_within_ends_the_worker(
    ends: list[tuple[Exit, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A partition does not stay in recovery for ever because a client was closed under it."""
    supervisor = await _supervisor()

    async def known(*_: Any) -> None:
        await _cancelled_within()

    monkeypatch.setattr(supervisor, "_what_is_known", known)
    task = asyncio.ensure_future(supervisor._recover(1, Owned(3)))
    await asyncio.gather(task, return_exceptions=True)
    assert [code for code, _ in ends] == [Exit.RECOVERY_FAILED]
