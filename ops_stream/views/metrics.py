"""What the views process counts, for Prometheus: plain numbers, read when somebody asks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

KPIS_MAX: Final = 500
"""Pairs of a figure and a window that are shown at most."""

Kpis = Mapping[tuple[str, str], float]
"""Figure and window → its value over all tenants."""


@dataclass(eq=False)
class Metrics(Collector):
    """The numbers of one views process."""

    applied: int = 0
    errors: int = 0
    rebuilds: int = 0
    redis_up: bool = False
    ready: bool = False
    lag: int = 0
    behind_s: float = 0.0
    voids: int = 0
    kpis: Kpis = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Set up the registry."""
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def text(self) -> bytes:
        """Give everything in Prometheus' text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterable[Metric]:
        """Give the numbers as metrics."""
        counter, gauge = CounterMetricFamily, GaugeMetricFamily
        yield counter(
            "ops_stream_views_applied_records", "Journal records taken into the views.", self.applied
        )
        yield counter("ops_stream_views_redis_errors", "Times that Redis failed.", self.errors)
        yield counter("ops_stream_views_rebuilds", "Generations of the views that were built.", self.rebuilds)
        yield gauge("ops_stream_views_redis_up", "Whether Redis takes what is written.", self.redis_up)
        yield gauge(
            "ops_stream_views_ready", "Whether the views are kept up to date by this one.", self.ready
        )
        yield gauge("ops_stream_views_lag_records", "Journal records that are not in the views.", self.lag)
        yield gauge("ops_stream_views_behind_seconds", "How old the views are at most.", self.behind_s)
        yield gauge(
            "ops_stream_views_void_records", "Journal records that were passed over: void ones.", self.voids
        )
        kpis = gauge(
            "ops_stream_kpi",
            "A key figure over the current window, all tenants together.",
            labels=["kpi", "window"],
        )
        for (kpi, window), value in sorted(self.kpis.items())[:KPIS_MAX]:
            kpis.add_metric([kpi, window], value)
        yield kpis
