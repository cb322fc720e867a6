"""Five hundred agents in one process stay cheap."""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from dataclasses import replace

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.structs import ConsumerRecord

from agents_adapter import OpsClient, supervise
from agents_adapter._reader import PartitionReader
from ops_stream.contract.models import TaskRequest, Telemetry
from ops_stream.contract.settings import Settings
from tests.adapters.held import at_once, held
from tests.adapters.responder import Responder

pytestmark = pytest.mark.bus

AGENTS = 500


class Agent:
    """An agent that does next to nothing."""

    def __init__(self, number: int) -> None:
        """Name it."""
        self.name = f"agent-{number}"

    async def execute(self) -> str:
        """Do it."""
        await asyncio.sleep(0)
        return self.name


async def test_500_agents_with_a_client_each_share_one_consumer(
    settings: Settings, responder: Responder
) -> None:
    """All are approved, each gets its own answer, one consumer reads, and the wait costs next to no processor."""
    responder.on_ask = responder.answer
    clients = [OpsClient(settings=settings, timeout_s=60.0) for _ in range(AGENTS)]
    await asyncio.gather(*(client.__aenter__() for client in clients))
    try:
        agents = [supervise(Agent(n), client) for n, client in enumerate(clients)]
        assert await asyncio.gather(*(agent.execute() for agent in agents)) == [a.name for a in agents]
        await responder.wait_for(Telemetry, AGENTS, timeout_s=30.0, kind="completed")
        assert len({ask.request_id for ask in responder.all(TaskRequest)}) == AGENTS
        gc.collect()
        # The responder has the other one.
        assert sum(isinstance(o, AIOKafkaConsumer) and not o._closed for o in gc.get_objects()) == 2
        cpu_s = await _processor_time_of_a_second()
        print(f"{AGENTS} idle clients: {cpu_s * 1000:.0f} ms of processor time a second", file=sys.stderr)
        assert cpu_s < 0.25
    finally:
        await asyncio.gather(*(client.__aexit__(None, None, None) for client in clients))


async def _processor_time_of_a_second() -> float:
    began = time.process_time()
    await asyncio.sleep(1.0)
    return time.process_time() - began


async def test_answers_to_other_processes_are_passed_over_by_their_headers(
    client: OpsClient, responder: Responder
) -> None:
    """A record about somebody else's ask costs next to nothing: its body, which is no JSON here, is never looked at."""
    responder.on_ask = responder.answer
    await client.ask("writer", "Draft it")
    record = await _some_record(responder)
    reader = PartitionReader(record.topic_partition)
    reader.next_offset = 0
    batch = [replace(record.record, offset=offset, value=b"not JSON") for offset in range(20_000)]
    reader.take(batch)
    assert reader.seen == len(batch)


class _Found:
    def __init__(self, record: ConsumerRecord) -> None:
        from aiokafka import TopicPartition

        self.record = record
        self.topic_partition = TopicPartition(record.topic, record.partition)


async def _some_record(responder: Responder) -> _Found:
    consumer = AIOKafkaConsumer(
        responder.settings.topic("approvals"),
        **responder.settings.aiokafka(),
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    )
    async with consumer:
        return _Found(await consumer.getone())


async def test_reports_wait_for_nothing_however_many_there_are(
    client: OpsClient, responder: Responder
) -> None:
    """While the thread that talks to Kafka stands still, two thousand are handed over in one step each; then they
    arrive, in their order."""
    responder.on_ask = responder.answer
    approval = await client.ask("writer", "Draft it")
    with held(client):
        for number in range(2000):
            assert at_once(client.report(approval, kind="progress", cost_usd=0.01, input_tokens=number))
    await client.report(approval)
    await responder.report("completed")
    sent = [each.input_tokens for each in responder.all(Telemetry, kind="progress")]
    assert sent == list(range(2000))
