"""Reaching Kafka: an admin client, and the sentence that says why a broker could not be reached."""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import (
    IllegalSaslStateError,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.metadata import MetadataRequest

from ops_stream.contract.errors import KafkaUnreachable
from ops_stream.contract.settings import Settings

_ANSWER_WITHIN_MS = 10_000

_START = "Start one with: ops-stream broker start; or set OPS_STREAM_BOOTSTRAP_SERVERS."
_ADDRESS = "Check OPS_STREAM_BOOTSTRAP_SERVERS (host:port, several with commas)."
_LOGIN = "Check OPS_STREAM_KAFKA_SASL_USERNAME, _SASL_PASSWORD_FILE and _SASL_MECHANISM."
_TLS = "Check OPS_STREAM_KAFKA_SSL_CAFILE; it must hold the authority that signed the broker's certificate."
_CLIENT_CERTIFICATE = (
    "Check OPS_STREAM_KAFKA_SSL_CERTFILE and _SSL_KEYFILE: the broker wants a certificate it knows."
)
_PROTOCOL = (
    "Check OPS_STREAM_KAFKA_SECURITY_PROTOCOL: the broker may demand TLS or a password, or may not know it."
)


@asynccontextmanager
async def admin(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    """Open an admin client; raise KafkaUnreachable, which says why, when no broker lets us in."""
    client = AIOKafkaAdminClient(request_timeout_ms=_ANSWER_WITHIN_MS, **settings.aiokafka())
    try:
        with _quiet():
            await client.start()
    except (KafkaError, OSError, TimeoutError) as problem:
        await client.close()
        raise await explain(settings, problem) from problem
    try:
        yield client
    except (KafkaConnectionError, ConnectionError, TimeoutError) as problem:
        raise await explain(settings, problem) from problem
    finally:
        await client.close()


async def explain(settings: Settings, problem: BaseException | None = None) -> KafkaUnreachable:
    """Find out why no broker lets us in: aiokafka only logs it, so try each address and look at the error."""
    arguments = settings.aiokafka()
    addresses = arguments.pop("bootstrap_servers")
    reasons = []
    for host, port, _ in collect_hosts(addresses):
        found = await _try(host, port, arguments)
        if found is not None:
            reasons.append(found)
    where = addresses if isinstance(addresses, str) else ",".join(addresses)
    # A broker that answered and refused says more than one that is not there.
    what, next_step = min(reasons, key=lambda reason: reason[2])[:2] if reasons else (_other(problem), _START)
    return KafkaUnreachable(what, where=where, next_step=next_step)


async def _try(
    host: str, port: int, arguments: dict[str, Any], timeout_ms: int = _ANSWER_WITHIN_MS
) -> tuple[str, str, int] | None:
    try:
        with _quiet():
            connection = await create_conn(host, port, request_timeout_ms=timeout_ms, **arguments)
            try:
                # A door that demands a login tells its version to anyone, and no more.
                await connection.send(MetadataRequest([]))
            finally:
                connection.close()
    except (OSError, KafkaError, TimeoutError) as problem:
        return _sentence(_root(problem))
    return None


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep aiokafka from logging what is said better here."""
    log = logging.getLogger("aiokafka")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)


def _root(problem: BaseException) -> BaseException:
    """Look behind a lost connection: TLS 1.3 refuses a client's certificate only after the handshake."""
    cause = problem.__cause__
    return cause if isinstance(problem, KafkaConnectionError) and isinstance(cause, ssl.SSLError) else problem


def _sentence(problem: BaseException) -> tuple[str, str, int]:
    """Give what happened, what to do, and how little it says (for choosing among several)."""
    if isinstance(problem, SaslAuthenticationFailed):
        return "Kafka refused the user name or the password.", _LOGIN, 0
    if isinstance(problem, (UnsupportedSaslMechanismError, IllegalSaslStateError)):
        return "Kafka does not know this way of logging in.", _LOGIN, 0
    if isinstance(problem, ssl.SSLCertVerificationError):
        return f"Kafka's certificate is not trusted: {problem.verify_message}.", _TLS, 0
    if isinstance(problem, ssl.SSLError):
        if "ALERT" in (problem.reason or ""):
            return "Kafka refused our certificate, or wants one and got none.", _CLIENT_CERTIFICATE, 0
        return "What answers there does not speak TLS.", _PROTOCOL, 1
    if isinstance(problem, socket.gaierror):
        return "Kafka cannot be reached: no such host is known.", _ADDRESS, 3
    if isinstance(problem, ConnectionRefusedError):
        return "Kafka cannot be reached: nothing listens there.", _START, 3
    if isinstance(problem, TimeoutError):
        return f"Kafka did not answer within {_ANSWER_WITHIN_MS // 1000} s.", _PROTOCOL, 2
    if isinstance(problem, (KafkaConnectionError, ConnectionError)):
        return "Kafka closed the connection before it answered.", _PROTOCOL, 1
    return _other(problem), _START, 3


def _other(problem: BaseException | None) -> str:
    text = f"{type(problem).__name__}: {problem}"[:200] if problem else "it does not answer"
    return f"Kafka cannot be reached: {text}."


async def answers(address: str, timeout_s: float) -> bool:
    """Say whether a broker without TLS and login answers at `address`."""
    arguments = {"security_protocol": "PLAINTEXT"}
    host, port, _ = collect_hosts(address)[0]
    return await _try(host, port, arguments, timeout_ms=int(timeout_s * 1000)) is None
