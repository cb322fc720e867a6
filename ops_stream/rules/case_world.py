"""Decides one case by the real `step`: a fresh state, what happened before, then the event itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from msgspec.structs import replace as replace_row

from ops_stream.contract.models import AgentRegistration, Resolution, TaskRequest, Telemetry
from ops_stream.core.inputs import Event, EventInput, Input, Origin, Tick
from ops_stream.core.outputs import Output
from ops_stream.core.rows import AGENTS, agent_key, encode_row
from ops_stream.core.rules_alerts import Alerts
from ops_stream.core.rules_escalations import Escalations, escalations_of
from ops_stream.core.rules_lifecycle import Lifecycle
from ops_stream.core.rules_model import Enforcement, PolicyMatch, PolicySet, Rules
from ops_stream.core.rules_people import People
from ops_stream.core.state import State
from ops_stream.core.step import step
from ops_stream.rules.case_entries import Given, MoneyGiven

TENANT: Final = "team-a"
AGENT: Final = "agent-1"
TICKS_MAX: Final = 10_000

REQUEST: Final[dict[str, Any]] = {
    "request_id": "r-1",
    "task_id": "t-1",
    "agent": AGENT,
    "tenant": TENANT,
    "task_description": "A task.",
}
"""What a case's ask is where the case does not say otherwise."""

_TOPICS: Final = {
    TaskRequest: "task-requests",
    Telemetry: "telemetry",
    AgentRegistration: "agents",
    Resolution: "resolutions",
}
_PAST: Final = Lifecycle(no_report="ignore", unpermitted_run="ignore", over_time="ignore", over_cost="ignore")
"""What came before a case is as the case says: nothing in it counts against an agent."""


@dataclass(slots=True)
class Watched:
    """The policies of a bundle, with what they matched last; `silent` ones match nothing."""

    policies: PolicySet
    silent: bool = False
    found: tuple[PolicyMatch, ...] = ()
    view: Mapping[str, Any] = field(default_factory=dict)

    @property
    def fields(self) -> frozenset[str]:
        """What they look at; also while they are silent, so that it is counted."""
        return self.policies.fields

    def match(self, when: Literal["request", "telemetry"], view: Mapping[str, Any]) -> Sequence[PolicyMatch]:
        """Match, and remember."""
        if self.silent:
            return ()
        self.view = dict(view)
        self.found = tuple(self.policies.match(when, view))
        return self.found


@dataclass(frozen=True, slots=True)
class Happened:
    """What a case came to."""

    answer: Mapping[str, Any] | None
    """The last TaskApproval."""
    outputs: tuple[Output, ...]
    """Everything that the event has caused."""
    matches: tuple[PolicyMatch, ...]
    view: Mapping[str, Any]
    """What the policies saw."""
    refused: tuple[str, ...] = ()
    """Why records were refused, of the event or of what came before: a case should have none."""
    unanswered: str = ""
    """What should have happened after and could not."""


@dataclass(frozen=True, slots=True)
class Past:
    """An ask that ran before the case."""

    at: int
    request: TaskRequest
    report: Telemetry | None = None


class CaseWorld:
    """One partition for one case."""

    def __init__(self, rules: Rules) -> None:
        """Take the rules that the case is for."""
        # A case says what is raised, not when people are told of it; and that a person answers, not who may. What a
        # report of it gives is meant so: it takes no time, and leaves out what the case is not about.
        reports = rules.telemetry.reports.without_bounds()
        telemetry = replace(rules.telemetry, reports=reports)
        rules = replace(rules, alerts=Alerts(), people=People(), telemetry=telemetry)
        self.watched = Watched(rules.policies)
        self.rules = replace(rules, policies=self.watched)
        # The past is observed only: it happens as the case says, whatever the rules think of it.
        self._past_rules = replace(
            rules,
            policies=Watched(rules.policies, silent=True),
            supervisor=replace(rules.supervisor, enforcement=(Enforcement(mode="observe"),)),
            lifecycle=_PAST,
            escalations=_only_loops(rules.escalations),
        )
        self.state = State(0, 1)
        self.now = 0
        self._offset = 0
        self._refused: list[str] = []

    def decide(
        self, given: Given, request: TaskRequest, report: Telemetry | None, past: Sequence[Past]
    ) -> Happened:
        """Build the situation, decide the event, and say what came."""
        self._live_through(given, request, past)
        self._let_pass(given.time, self._past_rules)
        if report is not None:
            self._take(request, self._past_rules)
            return self._happened(self._take(report, self.rules), given)
        return self._happened(self._take(request, self.rules), given)

    def _live_through(self, given: Given, request: TaskRequest, past: Sequence[Past]) -> None:
        everything = sorted(
            [*past, *_money(given, request), *_failures(given, request)], key=lambda one: one.at
        )
        self.now = min([given.time, *(one.at for one in everything)]) - 1_000
        if given.agent.registered:
            role, able = given.agent.role, tuple(given.agent.capabilities or (request.task_type,))
            agent = AgentRegistration(
                agent=request.agent, tenant=request.tenant, role=role, capabilities=able
            )
            self._take(agent, self._past_rules)
        for one in everything:
            self._let_pass(one.at, self._past_rules)
            self._take(one.request, self._past_rules)
            if one.report is not None:
                self._take(one.report, self._past_rules)
        if given.agent.state is not None:
            key = agent_key(request.tenant, request.agent)
            raw = self.state.rows.get(key)
            if raw is not None:
                row = replace_row(AGENTS.decode(raw), state=given.agent.state)
                self.state.apply({key: encode_row(row)})

    def _happened(self, outputs: tuple[Output, ...], given: Given) -> Happened:
        answer, everything, missing = _answer(outputs), outputs, ""
        for then in given.after:
            if then == "the batch is released":
                if answer is None or answer["decision"] != "queued":
                    missing = f"{then}, but nothing is queued"
                    break
                outputs = self._let_pass(self.state.next_due_ms() or self.now, self.rules)
            else:
                escalation = answer.get("escalation_id") if answer is not None else None
                if answer is None or not escalation:
                    missing = f"{then}, but nobody was asked"
                    break
                outputs = self._take(_resolution(answer, then), self.rules)
            answer = _answer(outputs) or answer
            everything = outputs
        return Happened(
            answer, everything, self.watched.found, self.watched.view, tuple(self._refused), missing
        )

    def _let_pass(self, until: int, rules: Rules) -> tuple[Output, ...]:
        """Let time pass, with a Tick wherever something is due."""
        found: list[Output] = []
        for _ in range(TICKS_MAX):
            due = self.state.next_due_ms()
            if due is None or due > until:
                break
            self.now = max(self.now, due)
            found += self._step(Tick(), rules)
        self.now = max(self.now, until)
        return tuple(found)

    def _take(self, event: Event, rules: Rules) -> tuple[Output, ...]:
        self._offset += 1
        origin = Origin(_TOPICS[type(event)], 0, self._offset, self.now)
        return self._step(EventInput(origin, event), rules)

    def _step(self, input_: Input, rules: Rules) -> tuple[Output, ...]:
        decision = step(self.state, input_, rules, self.now)
        self.state.apply(decision.changes)
        self._refused += [out.value["explanation"] for out in decision.outputs if out.type == "DeadLetter"]
        return decision.outputs


def _only_loops(escalations: Escalations) -> Escalations:
    """What came before a case called nobody, but whoever went in circles did."""
    loops = {key: rule for key, rule in escalations.triggers.items() if key[0] == "loop"}
    return escalations_of(loops)


def _answer(outputs: Sequence[Output]) -> Mapping[str, Any] | None:
    return next((out.value for out in reversed(outputs) if out.type == "TaskApproval"), None)


def _resolution(answer: Mapping[str, Any], then: str) -> Resolution:
    return Resolution(
        resolution_id=f"case-{answer['sequence']}-{then.partition(' ')[0]}",
        escalation_id=answer["escalation_id"],
        tenant=answer["tenant"],
        resolver="case-2" if then.startswith("another") else "case",
        verdict="deny" if then.endswith("denies") else "approve",
        action_digest=answer["action_digest"],
    )


# What a situation says in short


def _money(given: Given, request: TaskRequest) -> Iterator[Past]:
    for reported, money in ((True, given.spent), (False, given.held)):
        for name, changes, amount in _shares(money, request):
            if amount:
                yield _spending(
                    given, request, f"{'spent' if reported else 'held'}-{name}", changes, amount, reported
                )


def _shares(money: MoneyGiven, request: TaskRequest) -> Iterator[tuple[str, dict[str, Any], int]]:
    other = {"agent": "another-agent", "workflow_id": None}
    yield "task", {**other, "task_id": request.task_id}, money.task_usd
    yield "workflow", {**other, "workflow_id": request.workflow_id}, money.workflow_usd
    yield "agent", {"workflow_id": None}, money.agent_usd
    yield "tenant", other, max(0, money.tenant_usd - money.others)


def _spending(
    given: Given, request: TaskRequest, name: str, changes: Mapping[str, Any], amount: int, reported: bool
) -> Past:
    base = {
        "request_id": f"case-{name}",
        "task_id": f"case-{name}",
        "tenant": request.tenant,
        "agent": request.agent,
    }
    ask = TaskRequest.from_wire(
        {
            **REQUEST,
            **base,
            **changes,
            "estimated_cost_usd": amount / 1_000_000,
            "estimated_time_s": 86_400.0,
        }
    )
    report = report_on(ask, {"cost_usd": amount / 1_000_000}) if reported else None
    return Past(given.time - 1_000, ask, report)


def _failures(given: Given, request: TaskRequest) -> Iterator[Past]:
    for number in range(given.agent.consecutive_failures):
        names = {"request_id": f"case-failure-{number}", "task_id": f"case-failure-{number}"}
        base = {**REQUEST, **names, "tenant": request.tenant, "agent": request.agent}
        ask = TaskRequest.from_wire(base)
        yield Past(given.time - 500, ask, report_on(ask, {"kind": "failed", "success": False, "cost_usd": 0}))


def report_on(request: TaskRequest, fields: Mapping[str, Any]) -> Telemetry:
    """Give a report on an ask; raises pydantic.ValidationError."""
    return Telemetry.from_wire({**report_base(request), **fields})


def report_base(request: TaskRequest) -> dict[str, Any]:
    """Give what a case's report is where the case does not say otherwise."""
    return {
        "event_id": f"e-{request.request_id}",
        "request_id": request.request_id,
        "task_id": request.task_id,
        "agent": request.agent,
        "tenant": request.tenant,
        "kind": "completed",
    }
