"""Blocking calls are traced alike; metrics; and what tracing costs an agent."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace

from agents_adapter import Denied, OpsClient, SyncOpsClient, supervised
from agents_adapter._measures import SETS_MAX, VALUES_MAX, Few, FewSets
from ops_stream.contract.settings import Settings
from tests.adapters.emitted import Collected
from tests.adapters.held import at_once, held
from tests.adapters.responder import Responder, answering_from_elsewhere
from tests.adapters.traced import supervised_writer, traces

pytestmark = pytest.mark.bus


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


def test_of_their_combinations_only_so_many_are_told_apart() -> None:
    """A hundred models that ask for a hundred others are not ten thousand series; what is bounded anyway stays."""
    sets = FewSets()
    made = {
        tuple(
            sets(
                {"gen_ai.operation.name": "invoke_agent", "gen_ai.request.model": a, "error.type": b}
            ).items()
        )
        for a in range(100)
        for b in range(100)
    }
    assert len(made) == SETS_MAX + 1
    assert sets({"gen_ai.operation.name": "x", "gen_ai.request.model": "m"}) == {
        "gen_ai.operation.name": "x",
        "gen_ai.request.model": "_OTHER",
    }


async def test_a_report_with_its_measures_waits_for_nothing(
    client: OpsClient, responder: Responder, collected: Collected
) -> None:
    """While the thread that talks to Kafka stands still, it is handed over and counted in one step; then it arrives."""
    responder.on_ask = responder.answer
    approval = await client.ask("writer", "x")

    def counted() -> float:
        return collected.total("ops_stream.reports", **{"ops_stream.report.kind": "completed"})

    before = counted()
    with held(client):
        assert at_once(client.report(approval, cost_usd=0.01, input_tokens=5, latency_ms=3, model="large"))
        assert counted() == before + 1
    await responder.report("completed", request_id=approval.request_id)


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
