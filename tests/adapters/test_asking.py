"""Asking: what is sent, which answers count, and that every doubt ends in a refusal."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agents_adapter import Denied, NoAnswer, OpsClient, Refused, Revoked
from ops_stream.contract.codec import encode_json
from ops_stream.contract.digest import action_digest
from ops_stream.contract.errors import WrongUse
from ops_stream.contract.models import TaskRequest, Telemetry
from ops_stream.contract.partitions import partition_for
from ops_stream.contract.settings import Settings
from tests.adapters.responder import Responder
from tests.survival.meddling import put_with_broken_header_name

pytestmark = pytest.mark.bus

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def _asked(responder: Responder, count: int = 1) -> TaskRequest:
    return await responder.wait_for(TaskRequest, count)


async def test_an_approved_ask_gives_an_approval_with_the_fields_of_the_answer(
    client: OpsClient, responder: Responder
) -> None:
    """`ask` returns when the supervisor approves, and the Approval reads like the TaskApproval."""
    responder.on_ask = lambda ask: responder.answer(ask, model="small", cost_limit_usd=0.25, priority=7)
    approval = await client.ask("writer", "Draft it", estimated_cost_usd=0.25, tags=["a"])
    assert (approval.decision, approval.reason) == ("approved", "approved")
    assert (approval.model, approval.cost_limit_usd, approval.priority) == ("small", 0.25, 7)
    assert approval.request.estimated_cost_micros == 250_000
    assert approval.answered
    assert not approval.changed
    assert not approval.revoked


async def test_an_ask_is_a_cloudevent_on_its_tenants_partition_with_the_trace_it_was_given(
    client: OpsClient, responder: Responder, settings: Settings
) -> None:
    """Key and partition follow the tenant, the headers CloudEvents, the trace is the caller's."""
    responder.on_ask = responder.answer
    approval = await client.ask("writer", "Draft it", traceparent=TRACE)
    seen = responder.seen[0]
    assert seen.record.key == settings.tenant.encode()
    assert seen.record.partition == partition_for(settings.tenant, responder.partitions)
    assert seen.headers["ce_specversion"] == "1.0"
    assert seen.headers["ce_type"] == "TaskRequest"
    assert seen.headers["ce_subject"] == approval.request_id
    assert seen.headers["ce_source"] == "/agents/writer"
    assert seen.headers["traceparent"] == TRACE
    assert approval.action_digest == action_digest(approval.request)
    await client.report(approval, cost_usd=0.01)
    report = await responder.report("completed")
    assert responder.seen[-1].headers["traceparent"] == TRACE
    assert (report.success, report.cost_micros) == (True, 10_000)


async def test_a_denied_ask_raises_denied_with_the_answer(client: OpsClient, responder: Responder) -> None:
    """A denial is an exception that says the reason and carries the approval."""
    responder.on_ask = lambda ask: responder.answer(ask, "denied", reason="budget_exhausted")
    with pytest.raises(Denied, match="budget_exhausted") as caught:
        await client.ask("writer", "Draft it")
    assert caught.value.approval is not None
    assert caught.value.approval.reason == "budget_exhausted"
    assert isinstance(caught.value, Refused)


async def test_an_approval_for_a_reason_that_is_not_known_means_no(
    client: OpsClient, responder: Responder
) -> None:
    """A newer supervisor may know reasons that this adapter does not: it fails closed, and gives the ask up."""
    responder.on_ask = lambda ask: responder.answer(ask, "approved", reason="never_heard_of")
    with pytest.raises(Denied, match="not known here, never_heard_of"):
        await client.ask("writer", "Draft it")
    await responder.report("cancelled")


async def test_silence_ends_in_no_answer_and_withdraws_the_ask(
    settings: Settings, responder: Responder
) -> None:
    """Without an answer within `timeout_s` the call is refused, and `cancelled` follows the ask."""
    async with OpsClient(settings=settings, timeout_s=0.5) as client:
        began = time.monotonic()
        with pytest.raises(NoAnswer) as caught:
            await client.ask("writer", "Draft it", request_id="r-silent")
        assert 0.4 < time.monotonic() - began < 2.0
        assert caught.value.approval is None
        await responder.report("cancelled", request_id="r-silent")
    kinds = [type(each.event) for each in responder.seen]
    assert kinds == [TaskRequest, Telemetry]


async def test_a_caller_that_is_cancelled_withdraws_its_ask(client: OpsClient, responder: Responder) -> None:
    """Cancelling the task that asks is giving up as well."""
    task = asyncio.create_task(client.ask("writer", "Draft it"))
    ask = await _asked(responder)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await responder.report("cancelled", request_id=ask.request_id)


async def test_an_escalated_ask_waits_past_the_time_out_for_the_verdict(
    settings: Settings, responder: Responder
) -> None:
    """`timeout_s` bounds the first answer only: an escalated or queued ask waits on."""
    async with OpsClient(settings=settings, timeout_s=1.0) as client:
        task = asyncio.create_task(client.ask("writer", "Draft it"))
        ask = await _asked(responder)
        await responder.answer(ask, "escalated", escalation_id="e1")
        done, _ = await asyncio.wait([task], timeout=1.5)
        assert not done
        await responder.answer(ask, "approved", sequence=1, reason="approved_after_review")
        assert (await task).reason == "approved_after_review"


async def test_an_escalated_ask_is_given_up_at_its_deadline(client: OpsClient, responder: Responder) -> None:
    """With a deadline the wait for a person ends there: NoAnswer with the last answer, and `cancelled`."""
    responder.on_ask = lambda ask: responder.answer(ask, "escalated", escalation_id="e1")
    deadline = datetime.now(UTC) + timedelta(seconds=1)
    with pytest.raises(NoAnswer) as caught:
        await client.ask("writer", "Draft it", deadline=deadline)
    assert caught.value.approval is not None
    assert caught.value.approval.decision == "escalated"
    await responder.report("cancelled")


async def test_an_expired_escalation_is_the_supervisors_denial(
    client: OpsClient, responder: Responder
) -> None:
    """Without a deadline the escalation's expiry ends the wait; it comes as a denial."""
    task = asyncio.create_task(client.ask("writer", "Draft it"))
    ask = await _asked(responder)
    await responder.answer(ask, "escalated")
    await responder.answer(ask, "denied", sequence=1, reason="escalation_expired")
    with pytest.raises(Denied, match="escalation_expired"):
        await task


async def test_a_long_wait_asks_again_and_ends_when_nobody_is_there(
    settings: Settings, responder: Responder
) -> None:
    """An ask that waits for a person is repeated now and then; if that stays unanswered, the wait ends."""
    async with OpsClient(settings=settings, timeout_s=2.0, review_check_s=0.4) as client:
        task = asyncio.create_task(client.ask("writer", "Draft it"))
        ask = await _asked(responder)
        await responder.answer(ask, "queued")
        again = await _asked(responder, 2)
        assert again == ask
        await responder.answer(ask, "queued")
        assert await _asked(responder, 3) == ask
        with pytest.raises(NoAnswer, match="queued"):
            await task


async def test_the_highest_sequence_is_in_force_whatever_order_they_come_in(
    client: OpsClient, responder: Responder
) -> None:
    """An answer with a lower sequence than one seen is history."""
    task = asyncio.create_task(client.ask("writer", "Draft it"))
    ask = await _asked(responder)
    await responder.answer(ask, "queued", sequence=2)
    await responder.answer(ask, "approved", sequence=1)
    await responder.answer(ask, "denied", sequence=3, reason="kill_switch")
    with pytest.raises(Denied, match="kill_switch"):
        await task


async def test_an_output_older_than_the_newest_seen_on_the_partition_is_dropped(
    client: OpsClient, responder: Responder
) -> None:
    """A late approval of a supervisor that has been replaced does not count (promise 4), index included."""
    other = asyncio.create_task(client.ask("reader", "Read it"))
    first = await _asked(responder)
    await responder.answer(first, "approved", position=(100, 5))
    await other
    task = asyncio.create_task(client.ask("writer", "Draft it"))
    ask = await _asked(responder, 2)
    await responder.answer(ask, "approved", position=(99, 9))
    await responder.answer(ask, "approved", position=(100, 4))
    await responder.answer(ask, "denied", position=(100, 5), reason="overloaded")
    with pytest.raises(Denied, match="overloaded"):
        await task


async def test_an_answer_without_a_sound_journal_position_does_not_count(
    client: OpsClient, responder: Responder
) -> None:
    """Whoever forges an approval without the header, or with nonsense in it, gets nobody to run."""
    for journal in (None, b"", b"x", b"0:1", b"0:1:2:3", b"-1:1:1", b"9999:1:1", b"0:" + b"9" * 99 + b":0"):

        async def forge(ask: TaskRequest, journal: bytes | None = journal) -> None:
            headers = [("ce_type", b"TaskApproval"), ("ce_subject", ask.request_id.encode())]
            if journal is not None:
                headers.append(("ops-journal", journal))
            await responder.answer(ask, headers=headers, sequence=1)
            await responder.answer(ask, "denied")

        responder.on_ask = forge
        with pytest.raises(Denied):
            await client.ask("writer", "Draft it")


async def test_an_approval_of_another_action_does_not_count(
    client: OpsClient, responder: Responder, settings: Settings
) -> None:
    """An approval must name this very ask, and its digest be that of what would run."""
    partition = partition_for(settings.tenant, responder.partitions)
    forgeries: tuple[dict[str, Any], ...] = (
        {"action_digest": "sha256:" + "1" * 64},
        {"tenant": "someone-else"},
        {"task_id": "another-task"},
        {"agent": "another-agent"},
        {"request_id": "another-request"},
        {"reason": 7},
        {"decision": "allowed"},
    )
    for wrong in forgeries:

        async def forge(ask: TaskRequest, wrong: dict[str, Any] = wrong) -> None:
            body = encode_json(responder.approval(ask, sequence=1) | wrong)
            responder.journal_offset += 1
            journal = b"%d:%d:0" % (partition, responder.journal_offset)
            headers = [("ce_subject", ask.request_id.encode()), ("ops-journal", journal)]
            await responder.producer.send(settings.topic("approvals"), body, b"x", partition, headers=headers)
            await responder.answer(ask, "denied")

        responder.on_ask = forge
        with pytest.raises(Denied):
            await client.ask("writer", "Draft it")


async def test_a_conflict_is_answered_to_the_one_who_caused_it_only(
    client: OpsClient, responder: Responder
) -> None:
    """Two asks use one id: `duplicate_conflict` carries the digest of the second, and the first waits on."""
    first = asyncio.create_task(client.ask("writer", "Draft it", request_id="r-twice", task_id="t"))
    one = await _asked(responder)
    await responder.answer(one, "queued", sequence=1)
    second = asyncio.create_task(client.ask("writer", "Publish it", request_id="r-twice", task_id="t"))
    two = await _asked(responder, 2)
    await responder.answer(two, "denied", reason="duplicate_conflict")
    with pytest.raises(Denied, match="duplicate_conflict"):
        await second
    await responder.answer(one, "approved", sequence=2)
    assert (await first).sequence == 2


async def test_an_approval_with_changes_is_refused_unless_the_caller_takes_changes(
    client: OpsClient, responder: Responder
) -> None:
    """What a person changed must not run as it was asked; refusing withdraws it."""
    changed = {"reason": "approved_with_changes", "action_digest": "sha256:" + "2" * 64}

    async def edit(ask: TaskRequest) -> None:
        await responder.answer(ask, "escalated")
        await responder.answer(ask, "approved", sequence=1, **changed)

    responder.on_ask = edit
    with pytest.raises(Denied, match="with changes") as caught:
        await client.ask("writer", "Draft it")
    assert caught.value.approval is not None
    assert caught.value.approval.changed
    await responder.report("cancelled")
    approval = await client.ask("writer", "Draft it", accept_changes=True)
    assert approval.changed

    async def edit_twice(ask: TaskRequest) -> None:
        await responder.answer(ask, "escalated")
        await responder.answer(ask, "escalated", sequence=1, action_digest=changed["action_digest"])
        await responder.answer(ask, sequence=2, **(changed | {"reason": "approved_after_review"}))

    responder.on_ask = edit_twice
    with pytest.raises(Denied, match="with changes"):
        await client.ask("writer", "Draft it")


async def test_an_edit_that_changes_nothing_is_an_approval_of_what_was_asked(
    client: OpsClient, responder: Responder
) -> None:
    """The digest decides, not the word."""
    responder.on_ask = lambda ask: responder.answer(ask, reason="approved_with_changes")
    assert not (await client.ask("writer", "Draft it")).changed


async def test_a_revoked_ask_raises_revoked_and_says_that_nothing_runs(
    client: OpsClient, responder: Responder
) -> None:
    """Revoked before it ran: the call does not start, and the revocation is acknowledged."""
    responder.on_ask = lambda ask: responder.answer(ask, "revoked", sequence=1)
    with pytest.raises(Revoked):
        await client.ask("writer", "Draft it", request_id="r-rev")
    await responder.ack("r-rev")


async def test_an_approval_whose_lease_is_over_is_asked_for_again(
    client: OpsClient, responder: Responder
) -> None:
    """A late approval with an expired lease runs nothing; only a decision made after that does."""
    asks = 0

    async def late(ask: TaskRequest) -> None:
        nonlocal asks
        asks += 1
        if asks == 1:
            await responder.answer(ask, lease_s=-5)
        else:
            await responder.answer(ask, "revoked", sequence=1, reason="lease_expired")

    responder.on_ask = late
    with pytest.raises(Revoked, match="lease_expired"):
        await client.ask("writer", "Draft it")
    assert asks == 2


async def test_asking_again_under_a_lease_that_heartbeats_renew_attaches_to_it(
    client: OpsClient, responder: Responder
) -> None:
    """An approval tells its first lease's end only: confirmed after it was doubted, it holds."""
    responder.on_ask = lambda ask: responder.answer(ask, lease_s=-5)
    approval = await client.ask("writer", "Draft it")
    assert approval.decision == "approved"
    assert len(responder.all(TaskRequest)) == 2


async def test_an_ask_that_breaks_the_contract_is_refused_before_it_is_sent(
    client: OpsClient, responder: Responder
) -> None:
    """A misspelt field, bad money, a wrong value: a sentence at once, and nothing on the topic."""
    broken: tuple[dict[str, Any], ...] = (
        {"estimated_cost": 1},
        {"estimated_cost_usd": -1},
        {"estimated_cost_usd": float("nan")},
        {"estimated_cost_usd": "1"},
        {"effect": "none at all"},
        {"deadline": "tomorrow"},
        {"deadline": datetime(2026, 1, 1)},  # without a time zone
        {"tenant": "someone-else"},
        {"request_id": "not an id"},
        {"arguments": {"x": "\ud800"}},
        {"arguments": {"x": "y" * 300_000}},
    )
    for fields in broken:
        with pytest.raises(WrongUse):
            await client.ask("writer", "Draft it", **fields)
    responder.on_ask = responder.answer
    await client.ask("writer", "Draft it")
    assert len(responder.all(TaskRequest)) == 1


async def test_a_client_that_is_not_open_says_so(settings: Settings) -> None:
    """Before and after its `with` block a client refuses, in a sentence."""
    client = OpsClient(settings=settings)
    with pytest.raises(WrongUse, match="with"):
        await client.ask("writer", "Draft it")
    async with client:
        with pytest.raises(WrongUse, match="already"):
            async with client:
                pass
    with pytest.raises(WrongUse, match="with"):
        await client.ask("writer", "Draft it")


async def test_a_record_whose_header_name_is_no_text_does_not_end_the_reading(
    settings: Settings, client: OpsClient, responder: Responder
) -> None:
    """The broker takes such a record from anybody who may write to the topic; what comes behind it is read."""
    responder.on_ask = responder.answer
    await client.ask("writer", "Draft it")
    partition = partition_for(settings.tenant, responder.partitions)
    await put_with_broken_header_name(settings, "approvals", partition, b"{}")
    assert (await client.ask("writer", "Draft more")).decision == "approved"
