"""Serving `/healthz`, `/readyz` and `/metrics`: to few at a time, and of whoever comes the latest.

Nobody logs in here. Without a bound, whoever opens connections and says nothing on them takes all the files that the
process may open, and with them its way to Kafka.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from time import monotonic
from typing import Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestHandler

CONNECTIONS_MAX: Final = 64
"""Past these the oldest is dropped: who is in earnest asks again."""

Page = Callable[[web.Request], Awaitable[web.StreamResponse]]


class MetricsPage:
    """Answers `/metrics`; its text is made so seldom that no storm of questions takes more than a tenth of the loop."""

    def __init__(self, make: Callable[[], bytes]) -> None:
        """Make the text by this."""
        self._make = make
        self._text = b""
        self._good_until = 0.0

    async def page(self, _: web.Request) -> web.Response:
        """Answer in Prometheus' text format."""
        began = monotonic()
        if began >= self._good_until:
            self._text = self._make()
            ended = monotonic()
            self._good_until = ended + 9 * (ended - began)
        return web.Response(
            body=self._text, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        )


class _NotOurs(logging.Filter):
    """Keeps out what is no request: else whoever asks writes the log, a traceback each time."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


_logger: Final = logging.getLogger(__name__)
_logger.addFilter(_NotOurs())


@asynccontextmanager
async def listening(pages: Mapping[str, Page], host: str, port: int) -> AsyncIterator[int]:
    """Serve pages by their paths while the block runs; gives the port. Raises `OSError` where it is busy."""
    app = web.Application()
    app.add_routes([web.get(path, page) for path, page in pages.items()])
    runner = web.AppRunner(app, access_log=None, handle_signals=False, logger=_logger)
    await runner.setup()
    handlers = runner.server
    assert handlers is not None

    def connect() -> RequestHandler:
        there = handlers.connections
        for oldest in there[: max(0, len(there) - CONNECTIONS_MAX + 1)]:
            if oldest.transport is not None:
                oldest.transport.abort()  # a close would wait for one who reads nothing
        return handlers()

    try:
        server = await asyncio.get_running_loop().create_server(connect, host, port)
        try:
            yield int(server.sockets[0].getsockname()[1])
        finally:
            server.close()
    finally:
        await runner.cleanup()
