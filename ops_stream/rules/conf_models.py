"""What each file in `conf/` may hold: one model a file, unknown keys refused, limits on everything."""

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from ops_stream.contract.money import MAX_TOTAL_USD, parse_usd
from ops_stream.contract.wire import ID_PATTERN
from ops_stream.core.rules_model import ANY

POLICIES_MAX: Final = 10_000
ENTRIES_MAX: Final = 10_000

DURATIONS: Final = {"1d": "day", "24h": "day", "30d": "month", "1mo": "month"}
"""LiteLLM's `budget_duration`, where it means a window of ours: it resets 30d on the first of the month."""


def _micros(value: Any) -> int:
    return parse_usd(value, limit_usd=MAX_TOTAL_USD)


def fault(message: str, suggestion: str = "", key: str = "") -> PydanticCustomError:
    """Refuse with a sentence of our own, and say at which key where it is about one."""
    return PydanticCustomError(
        "fault", "{message}", {"message": message, "suggestion": suggestion, "key": key}
    )


Name = Annotated[str, Field(pattern=ID_PATTERN)]
Selector = Annotated[str, Field(pattern=r"^(?:\*|[A-Za-z0-9._:@/-]{1,128})$")]
Word = Annotated[str, Field(min_length=1, max_length=256)]
Words = Annotated[str, Field(max_length=4096)]
Usd = Annotated[int, BeforeValidator(_micros)]
"""Dollars in the file, micro-dollars here."""
Seconds = Annotated[int, Field(ge=1, le=31_536_000)]
Severity = Literal["info", "warning", "critical"]


class Part(BaseModel):
    """The base of everything in a file."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)


class ConfFile(Part):
    """The base of every file."""

    version: Literal[1]


class BudgetEntry(Part):
    """One limit of `budgets.yaml`."""

    scope: Literal["tenant", "task"] = "tenant"
    tenant: Selector = ANY
    limit_usd: Usd | None = None
    max_budget: Usd | None = None
    window: Literal["task", "day", "month", "total"] | None = None
    budget_duration: str | None = None
    description: Words = ""

    @field_validator("budget_duration")
    @classmethod
    def _duration(cls, duration: str | None) -> str | None:
        if duration is not None and duration not in DURATIONS:
            raise fault(
                f"The duration '{duration}' is no window that budgets have yet.",
                f"Use one of: {', '.join(DURATIONS)}, or 'window: total' for ever.",
            )
        return duration

    @model_validator(mode="after")
    def _once(self) -> "BudgetEntry":
        if (self.limit_usd is None) == (self.max_budget is None):
            raise fault("A budget has either 'limit_usd' or 'max_budget'.", "Write one of them.")
        if self.window is not None and self.budget_duration is not None:
            raise fault(
                "'window' and 'budget_duration' say the same thing.", "Keep one of them.", "budget_duration"
            )
        if self.window == "task" and self.scope != "task":
            raise fault("The window 'task' is for the scope 'task'.", "Use day, month or total.", "window")
        return self

    @property
    def limit_micros(self) -> int:
        """The limit, whichever word was used."""
        limit = self.limit_usd if self.limit_usd is not None else self.max_budget
        assert limit is not None
        return limit

    @property
    def kind(self) -> Literal["task", "day", "month", "total"]:
        """The window, whichever word was used."""
        if self.budget_duration is not None:
            return "day" if DURATIONS[self.budget_duration] == "day" else "month"
        return self.window or ("task" if self.scope == "task" else "month")


class BudgetsFile(ConfFile):
    """`budgets.yaml`."""

    budgets: Annotated[list[BudgetEntry], Field(max_length=ENTRIES_MAX)] = Field(default_factory=list)


class ModelEntry(Part):
    """One model of `models.yaml`; prices are for a million tokens."""

    name: Word
    input_usd: Usd
    output_usd: Usd
    cheaper: str | None = None
    source: Words = ""


class ModelsFile(ConfFile):
    """`models.yaml`."""

    default: str | None = None
    models: Annotated[list[ModelEntry], Field(max_length=1000)] = Field(default_factory=list)


class AgentEntry(Part):
    """One agent of `agents.yaml`."""

    name: Name
    role: Annotated[str, Field(max_length=256)] = ""
    owner: Annotated[str, Field(max_length=256)] = ""
    tenant: Selector = ANY
    task_types: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=256)]], Field(max_length=256)
    ] = Field(default_factory=list)


class AgentsFile(ConfFile):
    """`agents.yaml`."""

    registration: Literal["open", "declared"] = "open"
    agents: Annotated[list[AgentEntry], Field(max_length=ENTRIES_MAX)] = Field(default_factory=list)


class EnforcementEntry(Part):
    """Whose asks are enforced or only observed."""

    tenant: Selector = ANY
    agent: Selector = ANY
    mode: Literal["enforce", "observe"]
    percent: Annotated[int, Field(ge=0, le=100)] = 100


class SupervisorFile(ConfFile):
    """`supervisor.yaml`."""

    default_hold_usd: Usd = 100_000
    lease_factor: Annotated[int, Field(ge=1, le=100)] = 3
    lease_min_s: Seconds = 60
    batch_window_s: Seconds = 60
    escalation_ttl_s: Seconds = 3600
    remember_s: Seconds = 86_400
    remember_max: Annotated[int, Field(ge=1000, le=100_000_000)] = 200_000
    open_max: Annotated[int, Field(ge=1, le=100_000_000)] = 500_000
    waiting_max: Annotated[int, Field(ge=1, le=10_000_000)] = 10_000
    waiting_bytes_max: Annotated[int, Field(ge=1_048_576, le=17_179_869_184)] = 67_108_864
    retries_max: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    enforcement: Annotated[list[EnforcementEntry], Field(max_length=ENTRIES_MAX)] = Field(
        default_factory=list
    )
