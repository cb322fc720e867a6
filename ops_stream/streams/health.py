"""`/healthz`, `/readyz` and `/metrics`, on loopback unless told otherwise. They tell the truth, not the hope."""

from __future__ import annotations

from contextlib import AsyncExitStack

from aiohttp import web

from ops_stream.health import MetricsPage, listening
from ops_stream.streams.metrics import Metrics
from ops_stream.streams.readiness import examine, lost_tasks
from ops_stream.streams.supervisor import Supervisor


class HealthServer:
    """The worker's own small web server."""

    def __init__(self, supervisor: Supervisor, metrics: Metrics, host: str, port: int) -> None:
        self._supervisor = supervisor
        self._metrics = metrics
        self._host = host
        self._port = port
        self._serving = AsyncExitStack()

    async def start(self) -> int:
        """Listen; the port that was taken. Raises `OSError` where it is busy."""
        metrics = MetricsPage(self._metrics.text).page
        pages = {"/healthz": self._healthz, "/readyz": self._readyz, "/metrics": metrics}
        return await self._serving.enter_async_context(listening(pages, self._host, self._port))

    async def stop(self) -> None:
        """Stop listening."""
        await self._serving.aclose()

    async def _healthz(self, _: web.Request) -> web.Response:
        # Answered by the very loop that decides: a loop that stands still does not answer.
        halted, lost = self._supervisor.halted, lost_tasks(self._supervisor)
        healthy = not halted and not lost
        body = {"healthy": healthy, "halted": halted}
        if lost:
            body["still_s"] = {name: round(age) for name, age in lost.items()}
        return web.json_response(body, status=200 if healthy else 500)

    async def _readyz(self, _: web.Request) -> web.Response:
        health = examine(self._supervisor)
        body = {
            "ready": health.ready,
            "reasons": health.reasons,
            "generation": self._supervisor.generation,
            "broker_silent_s": round(health.broker_silent_s, 1),
            "partitions": health.partitions,
        }
        return web.json_response(body, status=200 if health.ready else 503)
