"""Rows about what was learned: how agents did at types of work with models, and how workflows went.

What one agent did at one type of work with one model is a *key*, `T|AGENT|TASK_TYPE|MODEL`. Its rows:

- `learned/KEY`: the hour in which it was last used. Only this one is written with each report.
- `period/KEY|h7` and `period/KEY|d3`: hours and days that are over, each in the place of the one before it there.
- `past/KEY`: all the hours that are over, in full and decayed.

What all agents of a tenant did at a type of work with a model, as far as a choice of models looks at it, is in the row
`pooled/T|TASK_TYPE|MODEL`.

All are whole numbers; money is in micro-dollars, time in milliseconds.
"""

from __future__ import annotations

import re
from functools import lru_cache
from operator import attrgetter
from typing import Final

import msgspec

from ops_stream.core.ids import derived_id
from ops_stream.core.rows_base import Row
from ops_stream.core.sketch import EMPTY, Sketch
from ops_stream.core.words import clip

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 86_400_000
HOURS: Final = 24
DAYS: Final = 8
"""Hours and days that are over and kept: those in which windows of a day and of a week may begin, and all since."""
THOUSAND: Final = 1_000
"""What counts one when it happens counts a thousand among what decays, so that halves are not lost."""
NAME_MAX: Final = 64
"""Characters of a name that are kept."""
_plain: Final = re.compile(r"[A-Za-z0-9._:@/ +-]{1,64}").fullmatch


class Counts(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What was counted and summed. Each only grows, so that parts add up; new fields go to the end."""

    good: int = 0
    failed: int = 0
    cancelled: int = 0
    """Given up by the agent after it was approved, or failed because people had stopped it."""
    lost: int = 0
    """Leases that ended without a report."""
    found: int = 0
    """Reports that came after that: what was lost and is found has failed only if it says so."""
    costed: int = 0
    """Reports that told a cost, what they told, and what had been held for them."""
    cost: int = 0
    held: int = 0
    overruns: int = 0
    """Reports of a cost beyond what was held, and by how much in all."""
    overrun: int = 0
    timed: int = 0
    """Reports that told how long it took, what they told, and what had been estimated for them."""
    taken_ms: int = 0
    estimated_ms: int = 0
    late: int = 0
    """Violations `over_time`."""
    rated: int = 0
    """Reports with a quality score, and the sum of these in thousandths."""
    quality_milli: int = 0
    metered: int = 0
    """Reports that told tokens, and how many were read and written."""
    tokens_in: int = 0
    tokens_out: int = 0
    retried: int = 0
    """Asks that were tried again, and how often in all."""
    retries: int = 0
    reviewed: int = 0
    """Asks that people let run, changed or not."""
    reversed: int = 0
    """Asks that people denied or changed."""


NO_COUNTS: Final = Counts()


class Stats(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Counts, and how the latencies are spread."""

    counts: Counts = NO_COUNTS
    latency: Sketch = EMPTY


NO_STATS: Final = Stats()


class Learned(Row, frozen=True):
    """What a key did in the hour in which it was last used."""

    used: int
    """When it was last used: tells the hour, and whose turn it is to make room."""
    stats: Stats = NO_STATS
    task_type: str = ""
    model: str = ""
    """The names, clipped, where they cannot stand in a key."""


class Period(Row, frozen=True):
    """What a key did in an hour, or a day, that is over; `number` counts them since 1970."""

    number: int
    stats: Stats = NO_STATS


class Past(Row, frozen=True):
    """What a key did in all hours that are over."""

    hour: int
    """The latest of them, up to which the decayed figures are decayed."""
    total: Stats = NO_STATS
    decayed: Stats = NO_STATS
    """In thousandths."""


class Pool(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Those of `Counts` that a choice of models looks at; new fields go to the end."""

    good: int = 0
    failed: int = 0
    lost: int = 0
    found: int = 0
    costed: int = 0
    cost: int = 0
    held: int = 0
    timed: int = 0
    taken_ms: int = 0
    rated: int = 0
    quality_milli: int = 0


NO_POOL: Final = Pool()
looked_at: Final = attrgetter(*Pool.__struct_fields__)
"""Gives them, of `Counts` or of a `Pool`."""


class Pooled(Row, frozen=True):
    """What all agents of a tenant did at a type of work with a model."""

    used: int
    """When something was last counted: up to its hour the figures are decayed, and it tells whose turn it is to go."""
    pool: Pool = NO_POOL
    """In thousandths."""
    task_type: str = ""
    """The whole name, where that cannot stand in the key."""


class FlowStep(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What went into one type of work of a workflow."""

    task_type: str
    ended: int = 0
    taken_ms: int = 0
    cost: int = 0


class FlowLearned(Row, frozen=True):
    """How a workflow goes: `flowlearned/T|WORKFLOW`."""

    began: int
    """When the first of its asks that ended was asked."""
    used: int
    """When the last of them ended."""
    good: int = 0
    failed: int = 0
    cancelled: int = 0
    lost: int = 0
    """Leases that ended without a report, as far as none came later."""
    cost: int = 0
    taken_ms: int = 0
    """How long its runs took in all."""
    waited_ms: int = 0
    """How long what ran had waited for people and in the batch queue."""
    steps: tuple[FlowStep, ...] = ()
    """The types of work that took longest, by name."""
    rest: FlowStep | None = None
    """What went into others."""
    agents: tuple[str, ...] = ()
    """The first agents that worked on it, by name."""


class Evicted(Row, frozen=True):
    """What was forgotten for want of room: `evicted/learned`."""

    keys: int = 0
    workflows: int = 0


def key_of(tenant: str, agent: str, task_type: str, model: str) -> str:
    """Give the key of what an agent does at a type of work with a model; `model` may be empty."""
    return f"{tenant}|{agent}|{part(task_type)}|{part(model)}"


def pooled_key(tenant: str, task_type: str, model: str) -> str:
    """Give the row's key of what all agents of a tenant do at a type of work with a model."""
    return f"pooled/{tenant}|{part(task_type)}|{part(model)}"


@lru_cache(maxsize=4096)
def part(name: str) -> str:
    """Give a name as a part of a key: as it is where that is plain and short, else a hash of it."""
    return name if not name or _plain(name) else derived_id("~", name)


def kept_name(name: str) -> str:
    """Give what a row keeps of a name beside its key: nothing where the key says it."""
    return "" if part(name) == name else clip(name, NAME_MAX)


def whole_name(name: str) -> str:
    """Give what a row keeps of a name that rules may be made for: nothing where its key says it, else all of it."""
    return "" if part(name) == name else name


def hour_key(key: str, hour: int) -> str:
    """Give the row's key of an hour that is over."""
    return f"period/{key}|h{hour % HOURS}"


def day_key(key: str, day: int) -> str:
    """Give the row's key of a day."""
    return f"period/{key}|d{day % DAYS}"


def keys_of_rows(key: str) -> list[str]:
    """Give the keys of all rows that a key can have."""
    places = [*(f"h{place}" for place in range(HOURS)), *(f"d{place}" for place in range(DAYS))]
    return [f"learned/{key}", f"past/{key}", *(f"period/{key}|{place}" for place in places)]
