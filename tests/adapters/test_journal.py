"""Looking records up in the journal on a real broker: what counts, what does not, and what is not there."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition

from agents_adapter import NoAnswer, OpsClient, Revoked
from agents_adapter._journal import Entry, Journal, Memory, read_entry
from agents_adapter._proving import UNCHECKED
from ops_stream.contract.codec import encode_json
from ops_stream.contract.errors import NotSo
from ops_stream.contract.models import TaskRequest, Telemetry
from ops_stream.contract.partitions import partition_for
from ops_stream.contract.settings import Settings
from tests.adapters.responder import Responder
from tests.brokers import create_topics

AT = "2026-11-24T13:00:00.000Z"


def record(offset: int, answers: list[dict[str, Any]], pad: int = 0, **fields: Any) -> bytes:
    """Write a journal record as far as the adapter looks at it."""
    outputs = [{"topic": "approvals", "type": "TaskApproval", "value": each} for each in answers]
    body = {"event": "JournalRecord", "partition": 0, "expected_offset": offset, "at": AT, "outputs": outputs}
    return encode_json({**body, "changes": {"pad": "x" * pad}, **fields})


def entry(value: bytes) -> Entry | None:
    """Read a record that stands at offset 7 of partition 0."""
    return read_entry(value, 0, 7)


def test_a_record_gives_its_answers_by_their_place_among_all_outputs() -> None:
    """Other outputs keep their numbers, and are no answers."""
    alert = {"topic": "alerts", "type": "Alert", "value": {"kind": "x"}}
    nothing = {"topic": "approvals", "type": "TaskApproval", "value": [1]}
    misplaced = {"topic": "assignments", "type": "TaskApproval", "value": {"n": 2}}
    answer = {"topic": "approvals", "type": "TaskApproval", "value": {"n": 1}}
    found = entry(record(7, [], outputs=[alert, answer, misplaced, nothing]))
    assert found is not None
    assert found.answers == {1: ("TaskApproval", {"n": 1})}
    assert found.at_ms == 1_795_525_200_000


@pytest.mark.parametrize(
    "value",
    [
        record(6, [{}]),
        record(8, [{}]),
        record(7, [{}], partition=1),
        record(7, [{}], event="Alert"),
        record(7, [{}], at="yesterday"),
        record(7, [{}], outputs={"topic": "approvals"}),
        record(7, [{}], outputs=[1, 2]),
        record(7, [{}], outputs=[[], {"topic": "approvals"}]),
        record(7, [{}])[:-1],
        record(7, [{}]).replace(b'"outputs"', b'"partition":0,"outputs"'),
        b"[" * 200 + b"]" * 200,
        b"[]",
        b"\xff\xfe",
        b"",
    ],
)
def test_what_is_no_record_of_this_place_counts_as_none(value: bytes) -> None:
    """A replaced worker's record lands elsewhere than it says; and whatever else stands there is nothing."""
    assert entry(value) is None


def test_the_memory_forgets_what_was_longest_unused() -> None:
    """Bounded in bytes: the last used stay, one record always does, and a record is read once."""
    memory = Memory(3 * len(record(0, [{}])))
    for offset in range(3):
        memory.put((0, offset), record(offset, [{}]))
    first = memory.get((0, 0))
    assert first is not None
    assert memory.get((0, 0)) is first
    memory.put((0, 3), record(3, [{}]))
    assert [memory.get((0, offset)) is not None for offset in range(4)] == [True, False, True, True]
    memory.put((0, 4), record(4, [{}], pad=10_000))
    assert memory.get((0, 4)) is not None
    assert memory.get((0, 3)) is None


@pytest.fixture
async def journal(kafka: str) -> AsyncIterator[tuple[Journal, AIOKafkaProducer, str]]:
    """Give a reader of a journal of its own, and somebody who writes it."""
    settings = Settings(bootstrap_servers=kafka, topic_prefix=f"jl{secrets.token_hex(3)}.", partitions=2)
    await create_topics(settings)
    topic = settings.topic("journal")
    producer = AIOKafkaProducer(**settings.aiokafka(), max_request_size=4_000_000)
    await producer.start()
    made = Journal(settings.aiokafka(), topic)
    try:
        yield made, producer, topic
    finally:
        await made.stop()
        await producer.stop()


@pytest.mark.bus
async def test_records_are_found_in_any_order_and_what_is_not_there_is_not(
    journal: tuple[Journal, AIOKafkaProducer, str],
) -> None:
    """Forth and back, behind the end, at the very end, on an empty partition, after it has grown."""
    reader, producer, topic = journal
    for offset in range(30):
        pad = 600_000 if offset == 5 else 20_000  # several fetches, one record larger than a fetch
        await producer.send_and_wait(topic, record(offset, [{"n": offset}], pad=pad), partition=0)
    await producer.send_and_wait(topic, record(29, [{"n": 0}]), partition=0)  # a replaced worker's: void
    for offset in (29, 3, 17, 5, 4, 0):
        found = await reader.find(0, offset)
        assert found is not None
        assert found.answers == {0: ("TaskApproval", {"n": offset})}
    for partition, offset in ((0, 30), (0, 31), (0, 1000), (0, 10**18 - 1), (1, 0)):
        assert await reader.find(partition, offset) is None
    await producer.send_and_wait(topic, record(31, [{"n": 31}]), partition=0)
    assert await reader.find(0, 31) is not None
    await producer.send_and_wait(topic, record(0, [{"n": 1}], partition=1), partition=1)
    assert await reader.find(1, 0) is not None


@pytest.mark.bus
async def test_many_at_once_share_what_is_fetched(
    journal: tuple[Journal, AIOKafkaProducer, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two hundred lookups, each twice, and some given up: a handful of fetches serve them all."""
    reader, producer, topic = journal
    fetches = 0
    fetch = Journal._fetch

    async def counted(self: Journal, *arguments: Any) -> None:
        nonlocal fetches
        fetches += 1
        await fetch(self, *arguments)

    monkeypatch.setattr(Journal, "_fetch", counted)
    for offset in range(200):
        await producer.send(topic, record(offset, [{"n": offset}], pad=1000), partition=0)
    await producer.flush()
    asked = [asyncio.create_task(reader.find(0, offset)) for offset in range(200) for _ in range(2)]
    await asyncio.sleep(0)
    for task in asked[::20]:
        task.cancel()
    found = [each for each in await asyncio.gather(*asked, return_exceptions=True) if isinstance(each, Entry)]
    assert len(found) == 380
    assert fetches <= 20


@pytest.mark.bus
async def test_an_idle_lookup_reads_nothing(journal: tuple[Journal, AIOKafkaProducer, str]) -> None:
    """The journal is not followed: what is written while nobody looks anything up is not fetched."""
    reader, producer, topic = journal
    await producer.send_and_wait(topic, record(0, [{}]), partition=0)
    assert await reader.find(0, 0) is not None
    await asyncio.sleep(0.1)
    for offset in range(1, 50):
        await producer.send_and_wait(topic, record(offset, [{}]), partition=0)
    await asyncio.sleep(0.3)
    assert reader._memory.get((0, 49)) is None
    assert await reader.find(0, 49) is not None


@pytest.mark.bus
async def test_answers_without_any_journal_record_are_no_answers(
    settings: Settings, responder: Responder, caplog: pytest.LogCaptureFixture
) -> None:
    """Somebody answers as the supervisor would, and the journal knows nothing of it: NoAnswer, which says so."""
    responder.on_ask = responder.answer
    async with OpsClient(settings=settings, timeout_s=1.5, verify="journal") as client:
        for _ in range(2):
            with pytest.raises(NoAnswer, match="did not count; the last, because the journal has no"):
                await client.ask("writer", "Draft it")
        await responder.wait_for(Telemetry, 2, kind="cancelled")
        assert client.uncounted_answers == 2
    warnings = [each for each in caplog.records if "does not count" in each.message]
    assert [each.levelno for each in warnings if each.levelno >= logging.WARNING] == [logging.WARNING]


@pytest.mark.bus
async def test_an_observing_client_runs_on_where_nothing_is_proved(
    settings: Settings, responder: Responder
) -> None:
    """Unproved is unanswered, and who only observes runs on unanswered; a forged denial stops nobody."""
    responder.on_ask = lambda ask: responder.answer(ask, "denied")
    async with OpsClient(settings=settings, timeout_s=1.0, verify="journal", observe=True) as client:
        approval = await client.ask("writer", "Draft it")
    assert not approval.answered


@pytest.mark.bus
async def test_a_revocation_that_cannot_be_checked_holds(
    settings: Settings, responder: Responder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An approval that cannot be checked does not run; what runs, and may not any longer as far as is known, stops."""
    partition = partition_for(settings.tenant, responder.partitions)
    end = (
        await responder.consumer.end_offsets([tp := TopicPartition(settings.topic("journal"), partition)])
    )[tp]
    async with OpsClient(settings=settings, timeout_s=2.0, verify="journal") as client:
        task = asyncio.create_task(client.ask("writer", "Draft it", request_id="r-1"))
        ask = await responder.wait_for(TaskRequest, request_id="r-1")
        body = responder.approval(ask)
        body["decided_at"] = AT
        await responder.producer.send_and_wait(
            settings.topic("journal"),
            record(end, [body], partition=partition, at="2100-01-01T00:00:00.000Z"),
            partition=partition,
        )
        await responder.publish("approvals", "TaskApproval", ask.request_id, body, (end, 0))
        approval = await task

        async def hangs(*_: Any) -> None:
            await asyncio.sleep(60)

        monkeypatch.setattr(Journal, "_fetch", hangs)
        began = time.monotonic()
        running = asyncio.create_task(_run(client, approval))
        await responder.answer(ask, "revoked", sequence=1, position=(end + 1, 0))
        with pytest.raises(Revoked, match=UNCHECKED):
            await running
        assert 1.5 < time.monotonic() - began < 5
        await client.report(approval, kind="cancelled")
        await responder.ack(ask.request_id)


@pytest.mark.bus
async def test_a_cluster_without_a_journal_to_see_is_refused_on_opening(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An agent without the right to read it is told so at once, and not by answers that never count."""
    monkeypatch.setattr("agents_adapter._link.JOURNAL", "no-such-journal")
    with pytest.raises(NotSo, match="no-such-journal cannot be seen"):
        async with OpsClient(settings=settings, timeout_s=5.0, verify="journal"):
            pass


async def _run(client: OpsClient, approval: Any) -> None:
    async with client.running(approval):
        await asyncio.sleep(60)
