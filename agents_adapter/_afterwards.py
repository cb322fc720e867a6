"""After a failure was reported: for a while its ask is still listened to, for what the supervisor says to do next."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from agents_adapter._line import Line
from agents_adapter.approval import Mark
from ops_stream.contract.models import TaskApproval

LINES_MAX: Final = 10_000
"""So many failed calls are listened to at once; the oldest are let go."""


class Afterwards:
    """The lines of calls that have failed. Lives on the background loop."""

    def __init__(self, lasts_s: float, drop: Callable[[Line], None]) -> None:
        """Each is listened to for so long, then dropped."""
        self._lasts_s = lasts_s
        self._drop = drop
        self._lines: OrderedDict[Mark, tuple[Line, asyncio.TimerHandle]] = OrderedDict()

    def add(self, line: Line) -> None:
        """Go on listening to a line whose call is over."""
        line.ends()
        timer = asyncio.get_running_loop().call_later(self._lasts_s, self._drop, line)
        self._lines[line.mark] = (line, timer)
        if len(self._lines) > LINES_MAX:
            oldest, _ = next(iter(self._lines.values()))
            self._drop(oldest)

    def discard(self, mark: Mark) -> None:
        """Let a line go; whoever waits gets nothing."""
        found = self._lines.pop(mark, None)
        if found is not None:
            line, timer = found
            timer.cancel()
            line.news.set()

    async def answer(self, mark: Mark, timeout_s: float) -> TaskApproval | None:
        """Wait for the decision that follows a failure; None where none comes in time."""
        try:
            async with asyncio.timeout(timeout_s):
                while mark.after is None and mark in self._lines:
                    line, _ = self._lines[mark]
                    line.news.clear()
                    await line.news.wait()
        except TimeoutError:
            pass
        return mark.after
