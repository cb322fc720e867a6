"""What is read when somebody asks for the metrics. Nothing here goes through a state: its totals are kept."""

from __future__ import annotations

from collections import Counter
from time import monotonic
from typing import TYPE_CHECKING

from ops_stream.core.rows_alarms import RANK
from ops_stream.streams.readiness import examine

if TYPE_CHECKING:
    from ops_stream.streams.sequencer import Sequencer
    from ops_stream.streams.supervisor import Supervisor

Samples = dict[tuple[str, ...], float]
PHASES = ("recovering", "live", "draining", "halted", "stalled")
SCOPES = ("all", "tenant", "workflow", "agent", "model")
SEVERITIES = ("info", "warning", "critical")
USD = 1_000_000
PROVIDERS_MAX = 20
"""Providers that are told apart."""


class Gauges:
    """Reads a supervisor."""

    def __init__(self) -> None:
        self._evicted: dict[int, int] = {}
        self._evicted_total = 0

    def forget(self, partition: int) -> None:
        """A partition is no longer owned."""
        self._evicted.pop(partition, None)

    def read(self, supervisor: Supervisor) -> dict[str, Samples]:
        """Everything, by the metric's name without its prefix."""
        live = supervisor.live()
        return {
            **_of_partitions(supervisor),
            **_of_states(live),
            **_of_budgets(supervisor),
            "lag_records": {(topic,): lag for topic, lag in supervisor.sampler.lag().items()},
            "inputs_waiting": {(): sum(s.waiting for s in live)},
            "records_unpublished": {(): sum(s.publisher.waiting for s in live)},
            "void_records": {(): sum(s.ledger.voids for s in live)},
            "state_rows": {(): sum(len(s.ledger.state.rows) for s in live)},
            "learned_keys": {(): sum(_learned(s) for s in live)},
            "learned_evicted_total": {(): self._evictions(live)},
        }

    def _evictions(self, live: list[Sequencer]) -> int:
        """How many memories made room since this worker looked first: what a state counts goes back further."""
        for sequencer in live:
            row = sequencer.ledger.state.learned.evicted
            now = row.keys + row.workflows
            self._evicted_total += max(0, now - self._evicted.get(sequencer.partition, now))
            self._evicted[sequencer.partition] = now
        return self._evicted_total


def _learned(sequencer: Sequencer) -> int:
    learned = sequencer.ledger.state.learned
    return len(learned.keys) + len(learned.flows)


def _of_partitions(supervisor: Supervisor) -> dict[str, Samples]:
    health = examine(supervisor)
    phases: Counter[str] = Counter(dict.fromkeys(PHASES, 0))
    phases.update(state["phase"] for state in health.partitions.values())
    snapshots = supervisor.snapshots
    ages = [snapshots.age_s(s.partition) for s in supervisor.live()] if snapshots is not None else []
    return {
        "ready": {(): int(health.ready)},
        "partitions": {(phase,): count for phase, count in phases.items()},
        "broker_silent_seconds": {(): monotonic() - supervisor.clock.heard_at},
        "snapshot_age_seconds": {(): max(ages, default=0.0)},
    }


def _of_states(live: list[Sequencer]) -> dict[str, Samples]:
    asks: Counter[str] = Counter({"running": 0, "escalated": 0, "queued": 0, "unknown": 0})
    kills: Counter[str] = Counter(dict.fromkeys(SCOPES, 0))
    firing = [0] * len(SEVERITIES)
    held = unknown = escalations = unproved = 0
    for sequencer in live:
        state = sequencer.ledger.state
        totals = state.totals
        asks.update(totals.asks)
        asks["unknown"] += len(state.unknown)
        kills.update(totals.kills)
        firing = [one + other for one, other in zip(firing, totals.firing, strict=True)]
        held += totals.held
        unknown += totals.unknown
        escalations += totals.escalations
        unproved += sum(map(len, state.unproved.values()))
    return {
        "open_asks": {(phase,): count for phase, count in asks.items()},
        "waiting_for_room": _waiting(live),
        "held_usd": {(): held / USD},
        "unknown_usd": {(): unknown / USD},
        "escalations_open": {(): escalations},
        "alerts_firing": {(severity,): firing[RANK[severity]] for severity in SEVERITIES},
        "kills_active": {(scope,): kills[scope] for scope in SCOPES},
        "kill_unproved_asks": {(): unproved},
    }


def _waiting(live: list[Sequencer]) -> Samples:
    """Give how many asks wait for room: by provider the most, the rest together, and those for their tenant's own."""
    counts: Counter[str] = Counter()
    for sequencer in live:
        counts.update(sequencer.ledger.state.load.of_line)
    found = {("none",): counts.pop("", 0), ("others",): 0}
    for rank, (provider, count) in enumerate(counts.most_common()):
        name = provider if rank < PROVIDERS_MAX else "others"
        found[name,] = found.get((name,), 0) + count
    return {labels: float(count) for labels, count in found.items()}


def _of_budgets(supervisor: Supervisor) -> dict[str, Samples]:
    sample = supervisor.budgets.sample
    return {
        "budget_used_usd": {(one.tenant, one.window): one.used / USD for one in sample.shown},
        "budget_limit_usd": {(one.tenant, one.window): one.limit / USD for one in sample.shown},
        "budgets_not_shown": {(): sample.others},
        "sampling_errors_total": {(): supervisor.budgets.errors},
    }
