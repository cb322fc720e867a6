"""The events that agents, people, applications and operators write: the supervisor's inputs."""

from typing import Annotated, Literal

from pydantic import Field

from ops_stream.contract.wire import (
    Attributes,
    Bulk,
    Count,
    Digest,
    Event,
    Id,
    JsonObject,
    LongText,
    Measure,
    Micros,
    Name,
    Part,
    Score,
    Text,
    Time,
    many,
)

Complexity = Literal["low", "medium", "high"]
Impact = Literal["none", "low", "medium", "high"]
Effect = Literal["none", "reversible", "irreversible", "unknown"]
TelemetryKind = Literal["started", "progress", "completed", "failed", "cancelled"]
Verdict = Literal["approve", "deny", "edit"]
Scope = Literal["all", "tenant", "workflow", "agent", "model"]
Command = Literal[
    "kill",
    "resume",
    "quarantine_agent",
    "reinstate_agent",
    "set_budget",
    "activate_rules",
    "cancel_workflow",
    "apply_optimization",
    "revert_optimization",
    "reject_optimization",
]


class TaskRequest(Event):
    """An agent asks before it acts. `estimated_cost_micros` is None where the agent names no cost."""

    request_id: Id
    task_id: Id
    agent: Id
    task_description: LongText
    tenant: Id = "default"
    workflow_id: Id | None = None
    objective_id: Id | None = None
    parent_request_id: Id | None = None
    task_type: Name = "general"
    tool: Name | None = None
    arguments: JsonObject | None = None
    priority: Annotated[int, Field(ge=1, le=10)] = 5
    estimated_cost_micros: Micros | None = Field(default=None, alias="estimated_cost_usd")
    estimated_time_s: Measure = 60.0
    estimated_input_tokens: Count | None = None
    estimated_output_tokens: Count | None = None
    complexity: Complexity = "medium"
    required_model: Name | None = None
    retry_count: Count = 0
    customer_impact: Impact = "none"
    effect: Effect = "unknown"
    deadline: Time | None = None
    tags: Annotated[tuple[Name, ...], many(64)] = ()
    attributes: Attributes = Field(default_factory=dict)


class Telemetry(Event):
    """An agent reports what became of an ask."""

    event_id: Id
    request_id: Id
    task_id: Id
    agent: Id
    tenant: Id = "default"
    kind: TelemetryKind
    success: bool | None = None
    latency_ms: Measure | None = None
    cost_micros: Micros | None = Field(default=None, alias="cost_usd")
    input_tokens: Count | None = None
    output_tokens: Count | None = None
    cached_input_tokens: Count | None = None
    quality_score: Score | None = None
    model: Name | None = None
    error: LongText | None = None
    error_class: Name | None = None
    output: Annotated[str, Field(max_length=16_384)] | None = None
    timestamp: Time | None = None
    attributes: Attributes = Field(default_factory=dict)


class AgentRegistration(Event):
    """An agent says who it is and what it can do."""

    agent: Id
    tenant: Id = "default"
    role: Name
    capabilities: Annotated[tuple[Name, ...], many(256)]
    models: Annotated[tuple[Name, ...], many(256)] = ()
    max_concurrency: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    version: Name | None = None


class Heartbeat(Event):
    """An agent lives, and the asks it names are running: their leases are renewed."""

    agent: Id
    tenant: Id = "default"
    running: Annotated[tuple[Id, ...], many(1000)]


class RevocationAck(Event):
    """An agent has stopped what was revoked."""

    agent: Id
    tenant: Id = "default"
    request_id: Id
    stopped_at: Time


class Step(Part):
    """One step of a workflow, with the estimates of the ask that it becomes."""

    step_id: Id
    task_type: Name
    task_description: LongText
    depends_on: Annotated[tuple[Id, ...], many(1000)] = ()
    agent: Id | None = None
    estimated_cost_micros: Micros | None = Field(default=None, alias="estimated_cost_usd")
    estimated_time_s: Measure = 60.0
    estimated_input_tokens: Count | None = None
    estimated_output_tokens: Count | None = None
    complexity: Complexity = "medium"


class Workflow(Event):
    """An application hands in a graph of steps."""

    workflow_id: Id
    objective_id: Id
    tenant: Id = "default"
    steps: Annotated[tuple[Step, ...], many(1000)]
    budget_micros: Micros | None = Field(default=None, alias="budget_usd")
    deadline: Time | None = None


class Resolution(Event):
    """A person ends an escalation."""

    resolution_id: Id
    escalation_id: Id
    tenant: Id = "default"
    resolver: Id
    verdict: Verdict
    action_digest: Digest | None = None
    edits: JsonObject | None = None
    reason: Text | None = None
    rules_digest: Digest | None = None


class ControlCommand(Event):
    """An operator acts on the supervisor itself."""

    command_id: Id
    command: Command
    scope: Scope = "all"
    tenant: Id = "default"
    target: Name | None = None
    parameters: JsonObject | None = None
    issued_by: Id
    reason: Text | None = None
    spread: bool = False


class RuleBundle(Event):
    """The rules of a moment: every file that decisions depend on, named by the digest of them all."""

    digest: Digest
    files: Annotated[dict[Name, Bulk], Field(max_length=1000)]
    created_at: Time
    issued_by: Id
