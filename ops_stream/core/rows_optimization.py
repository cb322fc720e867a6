"""Rows about what could be better: what was found, what is tried, how it went.

An optimization is `optimization/T|ID`. What it changes while it is tried or in force stands in the row `rules`
(`ops_stream.core.amend`). All figures are whole numbers: money in micro-dollars, time in milliseconds, quality in
thousandths. New fields go to the end.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from ops_stream.core.rows_base import Row
from ops_stream.core.rules_optimization import Kind

Standing = Literal["proposed", "trial", "applied", "reverted", "rejected"]
Side = Literal["changed", "kept"]


class Amended(msgspec.Struct, frozen=True, omit_defaults=True):
    """One setting that is another for a tenant's asks than the bundle says, in the name of an optimization."""

    optimization_id: str
    tenant: str
    kind: Kind
    task_type: str
    """The type of work that it is for; empty for all."""
    path: str
    before: str
    """What it was, and is on the other side, as the setting's text."""
    after: str
    share: int
    """The share of asks that get it, in hundredths."""


class Arm(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What was reported of the asks of one side. Sums of squares are of the clipped values in units of the row."""

    asks: int = 0
    """Asks that were given to it; those that have not ended are in it."""
    reports: int = 0
    """Ends that count: completed, failed, or lost."""
    good: int = 0
    cost: int = 0
    cost_units: int = 0
    cost_squares: int = 0
    timed: int = 0
    taken_ms: int = 0
    taken_units: int = 0
    taken_squares: int = 0
    quality: int = 0
    quality_squares: int = 0
    """Of every report: its score, or a whole or nothing where it has none."""
    over: int = 0
    """Reports of a cost beyond what was held, and by how much in all."""
    overrun: int = 0


NO_ARM = Arm()


class OptimizationRow(Row, frozen=True):
    """Something that could be better."""

    tenant: str
    kind: Kind
    scope: str
    """What it is about, as people read it."""
    state: Standing
    until: int
    """When time acts on it: the end of the trial, of the time box, or when it is forgotten; 0 for never."""
    since: int
    """When it came into its state."""
    path: str
    before: str
    after: str
    task_type: str = ""
    samples: int = 0
    """Reports behind the figures below."""
    effect: int = 0
    """What an ask saves, in micro-dollars or, of what is faster, in milliseconds."""
    low: int = 0
    high: int = 0
    """Between these the effect lies with a confidence of 95 %."""
    confidence: int = 0
    """In hundredths."""
    saving_micros: int = 0
    """What is expected to be saved in 30 days."""
    risk: Literal["none", "low", "medium"] = "low"
    found_at: int = 0
    asks_30d: int = 0
    """How many asks of its kind 30 days bring, as far as is known."""
    cost_unit: int = 1
    """Micro-dollars in which costs are squared, so that they fit."""
    taken_unit: int = 1
    changed: Arm = NO_ARM
    kept: Arm = NO_ARM
    checked: int = 0
    """Reports of the changed side at the last look whether it does harm."""
    permanent: bool = False
    """Whether a person has approved that it stays."""
    escalation: str = ""
    by: str = ""
    """The person who has last decided about it; empty where the supervisor has."""
    why: str = ""
    """Why it came into its state, in a sentence."""
    rules_before: str = ""
    """The digest in force before its change."""
    asked_under: str = ""
    """The bundle that people were asked under whether it is to stay."""


class Attempts(Row, frozen=True):
    """How attempts at a type of work went: `attempts/T|TASK_TYPE`, the first in place 0, decayed, in thousandths."""

    used: int
    ended: tuple[int, ...] = ()
    good: tuple[int, ...] = ()
    cost: tuple[int, ...] = ()
    task_type: str = ""
    """Its name, where that cannot stand in a key."""


class Finder(Row, frozen=True):
    """When a tenant's figures are looked through next, and what the daily summary has to tell: `finder/T`."""

    until: int
    lines: tuple[str, ...] = ()
    told_on: int = 0
    """The day (since 1970, in the tenant's zone) of the last summary."""
