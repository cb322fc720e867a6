"""How a function is supervised: as whom it asks, what it says of itself, what is measured of its result."""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from agents_adapter._classes import Classify, error_class_of
from agents_adapter._cleanup import CleaningUp
from agents_adapter._records import build, new_id
from agents_adapter.approval import Approval
from ops_stream.contract.models import Telemetry

logger = logging.getLogger("agents_adapter")

Describe = Callable[["CallArgs"], str]
Estimate = Callable[["CallArgs"], Mapping[str, Any]]
Measure = Callable[[Any], Mapping[str, Any]]
Apply = Callable[[Approval, tuple[Any, ...], dict[str, Any]], tuple[tuple[Any, ...], dict[str, Any]]]
AgentName = str | Callable[[Any], str] | None

_NOT_IN_IDS: Final = re.compile(r"[^A-Za-z0-9._:@/-]+")
PROBE: Final = {"event_id": "e", "request_id": "r", "task_id": "t", "agent": "a", "kind": "completed"}


class CallArgs(tuple[Any, ...]):
    """The arguments of a call, however they were passed: `args[0]` by place, `args["query"]` by name."""

    by_name: dict[str, Any]

    @staticmethod
    def of(signature: inspect.Signature | None, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> CallArgs:
        """Bind a call; raises TypeError, as the call itself would, where the arguments do not fit."""
        if signature is None:
            made = CallArgs((*args, *kwargs.values()))
            made.by_name = dict(kwargs)
            return made
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        values: list[Any] = []
        names: dict[str, Any] = {}
        for name, value in bound.arguments.items():
            names[name] = value
            kind = signature.parameters[name].kind
            if kind is inspect.Parameter.VAR_POSITIONAL:
                values.extend(value)
            elif kind is inspect.Parameter.VAR_KEYWORD:
                values.extend(value.values())
                names |= value
            else:
                values.append(value)
        made = CallArgs(values)
        made.by_name = names
        return made

    def __getitem__(self, key: Any) -> Any:
        """Give an argument by its place or its name."""
        return self.by_name[key] if isinstance(key, str) else super().__getitem__(key)


@dataclass(frozen=True, slots=True)
class Ask:
    """What a call asks before it runs."""

    agent: str
    task_description: str
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """How the calls of one function are supervised.

    `owner` in its methods is the instance, None for a function.
    """

    name: str
    signature: inspect.Signature | None
    agent: AgentName
    describe: Describe | None
    estimate: Estimate | None
    measure: Measure | None
    apply: Apply | None
    cleaning: CleaningUp | None = None
    retries: bool = False
    classify: Classify | None = None

    def ask(self, owner: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Ask:
        """Say what is about to run. Whatever a callback raises ends the call before anything was asked."""
        call = CallArgs.of(self.signature, args, kwargs)
        description = self.describe(call) if self.describe is not None else self.name
        fields = dict(self.estimate(call)) if self.estimate is not None else {}
        return Ask(self._agent(owner), description, fields)

    def applied(
        self, approval: Approval, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Give the arguments to run with."""
        if self.apply is None:
            return args, kwargs
        new_args, new_kwargs = self.apply(approval, args, kwargs)
        return tuple(new_args), dict(new_kwargs)

    def measured(self, result: Any) -> dict[str, Any]:
        """Give the fields of Telemetry that the result tells.

        A mistake here costs the measures, never the result.
        """
        if self.measure is None:
            return {}
        try:
            fields = dict(self.measure(result))
            build(Telemetry, {**PROBE, **fields})
        except Exception as error:
            logger.warning("What %s returned could not be measured: %s", self.name, type(error).__name__)
            return {"attributes": {"ops_stream.measure_error": type(error).__name__}}
        return fields

    def _agent(self, owner: Any) -> str:
        if isinstance(self.agent, str):
            return self.agent
        if self.agent is not None:
            return self.agent(owner)
        name = getattr(owner, "name", None)
        if not (isinstance(name, str) and name):
            name = self.name if owner is None else type(owner).__name__
        return _NOT_IN_IDS.sub("-", name)[:128]


def end_of(error: BaseException, classify: Classify | None = None) -> dict[str, Any]:
    """Give the fields of Telemetry that an exception tells."""
    # What cannot be written as UTF-8 must not cost the report.
    text = str(error)[:2000].encode("utf-8", "replace").decode()
    return {"event_id": new_id("event"), "error": text, "error_class": error_class_of(error, classify)}
