"""One event loop in a thread of its own, for the whole process and only while a client is open.

All clients share it, whatever loop or thread they are used from. That is what makes one consumer a process
possible, keeps heartbeats going while an agent's code blocks its own loop, and lets a blocking call ask from
inside a running loop.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextlib
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

logger = logging.getLogger("agents_adapter")

T = TypeVar("T")

_JOIN_S: Final = 10.0
_EXIT_S: Final = 5.0


class Background:
    """A loop in a daemon thread. Made and ended through `acquire` and `release`."""

    def __init__(self) -> None:
        """Start the thread and wait until its loop runs."""
        self.pid = os.getpid()
        self.loop = asyncio.new_event_loop()
        self._calls: deque[tuple[Callable[..., object], tuple[object, ...]]] = deque()
        self._woken = self._ended = False
        self._tasks: set[asyncio.Task[None]] = set()
        self.at_exit: set[Callable[[], Coroutine[Any, Any, None]]] = set()
        self._thread = threading.Thread(target=self._run, name="ops-stream", daemon=True)
        self._thread.start()

    def run(
        self, coroutine: Coroutine[Any, Any, T], orphaned: Callable[[T], object] | None = None
    ) -> concurrent.futures.Future[T]:
        """Run a coroutine there; cancelling the future cancels it.

        A result that comes too late for a cancelled future is given to `orphaned`, there, so that it is not
        lost.
        """
        future: concurrent.futures.Future[T] = concurrent.futures.Future()
        try:
            self.call(self._begin, coroutine, future, orphaned)
        except RuntimeError:
            coroutine.close()
            raise
        return future

    def _begin(
        self,
        coroutine: Coroutine[Any, Any, T],
        future: concurrent.futures.Future[T],
        orphaned: Callable[[T], object] | None,
    ) -> None:
        task = self.loop.create_task(_deliver(coroutine, future, orphaned))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

        def cancel(done: concurrent.futures.Future[T]) -> None:
            if done.cancelled() and not self.loop.is_closed():
                self.loop.call_soon_threadsafe(task.cancel)

        future.add_done_callback(cancel)

    def call(self, function: Callable[..., object], *arguments: object) -> None:
        """Call a function there, soon, and do not wait. Calls run in the order in which they were made."""
        if self._ended:
            raise RuntimeError("The background loop has ended.")
        self._calls.append((function, arguments))
        if not self._woken:  # waking costs a system call: once for all that has come in meanwhile
            self._woken = True
            self.loop.call_soon_threadsafe(self._make_calls)

    def _make_calls(self) -> None:
        # Cleared first: whoever adds a call from here on either is served below or wakes us again.
        self._woken = False
        while self._calls:
            function, arguments = self._calls.popleft()
            try:
                function(*arguments)
            except Exception:
                logger.exception("A call in the background failed.")

    def finish(self, timeout_s: float) -> None:
        """Let what is still open close itself, for so long at most, then close."""
        closing = [self.run(close()) for close in tuple(self.at_exit)]
        concurrent.futures.wait(closing, timeout_s)
        self.close()

    def close(self) -> None:
        """Cancel what still runs, stop the loop and wait for the thread."""
        self._ended = True
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(_JOIN_S)

    def _run(self) -> None:
        loop = self.loop
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
        finally:
            left = asyncio.all_tasks(loop)
            for task in left:
                task.cancel()
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            loop.run_until_complete(loop.shutdown_asyncgens())
            asyncio.set_event_loop(None)
            loop.close()


async def _deliver(
    coroutine: Coroutine[Any, Any, T],
    future: concurrent.futures.Future[T],
    orphaned: Callable[[T], object] | None,
) -> None:
    try:
        result = await coroutine
    except asyncio.CancelledError:
        future.cancel()
    except BaseException as error:
        with contextlib.suppress(concurrent.futures.InvalidStateError):
            future.set_exception(error)
    else:
        try:
            future.set_result(result)
        except concurrent.futures.InvalidStateError:
            if orphaned is not None:
                orphaned(result)


class _Shared:
    """The process's background loop and how many clients use it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.background: Background | None = None
        self.users = 0


_shared = _Shared()


def acquire() -> Background:
    """Give the process's background loop, started if this is its first user."""
    with _shared.lock:
        if _shared.background is None:
            _shared.background = Background()
        _shared.users += 1
        return _shared.background


def release(background: Background) -> None:
    """Give it back; the last user ends it."""
    with _shared.lock:
        if background is not _shared.background:  # from before a fork
            return
        _shared.users -= 1
        if _shared.users == 0:
            _shared.background = None
            background.close()


def _forget_after_fork() -> None:
    """Start afresh: a forked child has no copy of the thread, and its parent's clients refuse to work."""
    global _shared
    _shared = _Shared()


def _close_at_exit() -> None:
    background = _shared.background
    if background is not None:
        background.finish(_EXIT_S)


if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork
    os.register_at_fork(after_in_child=_forget_after_fork)
atexit.register(_close_at_exit)
