"""The door to OpenTelemetry, which an agent's program may use or not.

Nothing of it is imported here. Spans and metrics are made from the moment at which the program itself has imported
OpenTelemetry, or OPS_STREAM_OTLP_ENDPOINT names a collector; until then each call below is a look into a dictionary.
Whatever goes wrong behind this door costs no ask and no report.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Protocol

from ops_stream.contract.errors import WrongUse

if TYPE_CHECKING:
    from agents_adapter._spans import AskTrace, Spans
    from agents_adapter.approval import Approval
    from ops_stream.contract.models import TaskRequest, Telemetry
    from ops_stream.contract.settings import Settings

logger = logging.getLogger("agents_adapter")

_API: Final = "opentelemetry.trace"
_spans: Spans | None = None
_broken = False


class Call(Protocol):
    """The span of one call: current inside a `with` block, ended when told how the call ended."""

    @property
    def traceparent(self) -> str | None:
        """What its reports carry; None for the ask's own."""

    def __enter__(self) -> None:
        """Make it the current span."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Put back what was current."""

    def ended(self, error: BaseException | None, fields: Mapping[str, Any]) -> None:
        """End it; `fields` are those of the last report."""


class _NoCall:
    """Without OpenTelemetry there is no span."""

    traceparent: str | None = None

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def ended(self, error: BaseException | None, fields: Mapping[str, Any]) -> None:
        pass


NO_CALL: Final[Call] = _NoCall()


def ask(
    request: TaskRequest, explicit: str | None, inherited: str | None, settings: Settings
) -> AskTrace | None:
    """Begin the span of an ask; None without OpenTelemetry.

    `explicit` is the traceparent that the caller names, `inherited` that of the call around.
    """
    spans = _used()
    return None if spans is None else spans.ask(request, explicit, inherited, settings)


def call(approval: Approval, settings: Settings) -> Call:
    """Begin the span of an approved call."""
    spans = _used()
    return NO_CALL if spans is None else spans.call(approval, settings.trace_content) or NO_CALL


def reported(approval: Approval, event: Telemetry) -> None:
    """Count a report, and what it measured."""
    spans = _used()
    if spans is not None:
        spans.reported(approval, event)


def require(settings: Settings) -> None:
    """Raise WrongUse where a collector is named and what sends to it is not installed."""
    if settings.otlp_endpoint is None or "agents_adapter._otlp" in sys.modules:
        return
    try:
        from agents_adapter import _otlp  # noqa: F401
    except ImportError as error:
        raise WrongUse(
            f"Sending spans to OPS_STREAM_OTLP_ENDPOINT needs OpenTelemetry, of which {error.name} is not installed.",
            next_step="Install it with: pip install 'ops-stream[telemetry]'",
        ) from None


def begin(settings: Settings) -> None:
    """Send to the collector that the settings name, if any; raises SettingsInvalid for its headers."""
    if settings.otlp_endpoint is not None:
        from agents_adapter import _otlp

        _otlp.install(settings)


async def flush() -> None:
    """Give the collector a moment to take what is there, where it is we who send to it."""
    otlp = sys.modules.get("agents_adapter._otlp")
    if otlp is not None:
        await otlp.flush()


def _used() -> Spans | None:
    """Give who makes spans, once the program uses OpenTelemetry."""
    if _spans is not None or _API not in sys.modules or _broken:
        return _spans
    return _made()


def _made() -> Spans | None:
    global _spans, _broken
    try:
        from agents_adapter._spans import Spans

        _spans = Spans()
    except Exception:
        _broken = True
        logger.warning("OpenTelemetry cannot be used; there are no spans of asks.", exc_info=True)
    return _spans
