"""kill -9 of workers, mid-batch and inside a record with a thousand outputs."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from time import monotonic

import pytest

from ops_stream.contract.settings import Settings
from tests.survival.conftest import TENANTS
from tests.survival.fleet import Fleet
from tests.survival.flows import Flows
from tests.survival.process import WorkerProcess
from tests.survival.proof import prove

pytestmark = [pytest.mark.bus, pytest.mark.survival, pytest.mark.timeout(600)]

KILLS = 20
ASKS = 12_000
WORKFLOWS = 300
SECONDS = 100


async def test_twenty_kills_mid_batch_lose_nothing_and_overspend_nothing(
    world: Settings, workers: Callable[..., WorkerProcess]
) -> None:
    """Two workers under 12,000 asks and 300 workflows; one or the other is killed twenty times with work in flight.
    Every acknowledged ask has its decisions in one line, promise 3 holds at every offset, every approval has its
    journal record. Every workflow ends: no step is run twice at once or before what it needs, none is left out."""
    pair = [workers(world, name).start() for name in ("a", "b")]
    chance = random.Random(11)
    async with Fleet(world, TENANTS) as fleet, Flows(fleet) as flows:
        await pair[0].until_live(1)
        await pair[1].until_live(1)
        asking = asyncio.create_task(fleet.ask(ASKS, rate=ASKS / SECONDS))
        handing = asyncio.create_task(flows.hand_in(WORKFLOWS, rate=WORKFLOWS / SECONDS))
        landed = 0
        while landed < KILLS:
            victim = pair[landed % 2]
            await victim.until_live(1)
            await _until_in_flight(fleet)
            await asyncio.sleep(chance.random() * 0.3)
            victim.kill9()
            landed += 1
            victim.start()
        await asking
        await handing
        await fleet.until_answered()
        await flows.until_ended()
        assert landed == KILLS
        assert len(fleet.asked) == ASKS
        proof = await prove(world, fleet.asked, limit_micros=1_000_000_000)
        flows.prove(proof)
    assert proof.kinds["takeover"] >= KILLS


async def _until_in_flight(fleet: Fleet, within_s: float = 30.0) -> None:
    """Wait until asks are on their way that have no answer yet: a kill now hits a batch."""
    deadline = monotonic() + within_s
    while len(fleet.asked) <= len(fleet.answers) and monotonic() < deadline:
        await asyncio.sleep(0.002)
    assert len(fleet.asked) > len(fleet.answers), "nothing was in flight when the fault was to land"
