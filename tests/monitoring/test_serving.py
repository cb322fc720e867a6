"""The health servers among people who mean no good: they stay in answer, and leave the process its files."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from contextlib import AsyncExitStack

import pytest
import uvloop
from aiohttp import web

from ops_stream.health import CONNECTIONS_MAX, MetricsPage, listening


async def _page(_: web.Request) -> web.Response:
    return web.Response(text="x" * 1_000_000)


async def _asked(port: int, what: bytes = b"GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n") -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(what)
    try:
        return await asyncio.wait_for(reader.readline(), 5)
    finally:
        writer.close()


async def _broken(_: web.Request) -> web.Response:
    raise ValueError("ours")


SILENT, HALF, DEAF = b"", b"GET /metrics HTTP/1.1\r\nX-A: ", b"GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n" * 20
"""Who says nothing, who never ends what he says, and who asks much and reads nothing."""


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("first_words", [SILENT, HALF, DEAF])
def test_whoever_holds_connections_keeps_nobody_out(
    first_words: bytes, loop: object, caplog: pytest.LogCaptureFixture
) -> None:
    """200 connections of each kind: the bound holds, everybody else is answered, and nothing floods the log."""

    async def flood() -> None:
        async with AsyncExitStack() as stack:
            port = await stack.enter_async_context(listening({"/metrics": _page}, "127.0.0.1", 0))
            before = len(os.listdir("/proc/self/fd"))
            held = []
            for number in range(200):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                held.append(writer)
                writer.write(first_words)
                if number % 50 == 0:
                    assert await _asked(port) == b"HTTP/1.1 200 OK\r\n"
            await asyncio.sleep(0.2)
            assert await _asked(port) == b"HTTP/1.1 200 OK\r\n"
            # Both ends of a connection are files of this process.
            assert len(os.listdir("/proc/self/fd")) <= before + len(held) + CONNECTIONS_MAX + 5
            for writer in held:
                writer.transport.abort()

    with asyncio.Runner(loop_factory=loop) as runner:  # type: ignore[arg-type]
        runner.run(flood())
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (b"GET /metrics HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", (200, 400)),
        (b"GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n", (200,)),
        (b"GET /../metrics HTTP/1.1\r\nHost: h\r\n\r\n", (200, 400, 404)),
        (b"GET //metrics HTTP/1.1\r\nHost: h\r\n\r\n", (400, 404)),
        (b"GET /%2e%2e/etc/passwd HTTP/1.1\r\nHost: h\r\n\r\n", (404,)),
        (b"GET http://evil.example/metrics HTTP/1.1\r\nHost: h\r\n\r\n", (200, 400, 404)),
        (b"POST /metrics HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello", (405,)),
        (b"CONNECT a:1 HTTP/1.1\r\nHost: h\r\n\r\n", (400, 404, 405)),
        (b"GET /\x1b[2J HTTP/1.1\r\nHost: h\r\n\r\n", (400,)),
        (b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: h\r\n\r\n", (400, 414)),
        (b"GET /metrics HTTP/1.1\r\nHost: h\r\nX: " + b"a" * 100_000 + b"\r\n\r\n", (400, 431)),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", (400,)),
    ],
)
async def test_odd_requests_are_answered_and_not_logged(
    words: bytes, status: tuple[int, ...], caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever is asked: an answer, nothing else than the pages, and no line that the asker has written."""
    async with listening({"/metrics": _page, "/broken": _broken}, "127.0.0.1", 0) as port:
        answer = await _asked(port, words)
        assert int(answer.split()[1]) in status
        assert await _asked(port) == b"HTTP/1.1 200 OK\r\n"
        assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
        assert (await _asked(port, b"GET /broken HTTP/1.1\r\nHost: h\r\n\r\n")).startswith(b"HTTP/1.1 500 ")
        assert len(caplog.records) == 1, "an error of ours is logged"


async def test_a_storm_of_scrapes_leaves_the_loop_to_its_work() -> None:
    """Whoever asks for the metrics all the time gets an answer each time, and a tenth of the loop: the rest decides."""
    made = 0

    def make() -> bytes:
        nonlocal made
        made += 1
        time.sleep(0.01)
        return b"x %d\n" % made

    async with listening({"/metrics": MetricsPage(make).page}, "127.0.0.1", 0) as port:
        began = time.monotonic()
        for _ in range(20):
            answers = await asyncio.gather(*(_asked(port) for _ in range(20)))
            assert answers == [b"HTTP/1.1 200 OK\r\n"] * 20
        assert made <= 2 + (time.monotonic() - began) / 0.1
        await asyncio.sleep(0.1)
        before = made
        await _asked(port)
        assert made == before + 1, "what is asked for a moment later is as it is then"
