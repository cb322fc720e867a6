"""Calls that fail and are tried again, with the real supervisor on the other side."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from agents_adapter import Approval, Denied, OpsClient, current_approval, supervised
from ops_stream.contract.settings import Settings
from tests.adapters.real import real_worker, registered
from tests.survival.process import WorkerProcess

pytestmark = pytest.mark.bus

RETRIES = """
classes:
  transient: {max_attempts: 4, base_ms: 300, cap_ms: 600, jitter_percent: 0, next: [same, model]}
  rate_limit: {max_attempts: 2, base_ms: 0, cap_ms: 0, next: [same]}
budget: {percent: 1000}
"""


@pytest.fixture(scope="module")
def worker(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[WorkerProcess, Settings]]:
    """Give a running worker that plans retries."""
    with real_worker(kafka, tmp_path_factory.mktemp("worker"), {"retries.yaml": RETRIES}) as made:
        yield made


@pytest.fixture
async def client(worker: tuple[WorkerProcess, Settings]) -> AsyncIterator[OpsClient]:
    """Give a client of a tenant of its own, whose agent `writer` is registered."""
    settings = worker[1].model_copy(update={"tenant": f"team-{secrets.token_hex(4)}"})
    async with OpsClient(settings=settings, timeout_s=20.0) as made:
        await registered(made)
        yield made


class Flaky:
    """Raises what it is told, one after the other, then succeeds."""

    def __init__(self, *errors: Exception) -> None:
        """Begin with the first."""
        self.errors = list(errors)
        self.approvals: list[Approval] = []

    async def work(self) -> str:
        """Do it."""
        approval = current_approval()
        assert approval is not None
        self.approvals.append(approval)
        if self.errors:
            raise self.errors.pop(0)
        return "done"

    def under(self, client: OpsClient, **fields: Any) -> Any:
        """Supervise it."""
        return supervised(
            client,
            agent="writer",
            retries=True,
            estimate=lambda args: {"estimated_cost_usd": 0.01, "effect": "none", **fields},
        )(self.work)


async def test_what_passes_is_tried_again_until_it_is_done(client: OpsClient) -> None:
    """The same again, then another model: each a new ask, whose approval says which attempt it is."""
    flaky = Flaky(ConnectionRefusedError("busy"), ConnectionRefusedError("busy"))
    assert await flaky.under(client)() == "done"
    first, second, third = flaky.approvals
    assert first.retry is not None
    assert first.retry.max_attempts == 4
    assert [each.request.retry_count for each in flaky.approvals] == [0, 1, 2]
    assert len({each.request_id for each in flaky.approvals}) == 3
    assert first.next_step is not None
    assert second.next_step is not None
    assert (first.next_step.action, second.next_step.action) == ("retry", "retry_model")
    assert third.model == second.next_step.model != second.model
    assert third.next_step is None


async def test_what_is_wrong_stays_so(client: OpsClient) -> None:
    """A bad input is given up after one attempt, and the error says so."""
    flaky = Flaky(ValueError("no such chapter"))
    with pytest.raises(ValueError, match="no such chapter") as caught:
        await flaky.under(client)()
    assert any("give_up" in note for note in caught.value.__notes__)
    assert len(flaky.approvals) == 1


async def test_attempts_have_an_end(client: OpsClient) -> None:
    """Too many requests: once more, and then what it raised."""

    class Busy(Exception):
        status_code = 429

    flaky = Flaky(*(Busy(f"{number}") for number in range(5)))
    with pytest.raises(Busy, match="1") as caught:
        await flaky.under(client)()
    assert len(flaky.approvals) == 2
    last = flaky.approvals[-1].next_step
    assert last is not None
    assert (last.error_class, last.attempt, last.max_attempts) == ("rate_limit", 2, 2)
    assert caught.value.__notes__


async def test_an_unknown_outcome_is_not_tried_again_without_a_person(client: OpsClient) -> None:
    """A time-out of what cannot be taken back: a person is called."""
    flaky = Flaky(TimeoutError("no answer"))
    with pytest.raises(TimeoutError):
        await flaky.under(client, effect="reversible")()
    assert len(flaky.approvals) == 1
    step = flaky.approvals[0].next_step
    assert step is not None
    assert (step.action, step.error_class) == ("escalate", "unknown_outcome")


async def test_by_hand_the_answer_is_had_after_the_report(client: OpsClient) -> None:
    """And a denial says when to come back only where it passes."""
    approval = await client.ask("writer", "Draft", effect="none")
    await client.report(approval, kind="failed", error_class="transient", error="x")
    step = await client.next_step(approval, timeout_s=20)
    assert step is not None
    assert step.action == "retry"
    assert step.not_before is not None
    with pytest.raises(Denied) as caught:
        await client.ask("writer", "Clean up", tool="rm")
    assert caught.value.retry_at is None
