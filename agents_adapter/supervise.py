"""Supervising code that knows nothing of it: a method of any class or instance, or a function."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, Final, ParamSpec, TypeVar

from agents_adapter._base import ClientBase
from agents_adapter._call import call_awaiting, call_blocking
from agents_adapter._classes import Classify
from agents_adapter._cleanup import CLEANUP_S, CleaningUp, Cleanup
from agents_adapter._plan import AgentName, Apply, Describe, Estimate, Measure, Plan
from ops_stream.contract.errors import WrongUse

T = TypeVar("T")
P = ParamSpec("P")
R = TypeVar("R")

_MARK: Final = "__ops_supervised__"


def supervise(
    target: T,
    client: ClientBase,
    *,
    method: str = "execute",
    agent: AgentName = None,
    describe: Describe | None = None,
    estimate: Estimate | None = None,
    measure: Measure | None = None,
    apply: Apply | None = None,
    cleanup: Cleanup | None = None,
    cleanup_s: float = CLEANUP_S,
    retries: bool = False,
    classify: Classify | None = None,
) -> T:
    """Let a method ask before it runs and report after, and give the target back.

    `target` is an instance, or a class: then every instance of it, also those that exist. The method,
    awaiting or blocking, runs only when approved, and returns or raises what it always did; a refusal is
    raised as Refused.

    `agent` is a name or a function of the instance (default: its `name`, else its class's). `describe(args)`
    gives the description, `estimate(args)` fields of TaskRequest, where `args` are the call's arguments by
    place or name. `measure(result)` gives fields of Telemetry. `apply(approval, args, kwargs)` gives the
    arguments to run with; only with it does an approval with changes run.

    `cleanup(approval)`, awaiting or blocking, runs when a call that had begun was revoked, after it has stopped and
    before the supervisor is told so. It has `cleanup_s` seconds; its failure is logged.

    With `retries` a call that failed is tried again as long as the supervisor's answer to the failure says so, each
    time as a new ask: after the wait that it names, and with the model that it names. Where it says anything else,
    what the call raised is raised, with a note of it. `classify(error)` gives the `error_class` of the report, where
    the error's type does not tell enough.
    """
    function = _found(target, method)
    is_class = inspect.isclass(target)
    name = f"{getattr(target, '__name__', type(target).__name__)}.{method}"
    kind = inspect.getattr_static(target, method) if is_class else None
    bound = not is_class or isinstance(kind, classmethod | staticmethod)
    cleaning = CleaningUp.of(cleanup, cleanup_s)
    signature = _signature(function, bound=bound)
    plan = Plan(name, signature, agent, describe, estimate, measure, apply, cleaning, retries, classify)
    if bound:
        wrapper = _wrapped(function, client, plan, lambda args: (target, args), has_owner=False)
        wrapper = staticmethod(wrapper) if is_class else wrapper
    else:
        wrapper = _wrapped(function, client, plan, lambda args: (args[0], args[1:]), has_owner=True)
    try:
        setattr(target, method, wrapper)
    except (AttributeError, TypeError):
        raise WrongUse(
            f"{name} cannot be replaced on this {'class' if is_class else 'instance'}.",
            next_step="Supervise a subclass of it." if is_class else "Supervise its class instead.",
        ) from None
    return target


def supervised(
    client: ClientBase,
    *,
    agent: str | None = None,
    describe: Describe | None = None,
    estimate: Estimate | None = None,
    measure: Measure | None = None,
    apply: Apply | None = None,
    cleanup: Cleanup | None = None,
    cleanup_s: float = CLEANUP_S,
    retries: bool = False,
    classify: Classify | None = None,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a function as `supervise` does a method; the agent is the function's name unless given."""
    cleaning = CleaningUp.of(cleanup, cleanup_s)

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        _check(function, function.__name__)
        plan = Plan(
            function.__name__,
            _signature(function, bound=True),
            agent,
            describe,
            estimate,
            measure,
            apply,
            cleaning,
            retries,
            classify,
        )
        wrapper: Callable[P, R] = _wrapped(function, client, plan, lambda args: (None, args), has_owner=False)
        return wrapper

    return decorate


def _found(target: Any, method: str) -> Callable[..., Any]:
    function = getattr(target, method, None)
    name = f"{getattr(target, '__name__', type(target).__name__)}.{method}"
    if not callable(function):
        raise WrongUse(f"There is no method {name}.", next_step="Name it with `method=`.")
    _check(function, name)
    return function  # type: ignore[no-any-return]


def _check(function: Any, name: str) -> None:
    if getattr(function, _MARK, False):
        raise WrongUse(f"{name} is supervised already.")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise WrongUse(
            f"{name} is a generator, of which no one can say when it has run.",
            next_step="Supervise the method that goes through it.",
        )


def _signature(function: Callable[..., Any], *, bound: bool) -> inspect.Signature | None:
    """Give the signature without the instance; None for what has none to see, such as some built-ins."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return None
    if bound:
        return signature
    parameters = list(signature.parameters.values())
    if parameters and parameters[0].kind is not inspect.Parameter.VAR_POSITIONAL:
        parameters = parameters[1:]
    return signature.replace(parameters=parameters)


def _wrapped(
    function: Callable[..., Any],
    client: ClientBase,
    plan: Plan,
    split: Callable[[tuple[Any, ...]], tuple[Any, tuple[Any, ...]]],
    *,
    has_owner: bool,
) -> Callable[..., Any]:
    """Wrap a function. `split` gives the instance and the other arguments."""

    def on(owner: Any) -> Callable[..., Any]:
        return functools.partial(function, owner) if has_owner else function

    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def wrapper(*args: Any, **kwargs: Any) -> Any:
            owner, rest = split(args)
            return await call_awaiting(client, plan, owner, on(owner), rest, kwargs)

    else:

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            owner, rest = split(args)
            return call_blocking(client, plan, owner, on(owner), rest, kwargs)

    setattr(wrapper, _MARK, True)
    return wrapper
