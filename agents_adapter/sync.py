"""The client for code that blocks."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from types import TracebackType
from typing import Any, Self

from agents_adapter import _tracing
from agents_adapter._again import WAIT_S
from agents_adapter._base import ClientBase, blocked
from agents_adapter._serving import GRACE_S, Serving, serve_until_told
from agents_adapter._stop import revoked
from agents_adapter._threads import in_thread
from agents_adapter.approval import Approval
from ops_stream.contract.errors import WrongUse
from ops_stream.contract.models import AgentStatus, NextStep


class SyncOpsClient(ClientBase):
    """The same calls as OpsClient, blocking.

    Its loop runs in the background, so that it works inside a running loop too.
    """

    def __enter__(self) -> Self:
        """Connect; raises KafkaUnreachable, or NotSo where the topics are missing."""
        opening = self._opening()
        try:
            blocked(self._run(opening))
        except BaseException:
            self._closed()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Send what waits and disconnect.

        Raises NotDelivered for reports that were lost, unless something worse did.
        """
        try:
            blocked(self._run(self._closing()))
        except Exception:
            if error is None:
                raise
        finally:
            self._closed()

    def register(
        self,
        agent: str,
        *,
        role: str,
        capabilities: Iterable[str],
        wait_status_s: float | None = 5.0,
        **fields: Any,
    ) -> AgentStatus | None:
        """Register an agent; see OpsClient.register."""
        event = self._registration(agent, role, capabilities, fields)
        return blocked(self._run(self._at_work()[1].register(event, wait_status_s)))

    def ask(
        self,
        agent: str,
        task_description: str,
        *,
        traceparent: str | None = None,
        accept_changes: bool = False,
        **fields: Any,
    ) -> Approval:
        """Ask and wait for the decision; see OpsClient.ask."""
        future = self._asking(agent, task_description, fields, traceparent, accept_changes)
        return blocked(future, self._abandon)

    def report(self, approval: Approval, *, traceparent: str | None = None, **fields: Any) -> None:
        """Report; see OpsClient.report."""
        if self._crowded:
            blocked(self._run(self._at_work()[1].outbox.room(self._options.timeout_s)))
        self._post(approval, traceparent, fields)

    def next_step(self, approval: Approval, *, timeout_s: float = WAIT_S) -> NextStep | None:
        """Give what to do after `report(approval, kind="failed")`; None where the supervisor does not say it in time.

        See OpsClient.next_step.
        """
        answer = blocked(self._after(approval, timeout_s))
        return answer.next_step if answer is not None else None

    def flush(self, timeout_s: float | None = None) -> None:
        """Wait until Kafka has everything; see OpsClient.flush."""
        wait_s = self._options.timeout_s if timeout_s is None else timeout_s
        blocked(self._run(self._at_work()[1].outbox.flush(wait_s)))

    @contextmanager
    def serving(self, *, grace_s: float = GRACE_S) -> Iterator[None]:
        """Serve the agents that `@serves` has named, in the background, while a block runs; see OpsClient.serving."""
        begun: concurrent.futures.Future[asyncio.AbstractEventLoop] = concurrent.futures.Future()
        serving, ended = Serving(self, grace_s), asyncio.Event()

        async def serve() -> None:
            async with serving:
                begun.set_result(asyncio.get_running_loop())
                await ended.wait()

        work = in_thread(lambda: asyncio.run(serve()), "ops-stream-serving")
        either: list[concurrent.futures.Future[Any]] = [begun, work]
        concurrent.futures.wait(either, return_when=concurrent.futures.FIRST_COMPLETED)
        if not begun.done():
            work.result()
        loop = begun.result()
        try:
            yield
        except BaseException:
            loop.call_soon_threadsafe(serving.hurry)
            raise
        finally:
            loop.call_soon_threadsafe(ended.set)
            work.result()

    def serve_forever(self, *, grace_s: float = GRACE_S) -> None:
        """Serve until SIGTERM or Ctrl-C; see OpsClient.serve_forever. Not from inside a running loop."""
        with self if self._session is None else nullcontext():
            asyncio.run(serve_until_told(self, grace_s))

    @contextmanager
    def running(self, approval: Approval) -> Iterator[None]:
        """Renew the lease while a block runs.

        A thread cannot be stopped from outside: look at `approval.revoked` where the work can end early. If
        it was revoked, the block ends with Revoked; where that was so before, nothing of it runs.
        """
        if approval.revoked:
            raise revoked(approval, when="before it ran")
        call = _tracing.call(approval, self.settings)
        self._begin(approval, lambda: None)
        error: BaseException | None = None
        try:
            with call:
                yield
        except BaseException as raised:
            error = raised
            raise
        finally:
            call.ended(error, {})
            with suppress(WrongUse):  # a client closed meanwhile must not cost the result
                self._rest(approval)
        if approval.revoked:
            raise revoked(approval)
