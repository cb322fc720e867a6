"""One supervised call: ask, run, report. The same steps for what awaits and for what blocks."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import inspect
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from agents_adapter import _tracing
from agents_adapter._again import WAIT_S, again, may_follow, note
from agents_adapter._base import ClientBase, awaited, blocked
from agents_adapter._plan import Ask, Plan, end_of
from agents_adapter._stop import Stoppable, revoked
from agents_adapter.approval import Approval, under
from agents_adapter.errors import Refused, Revoked
from ops_stream.contract.errors import WrongUse
from ops_stream.contract.models import TaskApproval

logger = logging.getLogger("agents_adapter")


class _Run:
    """Reports what becomes of an approved call.

    A report that cannot be made never costs the call its result.
    """

    def __init__(self, client: ClientBase, plan: Plan, approval: Approval) -> None:
        self._client = client
        self._plan = plan
        self._approval = approval
        self._began = time.perf_counter()
        self.call = _tracing.call(approval, client.settings)
        self._report("started", {})

    def completed(self, result: Any) -> None:
        fields = self._plan.measured(result)
        self._report("completed", fields, timed=True)
        self.call.ended(None, fields)

    def ended(self, error: BaseException) -> None:
        """It raised. Ended from outside it counts as cancelled, which holds nothing against the agent."""
        stopped = isinstance(error, asyncio.CancelledError) or (
            isinstance(error, Revoked) and self._approval.revoked
        )
        self._report("cancelled" if stopped else "failed", end_of(error, self._plan.classify), timed=True)
        self.call.ended(error, {})

    def _report(self, kind: str, fields: dict[str, Any], *, timed: bool = False) -> None:
        if timed:
            fields.setdefault("latency_ms", (time.perf_counter() - self._began) * 1000)
        try:
            self._client._post(self._approval, self.call.traceparent, {"kind": kind, **fields})
        except Exception:
            logger.exception("The report '%s' of request %s is lost.", kind, self._approval.request_id)


def _applied(
    client: ClientBase, plan: Plan, approval: Approval, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    try:
        return plan.applied(approval, args, kwargs)
    except BaseException:
        client._abandon(approval)
        raise


def _still_approved(client: ClientBase, approval: Approval) -> None:
    """Begin nothing that was revoked between the answer and now; there is nothing to clean up then."""
    if approval.revoked:
        client._abandon(approval)
        raise revoked(approval, when="before it ran")


async def call_awaiting(
    client: ClientBase,
    plan: Plan,
    owner: Any,
    function: Callable[..., Awaitable[Any]],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """Ask, then await the function and report; again where the supervisor says so and the plan follows it."""
    call = _Attempts(client, plan, plan.ask(owner, args, kwargs), function, args, kwargs)
    return await _attempts(call)


class _Attempts:
    """One call, as often as it is tried."""

    def __init__(
        self,
        client: ClientBase,
        plan: Plan,
        ask: Ask,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        self.client = client
        self.plan = plan
        self.ask = ask
        self.failed: Exception | None = None
        self._function = function
        self._args = args
        self._kwargs = kwargs

    def asking(self) -> concurrent.futures.Future[Approval]:
        accept_changes = self.plan.apply is not None
        ask = self.ask
        return self.client._asking(ask.agent, ask.task_description, ask.fields, None, accept_changes)

    def approved(self, approval: Approval) -> Callable[[], Any]:
        """Give what is to run."""
        args, kwargs = _applied(self.client, self.plan, approval, self._args, self._kwargs)
        return functools.partial(self._function, *args, **kwargs)

    def refused(self, refusal: Refused) -> Exception:
        """Give what to raise: of a second attempt that may not be made, what the first one raised."""
        if self.failed is None:
            return refusal
        self.failed.add_note(f"It was not tried again: {refusal}")
        return self.failed

    def failed_under(self, approval: Approval, error: Exception) -> concurrent.futures.Future[Any] | None:
        """Ask what to do next, if anybody may know."""
        self.failed = error
        if not may_follow(self.plan, approval, error):
            return None
        try:
            return self.client._after(approval, WAIT_S)
        except WrongUse:  # the client was closed meanwhile
            return None

    def follows(self, approval: Approval, answer: TaskApproval | None) -> float | None:
        """Give how long to wait for the next attempt, which is asked for then; None where there is none."""
        found = again(self.ask, approval, answer)
        if found is None:
            assert self.failed is not None
            note(self.failed, approval.next_step)
            return None
        self.ask = found.ask
        return found.wait_s


async def _attempts(call: _Attempts, begun: tuple[Approval, Awaitable[Any]] | None = None) -> Any:
    """Try until it is done, or not to be tried again. `begun` is a first attempt that has begun already."""
    client, plan = call.client, call.plan
    while True:
        if begun is not None:
            approval, running = begun
            begun = None
        else:
            try:
                approval = await awaited(call.asking(), client._abandon)
            except Refused as refusal:
                raised = call.refused(refusal)
                if raised is refusal:
                    raise
                raise raised from refusal
            running = run_awaiting(client, plan, approval, call.approved(approval))
        try:
            return await running
        except Exception as error:
            asked = call.failed_under(approval, error)
            wait_s = None if asked is None else call.follows(approval, await awaited(asked))
            if wait_s is None:
                raise
        await asyncio.sleep(wait_s)


async def run_awaiting(
    client: ClientBase, plan: Plan, approval: Approval, function: Callable[[], Awaitable[Any]]
) -> Any:
    """Await what is approved, and report."""
    _still_approved(client, approval)
    return await _awaiting(client, plan, _Run(client, plan, approval), approval, function)


async def _awaiting(
    client: ClientBase, plan: Plan, run: _Run, approval: Approval, function: Callable[[], Awaitable[Any]]
) -> Any:
    stoppable = Stoppable(client, approval)
    returned = False
    try:
        async with stoppable:
            with under(approval), run.call:
                stoppable.result = await function()
            returned = True
    except BaseException as error:
        try:
            if not isinstance(error, GeneratorExit):  # who closes a coroutine cannot be made to wait
                await _cleaned_up(plan, approval)
        finally:
            if returned:  # revoked too late to stop it
                run.completed(stoppable.result)
            else:
                run.ended(error)
        raise
    run.completed(stoppable.result)
    return stoppable.result


async def _cleaned_up(plan: Plan, approval: Approval) -> None:
    """Let the agent clean up after a revoked call. The end of the call, and with it the ack, is told after that."""
    if plan.cleaning is not None and approval.revoked:
        await plan.cleaning.awaiting(approval)


def _clean_up(plan: Plan, approval: Approval) -> None:
    """Do the same after a blocking one."""
    if plan.cleaning is not None and approval.revoked:
        plan.cleaning.blocking(approval)


def call_blocking(
    client: ClientBase,
    plan: Plan,
    owner: Any,
    function: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    """Ask, then call the function and report; again where the supervisor says so and the plan follows it."""
    call = _Attempts(client, plan, plan.ask(owner, args, kwargs), function, args, kwargs)
    while True:
        try:
            approval = blocked(call.asking(), client._abandon)
        except Refused as refusal:
            raised = call.refused(refusal)
            if raised is refusal:
                raise
            raise raised from refusal
        to_run = call.approved(approval)
        try:
            result = run_blocking(client, plan, approval, to_run)
        except Exception as error:
            asked = call.failed_under(approval, error)
            wait_s = None if asked is None else call.follows(approval, blocked(asked))
            if wait_s is None:
                raise
        else:
            return _attempts(call, (approval, result)) if inspect.isawaitable(result) else result
        time.sleep(wait_s)


def run_blocking(client: ClientBase, plan: Plan, approval: Approval, function: Callable[[], Any]) -> Any:
    """Call what is approved, and report; gives a coroutine where what was called only now begins to await."""
    _still_approved(client, approval)
    run = _Run(client, plan, approval)
    client._begin(approval, _nothing)
    try:
        with under(approval), run.call:
            result = function()
    except BaseException as error:
        try:
            _clean_up(plan, approval)
        finally:
            run.ended(error)
        raise
    if inspect.isawaitable(result):
        # It was not declared as one, but it awaits: it has not run yet.
        return _awaiting(client, plan, run, approval, lambda: result)
    # Looked at once: what is revoked from here on has come too late for this call.
    stopped = approval.revoked
    try:
        if stopped:
            _clean_up(plan, approval)
    finally:
        run.completed(result)
    if stopped:
        raise revoked(approval, result)
    return result


def _nothing() -> None:
    """A thread cannot be stopped from outside; what it runs can look at `current_approval().revoked`."""
