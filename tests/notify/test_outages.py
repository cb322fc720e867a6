"""A broker that goes away and comes back: the notifier waits, and loses nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from ops_stream.contract.settings import Settings
from ops_stream.embedded import EmbeddedKafka
from tests.brokers import create_topics
from tests.notify.receiver import alert, receiving
from tests.notify.test_notifier import PARTITIONS, Bus, _notifying, _target, _until

pytestmark = pytest.mark.bus


async def test_a_broker_that_was_away_costs_nothing(
    new_broker: Callable[..., EmbeddedKafka], tmp_path: Path
) -> None:
    """While a message cannot be delivered Kafka dies. Its dead letter is written when Kafka is back, once, and what
    comes then is told; nothing is told twice under two ids."""
    broker = new_broker()
    address = await asyncio.to_thread(broker.start)
    settings = Settings(
        bootstrap_servers=address, topic_prefix="o.", data_dir=tmp_path, partitions=PARTITIONS
    )
    await create_topics(settings)
    async with receiving() as desk:
        desk.otherwise = 503
        async with AIOKafkaProducer(**settings.aiokafka()) as producer:
            bus = Bus(settings, producer)
            async with _notifying(bus, _target(desk, attempts=20), first_pause_s=0.2):
                await bus.put(alert(1))
                await desk.until(lambda: bool(desk.got))
                await asyncio.to_thread(broker.kill9)
                seen = len(desk.got)
                desk.otherwise = 410
                await desk.until(lambda: len(desk.got) > seen)
                desk.otherwise = 204
                await asyncio.to_thread(broker.start)
                async with asyncio.timeout(60):
                    while not await bus.dead_letters():
                        await asyncio.sleep(0.2)
                await bus.put(alert(2))
                await desk.until(lambda: desk.got[-1].json["data"]["alert_id"] == "al_2", 60)
            assert [dead["offset"] for dead in await bus.dead_letters()] == [0]
    ids = {(got.json["data"]["alert_id"], got.headers["webhook-id"]) for got in desk.got}
    assert len(ids) == 2


async def test_a_broker_that_says_nothing_is_noticed(
    new_broker: Callable[..., EmbeddedKafka], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A notifier that hears nothing of its broker says that it is not ready, and is ready again when it answers."""
    monkeypatch.setattr("ops_stream.notify.follower.SILENT_S", 1.0)
    broker = new_broker()
    address = await asyncio.to_thread(broker.start)
    settings = Settings(
        bootstrap_servers=address, topic_prefix="o.", data_dir=tmp_path, partitions=PARTITIONS
    )
    await create_topics(settings)
    async with (
        receiving() as desk,
        AIOKafkaProducer(**settings.aiokafka()) as producer,
        _notifying(Bus(settings, producer), _target(desk)) as notifier,
    ):
        await asyncio.to_thread(broker.pause)
        await _until(lambda: not notifier.followers[0].ready)
        await asyncio.to_thread(broker.resume)
        await _until(lambda: notifier.followers[0].ready)
        await Bus(settings, producer).put(alert(1))
        await desk.until(lambda: len(desk.got) == 1, 60)
