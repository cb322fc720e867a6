"""All events of the contract, and which of them each topic carries."""

from collections.abc import Mapping
from typing import Final

from ops_stream.contract.models_figures import Change, Kpi, Optimization, OptimizationSide
from ops_stream.contract.models_in import (
    AgentRegistration,
    ControlCommand,
    Heartbeat,
    Resolution,
    RevocationAck,
    RuleBundle,
    Step,
    TaskRequest,
    Telemetry,
    Workflow,
)
from ops_stream.contract.models_out import (
    AgentStatus,
    Alert,
    Checkpoint,
    DeadLetter,
    Escalation,
    JournalInput,
    JournalRecord,
    MatchedPolicy,
    NextStep,
    Problem,
    QueuePlace,
    Retry,
    Scores,
    StepStatus,
    TaskApproval,
    TaskAssignment,
    WorkflowStatus,
    WouldHave,
)
from ops_stream.contract.wire import Event, Part, is_id

__all__ = [
    "EVENTS",
    "EVENTS_OF_TOPIC",
    "INPUT_TOPICS",
    "AgentRegistration",
    "AgentStatus",
    "Alert",
    "Change",
    "Checkpoint",
    "ControlCommand",
    "DeadLetter",
    "Escalation",
    "Event",
    "Heartbeat",
    "JournalInput",
    "JournalRecord",
    "Kpi",
    "MatchedPolicy",
    "NextStep",
    "Optimization",
    "OptimizationSide",
    "Part",
    "Problem",
    "QueuePlace",
    "Resolution",
    "Retry",
    "RevocationAck",
    "RuleBundle",
    "Scores",
    "Step",
    "StepStatus",
    "TaskApproval",
    "TaskAssignment",
    "TaskRequest",
    "Telemetry",
    "Workflow",
    "WorkflowStatus",
    "WouldHave",
    "is_id",
]

EVENTS_OF_TOPIC: Final[Mapping[str, tuple[type[Event], ...]]] = {
    "task-requests": (TaskRequest,),
    "telemetry": (Telemetry,),
    "agents": (AgentRegistration, Heartbeat, RevocationAck),
    "workflows": (Workflow,),
    "resolutions": (Resolution,),
    "control": (ControlCommand,),
    "approvals": (TaskApproval,),
    "assignments": (TaskAssignment,),
    "workflow-status": (WorkflowStatus,),
    "agent-status": (AgentStatus,),
    "escalations": (Escalation,),
    "alerts": (Alert,),
    "optimizations": (Optimization,),
    "kpis": (Kpi,),
    "journal": (JournalRecord,),
    "checkpoints": (Checkpoint,),
    "rules": (RuleBundle,),
    "dead-letters": (DeadLetter,),
}
"""By logical topic name. `forwarded` is left out: its records are inputs inside an envelope."""

EVENTS: Final[Mapping[str, type[Event]]] = {
    event.__name__: event for events in EVENTS_OF_TOPIC.values() for event in events
}
"""Every event by its name on the wire."""

INPUT_TOPICS: Final = ("task-requests", "telemetry", "agents", "workflows", "resolutions", "control")
"""What the supervisor decides, by logical name; `forwarded` carries the same events."""
