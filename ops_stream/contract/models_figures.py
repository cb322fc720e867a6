"""The events that tell of figures: what could be better by them, and the figures themselves."""

from typing import Annotated, Literal

from pydantic import Field

from ops_stream.contract.wire import (
    Count,
    Digest,
    Event,
    Id,
    JsonValue,
    LongText,
    Measure,
    Name,
    Number,
    Part,
    Score,
    Text,
    Time,
    TotalMicros,
    many,
)

OptimizationState = Literal["proposed", "trial", "applied", "reverted", "rejected"]


class Change(Part):
    """A setting before and after."""

    path: Text
    from_: JsonValue = Field(default=None, alias="from")
    to: JsonValue = None


class OptimizationSide(Part):
    """How the asks of one side of an optimization went; cost, latency and quality are means of a report."""

    asks: Count
    reports: Count
    good: Count
    cost_micros: TotalMicros | None = Field(default=None, alias="cost_usd")
    latency_ms: Measure | None = None
    quality: Score | None = None


class Optimization(Event):
    """A change to the rules that the figures speak for.

    `effect` is what an ask saves, in dollars, or in milliseconds where it is time; with 95 % confidence it lies within
    `interval`. `changed` and `kept` are the asks with and without the change, as far as it was tried, and
    `rules_digest` is what is in force after this event.
    """

    optimization_id: Id
    tenant: Id
    kind: Name
    scope: Text
    state: OptimizationState
    change: Change
    samples: Count
    effect: Number
    interval: Annotated[tuple[Number, ...], many(2)]
    confidence: Score
    expected_saving_micros: TotalMicros = Field(alias="expected_saving_usd")
    risk: Name
    expires_at: Time | None = None
    summary: LongText | None = None
    since: Time | None = None
    decided_by: Id | None = None
    rules_digest: Digest | None = None
    rules_before: Digest | None = None
    escalation_id: Id | None = None
    changed: OptimizationSide | None = None
    kept: OptimizationSide | None = None
    permanent: bool = False


class Kpi(Event):
    """A figure over a window; no value where there is nothing to divide by.

    `previous` is the value of the window before, `trend` what became of it since, `interval` the bounds between which
    the value lies with 95 % confidence, and `closed` says whether the window is over, so that it changes no more.
    """

    kpi: Id
    scope: Text
    window_start: Time
    window_s: Measure
    value: Number | None = None
    numerator: Number
    denominator: Number
    samples: Count
    tenant: Id = "default"
    previous: Number | None = None
    trend: Literal["rising", "falling", "steady"] | None = None
    interval: Annotated[tuple[Number, ...], many(2)] | None = None
    closed: bool = False
