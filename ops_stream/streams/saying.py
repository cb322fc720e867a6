"""What the log says of decisions: each dead letter and each alert, and with the level `debug` each answer.

Only so many lines a second, since whoever may write to a topic could fill the disk with them; how many were left out is
said. Each level has its own number, so that no flood of bad records hides what is grave. What was decided stands in the
journal, all of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from time import monotonic
from typing import Any, Final

import structlog

from ops_stream.contract.headers import read_headers
from ops_stream.core.inputs import EventInput, Input, MalformedInput
from ops_stream.core.outputs import Output

log = structlog.get_logger(__name__)

LINES_A_SECOND: Final = 20
_OURS: Final = ("internal_error",)
"""Reasons of dead letters for which the fault is the supervisor's."""
_LEVELS: Final = {"critical": "error", "warning": "warning", "info": "info"}


class Saying:
    """Writes the lines. `details` is whether answers are said too."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        """Begin with nothing said."""
        self.details = False
        self._clock = clock
        self._second = 0
        self._lines = Counter[str]()
        self._left_out = Counter[str]()

    def dead_letter(self, output: Output, input_: Input) -> None:
        """Say that a record was refused, and where it stands."""
        letter = output.value
        self._say(
            "error" if letter["reason"] in _OURS else "warning",
            "a record is refused",
            reason=letter["reason"],
            explanation=letter["explanation"],
            topic=letter["topic"],
            partition=letter["partition"],
            offset=letter["offset"],
            tenant=output.key,
            **about(input_),
        )

    def alert(self, output: Output, input_: Input) -> None:
        """Say that an alert fires, or is over."""
        alert = output.value
        self._say(
            _LEVELS.get(alert["severity"], "info") if alert["status"] == "firing" else "info",
            "an alert fires" if alert["status"] == "firing" else "an alert is over",
            kind=alert["kind"],
            severity=alert["severity"],
            summary=alert["summary"],
            tenant=alert["tenant"],
            **about(input_),
        )

    def answer(self, output: Output) -> None:
        """Say what was answered to an ask."""
        answer = output.value
        self._say(
            "debug",
            "an ask is answered",
            decision=answer["decision"],
            reason=answer["reason"],
            agent=answer["agent"],
            tenant=answer["tenant"],
            request_id=answer["request_id"],
            **trace_of(output.traceparent),
        )

    def _say(self, level: str, event: str, **told: Any) -> None:
        second = int(self._clock())
        if second != self._second:
            self._second = second
            self._lines.clear()
        if self._lines[level] >= LINES_A_SECOND:
            self._left_out[level] += 1
            return
        self._lines[level] += 1
        if left_out := self._left_out.pop(level, 0):
            told["left_out"] = left_out
        getattr(log, level)(event, **told)


def about(input_: Input) -> dict[str, Any]:
    """Give the request and the trace that an input belongs to, where it has any."""
    if isinstance(input_, MalformedInput):
        # What cannot be read may still have headers that can.
        trace = trace_of(read_headers(input_.headers).traceparent)
        return trace if input_.request_id is None else {"request_id": input_.request_id, **trace}
    if isinstance(input_, EventInput):
        request_id = getattr(input_.event, "request_id", None)
        trace = trace_of(input_.traceparent)
        return trace if request_id is None else {"request_id": request_id, **trace}
    return {}


def trace_of(traceparent: str | None) -> dict[str, str]:
    """Give the trace's id of a `traceparent`."""
    return {} if traceparent is None else {"trace_id": traceparent[3:35]}
