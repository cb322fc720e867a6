"""What `conf/telemetry.yaml` says: what reports are believed, what is learned, which figures are kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

Required = Literal["started", "progress", "completed", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class Reports:
    """What of a report is believed. What is not is kept and counted, and goes into no statistic.

    Money is in micro-dollars. A bound of None is off.
    """

    required: Mapping[Required, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    """Fields that a report of a kind must give, by their names on the wire."""
    models: frozenset[str] | None = None
    """The models that a report may name; None for those of `models.yaml`, or any where that lists none."""
    latency_ms_max: int | None = 86_400_000
    latency_tolerance_percent: int | None = 50
    """How much longer than the ask has been under way by the broker's time a latency may be."""
    latency_factor_max: int | None = 1_000
    """An ask that has run so many times longer than its latency says is taken for a latency in seconds."""
    latency_grace_s: int = 5
    """How far a latency may be from the broker's time whatever the two bounds before say."""
    cost_micros_max: int | None = 1_000_000_000
    tokens_max: int | None = 10_000_000
    """Input, output and cached tokens each."""
    usd_per_mtok_max: int | None = 1_000
    """A cost above this many dollars for a million tokens, and `fee_micros_max`, is taken for another unit."""
    fee_micros_max: int = 5_000_000
    """What an ask may cost beside its tokens: searches, images, other people's services."""
    tokens_per_s_max: int | None = 20_000
    """More output tokens in a second are taken for a latency in another unit."""
    skew_s: int = 300
    """How far an agent's clock may be from the broker's."""

    def without_bounds(self) -> Reports:
        """Give them with every bound off, and nothing required."""
        return Reports(
            models=self.models,
            latency_ms_max=None,
            latency_tolerance_percent=None,
            latency_factor_max=None,
            cost_micros_max=None,
            tokens_max=None,
            usd_per_mtok_max=None,
            tokens_per_s_max=None,
            skew_s=self.skew_s,
        )


@dataclass(frozen=True, slots=True)
class Memory:
    """What is remembered of how agents, task types and models have done."""

    half_life_s: int = 7 * 86_400
    """After so long what was seen counts half."""
    keys_max: int = 20_000
    """Combinations of agent, task type and model that a partition remembers; those unused for longest make room."""
    workflows_max: int = 20_000
    """Workflows of a partition that are remembered."""
    prior_weight: int = 5
    """How many imagined reports a new agent begins with."""
    prior_percent: int = 70
    """What those say of it, in hundredths of the best."""


@dataclass(frozen=True, slots=True)
class Kpis:
    """How figures are kept and told."""

    publish_every_s: int = 60
    """How long a changed figure waits before it is told."""
    hours_kept: int = 48
    days_kept: int = 35
    """How many windows of an hour and of a day can be read on `ops.kpis`."""
    goals_max: int = 50_000
    """Objectives of a partition that are followed."""


@dataclass(frozen=True, slots=True)
class TelemetryRules:
    """All of `conf/telemetry.yaml`; the defaults are those of the file that is shipped."""

    reports: Reports = field(default_factory=Reports)
    memory: Memory = field(default_factory=Memory)
    kpis: Kpis = field(default_factory=Kpis)
