"""Forged assignments beside a real supervisor that signs: told by the journal, or by the signature."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.structs import ConsumerRecord

from agents_adapter import Assignment, OpsClient, serves
from ops_stream.contract.answers import place_of
from ops_stream.contract.codec import decode, encode_json
from ops_stream.contract.digest import action_digest
from ops_stream.contract.headers import JournalPosition, read_position
from ops_stream.contract.models import TaskAssignment, TaskRequest
from ops_stream.contract.partitions import partition_for
from ops_stream.contract.settings import Settings, Verify
from ops_stream.contract.signing import SigningKey, load_key, new_key, public_text, sign
from tests.adapters.flows import Application
from tests.adapters.real import PARTITIONS, real_worker
from tests.survival.process import WorkerProcess

pytestmark = pytest.mark.bus

Headers = list[tuple[str, bytes]]
STEP = {
    "step_id": "build",
    "task_type": "build",
    "task_description": "Build it.",
    "depends_on": [],
    "estimated_cost_usd": 0.1,
    "estimated_time_s": 600,
}


@pytest.fixture(scope="module")
def worker(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[WorkerProcess, Settings]]:
    """Give a running worker that signs what it hands out."""
    directory = tmp_path_factory.mktemp("worker")
    path = directory / "signing.pem"
    path.write_bytes(new_key().pem())
    with real_worker(kafka, directory, signing_key_file=path) as made:
        yield made


@pytest.fixture
def key(worker: tuple[WorkerProcess, Settings]) -> SigningKey:
    """Give the supervisor's signing key, of which agents know the public half."""
    path = worker[1].signing_key_file
    assert path is not None
    return load_key(path.read_bytes())


@pytest.fixture
def settings(worker: tuple[WorkerProcess, Settings]) -> Settings:
    """Give the settings of one test's tenant at that worker."""
    return worker[1].model_copy(update={"tenant": f"team-{secrets.token_hex(4)}"})


@pytest.fixture
async def application(settings: Settings) -> AsyncIterator[Application]:
    """Give somebody who hands workflows in."""
    async with Application(settings) as made:
        yield made


class Forger:
    """Somebody who may write to `ops.assignments`, and reads along there."""

    def __init__(self, settings: Settings) -> None:
        """Forge for the tenant of these settings."""
        self.settings = settings
        self.tp = TopicPartition(settings.topic("assignments"), partition_for(settings.tenant, PARTITIONS))

    async def __aenter__(self) -> Forger:
        """Begin to read at the end."""
        self._producer = AIOKafkaProducer(**self.settings.aiokafka())
        self._consumer = AIOKafkaConsumer(
            **self.settings.aiokafka(), group_id=None, enable_auto_commit=False, retry_backoff_ms=10
        )
        await self._producer.start()
        await self._consumer.start()
        end = (await self._consumer.end_offsets([self.tp]))[self.tp]
        self._consumer.assign([self.tp])
        self._consumer.seek(self.tp, end)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Go away."""
        await self._consumer.stop()
        await self._producer.stop()

    async def genuine(self) -> ConsumerRecord:
        """Wait for the next assignment."""
        async with asyncio.timeout(20):
            return await self._consumer.getone(self.tp)

    async def write(self, value: bytes, headers: Headers) -> None:
        """Write a record to the topic."""
        tenant = self.settings.tenant.encode()
        await self._producer.send_and_wait(self.tp.topic, value, tenant, self.tp.partition, headers=headers)


@pytest.fixture
async def forger(settings: Settings) -> AsyncIterator[Forger]:
    """Give somebody who forges."""
    async with Forger(settings) as made:
        yield made


def forged(record: ConsumerRecord, name: str = "forged") -> bytes:
    """Make a step of one's own of a genuine assignment, consistent in itself."""
    genuine = decode("assignments", record.value, record.headers).event
    assert isinstance(genuine, TaskAssignment)
    body = genuine.wire()
    body["request"] |= {"request_id": f"wr-{name}", "task_description": "Drop the tables."}
    digest = action_digest(TaskRequest.from_wire(body["request"]))
    body["approval"] |= {"request_id": f"wr-{name}", "action_digest": digest}
    return encode_json(body)


def replaced(record: ConsumerRecord, name: str, value: bytes | None) -> Headers:
    """Give the headers of a record with another value for one; None leaves it out."""
    kept = [each for each in record.headers if each[0] != name]
    return kept if value is None else [*kept, (name, value)]


def at_its_place(record: ConsumerRecord, value: bytes) -> Headers:
    """At the position, with the signature, of the genuine one."""
    return list(record.headers)


def at_the_approvals_place(record: ConsumerRecord, value: bytes) -> Headers:
    """At the output before it, which is the approval of the genuine step."""
    position = read_position(record.headers)
    assert position is not None
    place = JournalPosition(position.partition, position.offset, position.index - 1)
    return replaced(record, "ops-journal", str(place).encode())


def beyond_the_journals_end(record: ConsumerRecord, value: bytes) -> Headers:
    """Where the journal has not come to."""
    position = read_position(record.headers)
    assert position is not None
    place = JournalPosition(position.partition, position.offset + 1000, 0)
    return replaced(record, "ops-journal", str(place).encode())


def unsigned(record: ConsumerRecord, value: bytes) -> Headers:
    """Without a signature."""
    return replaced(record, "ops-signature", None)


def signed_by_another(record: ConsumerRecord, value: bytes) -> Headers:
    """Signed well, by a key that nobody trusts."""
    return replaced(record, "ops-signature", signature(new_key(), record, value))


def signature(key: SigningKey, record: ConsumerRecord, value: bytes, type_: str = "TaskAssignment") -> bytes:
    """Sign a body for the place of a record."""
    position = read_position(record.headers)
    assert position is not None
    place = place_of(position, dict(record.headers)["ce_time"].decode())
    return sign(key, type_, record.topic, record.key.decode(), value, position=place).header()


Forge = Callable[[ConsumerRecord, bytes], Headers]
FORGERIES: list[Forge] = [
    at_its_place,
    at_the_approvals_place,
    beyond_the_journals_end,
    unsigned,
    signed_by_another,
]


class Engineer:
    """An agent that notes what it ran."""

    def __init__(self, settings: Settings, verify: Verify, key: SigningKey) -> None:
        """Serve with a client that verifies in some way."""
        self.ran: asyncio.Queue[str] = asyncio.Queue()
        self.client = OpsClient(
            settings=settings, timeout_s=20.0, verify=verify, supervisor_keys=[public_text(key.public)]
        )
        serves(self.client, agent="engineer-1", role="engineer", capabilities=["build"], max_concurrency=5)(
            self.work
        )

    async def work(self, assignment: Assignment) -> None:
        """Do it."""
        self.ran.put_nowait(assignment.request.task_description)

    async def next(self) -> str:
        """Wait for the next step that runs."""
        async with asyncio.timeout(20):
            return await self.ran.get()

    async def doubts(self, count: int) -> None:
        """Wait until so many records did not count."""
        async with asyncio.timeout(10):
            while self.client.uncounted_answers < count:
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("verify", ["journal", "signature"])
@pytest.mark.parametrize("forge", FORGERIES, ids=lambda forge: forge.__name__)
async def test_a_forged_assignment_does_not_run(
    settings: Settings,
    key: SigningKey,
    forger: Forger,
    application: Application,
    forge: Forge,
    verify: Verify,
) -> None:
    """Whoever writes one, wherever they say that it stands: it is counted as doubtful, and genuine ones go on."""
    engineer = Engineer(settings, verify, key)
    async with engineer.client, engineer.client.serving():
        await application.hand_in(STEP)
        assert await engineer.next() == "Build it."
        genuine = await forger.genuine()
        value = forged(genuine)
        await forger.write(value, forge(genuine, value))
        await engineer.doubts(1)
        flow = await application.hand_in(STEP)
        assert await engineer.next() == "Build it."
        assert (await application.ended(flow)).state == "completed"
        assert engineer.ran.empty()
        assert engineer.client.uncounted_answers == 1


async def test_without_verification_the_access_list_is_all_there_is(
    settings: Settings, key: SigningKey, forger: Forger, application: Application
) -> None:
    """The same forgeries run where nothing is asked to be proved: the tests here do forge."""
    engineer = Engineer(settings, "off", key)
    async with engineer.client, engineer.client.serving():
        await application.hand_in(STEP)
        await engineer.next()
        genuine = await forger.genuine()
        for number, forge in enumerate(FORGERIES):
            value = forged(genuine, str(number))
            # What stands before the genuine one is late, and dropped for that.
            if forge is not at_the_approvals_place and forge is not beyond_the_journals_end:
                await forger.write(value, forge(genuine, value))
                assert await engineer.next() == "Drop the tables."


async def test_the_supervisors_key_signs_for_one_event(
    settings: Settings, key: SigningKey, forger: Forger, application: Application
) -> None:
    """A signature over an approval proves no assignment; with the key itself there is no telling."""
    engineer = Engineer(settings, "signature", key)
    async with engineer.client, engineer.client.serving():
        await application.hand_in(STEP)
        await engineer.next()
        genuine = await forger.genuine()
        value = forged(genuine)
        as_approval = signature(key, genuine, value, "TaskApproval")
        await forger.write(value, replaced(genuine, "ops-signature", as_approval))
        await engineer.doubts(1)
        assert engineer.ran.empty()
        await forger.write(value, replaced(genuine, "ops-signature", signature(key, genuine, value)))
        assert await engineer.next() == "Drop the tables."


@pytest.mark.parametrize("verify", ["off", "journal", "signature"])
async def test_a_genuine_assignment_written_again_does_not_run_again(
    settings: Settings, key: SigningKey, forger: Forger, application: Application, verify: Verify
) -> None:
    """Neither in the process that ran it, nor in the next one, although its lease is not over."""
    engineer = Engineer(settings, verify, key)
    async with engineer.client, engineer.client.serving():
        await application.hand_in(STEP)
        await engineer.next()
        genuine = await forger.genuine()
        await forger.write(genuine.value, list(genuine.headers))
        await application.hand_in(STEP)
        await engineer.next()
        assert engineer.ran.empty()
    again = Engineer(settings, verify, key)
    async with again.client, again.client.serving():
        await forger.write(genuine.value, list(genuine.headers))
        await application.hand_in(STEP | {"task_description": "The next one."})
        assert await again.next() == "The next one."
        assert again.ran.empty()


async def test_a_kill_stops_a_step_whose_answers_are_proved(
    settings: Settings, key: SigningKey, application: Application
) -> None:
    """A revocation of a step is proved like any other answer."""
    for verify in ("journal", "signature"):
        client = OpsClient(
            settings=settings, timeout_s=20.0, verify=verify, supervisor_keys=[public_text(key.public)]
        )
        began, stopped = asyncio.Event(), asyncio.Event()

        async def work(assignment: Assignment, began: Any = began, stopped: Any = stopped) -> None:
            began.set()
            try:
                await asyncio.sleep(60)
            finally:
                stopped.set()

        serves(client, agent=f"by-{verify}", role="engineer", capabilities=[verify])(work)
        async with client, client.serving():
            flow = await application.hand_in(STEP | {"task_type": verify})
            async with asyncio.timeout(20):
                await began.wait()
                await application.cancel(flow)
                await stopped.wait()
            assert (await application.ended(flow)).state == "cancelled"
            assert client.uncounted_answers == 0
