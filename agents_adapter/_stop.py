"""Stopping a call whose approval is revoked, the way asyncio's own time-outs do."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from agents_adapter._tracing import NO_CALL, Call
from agents_adapter.approval import Approval
from agents_adapter.errors import Revoked
from ops_stream.contract.errors import WrongUse

if TYPE_CHECKING:
    from agents_adapter._base import ClientBase


def revoked(approval: Approval, result: Any = None, *, when: str = "while it ran") -> Revoked:
    """Say why a call was ended."""
    mark = approval.mark
    last = approval
    if mark.answer is not None:
        last = Approval(approval.request, mark.answer, approval.traceparent, mark)
    reason = f", {mark.answer.reason}" if mark.answer is not None else ""
    return Revoked(f"Revoked {when}{reason}: {mark.why}", approval=last, result=result)


class Stoppable:
    """A block that ends with Revoked when its approval is revoked.

    The task is cancelled, so that its clean-up runs; a cancellation from elsewhere stays what it is.
    """

    def __init__(self, client: ClientBase, approval: Approval, call: Call = NO_CALL) -> None:
        """Watch over a block that runs under an approval; `call` is the span of the block."""
        self.result: Any = None
        self._call = call
        self._client = client
        self._approval = approval
        self._stopped = False
        self._left = False

    async def __aenter__(self) -> Self:
        """Begin to renew the lease."""
        self._loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        assert task is not None
        self._task, self._cancelling = task, task.cancelling()
        self._client._begin(self._approval, self._revoked_elsewhere)
        self._call.__enter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End with Revoked if that is what happened."""
        self._left = True
        self._call.__exit__(kind, error, trace)
        self._call.ended(error, {})
        with contextlib.suppress(WrongUse):  # a client closed meanwhile must not cost the result
            self._client._rest(self._approval)
        if self._stopped and self._task.uncancel() > self._cancelling and kind is asyncio.CancelledError:
            return  # somebody else wants it cancelled as well
        if not self._approval.revoked or (kind is asyncio.CancelledError and not self._stopped):
            return
        if kind is None or issubclass(kind, Exception | asyncio.CancelledError):
            raise revoked(self._approval, self.result) from error

    def _revoked_elsewhere(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop may have ended
            self._loop.call_soon_threadsafe(self._stop)

    def _stop(self) -> None:
        if not self._left and not self._stopped:
            self._stopped = True
            self._task.cancel()
