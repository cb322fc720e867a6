"""Forged answers on a real broker, beside a real supervisor that signs: told by the journal, or by the signature."""

from __future__ import annotations

import asyncio
import secrets
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition

from agents_adapter import Denied, OpsClient, Refused, Revoked
from ops_stream.contract.headers import JournalPosition, read_position
from ops_stream.contract.partitions import partition_for
from ops_stream.contract.settings import Settings, Verify
from ops_stream.contract.signing import SigningKey, load_key, new_key, public_text
from tests.adapters.forger import Answer, Forger, Headers
from tests.adapters.real import PARTITIONS, Operator, real_worker, registered
from tests.survival.process import WorkerProcess

pytestmark = pytest.mark.bus

Forge = Callable[["Forger", "Answer", "Answer"], tuple[bytes, Headers]]


@pytest.fixture(scope="module")
def worker(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[WorkerProcess, Settings]]:
    """Give a running worker that signs its answers."""
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
async def forger(settings: Settings) -> AsyncIterator[Forger]:
    """Give somebody who forges."""
    async with Forger(settings) as made:
        yield made


@pytest.fixture
async def operator(settings: Settings) -> AsyncIterator[Operator]:
    """Give somebody who answers."""
    async with Operator(settings) as made:
        yield made


def agents(settings: Settings, verify: Verify, key: SigningKey, timeout_s: float = 20.0) -> OpsClient:
    """Make a client that verifies in some way."""
    return OpsClient(
        settings=settings, timeout_s=timeout_s, verify=verify, supervisor_keys=[public_text(key.public)]
    )


async def doubted(client: OpsClient, count: int = 1) -> None:
    """Wait until so many answers did not count."""
    async with asyncio.timeout(10):
        while client.uncounted_answers < count:
            await asyncio.sleep(0.01)


def yes(waiting: Answer) -> dict[str, Any]:
    """Give what makes an approval of an answer that says to wait."""
    return {"decision": "approved", "reason": "approved", "sequence": waiting.event.sequence + 1}


def at_its_own_position(forger: Forger, waiting: Answer, other: Answer) -> tuple[bytes, Headers]:
    """At the position, with the signature, of the answer that tells the ask to wait."""
    return waiting.edited(**yes(waiting)), list(waiting.record.headers)


def at_a_stolen_position(forger: Forger, waiting: Answer, other: Answer) -> tuple[bytes, Headers]:
    """At the position, with the signature, of another ask's approval."""
    return waiting.edited(**yes(waiting)), other.headers({"ce_subject": waiting.event.request_id})


def at_another_output(forger: Forger, waiting: Answer, other: Answer) -> tuple[bytes, Headers]:
    """In the right record, at an output that is no answer."""
    position = waiting.position
    elsewhere = JournalPosition(position.partition, position.offset, position.index + 1)
    return waiting.edited(**yes(waiting)), waiting.headers({"ops-journal": str(elsewhere)})


def beyond_the_journals_end(forger: Forger, waiting: Answer, other: Answer) -> tuple[bytes, Headers]:
    """At a position that the journal has not reached."""
    place = JournalPosition(waiting.position.partition, forger.journal_end + 1000, 0)
    return waiting.edited(**yes(waiting)), waiting.headers({"ops-journal": str(place)})


def at_the_journals_very_end(forger: Forger, waiting: Answer, other: Answer) -> tuple[bytes, Headers]:
    """At the position that the journal reaches next."""
    place = JournalPosition(waiting.position.partition, forger.journal_end, 0)
    return waiting.edited(**yes(waiting)), waiting.headers({"ops-journal": str(place)})


def at_an_impossible_position(forger: Forger, waiting: Answer, other: Answer) -> tuple[bytes, Headers]:
    """At the largest position that the header can name."""
    place = JournalPosition(waiting.position.partition, 10**18 - 1, 0)
    return waiting.edited(**yes(waiting)), waiting.headers({"ops-journal": str(place)})


def unsigned(forger: Forger, waiting: Answer, other: Answer) -> tuple[bytes, Headers]:
    """Without a signature."""
    return waiting.edited(**yes(waiting)), waiting.headers({"ops-signature": None})


def signed_by_another(forger: Forger, waiting: Answer, other: Answer) -> tuple[bytes, Headers]:
    """Signed well, by a key that nobody trusts."""
    value = waiting.edited(**yes(waiting))
    return value, waiting.headers({"ops-signature": forger.signed(new_key(), "approvals", waiting, value)})


def with_a_broken_signature(forger: Forger, waiting: Answer, other: Answer) -> tuple[bytes, Headers]:
    """With something in the signature's place that is none."""
    return waiting.edited(**yes(waiting)), waiting.headers({"ops-signature": b"v1;key=\xff\x00" * 200})


FORGERIES: list[Forge] = [
    at_its_own_position,
    at_a_stolen_position,
    at_another_output,
    beyond_the_journals_end,
    at_the_journals_very_end,
    at_an_impossible_position,
    unsigned,
    signed_by_another,
    with_a_broken_signature,
]


@pytest.mark.parametrize("verify", ["journal", "signature"])
@pytest.mark.parametrize("forge", FORGERIES, ids=lambda forge: forge.__name__)
async def test_a_forged_approval_does_not_count(
    settings: Settings,
    key: SigningKey,
    forger: Forger,
    operator: Operator,
    forge: Forge,
    verify: Verify,
) -> None:
    """An ask waits for a person, and somebody else writes the approval: it goes on waiting, for the genuine one."""
    async with agents(settings, verify, key) as client:
        await registered(client)
        other = await client.ask("writer", "Draft it")
        task = asyncio.create_task(client.ask("writer", "Pay it", tool="pay", request_id="r-pay"))
        waiting = await forger.answer("r-pay", "escalated")
        await forger.look_at_journal()
        value, headers = forge(forger, waiting, await forger.answer(other.request_id, "approved"))
        await forger.write(value, headers)
        await doubted(client)
        assert not task.done()
        await operator.resolve("approve")
        approval = await task
        assert (approval.reason, approval.sequence) == ("approved_after_review", 1)
        assert client.uncounted_answers == 1


@pytest.mark.parametrize("forge", FORGERIES, ids=lambda forge: forge.__name__)
async def test_without_verification_the_topics_access_list_is_all_there_is(
    settings: Settings, key: SigningKey, forger: Forger, forge: Forge
) -> None:
    """The same forgeries let a client with `verify="off"` run: the tests here do forge."""
    async with agents(settings, "off", key) as client:
        await registered(client)
        other = await client.ask("writer", "Draft it")
        task = asyncio.create_task(client.ask("writer", "Pay it", tool="pay", request_id="r-pay"))
        waiting = await forger.answer("r-pay", "escalated")
        await forger.look_at_journal()
        value, headers = forge(forger, waiting, await forger.answer(other.request_id, "approved"))
        await forger.write(value, headers)
        # One that stands earlier than what was read since is late, and dropped for that.
        later = read_position(headers)
        assert later is not None
        if later >= waiting.position:
            assert (await task).decision == "approved"
        else:
            await client.ask("writer", "Draft it")
            assert not task.done()
            task.cancel()


async def test_the_supervisors_key_signs_for_one_topic(
    settings: Settings, key: SigningKey, forger: Forger, operator: Operator
) -> None:
    """Signed by the right key for another cluster's topic: it does not count on this one."""
    async with agents(settings, "signature", key) as client:
        await registered(client)
        task = asyncio.create_task(client.ask("writer", "Pay it", tool="pay", request_id="r-pay"))
        waiting = await forger.answer("r-pay", "escalated")
        value = waiting.edited(**yes(waiting))
        elsewhere = forger.signed(key, "assignments", waiting, value)
        await forger.write(value, waiting.headers({"ops-signature": elsewhere}))
        await doubted(client)
        assert not task.done()
        # With the key itself there is no telling: it is the supervisor.
        here = forger.signed(key, "approvals", waiting, value)
        await forger.write(value, waiting.headers({"ops-signature": here}))
        assert (await task).decision == "approved"


@pytest.mark.parametrize("verify", ["off", "journal", "signature"])
async def test_an_old_approval_written_again_after_a_revocation_does_not_count(
    worker: tuple[WorkerProcess, Settings],
    settings: Settings,
    key: SigningKey,
    forger: Forger,
    operator: Operator,
    verify: Verify,
) -> None:
    """The record is genuine to the last byte, and its ask has been revoked since: to whoever asks again it is old."""
    request_id = f"old-{settings.tenant}"
    ask = {"request_id": request_id, "task_id": "t", "estimated_time_s": 600}
    async with agents(settings, "off", key) as client:
        await registered(client)
        await client.ask("writer", "Draft it", **ask)
        old = await forger.answer(request_id, "approved")
        await operator.command("kill")
        await forger.answer(request_id, "revoked")
        await operator.command("resume")
    process, _ = worker
    async with agents(settings, verify, key) as client:
        process.send(signal.SIGSTOP)
        try:
            task = asyncio.create_task(client.ask("writer", "Draft it", **ask))
            await _asked(settings, request_id, 2)
            await forger.write(old.record.value, list(old.record.headers))
            if verify == "off":
                assert (await task).decision == "approved"
                return
            await doubted(client)
            assert not task.done()
        finally:
            process.send(signal.SIGCONT)
        with pytest.raises(Revoked, match="kill_revoked"):
            await task


async def _asked(settings: Settings, request_id: str, count: int) -> None:
    """Wait until an ask stands on its topic so many times."""
    tp = TopicPartition(settings.topic("task-requests"), partition_for(settings.tenant, PARTITIONS))
    consumer = AIOKafkaConsumer(**settings.aiokafka(), group_id=None, enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign([tp])
        consumer.seek(tp, 0)
        async with asyncio.timeout(10):
            while count:
                record = await consumer.getone(tp)
                count -= request_id.encode() in record.value
    finally:
        await consumer.stop()


@pytest.mark.parametrize("verify", ["journal", "signature"])
async def test_a_forged_revocation_does_not_stop_a_call_and_a_genuine_one_does(
    settings: Settings, key: SigningKey, forger: Forger, operator: Operator, verify: Verify
) -> None:
    """Nor does a forged denial; and far positions forged before do not make the genuine answer late."""
    async with agents(settings, verify, key) as client:
        await registered(client)
        approval = await client.ask("writer", "Draft it", estimated_time_s=600)
        given = await forger.answer(approval.request_id, "approved")
        running = asyncio.create_task(_run(client, approval))
        for number, decision in enumerate(("revoked", "denied"), 1):
            told = given.edited(decision=decision, reason="kill_revoked", sequence=number)
            place = JournalPosition(given.position.partition, 10**12, 0)
            await forger.write(told, given.headers({"ops-journal": str(place)}))
            await doubted(client, number)
        assert not approval.revoked
        again = await client.ask("writer", "Draft more", estimated_time_s=600)
        await client.report(again, cost_usd=0)
        assert not running.done()
        await operator.command("kill")
        with pytest.raises(Revoked, match="kill_revoked"):
            await asyncio.wait_for(running, 10)
        await operator.command("resume")


async def _run(client: OpsClient, approval: Any) -> None:
    async with client.running(approval):
        await asyncio.sleep(60)


@pytest.mark.parametrize("verify", ["journal", "signature"])
async def test_a_flood_of_forged_answers_hides_no_genuine_one(
    settings: Settings,
    key: SigningKey,
    forger: Forger,
    operator: Operator,
    verify: Verify,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A flood of forged answers to one ask: a warning a kind, all counted, and the genuine one amid it is found.

    If it was among those that were too many, it is asked for again.
    """
    async with agents(settings, verify, key) as client:
        await registered(client)
        task = asyncio.create_task(client.ask("writer", "Pay it", tool="pay", request_id="r-pay"))
        waiting = await forger.answer("r-pay", "escalated")
        value, headers = unsigned(forger, waiting, waiting)
        floods = [
            asyncio.gather(*(forger.write(value, headers) for _ in range(1000))),
            operator.resolve("approve"),
            asyncio.gather(*(forger.write(value, headers) for _ in range(1000))),
        ]
        await asyncio.gather(*floods)
        assert (await task).reason == "approved_after_review"
        await doubted(client, 1000)
        warnings = [each for each in caplog.records if "does not count" in each.message]
        assert 1 <= len([each for each in warnings if each.levelname == "WARNING"]) <= 2


@pytest.mark.parametrize("verify", ["journal", "signature"])
async def test_all_kinds_of_genuine_answers_count(
    settings: Settings, key: SigningKey, operator: Operator, verify: Verify
) -> None:
    """Approved, denied, escalated and denied by a person, queued and approved later, repeated: nothing is doubted."""
    async with agents(settings, verify, key) as client:
        await registered(client)
        approvals = await asyncio.gather(
            *(client.ask("writer", f"Draft {n}", estimated_cost_usd=0.01) for n in range(50))
        )
        assert {each.decision for each in approvals} == {"approved"}
        with pytest.raises(Denied, match="policy_blocked"):
            await client.ask("writer", "Clean up", tool="rm")
        with pytest.raises(Denied, match="agent_unregistered"):
            await client.ask("stranger", "Draft")
        assert (await client.ask("writer", "Tidy up", priority=1)).sequence == 1
        task = asyncio.create_task(client.ask("writer", "Pay it", tool="pay"))
        await operator.resolve("deny")
        with pytest.raises(Denied, match="escalation_denied"):
            await task
        first = await client.ask("writer", "Draft", request_id="r-same", task_id="t")
        again = await client.ask("writer", "Draft", request_id="r-same", task_id="t")
        assert first.approval_id == again.approval_id
        assert client.uncounted_answers == 0


async def test_the_settings_say_how_to_verify_and_whom_to_trust(
    settings: Settings, key: SigningKey, tmp_path: Path
) -> None:
    """OPS_STREAM_VERIFY and the file of trusted keys serve as the arguments do; a stranger's key proves nothing."""
    path = tmp_path / "supervisor.keys"
    path.write_text(f"# since November\n{public_text(key.public)}\n{public_text(new_key().public)} # next\n")
    told = settings.model_copy(update={"verify": "signature", "supervisor_keys_file": path})
    async with OpsClient(settings=told, timeout_s=20.0) as client:
        await registered(client)
        assert client.uncounted_answers == 0
    path.write_text(public_text(new_key().public))
    async with OpsClient(settings=told, timeout_s=1.0) as client:
        with suppress(Refused), pytest.raises(Refused, match=r"did not count.*not trusted"):
            await client.ask("writer", "Draft it")
        assert client.uncounted_answers == 1
