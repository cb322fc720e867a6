"""Histograms that the hot path adds to, held against Prometheus' own."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client import Histogram as Known

from ops_stream.streams.metrics import BUCKETS_S, Metrics
from ops_stream.streams.metrics_histogram import Histogram
from tests.survival.metered import Scrape


def test_a_histogram_counts_as_prometheus_own_does() -> None:
    """A value on a bound belongs to it, one beyond all only to `+Inf`, and the sum is the sum."""
    registry = CollectorRegistry()
    known = Known("ops_stream_append_seconds", "x", buckets=BUCKETS_S, registry=registry)
    metrics = Metrics()
    for value in (0.0, 0.0005, 0.00051, 0.001, 0.3, 29.9, 30.0, 30.1, 1e9):
        known.observe(value)
        metrics.journaled(value)
    expected, found = Scrape(generate_latest(registry).decode()), Scrape(metrics.text().decode())
    assert {
        key: value for key, value in found.samples.items() if key[0].startswith("ops_stream_append_seconds")
    } == {key: value for key, value in expected.samples.items() if not key[0].endswith("_created")}


def test_a_value_below_zero_counts_as_zero() -> None:
    """The broker's time is estimated: an ask may seem to be decided before it was written."""
    histogram = Histogram(0.1, 1.0)
    histogram.add(-5.0)
    assert list(histogram.buckets()) == [("0.1", 1.0), ("1.0", 1.0), ("+Inf", 1.0)]
    assert histogram.total == 0.0
