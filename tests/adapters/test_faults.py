"""The broker dies, hangs and forgets: nothing runs that should not, and nothing that may run is lost."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.errors import OutOfOrderSequenceNumber
from aiokafka.structs import TopicPartition

from agents_adapter import NoAnswer, OpsClient, Revoked
from agents_adapter._journal import Journal
from agents_adapter._link import Link
from agents_adapter._sender import NotDelivered, Outgoing
from ops_stream.contract.models import TaskRequest, Telemetry
from ops_stream.contract.partitions import partition_for
from ops_stream.contract.settings import Settings
from ops_stream.embedded import EmbeddedKafka, train
from tests.adapters.responder import Responder
from tests.brokers import create_topics

pytestmark = pytest.mark.bus


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedKafka]:
    """Give a broker that these tests may kill and pause."""
    made = EmbeddedKafka(tmp_path_factory.mktemp("broker"), runtime=train())
    made.start()
    try:
        yield made
    finally:
        made.stop()


@pytest.fixture
async def own(broker: EmbeddedKafka, prefix: str, tmp_path: Path) -> tuple[EmbeddedKafka, Settings]:
    """Give that broker, with topics made for one test."""
    settings = Settings(
        bootstrap_servers=broker.start(), topic_prefix=prefix, data_dir=tmp_path / "data", partitions=1
    )
    await create_topics(settings)
    return broker, settings


async def test_after_a_broker_was_killed_and_restarted_the_same_ask_is_made_again_and_decided(
    own: tuple[EmbeddedKafka, Settings],
) -> None:
    """kill -9 while an ask waits for a person: it is asked again with its id, and the verdict arrives."""
    broker, settings = own
    async with OpsClient(settings=settings, timeout_s=60.0) as client:
        async with Responder(settings) as responder:
            waiting = asyncio.create_task(client.ask("writer", "Draft it", request_id="r-waits"))
            ask = await responder.wait_for(TaskRequest)
            await responder.answer(ask, "escalated")
        broker.kill9()
        meanwhile = asyncio.create_task(client.ask("reader", "Read it", request_id="r-meanwhile"))
        await asyncio.sleep(2.5)  # longer than a fetch is let hang
        assert not waiting.done()
        await asyncio.to_thread(broker.start)
        async with Responder(settings, from_beginning=True) as responder:
            responder.journal_offset = 100
            again = await responder.wait_for(TaskRequest, 2, timeout_s=30, request_id="r-waits")
            assert again == ask
            await responder.answer(again, "approved", sequence=1)
            assert (await asyncio.wait_for(waiting, 30)).request_id == "r-waits"
            late = await responder.wait_for(TaskRequest, timeout_s=30, request_id="r-meanwhile")
            await responder.answer(late)
            assert (await asyncio.wait_for(meanwhile, 30)).request_id == "r-meanwhile"


async def test_a_lease_that_cannot_be_renewed_ends_the_call(own: tuple[EmbeddedKafka, Settings]) -> None:
    """Kafka hangs: no heartbeat gets through, the lease is lost, and the call stops by itself."""
    broker, settings = own
    async with OpsClient(settings=settings, timeout_s=5.0) as client, Responder(settings) as responder:
        responder.on_ask = lambda ask: responder.answer(ask, lease_s=1.5)
        approval = await client.ask("writer", "Draft it")
        broker.pause()
        try:
            began = time.monotonic()
            with pytest.raises(Revoked, match="lease"):
                async with client.running(approval):
                    await asyncio.sleep(30)
            assert 1.0 < time.monotonic() - began < 3.0
        finally:
            broker.resume()
        await client.report(approval, kind="failed")
        await responder.ack(approval.request_id)


async def test_an_ask_given_up_while_kafka_hangs_is_followed_by_its_withdrawal(
    own: tuple[EmbeddedKafka, Settings],
) -> None:
    """What may have left cannot be taken back: when the broker is back, `cancelled` comes behind it."""
    broker, settings = own
    async with OpsClient(settings=settings, timeout_s=20.0) as client, Responder(settings) as responder:
        responder.on_ask = responder.answer
        await client.ask("writer", "first")
        broker.pause()
        responder.on_ask = None
        try:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.ask("writer", "second", request_id="r-late"), 1.0)
        finally:
            broker.resume()
        await responder.wait_for(TaskRequest, request_id="r-late")
        await responder.report("cancelled", request_id="r-late")


async def test_a_position_that_is_gone_is_taken_up_at_the_end_and_asks_are_made_again(
    settings: Settings, client: OpsClient, responder: Responder
) -> None:
    """Answers deleted before they were read: nothing is guessed, the ask is made again."""
    task = asyncio.create_task(client.ask("writer", "Draft it"))
    ask = await responder.wait_for(TaskRequest)
    assert client._session is not None
    background, _ = client._at_work()
    reader = client._session.seat.reader
    link = client._session.seat.link
    assert reader is not None
    assert link is not None

    def lose_position() -> None:
        consumer = link.intake._consumer
        assert consumer is not None
        consumer.seek(reader.tp, 10_000_000)

    background.call(lose_position)
    assert await responder.wait_for(TaskRequest, 2, request_id=ask.request_id) == ask
    await responder.answer(ask)
    assert (await task).decision == "approved"


async def test_a_producer_that_failed_is_replaced_and_what_it_held_is_sent_again(
    settings: Settings, client: OpsClient, responder: Responder, caplog: pytest.LogCaptureFixture
) -> None:
    """A fatal error of the idempotent producer costs no ask and no report."""
    responder.on_ask = responder.answer
    approval = await client.ask("writer", "Draft it")
    background, session = client._at_work()
    link = session.seat.link
    assert link is not None
    first = link.sender._producer
    assert first is not None

    def break_it() -> None:
        first._message_accumulator.fail_all(OutOfOrderSequenceNumber())

    with caplog.at_level(logging.WARNING, "agents_adapter"):
        for number in range(50):
            await client.report(approval, kind="progress", event_id=f"p-{number}")
            if number == 20:
                background.call(break_it)
        again = await client.ask("writer", "More of it")
        await client.report(again)
        await client.flush()
    assert link.sender._producer is not first
    assert "replaced" in caplog.text
    await responder.report("completed")
    sent = {each.event_id for each in responder.all(Telemetry, kind="progress")}
    assert sent == {f"p-{number}" for number in range(50)}


async def test_a_lost_report_is_raised_when_the_client_closes(
    settings: Settings, responder: Responder, caplog: pytest.LogCaptureFixture
) -> None:
    """What Kafka will not take is logged, and the block ends with NotDelivered; the next client is well."""
    with caplog.at_level(logging.ERROR, "agents_adapter"), pytest.raises(NotDelivered, match="1 record"):
        async with OpsClient(settings=settings, timeout_s=5.0) as client:
            background, session = client._at_work()
            partition = partition_for(settings.tenant, responder.partitions)
            huge = Outgoing(settings.topic("telemetry"), partition, b"k", b"x" * 2_000_000, [])
            background.call(session.outbox.post, huge)
    assert "does not take" in caplog.text


async def test_closing_while_kafka_hangs_ends_in_time_and_says_what_is_missing(
    own: tuple[EmbeddedKafka, Settings],
) -> None:
    """A hanging broker cannot hold an agent up for ever: the end of the block is bounded by the time-out."""
    broker, settings = own
    async with Responder(settings) as responder:
        responder.on_ask = responder.answer
        client = OpsClient(settings=settings, timeout_s=1.0)
        await client.__aenter__()
        approval = await client.ask("writer", "Draft it")
        broker.pause()
        try:
            await client.report(approval)
            began = time.monotonic()
            with pytest.raises(NotDelivered, match="not acknowledged"):
                await client.__aexit__(None, None, None)
            assert time.monotonic() - began < 8.0
        finally:
            broker.resume()
    assert not Link._open


async def test_silence_of_the_whole_supervisor_refuses_every_ask(
    settings: Settings, responder: Responder
) -> None:
    """A hundred asks at once, no answer to any: a hundred refusals, and each is withdrawn."""
    async with OpsClient(settings=settings, timeout_s=1.0) as client:
        asks = [client.ask("writer", f"Task {number}") for number in range(100)]
        ended = await asyncio.gather(*asks, return_exceptions=True)
        assert all(isinstance(each, NoAnswer) for each in ended)
        await responder.wait_for(Telemetry, 100, kind="cancelled")


async def test_answers_deleted_by_retention_do_not_matter_to_later_asks(
    settings: Settings, client: OpsClient, responder: Responder
) -> None:
    """Old answers are removed while a client is open: it reads on."""
    responder.on_ask = responder.answer
    await client.ask("writer", "one")
    tp = TopicPartition(settings.topic("approvals"), partition_for(settings.tenant, responder.partitions))
    admin = AIOKafkaAdminClient(**settings.aiokafka())
    await admin.start()
    try:
        ends = await responder.consumer.end_offsets([tp])
        await admin.delete_records({tp: RecordsToDelete(before_offset=ends[tp])})
    finally:
        await admin.close()
    assert (await client.ask("writer", "two")).decision == "approved"


async def test_a_broker_that_hangs_while_the_journal_is_looked_up_delays_the_answer_and_no_more(
    own: tuple[EmbeddedKafka, Settings],
) -> None:
    """The lookup goes on until it is answered."""
    broker, settings = own
    topic = settings.topic("journal")
    record = b'{"event":"JournalRecord","partition":0,"expected_offset":0,"at":"2026-11-24T13:00:00Z","outputs":[]}'
    async with Responder(settings) as responder:
        await responder.producer.send_and_wait(topic, record, partition=0)
    journal = Journal(settings.aiokafka(), topic)
    try:
        assert await journal.find(0, 0) is not None
        broker.pause()
        try:
            looking = asyncio.create_task(journal.find(0, 1))
            await asyncio.sleep(1.0)
            assert not looking.done()
        finally:
            broker.resume()
        assert await asyncio.wait_for(looking, 30) is None
    finally:
        await journal.stop()
