"""The kill switch under load: how soon every partition has it, and that nothing is approved behind it."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median

import pytest

from ops_stream.contract.settings import Settings
from tests.survival.conftest import TENANTS
from tests.survival.process import WorkerProcess
from tests.survival.stopping import (
    IN_FLIGHT,
    LAG,
    Round,
    kill_behind_lag,
    kill_in_flight,
    no_approval_while_killed,
)

pytestmark = [pytest.mark.bus, pytest.mark.survival, pytest.mark.timeout(900)]

ROUNDS = 5
BOUND_MS = 10_000
"""Far above the aim of 1 s at the median, which is printed: a machine that does other things meanwhile is slow."""


async def test_a_kill_with_a_thousand_asks_in_flight(
    world: Settings, workers: Callable[..., WorkerProcess], capsys: pytest.CaptureFixture[str]
) -> None:
    """Two workers, a thousand asks running: each kill reaches all partitions and revokes every one of them."""
    await _two_workers(world, workers)
    rounds = await kill_in_flight(world, TENANTS, ROUNDS)
    await no_approval_while_killed(world, rounds)
    assert [found.revoked for found in rounds] == [IN_FLIGHT] * ROUNDS
    _say(capsys, "1,000 in flight", rounds)


async def test_a_kill_behind_a_lag_of_a_hundred_thousand_asks(
    world: Settings, workers: Callable[..., WorkerProcess], capsys: pytest.CaptureFixture[str]
) -> None:
    """Two workers that have 100,000 asks before them: the kill waits behind none, and stops all that run at once."""
    await _two_workers(world, workers)
    rounds = await kill_behind_lag(world, TENANTS, ROUNDS)
    await no_approval_while_killed(world, rounds)
    assert min(found.lag for found in rounds) >= LAG, [found.lag for found in rounds]
    assert min(found.revoked for found in rounds) >= IN_FLIGHT
    assert all(found.denied for found in rounds), "asks were decided behind each kill"
    _say(capsys, "lag", rounds)


async def _two_workers(world: Settings, workers: Callable[..., WorkerProcess]) -> None:
    pair = [workers(world, name).start() for name in ("a", "b")]
    for worker in pair:
        await worker.until_live(3)


def _say(capsys: pytest.CaptureFixture[str], what: str, rounds: list[Round]) -> None:
    """Print what was measured; only what is far too slow fails."""
    took = [found.took_ms for found in rounds]
    with capsys.disabled():
        print(f"\nkill, {what}: median {median(took):,.0f} ms to the last partition's journal record")
        for found in rounds:
            print(
                f"  {found.took_ms:,.0f} ms, all stopped after {found.swept_ms:,.0f} ms: {found.revoked:,} revoked, "
                f"{found.lag:,} asks waiting, {found.denied:,} denied behind it"
            )
    assert median(took) < BOUND_MS, took
