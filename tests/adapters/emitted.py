"""What the adapter emits in the tests' own process: spans and metrics, kept in memory."""

from __future__ import annotations

import asyncio
from typing import Any

from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter


class Collected:
    """What the process has emitted since the test began."""

    def __init__(self) -> None:
        """Set providers that keep everything in memory; a process can do that once."""
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        trace.set_tracer_provider(provider)
        self._reader = InMemoryMetricReader()
        metrics.set_meter_provider(MeterProvider([self._reader]))
        self.tracer = trace.get_tracer("the.program")

    def clear(self) -> None:
        """Forget the spans."""
        self._exporter.clear()

    async def span(self, name: str) -> ReadableSpan:
        """Wait for the one span of a name: it ends a moment after the call returns."""
        async with asyncio.timeout(5):
            while True:
                found = [each for each in self._exporter.get_finished_spans() if each.name == name]
                if found:
                    assert len(found) == 1
                    return found[0]
                await asyncio.sleep(0.01)

    @property
    def names(self) -> list[str]:
        """The names of the spans that have ended."""
        return [each.name for each in self._exporter.get_finished_spans()]

    def points(self, name: str) -> list[Any]:
        """Give the data points of a metric, of the whole process."""
        data = self._reader.get_metrics_data()
        return [
            point
            for resource in (data.resource_metrics if data is not None else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]

    def total(self, name: str, **wanted: Any) -> float:
        """Give how often, or how much, was counted with these attributes."""
        return sum(
            getattr(point, "count", None) or getattr(point, "value", 0)
            for point in self.points(name)
            if wanted.items() <= dict(point.attributes).items()
        )


def ids(span: ReadableSpan) -> tuple[str, str]:
    """Give a span's trace and its own id, as a traceparent has them."""
    return f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}"


def written(span: ReadableSpan) -> str:
    """Give a span's context as a `traceparent` header has it."""
    return "-".join(("00", *ids(span), f"{span.context.trace_flags:02x}"))
