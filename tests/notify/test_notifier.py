"""The notifier on a real broker, telling real web servers: nothing is lost, nobody waits for another."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from ops_stream.audit.reading import bounds, read_ranges, reader
from ops_stream.contract.errors import NotSo
from ops_stream.contract.settings import Settings
from ops_stream.notify.config import Target
from ops_stream.notify.dead import notice_of, target_of
from ops_stream.notify.follower import group_of
from ops_stream.notify.service import Notifier, Options
from ops_stream.notify.told import Notice
from tests.brokers import create_topics
from tests.cli.running import ops
from tests.notify.receiver import Receiver, alert, escalation, receiving, written

pytestmark = pytest.mark.bus
PARTITIONS = 2


class Bus:
    """Writes what the supervisor would write, and reads dead letters."""

    def __init__(self, settings: Settings, producer: AIOKafkaProducer) -> None:
        self.settings = settings
        self._producer = producer
        self._journal = [0] * PARTITIONS

    async def put(self, *bodies: dict[str, Any], partition: int = 0, journal: int | None = None) -> None:
        """Write outputs, each of the partition's next journal record unless said otherwise."""
        for body in bodies:
            at = self._journal[partition] if journal is None else journal
            self._journal[partition] = max(self._journal[partition], at + 1)
            value, headers = written(body, partition, at)
            topic = "alerts" if body["event"] == "Alert" else "escalations"
            await self.raw(topic, value, headers, partition)

    async def raw(self, topic: str, value: bytes | None, headers: Any, partition: int = 0) -> None:
        """Write a record as it is."""
        await self._producer.send_and_wait(
            self.settings.topic(topic), value, key=b"default", partition=partition, headers=headers
        )

    async def dead_letters(self) -> list[dict[str, Any]]:
        """Read all dead letters."""
        found = []
        async with reader(self.settings) as consumer:
            topic = self.settings.topic("dead-letters")
            ranges = await bounds(consumer, [TopicPartition(topic, number) for number in range(PARTITIONS)])
            async for _, records in read_ranges(consumer, ranges):
                found += [json.loads(record.value) for record in records]
        return found

    async def committed(self, target: str) -> int:
        """Sum up how far a target's group has committed, over topics and partitions."""
        client = AIOKafkaAdminClient(**self.settings.aiokafka())
        await client.start()
        try:
            offsets = await client.list_consumer_group_offsets(group_of(self.settings, target))
        finally:
            await client.close()
        return sum(max(0, one.offset) for one in offsets.values())


@pytest.fixture
async def bus(kafka: str, prefix: str, tmp_path: Path) -> AsyncIterator[Bus]:
    """Give a bus with the topics, under a prefix of its own."""
    settings = Settings(
        bootstrap_servers=kafka, topic_prefix=prefix, data_dir=tmp_path / "data", partitions=PARTITIONS
    )
    await create_topics(settings)
    producer = AIOKafkaProducer(**settings.aiokafka())
    await producer.start()
    try:
        yield Bus(settings, producer)
    finally:
        await producer.stop()


def _target(receiver: Receiver, name: str = "desk", **changes: Any) -> Target:
    return Target(
        **{"name": name, "url": receiver.url(f"/{name}"), "allow_private": True, "timeout_s": 5, **changes}
    )


@asynccontextmanager
async def _notifying(bus: Bus, *targets: Target, **options: Any) -> AsyncIterator[Notifier]:
    """Run a notifier, ready to tell, and stop it in good order."""
    notifier = Notifier(Options(bus.settings, targets, **{"first_pause_s": 0.01, **options}))
    running = asyncio.create_task(notifier.run())
    try:
        await _until(
            lambda: len(notifier.followers) == len(targets) and all(one.ready for one in notifier.followers)
        )
        yield notifier
    finally:
        notifier.stop.set()
        async with asyncio.timeout(30):
            await running


async def _until(is_so: Callable[[], bool], within_s: float = 30.0) -> None:
    async with asyncio.timeout(within_s):
        while not is_so():
            await asyncio.sleep(0.02)


async def test_what_people_must_know_is_told_in_order_and_nothing_else(bus: Bus, receiver: Receiver) -> None:
    """Openings, levels, verdicts and alerts of both partitions arrive; votes, late outputs and forgeries do not."""
    async with _notifying(bus, _target(receiver)):
        await bus.put(escalation(1), escalation(1, count=2), escalation(1, level=2))
        await bus.put(escalation(1, status="denied", stage="done", level=2))
        await receiver.until(lambda: len(receiver.got) == 3)
        await bus.put(alert(1), partition=1)
        await bus.put(alert(9), partition=1, journal=0)
        value, headers = written(alert(8), 1, 99)
        await bus.raw("alerts", value, [pair for pair in headers if pair[0] != "ops-journal"], 1)
        await bus.raw("alerts", b"not json", headers, 1)
        await bus.put(alert(1, status="resolved"), partition=1)
        await receiver.until(lambda: len(receiver.got) == 5)
    assert receiver.types() == [
        "escalation.opened", "escalation.raised", "escalation.decided", "alert.firing", "alert.resolved",
    ]  # fmt: skip
    assert [got.json["data"]["alert_id"] for got in receiver.got[3:]] == ["al_1", "al_1"]
    first = receiver.got[0].json
    assert first["position"] == {"topic": "escalations", "partition": 0, "offset": 0, "journal": "0:0:0"}
    assert first["data"]["summary"] == "clerk wants to refund order 1234."


async def test_a_new_target_hears_of_what_comes_and_a_known_one_of_what_it_missed(
    bus: Bus, receiver: Receiver
) -> None:
    """History is not told to whoever is new. What comes while no notifier runs is told when one runs again, once."""
    await bus.put(escalation(1), alert(1))
    async with _notifying(bus, _target(receiver)):
        await bus.put(escalation(2))
        await receiver.until(lambda: len(receiver.got) == 1)
    assert receiver.got[0].json["data"]["escalation_id"] == "esc_2"
    await bus.put(escalation(3), escalation(2, count=2), escalation(2, status="expired", stage="done"))
    async with _notifying(bus, _target(receiver)):
        await receiver.until(lambda: len(receiver.got) == 3)
        await bus.put(alert(5))
        await receiver.until(lambda: len(receiver.got) == 4)
    # It has read back what was told before: the repetition of esc_2 is known to be none.
    told = [(got.json["type"], got.json["data"].get("escalation_id")) for got in receiver.got[1:3]]
    assert told == [("escalation.opened", "esc_3"), ("escalation.expired", "esc_2")]
    assert len({got.headers["webhook-id"] for got in receiver.got}) == 4


async def test_before_anything_was_told_a_restart_loses_nothing(bus: Bus, receiver: Receiver) -> None:
    """A new target's place is written down when it begins: what comes after a first, idle run is told by the second."""
    async with _notifying(bus, _target(receiver)):
        pass
    await bus.put(alert(1))
    async with _notifying(bus, _target(receiver)):
        await receiver.until(lambda: len(receiver.got) == 1)


async def test_a_slow_target_keeps_nobody_waiting(bus: Bus) -> None:
    """While one target hangs in its first message, another has been told all; then the slow one gets the rest too."""
    release = asyncio.Event()

    async def hang(_: web.Request) -> web.StreamResponse:
        await release.wait()
        return web.Response()

    async with receiving() as slow, receiving() as quick:
        slow.answers = [hang]
        async with _notifying(bus, _target(slow, "slow", timeout_s=60), _target(quick, "quick")):
            await bus.put(*(alert(number) for number in range(20)))
            await quick.until(lambda: len(quick.got) == 20)
            assert len(slow.got) == 1
            release.set()
            await slow.until(lambda: len(slow.got) == 20)
    order = [f"al_{number}" for number in range(20)]
    assert [got.json["data"]["alert_id"] for got in slow.got] == order
    assert [got.json["data"]["alert_id"] for got in quick.got] == order


async def test_what_does_not_arrive_becomes_a_dead_letter_and_what_is_behind_it_arrives(
    bus: Bus, receiver: Receiver
) -> None:
    """After the last attempt the record lies on dead-letters, whole, with target and reason; the next is told."""
    receiver.answers = [503, 503, 503]
    async with _notifying(bus, _target(receiver, attempts=3)):
        await bus.put(escalation(1), escalation(2))
        await receiver.until(lambda: len(receiver.got) == 4)
    (dead,) = await bus.dead_letters()
    assert (dead["reason"], dead["topic"], dead["offset"]) == ("webhook_failed", "escalations", 0)
    assert dead["explanation"] == "The webhook 'desk' was not told (escalation.opened). It answered 503."
    assert target_of(dead) == "desk"
    notice = notice_of(dead)
    assert notice is not None
    assert notice.body["escalation_id"] == "esc_1"
    assert notice.message_id("desk") == receiver.got[0].headers["webhook-id"]
    assert receiver.got[3].json["data"]["escalation_id"] == "esc_2"


async def test_a_fault_of_ours_at_one_record_does_not_keep_the_next_from_being_told(
    bus: Bus, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot even be put into words becomes a dead letter, and the notifier goes on."""

    def broken(notice: Notice) -> dict[str, Any]:
        if notice.body["alert_id"] == "al_1":
            raise RecursionError("deep")
        return {"type": notice.type}

    monkeypatch.setattr("ops_stream.notify.payloads.generic", broken)
    async with _notifying(bus, _target(receiver)):
        await bus.put(alert(1), alert(2))
        await receiver.until(lambda: len(receiver.got) == 1)
    (dead,) = await bus.dead_letters()
    assert dead["offset"] == 0 and "RecursionError" in dead["explanation"]


async def test_a_dead_letter_is_delivered_again_and_not_published_again(
    bus: Bus, receiver: Receiver, tmp_path: Path
) -> None:
    """`dead-letters retry` tells the webhook the same message under the same id; the topics get nothing. While the
    webhook does not take it, exit code 1 says so."""
    receiver.otherwise = 410
    async with receiving() as other:
        other.otherwise = 404
        async with _notifying(bus, _target(receiver), _target(other, "other")):
            await bus.put(escalation(1))
            await receiver.until(lambda: len(receiver.got) == 1)
            await other.until(lambda: len(other.got) == 1)
    conf = tmp_path / "conf"
    conf.mkdir()
    (conf / "webhooks.yaml").write_text(
        f"version: 1\ntargets:\n  - {{name: desk, url: '{receiver.url('/desk')}', allow_private: true}}\n"
    )
    env = {
        "OPS_STREAM_BOOTSTRAP_SERVERS": bus.settings.bootstrap_servers,
        "OPS_STREAM_TOPIC_PREFIX": bus.settings.topic_prefix,
        "OPS_STREAM_PARTITIONS": str(PARTITIONS),
        "OPS_STREAM_CONF_DIR": str(conf),
        "SLACK_WEBHOOK_URL": "",
    }
    listed = await asyncio.to_thread(ops, "dead-letters", "list", "--json", env=env)
    assert sorted(row["id"] for row in listed.rows) == ["escalations:0:0@desk", "escalations:0:0@other"]
    failed = await asyncio.to_thread(ops, "dead-letters", "retry", "escalations:0:0@desk", "--json", env=env)
    assert failed.code == 1
    assert failed.rows == [{"id": "escalations:0:0@desk", "told": False, "why": "It answered 410."}]
    receiver.otherwise = 200
    told = await asyncio.to_thread(ops, "dead-letters", "retry", "escalations:0:0@desk", "--json", env=env)
    assert (told.code, told.rows) == (0, [{"id": "escalations:0:0@desk", "told": True}])
    assert len({got.headers["webhook-id"] for got in receiver.got}) == 1
    assert len({got.body for got in receiver.got}) == 1 and len(receiver.got) == 3
    gone = await asyncio.to_thread(ops, "dead-letters", "retry", "escalations:0:0@other", "--json", env=env)
    assert gone.code == 1 and gone.rows[0]["why"] == "There is no such target any more."
    async with reader(bus.settings) as consumer:
        ranges = await bounds(consumer, [TopicPartition(bus.settings.topic("escalations"), 0)])
        assert [end for _, end in ranges.values()] == [1]


async def test_stopping_in_the_middle_tells_it_again_under_the_same_id(bus: Bus, receiver: Receiver) -> None:
    """A message that was between two attempts when the notifier stopped is sent by the next one, the very same. The one
    before it, fetched with it and taken, is not told again."""
    async with _notifying(bus, _target(receiver)):
        pass
    await bus.put(alert(1), alert(2))
    receiver.answers = [204, 503]
    async with _notifying(bus, _target(receiver), first_pause_s=60.0):
        await receiver.until(lambda: len(receiver.got) == 2)
    assert await bus.dead_letters() == []
    async with _notifying(bus, _target(receiver)):
        await bus.put(alert(3))
        await receiver.until(lambda: len(receiver.got) == 4)
    told = [got.json["data"]["alert_id"] for got in receiver.got]
    assert told == ["al_1", "al_2", "al_2", "al_3"]
    assert receiver.got[1].headers["webhook-id"] == receiver.got[2].headers["webhook-id"]
    assert receiver.got[1].body == receiver.got[2].body


async def test_two_notifiers_share_the_work_and_one_takes_over(bus: Bus, receiver: Receiver) -> None:
    """With two running each message is told; when one has gone, the other tells what is of all partitions."""
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(_notifying(bus, _target(receiver)))
        async with _notifying(bus, _target(receiver)):
            for number in range(10):
                await bus.put(alert(number), partition=number % 2)
            await receiver.until(lambda: len({got.json["data"]["alert_id"] for got in receiver.got}) == 10)
        for number in range(10, 20):
            await bus.put(alert(number), partition=number % 2)
        await receiver.until(lambda: len({got.json["data"]["alert_id"] for got in receiver.got}) == 20)
    # At least once: a message may be told again when partitions change hands, and then under its own id.
    ids = {(got.json["data"]["alert_id"], got.headers["webhook-id"]) for got in receiver.got}
    assert len(ids) == 20


async def test_filters_hold_and_what_they_leave_out_is_counted(bus: Bus, receiver: Receiver) -> None:
    """A target hears of its tenants, severities and events only; the metrics say what was told and what was not."""
    target = _target(receiver, tenants=("acme",), severities=("critical",), events=("alert.*",))
    async with _notifying(bus, target, port=0) as notifier:
        await bus.put(
            alert(1),
            alert(2, tenant="acme", severity="info"),
            escalation(3, tenant="acme", severity="critical"),
        )
        await bus.put(alert(4, tenant="acme"))
        await receiver.until(lambda: len(receiver.got) == 1)
        await _until(lambda: notifier.port is not None)
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{notifier.port}/readyz") as answer:
                assert (answer.status, await answer.json()) == (
                    200,
                    {"ready": True, "targets": {"desk": True}},
                )
            async with session.get(f"http://127.0.0.1:{notifier.port}/metrics") as answer:
                text = await answer.text()
    assert receiver.got[0].json["data"]["alert_id"] == "al_4"
    notices = "ops_stream_webhook_notices_total"
    assert f'{notices}{{event="alert.firing",outcome="filtered",target="desk"}} 2.0' in text
    assert f'{notices}{{event="escalation.opened",outcome="filtered",target="desk"}} 1.0' in text
    assert 'ops_stream_webhook_attempts_total{result="2xx",target="desk"} 1.0' in text


async def test_what_is_passed_over_is_committed_too(bus: Bus, receiver: Receiver) -> None:
    """A target that hears of little does not read the same records again with every start."""
    async with _notifying(bus, _target(receiver, kinds=("nothing",))):
        await bus.put(escalation(1), *(escalation(1, count=number) for number in range(2, 6)))
        async with asyncio.timeout(30):
            while await bus.committed("desk") < 5:
                await asyncio.sleep(0.1)
    assert receiver.got == []


async def test_without_topics_it_says_what_to_do(kafka: str, prefix: str, tmp_path: Path) -> None:
    """A cluster without the topics is refused with the command that makes them."""
    settings = Settings(bootstrap_servers=kafka, topic_prefix=prefix, data_dir=tmp_path)
    target = Target("desk", url="https://desk.example/")
    with pytest.raises(NotSo, match="topics create"):
        await Notifier(Options(settings, (target,))).run()
