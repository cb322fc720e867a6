"""`/healthz`, `/readyz` and `/metrics`, on loopback unless told otherwise. They tell the truth, not the hope."""

from __future__ import annotations

from time import monotonic
from typing import Any

from aiohttp import web

from ops_stream.streams.metrics import Metrics
from ops_stream.streams.sequencer import Phase
from ops_stream.streams.supervisor import Supervisor

BROKER_SILENT_S = 10.0
"""After this long without an answer of the broker the worker is not ready."""


def readiness(supervisor: Supervisor) -> tuple[bool, dict[str, Any]]:
    """Whether every owned partition decides, and what each is doing."""
    now = monotonic()
    partitions: dict[str, Any] = {}
    ready = supervisor.generation >= 0
    for number, owned in sorted(supervisor.owned.items()):
        state: dict[str, Any] = {"phase": owned.phase.value}
        sequencer = owned.sequencer
        if sequencer is None:
            state["recovering_s"] = round(now - owned.since, 1)
        else:
            age = sequencer.oldest_age_s(now)
            idle_for = now - sequencer.progressed_at if sequencer.waiting else 0.0
            state |= {"waiting": sequencer.waiting, "oldest_append_s": round(age, 3)}
            if sequencer.phase is not Phase.LIVE:
                # Being taken away, and not yet given again: it decides nothing, however long that lasts.
                state["phase"] = sequencer.phase.value
            if max(age, idle_for) > supervisor.limits.stalled_s:
                state["phase"] = "stalled"
        if number in supervisor.halted:
            state["why"] = supervisor.halted[number]
        ready = ready and state["phase"] == Phase.LIVE.value
        partitions[str(number)] = state
    # Every half second something is asked of the broker: where it says nothing, nothing can be decided either.
    silent = now - supervisor.clock.heard_at
    ready = ready and silent <= BROKER_SILENT_S
    return ready, {
        "ready": ready,
        "generation": supervisor.generation,
        "broker_silent_s": round(silent, 1),
        "partitions": partitions,
    }


class HealthServer:
    """The worker's own small web server."""

    def __init__(self, supervisor: Supervisor, metrics: Metrics, host: str, port: int) -> None:
        self._supervisor = supervisor
        self._metrics = metrics
        self._host = host
        self._port = port
        self._runner: web.AppRunner | None = None

    async def start(self) -> int:
        """Listen; the port that was taken. Raises `OSError` where it is busy."""
        app = web.Application()
        app.add_routes(
            [
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
                web.get("/metrics", self._metrics_text),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port)
        await site.start()
        address = self._runner.addresses[0]
        return int(address[1])

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _healthz(self, _: web.Request) -> web.Response:
        # Answered by the very loop that decides: a loop that stands still does not answer.
        halted = self._supervisor.halted
        return web.json_response({"healthy": not halted, "halted": halted}, status=500 if halted else 200)

    async def _readyz(self, _: web.Request) -> web.Response:
        ready, body = readiness(self._supervisor)
        return web.json_response(body, status=200 if ready else 503)

    async def _metrics_text(self, _: web.Request) -> web.Response:
        return web.Response(
            body=self._metrics.text(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        )
