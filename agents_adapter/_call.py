"""One supervised call: ask, run, report. The same steps for what awaits and for what blocks."""

from __future__ import annotations

import asyncio
import inspect
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

from agents_adapter import _tracing
from agents_adapter._base import ClientBase, awaited, blocked
from agents_adapter._plan import Plan, end_of
from agents_adapter._stop import Stoppable, revoked
from agents_adapter.approval import Approval, under
from agents_adapter.errors import Revoked

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
        self._report("cancelled" if stopped else "failed", end_of(error), timed=True)
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
    """Ask, then await the function and report."""
    ask = plan.ask(owner, args, kwargs)
    accept_changes = plan.apply is not None
    future = client._asking(ask.agent, ask.task_description, ask.fields, None, accept_changes)
    approval = await awaited(future, client._abandon)
    args, kwargs = _applied(client, plan, approval, args, kwargs)
    return await run_awaiting(client, plan, approval, lambda: function(*args, **kwargs))


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
    """Ask, then call the function and report."""
    ask = plan.ask(owner, args, kwargs)
    accept_changes = plan.apply is not None
    future = client._asking(ask.agent, ask.task_description, ask.fields, None, accept_changes)
    approval = blocked(future, client._abandon)
    args, kwargs = _applied(client, plan, approval, args, kwargs)
    return run_blocking(client, plan, approval, lambda: function(*args, **kwargs))


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
