"""Ready steps are given to agents: which step first, to which agent, and the ask that the step becomes.

Such an ask goes through the same decision as any other: policies, budgets, people and kill switches bind it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from ops_stream.contract.digest import action_digest
from ops_stream.contract.models import TaskRequest
from ops_stream.contract.reasons import Reason
from ops_stream.core.approvals import emit_answer
from ops_stream.core.asks import UNDECIDED, row_of
from ops_stream.core.automatic import asked
from ops_stream.core.budgets import hold_for
from ops_stream.core.decide import decide
from ops_stream.core.decision import InvariantBroken
from ops_stream.core.draft import Draft
from ops_stream.core.due import Item
from ops_stream.core.effects import nature_of
from ops_stream.core.ids import derived_id
from ops_stream.core.kills import kill_on
from ops_stream.core.lines import end
from ops_stream.core.look import is_observed
from ops_stream.core.optimization_sides import ALIKE, liked, sides_of_step
from ops_stream.core.rows import (
    ASKS,
    RECORDS,
    STEP_BODIES,
    STEPS,
    WORKFLOWS,
    Answer,
    Ask,
    ask_key,
    record_key,
)
from ops_stream.core.rows_workflows import StepRow, Trouble, WorkflowRow, body_key, names_of, workflow_key
from ops_stream.core.unsure import stay_in_doubt
from ops_stream.core.words import because, dollars
from ops_stream.core.workflows_agents import Agents
from ops_stream.core.workflows_ends import advance, stop
from ops_stream.core.workflows_index import Group, place_of
from ops_stream.core.workflows_status import tell
from ops_stream.core.workflows_steps import took

GIVEN_MAX: Final = 100
"""Steps that one record gives out; the rest goes on at once with a Tick."""
FAILURES_MAX: Final = 20
"""Steps that one record gives up on."""
LINE_MAX: Final = 16
"""Waiting steps of a kind that are looked up at a time."""
_OF_THE_STEP: Final = frozenset(("step_id", "depends_on", "agent"))


class StepFailed(Exception):
    """The supervisor failed while it decided the ask of a step; the record is drafted anew, and that step denied."""

    def __init__(self, key: str, error: str) -> None:
        super().__init__(key, error)
        self.key = key
        self.error = error


class Giving:
    """Gives steps out for one record."""

    def __init__(self, draft: Draft, failures: Mapping[str, str], done: dict[str, Ask]) -> None:
        self.draft = draft
        self.failures = failures
        self.done = done
        """The asks of steps as the steps know them."""
        self.given = 0
        self.agents = Agents(draft)

    def give_out(self, tenant: str, groups: set[Group]) -> bool:
        """Give out steps of some groups as long as agents are free for them; says whether any was given or ended."""
        self.agents = Agents(self.draft)
        self.agents.look_up(tenant, groups)
        fresh = self._fresh(tenant)
        lines: dict[Group, list[Item]] = {}
        acted = False
        while groups:
            for group in sorted(groups - lines.keys()):
                line = []
                if self.agents.any_free(tenant, group):
                    line = self._line(tenant, group, fresh.get(group, []))
                if line:
                    lines[group] = line
                else:
                    groups.discard(group)
            if not lines:
                break
            item, group = min((line[0], group) for group, line in lines.items())
            if self._full(item[3]):
                self._go_on_later(item[3])
                break
            lines[group].pop(0)
            came = not self._may_begin(item[3]) or self._give(tenant, item[3])
            acted |= came
            if not came or not self.agents.any_free(tenant, group):
                groups.discard(group)
            if not lines[group] or group not in groups:
                del lines[group]  # where somebody is free for it yet, the next of its steps are looked up
        return acted

    def _full(self, key: str) -> bool:
        """Say whether a step is left to the next record; what has failed already is denied by this one."""
        if self.given >= GIVEN_MAX or self.draft.full():
            return True
        return len(self.failures) >= FAILURES_MAX and key not in self.failures

    def _fresh(self, tenant: str) -> dict[Group, list[Item]]:
        """Give the steps that this draft has made ready, by kind."""
        found: dict[Group, list[Item]] = {}
        for key, row in self.draft.changed(f"step/{tenant}|"):
            if isinstance(row, StepRow) and row.state == "ready":
                found.setdefault((row.type, row.named), []).append(place_of(key, row))
        return found

    def _line(self, tenant: str, group: Group, fresh: list[Item]) -> list[Item]:
        """Give the first steps of a kind that may begin, as this draft leaves them."""
        draft = self.draft
        found = [item for item in fresh if self._may_begin(item[3])]
        heap = draft.state.workflows.waiting.get(tenant, {}).get(group)
        looked = LINE_MAX
        while heap is not None:
            items = heap.earliest(looked)
            known = [item for item in items if not draft.touched(item[3]) and self._may_begin(item[3])]
            if len(items) < looked:
                found += known
                break
            if known:  # what comes behind the last of them is looked up when these are given
                found = [item for item in found if item < known[-1]] + known
                break
            looked *= 4  # all of these are of workflows that are stopped: they are in nobody's way
        return sorted(found)

    def _may_begin(self, key: str) -> bool:
        """Say whether a step still waits for an agent, and its workflow goes on."""
        step = self.draft.get(STEPS, key)
        if step is None or step.state != "ready":
            return False
        flow = self.draft.get(WORKFLOWS, "workflow/" + key[5:].rpartition("|")[0])
        return flow is not None and not flow.stopping

    def _go_on_later(self, key: str) -> None:
        name = workflow_key(*key[5:].rpartition("|")[0].split("|"))
        flow = self.draft.get(WORKFLOWS, name)
        if flow is not None:
            self.draft.put(name, replace(flow, until=self.draft.now))

    def _give(self, tenant: str, key: str) -> bool:
        """Give one step to the best agent that is free; says whether anything came of it, or nobody can have it."""
        draft = self.draft
        name, _, number = key[5:].rpartition("|")
        flow_key = "workflow/" + name
        flow, step = draft.get(WORKFLOWS, flow_key), draft.get(STEPS, key)
        assert flow is not None
        assert step is not None
        kill = kill_on(draft, tenant, "", names_of(flow_key)[1], "")
        if kill is not None:
            why = f"The kill switch was pulled by {kill.issued_by}{because(kill.reason)}"
            stop(draft, flow_key, "cancelled", Trouble("kill_switch", why))
            tell(draft, flow_key)
            return True
        agent = self.agents.best(
            tenant, (step.type, step.named), names_of(flow_key)[1], step.tried, step.prefer
        )
        if agent is None:
            return False
        request = self._request(flow_key, int(number), flow, step, agent)
        if draft.rules.amended and not step.named:
            other = self._otherwise(step, request)
            if other != agent:
                agent, request = other, self._request(flow_key, int(number), flow, step, other)
        hold = hold_for(draft, _estimate(draft, request), draft.get(RECORDS, record_key(tenant, agent)))
        if flow.budget is not None and flow.cost + flow.held + hold > flow.budget:
            self._cannot_pay(flow_key, key, flow, step, hold)
            return True
        lost = draft.get(ASKS, ask_key(tenant, step.request)) if step.unsure else None
        if lost is not None:
            stay_in_doubt(draft, request, lost)
        self.given += 1
        if flow.state == "accepted":
            flow = replace(flow, state="running")
            tell(draft, flow_key)
        draft.put(flow_key, replace(flow, open=flow.open + 1, held=flow.held + hold))
        draft.put(
            key,
            replace(
                step,
                state="running",
                attempts=step.attempts + 1,
                agent=agent,
                request=request.request_id,
                hold=hold,
                unsure=False,
            ),
        )
        ask = self._decide(key, flow_key, int(number), flow, request)
        self.done[ask_key(tenant, ask.request_id)] = ask
        took(draft, None, ask, request)
        advance(draft, flow_key)
        self.agents.counts(tenant, agent, request.request_id)
        return True

    def _otherwise(self, step: StepRow, request: TaskRequest) -> str:
        """Give the agent that a step goes to by its sides of optimizations; `request` is its ask by the rules."""
        draft, tenant, workflow = self.draft, request.tenant, request.workflow_id or ""
        if is_observed(draft, request):
            return request.agent
        nature = nature_of(draft, request, row_of(draft, request, "", 0, "", ""), anew=True)
        how = liked(sides_of_step(draft, request, nature))
        if how is ALIKE:
            return request.agent
        group = (step.type, step.named)
        return self.agents.best(tenant, group, workflow, step.tried, step.prefer, how) or request.agent

    def _decide(self, key: str, flow_key: str, number: int, flow: WorkflowRow, request: TaskRequest) -> Ask:
        """Decide the ask of a step, and give its row."""
        draft = self.draft
        ask = row_of(draft, request, action_digest(request), flow.order, flow.encoding, flow.traceparent)
        ask = replace(ask, step=f"{names_of(flow_key)[1]}|{number}|{flow.accepted_at}")
        name = ask_key(request.tenant, request.request_id)
        error = self.failures.get(key)
        if error is not None:
            why = f"The supervisor failed on this step ({error})."
            answer = Answer("denied", Reason.POLICY_ERROR, draft.now, draft.rules.digest, explanation=why)
            ask = end(draft, replace(ask, answer=answer))
            draft.put(name, ask)
            emit_answer(draft, ask)
            return ask
        try:
            if draft.rules.kills.automatic:
                asked(draft, request)
            decide(draft, name, request, "first", replace(ask, answer=UNDECIDED), 0)
        except (InvariantBroken, MemoryError):
            raise
        except Exception as failed:
            raise StepFailed(key, type(failed).__name__) from failed
        decided = draft.get(ASKS, name)
        assert decided is not None
        return decided

    def _request(
        self, flow_key: str, number: int, flow: WorkflowRow, step: StepRow, agent: str
    ) -> TaskRequest:
        """Make the ask that a step becomes. Its id is nobody's yet, whatever others have asked before."""
        draft = self.draft
        tenant, workflow_id = names_of(flow_key)
        body = draft.get(STEP_BODIES, body_key(flow_key, number))
        assert body is not None
        wire: dict[str, Any] = msgspec.json.decode(body.body)
        seed = (tenant, workflow_id, flow.accepted_at, step.step, step.attempts + 1)
        salt = 0
        while draft.get(ASKS, ask_key(tenant, request_id := derived_id("wr_", *seed, salt))) is not None:
            salt += 1
        task_id = f"{workflow_id}/{step.step}"
        fields = {name: value for name, value in wire.items() if name not in _OF_THE_STEP}
        fields |= {
            "request_id": request_id,
            "task_id": task_id if len(task_id) <= 128 else derived_id("wt_", workflow_id, step.step),
            "agent": agent,
            "tenant": tenant,
            "workflow_id": workflow_id,
            "objective_id": flow.objective,
            "retry_count": step.attempts,
        }
        if flow.deadline:
            fields["deadline"] = flow.deadline
        if step.model:
            fields["required_model"] = step.model
        return TaskRequest.from_wire(fields)

    def _cannot_pay(self, flow_key: str, key: str, flow: WorkflowRow, step: StepRow, hold: int) -> None:
        draft = self.draft
        assert flow.budget is not None
        text = (
            f"It holds {dollars(hold)}, and of the workflow's budget of {dollars(flow.budget)} "
            f"{dollars(max(0, flow.budget - flow.cost - flow.held))} are left."
        )
        draft.put(key, replace(step, state="failed", reason=text))
        draft.put(flow_key, replace(flow, left=flow.left - 1))
        stop(draft, flow_key, "failed", Trouble("workflow_budget_exhausted", text, step.step))
        tell(draft, flow_key)


def _estimate(draft: Draft, request: TaskRequest) -> int:
    cost = request.estimated_cost_micros
    return draft.rules.supervisor.default_hold_micros if cost is None else cost
