"""Serving: what is handed out to the agents of a client runs here, each as many at once as it said it can."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self

from agents_adapter._assignments import Given
from agents_adapter._base import ClientBase, awaited
from agents_adapter._call import run_awaiting, run_blocking
from agents_adapter._output import Done, as_done
from agents_adapter._plan import Plan
from agents_adapter._signals import on_signal
from agents_adapter._threads import in_thread
from agents_adapter.approval import Approval
from agents_adapter.errors import Refused
from ops_stream.contract.errors import WrongUse
from ops_stream.contract.models import AgentRegistration, AgentStatus, TaskRequest

logger = logging.getLogger("agents_adapter")

GRACE_S: Final = 30.0
"""How long what runs may go on after it was said to stop."""
_STATUS_S: Final = 5.0
_WAITING_MAX: Final = 1000
_STOPPED: Final = ("suspended", "blocked")


@dataclass(frozen=True, slots=True)
class Assignment:
    """A step of a workflow, approved and handed to this agent.

    `inputs` are the outputs of the steps that it depends on, by their names; `clipped` names those that are not all
    there.
    """

    assignment_id: str
    workflow_id: str
    step_id: str
    request: TaskRequest
    approval: Approval
    inputs: dict[str, str]
    clipped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """An agent that a client serves: who it is, and what runs for it."""

    registration: AgentRegistration
    function: Callable[[Assignment], Any]
    awaits: bool
    plan: Plan

    def run(self, assignment: Assignment) -> Any:
        """Call the function, and give what it brought, or a coroutine that does."""
        result = self.function(assignment)
        return self._later(result) if inspect.isawaitable(result) else as_done(self.plan.name, result)

    async def _later(self, result: Awaitable[Any]) -> Done:
        return as_done(self.plan.name, await result)


@dataclass(eq=False, slots=True)
class _Agent:
    """What one agent has to do."""

    served: Served
    running: set[asyncio.Task[None]] = field(default_factory=set)
    waiting: deque[Given] = field(default_factory=deque)

    @property
    def is_free(self) -> bool:
        return len(self.running) < self.served.registration.max_concurrency


class Serving:
    """An `async with` block in which the agents of a client are served. Lives on the loop that enters it.

    Its end lets what runs go on for `grace_s` seconds at most, and hands back what has not begun. Left by an exception,
    it stops at once.
    """

    def __init__(self, client: ClientBase, grace_s: float = GRACE_S) -> None:
        """Serve what `@serves` has named for this client."""
        if not grace_s >= 0:
            raise WrongUse("The time for what runs is not below 0 seconds.", where="grace_s")
        self._client = client
        self._grace_s = grace_s
        self._agents: list[_Agent] = []
        self._hurried = asyncio.Event()
        self._stopping = False
        self.statuses: dict[str, AgentStatus | None] = {}
        """What the supervisor said to each agent's registration; None where it did not answer."""

    async def __aenter__(self) -> Self:
        """Register the agents, and begin to run what is handed to them."""
        served = self._client._begin_serving(self)
        self._loop = asyncio.get_running_loop()
        self._context = contextvars.copy_context()
        self._agents = [_Agent(each) for each in served]
        told = [(each.served.registration, self._hand_over_to(each)) for each in self._agents]
        try:
            session = self._client._at_work()[1]
            statuses = await awaited(self._client._run(session.serve(told, _STATUS_S)))
        except BaseException:
            self._client._end_serving()
            raise
        for each, status in zip(served, statuses, strict=True):
            self.statuses[each.registration.agent] = status
            _tell(each.registration.agent, status)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop; see the class."""
        if kind is not None:
            self.hurry()
        try:
            await self._stop()
        finally:
            self._client._end_serving()

    def stop_taking(self) -> None:
        """Begin nothing more, and hand back what has not begun."""
        self._stopping = True
        for agent in self._agents:
            while agent.waiting:
                self._hand_back(agent.waiting.popleft())

    def hurry(self) -> None:
        """Wait no longer for what runs."""
        self._hurried.set()

    # -- running ---------------------------------------------------------------------------------------------

    def _hand_over_to(self, agent: _Agent) -> Callable[[Given], None]:
        def hand_over(given: Given) -> None:
            try:
                self._loop.call_soon_threadsafe(self._take, agent, given)
            except RuntimeError:  # the loop has ended without the block
                self._client._abandon(given.approval)

        return hand_over

    def _take(self, agent: _Agent, given: Given) -> None:
        if self._stopping or len(agent.waiting) >= _WAITING_MAX:
            self._hand_back(given)
            return
        agent.waiting.append(given)
        self._begin(agent)

    def _begin(self, agent: _Agent) -> None:
        while agent.waiting and agent.is_free and not self._stopping:
            given = agent.waiting.popleft()
            if given.approval.revoked or given.until <= time.monotonic():
                self._hand_back(given)
                continue
            made = self._loop.create_task(self._run(agent.served, given), context=self._context.copy())
            agent.running.add(made)
            made.add_done_callback(lambda done: self._ended(agent, done))

    def _ended(self, agent: _Agent, done: asyncio.Task[None]) -> None:
        agent.running.discard(done)
        self._begin(agent)

    async def _run(self, served: Served, given: Given) -> None:
        client, plan, approval = self._client, served.plan, given.approval
        found = given.assignment
        assignment = Assignment(
            found.assignment_id,
            found.workflow_id,
            found.step_id,
            found.request,
            approval,
            dict(found.inputs),
            found.clipped,
        )

        def function() -> Any:
            return served.run(assignment)

        try:
            if served.awaits:
                await run_awaiting(client, plan, approval, function)
                return
            blocking = in_thread(lambda: run_blocking(client, plan, approval, function), "ops-stream-step")
            result = await asyncio.wrap_future(blocking)
            if inspect.isawaitable(result):
                await result
        except Refused as refused:
            logger.info("Step %s of agent %s: %s", found.request.task_id, approval.agent, refused)
        except Exception:
            logger.exception("Step %s of agent %s failed.", found.request.task_id, approval.agent)

    def _hand_back(self, given: Given) -> None:
        with contextlib.suppress(WrongUse):  # the client was closed first
            self._client._abandon(given.approval)

    # -- stopping --------------------------------------------------------------------------------------------

    async def _stop(self) -> None:
        self.stop_taking()
        try:
            await self._drained()
        finally:
            left = [task for agent in self._agents for task in agent.running]
            for task in left:
                task.cancel()
            try:
                await asyncio.gather(*left, return_exceptions=True)
            finally:
                await self._close()

    async def _drained(self) -> None:
        """Wait for what runs, for the time that it has, or until somebody hurries."""
        hurried = asyncio.ensure_future(self._hurried.wait())
        until = time.monotonic() + self._grace_s
        try:
            while left := {task for agent in self._agents for task in agent.running}:
                left_s = until - time.monotonic()
                if left_s <= 0 or self._hurried.is_set():
                    return
                await asyncio.wait({*left, hurried}, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            hurried.cancel()

    async def _close(self) -> None:
        with contextlib.suppress(WrongUse):
            session = self._client._at_work()[1]
            await awaited(self._client._run(session.assignments.close()))


async def serve_until_told(client: ClientBase, grace_s: float) -> None:
    """Serve an open client's agents until SIGTERM, Ctrl-C or a cancellation."""
    serving = Serving(client, grace_s)
    told = asyncio.Event()

    def signalled() -> None:
        if told.is_set():
            serving.hurry()
        told.set()

    with on_signal(signalled):
        async with serving:
            await told.wait()


def _tell(agent: str, status: AgentStatus | None) -> None:
    if status is None:
        logger.warning("Nobody has confirmed the registration of agent %s. Is a worker running?", agent)
    elif status.state in _STOPPED:
        logger.warning("Agent %s is %s: %s", agent, status.state, status.reason or "no reason is given")
