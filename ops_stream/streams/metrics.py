"""What the worker counts, for Prometheus. The hot path adds to plain numbers; they are read when somebody asks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Final, get_args

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from ops_stream.contract.reasons import Reason
from ops_stream.core.decision import Decision
from ops_stream.core.inputs import RECORD_INPUTS, Input
from ops_stream.core.journal.ledger import Prepared
from ops_stream.core.rows import Decided
from ops_stream.core.validation import Rule
from ops_stream.streams.brokertime import BrokerClock
from ops_stream.streams.metrics_gauges import Gauges
from ops_stream.streams.metrics_histogram import Histogram
from ops_stream.streams.metrics_names import FAMILIES
from ops_stream.streams.saying import Saying

if TYPE_CHECKING:
    from ops_stream.streams.supervisor import Supervisor

OTHER: Final = "other"
DECISIONS: Final = frozenset(get_args(Decided))
REASONS: Final = frozenset(map(str, Reason))
LETTERS_MAX: Final = 64
"""Reasons of dead letters that are told apart: each is a word of this program's, and none comes from outside."""
KINDS: Final = ("input", "tick", "takeover", "gap")
RULES: Final = get_args(Rule)
BUCKETS_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
BACKLOG_S: Final = (60, 300, 1800, 7200)
"""How long an ask may have waited where the worker was away."""


def names() -> frozenset[str]:
    """The names of everything that the worker exports, as a query names them."""
    return frozenset(sample for family in FAMILIES.values() for sample in family.samples)


class Metrics(Collector):
    """Counters of one worker; also the sequencers' `Observer`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.records: Counter[str] = Counter(dict.fromkeys(KINDS, 0))
        self.outputs: Counter[str] = Counter()
        self.decisions: Counter[tuple[str, str]] = Counter()
        self.letters: Counter[str] = Counter({"malformed_request": 0, "internal_error": 0})
        self.flagged: Counter[str] = Counter(dict.fromkeys(RULES, 0))
        self.decide_seconds = 0.0
        self.snapshots = 0
        self.ask_to_decided = Histogram(*BUCKETS_S, *BACKLOG_S)
        self.decided_to_published = Histogram(*BUCKETS_S)
        self.append = Histogram(*BUCKETS_S)
        self.recovery = Histogram(0.1, 0.5, 1, 5, 15, 60, 300, 1800)
        self.published: Callable[[float], None] = self.decided_to_published.add
        """All outputs of a record are out, so long after it was sealed."""
        self.journaled: Callable[[float], None] = self.append.add
        """The journal has acknowledged records, the first of them so long after it was sealed."""
        self.clock: BrokerClock | None = None
        self.saying = Saying()
        """What the log says of decisions."""
        self._engine = ""
        self._gauges = Gauges()
        self._supervisor: Callable[[], Supervisor] | None = None
        self.registry.register(self)

    def watch(self, supervisor: Callable[[], Supervisor], engine: str) -> None:
        """Read gauges from this supervisor, which runs this version of the engine."""
        self._supervisor = supervisor
        self._engine = engine
        self.clock = supervisor().clock

    def decided(
        self, prepared: Prepared, decision: Decision, input_: Input, started: float, sealed_at: float
    ) -> None:
        """A record was decided and sealed, and is enqueued."""
        self.records[prepared.header.kind] += 1
        self.decide_seconds += sealed_at - started
        if decision.flags:
            self.flagged.update(decision.flags)
        answered = False
        for output in decision.outputs:
            topic = output.topic
            self.outputs[topic] += 1
            if topic == "approvals":
                value = output.value
                self.decisions[value["decision"], value["reason"]] += 1
                answered = True
                if self.saying.details:
                    self.saying.answer(output)
            elif topic == "dead-letters":
                self._letter(output.value["reason"])
                self.saying.dead_letter(output, input_)
            elif topic == "alerts":
                self.saying.alert(output, input_)
        if answered and isinstance(input_, RECORD_INPUTS):
            origin = input_.forwarded_from or input_.origin
            ahead_ms = self.clock.ahead_ms if self.clock is not None else None
            if ahead_ms is not None and origin.topic == "task-requests":
                self.ask_to_decided.add(sealed_at + (ahead_ms - origin.timestamp_ms) / 1000)

    def _letter(self, reason: str) -> None:
        known = reason in self.letters or len(self.letters) < LETTERS_MAX
        self.letters[reason if known else OTHER] += 1

    def recovered(self, partition: int, seconds: float) -> None:
        """A partition went live, and its takeover counts."""
        self.records["takeover"] += 1
        self.recovery.add(seconds)

    def snapshot_written(self, partition: int) -> None:
        """A snapshot is complete."""
        self.snapshots += 1

    def forget(self, partition: int) -> None:
        """A partition is no longer owned."""
        self._gauges.forget(partition)

    def text(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self.registry)

    def collect(self) -> Iterable[Metric]:
        """Everything, as it is now."""
        yield _counter("decisions_total", _bounded(self.decisions))
        yield _counter("records_total", {(kind,): count for kind, count in self.records.items()})
        yield _counter("outputs_total", {(topic,): count for topic, count in self.outputs.items()})
        yield _counter("dead_letters_total", {(reason,): count for reason, count in self.letters.items()})
        yield _counter(
            "telemetry_flagged_total", {(r if r in RULES else OTHER,): n for r, n in self.flagged.items()}
        )
        yield _counter("decide_seconds_total", {(): self.decide_seconds})
        yield _counter("snapshots_total", {(): self.snapshots})
        yield _histogram("ask_to_decided_seconds", self.ask_to_decided)
        yield _histogram("decided_to_published_seconds", self.decided_to_published)
        yield _histogram("append_seconds", self.append)
        yield _histogram("recovery_seconds", self.recovery)
        yield _gauge("build_info", {(_version(), self._engine): 1})
        if self._supervisor is not None:
            found = self._gauges.read(self._supervisor())
            for name, samples in found.items():
                yield (_counter if FAMILIES[name].kind == "counter" else _gauge)(name, samples)


Samples = dict[tuple[str, ...], float]


def _bounded(decisions: Counter[tuple[str, str]]) -> Samples:
    found: Counter[tuple[str, ...]] = Counter()
    for (decision, reason), count in decisions.items():
        labels = (decision if decision in DECISIONS else OTHER, reason if reason in REASONS else OTHER)
        found[labels] += count
    return dict(found)


def _counter(name: str, samples: Samples) -> Metric:
    family = FAMILIES[name]
    metric = CounterMetricFamily(family.full, family.says, labels=family.labels)
    for labels, value in samples.items():
        metric.add_metric(labels, value)
    return metric


def _gauge(name: str, samples: Samples) -> Metric:
    family = FAMILIES[name]
    metric = GaugeMetricFamily(family.full, family.says, labels=family.labels)
    for labels, value in samples.items():
        metric.add_metric(labels, value)
    return metric


def _histogram(name: str, histogram: Histogram) -> Metric:
    family = FAMILIES[name]
    metric = HistogramMetricFamily(family.full, family.says, labels=())
    metric.add_metric((), list(histogram.buckets()), histogram.total)
    return metric


def _version() -> str:
    try:
        return version("ops-stream")
    except PackageNotFoundError:
        return "unknown"
