"""Rows about agents, and about the workflows that they work on: who they are, and what they have done of late."""

from __future__ import annotations

from typing import Literal

import msgspec

from ops_stream.core.rows_base import Row


class Agent(Row, frozen=True):
    """A registered agent."""

    state: Literal["registered", "active", "warned", "suspended", "blocked"]
    since: int
    role: str
    capabilities: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    max_concurrency: int = 1
    version: str = ""
    reason: str = ""


class Bucket(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How full an agent's bucket of one automatic kill is."""

    rule: str
    drained: int = 0
    """When it will be empty, in microseconds since 1970."""
    over: bool = False
    """Whether it has run over, and been told of, since it was last empty; only where the rule is in shadow."""


class Lately(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What an agent's scores are made from (`core/scores.py`): thousandths of reports, decayed until `at`.

    The relative costs and times are those of its reports, as thousandths of what its peers need for a success.
    """

    at: int
    tried: int = 0
    """Reports that ended an ask, and violations `no_report` and `unpermitted_run`."""
    good: int = 0
    """Those of them that ended well."""
    rated: int = 0
    """Reports that give a quality."""
    quality: int = 0
    priced: int = 0
    """Reports whose cost is known, and violations `over_cost`."""
    cheap: int = 0
    """Those of them that ended well within their hold."""
    cost: int = 0
    """The sum of their relative costs."""
    timed: int = 0
    """Reports whose time is known, and violations `over_time`."""
    quick: int = 0
    """Those of them that ended well within their time."""
    took: int = 0
    """The sum of their relative times."""


class Folded(msgspec.Struct, frozen=True, array_like=True):
    """When an alert of a kind was last raised, and how many have been folded into the next one since."""

    kind: str
    at: int
    more: int = 0


class Record(Row, frozen=True):
    """How an agent has done, and when it was last heard of."""

    seen_at: int = 0
    failures: int = 0
    """Failures in a row."""
    done: int = 0
    failed: int = 0
    quality_milli: int = 0
    quality_count: int = 0
    held: int = 0
    cost: int = 0
    estimated_ms: int = 0
    taken_ms: int = 0
    overrun: int = 0
    """The part of `cost` that went beyond what was held for each ask."""
    broken: int = 0
    """Violations `no_report` and `unpermitted_run`."""
    late: int = 0
    """Violations `over_time`."""
    dear: int = 0
    """Violations `over_cost`."""
    asked: int = 0
    """Asks that were admitted; only counted while a policy looks at it."""
    assumed: int = 0
    """What was held for asks whose reports tell no cost: it counts as spent, and not in `cost`."""
    buckets: tuple[Bucket, ...] = ()
    """How fast it has asked and spent of late; only where it could be stopped by itself for that."""
    lately: Lately | None = None
    """What its scores are made from; None before its first report, and on rows older than that."""
    flagged: int = 0
    """Reports that break a rule of `conf/telemetry.yaml`."""
    doubted: int = 0
    """What reports say was spent and nobody believes: it counts as spent, and not in `cost`."""
    doubts: tuple[Folded, ...] = ()
    """When an alert about each rule that its reports break was last raised."""

    @property
    def spent(self) -> int:
        """All that its budgets were charged with, believed or not."""
        return self.cost + self.assumed + self.doubted


class Mark(msgspec.Struct, frozen=True, array_like=True):
    """What an agent's counters said when a bucket of time began."""

    bucket: int
    asked: int
    failed: int
    cost: int


class Marks(Row, frozen=True):
    """The marks of one agent for one window, oldest first; `until` is when nothing of it counts any more."""

    until: int
    marks: tuple[Mark, ...] = ()


class Flow(Row, frozen=True):
    """What a workflow has done so far; kept while a policy looks at it."""

    until: int
    steps: int = 0
    """Asks that were admitted."""
    failures: int = 0
    spent: int = 0


class Breach(msgspec.Struct, frozen=True, array_like=True):
    """One violation of an agent."""

    at: int
    kind: str
    request_id: str
    ended: int
    """How many asks the agent had ended by then: tells the share of those that went wrong."""


class Conduct(Row, frozen=True):
    """What an agent has done against the rules of late, and how often it was suspended for it."""

    until: int
    """When something of it is over: a warning is forgiven, or all of it may be forgotten."""
    breaches: tuple[Breach, ...] = ()
    """The latest, oldest first."""
    counts_from: int = 0
    """Violations up to then have been forgiven and count for nothing any more."""
    suspensions: tuple[int, ...] = ()
    folded: tuple[Folded, ...] = ()


class Pulse(Row, frozen=True):
    """An agent that sends heartbeats; `until` is when somebody looks whether it still lives."""

    until: int


class Suspension(Row, frozen=True):
    """An operator's quarantine of an agent, registered or not."""

    command_id: str
    issued_by: str
    at: int
    reason: str = ""
    state: Literal["suspended", "blocked"] = "suspended"
