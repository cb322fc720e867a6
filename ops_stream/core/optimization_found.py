"""What a look through the figures finds: something that could be better, with the evidence for it."""

from __future__ import annotations

from typing import Literal, NamedTuple

from ops_stream.core.rules_optimization import Kind


class Found(NamedTuple):
    """Something that could be better. Money is micro-dollars, time milliseconds."""

    kind: Kind
    task_type: str
    """The type of work that it is for; empty for all."""
    scope: str
    """What it is about, as people read it: `task type summarise`, `agent a7`, `workflow nightly`."""
    path: str
    """The setting: what it is called, and of what, so that no two that may be changed apart are the same."""
    before: str
    after: str
    samples: int
    effect: int
    """What an ask saves: micro-dollars or, of what is faster, milliseconds."""
    low: int
    high: int
    confidence: int
    """In hundredths; what was not drawn by lot is no surer than `OBSERVED_MAX` whatever it says here."""
    saving_micros: int
    """What is expected to be saved in 30 days."""
    why: str
    """A sentence with the figures behind it."""
    risk: Literal["none", "low", "medium"] = "low"
    asks_30d: int = 0
    cost_unit: int = 1
    """A thousandth of what an ask costs on average, at least 1: costs are squared in it."""
    taken_unit: int = 1
    certain: bool = False
    """Whether the evidence is what happens in any case after the choice (no choice made it): it may count in full."""
