"""The adapter and the real supervisor, on the bus between them."""

from __future__ import annotations

import asyncio
import json
import secrets
from base64 import b64decode
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import ConsumerRecord

from agents_adapter import Approval, Denied, NoAnswer, OpsClient, Revoked, current_approval, supervise
from ops_stream.contract.partitions import partition_for
from ops_stream.contract.settings import Settings
from tests.adapters.emitted import Collected, ids
from tests.adapters.real import PARTITIONS, Operator, real_worker, registered
from tests.survival.process import WorkerProcess

pytestmark = pytest.mark.bus


@pytest.fixture(scope="module")
def worker(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[WorkerProcess, Settings]]:
    """Give a running worker with short leases and few rules."""
    with real_worker(kafka, tmp_path_factory.mktemp("worker")) as made:
        yield made


@pytest.fixture
def settings(worker: tuple[WorkerProcess, Settings]) -> Settings:
    """Give the settings of one test's tenant at that worker."""
    return worker[1].model_copy(update={"tenant": f"team-{secrets.token_hex(4)}"})


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[OpsClient]:
    """Give a client of that tenant, whose agent `writer` is registered."""
    async with OpsClient(settings=settings, timeout_s=20.0) as made:
        await registered(made)
        yield made


@pytest.fixture
async def operator(settings: Settings) -> AsyncIterator[Operator]:
    """Give somebody who answers."""
    async with Operator(settings) as made:
        yield made


class Writer:
    """A plain agent."""

    name = "writer"

    def __init__(self) -> None:
        """Set up what the tests look at."""
        self.began = asyncio.Event()
        self.approval: Approval | None = None
        self.runs = 0

    async def execute(self, seconds: float = 0.0, model: str = "any") -> str:
        """Work for a while."""
        self.runs += 1
        self.approval = current_approval()
        self.began.set()
        await asyncio.sleep(seconds)
        return model


async def test_a_registration_is_answered_with_a_status(settings: Settings) -> None:
    """Who waits for it gets the agent's status from the real supervisor."""
    async with OpsClient(settings=settings, timeout_s=20.0) as client:
        status = await client.register("writer", role="author", capabilities=[], wait_status_s=20.0)
    assert status is not None
    assert (status.agent, status.tenant, status.state) == ("writer", settings.tenant, "registered")


async def test_asks_hold_and_reports_settle_the_budget(client: OpsClient) -> None:
    """Of 5 dollars 4.80 are held: 1 more is denied until reports settle what was held to what was spent."""
    first = await client.ask("writer", "Draft", estimated_cost_usd=0.9)
    assert first.cost_limit_usd == 0.9
    second = await client.ask("writer", "Draft", estimated_cost_usd=0.9)
    third = await client.ask("writer", "Draft", estimated_cost_usd=3)
    with pytest.raises(Denied, match="budget_exhausted"):
        await client.ask("writer", "Draft", estimated_cost_usd=1)
    for approval in (first, second, third):
        await client.report(approval, cost_usd=0.5)
    await client.flush()
    assert (await client.ask("writer", "Draft", estimated_cost_usd=1)).decision == "approved"


async def test_what_the_rules_deny_is_denied_and_an_agent_unknown_is_too(client: OpsClient) -> None:
    """A policy that blocks, and an agent that never registered."""
    with pytest.raises(Denied, match="policy_blocked") as caught:
        await client.ask("writer", "Clean up", tool="rm")
    assert caught.value.approval is not None
    assert [each.name for each in caught.value.approval.matched_policies] == ["no-rm"]
    with pytest.raises(Denied, match="agent_unregistered"):
        await client.ask("stranger", "Draft")


async def test_a_persons_approval_lets_it_run(client: OpsClient, operator: Operator) -> None:
    """Escalated, looked at, approved after review; the digest is still that of what was asked."""
    task = asyncio.create_task(client.ask("writer", "Pay it", tool="pay", arguments={"amount": 12}))
    await operator.resolve("approve", reason="It is fine.")
    approval = await task
    assert approval.reason == "approved_after_review"
    assert not approval.changed


async def test_one_trace_runs_through_ask_decisions_report_and_journal(
    client: OpsClient, operator: Operator, collected: Collected
) -> None:
    """From the program's span to the records of the agent and of the supervisor, also where a person decides."""
    await client.flush()
    with collected.tracer.start_as_current_span("the day"):
        task = asyncio.create_task(client.ask("writer", "Pay it", tool="pay"))
        await operator.resolve("approve")
        approval = await task
        async with client.running(approval):
            await client.report(approval, kind="started")
        await client.report(approval, cost_usd=0.1)
    await client.flush()
    outer = await collected.span("the day")
    assert {ids(await collected.span(name))[0] for name in ("ask writer", "execute_tool pay")} == {
        ids(outer)[0]
    }

    def traced(record: ConsumerRecord) -> tuple[str, str]:
        headers = {name: value.decode() for name, value in record.headers}
        return headers["ce_type"], headers["traceparent"].split("-")[1]

    settings, about = client.settings, approval.request_id.encode()
    found = [
        traced(record)
        for topic, count in (("task-requests", 1), ("approvals", 2), ("telemetry", 2))
        for record in await _records(
            settings, topic, lambda record: ("ce_subject", about) in record.headers, count
        )
    ]
    kinds = ["TaskRequest", "TaskApproval", "TaskApproval", "Telemetry", "Telemetry"]
    assert found == [(kind, ids(outer)[0]) for kind in kinds]
    journal = [
        json.loads(record.value)
        for record in await _records(settings, "journal", lambda record: about in (record.value or b""), 4)
    ]
    inputs = [
        each["input"] for each in journal if each.get("input") and each["input"]["topic"] != "resolutions"
    ]
    assert {each["topic"] for each in inputs} == {"task-requests", "telemetry"}
    for each in inputs:
        assert b64decode(dict(each["headers"])["traceparent"]).decode().split("-")[1] == ids(outer)[0]


async def _records(
    settings: Settings, topic: str, wanted: Callable[[ConsumerRecord], bool], count: int
) -> list[ConsumerRecord]:
    """Read a topic's partition of the tenant from its beginning until so many wanted records are there."""
    tp = TopicPartition(settings.topic(topic), partition_for(settings.tenant, PARTITIONS))
    consumer = AIOKafkaConsumer(**settings.aiokafka(), group_id=None, enable_auto_commit=False)
    await consumer.start()
    found: list[ConsumerRecord] = []
    try:
        consumer.assign([tp])
        await consumer.seek_to_beginning(tp)
        async with asyncio.timeout(20):
            while len(found) < count:
                found += [
                    record
                    for record in (await consumer.getmany(timeout_ms=200)).get(tp, ())
                    if wanted(record)
                ]
    finally:
        await consumer.stop()
    return found


async def test_a_persons_denial_is_the_answer(client: OpsClient, operator: Operator) -> None:
    """Escalated, looked at, denied."""
    task = asyncio.create_task(client.ask("writer", "Pay it", tool="pay"))
    await operator.resolve("deny")
    with pytest.raises(Denied, match="escalation_denied"):
        await task


async def test_what_a_person_edited_runs_only_where_apply_takes_it(
    client: OpsClient, operator: Operator
) -> None:
    """An edit makes another action of it: refused without `apply`, handed to it where there is one."""
    plain = supervise(Writer(), client, estimate=lambda args: {"tool": "pay"})
    task = asyncio.create_task(plain.execute())
    await operator.resolve("edit", edits={"estimated_cost_usd": 0.2})
    await operator.resolve("approve")  # what was edited still pays: it is looked at once more
    with pytest.raises(Denied, match="with changes"):
        await task
    assert plain.runs == 0

    def carry_out(approval: Approval, args: Any, kwargs: Any) -> Any:
        assert approval.changed
        assert approval.edits == {"estimated_cost_usd": 0.2, "tool": "transfer"}
        assert approval.approved_by == ("alice",)
        assert approval.to_run is not None
        assert (approval.to_run.tool, approval.cost_limit_usd) == ("transfer", 0.2)
        return args, {"model": "smaller"}

    applied = supervise(Writer(), client, estimate=lambda args: {"tool": "pay"}, apply=carry_out)
    task = asyncio.create_task(applied.execute())
    await operator.resolve("edit", edits={"estimated_cost_usd": 0.2, "tool": "transfer"})
    assert await task == "smaller"


async def test_a_queued_ask_runs_with_the_batch(client: OpsClient) -> None:
    """Low priority waits for the window, and is approved then."""
    approval = await client.ask("writer", "Tidy up", priority=1)
    assert approval.decision == "approved"
    assert approval.sequence == 1


async def test_a_kill_stops_what_runs_and_what_comes(client: OpsClient, operator: Operator) -> None:
    """The running call is cancelled and cleaned up after, the next is denied, and after `resume` work goes on."""
    cleaned: list[str] = []
    writer = supervise(Writer(), client, cleanup=lambda approval: cleaned.append(approval.request_id))
    call = asyncio.create_task(writer.execute(60))
    await writer.began.wait()
    await operator.command("kill")
    with pytest.raises(Revoked, match="kill_revoked"):
        await asyncio.wait_for(call, 20)
    assert writer.approval is not None
    assert cleaned == [writer.approval.request_id]
    with pytest.raises(Denied, match="kill_switch"):
        await client.ask("writer", "Draft")
    await operator.command("resume")

    async def again() -> Approval:
        while True:
            try:
                return await client.ask("writer", "Draft")
            except Denied:
                await asyncio.sleep(0.1)

    assert (await asyncio.wait_for(again(), 20)).decision == "approved"


async def test_heartbeats_keep_a_call_longer_than_its_lease(client: OpsClient) -> None:
    """A lease of 2 seconds, a call of 3.5: it ends by itself. Without heartbeats it is revoked."""
    writer = supervise(Writer(), client, estimate=lambda args: {"estimated_time_s": 1})
    silent = await client.ask("writer", "Draft", estimated_time_s=1)
    assert await writer.execute(3.5, "done") == "done"
    assert writer.approval is not None
    assert not writer.approval.revoked
    assert silent.revoked
    with pytest.raises(Revoked):
        async with client.running(silent):
            await asyncio.sleep(5)


async def test_asking_again_with_the_same_id_attaches_and_another_body_is_a_conflict(
    client: OpsClient,
) -> None:
    """One line of decisions a request."""
    first = await client.ask("writer", "Draft", request_id="r-same", task_id="t", estimated_time_s=30)
    again = await client.ask("writer", "Draft", request_id="r-same", task_id="t", estimated_time_s=30)
    assert (first.approval_id, first.sequence) == (again.approval_id, again.sequence)
    with pytest.raises(Denied, match="duplicate_conflict"):
        await client.ask("writer", "Publish", request_id="r-same", task_id="t", estimated_time_s=30)


async def test_an_ask_given_up_is_withdrawn(client: OpsClient, operator: Operator) -> None:
    """The escalation is withdrawn with it, and the id says so when asked again."""
    ask = {"request_id": "r-up", "task_id": "t", "tool": "pay"}
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(client.ask("writer", "Pay it", **ask), 1.0)
    opened = await operator.escalation("open")
    assert (await operator.escalation("withdrawn")).escalation_id == opened.escalation_id
    with pytest.raises(Denied, match="withdrawn"):
        await client.ask("writer", "Pay it", **ask)


async def test_agents_survive_a_worker_killed_under_them(
    worker: tuple[WorkerProcess, Settings], settings: Settings
) -> None:
    """kill -9 of the supervisor while 60 agents ask: all are answered once it is back, and each runs once."""
    process, _ = worker
    async with OpsClient(settings=settings, timeout_s=60.0) as client:
        await registered(client)
        writers = [
            supervise(Writer(), client, estimate=lambda args: {"estimated_cost_usd": 0.01}) for _ in range(60)
        ]
        calls = [asyncio.create_task(writer.execute(0.05)) for writer in writers[:30]]
        await writers[0].began.wait()
        process.kill9()
        calls += [asyncio.create_task(writer.execute(0.05)) for writer in writers[30:]]
        process.start()
        ended = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 90)
        assert all(each == "any" for each in ended), [each for each in ended if each != "any"][:3]
        assert {writer.runs for writer in writers} == {1}


async def test_with_the_worker_away_nothing_runs(
    worker: tuple[WorkerProcess, Settings], settings: Settings
) -> None:
    """No supervisor, no answer, no run: the last test of this file ends the worker."""
    process, _ = worker
    process.kill9()
    async with OpsClient(settings=settings, timeout_s=1.0) as client:
        writer = supervise(Writer(), client)
        with pytest.raises(NoAnswer):
            await writer.execute()
        assert writer.runs == 0
