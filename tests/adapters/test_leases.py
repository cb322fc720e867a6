"""Heartbeats: often enough for the leases, and at least so often that a living agent is known to live."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from agents_adapter import _leases
from agents_adapter._leases import Leases
from agents_adapter._line import Line


class _Running:
    """As much of a line as leases look at: approved a moment ago, for an hour."""

    def __init__(self) -> None:
        self.request = SimpleNamespace(agent="engineer", request_id="r1")
        self.lease_s = self.remaining_s = 3_600.0
        self.heard_at = time.monotonic()


async def test_a_long_lease_is_kept_by_heartbeats_no_further_apart_than_the_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A lease of an hour would be renewed every twenty minutes; the agent says all the same that it lives."""
    monkeypatch.setattr(_leases, "BEAT_MAX_S", 0.01)
    beats: asyncio.Queue[list[str]] = asyncio.Queue()

    def beat(agent: str, request_ids: Sequence[str]) -> Any:
        assert agent == "engineer"
        beats.put_nowait(list(request_ids))
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return SimpleNamespace(done=done)

    leases = Leases(beat)
    leases.add(cast("Line", _Running()))
    try:
        async with asyncio.timeout(10):
            assert [await beats.get() for _ in range(3)] == [["r1"]] * 3
    finally:
        await leases.close()
