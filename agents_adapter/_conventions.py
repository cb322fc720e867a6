"""The names in spans and metrics: OpenTelemetry's GenAI conventions (`gen_ai.*`), and our own (`ops_stream.*`).

The conventions' own package calls its constants for `gen_ai.*` deprecated since they moved to a repository of their
own, which publishes none for Python. So the strings stand here, once. They are still under development there.
"""

from typing import Final

# -- GenAI: https://github.com/open-telemetry/semantic-conventions-genai --------------------------------------

AGENT_NAME: Final = "gen_ai.agent.name"
OPERATION_NAME: Final = "gen_ai.operation.name"
PROVIDER_NAME: Final = "gen_ai.provider.name"
REQUEST_MODEL: Final = "gen_ai.request.model"
RESPONSE_MODEL: Final = "gen_ai.response.model"
TOKEN_TYPE: Final = "gen_ai.token.type"  # noqa: S105
TOOL_ARGUMENTS: Final = "gen_ai.tool.call.arguments"
TOOL_NAME: Final = "gen_ai.tool.name"
USAGE_CACHE_READ: Final = "gen_ai.usage.cache_read.input_tokens"
USAGE_INPUT: Final = "gen_ai.usage.input_tokens"
USAGE_OUTPUT: Final = "gen_ai.usage.output_tokens"

INVOKE_AGENT: Final = "invoke_agent"
EXECUTE_TOOL: Final = "execute_tool"

OPERATION_DURATION: Final = "gen_ai.client.operation.duration"
TOKEN_USAGE: Final = "gen_ai.client.token.usage"  # noqa: S105
DURATION_BUCKETS: Final = (
    0.01,
    0.02,
    0.04,
    0.08,
    0.16,
    0.32,
    0.64,
    1.28,
    2.56,
    5.12,
    10.24,
    20.48,
    40.96,
    81.92,
)
TOKEN_BUCKETS: Final = tuple(4**power for power in range(14))

# -- general ---------------------------------------------------------------------------------------------------

ERROR_TYPE: Final = "error.type"
MESSAGING_SYSTEM: Final = "messaging.system"
MESSAGING_DESTINATION: Final = "messaging.destination.name"
OTHER: Final = "_OTHER"
"""What the conventions say for a value that is not known or is one too many."""

# -- ours ------------------------------------------------------------------------------------------------------

REQUEST_ID: Final = "ops_stream.request_id"
TASK_ID: Final = "ops_stream.task_id"
TENANT: Final = "ops_stream.tenant"
PARENT_REQUEST_ID: Final = "ops_stream.parent_request_id"
WORKFLOW_ID: Final = "ops_stream.workflow_id"
OBJECTIVE_ID: Final = "ops_stream.objective_id"
TASK_TYPE: Final = "ops_stream.task_type"
TASK_DESCRIPTION: Final = "ops_stream.task_description"
PRIORITY: Final = "ops_stream.priority"
EFFECT: Final = "ops_stream.effect"
ESTIMATED_COST: Final = "ops_stream.estimated_cost_usd"
COST: Final = "ops_stream.cost_usd"
COST_LIMIT: Final = "ops_stream.cost_limit_usd"
QUALITY: Final = "ops_stream.quality_score"
DECISION: Final = "ops_stream.decision"
REASON: Final = "ops_stream.reason"
SEQUENCE: Final = "ops_stream.sequence"
APPROVAL_ID: Final = "ops_stream.approval_id"
ESCALATION_ID: Final = "ops_stream.escalation_id"
POLICIES: Final = "ops_stream.policies"
RULES_DIGEST: Final = "ops_stream.rules_digest"
WOULD_HAVE: Final = "ops_stream.would_have"
OUTCOME: Final = "ops_stream.outcome"
REPORT_KIND: Final = "ops_stream.report.kind"

EVENT_PREFIX: Final = "ops_stream."
"""Before `escalated`, `queued`, `revoked`: the events of a span."""

ASK_DURATION: Final = "ops_stream.ask.duration"
ASKS: Final = "ops_stream.asks"
REPORTS: Final = "ops_stream.reports"
SPENT: Final = "ops_stream.cost"
