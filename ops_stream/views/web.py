"""`/healthz`, `/readyz` and `/metrics` of the views process, on loopback unless told otherwise."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import structlog
from aiohttp import web

from ops_stream.contract.errors import WrongUse
from ops_stream.health import MetricsPage, listening

if TYPE_CHECKING:
    from ops_stream.views.service import Service

log = structlog.get_logger(__name__)


@asynccontextmanager
async def serving(service: Service, host: str, port: int | None) -> AsyncIterator[int | None]:
    """Listen while the block runs; gives the port that was taken, None for nowhere."""
    if port is None:
        yield None
        return
    made = _Pages(service)
    pages = {"/healthz": made.ready, "/readyz": made.ready, "/metrics": MetricsPage(made.metrics).page}
    async with AsyncExitStack() as stack:
        try:
            taken = await stack.enter_async_context(listening(pages, host, port))
        except OSError as error:
            raise WrongUse(
                f"The health server cannot listen on port {port}: {error.strerror}.",
                where="--port",
                next_step="Choose another port, or 'off'.",
            ) from None
        log.info("health server listens", host=host, port=taken)
        yield taken


class _Pages:
    def __init__(self, service: Service) -> None:
        self._service = service

    async def ready(self, request: web.Request) -> web.Response:
        """Answer 200 on `/healthz` while the loop runs, and on `/readyz` only while the views are kept up to date."""
        ready = self._service.refresh()
        metrics = self._service.metrics
        body = {
            "ready": ready,
            "role": self._service.role,
            "redis_up": metrics.redis_up,
            "lag_records": metrics.lag,
            "behind_s": round(metrics.behind_s, 3),
        }
        return web.json_response(body, status=200 if ready or request.path == "/healthz" else 503)

    def metrics(self) -> bytes:
        """Give the metrics as they are now."""
        self._service.refresh()
        return self._service.metrics.text()
