"""The rows of the state: frozen structs, written to the journal as canonical JSON.

Row keys read `kind/` and then names joined by `|`, a character that no id may hold. Times are milliseconds
since 1970, money is micro-dollars. Fields at their default are left out, so that a field can be added without
rewriting old rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Generic, Literal, TypeVar

import msgspec

from ops_stream.core import (
    rows_agents,
    rows_alarms,
    rows_base,
    rows_budgets,
    rows_escalations,
    rows_kills,
    rows_kpis,
    rows_learning,
    rows_load,
    rows_loops,
    rows_optimization,
    rows_peers,
    rows_retries,
    rows_routing,
    rows_workflows,
)
from ops_stream.core.rows_base import NOTHING as NOTHING
from ops_stream.core.rows_base import Row as Row

# Rows about agents and escalations have files of their own and are found here like all others.
Agent = rows_agents.Agent
Alarm = rows_alarms.Alarm
Breach = rows_agents.Breach
Bucket = rows_agents.Bucket
Conduct = rows_agents.Conduct
Flow = rows_agents.Flow
Folded = rows_agents.Folded
Gathered = rows_alarms.Gathered
Lately = rows_agents.Lately
Baseline = rows_peers.Baseline
Budget = rows_budgets.Budget
Circuit = rows_routing.Circuit
LimitRow = rows_budgets.LimitRow
Overrun = rows_budgets.Overrun
Spending = rows_budgets.Spending
Peer = rows_peers.Peer
Mark = rows_agents.Mark
Marks = rows_agents.Marks
Pulse = rows_agents.Pulse
Record = rows_agents.Record
Suspension = rows_agents.Suspension
Kill = rows_kills.Kill
Lifted = rows_kills.Lifted
Containment = rows_kills.Containment
Handovers = rows_loops.Handovers
Tries = rows_loops.Tries
Ballot = rows_escalations.Ballot
EscalationRow = rows_escalations.EscalationRow
EscalationState = rows_escalations.EscalationState
FoldRow = rows_escalations.FoldRow
Goal = rows_kpis.Goal
Evicted = rows_learning.Evicted
FlowLearned = rows_learning.FlowLearned
Learned = rows_learning.Learned
Past = rows_learning.Past
Period = rows_learning.Period
Pooled = rows_learning.Pooled
GateRow = rows_load.GateRow
LineRow = rows_load.LineRow
Amended = rows_optimization.Amended
Attempts = rows_optimization.Attempts
Finder = rows_optimization.Finder
OptimizationRow = rows_optimization.OptimizationRow
Tally = rows_kpis.Tally
Telling = rows_kpis.Telling
StepBody = rows_workflows.StepBody
StepOutput = rows_workflows.StepOutput
StepRow = rows_workflows.StepRow
WorkflowRow = rows_workflows.WorkflowRow
RetryBudget = rows_retries.RetryBudget
Unsure = rows_retries.Unsure
Rebased = rows_base.Rebased
Via = rows_base.Via

Phase = Literal["escalated", "queued", "running", "unknown", "ended"]
"""Waiting for a person or in the batch queue; running under a lease; over with its cost unknown; over."""
Money = Literal["none", "held", "unknown", "released", "settled"]
Decided = Literal["approved", "denied", "escalated", "queued", "revoked"]
SweepKind = Literal["kill", "release"]


class Matched(msgspec.Struct, frozen=True, omit_defaults=True):
    """A policy that matched."""

    name: str
    action: str
    shadow: bool = False


class Answer(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """The decision in force: with its ask's row, everything that its TaskApproval says."""

    decision: Decided
    reason: str
    at: int
    rules: str
    sequence: int = 0
    explanation: str = ""
    digest: str = ""
    """The action's digest where a person's edit made it another than the ask's."""
    matched: tuple[Matched, ...] = ()
    would_decide: str = ""
    would_reason: str = ""
    escalation: str = ""
    position: int = 0
    not_before: int = 0
    recommendation: str = ""
    propensity: int | None = None
    """How probable the choice of the model was, in millionths, where chance had a part in it."""
    expected_start: int = 0
    """When an ask that waits for room is expected to run; 0 where nobody knows."""
    retry_at: int = 0
    """When it is worth asking again, of a denial that passes."""
    retry: rows_retries.RetryPlan | None = None
    """How to try again, of an approval."""
    next_step: rows_retries.NextStep | None = None
    """What to do after the attempt has failed."""
    batch: bool = False
    """Whether it is to run at batch price."""


class Ask(Row, frozen=True):
    """One ask, from its first decision until it is forgotten."""

    tenant: str
    request_id: str
    task_id: str
    agent: str
    digest: str
    phase: Phase
    until: int
    """When time acts on it: the lease's end, the batch's release, or when it is forgotten; 0 for never."""
    answer: Answer
    money: Money = "none"
    held: int | None = None
    """What was held at admission; None where nothing was."""
    window: str = ""
    task_window: str = ""
    charged: bool = False
    """Whether the budget rows count this ask among theirs."""
    more: tuple[str, ...] = ()
    """The further budget rows that count it, by their keys without `budget/`; only where limits need them."""
    tokens: int = 0
    """Tokens held at admission, where a limit counts tokens."""
    asked: int = 0
    """What was estimated, where a learned factor made `held` larger."""
    lease_ms: int = 60_000
    started: bool = False
    workflow: str = ""
    model: str = ""
    task_type: str = "general"
    tool: str = ""
    priority: int = 5
    retry_count: int = 0
    complexity: str = "medium"
    impact: str = "none"
    effect: str = "unknown"
    """The worst that its own word, the operator's classes and its chain say."""
    estimated_ms: int = 60_000
    reviewed: Literal["", "review", "edit"] = ""
    """Whether a person has approved or edited it."""
    order: int = 0
    """The offset at which it was asked: its place among equals in the batch queue."""
    encoding: str = "json"
    traceparent: str = ""
    seen: tuple[int, ...] = ()
    """Short hashes of the latest reports, so that a repeated one is recognised."""
    report: str = ""
    """The report that ended it."""
    ended_at: int = 0
    acked_at: str = ""
    request: msgspec.Raw = NOTHING
    """The ask as it was seen, while it waits."""
    depth: int = 0
    """How many asks it descends from."""
    time_cap_ms: int = 0
    """How long it may run at most, however often its lease is renewed; 0 for no such limit."""
    token_limit: int = 0
    """How many tokens it may use at most; 0 for no such limit."""
    escalation: str = ""
    """The escalation whose verdict let it go on: it is told how the ask ends."""
    approved_by: tuple[str, ...] = ()
    """The people whose verdict let it go on."""
    edits: msgspec.Raw = NOTHING
    """The fields that people have changed, with their new values, while it waits or runs."""
    kill: str = ""
    """The command that revoked it, until it is proved that it has stopped."""
    objective: str = ""
    """The objective that it works for, by its own word or its parent's."""
    asked_at: int = 0
    """When the broker took it in."""
    started_at: int = 0
    """When the broker took in the first report that it runs; only until it ends."""
    told_at: int = 0
    """The latest time that its reports tell of and that is believed; only until it ends."""
    flags: tuple[str, ...] = ()
    """The rules of `conf/telemetry.yaml` that its reports break, each once."""
    step: str = ""
    """The step of a workflow that it is, as `ID|NUMBER|ACCEPTED`; empty for what an agent asks itself."""
    cost: int = 0
    """What a step was settled to; of other asks only budgets know."""
    wait: rows_load.Wait | None = None
    """Its place among those that wait for room; None for what waits for a batch, or not at all."""
    batched: bool = False
    """Whether the batch queue has let it out: it is not put there again, and runs at batch price where there is one."""
    action: str = ""
    """What it does (`unsure.action_of`), where that changes state; empty where nothing has to be remembered."""
    arms: tuple[str, ...] = ()
    """The sides of optimizations that it counts for, as `ID+` (changed) or `ID-` (kept)."""


class AskFacts(msgspec.Struct, frozen=True, gc=False):
    """What the indexes need of an ask."""

    tenant: str
    agent: str
    phase: Phase
    until: int
    workflow: str = ""
    model: str = ""
    priority: int = 5
    order: int = 0
    held: int | None = None
    kill: str = ""
    objective: str = ""
    wait: rows_load.Wait | None = None


class Sweep(Row, frozen=True):
    """What a command still has to do, a bounded piece at a time; `until` 0 means at once."""

    kind: SweepKind
    scope: str
    tenant: str
    target: str
    command_id: str
    issued_by: str
    at: int
    cursor: str = ""
    reason: str = ""
    until: int = 0


class Command(Row, frozen=True):
    """A command that was obeyed, or one that was refused and stays so."""

    until: int
    by: str = ""
    """Who gave it: another person's command may bear the same id, by mistake or to be in its way."""


class ActiveRules(Row, frozen=True):
    """The rules in force on this partition."""

    digest: str
    """Of the bundle, or of the bundle with its amendments."""
    at: int
    command_id: str = ""
    """The command, or the optimization, in whose name they are."""
    base: str = ""
    """The bundle's digest where there are amendments."""
    amended: tuple[rows_optimization.Amended, ...] = ()


class Firing(Row, frozen=True):
    """An alert that has not been resolved."""

    since: int
    alert_id: str


class Due(msgspec.Struct, frozen=True):
    """When time acts on a row of any kind."""

    until: int = 0


R = TypeVar("R", bound=Row)


class Table(Generic[R]):
    """A kind of row: its key prefix and how its bytes are read."""

    __slots__ = ("decode", "prefix", "type")

    def __init__(self, prefix: str, type_: type[R]) -> None:
        self.prefix: Final = prefix
        self.type: Final = type_
        self.decode: Final[Callable[[bytes], R]] = msgspec.json.Decoder(type_).decode


ASKS: Final = Table("ask/", Ask)
AGENTS: Final = Table("agent/", Agent)
RECORDS: Final = Table("record/", Record)
BASELINES: Final = Table("baseline/", Baseline)
SUSPENSIONS: Final = Table("suspension/", Suspension)
CONDUCTS: Final = Table("violations/", Conduct)
PULSES: Final = Table("pulse/", Pulse)
MARKS: Final = Table("marks/", Marks)
FLOWS: Final = Table("flow/", Flow)
BUDGETS: Final = Table("budget/", Budget)
LIMITS: Final = Table("limit/", LimitRow)
KILLS: Final = Table("kill/", Kill)
LIFTED: Final = Table("lifted/", Lifted)
CONTAINMENTS: Final = Table("containment/", Containment)
SWEEPS: Final = Table("sweep/", Sweep)
COMMANDS: Final = Table("command/", Command)
ESCALATIONS: Final = Table("escalation/", EscalationRow)
FOLDS: Final = Table("fold/", FoldRow)
RULES: Final = Table("rules", ActiveRules)
VIAS: Final = Table("via/", Via)
REBASED: Final = Table("rebase/", Rebased)
FIRINGS: Final = Table("alert/", Firing)
ALARMS: Final = Table("alarm/", Alarm)
GATHERINGS: Final = Table("gathered/", Gathered)
SPENDINGS: Final = Table("spending/", Spending)
OVERRUNS: Final = Table("overrun/", Overrun)
TRIES: Final = Table("tries/", Tries)
HANDOVERS: Final = Table("handover/", Handovers)
TALLIES: Final = Table("tally/", Tally)
GOALS: Final = Table("goal/", Goal)
TELLINGS: Final = Table("telling/", Telling)
LEARNED: Final = Table("learned/", Learned)
PERIODS: Final = Table("period/", Period)
PASTS: Final = Table("past/", Past)
POOLED: Final = Table("pooled/", Pooled)
FLOWS_LEARNED: Final = Table("flowlearned/", FlowLearned)
EVICTED: Final = Table("evicted/", Evicted)
OPTIMIZATIONS: Final = Table("optimization/", OptimizationRow)
ATTEMPTS: Final = Table("attempts/", Attempts)
FINDERS: Final = Table("finder/", Finder)
WORKFLOWS: Final = Table("workflow/", WorkflowRow)
STEPS: Final = Table("step/", StepRow)
STEP_BODIES: Final = Table("stepbody/", StepBody)
STEP_OUTPUTS: Final = Table("stepoutput/", StepOutput)
CIRCUITS: Final = Table("circuit/", Circuit)
UNSURE: Final = Table("unsure/", Unsure)
RETRY_BUDGETS: Final = Table("retrybudget/", RetryBudget)
LINES: Final = Table(rows_load.LINE, LineRow)
GATES: Final = Table(rows_load.GATE, GateRow)


decode_facts: Final = msgspec.json.Decoder(AskFacts).decode
decode_due: Final = msgspec.json.Decoder(Due).decode
encode_row: Final = msgspec.json.Encoder().encode


def ask_key(tenant: str, request_id: str) -> str:
    """Give the key of an ask's row."""
    return f"ask/{tenant}|{request_id}"


def agent_key(tenant: str, agent: str) -> str:
    """Give the key of an agent's row."""
    return f"agent/{tenant}|{agent}"


def record_key(tenant: str, agent: str) -> str:
    """Give the key of the row with an agent's record."""
    return f"record/{tenant}|{agent}"


def conduct_key(tenant: str, agent: str) -> str:
    """Give the key of the row with an agent's violations."""
    return f"violations/{tenant}|{agent}"


def pulse_key(tenant: str, agent: str) -> str:
    """Give the key of the row that watches over an agent's heartbeats."""
    return f"pulse/{tenant}|{agent}"


def tenant_budget_key(tenant: str, window: str) -> str:
    """Give the key of a tenant's budget row for a window."""
    return f"budget/tenant|{tenant}|{window}"


def task_budget_key(tenant: str, task_id: str, window: str) -> str:
    """Give the key of a task's budget row for a window."""
    return f"budget/task|{tenant}|{task_id}|{window}"
