"""What `conf/models.yaml` says of each model beside its price, and how a model is chosen for an ask."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class ModelCard:
    """One model of the catalogue. Prices are micro-dollars for a million tokens."""

    name: str
    input_micros_per_mtok: int
    output_micros_per_mtok: int
    provider: str = ""
    context_tokens: int | None = None
    """What fits in, asked and answered together; None where nothing is known to be too much."""
    latency_ms: int | None = None
    """What an answer typically takes; None where nobody has said."""
    quality_percent: int = 70
    """What is expected of its quality before it has been measured, in hundredths."""
    capabilities: frozenset[str] = frozenset()
    """What it can do, as asks demand it by the tag `needs:NAME`; it may be chosen only where it can do all of that."""
    task_types: frozenset[str] = frozenset()
    """The task types that it may be chosen for; empty for all."""
    by_default: bool = True
    """Whether it may be chosen for asks that name no model."""
    tenants: frozenset[str] = frozenset()
    """Whom it may be chosen for; empty for everybody."""
    fallbacks: tuple[str, ...] = ()
    """Where its traffic goes while it is left, in order. Those of a fallback are not followed further."""
    batch_percent: int | None = None
    """What its provider's batch interface costs of its price, in hundredths; None where nobody has said."""


@dataclass(frozen=True, slots=True)
class Breaker:
    """When a model, or all models of a provider, is left, and how it is tried again."""

    failures: int = 5
    """Failures of the last `window` reports at which it opens."""
    window: int = 10
    slow_percent: int = 400
    """How much longer than its typical latency a report must take to count as a failure; 0 for never."""
    open_s: int = 60
    """How long it is left before one ask tries it again."""
    trials: int = 3
    """Good reports in a row after which it is closed again."""


@dataclass(frozen=True, slots=True)
class Routing:
    """How a model is chosen for asks that do not require one. `off` takes the default, as if there were no routing."""

    mode: Literal["off", "cheapest"] = "off"
    quality_percent: int = 60
    """The least expected quality that will do, by complexity where `quality_by_complexity` says nothing."""
    quality_by_complexity: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    evidence_weight: int = 5
    """How many imagined reports stand behind the catalogue's own figures."""
    pool_weight: int = 20
    """How many reports at most stand behind what the others measured, beside an agent's own."""
    explore_percent: int = 0
    """The share of low-risk, reversible asks that try another model; 0 for none."""
    breaker: Breaker = field(default_factory=Breaker)
    cards: Mapping[str, ModelCard] = field(default_factory=lambda: MappingProxyType({}))
    aliases: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Other names of models; each leads to a model in one step, whatever the mode."""
    memo: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)
    """What was worked out of rows and of this, with all that it depends on (`core/evidence.py`); no more than speed."""

    def resolve(self, name: str) -> str:
        """Give the model that a name means: that of an alias, or the name itself."""
        return self.aliases.get(name, name)
