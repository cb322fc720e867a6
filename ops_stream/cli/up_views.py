"""What `ops-stream up` runs beside its worker for whoever only looks: a Redis, and what keeps the views in it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from ops_stream.cli.output import BAD, Out, clean
from ops_stream.cli.up_companion import Companion
from ops_stream.contract.errors import OpsError

if TYPE_CHECKING:
    from ops_stream.contract.settings import Settings
    from ops_stream.embedded import EmbeddedRedis

_PATIENCE_S: Final = 10.0
REDIS_URL: Final = "OPS_STREAM_REDIS_URL"


def demand_redis(settings: Settings) -> None:
    """Raise, before anything is started, where the address of a Redis is given and wrong."""
    if settings.redis_url is not None:
        from ops_stream.views.address import connect

        connect(settings)


@contextmanager
def viewing(
    out: Out,
    settings: Settings,
    environment: Mapping[str, str],
    ready: threading.Event,
    *,
    wanted: bool,
    served: bool,
) -> Iterator[None]:
    """Keep the views for as long as the block lasts; where no Redis can be started, say so and go on without.

    They begin when the worker is `ready`, or some seconds later: its start has the processors for itself. Where they
    are to be `served`, their health and metrics are found at their usual port, unless somebody else has it.
    """
    if not wanted:
        yield
        return
    from ops_stream.cli.views import PORT
    from ops_stream.embedded.ports import is_free

    port = PORT if served and is_free(PORT) else None
    if served and port is None:
        out.row(
            {"part": "views", "state": "no port", "wanted": PORT},
            f"Port {PORT} is taken: nobody will find health and metrics of the views there.",
        )
    redis = _Redis(out, settings, ready)
    companion = Companion(
        out,
        "views",
        ["views", "run", "--port", "off" if port is None else str(port)],
        environment,
        started=lambda _pid: ({"port": port}, f"; see: {redis.hint}ops-stream views status"),
        prepare=redis.start,
        look=redis.keep,
    )
    companion.start()
    try:
        yield
    finally:
        redis.end()
        companion.stop()
        redis.stop()


class _Redis:
    """The Redis that the settings name, else the embedded one, stopped again if it was started."""

    def __init__(self, out: Out, settings: Settings, ready: threading.Event) -> None:
        self._out = out
        self._ready = ready
        self._settings = settings
        self._server: EmbeddedRedis | None = None
        self._lock = threading.Lock()
        self._over = threading.Event()
        self.hint = ""

    def start(self) -> Mapping[str, str] | None:
        """Have a Redis; give what the views process finds it by, or None where there can be none."""
        self._ready.wait(_PATIENCE_S)
        if self._over.is_set():
            return None
        if self._settings.redis_url is not None:
            return {}
        from ops_stream.cli.broker import REDIS_PORT
        from ops_stream.embedded import EmbeddedRedis
        from ops_stream.embedded.ports import is_free
        from ops_stream.embedded.redis import executable

        directory = self._settings.data_dir / "redis"
        try:
            ran = EmbeddedRedis(directory).status().running
            if not ran:
                executable()  # may be fetched first; nobody waits for that when all is to stop
            server = EmbeddedRedis(directory, port=REDIS_PORT if not ran and is_free(REDIS_PORT) else 0)
            with self._lock:
                if self._over.is_set():
                    return None
                url = server.start()
                self._server = None if ran else server
        except (OpsError, OSError) as problem:
            why = problem.what if isinstance(problem, OpsError) else type(problem).__name__
            row = {"part": "redis", "state": "not started", "why": why}
            self._out.row(
                row, f"No Redis, and so no views for dashboards: {clean(why)} All else runs without."
            )
            return None
        self._out.row(
            {"part": "redis", "state": "running", "address": url, "data_dir": str(directory)},
            f"Redis {'runs already' if ran else 'runs'} at {self._out.style(url, bold=True)}.",
        )
        self.hint = f"{REDIS_URL}={url} "
        return {REDIS_URL: url}

    def keep(self) -> None:
        """Start it again where it died."""
        with self._lock:
            if self._server is None or self._over.is_set() or self._server.status().running:
                return
            text = f"Redis {self._out.style('died', BAD)}; starting it again."
            self._out.row({"part": "redis", "state": "died"}, text)
            try:
                self._server.start()
            except (OpsError, OSError) as problem:
                self._out.note(str(problem))

    def end(self) -> None:
        """Start nothing any more."""
        self._over.set()
        self._ready.set()

    def stop(self) -> None:
        """Stop what was started."""
        with self._lock:
            if self._server is not None and self._server.stop():
                self._out.row({"part": "redis", "state": "stopped"}, "Redis is stopped.")
