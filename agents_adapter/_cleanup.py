"""The agent's own clean-up after a revoked call has stopped: bounded in time, and never the call's undoing."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import inspect
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from agents_adapter._threads import in_thread
from agents_adapter.approval import Approval, under
from ops_stream.contract.errors import WrongUse

logger = logging.getLogger("agents_adapter")

T = TypeVar("T")

Cleanup = Callable[[Approval], Awaitable[object] | object]

CLEANUP_S: Final = 10.0
"""How long a clean-up may take unless told otherwise; the supervisor waits for the acknowledgement that follows."""


@dataclass(frozen=True, slots=True)
class CleaningUp:
    """What a plan says of it."""

    cleanup: Cleanup
    timeout_s: float

    @staticmethod
    def of(cleanup: Cleanup | None, timeout_s: float) -> CleaningUp | None:
        """Take what was told; raises WrongUse for a time that is none."""
        if not timeout_s > 0:
            raise WrongUse("The time for a clean-up is above 0 seconds.", where="cleanup_s")
        return None if cleanup is None else CleaningUp(cleanup, timeout_s)

    async def awaiting(self, approval: Approval) -> None:
        """Clean up after an awaiting call, and come back when that is done or its time is over.

        Whoever cancels meanwhile is obeyed then: half a clean-up is worse than a late one.
        """
        work = asyncio.ensure_future(self._begun(approval))
        until = time.monotonic() + self.timeout_s
        cancelled = False
        while not work.done() and (left_s := until - time.monotonic()) > 0:
            try:
                await asyncio.wait([work], timeout=left_s)
            except asyncio.CancelledError:
                cancelled = True
        if not work.done():
            work.add_done_callback(_look_at)
            work.cancel()
            self._say_late(approval)
        elif not work.cancelled() and (error := work.exception()) is not None:
            _say_failed(approval, error)
        if cancelled:
            raise asyncio.CancelledError

    def blocking(self, approval: Approval) -> None:
        """Clean up after a blocking call, and come back when that is done or its time is over."""

        def whole() -> None:
            made = self.cleanup(approval)
            if inspect.isawaitable(made):
                asyncio.run(_finish(made))

        work = _in_thread(approval, whole)
        concurrent.futures.wait([work], self.timeout_s)
        if not work.done():
            self._say_late(approval)
        elif (error := work.exception()) is not None:
            _say_failed(approval, error)

    async def _begun(self, approval: Approval) -> None:
        """What awaits runs on this loop. What may block is called in a thread, which holds nothing up when late."""
        if awaits(self.cleanup):
            with under(approval):
                made = self.cleanup(approval)
        else:
            made = await asyncio.wrap_future(_in_thread(approval, lambda: self.cleanup(approval)))
        if inspect.isawaitable(made):
            with under(approval):
                await made

    def _say_late(self, approval: Approval) -> None:
        logger.error(
            "The clean-up after request %s takes longer than %g s; the revocation is acknowledged without it.",
            approval.request_id,
            self.timeout_s,
        )


def _in_thread(approval: Approval, work: Callable[[], T]) -> concurrent.futures.Future[T]:
    def whole() -> T:
        with under(approval):
            return work()

    return in_thread(whole, "ops-stream-cleanup")


async def _finish(made: Awaitable[Any]) -> None:
    await made


def awaits(function: Callable[..., object]) -> bool:
    """Whether a function is declared to await, also behind `partial` or as a `__call__`."""
    inner = function.func if isinstance(function, functools.partial) else function
    return inspect.iscoroutinefunction(inner) or inspect.iscoroutinefunction(getattr(inner, "__call__", None))  # noqa: B004


def _look_at(work: asyncio.Future[Any]) -> None:
    if not work.cancelled():
        work.exception()  # said already that it was late


def _say_failed(approval: Approval, error: BaseException) -> None:
    logger.error("The clean-up after request %s failed.", approval.request_id, exc_info=error)
