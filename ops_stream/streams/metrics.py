"""What the worker counts, for Prometheus. The hot path adds to plain numbers; they are read when somebody asks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ops_stream.core.journal.ledger import Prepared

if TYPE_CHECKING:
    from ops_stream.streams.supervisor import Supervisor

BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics(Collector):
    """Counters of one worker; also the sequencers' `Observer`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.records: Counter[str] = Counter()
        self.outputs: Counter[str] = Counter()
        self.decide_seconds = 0.0
        self.recoveries = 0
        self.snapshots = 0
        self._append = Histogram(
            "ops_stream_append_seconds",
            "From a decision to the journal's acknowledgement of its record.",
            buckets=BUCKETS_S,
            registry=self.registry,
        )
        self._recovery = Histogram(
            "ops_stream_recovery_seconds",
            "Time that the recovery of a partition took.",
            buckets=(0.1, 0.5, 1, 5, 15, 60, 300, 1800),
            registry=self.registry,
        )
        self._supervisor: Callable[[], Supervisor] | None = None
        self.registry.register(self)

    def watch(self, supervisor: Callable[[], Supervisor]) -> None:
        """Read gauges from this supervisor."""
        self._supervisor = supervisor

    def decided(self, partition: int, prepared: Prepared, seconds: float) -> None:
        """A record was decided and enqueued."""
        self.records[prepared.header.kind] += 1
        self.decide_seconds += seconds
        for output in prepared.written.outputs:
            self.outputs[output.topic] += 1

    def journaled(self, partition: int, seconds: float, records: int) -> None:
        """Records were acknowledged by the journal."""
        self._append.observe(seconds)

    def recovered(self, partition: int, seconds: float) -> None:
        """A partition went live."""
        self.recoveries += 1
        self._recovery.observe(seconds)

    def snapshot_written(self, partition: int) -> None:
        """A snapshot is complete."""
        self.snapshots += 1

    def forget(self, partition: int) -> None:
        """A partition is no longer owned; nothing is kept by partition here."""

    def text(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self.registry)

    def collect(self) -> Iterable[Metric]:
        """The counters as metrics."""
        records = CounterMetricFamily(
            "ops_stream_records", "Journal records written, by kind.", labels=["kind"]
        )
        for kind, count in self.records.items():
            records.add_metric([kind], count)
        yield records
        outputs = CounterMetricFamily("ops_stream_outputs", "Outputs decided, by topic.", labels=["topic"])
        for topic, count in self.outputs.items():
            outputs.add_metric([topic], count)
        yield outputs
        yield CounterMetricFamily(
            "ops_stream_decide_seconds", "Time spent deciding and sealing records.", self.decide_seconds
        )
        yield CounterMetricFamily("ops_stream_snapshots", "Snapshots completed.", self.snapshots)
        if self._supervisor is not None:
            yield from _gauges(self._supervisor())


def _gauges(supervisor: Supervisor) -> Iterable[Metric]:
    live = supervisor.live()
    partitions = GaugeMetricFamily("ops_stream_partitions", "Owned partitions, by phase.", labels=["phase"])
    for phase, count in Counter(owned.phase.value for owned in supervisor.owned.values()).items():
        partitions.add_metric([phase], count)
    yield partitions
    waiting = sum(sequencer.waiting for sequencer in live)
    yield GaugeMetricFamily("ops_stream_inputs_waiting", "Inputs delivered and not yet decided.", waiting)
    unpublished = sum(sequencer.publisher.waiting for sequencer in live)
    yield GaugeMetricFamily(
        "ops_stream_records_unpublished", "Records whose outputs are not all out.", unpublished
    )
    yield GaugeMetricFamily(
        "ops_stream_rows", "State rows held.", sum(len(s.ledger.state.rows) for s in live)
    )
    yield GaugeMetricFamily(
        "ops_stream_void_records", "Journal records that do not count.", sum(s.ledger.voids for s in live)
    )
