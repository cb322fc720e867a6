"""Sending spans and metrics to the collector that OPS_STREAM_OTLP_ENDPOINT names, by OTLP over HTTP.

Imported only where it names one. A collector that is down, or hangs, holds up nothing: what cannot be sent waits in a
queue of bounded length and is dropped when that is full. Closing a client gives it two seconds.
"""

from __future__ import annotations

import asyncio
import atexit
import io
import logging
import os
import re
import threading
import time
from collections.abc import Callable
from typing import Any, Final

import requests
from opentelemetry import metrics, trace
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from ops_stream.contract.errors import SettingsInvalid
from ops_stream.contract.settings import Settings

logger = logging.getLogger("agents_adapter")

EXPORT_S: Final = 5.0
"""How long one attempt to send may take, tries again included."""
FLUSH_S: Final = 2.0
"""How long closing a client, or the end of the process, waits for the collector."""
SAID_AGAIN_S: Final = 60.0
HEADERS_BYTES_MAX: Final = 16_384
SERVICE: Final = "ops-stream-agent"

_HEADER: Final = re.compile(
    r"([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*:[ \t]*([\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?)"
)
_SPANS_LOGGERS: Final = (OTLPSpanExporter.__module__, "opentelemetry.sdk._shared_internal")
_METRICS_LOGGERS: Final = (OTLPMetricExporter.__module__, "opentelemetry.sdk.metrics._internal.export")

_lock = threading.Lock()
_flushes: list[Callable[[], object]] = []
_endpoint: str | None = None
_too_long = False
"""Whether the last flush took too long: then the end of the process does not wait once more."""


def install(settings: Settings) -> None:
    """Set providers that send to the collector, where the program has set none; the first collector stays."""
    global _endpoint
    endpoint = settings.otlp_endpoint
    assert endpoint is not None
    with _lock:
        if _endpoint is not None:
            if _endpoint != endpoint:
                logger.warning("Spans go to the collector of the client that was opened first.")
            return
        headers = _headers(settings)
        resource = _resource()
        if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
            _send_spans(endpoint, headers, resource)
        # The API has no public name for the provider that stands for none.
        if type(metrics.get_meter_provider()).__name__ == "_ProxyMeterProvider":
            _send_metrics(endpoint, headers, resource)
        _endpoint = endpoint
        atexit.register(_flush_at_exit)


def _send_spans(endpoint: str, headers: dict[str, str], resource: Resource) -> None:
    exporter = OTLPSpanExporter(
        f"{endpoint}/v1/traces", headers=headers, timeout=EXPORT_S, session=_Straight()
    )
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)  # which would wait for half a minute
    provider.add_span_processor(BatchSpanProcessor(exporter))
    _say_less(_SPANS_LOGGERS)
    trace.set_tracer_provider(provider)
    _flushes.append(provider.force_flush)


def _send_metrics(endpoint: str, headers: dict[str, str], resource: Resource) -> None:
    exporter = OTLPMetricExporter(
        f"{endpoint}/v1/metrics", headers=headers, timeout=EXPORT_S, session=_Straight()
    )
    reader = PeriodicExportingMetricReader(exporter)
    provider = MeterProvider([reader], resource, shutdown_on_exit=False)
    _say_less(_METRICS_LOGGERS)
    metrics.set_meter_provider(provider)
    _flushes.append(provider.force_flush)


async def flush() -> None:
    """Send what is there, for two seconds at most. Whatever hangs, hangs in a thread that nobody waits for."""
    if not _flushes:
        return
    loop, done = asyncio.get_running_loop(), asyncio.Event()

    def wake() -> None:
        try:
            loop.call_soon_threadsafe(done.set)
        except RuntimeError:  # the loop has ended meanwhile
            pass

    global _too_long
    _flushed(wake)
    try:
        async with asyncio.timeout(FLUSH_S):
            await done.wait()
        _too_long = False
    except TimeoutError:
        _too_long = True
        logger.warning("The collector of OPS_STREAM_OTLP_ENDPOINT took too long; spans may be lost.")


def _flush_at_exit() -> None:
    if not _too_long:
        _flushed().wait(FLUSH_S)


def _flushed(then: Callable[[], object] = lambda: None) -> threading.Event:
    done = threading.Event()

    def work() -> None:
        try:
            for each in tuple(_flushes):
                each()
        except Exception as error:
            logger.debug("Flushing failed: %s", type(error).__name__)
        finally:
            done.set()
            then()

    threading.Thread(target=work, name="ops-stream-flush", daemon=True).start()
    return done


def _resource() -> Resource:
    """Say which program it is; OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win."""
    named = os.environ.get("OTEL_SERVICE_NAME") or "service.name=" in os.environ.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    )
    return Resource.create({} if named else {"service.name": SERVICE})


def _headers(settings: Settings) -> dict[str, str]:
    """Read the headers, one a line: `name: value`. No error repeats one."""
    path = settings.otlp_headers_file
    if path is None:
        return {}
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(HEADERS_BYTES_MAX + 1)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise SettingsInvalid(
            f"The headers for the collector cannot be read: {reason}.", where=str(path)
        ) from None
    if len(text) > HEADERS_BYTES_MAX:
        raise SettingsInvalid("The headers for the collector are too long.", where=str(path))
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _HEADER.fullmatch(line.strip())
        if match is None:
            raise SettingsInvalid(
                f"Line {number} is no header.",
                where=str(path),
                next_step="Write one a line, as in: authorization: Bearer ...",
            )
        found[match[1].lower()] = match[2]
    return found


class _Straight(requests.Session):
    """Goes to the collector and nowhere that it points to, since the headers are for it alone, and reads no answer."""

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """Send it; the answer has its status, and no body: one may be without end."""
        response = super().send(request, **kwargs | {"allow_redirects": False, "stream": True})
        response.close()
        response.raw = io.BytesIO()
        if response.is_redirect:
            raise requests.TooManyRedirects("the collector is elsewhere")
        return response


class _SayLess(logging.Filter):
    """Says once in a while that the collector takes nothing, in place of an error with its URL for every batch."""

    said_at = -SAID_AGAIN_S

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return True
        now = time.monotonic()
        if now - _SayLess.said_at >= SAID_AGAIN_S:
            _SayLess.said_at = now
            logger.warning("The collector of OPS_STREAM_OTLP_ENDPOINT takes nothing now; spans may be lost.")
        return False


def _say_less(loggers: tuple[str, ...]) -> None:
    for name in loggers:
        logging.getLogger(name).addFilter(_SayLess())
