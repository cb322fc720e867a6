"""What of a report is believed: what is not goes into no statistic, and is kept, flagged and counted.

The rules stand in one table, `CHECKS`, in the order in which a report is held against them. Each takes what it does
not believe out of the report, and the next ones see what is left: a latency that is out of its range is not held
against anything else. Time is the broker's; what an agent says of its own is only compared with that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal

from msgspec import Struct

from ops_stream.contract.clocktext import parse_time
from ops_stream.contract.models import Telemetry
from ops_stream.core.draft import Draft
from ops_stream.core.rows import Ask
from ops_stream.core.rules_model import Models
from ops_stream.core.rules_telemetry import Reports
from ops_stream.core.words import clip, dollars

Rule = Literal[
    "required_field",
    "model_not_allowed",
    "latency_range",
    "latency_too_long",
    "latency_too_short",
    "cost_range",
    "tokens_range",
    "tokens_per_second",
    "cost_per_token",
    "timestamp_ahead",
    "timestamp_before_ask",
    "timestamp_backwards",
]

FIELDS: Final = {"cost_usd": "cost_micros"}
"""Fields of a report whose attribute has another name than on the wire."""
TOKENS: Final = ("input_tokens", "output_tokens", "cached_input_tokens")
_NAME_MAX: Final = 100
"""Characters of a name out of a report that a sentence repeats."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A rule that a report breaks."""

    rule: Rule
    what: str
    """What is wrong, as the end of a sentence about the report."""


class Checked(Struct):
    """A report that was looked at."""

    event: Telemetry
    """The report without what is not believed: what statistics may use."""
    findings: tuple[Finding, ...] = ()
    """The rules that it breaks, in their order."""

    @property
    def flags(self) -> tuple[str, ...]:
        """Give the names of the rules that it breaks."""
        return tuple(finding.rule for finding in self.findings)

    @property
    def told_at(self) -> int:
        """Give the time that it tells, in milliseconds since 1970; 0 where it tells none that is believed."""
        text = self.event.timestamp
        return 0 if text is None else _moment(text)


class Case(Struct):
    """What a report is held against."""

    reports: Reports
    models: Models
    written_ms: int
    """The broker's time of the report."""
    ask: Ask


@dataclass(frozen=True, slots=True)
class Check:
    """One rule: the fields that are not believed where it is broken, and how it is looked at."""

    rule: Rule
    taints: tuple[str, ...]
    """By their names on the wire."""
    broken: Callable[[Case, Telemetry], str]
    """Says what is wrong; nothing where the report keeps to the rule."""
    about: str = ""
    """The attribute without which there is nothing to look at, if there is one."""

    @property
    def without(self) -> dict[str, Any]:
        """Give what the report becomes."""
        return {FIELDS.get(name, name): None for name in self.taints}


def checked(draft: Draft, ask: Ask, event: Telemetry) -> Checked:
    """Hold a report against the rules of `conf/telemetry.yaml`; `ask` is its row before the report."""
    rules = draft.rules
    own = rules.routing.aliases.get(event.model) if event.model is not None else None
    if own is not None:  # whatever follows speaks of the model
        event = event.model_copy(update={"model": own})
    case = Case(rules.telemetry.reports, rules.models, draft.written_ms, ask)
    findings: list[Finding] = []
    for check in CHECKS:
        if check.about and getattr(event, check.about) is None:
            continue
        what = check.broken(case, event)
        if what:
            findings.append(Finding(check.rule, what))
            if check.taints:
                event = event.model_copy(update=check.without)
    return Checked(event, tuple(findings))


def model_of(draft: Draft, ask: Ask, event: Telemetry) -> str:
    """Give the model under which a report counts: the one that it names, else the one that was approved.

    Nothing where it names one that it must not: what that did says nothing of any other. `event` is the report
    without what is not believed.
    """
    return event.model or ("" if "model_not_allowed" in draft.flags else ask.model)


# What is given at all


def _required(case: Case, event: Telemetry) -> str:
    if not case.reports.required:
        return ""
    names = case.reports.required.get(event.kind, ())
    missing = [name for name in names if getattr(event, FIELDS.get(name, name)) is None]
    return f"gives no {', '.join(missing)}" if missing else ""


def _model(case: Case, event: Telemetry) -> str:
    model = event.model
    if model is None or model == case.ask.model:  # what was approved may be used, and so may be told
        return ""
    allowed = case.models.known(model) if case.reports.models is None else model in case.reports.models
    return "" if allowed else f"names the model {clip(model, _NAME_MAX)}, which is not allowed"


# Latency


def _latency_range(case: Case, event: Telemetry) -> str:
    latency, most = event.latency_ms, case.reports.latency_ms_max
    if latency is None or most is None or latency <= most:
        return ""
    return f"tells a latency of {latency:,.0f} ms, where at most {most:,} are believed"


def _latency_too_long(case: Case, event: Telemetry) -> str:
    """Find microseconds: it cannot have run for longer than since it was approved."""
    latency, tolerance = event.latency_ms, case.reports.latency_tolerance_percent
    if latency is None or tolerance is None:
        return ""
    spent = max(0, case.written_ms - _may_run_since(case.ask))
    if latency <= spent * (100 + tolerance) // 100 + case.reports.latency_grace_s * 1000:
        return ""
    return f"tells a latency of {latency:,.0f} ms, {spent:,} ms after it could begin"


def _latency_too_short(case: Case, event: Telemetry) -> str:
    """Find seconds, where it is known when the run began: an agent may wait as long as it likes before that."""
    latency, factor = event.latency_ms, case.reports.latency_factor_max
    if latency is None or factor is None or not case.ask.started_at:
        return ""
    spent = case.written_ms - case.ask.started_at
    if spent <= case.reports.latency_grace_s * 1000 or latency * factor > spent:
        return ""
    return f"tells a latency of {latency:,.10g} ms, {spent:,} ms after it began"


def _may_run_since(ask: Ask) -> int:
    """Give when a run can have begun at the earliest: when it was approved, or asked where that did not bind."""
    answer = ask.answer
    if answer.decision == "approved" and not answer.would_decide:
        return answer.at
    return ask.asked_at or answer.at


# Cost and tokens


def _cost_range(case: Case, event: Telemetry) -> str:
    cost, most = event.cost_micros, case.reports.cost_micros_max
    if cost is None or most is None or cost <= most:
        return ""
    return f"tells a cost of {dollars(cost)}, where at most {dollars(most)} are believed"


def _tokens_range(case: Case, event: Telemetry) -> str:
    most = case.reports.tokens_max
    if most is None:
        return ""
    read, written, cached = event.input_tokens, event.output_tokens, event.cached_input_tokens
    if (read or 0) <= most and (written or 0) <= most and (cached or 0) <= most:
        return ""
    told = zip(TOKENS, (read, written, cached), strict=True)
    over = [f"{count:,} {name}" for name, count in told if count is not None and count > most]
    return f"tells of {' and '.join(over)}, where at most {most:,} each are believed"


def _tokens_per_second(case: Case, event: Telemetry) -> str:
    tokens, latency, most = event.output_tokens, event.latency_ms, case.reports.tokens_per_s_max
    if not tokens or latency is None or most is None or tokens * 1000 <= latency * most:
        return ""
    return f"tells of {tokens:,} output tokens in {latency:,.3f} ms"


def _cost_per_token(case: Case, event: Telemetry) -> str:
    """Find cents and the like. A dollar for a million tokens is a micro-dollar for each."""
    cost, most = event.cost_micros, case.reports.usd_per_mtok_max
    if cost is None or most is None:
        return ""
    tokens = (event.input_tokens or 0) + (event.output_tokens or 0) + (event.cached_input_tokens or 0)
    if not tokens or cost <= tokens * most + case.reports.fee_micros_max:
        return ""
    return f"tells a cost of {dollars(cost)} for {tokens:,} tokens"


# Time


def _timestamp_ahead(case: Case, event: Telemetry) -> str:
    text = event.timestamp
    if text is None or _moment(text) <= case.written_ms + case.reports.skew_s * 1000:
        return ""
    return f"is of {clip(text, _NAME_MAX)}, more than {case.reports.skew_s:,} s ahead of the broker"


def _timestamp_before_ask(case: Case, event: Telemetry) -> str:
    text = event.timestamp
    if (
        text is None
        or not case.ask.asked_at
        or _moment(text) >= case.ask.asked_at - case.reports.skew_s * 1000
    ):
        return ""
    return f"is of {clip(text, _NAME_MAX)}, more than {case.reports.skew_s:,} s before it was asked"


def _timestamp_backwards(case: Case, event: Telemetry) -> str:
    text = event.timestamp
    if text is None or _moment(text) >= case.ask.told_at:
        return ""
    return f"is of {clip(text, _NAME_MAX)}, before an earlier report of the same ask"


@lru_cache(maxsize=64)
def _moment(text: str) -> int:
    """Read a time that the contract has let through: three rules look at it, and its day is most often today."""
    if len(text) != len("2026-11-24T13:00:00.123Z") or text[17:19] == "60":
        return parse_time(text)
    clock = (int(text[11:13]) * 60 + int(text[14:16])) * 60 + int(text[17:19])
    return _midnight(text[:10]) + clock * 1000 + int(text[20:23])


@lru_cache(maxsize=16)
def _midnight(day: str) -> int:
    return parse_time(f"{day}T00:00:00Z")


CHECKS: Final = (
    Check("required_field", (), _required),
    Check("model_not_allowed", ("model",), _model, "model"),
    Check("latency_range", ("latency_ms",), _latency_range, "latency_ms"),
    Check("latency_too_long", ("latency_ms",), _latency_too_long, "latency_ms"),
    Check("latency_too_short", ("latency_ms",), _latency_too_short, "latency_ms"),
    Check("cost_range", ("cost_usd",), _cost_range, "cost_micros"),
    Check("tokens_range", TOKENS, _tokens_range),
    Check("tokens_per_second", ("latency_ms", "output_tokens"), _tokens_per_second, "output_tokens"),
    Check("cost_per_token", ("cost_usd", *TOKENS), _cost_per_token, "cost_micros"),
    Check("timestamp_ahead", ("timestamp",), _timestamp_ahead, "timestamp"),
    Check("timestamp_before_ask", ("timestamp",), _timestamp_before_ask, "timestamp"),
    Check("timestamp_backwards", ("timestamp",), _timestamp_backwards, "timestamp"),
)
"""Every rule, in the order in which a report is held against them."""

RULES: Final[tuple[Rule, ...]] = tuple(check.rule for check in CHECKS)
"""Their names; they are kept for ever, as alerts and metrics name them."""
