"""One log line: every value cleaned, clipped and redacted, then written as JSON or for people.

Whatever is logged may hold text that came over the bus, or an exception's that repeats it. It forges no line, moves no
cursor and fills no disk.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Final

from structlog.typing import EventDict, WrappedLogger

from ops_stream.contract.escape import UNSAFE, clean, to_json
from ops_stream.logs.redact import BLOT, SECRET_NAME, redacted

TEXT_MAX: Final = 2_000
TRACE_MAX: Final = 16_000
ITEMS_MAX: Final = 64
DEPTH_MAX: Final = 4
_READ_MAX: Final = 50_000
_INDENT: Final = "    | "
_COLORS: Final = {"debug": "34", "info": "32", "warning": "33", "error": "31", "critical": "31;1"}
_FIRST: Final = ("timestamp", "level", "event", "logger")


def safe(_: WrappedLogger, __: str, told: EventDict) -> EventDict:
    """Make every field safe to write. It is the last step before the rendering."""
    trace = told.pop("exception", None)
    made: EventDict = {}
    for name, value in list(told.items())[:ITEMS_MAX]:
        secret = SECRET_NAME.search(str(name)) is not None and value is not None
        made[_name(name)] = BLOT if secret else _value(value, 0)
    if trace is not None:
        made["exception"] = _clipped(redacted(_read(str(trace))), TRACE_MAX)
    return made


def _name(name: object) -> str:
    return clean(str(name)[:100])


def _value(value: Any, depth: int) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value) if abs(value) < 1 << 63 else str(value)[:TEXT_MAX]
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping) and depth < DEPTH_MAX:
        return {
            _name(key): BLOT if SECRET_NAME.search(str(key)) else _value(each, depth + 1)
            for key, each in list(value.items())[:ITEMS_MAX]
        }
    if isinstance(value, list | tuple | set | frozenset) and depth < DEPTH_MAX:
        return [_value(each, depth + 1) for each in list(value)[:ITEMS_MAX]]
    return _text(value)


def _text(value: Any) -> str:
    try:
        text = str(value)
    except Exception as error:  # a broken __str__ must not cost the line
        text = f"<{type(value).__name__}, which cannot be written: {type(error).__name__}>"
    return _clipped(redacted(_read(text)), TEXT_MAX)


def _read(text: str) -> str:
    """Take of what is very long the two ends: the middle would be cut out anyway, and it takes time to look through."""
    return text if len(text) <= 2 * _READ_MAX else f"{text[:_READ_MAX]}...{text[-_READ_MAX:]}"


def _clipped(text: str, most: int) -> str:
    """Keep the beginning and, which tells most of a traceback, the end."""
    if len(text) <= most:
        return text
    head, tail = most // 2, most // 4
    return f"{text[:head]} [... {len(text) - head - tail} characters ...] {text[-tail:]}"


def as_json(_: WrappedLogger, __: str, told: EventDict) -> str:
    """Write a line as one JSON object, with a space after each comma and colon, as logs in JSON have it."""
    text = json.dumps(told, ensure_ascii=False)
    return UNSAFE.sub(lambda match: json.dumps(match.group())[1:-1], text)


class ForPeople:
    """Writes a line for people: time, level, what happened, and the rest as `name=value`."""

    def __init__(self, *, colors: bool) -> None:
        """Say whether colours are wanted."""
        self._colors = colors

    def __call__(self, _: WrappedLogger, __: str, told: EventDict) -> str:
        """Write it. Every line after the first is indented, so that no text can begin a line of its own."""
        level = str(told.get("level", "info"))
        fields = " ".join(
            f"{self._styled(name, '36')}={_shown(value)}"
            for name, value in told.items()
            if name not in (*_FIRST, "exception")
        )
        event = clean(told.get("event", ""))
        if (logger := told.get("logger")) is not None:
            event = f"{clean(logger)}: {event}"
        level_text = self._styled(f"[{clean(level):<8}]", _COLORS.get(level, "0"))
        line = (
            f"{clean(told.get('timestamp', ''))} {level_text} {self._styled(event, '1')}  {fields}".rstrip()
        )
        trace = told.get("exception")
        if trace is not None:
            line += "".join(f"\n{_INDENT}{clean(each)}" for each in str(trace).split("\n"))
        return line

    def _styled(self, text: str, color: str) -> str:
        return f"\x1b[{color}m{text}\x1b[0m" if self._colors else text


def _shown(value: Any) -> str:
    """Write a value so that nobody can take a part of it for another field."""
    if isinstance(value, str):
        return (
            value
            if value.isascii() and value.isprintable() and value and not set(' "=\\') & set(value)
            else to_json(value)
        )
    return to_json(value)
