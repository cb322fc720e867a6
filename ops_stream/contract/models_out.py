"""The events that the supervisor writes: its answers, its journal and what people watch."""

from typing import Annotated, Literal

from pydantic import Field

from ops_stream.contract.models_in import TaskRequest
from ops_stream.contract.wire import (
    Bulk,
    Count,
    Digest,
    Event,
    HeaderRows,
    Id,
    JsonArray,
    JsonObject,
    LongText,
    Measure,
    Micros,
    Name,
    Offset,
    Part,
    Score,
    Text,
    Time,
    TotalMicros,
    many,
)

DecisionKind = Literal["approved", "denied", "escalated", "queued", "revoked"]
AgentState = Literal["registered", "active", "warned", "suspended", "blocked"]
WorkflowState = Literal["accepted", "rejected", "running", "completed", "failed", "cancelled"]
EscalationStatus = Literal["open", "approved", "denied", "expired", "withdrawn"]
Severity = Literal["info", "warning", "critical"]
RecordKind = Literal["input", "tick", "takeover", "gap", "rebase"]


ErrorClass = Literal["transient", "rate_limit", "bad_input", "policy", "unknown_outcome"]


class Retry(Part):
    """How to try again after a failure; `model` is the one to try next where `next` says that it is another."""

    max_attempts: Count
    backoff_s: Measure
    next: Literal["same", "model", "agent"] = "same"
    model: Name | None = None


class NextStep(Part):
    """What to do after an attempt has failed: the answer to a failure report."""

    action: Literal["retry", "retry_model", "retry_agent", "escalate", "give_up"]
    error_class: ErrorClass
    attempt: Count
    max_attempts: Count
    not_before: Time | None = None
    model: Name | None = None
    agent: Id | None = None
    escalation_id: Id | None = None


class QueuePlace(Part):
    """Where an ask waits, until when at least, and when it is expected to run."""

    position: Count
    not_before: Time
    expected_start: Time | None = None


class MatchedPolicy(Part):
    """A policy whose condition held; a shadow policy is only watched."""

    name: Name
    action: Name
    shadow: bool = False


class WouldHave(Part):
    """What enforcement would have decided, in observe mode."""

    decision: DecisionKind
    reason: Name


class TaskApproval(Event):
    """The supervisor's answer to an ask; the highest `sequence` is in force. An unknown reason means no."""

    approval_id: Id
    request_id: Id
    task_id: Id
    tenant: Id
    agent: Id
    decision: DecisionKind
    sequence: Count
    reason: Name
    explanation: LongText
    action_digest: Digest
    model: Name | None = None
    priority: Annotated[int, Field(ge=1, le=10)]
    cost_limit_micros: Micros | None = Field(default=None, alias="cost_limit_usd")
    time_limit_s: Measure | None = None
    token_limit: Count | None = None
    lease_expires_at: Time | None = None
    retry: Retry | None = None
    queue: QueuePlace | None = None
    escalation_id: Id | None = None
    matched_policies: Annotated[tuple[MatchedPolicy, ...], many(10_000)]
    would_have: WouldHave | None = None
    recommendation: LongText | None = None
    rules_digest: Digest
    decided_at: Time
    edits: JsonObject | None = None
    approved_by: Annotated[tuple[Id, ...], many(100)] = ()
    propensity: Score | None = None
    retry_at: Time | None = None
    batch: bool = False
    next_step: NextStep | None = None


class Scores(Part):
    """How an agent does, each from 0 to 1; all four of a registered agent, none of another."""

    cost_efficiency: Score | None = None
    reliability: Score | None = None
    quality: Score | None = None
    speed: Score | None = None


class ScoreSamples(Part):
    """How many reports are behind each score, as they count now: old ones count less."""

    cost_efficiency: Measure | None = None
    reliability: Measure | None = None
    quality: Measure | None = None
    speed: Measure | None = None


Interval = Annotated[tuple[Score, ...], many(2)]


class ScoreIntervals(Part):
    """The bounds between which each score lies with 95 % confidence."""

    cost_efficiency: Interval | None = None
    reliability: Interval | None = None
    quality: Interval | None = None
    speed: Interval | None = None


class AgentStatus(Event):
    """Where an agent stands, and its place among its tenant's agents, where those are not too many."""

    agent: Id
    tenant: Id
    state: AgentState
    reason: Text | None = None
    scores: Scores
    rank: Count | None = None
    since: Time
    samples: ScoreSamples | None = None
    intervals: ScoreIntervals | None = None


class Problem(Part):
    """What is wrong with a workflow."""

    step_id: Id | None = None
    code: Name
    explanation: LongText


class StepStatus(Part):
    """Where a step stands."""

    step_id: Id
    state: Name
    agent: Id | None = None
    request_id: Id | None = None
    attempts: Count
    cost_micros: TotalMicros = Field(alias="cost_usd")
    reason: Text | None = None


class WorkflowStatus(Event):
    """Where a workflow stands."""

    workflow_id: Id
    tenant: Id
    state: WorkflowState
    problems: Annotated[tuple[Problem, ...], many(10_000)]
    steps: Annotated[tuple[StepStatus, ...], many(1000)]
    cost_micros: TotalMicros = Field(alias="cost_usd")
    blamed: Annotated[tuple[Id, ...], many(1000)]
    accepted_at: Time | None = None
    ended_at: Time | None = None


class TaskAssignment(Event):
    """A step of a workflow, approved and handed to an agent."""

    assignment_id: Id
    workflow_id: Id
    step_id: Id
    request: TaskRequest
    approval: TaskApproval
    inputs: Annotated[dict[Id, Bulk], Field(max_length=1000)]
    clipped: Annotated[tuple[Id, ...], many(1000)] = ()


class Vote(Part):
    """What one person said to an escalation. `signed` says whether a signature proved who it was."""

    resolver: Id
    verdict: Name
    at: Time
    signed: bool = False
    key_id: Name | None = None
    reason: Text | None = None
    edits: JsonObject | None = None


class Escalation(Event):
    """Something waits for a person, or did: proposed when it opens, decided, and done when what was decided ended.

    `asks` are the asks that wait for it, `count` how often the same has been asked or has happened.
    """

    escalation_id: Id
    request_id: Id | None = None
    tenant: Id
    agent: Id | None = None
    trigger: Name
    severity: Severity
    summary: LongText
    request: JsonObject | None = None
    recommendation: LongText
    at_stake_micros: TotalMicros | None = Field(default=None, alias="at_stake_usd")
    action_digest: Digest | None = None
    rules_digest: Digest
    quorum: Count = 1
    expires_at: Time
    on_expiry: Literal["deny", "approve"] = "deny"
    status: EscalationStatus
    level: Count
    count: Count
    stage: Literal["proposed", "decided", "done"] = "proposed"
    opened_at: Time | None = None
    triggers: Annotated[tuple[Name, ...], many(100)] = ()
    asks: Annotated[tuple[Id, ...], many(1000)] = ()
    subject: Text | None = None
    agent_record: JsonObject | None = None
    levels: Count = 1
    next_level_at: Time | None = None
    roles: Annotated[tuple[Name, ...], many(100)] = ()
    votes: Annotated[tuple[Vote, ...], many(100)] = ()
    outcome: Name | None = None
    cost_micros: TotalMicros | None = Field(default=None, alias="cost_usd")
    ended_at: Time | None = None


class JournalInput(Part):
    """The record that was decided, whole: its value as text, or in base64 where it is not UTF-8.

    A takeover says instead who took over and under what; a gap, which offsets held nothing; a rebase, of what export
    the journal was restored, and how far each input had been read in the old cluster.
    """

    topic: Name | None = None
    partition: Count | None = None
    offset: Offset | None = None
    timestamp: Time | None = None
    value: Bulk | None = None
    value_b64: Bulk | None = None
    headers: HeaderRows = ()
    boot_id: Name | None = None
    instance: Name | None = None
    engine_version: Text | None = None
    rules_digest: Text | None = None
    first: Offset | None = None
    last: Offset | None = None
    source: Text | None = None
    reached: JsonObject | None = None


class JournalRecord(Event):
    """One input and everything that it caused: the commit point."""

    partition: Count
    expected_offset: Offset
    kind: RecordKind
    input: JournalInput | None = None
    at: Time
    engine_version: Text
    rules_digest: Text
    outputs: JsonArray
    changes: JsonObject
    published_through: Offset
    state_digest: Text
    previous_hash: Text
    key_id: Text
    hash: Text


class Checkpoint(Event):
    """The head of a partition's chain at a moment, signed."""

    partition: Count
    offset: Offset
    hash: Text
    time: Time
    key_id: Text | None = None
    signature: Text | None = None


class Alert(Event):
    """Something that a person on duty should know."""

    alert_id: Id
    tenant: Id
    kind: Name
    severity: Severity
    status: Literal["firing", "resolved"]
    dedupe_key: Text
    count: Count
    summary: LongText
    subject: Text | None = None
    runbook: Text | None = None
    since: Time
    group: Text | None = None
    subjects: Annotated[tuple[Text, ...], many(1000)] = ()
    ended_at: Time | None = None


class DeadLetter(Event):
    """An input that could not be decided, with its bytes (absent where the record had no value)."""

    topic: Name
    partition: Count
    offset: Offset
    value_b64: Bulk | None = None
    headers: HeaderRows
    reason: Name
    explanation: LongText
    at: Time
