"""What `ai_ops_policies.yaml` may hold: a policy, its actions, and the parameters of each action."""

from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from ops_stream.contract.clocktext import parse_time
from ops_stream.core.rules_model import ANY
from ops_stream.rules.conf_models import (
    POLICIES_MAX,
    ConfFile,
    Name,
    Part,
    Seconds,
    Selector,
    Severity,
    Usd,
    Word,
    Words,
    fault,
)
from ops_stream.rules.problems import did_you_mean

CONDITION_MAX: Final = 4096
TOKENS_MAX: Final = 1_000_000_000

ACTIONS: Final = (
    "block",
    "downgrade_model",
    "escalate",
    "queue_for_batch_processing",
    "cap",
    "reroute",
    "log",
    "notify",
)
ACTIONS_AFTERWARDS: Final = ("escalate", "log", "notify")
"""What can still be done when the report of a task is in."""


def _moment(value: Any) -> int:
    """Read a time, or say how one is written."""
    try:
        if not isinstance(value, str):
            raise ValueError
        return parse_time(value)
    except ValueError:
        raise fault(
            "A time is RFC 3339 in UTC, like 2026-11-24T13:00:00Z.", "Write date, time and 'Z'."
        ) from None


Moment = Annotated[int, BeforeValidator(_moment)]
"""A time in the file, milliseconds since 1970 here."""


class PolicyEntry(Part):
    """One policy."""

    name: Name
    description: Words = ""
    agent: Selector = ANY
    tenant: Selector = ANY
    when: Literal["request", "telemetry"] = "request"
    condition: Annotated[str, Field(min_length=1, max_length=CONDITION_MAX)]
    action: str
    priority: Annotated[int, Field(ge=-1000, le=1000)] = 0
    enabled: bool = True
    shadow: bool = False
    valid_from: Moment | None = None
    """From then on, that moment included."""
    valid_until: Moment | None = None
    """Up to then, that moment not included."""
    parameters: Annotated[dict[str, Any], Field(max_length=16)] = Field(default_factory=dict)

    @field_validator("action")
    @classmethod
    def _known(cls, action: str) -> str:
        if action not in ACTIONS:
            raise fault(f"There is no action '{action}'.", did_you_mean(action, ACTIONS))
        return action

    @model_validator(mode="after")
    def _possible(self) -> "PolicyEntry":
        if self.when == "telemetry" and self.action not in ACTIONS_AFTERWARDS:
            raise fault(
                f"The action '{self.action}' can never be carried out on telemetry: the task has run.",
                f"Write 'when: request', or one of: {', '.join(ACTIONS_AFTERWARDS)}.",
                "action",
            )
        if (
            self.valid_from is not None
            and self.valid_until is not None
            and self.valid_until <= self.valid_from
        ):
            raise fault(
                "The policy would be over before it begins.",
                "Let 'valid_until' be later than 'valid_from'.",
                "valid_until",
            )
        return self


class Parameters(Part):
    """The base of what actions take; `NEEDED` says whether an action does nothing without."""

    NEEDED: ClassVar[bool] = False


class NoParameters(Parameters):
    """What the actions take that need no parameters."""


class Permission(Parameters):
    """What every action that lets an ask run takes: no person is asked although the effect is irreversible."""

    permit_irreversible: bool = False


class EscalateParameters(Parameters):
    """What `escalate` takes."""

    severity: Severity = "warning"
    recommendation: Words = ""


class NotifyParameters(Permission):
    """What `notify` takes."""

    severity: Severity = "info"
    message: Words = ""


class CapParameters(Permission):
    """What `cap` takes: at least one limit. Several caps on one ask combine to the tightest of each."""

    NEEDED: ClassVar[bool] = True

    cost_usd: Usd | None = None
    time_s: Seconds | None = None
    tokens: Annotated[int, Field(ge=1, le=TOKENS_MAX)] | None = None

    @model_validator(mode="after")
    def _something(self) -> "CapParameters":
        if self.cost_usd is None and self.time_s is None and self.tokens is None:
            raise fault("A cap without a limit caps nothing.", "Add 'cost_usd', 'time_s' or 'tokens'.")
        return self


class RerouteParameters(Permission):
    """What `reroute` takes: the model or the agent that is to do it instead."""

    NEEDED: ClassVar[bool] = True

    model: Word | None = None
    agent: Name | None = None

    @model_validator(mode="after")
    def _one(self) -> "RerouteParameters":
        if (self.model is None) == (self.agent is None):
            raise fault("A reroute leads to either a 'model' or an 'agent'.", "Write one of them.")
        if self.agent is not None and self.permit_irreversible:
            raise fault(
                "Nobody reads 'permit_irreversible' here: an ask that belongs to another agent is denied.",
                "Leave it out.",
                "permit_irreversible",
            )
        return self


PARAMETERS: Final[dict[str, type[Parameters]]] = {
    "block": NoParameters,
    "downgrade_model": Permission,
    "escalate": EscalateParameters,
    "queue_for_batch_processing": NoParameters,
    "cap": CapParameters,
    "reroute": RerouteParameters,
    "log": Permission,
    "notify": NotifyParameters,
}


class PoliciesFile(ConfFile):
    """The file; each policy is checked by itself, so that one does not hide another."""

    policies: Annotated[list[Any], Field(max_length=POLICIES_MAX)] = Field(default_factory=list)
