"""What a report says of an error: its type, what that is a kind of, and the status that a server gave.

The supervisor classes errors by these words (`conf/retries.yaml`); nothing is decided here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

logger = logging.getLogger("agents_adapter")

Classify = Callable[[BaseException], str | None]

KINDS: Final = (
    TimeoutError,
    ConnectionRefusedError,
    ConnectionResetError,
    ConnectionAbortedError,
    BrokenPipeError,
    ConnectionError,
    PermissionError,
    FileNotFoundError,
    ValueError,
    TypeError,
    KeyError,
    EOFError,
)
"""Types whose names tell something; what is one of them under a name of its own is reported with both."""
_STATUS: Final = ("status_code", "status", "code")
_LENGTH_MAX: Final = 256


def error_class_of(error: BaseException, classify: Classify | None = None) -> str:
    """Give the `error_class` of a report. What `classify` says wins, unless it says nothing."""
    said = _said(error, classify)
    if said:
        return said[:_LENGTH_MAX]
    name = type(error).__name__
    words = [name[: _LENGTH_MAX // 2]]
    kind = next((kind.__name__ for kind in KINDS if isinstance(error, kind)), None)
    if kind is not None and kind != name:
        words.append(kind)
    status = _status_of(error)
    if status is not None:
        words.append(str(status))
    return ":".join(words)


def _said(error: BaseException, classify: Classify | None) -> str | None:
    if classify is None:
        return None
    try:
        said: object = classify(error)
    except Exception:
        logger.exception("`classify` failed; the error is reported by its type.")
        return None
    if said is None or isinstance(said, str):
        return said
    logger.warning("`classify` gave a %s; the error is reported by its type.", type(said).__name__)
    return None


def _status_of(error: BaseException) -> int | None:
    """Give the HTTP status that an error carries, as those of most clients do, itself or in its `response`."""
    for holder in (error, getattr(error, "response", None)):
        for name in _STATUS:
            status = getattr(holder, name, None)
            if isinstance(status, int) and not isinstance(status, bool) and 400 <= status <= 599:
                return int(status)
    return None
