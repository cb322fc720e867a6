"""Spans and metrics of asks and calls, by the GenAI conventions, and the trace that runs through the topics."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode

from agents_adapter import Denied, NoAnswer, OpsClient, Revoked, SyncOpsClient, supervise, supervised
from agents_adapter._measures import VALUES_MAX, Few
from ops_stream.contract.models import TaskRequest
from ops_stream.contract.settings import Settings
from tests.adapters.emitted import Collected, ids, written
from tests.adapters.responder import Responder, answering_from_elsewhere

pytestmark = pytest.mark.bus

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SECRET = "the patient's name is Jane"


class Writer:
    """A plain agent."""

    name = "writer"

    async def execute(self, text: str, then: Callable[[], Any] | None = None) -> dict[str, Any]:
        """Work."""
        made = then() if then is not None else None
        return {"text": text, "made": await made if asyncio.iscoroutine(made) else made}


def supervised_writer(client: OpsClient | SyncOpsClient, **estimate: Any) -> Writer:
    """Give a writer that asks and measures."""
    return supervise(
        Writer(),
        client,
        describe=lambda args: f"Write {SECRET}",
        estimate=lambda args: {"estimated_cost_usd": 0.5, "arguments": {"text": SECRET}, **estimate},
        measure=lambda result: {
            "input_tokens": 120,
            "output_tokens": 30,
            "cached_input_tokens": 20,
            "model": "large-2",
            "cost_usd": 0.25,
            "quality_score": 0.5,
            "attributes": {"gen_ai.provider.name": "openai"},
        },
    )


def traces(responder: Responder) -> set[str]:
    """Give the trace ids of everything that agents wrote."""
    return {each.headers["traceparent"].split("-")[1] for each in responder.seen if each.topic != "agents"}


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


def test_a_blocking_call_is_traced_alike_and_its_span_is_current_inside(
    settings: Settings, collected: Collected
) -> None:
    """SyncOpsClient, `supervised` and `running`: the same spans; afterwards nothing of them is current."""
    inside: list[trace.SpanContext] = []
    with answering_from_elsewhere(settings) as responder, SyncOpsClient(settings=settings) as client:

        @supervised(client, agent="adder")
        def add(a: int, b: int) -> int:
            inside.append(trace.get_current_span().get_span_context())
            return a + b

        assert add(1, 2) == 3
        approval = client.ask("by-hand", "x")
        with client.running(approval):
            inside.append(trace.get_current_span().get_span_context())
        client.report(approval, kind="completed", output_tokens=5)
        client.flush()
        assert not trace.get_current_span().get_span_context().is_valid
        call = asyncio.run(collected.span("invoke_agent adder"))
        by_hand = asyncio.run(collected.span("invoke_agent by-hand"))
        assert [each.span_id for each in inside] == [call.context.span_id, by_hand.context.span_id]
        assert by_hand.attributes is not None
        assert by_hand.attributes["ops_stream.outcome"] == "completed"
        assert len(traces(responder)) == 2


async def test_metrics_count_asks_reports_durations_and_tokens(
    client: OpsClient, responder: Responder, collected: Collected
) -> None:
    """By decision and reason, by kind, and by model; no request, task, tenant or agent is an attribute."""

    def reports(kind: str) -> float:
        return collected.total("ops_stream.reports", **{"ops_stream.report.kind": kind})

    def asks(**wanted: str) -> float:
        return collected.total(
            "ops_stream.asks", **{f"ops_stream.{name}": value for name, value in wanted.items()}
        )

    before = (
        asks(decision="approved"),
        asks(decision="denied", reason="policy_blocked"),
        reports("completed"),
        collected.total("gen_ai.client.token.usage", **{"gen_ai.token.type": "input"}),
        collected.total("gen_ai.client.operation.duration"),
        collected.total("ops_stream.ask.duration"),
        collected.total("ops_stream.cost"),
    )
    responder.on_ask = lambda ask: responder.answer(ask, model="large")
    await supervised_writer(client).execute("x")
    responder.on_ask = lambda ask: responder.answer(ask, "denied", reason="policy_blocked")
    with pytest.raises(Denied):
        await client.ask("writer", "x")
    await responder.report("completed")
    await collected.span("invoke_agent writer")
    async with asyncio.timeout(5):
        while asks(decision="denied", reason="policy_blocked") == before[1]:
            await asyncio.sleep(0.01)
    after = (
        asks(decision="approved"),
        asks(decision="denied", reason="policy_blocked"),
        reports("completed"),
        collected.total("gen_ai.client.token.usage", **{"gen_ai.token.type": "input"}),
        collected.total("gen_ai.client.operation.duration"),
        collected.total("ops_stream.ask.duration"),
        collected.total("ops_stream.cost"),
    )
    assert [round(new - old, 6) for old, new in zip(before, after, strict=True)] == [1, 1, 1, 1, 1, 2, 0.25]
    point = next(
        each
        for each in collected.points("gen_ai.client.token.usage")
        if each.attributes["gen_ai.token.type"] == "input"
    )
    assert dict(point.attributes) == {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "large",
        "gen_ai.response.model": "large-2",
        "gen_ai.token.type": "input",
    }
    assert point.explicit_bounds[:3] == (1, 4, 16)
    used = {
        key
        for name in ("ops_stream.asks", "ops_stream.reports", "gen_ai.client.operation.duration")
        for each in collected.points(name)
        for key in each.attributes
    }
    assert used <= {
        "ops_stream.decision",
        "ops_stream.reason",
        "ops_stream.report.kind",
        "gen_ai.operation.name",
        "gen_ai.provider.name",
        "gen_ai.request.model",
        "gen_ai.response.model",
        "error.type",
    }


async def test_a_reason_that_the_contract_does_not_know_is_not_a_new_attribute_value(
    client: OpsClient, responder: Responder, collected: Collected
) -> None:
    """Whoever may answer cannot make as many time series as they like."""
    responder.on_ask = lambda ask: responder.answer(ask, "denied", reason=f"made-up-{ask.request_id}")
    for _ in range(3):
        with pytest.raises(Denied):
            await client.ask("writer", "x")
    found = {point.attributes["ops_stream.reason"] for point in collected.points("ops_stream.asks")}
    assert not [each for each in found if str(each).startswith("made-up")]


def test_of_models_and_providers_only_so_many_are_told_apart() -> None:
    """The first hundred keep their names, clipped; the rest are `_OTHER`, and those known stay known."""
    few = Few()
    for number in range(VALUES_MAX):
        assert few(f"model-{number}") == f"model-{number}"
    assert few("one more") == "_OTHER"
    assert few("model-7") == "model-7"
    assert few("m" * 1000) == "_OTHER"
    assert len(Few()("m" * 1000)) == 64


async def test_a_report_holds_up_its_agent_for_less_than_a_millisecond(
    client: OpsClient, responder: Responder, collected: Collected
) -> None:
    """At the median, with spans and metrics, also beside all else that this machine does now."""
    responder.on_ask = responder.answer
    took = []
    approvals = await asyncio.gather(*(client.ask("writer", "x") for _ in range(200)))
    for approval in approvals:
        await asyncio.sleep(0.001)
        began = time.perf_counter()
        await client.report(approval, cost_usd=0.01, input_tokens=5, latency_ms=3, model="large")
        took.append(time.perf_counter() - began)
    assert sorted(took)[100] < 0.001


async def test_a_fault_in_the_programs_own_tracing_costs_no_ask_and_no_report(
    client: OpsClient, responder: Responder, collected: Collected, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Samplers, processors and meters are other people's code: where they raise, the call runs as ever."""
    from agents_adapter import _tracing

    responder.on_ask = responder.answer
    await client.report(await client.ask("writer", "first"), cost_usd=0.1)
    spans = _tracing._spans
    assert spans is not None

    class Broken:
        def __getattr__(self, name: str) -> Any:
            raise RuntimeError("broken on purpose")

    monkeypatch.setattr(spans, "_tracer", Broken())
    monkeypatch.setattr(spans, "_measures", Broken())
    assert (await supervised_writer(client).execute("x"))["text"] == "x"
    approval = await client.ask("writer", "third")
    await client.report(approval, cost_usd=0.1)
    await responder.report("completed", request_id=approval.request_id)
    assert threading.active_count() < 50


def test_the_strings_are_those_of_the_conventions_package() -> None:
    """Its constants are called deprecated since the GenAI conventions moved; their values are ours."""
    from opentelemetry.semconv._incubating.attributes import error_attributes, gen_ai_attributes
    from opentelemetry.semconv._incubating.metrics import gen_ai_metrics

    from agents_adapter import _conventions as ours

    for mine, theirs in {
        ours.AGENT_NAME: gen_ai_attributes.GEN_AI_AGENT_NAME,
        ours.OPERATION_NAME: gen_ai_attributes.GEN_AI_OPERATION_NAME,
        ours.PROVIDER_NAME: gen_ai_attributes.GEN_AI_PROVIDER_NAME,
        ours.REQUEST_MODEL: gen_ai_attributes.GEN_AI_REQUEST_MODEL,
        ours.RESPONSE_MODEL: gen_ai_attributes.GEN_AI_RESPONSE_MODEL,
        ours.TOKEN_TYPE: gen_ai_attributes.GEN_AI_TOKEN_TYPE,
        ours.TOOL_NAME: gen_ai_attributes.GEN_AI_TOOL_NAME,
        ours.TOOL_ARGUMENTS: gen_ai_attributes.GEN_AI_TOOL_CALL_ARGUMENTS,
        ours.USAGE_INPUT: gen_ai_attributes.GEN_AI_USAGE_INPUT_TOKENS,
        ours.USAGE_OUTPUT: gen_ai_attributes.GEN_AI_USAGE_OUTPUT_TOKENS,
        ours.USAGE_CACHE_READ: gen_ai_attributes.GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS,
        ours.OPERATION_DURATION: gen_ai_metrics.GEN_AI_CLIENT_OPERATION_DURATION,
        ours.TOKEN_USAGE: gen_ai_metrics.GEN_AI_CLIENT_TOKEN_USAGE,
        ours.INVOKE_AGENT: gen_ai_attributes.GenAiOperationNameValues.INVOKE_AGENT.value,
        ours.EXECUTE_TOOL: gen_ai_attributes.GenAiOperationNameValues.EXECUTE_TOOL.value,
        ours.ERROR_TYPE: error_attributes.ERROR_TYPE,
    }.items():
        assert mine == theirs
    package = Path(ours.__file__).parent
    for path in package.glob("*.py"):
        if path.name != "_conventions.py":
            code = "\n".join(line for line in path.read_text().splitlines() if '"gen_ai.' in line)
            assert not code, path.name
