"""A real web server that takes webhooks, and records of the topics that the notifier reads."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from aiohttp import web
from cryptography.hazmat.primitives import hashes, hmac

from ops_stream.contract.codec import encode_json
from ops_stream.contract.headers import JournalPosition, event_headers

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(slots=True)
class Got:
    """One request as it came in."""

    path: str
    headers: dict[str, str]
    body: bytes
    at: float

    @property
    def json(self) -> dict[str, Any]:
        """The body, read."""
        found = json.loads(self.body)
        assert isinstance(found, dict)
        return found


@dataclass(slots=True)
class Receiver:
    """Keeps what it got, and answers with what is in `answers`, then with `otherwise`."""

    port: int = 0
    got: list[Got] = field(default_factory=list)
    answers: list[int | Answer] = field(default_factory=list)
    otherwise: int | Answer = 204
    _came: asyncio.Condition = field(default_factory=asyncio.Condition)

    def url(self, path: str = "/hook", scheme: str = "http", host: str = "127.0.0.1") -> str:
        """Give its address."""
        return f"{scheme}://{host}:{self.port}{path}"

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Take one request."""
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.got.append(Got(request.path, headers, body, monotonic()))
        answer = self.answers.pop(0) if self.answers else self.otherwise
        async with self._came:
            self._came.notify_all()
        return web.Response(status=answer) if isinstance(answer, int) else await answer(request)

    async def until(self, is_so: Callable[[], bool], within_s: float = 30.0) -> None:
        """Wait until what it got is so."""
        async with asyncio.timeout(within_s), self._came:
            await self._came.wait_for(is_so)

    def types(self) -> list[str]:
        """What types of events it was told."""
        return [one.json["type"] for one in self.got]


@asynccontextmanager
async def receiving(tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    """Run a receiver on a free port of 127.0.0.1."""
    found = Receiver()
    app = web.Application(client_max_size=4 * 1024 * 1024)
    app.router.add_route("*", "/{path:.*}", found.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    found.port = runner.addresses[0][1]
    try:
        yield found
    finally:
        await runner.cleanup()


def verified(secret: str, headers: Mapping[str, str], body: bytes) -> bool:
    """Check a signature as the Standard Webhooks specification says, on OpenSSL, apart from the code under test."""
    assert secret.startswith("whsec_")
    content = b".".join([headers["webhook-id"].encode(), headers["webhook-timestamp"].encode(), body])
    mac = hmac.HMAC(base64.b64decode(secret.removeprefix("whsec_")), hashes.SHA256())
    mac.update(content)
    wanted = "v1," + base64.b64encode(mac.finalize()).decode()
    return wanted in headers["webhook-signature"].split(" ")


def escalation(number: int = 1, **changes: Any) -> dict[str, Any]:
    """Give an escalation as the supervisor writes it."""
    body = {
        "event": "Escalation",
        "escalation_id": f"esc_{number}",
        "request_id": f"r{number}",
        "tenant": "default",
        "agent": "clerk",
        "trigger": "policy:dear",
        "severity": "warning",
        "summary": "clerk wants to refund order 1234.",
        "recommendation": "Deny it, unless somebody knows the customer.",
        "at_stake_usd": 12.5,
        "rules_digest": "sha256:" + "0" * 64,
        "action_digest": "sha256:" + "1" * 64,
        "quorum": 1,
        "expires_at": "2026-11-24T13:00:00.000Z",
        "on_expiry": "deny",
        "status": "open",
        "level": 1,
        "levels": 2,
        "count": 1,
    }
    return {name: value for name, value in (body | changes).items() if value is not None}


def alert(number: int = 1, **changes: Any) -> dict[str, Any]:
    """Give an alert as the supervisor writes it."""
    body = {
        "event": "Alert",
        "alert_id": f"al_{number}",
        "tenant": "default",
        "kind": "budget_threshold",
        "severity": "critical",
        "status": "firing",
        "dedupe_key": f"budget_threshold|default|{number}",
        "count": 1,
        "summary": "80 % of the tenant's budget is spent.",
        "since": "2026-11-24T12:00:00.000Z",
    }
    return body | changes


def written(
    body: dict[str, Any], partition: int, offset: int, index: int = 0
) -> tuple[bytes, list[tuple[str, bytes]]]:
    """Give value and headers of an output that the journal's record at an offset caused."""
    headers = event_headers(
        body["event"],
        f"{partition}-{offset}",
        time="2026-11-24T12:00:00.000Z",
        journal=JournalPosition(partition, offset, index),
    )
    return encode_json(body), headers
