"""Sends one message to one target: checked, bounded, tried again with growing pauses, and given up in the end."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

import aiohttp
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type
from tenacity.wait import wait_base, wait_exponential, wait_random

from ops_stream import __version__
from ops_stream.contract.errors import SettingsInvalid
from ops_stream.notify.addresses import CheckedResolver, Lookup, NotAllowed, refuse_literal
from ops_stream.notify.config import Target
from ops_stream.notify.signing import read_secrets, signed

FIRST_PAUSE_S: Final = 2.0
PAUSE_MAX_S: Final = 300.0
RETRY_AFTER_MAX_S: Final = 3600.0
"""A receiver that wants to be left alone for longer is asked again after this all the same."""
_AGAIN: Final = frozenset((408, 425, 429))
_HEADER_MAX: Final = 8190

Sleep = Callable[[float], Awaitable[None]]


class Undelivered(Exception):
    """A message that did not arrive. The sentence holds nothing of the address, the body or the answer."""

    def __init__(self, sentence: str, result: str) -> None:
        """Say what happened; `result` is a word for counting."""
        super().__init__(sentence)
        self.sentence = sentence
        self.result = result


class Refused(Undelivered):
    """Trying again would change nothing."""


class Failed(Undelivered):
    """It may go better the next time; `after_s` is how long the receiver asked to wait, if it did."""

    def __init__(self, sentence: str, result: str, after_s: float = 0.0) -> None:
        """Say what happened and how long to wait at least."""
        super().__init__(sentence, result)
        self.after_s = after_s


@dataclass(frozen=True, slots=True)
class Message:
    """What one attempt sends. `since_s` is when the event was recorded, in seconds since 1970."""

    id: str
    body: bytes
    since_s: float


class _Pause(wait_base):
    """Growing pauses with jitter, and never shorter than the receiver asked for."""

    def __init__(self, first_s: float) -> None:
        self._growing = wait_exponential(multiplier=first_s, max=PAUSE_MAX_S) + wait_random(0, first_s)

    def __call__(self, retry_state: RetryCallState) -> float:
        problem = retry_state.outcome.exception() if retry_state.outcome else None
        asked = problem.after_s if isinstance(problem, Failed) else 0.0
        growing = min(float(self._growing(retry_state)), PAUSE_MAX_S)
        return max(growing, min(asked, RETRY_AFTER_MAX_S))


class Sender:
    """One target, with a small pool of connections of its own. Use it as an async context manager."""

    def __init__(
        self,
        target: Target,
        *,
        sleep: Sleep = asyncio.sleep,
        first_pause_s: float = FIRST_PAUSE_S,
        lookup: Lookup | None = None,
        attempted: Callable[[str], None] = lambda result: None,
    ) -> None:
        """Read the target's files; raises SettingsInvalid. `attempted` hears the result of every attempt."""
        self.target = target
        self._url = target.address()
        self._secrets = read_secrets(target.secret_file) if target.secret_file else ()
        self._tls = _tls(target)
        self._sleep = sleep
        self._first_pause_s = first_pause_s
        self._lookup = lookup
        self._attempted = attempted
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Open the session."""
        resolver = CheckedResolver(allow_private=self.target.allow_private, lookup=self._lookup)
        connector = aiohttp.TCPConnector(
            resolver=resolver, use_dns_cache=False, force_close=True, limit=2, ssl=self._tls
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=self.target.timeout_s),
            trust_env=False,  # a proxy would look names up itself
            auto_decompress=False,
            max_line_size=_HEADER_MAX,
            max_field_size=_HEADER_MAX,
            read_bufsize=4096,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        if self._session is not None:
            await self._session.close()

    async def deliver(self, message: Message) -> int:
        """Send until it is taken; gives the number of attempts. Raises Undelivered when it is given up."""
        attempts = 0
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(Failed),
            wait=_Pause(self._first_pause_s),
            stop=lambda state: self._is_over(state, message),
            sleep=self._sleep,
            reraise=True,
        )
        async for attempt in retrying:
            with attempt:
                attempts += 1
                await self.attempt(message)
        return attempts

    def _is_over(self, state: RetryCallState, message: Message) -> bool:
        """Give up after so many attempts, and early, after two, with what is old already: more waits behind it."""
        number = state.attempt_number
        too_old = time.time() - message.since_s >= self.target.give_up_s
        return number >= self.target.attempts or (too_old and number >= 2)

    async def attempt(self, message: Message) -> None:
        """Send once; raises Failed or Refused."""
        try:
            status = await self._post(message)
        except Undelivered as problem:
            self._attempted(problem.result)
            raise
        self._attempted(f"{status // 100}xx")

    async def _post(self, message: Message) -> int:
        assert self._session is not None, "the sender is not open"
        headers = signed(self._secrets, message.id, int(time.time()), message.body) | {
            "content-type": "application/json",
            "user-agent": f"ops-stream/{__version__}",
        }
        try:
            if not self.target.allow_private:
                refuse_literal(urlsplit(self._url).hostname or "")  # an address is never looked up
            answer = await self._session.post(
                self._url, data=message.body, headers=headers, allow_redirects=False
            )
        except NotAllowed as problem:
            raise Refused(f"Nothing was sent: {problem}.", "not_allowed") from None
        except (aiohttp.ClientError, OSError, ValueError) as problem:
            raise self._explained(problem) from None
        # Nobody reads what it says: the connection is closed on it, however much it is.
        answer.close()
        return _judged(answer)

    def _explained(self, problem: BaseException) -> Undelivered:
        inner: BaseException | None = problem
        while inner is not None:
            if isinstance(inner, NotAllowed):
                return Refused(f"Nothing was sent: {inner}.", "not_allowed")
            inner = inner.__cause__ or getattr(inner, "os_error", None)
        if isinstance(problem, TimeoutError):
            return Failed(f"It did not answer within {self.target.timeout_s} s.", "timeout")
        if isinstance(problem, aiohttp.ClientConnectorDNSError):
            return Failed("Its name cannot be looked up.", "unreachable")
        if isinstance(problem, aiohttp.ClientSSLError | ssl.SSLError):
            return Failed("Its certificate is not trusted, or it speaks no TLS.", "tls")
        if isinstance(problem, aiohttp.InvalidURL):
            return Refused("Its address is none.", "not_allowed")
        if isinstance(problem, aiohttp.ClientConnectorError):
            return Failed("It cannot be reached.", "unreachable")
        return Failed(f"The connection broke ({type(problem).__name__}).", "unreachable")


def _judged(answer: aiohttp.ClientResponse) -> int:
    """Give the status where the message was taken; else raise what it means."""
    status = answer.status
    if 200 <= status < 300:
        return status
    result = f"{status // 100}xx"
    if 300 <= status < 400:
        raise Refused(f"It answered {status} and named another address, which is not followed.", result)
    if status in _AGAIN or status >= 500:
        raise Failed(f"It answered {status}.", result, _after(answer.headers.get("Retry-After")))
    raise Refused(f"It answered {status}.", result)


def _after(text: str | None) -> float:
    """Read a Retry-After: seconds or a date; 0 where there is none that can be read."""
    if text is None or len(text) > 64:
        return 0.0
    if text.isascii() and text.isdigit():
        return min(float(text), RETRY_AFTER_MAX_S)
    try:
        moment = parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError):
        return 0.0
    return min(max(0.0, moment - time.time()), RETRY_AFTER_MAX_S)


def _tls(target: Target) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=target.ca_file)
    except OSError as error:
        raise SettingsInvalid(
            f"The authority of a webhook cannot be used: {error.strerror or type(error).__name__}.",
            where=str(target.ca_file),
            next_step="Check that the file exists and is PEM.",
        ) from None
