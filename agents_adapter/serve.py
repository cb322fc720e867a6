"""Serving assignments: a function that an agent runs for each step that it is handed."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from agents_adapter._base import ClientBase
from agents_adapter._classes import Classify
from agents_adapter._cleanup import CLEANUP_S, CleaningUp, Cleanup, awaits
from agents_adapter._output import Done, report_of
from agents_adapter._plan import Plan
from agents_adapter._serving import Assignment, Served
from ops_stream.contract.errors import WrongUse

__all__ = ["Assignment", "Done", "serves"]

F = TypeVar("F", bound=Callable[[Assignment], Any])


def serves(
    client: ClientBase,
    *,
    role: str,
    capabilities: Iterable[str],
    agent: str | None = None,
    max_concurrency: int = 1,
    cleanup: Cleanup | None = None,
    cleanup_s: float = CLEANUP_S,
    classify: Classify | None = None,
    **registration: Any,
) -> Callable[[F], F]:
    """Let a function run the steps that are handed to an agent, while the client serves (`serving`, `serve_forever`).

    The function, awaiting or blocking, gets an Assignment. What it returns is the step's output: a text, anything that
    is JSON, or `Done` with what it took. What it raises is reported as a failure. It stays what it was, and can be
    called by hand. A blocking one runs in a thread of its own.

    `agent` is the function's name unless given; `registration` are more fields of AgentRegistration. `cleanup`,
    `cleanup_s` and `classify` are as in `supervise`.
    """
    cleaning = CleaningUp.of(cleanup, cleanup_s)

    def decorate(function: F) -> F:
        name = getattr(function, "__name__", type(function).__name__)
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise WrongUse(f"{name} is a generator: a step has one result.", next_step="Return it.")
        event = client._registration(
            agent or name, role, capabilities, {**registration, "max_concurrency": max_concurrency}
        )
        plan = Plan(name, None, event.agent, None, None, report_of, None, cleaning, classify=classify)
        client._serve(Served(event, function, awaits(function), plan))
        return function

    return decorate
