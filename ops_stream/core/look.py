"""Everything that the checks of one ask may look at, fetched once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

from ops_stream.contract.models import TaskRequest
from ops_stream.core.budgets import Purse, purse_of
from ops_stream.core.draft import Draft
from ops_stream.core.policy import DOWNGRADE, ESCALATE, QUEUE, Weighed, evaluate
from ops_stream.core.rows import (
    AGENTS,
    RECORDS,
    SUSPENSIONS,
    Agent,
    Record,
    Suspension,
    agent_key,
    record_key,
)
from ops_stream.core.views import request_view

Stage = Literal["first", "reviewed", "edited", "released", "released_after_review"]
"""The first look; after a person's approval; after a person's edit; when the batch queue lets an ask out."""

PASSED: Final[dict[Stage, frozenset[str]]] = {
    "first": frozenset(),
    "reviewed": frozenset((ESCALATE, QUEUE)),
    "edited": frozenset(),
    "released": frozenset((QUEUE,)),
    "released_after_review": frozenset((ESCALATE, QUEUE)),
}
"""Actions that a stage has behind it."""


@dataclass(slots=True)
class Look:
    """One ask under examination."""

    draft: Draft
    request: TaskRequest
    stage: Stage
    agent: Agent | None
    record: Record | None
    suspension: Suspension | None
    purse: Purse
    hold: int
    asked_model: str
    binding: bool = False
    """Whether a finding holds even where the ask is only observed."""
    _weighed: Weighed | None = field(default=None)

    @property
    def weighed(self) -> Weighed:
        """What the policies demand; evaluated when the first check wants to know."""
        found = self._weighed
        if found is None:
            view = request_view(
                self.request, self.agent, self.record, self.purse, self.hold, self.asked_model, self.draft.now
            )
            found = self._weighed = evaluate(self.draft, "request", view, PASSED[self.stage])
        return found

    @property
    def reported(self) -> Weighed | None:
        """What the policies demanded, if any check got as far as them."""
        return self._weighed

    @property
    def model(self) -> str:
        """The model to use: the one asked for, or the next cheaper one where a policy says so."""
        weighed = self._weighed
        if weighed is not None and weighed.steering is not None and weighed.steering.action == DOWNGRADE:
            return self.draft.rules.models.cheaper(self.asked_model) or self.asked_model
        return self.asked_model


def look_at(draft: Draft, request: TaskRequest, stage: Stage) -> Look:
    """Fetch what the checks of an ask need."""
    rules = draft.rules
    tenant, agent = request.tenant, request.agent
    estimate = request.estimated_cost_micros
    return Look(
        draft,
        request,
        stage,
        draft.get(AGENTS, agent_key(tenant, agent)),
        draft.get(RECORDS, record_key(tenant, agent)),
        draft.get(SUSPENSIONS, f"suspension/{tenant}|{agent}") if draft.state.counts["suspension/"] else None,
        purse_of(draft, tenant, request.task_id),
        rules.supervisor.default_hold_micros if estimate is None else estimate,
        request.required_model or rules.models.default or "",
    )
