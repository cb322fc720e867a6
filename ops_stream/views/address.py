"""How Redis is reached: by OPS_STREAM_REDIS_URL, of which no message repeats the password."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError

from ops_stream.contract.errors import NotSo, SettingsInvalid, WrongUse
from ops_stream.contract.settings import Settings

VARIABLE: Final = "OPS_STREAM_REDIS_URL"
SCHEMES: Final = ("redis", "rediss", "unix")
CONNECT_S: Final = 3.0
ANSWER_S: Final = 10.0


def connect(settings: Settings) -> Redis:
    """Give a client; nothing is sent yet. Raises WrongUse where there is no address, or none that can be used."""
    url = settings.redis_url
    if not url:
        raise WrongUse(
            "No Redis is named.",
            where=VARIABLE,
            next_step=f"Set it, as in {VARIABLE}=redis://127.0.0.1:6379/0; "
            "ops-stream broker start --redis runs one here.",
        )
    try:
        parts = urlsplit(url)
        if parts.scheme not in SCHEMES:
            raise ValueError("another scheme")
        if parts.scheme != "unix" and not _DATABASE.fullmatch(parts.path):
            raise ValueError("no number of a database: a password may have a '/' or an '@' in it")
        # Once more, where a connection has gone stale; whatever is sent twice does no harm.
        return Redis.from_url(
            url,
            socket_connect_timeout=CONNECT_S,
            socket_timeout=ANSWER_S,
            retry=Retry(NoBackoff(), 1),
        )
    except (ValueError, TypeError):
        raise SettingsInvalid(
            "The address of Redis cannot be used.",
            where=VARIABLE,
            next_step="Write redis://[user:password@]host:port/number, or rediss:// for TLS; "
            "in a password %2F for /, %40 for @, %23 for #.",
        ) from None  # the original may repeat the password


def shown(settings: Settings) -> str:
    """Give the address without user and password."""
    try:
        parts = urlsplit(settings.redis_url or "")
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return VARIABLE
    if parts.scheme != "unix" and not _DATABASE.fullmatch(parts.path):
        return VARIABLE
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}{port}{parts.path}"


def unreachable(settings: Settings, problem: Exception) -> NotSo:
    """Build the error for a Redis that does not answer, or does not do what is asked of it."""
    return NotSo(
        f"Redis cannot be used: {why(problem)}.",
        where=shown(settings),
        next_step=f"Check that it runs, and {VARIABLE}. The supervisor decides without it.",
    )


def why(problem: BaseException) -> str:
    """Say in some words what was wrong, without what Redis or a library wrote of its own."""
    if isinstance(problem, ResponseError) and (code := _CODE.search(str(problem))) is not None:
        return _WHY[code[1]]
    return _WHY.get(type(problem).__name__, type(problem).__name__)


def in_the_way(problem: ResponseError) -> bool:
    """Say whether a key is of another kind than the one that stands there."""
    return "WRONGTYPE" in str(problem)


_DATABASE: Final = re.compile(r"/?[0-9]{0,9}")
_WHY: Final = {
    "ConnectionError": "it does not answer",
    "ConnectionRefusedError": "it does not answer",
    "TimeoutError": "it does not answer in time",
    "AuthenticationError": "it refuses the password",
    "AuthenticationWrongNumberOfArgsError": "it refuses the password",
    "NoPermissionError": "it does not permit what is needed",
    "BusyLoadingError": "it is still reading its data",
    "ReadOnlyError": "it is a replica, and takes no writes",
    "OutOfMemoryError": "its memory is full",
    "MaxConnectionsError": "it takes no more connections",
    "OOM": "its memory is full",
    "READONLY": "it is a replica, and takes no writes",
    "NOPERM": "it does not permit what is needed",
    "WRONGTYPE": "a key of another kind stands where one of the views belongs",
    "MISCONF": "it cannot save its data, and takes no writes",
    "NOREPLICAS": "it has too few replicas, and takes no writes",
    "BUSY": "it is busy with a script",
}
# Of an error inside a script the code stands somewhere in the text.
_CODE: Final = re.compile(r"(?:^|[ -])(OOM|READONLY|NOPERM|WRONGTYPE|MISCONF|NOREPLICAS|BUSY)\b")
