"""A collector of OTLP over HTTP for tests: takes what is sent and reads the protobuf, or hangs, or says no."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Collector:
    """What was sent, by path."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.url = ""
        self.headers: list[dict[str, str]] = []
        self.traces: list[ExportTraceServiceRequest] = []
        self.metrics: list[ExportMetricsServiceRequest] = []
        self.asked = 0
        self.status = 200

    def take(self, path: str, headers: dict[str, str], body: bytes) -> None:
        """Read one request."""
        self.headers.append(headers)
        if headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        if path == "/base/v1/traces":
            self.traces.append(ExportTraceServiceRequest.FromString(body))
        elif path == "/base/v1/metrics":
            self.metrics.append(ExportMetricsServiceRequest.FromString(body))
        else:
            raise AssertionError(path)

    @property
    def spans(self) -> dict[str, Any]:
        """Give every span by its name."""
        return {
            span.name: span
            for request in self.traces
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        }

    @property
    def service(self) -> str:
        """Give the service's name, as the resource of the spans has it."""
        attributes = self.traces[0].resource_spans[0].resource.attributes
        return next(each.value.string_value for each in attributes if each.key == "service.name")

    @property
    def metric_names(self) -> set[str]:
        """Give the names of all metrics."""
        return {
            metric.name
            for request in self.metrics
            for resource in request.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }


@contextmanager
def collecting(*, hangs: bool = False, status: int = 200) -> Iterator[Collector]:
    """Run a collector; with `hangs` it takes a request and never answers, until the block ends."""
    made, free = Collector(), threading.Event()
    made.status = status

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            made.asked += 1
            if hangs:
                free.wait(60)
                return
            body = self.rfile.read(int(self.headers["content-length"]))
            if made.status == 200:
                made.take(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
            self.send_response(made.status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, name="collector", daemon=True)
    thread.start()
    made.url = f"http://127.0.0.1:{server.server_port}/base"
    try:
        yield made
    finally:
        free.set()
        server.shutdown()
        server.server_close()
        thread.join()


class Asked:
    """What an ill collector did."""

    url = ""
    sent = 0
    """Bytes that it answered."""


@contextmanager
def answering(status: int, headers: str, *, endless: bool = False) -> Iterator[Asked]:
    """Run a collector that answers with this status and these headers; `endless`: with a body until it is cut off."""
    made, over = Asked(), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self._say(f"HTTP/1.1 {status} Told\r\n{headers}Connection: close\r\n\r\n".encode())
            try:
                while endless and not over.is_set():
                    self._say(b"garbage " * 128 * 1024)
            except OSError:
                pass

        def _say(self, what: bytes) -> None:
            self.wfile.write(what)
            made.sent += len(what)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, name="ill collector", daemon=True)
    thread.start()
    made.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield made
    finally:
        over.set()
        server.shutdown()
        server.server_close()
        thread.join()
