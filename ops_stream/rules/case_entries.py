"""What `tests.yaml` may hold: cases for a set of rules, each an event in a situation and what is expected."""

from typing import Annotated, Any, Final, Literal

from pydantic import Field, model_validator

from ops_stream.contract.money import MAX_USD, MICROS_PER_USD
from ops_stream.rules.conf_models import ConfFile, Part, Usd, Word, Words, fault
from ops_stream.rules.policy_entries import Moment

CASES_MAX: Final = 2_000
HISTORY_MAX: Final = 50
TIMES_MAX: Final = 200
NOON: Final = 1_795_521_600_000
"""2026-11-24T12:00:00Z, a Tuesday: when cases happen that name no time."""

AgentState = Literal["registered", "active", "warned", "suspended", "blocked"]
After = Literal["a person approves", "another person approves", "a person denies", "the batch is released"]
Names = Annotated[list[Word], Field(max_length=1_000)]


class AgentGiven(Part):
    """Who asks."""

    role: Word = "agent"
    capabilities: Names | None = None
    registered: bool = True
    state: AgentState | None = None
    consecutive_failures: Annotated[int, Field(ge=0, le=TIMES_MAX)] = 0


class MoneyGiven(Part):
    """What has been spent, or is held, in dollars. That of the tenant includes the others."""

    tenant_usd: Usd = 0
    workflow_usd: Usd = 0
    agent_usd: Usd = 0
    task_usd: Usd = 0

    @model_validator(mode="after")
    def _within(self) -> "MoneyGiven":
        for name in ("tenant_usd", "workflow_usd", "agent_usd", "task_usd"):
            if getattr(self, name) > MAX_USD * MICROS_PER_USD:
                raise fault(f"'{name}' is more than {MAX_USD:,} dollars.", "Write less.", name)
        if 0 < self.tenant_usd < self.others:
            raise fault(
                "The tenant's amount includes those of its workflows, agents and tasks.",
                "Write their sum or more, or leave 'tenant_usd' out.",
                "tenant_usd",
            )
        return self

    @property
    def others(self) -> int:
        """What is not the tenant's alone, in micro-dollars."""
        return self.workflow_usd + self.agent_usd + self.task_usd


class HistoryEntry(Part):
    """An ask that ran before, and its report; without a report it is still running."""

    request: dict[str, Any] = Field(default_factory=dict)
    report: dict[str, Any] | None = None
    ago_s: Annotated[int, Field(ge=1, le=366 * 86_400)] = 60
    times: Annotated[int, Field(ge=1, le=TIMES_MAX)] = 1


class Given(Part):
    """The event and the situation. A case about a report names `telemetry`; its ask is `request`."""

    request: dict[str, Any] = Field(default_factory=dict)
    telemetry: dict[str, Any] | None = None
    time: Moment = NOON
    agent: AgentGiven = Field(default_factory=AgentGiven)
    spent: MoneyGiven = Field(default_factory=MoneyGiven)
    held: MoneyGiven = Field(default_factory=MoneyGiven)
    history: Annotated[list[HistoryEntry], Field(max_length=HISTORY_MAX)] = Field(default_factory=list)
    after: Annotated[list[After], Field(max_length=8)] = Field(default_factory=list)
    """What happens before the decision that is looked at."""


class WouldHave(Part):
    """What an observed ask would have got."""

    decision: Word
    reason: Word | None = None


class EscalationExpected(Part):
    """What a person is told."""

    trigger: Word | None = None
    triggers: Names | None = None
    """All that called, in any order."""
    quorum: Annotated[int, Field(ge=1)] | None = None
    severity: Literal["info", "warning", "critical"] | None = None
    recommendation: Words | None = None


class Expect(Part):
    """What is expected; what is left out may be anything, but at least one thing is expected."""

    decision: Literal["approved", "denied", "escalated", "queued", "revoked"] | None = None
    reason: Word | None = None
    model: Word | None = None
    cost_limit_usd: Usd | None = None
    time_limit_s: Annotated[int, Field(ge=0)] | None = None
    explanation: Words | None = None
    recommendation: Words | None = None
    would_have: WouldHave | None = None
    policies: Names | None = None
    shadow: Names | None = None
    undecided: Names = Field(default_factory=list)
    escalation: EscalationExpected | None = None
    alerts: Names | None = None

    @model_validator(mode="after")
    def _something(self) -> "Expect":
        if not self.model_fields_set:
            raise fault("A case that expects nothing tests nothing.", "Add 'decision' or 'policies'.")
        return self


class Case(Part):
    """One case."""

    name: Words
    description: Words = ""
    given: Given = Field(default_factory=Given)
    expect: Expect


class CasesFile(ConfFile):
    """`tests.yaml`; each case is checked by itself, so that one does not hide another."""

    cases: Annotated[list[Any], Field(max_length=CASES_MAX)] = Field(default_factory=list)
