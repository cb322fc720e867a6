"""Delivering to a real web server: what is tried again, what is given up, and what is never done."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from ops_stream.notify.config import Target
from ops_stream.notify.sender import (
    PAUSE_MAX_S,
    RETRY_AFTER_MAX_S,
    Failed,
    Message,
    Refused,
    Sender,
    Undelivered,
)
from tests.bus.certificates import Authority
from tests.notify.receiver import Receiver, receiving, verified

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = '{"type":"alert.firing","data":{"summary":"Grüße"}}'.encode()


class Pauses:
    """Stands in for waiting: notes how long it should have been."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


def _target(url: str, **changes: Any) -> Target:
    return Target(
        **{"name": "t", "url": url, "allow_private": True, "attempts": 4, "timeout_s": 1, **changes}
    )


def _message(age_s: float = 0.0) -> Message:
    return Message("msg_1", BODY, time.time() - age_s)


async def _deliver(target: Target, age_s: float = 0.0, **options: Any) -> tuple[int, list[float], list[str]]:
    """Deliver one message; gives attempts, pauses and results."""
    pauses, results = Pauses(), list[str]()
    async with Sender(target, sleep=pauses, attempted=results.append, **options) as sender:
        attempts = await sender.deliver(_message(age_s))
    return attempts, pauses.seconds, results


async def _given_up(
    target: Target, age_s: float = 0.0, **options: Any
) -> tuple[Undelivered, list[float], list[str]]:
    """Deliver one message that does not arrive; gives why, pauses and results."""
    pauses, results = Pauses(), list[str]()
    async with Sender(target, sleep=pauses, attempted=results.append, **options) as sender:
        with pytest.raises(Undelivered) as caught:
            await sender.deliver(_message(age_s))
    return caught.value, pauses.seconds, results


async def test_a_message_arrives_as_it_is_and_signed(receiver: Receiver, tmp_path: Path) -> None:
    """The body's bytes, JSON by its type, the id, the time of now, and a signature over the three that verifies."""
    (tmp_path / "secret").write_text(SECRET)
    attempts, pauses, results = await _deliver(_target(receiver.url(), secret_file=tmp_path / "secret"))
    assert (attempts, pauses, results) == (1, [], ["2xx"])
    (got,) = receiver.got
    assert got.body == BODY
    assert got.headers["content-type"] == "application/json"
    assert got.headers["webhook-id"] == "msg_1"
    assert abs(int(got.headers["webhook-timestamp"]) - time.time()) < 60
    assert verified(SECRET, got.headers, got.body)
    assert not verified(SECRET, got.headers, got.body + b" ")
    assert "cookie" not in got.headers and "authorization" not in got.headers


@pytest.mark.parametrize("status", [500, 502, 503, 599, 408, 425, 429])
async def test_what_may_pass_is_tried_again_with_growing_pauses(receiver: Receiver, status: int) -> None:
    """Errors of a server, and 'not now', are tried again under the same id; the third attempt is taken."""
    receiver.answers = [status, status]
    attempts, pauses, results = await _deliver(_target(receiver.url()))
    assert attempts == 3 and len(receiver.got) == 3
    assert {got.headers["webhook-id"] for got in receiver.got} == {"msg_1"}
    assert {got.body for got in receiver.got} == {BODY}
    assert 2 <= pauses[0] <= 4 <= pauses[1] <= 6
    assert results == [f"{status // 100}xx"] * 2 + ["2xx"]


async def test_pauses_are_jittered_and_bounded(receiver: Receiver) -> None:
    """Many that fail together do not come back together, and nobody waits longer than five minutes between attempts."""
    receiver.otherwise = 500
    runs = [(await _given_up(_target(receiver.url(), attempts=14)))[1] for _ in range(2)]
    assert runs[0][:6] != runs[1][:6]
    assert max(runs[0]) <= PAUSE_MAX_S and runs[0][-1] == PAUSE_MAX_S


async def test_after_the_last_attempt_it_is_given_up(receiver: Receiver) -> None:
    """As many attempts as the target says, then an error that says the last answer and nothing of the address."""
    receiver.otherwise = 503
    problem, pauses, results = await _given_up(_target(receiver.url("/services/T0/secret-path")))
    assert isinstance(problem, Failed) and problem.sentence == "It answered 503."
    assert (len(receiver.got), len(pauses), results) == (4, 3, ["5xx"] * 4)
    assert "secret-path" not in str(problem)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 422])
async def test_what_cannot_pass_is_given_up_at_once(receiver: Receiver, status: int) -> None:
    """A receiver that says the message or the address is wrong is not asked again."""
    receiver.otherwise = status
    problem, _, results = await _given_up(_target(receiver.url()))
    assert isinstance(problem, Refused) and str(status) in problem.sentence
    assert (len(receiver.got), results) == (1, ["4xx"])


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_is_followed(receiver: Receiver, status: int) -> None:
    """A receiver cannot send us elsewhere, inside our own network least of all; nothing of it is repeated."""

    async def elsewhere(_: web.Request) -> web.StreamResponse:
        return web.Response(status=status, headers={"Location": receiver.url("/elsewhere")})

    receiver.otherwise = elsewhere
    problem, _, _ = await _given_up(_target(receiver.url()))
    assert isinstance(problem, Refused) and "elsewhere" not in problem.sentence
    assert [got.path for got in receiver.got] == ["/hook"]


@pytest.mark.parametrize(
    ("said", "least", "most"),
    [
        ("7", 7, 7),
        ("0", 2, 4),
        ("999999999", RETRY_AFTER_MAX_S, RETRY_AFTER_MAX_S),
        ("date", 25, 31),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 2, 4),
        ("soon", 2, 4),
        ("-5", 2, 4),
        ("٧", 2, 4),
        ("Mon, 99 Foo 99999 99:99:99 GMT", 2, 4),
        ("9" * 100, 2, 4),
    ],
)
async def test_a_receiver_is_left_alone_for_as_long_as_it_asks(
    receiver: Receiver, said: str, least: float, most: float
) -> None:
    """Retry-After in seconds or as a date lengthens the pause, up to an hour; nonsense and the past shorten nothing."""
    text = formatdate(time.time() + 30, usegmt=True) if said == "date" else said

    async def busy(_: web.Request) -> web.StreamResponse:
        return web.Response(status=429, headers={"Retry-After": text})

    receiver.answers = [busy]
    _, pauses, _ = await _deliver(_target(receiver.url()))
    assert least <= pauses[0] <= most


async def test_a_receiver_that_does_not_answer_is_not_waited_for(receiver: Receiver) -> None:
    """An attempt ends after the target's time-out, and is tried again."""
    release = asyncio.Event()

    async def hang(_: web.Request) -> web.StreamResponse:
        await release.wait()
        return web.Response()

    receiver.answers = [hang]
    began = time.monotonic()
    attempts, _, results = await _deliver(_target(receiver.url()))
    release.set()
    assert (attempts, results) == (2, ["timeout", "2xx"])
    assert time.monotonic() - began < 5


async def test_what_a_receiver_says_is_not_read(receiver: Receiver) -> None:
    """An answer without end counts by its status: nobody reads or keeps it."""
    closed = asyncio.Event()

    async def endless(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(status=200)
        await answer.prepare(request)
        try:
            while True:
                await answer.write(b"x" * 65_536)
        except ConnectionError:
            closed.set()
        return answer

    receiver.answers = [endless]
    assert (await _deliver(_target(receiver.url())))[2] == ["2xx"]
    async with asyncio.timeout(10):
        await closed.wait()


async def test_headers_without_end_are_a_failure(receiver: Receiver) -> None:
    """A header larger than 8 KiB is not taken in."""

    async def large(_: web.Request) -> web.StreamResponse:
        return web.Response(headers={"X-Large": "x" * 100_000})

    receiver.otherwise = large
    problem, _, results = await _given_up(_target(receiver.url(), attempts=2))
    assert results == ["unreachable"] * 2
    assert "xxx" not in problem.sentence


async def test_a_connection_that_breaks_is_tried_again() -> None:
    """Nobody listening, or a server that hangs up in the middle, may be over in a moment."""
    hung_up = 0

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal hung_up
        await reader.readline()
        hung_up += 1
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    problem, _, results = await _given_up(_target(f"http://127.0.0.1:{port}/", attempts=2))
    assert results == ["unreachable"] * 2 and hung_up == 2
    server.close()
    problem, _, results = await _given_up(_target(f"http://127.0.0.1:{port}/", attempts=2))
    assert isinstance(problem, Failed) and problem.sentence == "It cannot be reached."


async def test_old_messages_are_given_up_after_two_attempts(receiver: Receiver) -> None:
    """Behind a target that was down for long much waits: what is older than `give_up_s` has two attempts, not all."""
    receiver.otherwise = 503
    _, _, results = await _given_up(_target(receiver.url(), attempts=9, give_up_s=600), age_s=601)
    assert len(results) == 2
    receiver.answers = [503]
    receiver.otherwise = 204
    assert (await _deliver(_target(receiver.url(), give_up_s=600), age_s=601))[0] == 2


async def test_nothing_goes_to_a_private_address_unless_allowed(receiver: Receiver) -> None:
    """An address in the URL, a name that this machine knows, and a name server's answer: none is connected to."""
    for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "[::1]"):
        url = receiver.url(scheme="https", host=host)
        problem, _, results = await _given_up(_target(url, allow_private=False))
        assert isinstance(problem, Refused), host
        assert results == ["not_allowed"]
        assert "not a public one" in problem.sentence
    assert receiver.got == []


async def test_a_name_that_changes_its_mind_is_caught(receiver: Receiver) -> None:
    """Each attempt looks the name up once, checks the answer, and connects to nothing but that answer."""
    asked: list[str] = []

    async def rebinding(host: str, port: int, family: int) -> list[tuple[int, str]]:
        asked.append(host)
        if len(asked) == 1:
            raise socket.gaierror(socket.EAI_AGAIN, "later")
        return [(int(socket.AF_INET), "127.0.0.1")]

    url = receiver.url(scheme="https", host="hook.example")
    problem, _, results = await _given_up(_target(url, allow_private=False), lookup=rebinding)
    assert isinstance(problem, Refused)
    assert results == ["unreachable", "not_allowed"]
    assert asked == ["hook.example"] * 2 and receiver.got == []


async def test_the_address_that_was_checked_is_the_one_connected_to(receiver: Receiver) -> None:
    """The lookup's answer decides where the connection goes; nothing asks this machine's name server again."""
    asked: list[str] = []

    async def lookup(host: str, port: int, family: int) -> list[tuple[int, str]]:
        asked.append(host)
        return [(int(socket.AF_INET), "127.0.0.1")]

    target = _target(receiver.url(host="hook.invalid"))
    attempts, _, _ = await _deliver(target, lookup=lookup)
    assert (attempts, asked) == (1, ["hook.invalid"])
    assert receiver.got[0].headers["host"] == f"hook.invalid:{receiver.port}"
    # An old answer is not kept either: it is asked again for the next connection.
    receiver.answers = [503]
    attempts, _, _ = await _deliver(target, lookup=lookup)
    assert (attempts, asked) == (2, ["hook.invalid"] * 3)


async def test_no_proxy_of_the_environment_is_used(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy would look names up itself, past all checks."""
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert (await _deliver(_target(receiver.url())))[0] == 1


def _server_tls(authority: Authority, name: str, directory: Path) -> ssl.SSLContext:
    issued = authority.issue(name)
    issued.write_pem(directory / "cert.pem", directory / "key.pem", "pw")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "cert.pem", directory / "key.pem", "pw")
    return context


async def test_certificates_are_checked_by_name_and_authority(tmp_path: Path) -> None:
    """A server whose authority is named is told; one of an unknown authority, or under another name, is not."""
    authority = Authority("webhooks")
    authority.write_pem(tmp_path / "ca.pem")

    async def lookup(host: str, port: int, family: int) -> list[tuple[int, str]]:
        return [(int(socket.AF_INET), "127.0.0.1")]

    async with receiving(_server_tls(authority, "hook.example", tmp_path)) as receiver:
        url = receiver.url(scheme="https", host="hook.example")
        other = receiver.url(scheme="https", host="other.example")
        known = {"ca_file": tmp_path / "ca.pem", "attempts": 1}
        assert (await _deliver(_target(url, **known), lookup=lookup))[2] == ["2xx"]
        assert (await _given_up(_target(url, attempts=1), lookup=lookup))[2] == ["tls"]
        assert (await _given_up(_target(other, **known), lookup=lookup))[2] == ["tls"]
        assert len(receiver.got) == 1


async def test_what_does_not_speak_tls_is_told_nothing(receiver: Receiver) -> None:
    """An https address of a server without TLS fails, and the server gets no request."""
    problem, _, results = await _given_up(_target(receiver.url(scheme="https"), attempts=1))
    assert results == ["tls"] and receiver.got == []
    assert "127.0.0.1" not in problem.sentence


async def test_being_told_to_stop_ends_the_pauses(receiver: Receiver) -> None:
    """What interrupts a pause comes out as it is, and no further attempt is made."""
    receiver.otherwise = 503

    class Stop(BaseException):
        pass

    async def stop(_: float) -> None:
        raise Stop

    async with Sender(_target(receiver.url()), sleep=stop) as sender:
        with pytest.raises(Stop):
            await sender.deliver(_message())
    assert len(receiver.got) == 1
