"""What a condition can see: the fields of a request or a report, the agent, the budgets and the clock.

A field that an event does not have is left out, and a condition that needs it cannot be decided. `always`
marks those that every event has. Times and counts that may come with a fraction are declared as double; a
whole number is welcome there too.
"""

from dataclasses import dataclass
from typing import Final

WHENS: Final = ("request", "telemetry")
GIVEN: Final = "given"
"""`has(given.tool)` asks whether the event has the field `tool`."""
NOW: Final = "now_ms"
"""Where a view says what time it is, in milliseconds since 1970: for validity, not for conditions."""


@dataclass(frozen=True, slots=True)
class Field:
    """One name that a condition can use."""

    name: str
    kind: str
    always: bool
    meaning: str


def _always(kind: str, name: str, meaning: str) -> Field:
    return Field(name, kind, True, meaning)


def _maybe(kind: str, name: str, meaning: str) -> Field:
    return Field(name, kind, False, meaning)


def _windows(kind: str, stem: str, unit: str, meaning: str) -> tuple[Field, ...]:
    """Declare a count for each of the windows that end now."""
    return tuple(_always(kind, f"{stem}_{name}{unit}", f"{meaning} in {window}") for name, window in _WINDOWS)


_WINDOWS: Final = (("10m", "the last 10 minutes"), ("1h", "the last hour"), ("1d", "the last day"))

_SCORE: Final = ", 0 to 1, once it has registered"

_COMMON: Final = (
    _always("string", "request_id", "the ask's id"),
    _always("string", "task_id", "the task's id"),
    _always("string", "agent", "the agent's name"),
    _always("string", "tenant", "the tenant"),
    _always("string", "task_type", "the kind of task"),
    _always("int", "priority", "1 (low) to 10 (high)"),
    _always("int", "retry_count", "how often it was tried before"),
    _always("string", "complexity", "low, medium or high"),
    _always("string", "customer_impact", "none, low, medium or high"),
    _always(
        "string", "effect", "none, reversible or irreversible: the worst of the ask's own and the operator's"
    ),
    _always("map", "attributes", "the event's own attributes"),
    _always("int", "consecutive_failures", "the agent's reports of failure in a row"),
    _always("int", "hour", "hour of the day, 0 to 23, in the tenant's time zone"),
    _always("int", "weekday", "1 (Monday) to 7 (Sunday), in the tenant's time zone"),
    *_windows("int", "agent_requests", "", "asks of the agent that were admitted"),
    *_windows("int", "agent_failures", "", "reports of failure by the agent"),
    *_windows("double", "agent_cost", "_usd", "dollars that the agent has spent"),
    _always("int", "agent_violations_1d", "breaches of the rules by the agent in the last day"),
    _maybe("string", "tool", "the tool to be called"),
    _maybe("string", "workflow_id", "the workflow's id"),
    _maybe("string", "model", "the model asked for or used"),
    _maybe("string", "role", "the agent's role, once it has registered"),
    _maybe("string", "agent_state", "registered, active, warned, suspended or blocked"),
    _maybe("double", "error_rate", "the share of the agent's reports that are failures, 0 to 1"),
    _maybe("double", "agent_score_cost_efficiency", f"the agent's score for what it spends{_SCORE}"),
    _maybe("double", "agent_score_reliability", f"the agent's score for what ended well{_SCORE}"),
    _maybe("double", "agent_score_quality", f"the agent's score for what its reports say{_SCORE}"),
    _maybe("double", "agent_score_speed", f"the agent's score for how long it takes{_SCORE}"),
    _maybe("double", "workflow_spent_usd", "what the workflow has spent"),
    _maybe("double", "workflow_held_usd", "what is held for the workflow's running asks"),
    _maybe("int", "workflow_steps", "asks of the workflow that were admitted"),
    _maybe("int", "workflow_failures", "reports of failure in the workflow"),
)

_REQUEST: Final = (
    _always("double", "cost", "dollars: the estimate, or what is held where there is none"),
    _always("string", "task_description", "what is to be done"),
    _always("double", "estimated_time_s", "how long it should take"),
    _always("list", "tags", "the request's tags"),
    _always("double", "tenant_spent_usd", "what the tenant has spent in its budget's window"),
    _always("double", "tenant_held_usd", "what is held for the tenant's running asks"),
    _always("double", "tenant_unknown_usd", "what the tenant's unreported asks may have cost"),
    _always("double", "task_spent_usd", "what the task has spent"),
    _always("int", "depth", "how many asks this one descends from; 0 without a parent"),
    _maybe("double", "tenant_limit_usd", "the tenant's first hard limit in dollars"),
    _maybe("double", "tenant_left_usd", "what is left of it"),
    _maybe("double", "tenant_used_percent", "how much of it is held, unknown or spent"),
    _maybe("map", "arguments", "the tool's arguments"),
    _maybe("string", "objective_id", "the objective's id"),
    _maybe("string", "parent_request_id", "the ask that this one came from"),
    _maybe("string", "required_model", "the model that the ask insists on"),
    _maybe("double", "estimated_cost_usd", "the estimate, where the ask has one"),
    _maybe("int", "estimated_input_tokens", "tokens it should read"),
    _maybe("int", "estimated_output_tokens", "tokens it should write"),
    _maybe("string", "deadline", "RFC 3339 UTC"),
)

_TELEMETRY: Final = (
    _always("string", "event_id", "the report's id"),
    _always("string", "kind", "started, progress, completed, failed or cancelled"),
    _maybe("double", "cost", "dollars: what it really cost"),
    _maybe("double", "cost_usd", "the same"),
    _maybe("bool", "success", "whether it did what it should"),
    _maybe("double", "latency_ms", "how long it took"),
    _maybe("double", "quality_score", "how good it is, 0 to 1"),
    _maybe("int", "input_tokens", "tokens read"),
    _maybe("int", "output_tokens", "tokens written"),
    _maybe("int", "cached_input_tokens", "tokens read from a cache"),
    _maybe("string", "error", "the error's text"),
    _maybe("string", "error_class", "the error's class"),
    _maybe("string", "output", "the result's text"),
    _maybe("string", "timestamp", "the agent's own time, RFC 3339"),
)

FIELDS: Final[dict[str, dict[str, Field]]] = {
    "request": {field.name: field for field in (*_COMMON, *_REQUEST)},
    "telemetry": {field.name: field for field in (*_COMMON, *_TELEMETRY)},
}
"""By kind of event: name → field."""
OF_REGISTERED: Final = frozenset(
    ("role", "agent_state", *(name for name in FIELDS["request"] if name.startswith("agent_score_")))
)
"""What every registered agent has. Of others an ask is denied before any policy sees it, but a report is seen."""
