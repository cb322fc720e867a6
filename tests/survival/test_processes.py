"""Processes that meet: started at once, twice on one directory, standing still, halted in one partition."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from ops_stream.contract.settings import Settings
from ops_stream.core.decision import Decision
from ops_stream.core.inputs import Takeover
from ops_stream.core.journal.chain import JournalKey
from ops_stream.core.journal.ledger import Ledger
from ops_stream.core.state import State
from ops_stream.embedded import EmbeddedKafka
from ops_stream.streams.exits import Exit
from tests.survival.conftest import make_world
from tests.survival.faults import EACH, until, until_shared
from tests.survival.fleet import Fleet
from tests.survival.process import WorkerProcess
from tests.survival.proof import prove, read_all
from tests.survival.rules import write_conf

pytestmark = [pytest.mark.bus, pytest.mark.survival, pytest.mark.timeout(240)]


async def test_two_workers_that_start_at_once_on_an_empty_journal_agree_on_key_and_rules(
    new_broker: Callable[..., EmbeddedKafka],
    prefix: str,
    workers: Callable[..., WorkerProcess],
    tmp_path: Path,
) -> None:
    """Two workers whose files differ start at the same moment where nothing has been journaled, and each begins half
    of the partitions. One key is made, and all is decided under one bundle, the first on the rules topic."""
    # The broker's group waits a moment for more members, as brokers do by default: both begin at once.
    broker = new_broker(properties={"group.initial.rebalance.delay.ms": "2000"})
    world = await make_world(broker.start(), prefix, tmp_path)
    other = world.model_copy(update={"conf_dir": write_conf(tmp_path / "other-conf", limit_usd=900)})
    assert not world.journal_key_file.exists()
    pair = [workers(world, "a"), workers(other, "b")]
    for worker in pair:
        worker.start()
    async with Fleet(world, EACH) as fleet:
        await until_shared(pair)
        await fleet.ask(60, rate=200)
        await fleet.until_answered()
        assert [await worker.terminate() for worker in pair] == [0, 0]
        proof = await prove(world, fleet.asked, limit_micros=1_000_000_000)
    assert not list(world.journal_key_file.parent.glob(f".{world.journal_key_file.name}.*"))
    bundles = [json.loads(record.value)["digest"] for record in (await read_all(world, "rules"))[0]]
    digests = {
        json.loads(value)["rules_digest"] for records in proof.records.values() for _, value in records
    }
    assert digests == {bundles[0]}
    first = {taken[0] for taken in proof.takeovers.values()}
    assert len(first) == 2, "each of the two began partitions"
