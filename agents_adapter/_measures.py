"""The metrics of asks and reports. Their attributes have few values, however many agents, tenants and requests."""

from __future__ import annotations

from typing import Any, Final

from opentelemetry.metrics import Meter

from agents_adapter import _conventions as names
from agents_adapter.approval import UNANSWERED, Approval
from agents_adapter.errors import Denied, NoAnswer, Revoked
from ops_stream.contract.models import Telemetry
from ops_stream.contract.money import usd
from ops_stream.contract.reasons import Reason

VALUES_MAX: Final = 100
"""So many models, providers and kinds of error are told apart; the others are one."""
SETS_MAX: Final = 500
"""So many combinations of these are told apart: each is a series of its own, here and in the collector."""
_LENGTH_MAX: Final = 64
_FREE: Final = (names.PROVIDER_NAME, names.REQUEST_MODEL, names.RESPONSE_MODEL, names.ERROR_TYPE)
_REASONS: Final = frozenset(Reason)
_ENDS: Final = ("completed", "failed", "cancelled")
_ASK_BUCKETS: Final = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    300.0,
)


class Few:
    """The first values that come are kept apart, what comes later is one value."""

    def __init__(self) -> None:
        """Begin with none."""
        self._known: set[str] = set()

    def __call__(self, value: object) -> str:
        """Give the value as it goes into an attribute."""
        text = str(value)[:_LENGTH_MAX]
        if text not in self._known:
            if len(self._known) >= VALUES_MAX:
                return names.OTHER
            self._known.add(text)
        return text


class FewSets:
    """The first sets of attributes that come are kept apart; of later ones only what is bounded anyway."""

    def __init__(self) -> None:
        """Begin with none."""
        self._known: set[tuple[object, ...]] = set()

    def __call__(self, told: dict[str, Any]) -> dict[str, Any]:
        """Give the set as it goes into a measure."""
        key = tuple(told.items())
        if key not in self._known:
            if len(self._known) >= SETS_MAX:
                return {name: names.OTHER if name in _FREE else value for name, value in told.items()}
            self._known.add(key)
        return told


class Measures:
    """The instruments of a meter."""

    def __init__(self, meter: Meter) -> None:
        """Make them."""
        self._ask_duration = meter.create_histogram(
            names.ASK_DURATION,
            unit="s",
            description="From an ask to its first final answer.",
            explicit_bucket_boundaries_advisory=_ASK_BUCKETS,
        )
        self._asks = meter.create_counter(names.ASKS, unit="{ask}", description="Asks, by what was decided.")
        self._reports = meter.create_counter(names.REPORTS, unit="{report}", description="Reports, by kind.")
        self._duration = meter.create_histogram(
            names.OPERATION_DURATION,
            unit="s",
            description="GenAI operation duration.",
            explicit_bucket_boundaries_advisory=names.DURATION_BUCKETS,
        )
        self._tokens = meter.create_histogram(
            names.TOKEN_USAGE,
            unit="{token}",
            description="Number of input and output tokens used.",
            explicit_bucket_boundaries_advisory=names.TOKEN_BUCKETS,
        )
        self._cost = meter.create_counter(
            names.SPENT, unit="{USD}", description="What reports say was spent."
        )
        self._models, self._providers, self._errors = Few(), Few(), Few()
        self._sets = FewSets()

    def asked(self, seconds: float, outcome: str, reason: str) -> None:
        """Count an ask that has its answer."""
        attributes = {names.DECISION: outcome, names.REASON: reason}
        self._ask_duration.record(seconds, attributes)
        self._asks.add(1, attributes)

    def reported(self, approval: Approval, event: Telemetry) -> None:
        """Count a report; the one that ends a call has its measures."""
        self._reports.add(1, {names.REPORT_KIND: event.kind})
        if event.kind not in _ENDS:
            return
        told = self._about(approval, event)
        for kind, count in (("input", event.input_tokens), ("output", event.output_tokens)):
            if count is not None:
                self._tokens.record(count, told | {names.TOKEN_TYPE: kind})
        if event.cost_micros is not None:
            self._cost.add(usd(event.cost_micros), told)
        if event.latency_ms is not None:
            if event.kind != "completed":
                told[names.ERROR_TYPE] = self._errors(event.error_class or event.kind)
            self._duration.record(event.latency_ms / 1000, self._sets(told))

    def _about(self, approval: Approval, event: Telemetry) -> dict[str, Any]:
        request = approval.request
        told: dict[str, Any] = {
            names.OPERATION_NAME: names.EXECUTE_TOOL if request.tool else names.INVOKE_AGENT,
            names.PROVIDER_NAME: self._providers(event.attributes.get(names.PROVIDER_NAME, names.OTHER)),
        }
        model = approval.model or request.required_model
        if model is not None:
            told[names.REQUEST_MODEL] = self._models(model)
        if event.model is not None:
            told[names.RESPONSE_MODEL] = self._models(event.model)
        return self._sets(told)


def outcome_of(approval: Approval | None, error: BaseException | None) -> tuple[str, str, bool]:
    """Give how an ask ended, why, and whether that is an error.

    It ends `approved`, `denied`, `revoked`, `no_answer`, `cancelled` (by who waited for it) or `failed`. The reason is
    one of the contract's codes, or repeats the outcome.
    """
    reason = approval.reason if approval is not None else ""
    reason = reason if reason in _REASONS or reason == UNANSWERED else names.OTHER
    if isinstance(error, NoAnswer):
        return UNANSWERED, UNANSWERED, True
    if isinstance(error, Denied):
        return "denied", reason, False
    if isinstance(error, Revoked):
        return "revoked", reason, False
    if error is not None:
        return "failed", "failed", True
    if approval is None:
        return "cancelled", "cancelled", False
    return "approved", reason, False
