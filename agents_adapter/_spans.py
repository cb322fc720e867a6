"""Spans and metrics by OpenTelemetry: one span an ask, one a call, and what both took.

Imported only where the program uses OpenTelemetry (see `_tracing`). No text of a task and no arguments go into a span
unless OPS_STREAM_TRACE_CONTENT says so.
"""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Final, ParamSpec

from opentelemetry import context as contexts
from opentelemetry import metrics, trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from agents_adapter import _conventions as names
from agents_adapter._measures import Measures, outcome_of
from agents_adapter.approval import Approval
from agents_adapter.errors import Refused
from ops_stream.contract.models import TaskApproval, TaskRequest, Telemetry
from ops_stream.contract.money import usd
from ops_stream.contract.settings import Settings

logger = logging.getLogger("agents_adapter")

P = ParamSpec("P")

POLICIES_MAX: Final = 32
CONTENT_MAX: Final = 4096
_SCOPE: Final = "agents_adapter"
_TOLD: Final = ("escalated", "queued", "revoked")
_W3C: Final = TraceContextTextMapPropagator()


def _harmless(function: Callable[P, None]) -> Callable[P, None]:
    """Let no fault of a span reach the call that it is about: samplers and processors are other people's code."""

    @functools.wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            function(*args, **kwargs)
        except Exception:
            logger.debug("A span or a metric was lost.", exc_info=True)

    return guarded


class Spans:
    """Makes spans and metrics with whatever provider the program has, also with one that it sets later."""

    def __init__(self) -> None:
        """Ask the API for a tracer and a meter."""
        self._tracer = trace.get_tracer(_SCOPE)
        self._measures = Measures(metrics.get_meter(_SCOPE))

    def ask(
        self, request: TaskRequest, explicit: str | None, inherited: str | None, settings: Settings
    ) -> AskTrace | None:
        """Begin the span of an ask: a child of the one named, else of the current one, else of the call around."""
        try:
            parent: Context | None = None
            if explicit is not None:
                parent = _remote(explicit)
            elif inherited is not None and not trace.get_current_span().get_span_context().is_valid:
                parent = _remote(inherited)
            span = self._tracer.start_span(
                f"ask {request.agent}",
                parent,
                SpanKind.CLIENT,
                _asked(request, settings.topic("task-requests"), settings.trace_content),
            )
            return AskTrace(span, self._measures)
        except Exception:
            logger.debug("The span of an ask was lost.", exc_info=True)
            return None

    def call(self, approval: Approval, content: bool) -> CallSpan | None:
        """Begin the span of a call beside the ask's where both have a parent, else below it."""
        try:
            parent, links = _beside(approval.traceparent)
            request, tool = approval.request, approval.request.tool
            span = self._tracer.start_span(
                f"{names.EXECUTE_TOOL} {tool}" if tool else f"{names.INVOKE_AGENT} {request.agent}",
                parent,
                SpanKind.INTERNAL,
                _called(approval, content),
                links,
            )
            return CallSpan(span, approval, content)
        except Exception:
            logger.debug("The span of a call was lost.", exc_info=True)
            return None

    @_harmless
    def reported(self, approval: Approval, event: Telemetry) -> None:
        """Count a report, and what it measured."""
        self._measures.reported(approval, event)


class AskTrace:
    """The span of an ask until its first final answer. What is heard after that is told to the call's span."""

    def __init__(self, span: Span, measures: Measures) -> None:
        """Take over a span that has begun."""
        self._asking = self._span = span
        self._measures = measures
        self._began = time.perf_counter()
        self._sequence = -1
        self.traceparent = _written(span)

    def goes_on(self, span: Span) -> None:
        """Tell what comes from now on to the span of the call."""
        self._span = span

    @_harmless
    def heard(self, answer: TaskApproval) -> None:
        """Note that it waits, or that it was revoked. Called in the background, once an answer."""
        if answer.sequence <= self._sequence:
            return
        self._sequence = answer.sequence
        if answer.decision in _TOLD:
            told: dict[str, Any] = {names.REASON: answer.reason, names.SEQUENCE: answer.sequence}
            if answer.escalation_id is not None:
                told[names.ESCALATION_ID] = answer.escalation_id
            self._span.add_event(names.EVENT_PREFIX + answer.decision, told)

    @_harmless
    def ended(self, future: Future[Approval]) -> None:
        """End it with what was decided. A denial is an answer, no error; that nobody answered is one."""
        error = None if future.cancelled() else future.exception()
        approval = None
        if isinstance(error, Refused):
            approval = error.approval
        elif error is None and not future.cancelled():
            approval = future.result()
        outcome, reason, failed = outcome_of(approval, error)
        span = self._asking
        if self._span is span:  # what comes before the call begins has no span
            self._span = trace.INVALID_SPAN
        span.set_attribute(names.OUTCOME, outcome)
        if approval is not None:
            span.set_attributes(_answered(approval))
        if failed:
            span.set_attribute(names.ERROR_TYPE, type(error).__name__)
            span.set_status(StatusCode.ERROR)
        span.end()
        self._measures.asked(time.perf_counter() - self._began, outcome, reason)


class CallSpan:
    """The span of a call that runs under an approval."""

    def __init__(self, span: Span, approval: Approval, content: bool) -> None:
        """Take over a span that has begun."""
        self._span = span
        self._approval = approval
        self._content = content
        self._token: Any = None
        self.traceparent = _written(span)
        if approval.mark.trace is not None:
            approval.mark.trace.goes_on(span)

    def __enter__(self) -> None:
        """Make it the current span."""
        self._token = contexts.attach(trace.set_span_in_context(self._span))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace_: TracebackType | None
    ) -> None:
        """Put back what was current."""
        if self._token is not None:
            contexts.detach(self._token)
            self._token = None

    @_harmless
    def ended(self, error: BaseException | None, fields: Mapping[str, Any]) -> None:
        """End it. Being stopped is no error of the agent: only what it raises by itself is."""
        span = self._span
        outcome = _end(error, self._approval)
        span.set_attribute(names.OUTCOME, outcome)
        span.set_attributes(_measured(fields))
        if outcome == "failed" and error is not None:
            span.set_attribute(names.ERROR_TYPE, type(error).__name__[:256])
            span.set_status(StatusCode.ERROR)
            if self._content:
                span.record_exception(error)
        span.end()


def _end(error: BaseException | None, approval: Approval) -> str:
    stopped = error is None or isinstance(error, asyncio.CancelledError | Refused)
    if approval.revoked and stopped:
        return "revoked"
    if error is None:
        return "completed"
    return "cancelled" if isinstance(error, asyncio.CancelledError) else "failed"


def _remote(traceparent: str) -> Context:
    """Give the current context with that parent; unchanged where it is none."""
    return _W3C.extract({"traceparent": traceparent}, contexts.get_current())


def _beside(traceparent: str | None) -> tuple[Context | None, list[Link] | None]:
    """Give the parent of a call's span, and the links to the ask's where that is not its parent."""
    if traceparent is None:
        return None, None
    below = _remote(traceparent)
    asked = trace.get_current_span(below).get_span_context()
    current = trace.get_current_span().get_span_context()
    if current.is_valid and current.trace_id == asked.trace_id:
        return None, [Link(asked)]
    return below, None


def _written(span: Span) -> str | None:
    context = span.get_span_context()
    if not context.is_valid:
        return None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags & 0xFF:02x}"


def _ids(request: TaskRequest) -> dict[str, Any]:
    found: dict[str, Any] = {
        names.AGENT_NAME: request.agent,
        names.REQUEST_ID: request.request_id,
        names.TASK_ID: request.task_id,
        names.TENANT: request.tenant,
        names.TASK_TYPE: request.task_type,
    }
    optional = {
        names.PARENT_REQUEST_ID: request.parent_request_id,
        names.WORKFLOW_ID: request.workflow_id,
        names.OBJECTIVE_ID: request.objective_id,
        names.TOOL_NAME: request.tool,
    }
    return found | {name: value for name, value in optional.items() if value is not None}


def _text(request: TaskRequest) -> dict[str, Any]:
    """What was said to the agent: only where the settings ask for it."""
    found = {names.TASK_DESCRIPTION: request.task_description[:CONTENT_MAX]}
    if request.arguments is not None:
        found[names.TOOL_ARGUMENTS] = json.dumps(request.arguments, ensure_ascii=False)[:CONTENT_MAX]
    return found


def _asked(request: TaskRequest, topic: str, content: bool) -> dict[str, Any]:
    found = _ids(request) | {
        names.MESSAGING_SYSTEM: "kafka",
        names.MESSAGING_DESTINATION: topic,
        names.PRIORITY: request.priority,
        names.EFFECT: request.effect,
    }
    if request.required_model is not None:
        found[names.REQUEST_MODEL] = request.required_model
    if request.estimated_cost_micros is not None:
        found[names.ESTIMATED_COST] = usd(request.estimated_cost_micros)
    return found | _text(request) if content else found


def _answered(approval: Approval) -> dict[str, Any]:
    """Give what was decided, without the sentences: they may repeat what was asked."""
    found: dict[str, Any] = {names.DECISION: approval.decision, names.REASON: approval.reason}
    answer = approval.answer
    if answer is None:
        return found
    found |= {
        names.SEQUENCE: answer.sequence,
        names.APPROVAL_ID: answer.approval_id,
        names.RULES_DIGEST: answer.rules_digest,
    }
    if answer.matched_policies:
        found[names.POLICIES] = [each.name for each in answer.matched_policies[:POLICIES_MAX]]
    optional = {
        names.ESCALATION_ID: answer.escalation_id,
        names.REQUEST_MODEL: answer.model,
        names.COST_LIMIT: approval.cost_limit_usd,
        names.WOULD_HAVE: answer.would_have.decision if answer.would_have is not None else None,
    }
    return found | {name: value for name, value in optional.items() if value is not None}


def _called(approval: Approval, content: bool) -> dict[str, Any]:
    request = approval.request
    found = _ids(request) | _answered(approval)
    found[names.OPERATION_NAME] = names.EXECUTE_TOOL if request.tool else names.INVOKE_AGENT
    found[names.PROVIDER_NAME] = names.OTHER
    model = approval.model or request.required_model
    if model is not None:
        found[names.REQUEST_MODEL] = model
    return found | _text(request) if content else found


def _measured(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Give what the last report says was used."""
    found = {
        names.USAGE_INPUT: fields.get("input_tokens"),
        names.USAGE_OUTPUT: fields.get("output_tokens"),
        names.USAGE_CACHE_READ: fields.get("cached_input_tokens"),
        names.RESPONSE_MODEL: fields.get("model"),
        names.COST: fields.get("cost_usd"),
        names.QUALITY: fields.get("quality_score"),
        names.PROVIDER_NAME: (fields.get("attributes") or {}).get(names.PROVIDER_NAME),
    }
    return {name: value for name, value in found.items() if value is not None}
