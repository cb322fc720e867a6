"""What each file in `conf/` may hold: one model a file, unknown keys refused, limits on everything."""

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from ops_stream.contract.money import MAX_TOTAL_USD, parse_usd
from ops_stream.contract.wire import ID_PATTERN
from ops_stream.core.rules_model import ANY

POLICIES_MAX: Final = 10_000
ENTRIES_MAX: Final = 10_000


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


class ModelEntry(Part):
    """One model of `models.yaml`; prices are for a million tokens."""

    name: Word
    input_usd: Usd
    output_usd: Usd
    cheaper: str | None = None
    source: Words = ""
    provider: Name | None = None
    context_tokens: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = None
    latency_ms: Annotated[int, Field(ge=1, le=86_400_000)] | None = None
    quality_percent: Annotated[int, Field(ge=0, le=100)] = 70
    capabilities: Annotated[list[Name], Field(max_length=64)] = Field(default_factory=list)
    task_types: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=256)]], Field(max_length=256)
    ] = Field(default_factory=list)
    by_default: bool = True
    tenants: Annotated[list[Name], Field(max_length=1000)] = Field(default_factory=list)
    fallbacks: Annotated[list[Word], Field(max_length=8)] = Field(default_factory=list)
    batch_percent: Annotated[int, Field(ge=1, le=100)] | None = None


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
    default_hold_tokens: Annotated[int, Field(ge=0, le=1_000_000_000)] = 4_000
    hold_safety: Literal["off", "learned"] = "off"
    time_zone: Words = "UTC"
    time_zones: Annotated[dict[Name, Words], Field(max_length=ENTRIES_MAX)] = Field(default_factory=dict)
    lease_factor: Annotated[int, Field(ge=1, le=100)] = 3
    lease_min_s: Seconds = 60
    batch_window_s: Seconds = 60
    escalation_ttl_s: Seconds = 3600
    remember_s: Seconds = 86_400
    remember_max: Annotated[int, Field(ge=1000, le=100_000_000)] = 200_000
    open_max: Annotated[int, Field(ge=1, le=100_000_000)] = 500_000
    waiting_max: Annotated[int, Field(ge=1, le=10_000_000)] = 10_000
    waiting_bytes_max: Annotated[int, Field(ge=1_048_576, le=17_179_869_184)] = 67_108_864
    workflow_attempts: Annotated[int, Field(ge=1, le=10)] = 2
    workflow_wait_s: Seconds = 86_400
    retries_max: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    legal_hold: Annotated[list[Name], Field(max_length=1000)] = Field(default_factory=list)
    enforcement: Annotated[list[EnforcementEntry], Field(max_length=ENTRIES_MAX)] = Field(
        default_factory=list
    )
