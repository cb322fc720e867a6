"""Spans and metrics of asks and calls, by the GenAI conventions, and the trace that runs through the topics."""

from __future__ import annotations

import asyncio

import pytest
from opentelemetry.trace import SpanKind, StatusCode

from agents_adapter import Denied, NoAnswer, OpsClient, Revoked
from ops_stream.contract.models import TaskRequest
from ops_stream.contract.settings import Settings
from tests.adapters.emitted import Collected, ids, written
from tests.adapters.responder import Responder
from tests.adapters.traced import SECRET, TRACE, supervised_writer, traces

pytestmark = pytest.mark.bus


async def test_an_ask_and_its_call_are_two_spans_of_one_trace_by_the_conventions(
    client: OpsClient, responder: Responder, collected: Collected
) -> None:
    """`ask` is CLIENT, `invoke_agent` INTERNAL and below it; ids, decision, model, tokens and cost are attributes."""
    policies = [{"name": "cheaper", "action": "downgrade_model", "shadow": False}]
    responder.on_ask = lambda ask: responder.answer(
        ask, model="large", cost_limit_usd=0.5, matched_policies=policies
    )
    await supervised_writer(client, task_type="drafts", workflow_id="w1").execute("x")
    await responder.report("completed")
    ask, call = await collected.span("ask writer"), await collected.span("invoke_agent writer")
    request = responder.all(TaskRequest)[0]
    assert (ask.kind, call.kind) == (SpanKind.CLIENT, SpanKind.INTERNAL)
    assert (ask.status.status_code, call.status.status_code) == (StatusCode.UNSET, StatusCode.UNSET)
    assert ask.parent is None
    assert call.parent is not None
    assert call.parent.span_id == ask.context.span_id
    assert (
        dict(ask.attributes).items()
        >= {
            "gen_ai.agent.name": "writer",
            "gen_ai.request.model": "large",
            "messaging.system": "kafka",
            "messaging.destination.name": client.settings.topic("task-requests"),
            "ops_stream.request_id": request.request_id,
            "ops_stream.task_id": request.task_id,
            "ops_stream.tenant": client.tenant,
            "ops_stream.task_type": "drafts",
            "ops_stream.workflow_id": "w1",
            "ops_stream.estimated_cost_usd": 0.5,
            "ops_stream.decision": "approved",
            "ops_stream.reason": "approved",
            "ops_stream.sequence": 0,
            "ops_stream.outcome": "approved",
            "ops_stream.policies": ("cheaper",),
        }.items()
    )
    assert (
        dict(call.attributes).items()
        >= {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.name": "writer",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": "large",
            "gen_ai.response.model": "large-2",
            "gen_ai.usage.input_tokens": 120,
            "gen_ai.usage.output_tokens": 30,
            "gen_ai.usage.cache_read.input_tokens": 20,
            "ops_stream.cost_usd": 0.25,
            "ops_stream.quality_score": 0.5,
            "ops_stream.request_id": request.request_id,
            "ops_stream.outcome": "completed",
        }.items()
    )
    sent = {each.headers["ce_type"]: each.headers["traceparent"] for each in responder.seen}
    assert sent["TaskRequest"] == written(ask)
    assert sent["Telemetry"] == written(call)
    assert SECRET not in f"{ask.to_json()}{call.to_json()}"


async def test_an_ask_inside_a_span_belongs_to_it_and_the_call_runs_beside_the_ask(
    client: OpsClient, responder: Responder, collected: Collected
) -> None:
    """The program's span is the parent of both, the call links to the ask; what the call asks is below the call."""
    responder.on_ask = responder.answer
    inner: list[str] = []

    async def nested() -> None:
        inner.append((await client.ask("helper", "Look it up")).traceparent or "")

    with collected.tracer.start_as_current_span("the day"):
        await supervised_writer(client, tool="search").execute("x", nested)
    outer = await collected.span("the day")
    ask, call = await collected.span("ask writer"), await collected.span("execute_tool search")
    below = await collected.span("ask helper")
    assert ask.parent is not None
    assert call.parent is not None
    assert below.parent is not None
    assert ask.parent.span_id == call.parent.span_id == outer.context.span_id
    assert [link.context.span_id for link in call.links] == [ask.context.span_id]
    assert below.parent.span_id == call.context.span_id
    assert inner == [written(below)]
    assert call.attributes is not None
    assert call.attributes["gen_ai.operation.name"] == "execute_tool"
    assert call.attributes["gen_ai.tool.name"] == "search"
    await responder.report("completed")
    assert traces(responder) == {ids(outer)[0]}


async def test_a_trace_that_the_caller_names_wins_and_the_span_joins_it(
    client: OpsClient, responder: Responder, collected: Collected
) -> None:
    """The header is the caller's, byte for byte, in the ask and its report, and the ask's span is a child of it."""
    responder.on_ask = responder.answer
    with collected.tracer.start_as_current_span("another trace"):
        approval = await client.ask("writer", "Draft", traceparent=TRACE)
        await client.report(approval, cost_usd=0.1)
    await responder.report("completed")
    assert {each.headers["traceparent"] for each in responder.seen} == {TRACE}
    span = await collected.span("ask writer")
    assert span.parent is not None
    assert f"{span.parent.trace_id:032x}-{span.parent.span_id:016x}" == TRACE[3:52]
    odd = await client.ask("editor", "Draft", traceparent="no trace at all")
    assert odd.traceparent == "no trace at all"
    assert (await collected.span("ask editor")).parent is None


async def test_a_denial_is_an_answer_and_silence_is_an_error(
    settings: Settings, responder: Responder, collected: Collected
) -> None:
    """Denied leaves the status unset and runs nothing; NoAnswer is an error with its type."""
    async with OpsClient(settings=settings, timeout_s=0.5) as client:
        responder.on_ask = lambda ask: responder.answer(ask, "denied", reason="budget_exhausted")
        with pytest.raises(Denied):
            await supervised_writer(client).execute("x")
        denied = await collected.span("ask writer")
        assert denied.status.status_code is StatusCode.UNSET
        assert denied.attributes is not None
        assert denied.attributes["ops_stream.decision"] == "denied"
        assert denied.attributes["ops_stream.reason"] == "budget_exhausted"
        assert "error.type" not in denied.attributes
        assert collected.names == ["ask writer"]
        responder.on_ask = None
        with pytest.raises(NoAnswer):
            await client.ask("nobody", "x")
        silent = await collected.span("ask nobody")
        assert silent.status.status_code is StatusCode.ERROR
        assert silent.attributes is not None
        assert silent.attributes["error.type"] == "NoAnswer"
        assert silent.attributes["ops_stream.outcome"] == "no_answer"
        waiting = asyncio.create_task(client.ask("gone", "x"))
        await responder.wait_for(TaskRequest, agent="gone")
        waiting.cancel()
        gone = await collected.span("ask gone")
        assert gone.attributes is not None
        assert gone.attributes["ops_stream.outcome"] == "cancelled"
        assert gone.status.status_code is StatusCode.UNSET


async def test_what_happens_to_an_ask_is_an_event_of_its_span_and_a_revocation_one_of_the_calls(
    client: OpsClient, responder: Responder, collected: Collected
) -> None:
    """Escalated and queued on the ask, once each however often they are repeated; revoked on the call it stops."""

    async def answers(ask: TaskRequest) -> None:
        for _ in range(2):
            await responder.answer(ask, "escalated", sequence=0, escalation_id="esc-1")
        await responder.answer(ask, "queued", sequence=1)
        await responder.answer(ask, sequence=2)

    responder.on_ask = answers

    async def revoked() -> None:
        await responder.answer(responder.all(TaskRequest)[0], "revoked", sequence=3)
        await asyncio.sleep(30)

    with pytest.raises(Revoked):
        await supervised_writer(client).execute("x", revoked)
    ask, call = await collected.span("ask writer"), await collected.span("invoke_agent writer")
    assert [each.name for each in ask.events] == ["ops_stream.escalated", "ops_stream.queued"]
    assert dict(ask.events[0].attributes or {}) == {
        "ops_stream.reason": "escalated",
        "ops_stream.sequence": 0,
        "ops_stream.escalation_id": "esc-1",
    }
    assert [each.name for each in call.events] == ["ops_stream.revoked"]
    assert call.attributes is not None
    assert call.attributes["ops_stream.outcome"] == "revoked"
    assert call.status.status_code is StatusCode.UNSET


async def test_what_a_call_raises_is_its_spans_error_without_the_text(
    client: OpsClient, responder: Responder, collected: Collected
) -> None:
    """`error.type` is the class; the message, which may repeat what was asked, is not there."""
    responder.on_ask = responder.answer

    def fail() -> None:
        raise LookupError(SECRET)

    with pytest.raises(LookupError):
        await supervised_writer(client).execute("x", fail)
    call = await collected.span("invoke_agent writer")
    assert call.status.status_code is StatusCode.ERROR
    assert call.attributes is not None
    assert call.attributes["error.type"] == "LookupError"
    assert SECRET not in call.to_json()


async def test_text_is_in_spans_only_where_the_setting_says_so(
    settings: Settings, responder: Responder, collected: Collected
) -> None:
    """OPS_STREAM_TRACE_CONTENT adds description, arguments and the exception."""
    responder.on_ask = responder.answer
    open_ = settings.model_copy(update={"trace_content": True})
    async with OpsClient(settings=open_, timeout_s=5) as client:

        def fail() -> None:
            raise LookupError("nothing there")

        with pytest.raises(LookupError):
            await supervised_writer(client).execute("x", fail)
    call = await collected.span("invoke_agent writer")
    assert call.attributes is not None
    assert call.attributes["ops_stream.task_description"] == f"Write {SECRET}"
    assert SECRET in str(call.attributes["gen_ai.tool.call.arguments"])
    assert [each.name for each in call.events] == ["exception"]
