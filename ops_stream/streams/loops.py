"""An event loop on which another thread may resolve a future, as Faust's two threads do to each other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from threading import get_ident
from typing import Any

import uvloop


class SharedLoop(uvloop.Loop):  # type: ignore[misc]
    """uvloop, woken also by a future that another thread resolves.

    Faust fetches in a thread of its own, and code of either thread pauses, seeks and sets what the other may wait for.
    Where that is done without `call_soon_threadsafe`, no loop is woken by it: asyncio sees it at its next turn, and on
    uvloop a worker stood still after rebalances.
    """

    def __init__(self) -> None:
        super().__init__()
        self._thread = 0
        """The thread that it runs in; 0 where it does not run."""

    def run_forever(self) -> None:
        """Run until stopped."""
        self._thread = get_ident()
        try:
            super().run_forever()
        finally:
            self._thread = 0

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """Call at the next turn, and wake the loop for it where another thread says so."""
        outside = self._thread not in (get_ident(), 0)
        call = super().call_soon_threadsafe if outside else super().call_soon
        handle: asyncio.Handle = call(callback, *args, context=context)
        return handle
