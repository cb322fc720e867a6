"""How often is tried again, after how long and with what: the rules of `conf/retries.yaml`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, TypeAlias

from ops_stream.core.rows_retries import ErrorClass

Way = Literal["same", "model", "agent"]
Said: TypeAlias = ErrorClass | Literal["lost"]
"""What a word of an error says: its class, or that the answer was lost on its way."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is done about failures of one class."""

    max_attempts: int = 3
    """The first one counts."""
    base_ms: int = 1_000
    factor_percent: int = 200
    """What each wait is of the one before."""
    cap_ms: int = 60_000
    jitter_percent: int = 50
    """How much of a wait is drawn by lot, from the request's id."""
    ways: tuple[Way, ...] = ("same", "model", "agent")
    """With what each further attempt is made, in this order; the last one holds for all beyond."""
    after: Literal["escalate", "give_up"] = "give_up"
    """What is done when no attempt is left."""


@dataclass(frozen=True, slots=True)
class Retries:
    """All of it. Without the file approvals carry no plan, and a failure report is not answered."""

    on: bool = False
    plans: Mapping[ErrorClass, Plan] = field(default_factory=lambda: MappingProxyType({}))
    words: tuple[tuple[str, Said], ...] = ()
    """Words (as `retries_classes.spaced` writes them) of an `error_class`, else of the `error`; the first that fits
    counts."""
    otherwise: ErrorClass = "transient"
    """The class of what fits nothing."""
    unsure_effects: frozenset[str] = frozenset(("irreversible", "reversible"))
    """What changes state, so that an unknown outcome of it needs a person; what cannot be taken back always does."""
    remember_s: int = 604_800
    """How long an action with an unknown outcome is remembered."""
    budget_percent: int | None = None
    """So many retries for 100 other asks to a provider at most, on each partition; None for no limit."""
    budget_min_per_minute: int = 10
    """So many are always let in."""
