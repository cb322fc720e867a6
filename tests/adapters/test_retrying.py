"""After a failure: what the supervisor says to do next, and who follows it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from agents_adapter import Denied, OpsClient, SyncOpsClient, current_approval, supervised
from agents_adapter._classes import error_class_of
from ops_stream.contract.clocktext import format_time
from ops_stream.contract.errors import WrongUse
from ops_stream.contract.models import RevocationAck, TaskRequest, Telemetry
from ops_stream.contract.settings import Settings
from tests.adapters.emitted import Collected
from tests.adapters.responder import Responder, answering_from_elsewhere

bus = pytest.mark.bus

PLAN = {"max_attempts": 3, "backoff_s": 0.1, "next": "same"}


def next_step(action: str, **fields: Any) -> dict[str, Any]:
    """Write what to do next."""
    return {"action": action, "error_class": "transient", "attempt": 1, "max_attempts": 3, **fields}


async def says(responder: Responder, ask: TaskRequest, action: str, **fields: Any) -> None:
    """Answer the failure of an ask."""
    step = next_step(action, **fields)
    await responder.answer(ask, "revoked", sequence=1, reason="attempt_failed", next_step=step)


class Supervisor:
    """Approves with a plan, and answers each failure with the next thing that it was told."""

    def __init__(self, responder: Responder, *actions: dict[str, Any]) -> None:
        """Begin to answer."""
        self.responder = responder
        self.actions = list(actions)
        responder.on_ask = self.asked

    async def asked(self, ask: TaskRequest) -> None:
        """Approve, and answer the failure that is to come."""
        await self.responder.answer(ask, retry=PLAN)
        self.responder.following = asyncio.create_task(self._failed(ask))  # type: ignore[attr-defined]

    async def _failed(self, ask: TaskRequest) -> None:
        await self.responder.report("failed", request_id=ask.request_id)
        if self.actions:
            action = self.actions.pop(0)
            await says(self.responder, ask, **action)


class Flaky:
    """Fails so often, then succeeds."""

    def __init__(self, failures: int) -> None:
        """Count down from there."""
        self.left = failures
        self.models: list[str | None] = []

    def work(self) -> str:
        """Do it."""
        approval = current_approval()
        assert approval is not None
        self.models.append(approval.request.required_model)
        if self.left:
            self.left -= 1
            raise ConnectionResetError(f"{self.left} more")
        return "done"

    async def wait(self) -> str:
        """Do it."""
        return self.work()


@bus
async def test_a_failure_report_is_answered_with_the_next_step(
    client: OpsClient, responder: Responder
) -> None:
    """`next_step` waits for it; the approval has it then, and nothing is acknowledged: nothing was stopped."""
    responder.on_ask = lambda ask: responder.answer(ask, retry=PLAN, batch=True)
    approval = await client.ask("writer", "Draft it")
    assert approval.retry is not None
    assert (approval.retry.max_attempts, approval.batch, approval.next_step) == (3, True, None)
    with pytest.raises(WrongUse, match="has not failed"):
        await client.next_step(approval)
    await client.report(approval, kind="failed", error="no")
    waiting = asyncio.create_task(client.next_step(approval, timeout_s=5))
    await says(responder, approval.request, "escalate", escalation_id="e-1")
    step = await waiting
    assert step is not None
    assert (step.action, step.escalation_id) == ("escalate", "e-1")
    assert approval.next_step == step == await client.next_step(approval)
    assert not approval.revoked
    await client.flush()
    assert not responder.all(RevocationAck)


@bus
async def test_a_supervisor_that_plans_no_retries_says_nothing(
    client: OpsClient, responder: Responder
) -> None:
    """None after the wait; and a later decision without a next step is none either."""
    responder.on_ask = responder.answer
    approval = await client.ask("writer", "Draft it")
    await client.report(approval, kind="failed")
    assert await client.next_step(approval, timeout_s=0.1) is None
    other = await client.ask("writer", "Draft it")
    await client.report(other, kind="completed", success=False)
    waiting = asyncio.create_task(client.next_step(other, timeout_s=5))
    await responder.answer(other.request, "revoked", sequence=1, reason="lease_expired")
    assert await waiting is None
    completed = await client.ask("writer", "Draft it")
    await client.report(completed)
    assert await client.next_step(completed) is None


@bus
@pytest.mark.parametrize("kind", ["awaiting", "blocking", "disguised"])
async def test_a_call_is_tried_again_as_long_as_the_supervisor_says_so(
    client: OpsClient, responder: Responder, kind: str
) -> None:
    """Each attempt is a new ask of the same task with a higher count, after the wait, with the model that is named."""
    Supervisor(responder, {"action": "retry"}, {"action": "retry_model", "model": "small"})
    flaky = Flaky(2)

    def disguised() -> Any:
        return flaky.wait()

    functions: dict[str, Callable[[], Any]] = {
        "awaiting": flaky.wait,
        "blocking": flaky.work,
        "disguised": disguised,
    }
    wrapped = supervised(
        client, agent="writer", retries=True, estimate=lambda args: {"task_type": "drafts", "retry_count": 1}
    )(functions[kind])
    result = await wrapped() if kind == "awaiting" else await asyncio.to_thread(wrapped)
    assert (await result if kind == "disguised" else result) == "done"
    await responder.report("completed")
    asks = responder.all(TaskRequest)
    assert len({ask.request_id for ask in asks}) == 3
    assert len({ask.task_id for ask in asks}) == 1
    assert [ask.retry_count for ask in asks] == [1, 2, 3]
    assert [ask.required_model for ask in asks] == [None, None, "small"] == flaky.models
    assert {ask.task_type for ask in asks} == {"drafts"}
    assert [each.kind for each in responder.all(Telemetry) if each.kind != "started"] == [
        "failed",
        "failed",
        "completed",
    ]


@bus
async def test_the_wait_is_the_one_between_the_answers_own_times(
    client: OpsClient, responder: Responder
) -> None:
    """A supervisor an hour ahead that says to wait 0.4 s is waited for 0.4 s: no clock of ours counts."""
    ahead_ms = time.time_ns() // 1_000_000 + 3_600_000

    async def asked(ask: TaskRequest) -> None:
        await responder.answer(ask, retry=PLAN)
        responder.following = asyncio.create_task(failed(ask))  # type: ignore[attr-defined]

    async def failed(ask: TaskRequest) -> None:
        await responder.report("failed", request_id=ask.request_id)
        step = next_step("retry", not_before=format_time(ahead_ms + 400))
        await responder.answer(
            ask,
            "revoked",
            sequence=1,
            reason="attempt_failed",
            next_step=step,
            decided_at=format_time(ahead_ms),
        )

    responder.on_ask = asked
    flaky = Flaky(1)
    began = time.monotonic()
    assert await supervised(client, agent="writer", retries=True)(flaky.wait)() == "done"
    assert 0.4 <= time.monotonic() - began < 10


@bus
@pytest.mark.parametrize(
    "action",
    [
        {"action": "retry_agent", "agent": "other"},
        {"action": "escalate", "escalation_id": "e-1"},
        {"action": "give_up"},
        {"action": "retry_model"},
    ],
    ids=str,
)
async def test_anything_else_raises_what_the_call_raised_with_a_note(
    client: OpsClient, responder: Responder, action: dict[str, Any]
) -> None:
    """It is not for this agent to try again; whoever sees the error also sees why."""
    Supervisor(responder, action)
    with pytest.raises(ConnectionResetError, match="0 more") as caught:
        await supervised(client, agent="writer", retries=True)(Flaky(1).wait)()
    assert any(f"action {action['action']}" in note for note in caught.value.__notes__)
    assert len(responder.all(TaskRequest)) == 1


@bus
async def test_a_retry_that_is_denied_raises_what_the_call_raised(
    client: OpsClient, responder: Responder
) -> None:
    """The first attempt failed, the second may not be made: the error is the call's, the denial its cause."""

    async def asked(ask: TaskRequest) -> None:
        if ask.retry_count:
            await responder.answer(ask, "denied", reason="budget_exhausted")
            return
        await responder.answer(ask, retry=PLAN)
        responder.following = asyncio.create_task(failed(ask))  # type: ignore[attr-defined]

    async def failed(ask: TaskRequest) -> None:
        await responder.report("failed", request_id=ask.request_id)
        await says(responder, ask, "retry")

    responder.on_ask = asked
    with pytest.raises(ConnectionResetError) as caught:
        await supervised(client, agent="writer", retries=True)(Flaky(1).wait)()
    assert isinstance(caught.value.__cause__, Denied)
    assert any("not tried again: Denied, budget_exhausted" in note for note in caught.value.__notes__)


@bus
async def test_nothing_is_waited_for_where_nothing_is_planned_or_nobody_follows(
    client: OpsClient, responder: Responder
) -> None:
    """Without a plan in the approval, or without `retries`, a failed call raises at once."""
    responder.on_ask = responder.answer
    began = time.monotonic()
    with pytest.raises(ConnectionResetError):
        await supervised(client, agent="writer", retries=True)(Flaky(1).wait)()
    responder.on_ask = lambda ask: responder.answer(ask, retry=PLAN)
    with pytest.raises(ConnectionResetError):
        await supervised(client, agent="writer")(Flaky(1).wait)()
    assert time.monotonic() - began < 4
    assert len(responder.all(TaskRequest)) == 2


@bus
async def test_the_answer_to_a_failure_disturbs_no_span(
    client: OpsClient, responder: Responder, collected: Collected, caplog: pytest.LogCaptureFixture
) -> None:
    """The call's span has ended by then: nothing is written into it, and it counts as failed, not as revoked."""
    Supervisor(responder, {"action": "give_up"})
    with pytest.raises(ConnectionResetError):
        await supervised(client, agent="writer", retries=True)(Flaky(1).wait)()
    span = await collected.span("invoke_agent writer")
    assert span.attributes is not None
    assert span.attributes["ops_stream.outcome"] == "failed"
    assert not [event for event in span.events if event.name == "ops_stream.revoked"]
    assert "ended span" not in caplog.text


@bus
async def test_a_denial_that_passes_says_when_to_come_back(client: OpsClient, responder: Responder) -> None:
    """`retry_at` stands on Denied; of a denial for good it is None."""
    at = "2026-12-01T12:00:00.000Z"
    responder.on_ask = lambda ask: responder.answer(ask, "denied", reason="overloaded", retry_at=at)
    with pytest.raises(Denied) as caught:
        await client.ask("writer", "Draft it")
    assert caught.value.retry_at == at
    responder.on_ask = lambda ask: responder.answer(ask, "denied")
    with pytest.raises(Denied) as caught:
        await client.ask("writer", "Draft it")
    assert caught.value.retry_at is None


@bus
def test_blocking_clients_give_the_next_step_too(settings: Settings) -> None:
    """The same call, blocking; here the supervisor says nothing."""
    with answering_from_elsewhere(settings), SyncOpsClient(settings=settings) as client:
        approval = client.ask("writer", "Draft it")
        client.report(approval, kind="failed")
        assert client.next_step(approval, timeout_s=0.1) is None


class Slow(TimeoutError):
    """A time-out under a name of its own."""


class Status(Exception):
    """An error as HTTP clients raise it."""

    def __init__(self, status: object, **more: object) -> None:
        """Carry a status."""
        super().__init__("no")
        self.status_code = status
        self.__dict__.update(more)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (TimeoutError(), "TimeoutError"),
        (Slow(), "Slow:TimeoutError"),
        (ConnectionResetError(), "ConnectionResetError"),
        (ValueError("x"), "ValueError"),
        (UnicodeDecodeError("utf-8", b"", 0, 1, "x"), "UnicodeDecodeError:ValueError"),
        (RuntimeError(), "RuntimeError"),
        (Status(429), "Status:429"),
        (Status(200), "Status"),
        (Status(True), "Status"),
        (Status(None, response=Status(503)), "Status:503"),
        (type("N" * 300, (ValueError,), {})(), "N" * 128 + ":ValueError"),
    ],
)
def test_an_error_is_told_by_its_type_its_kind_and_its_status(error: BaseException, told: str) -> None:
    """What the supervisor needs to class it: a name of one's own is told beside the type that it is a kind of."""
    assert error_class_of(error) == told


def test_classify_wins_unless_it_says_nothing_or_fails(caplog: pytest.LogCaptureFixture) -> None:
    """A word of one's own, or of the supervisor's classes; a mistake in it costs nothing but a line in the log."""
    error = ValueError("x")
    assert error_class_of(error, lambda error: "rate_limit") == "rate_limit"
    assert error_class_of(error, lambda error: None) == "ValueError"
    assert error_class_of(error, lambda error: 429) == "ValueError"  # type: ignore[arg-type,return-value]
    assert error_class_of(error, lambda error: 1 / 0) == "ValueError"  # type: ignore[arg-type,return-value]
    assert len(caplog.records) == 2
