"""Everything that the checks of one ask may look at, fetched once."""

from __future__ import annotations

from typing import Final, Literal

from msgspec import Struct

from ops_stream.contract.models import TaskRequest
from ops_stream.core.batch_price import priced_for_batch
from ops_stream.core.budgets import Purse, hold_for, purse_of, use_model
from ops_stream.core.calls import Call, call_for
from ops_stream.core.draft import Draft
from ops_stream.core.effects import Nature, nature_of
from ops_stream.core.ids import percentile
from ops_stream.core.load_place import Place, place_of
from ops_stream.core.policy import (
    DOWNGRADE,
    ESCALATE,
    NOTHING,
    QUEUE,
    REROUTE,
    UNCAPPED,
    Caps,
    Weighed,
    evaluate,
)
from ops_stream.core.routing import estimated, next_cheaper, own_model, route
from ops_stream.core.routing_in_place import in_place
from ops_stream.core.routing_words import Route
from ops_stream.core.rows import (
    AGENTS,
    RECORDS,
    SUSPENSIONS,
    Agent,
    Ask,
    Record,
    Suspension,
    agent_key,
    record_key,
)
from ops_stream.core.rows_load import Wait
from ops_stream.core.rows_optimization import Amended
from ops_stream.core.rules_effects import IRREVERSIBLE
from ops_stream.core.rules_model import PolicyMatch
from ops_stream.core.views import request_view
from ops_stream.core.workflows_budget import budget_of_step

Stage = Literal[
    "first",
    "reviewed",
    "edited",
    "again",
    "released",
    "released_after_review",
    "let_in",
    "let_in_batched",
    "let_in_reviewed",
    "let_in_edited",
]
"""The first look; after a person's approval; after a person's edit; once more while it still waits for a person;
when the batch queue lets an ask out; when there is room for one that has waited for that, by what it has behind it."""

PASSED: Final[dict[Stage, frozenset[str]]] = {
    "first": frozenset(),
    "reviewed": frozenset((ESCALATE, QUEUE)),
    "edited": frozenset(),
    "again": frozenset(),
    "released": frozenset((QUEUE,)),
    "released_after_review": frozenset((QUEUE,)),
    "let_in": frozenset(),
    "let_in_batched": frozenset((QUEUE,)),
    "let_in_reviewed": frozenset((ESCALATE, QUEUE)),
    "let_in_edited": frozenset((QUEUE,)),
}
"""Actions that a stage has behind it."""


class Look(Struct):
    """One ask under examination."""

    draft: Draft
    request: TaskRequest
    stage: Stage
    agent: Agent | None
    record: Record | None
    suspension: Suspension | None
    purse: Purse
    estimate: int
    """What the ask estimates, or what is held where it does not, in micro-dollars."""
    uncapped: int
    """What would be held if no policy capped it, for the ask's own model: the estimate with its safety."""
    asked_model: str
    """The model that was chosen for the ask, or else its own: the one that policies begin from."""
    nature: Nature
    hold: int
    """What is held, in micro-dollars; with `model` and `caps`, as the policies will have it once they are weighed."""
    model: str
    """The model to use."""
    caps: Caps = UNCAPPED
    binding: bool = False
    """Whether a finding holds even where the ask is only observed."""
    reported: Weighed | None = None
    """What the policies demand, if any check got as far as them."""
    called: Call | Literal[False] | None = False
    """What calls for a person; False while no check has wanted to know."""
    route: Route | None = None
    """How the model was chosen; None where the ask has its own one."""
    waited: Wait | None = None
    """Where it has waited for room until now."""
    is_step: bool = False
    """Whether it is a step of a workflow."""
    batched: bool = False
    """Whether the batch queue has let it out."""
    placed: Place | Literal[False] | None = False
    """What keeps it from running now; False while no check has wanted to know."""
    lines_up: bool = False
    """Whether it is to wait for room."""
    retry_at: int = 0
    """When it is worth asking again, where it is denied for now."""
    ask: Ask | None = None
    """Its row so far."""
    arms: tuple[str, ...] = ()
    """The sides of optimizations that it counts for."""
    odds: int | None = None
    """How probable its model was, in millionths, where an optimization has a part in that."""
    said: str = ""
    """What an optimization changes beside the model, in a sentence."""

    @property
    def weighed(self) -> Weighed:
        """What the policies demand; evaluated when the first check wants to know."""
        return self.reported or self._weigh()

    def _weigh(self) -> Weighed:
        if not self.draft.rules.policies:
            self.reported = NOTHING
            return NOTHING
        view = request_view(
            self.draft,
            self.request,
            self.agent,
            self.record,
            self.purse,
            self.estimate,
            self.asked_model,
            self.nature,
        )
        passed = PASSED[self.stage]
        if self.draft.rules.escalations.trigger("policy", self.request.tenant) is None:
            passed |= {ESCALATE}
        found = self.reported = evaluate(self.draft, "request", view, passed, self.request.agent)
        if found.steering is not None:
            self.model = self._chosen(found.steering)
            if self.model != self.asked_model:
                self._hold_for_model()
        if found.caps is not UNCAPPED:
            self._cap(found.caps)
        return found

    def _chosen(self, steering: PolicyMatch) -> str:
        if steering.action == DOWNGRADE:
            return next_cheaper(self.draft, self.asked_model)
        if steering.action == REROUTE:
            return str(steering.parameters.get("model") or self.asked_model)
        return self.asked_model

    def _hold_for_model(self) -> None:
        """Hold what the model costs that a policy demands, where what is held follows from its price."""
        self.estimate = estimated(self.draft, self.request, self.model, batched=self.batched)
        self.hold = hold_for(self.draft, self.estimate, self.record)

    def _cap(self, caps: Caps) -> None:
        self.caps = caps
        if caps.cost_micros is not None:
            self.hold = min(self.hold, caps.cost_micros)
        if caps.tokens is not None:
            self.purse.tokens = min(self.purse.tokens, caps.tokens)

    def cap_as(self, caps: Caps) -> None:
        """Lay further caps on the ask: of each kind the tightest holds."""
        if caps is UNCAPPED:
            return
        own = self.caps
        names = tuple(dict.fromkeys((*own.names, *caps.names)))
        self._cap(
            Caps(
                _tightest(own.cost_micros, caps.cost_micros),
                _tightest(own.time_ms, caps.time_ms),
                _tightest(own.tokens, caps.tokens),
                names,
            )
        )

    def observe(self) -> None:
        """Let the ask run as it was asked: where it is only observed, no policy changes anything about it."""
        self.hold, self.model, self.caps = self.uncapped, own_model(self.draft, self.request), UNCAPPED
        self.batched = False
        self.estimate = estimated(self.draft, self.request, self.model)
        self.purse.tokens = tokens_of(self.draft, self.request)
        use_model(self.draft, self.purse, self.request.tenant, self.model)

    @property
    def needs_person(self) -> bool:
        """Whether the ask cannot be taken back, and no person and no policy has said that it may run."""
        if self.nature.effective != IRREVERSIBLE or self.stage in ("reviewed", "let_in_reviewed"):
            return False
        rules = self.draft.rules
        if not rules.effects.irreversible_needs_person or self.weighed.permit is not None:
            return False
        return rules.escalations.trigger("effect", self.request.tenant) is not None

    @property
    def call(self) -> Call | None:
        """What calls for a person, if anything does; found out when the first check wants to know."""
        called = self.called
        if called is False:
            called = self.called = call_for(self)
        return called

    @property
    def place(self) -> Place | None:
        """What keeps the ask from running now, for want of room; found out when the first check wants to know."""
        placed = self.placed
        if placed is False:
            placed = self.placed = place_of(self)
        return placed

    @property
    def waits(self) -> bool:
        """Whether the ask would wait for a person or in the batch queue."""
        return self.call is not None or self._put_off

    @property
    def queues(self) -> bool:
        """Whether the ask would wait in the batch queue, and not for a person first."""
        return self._put_off and self.call is None

    @property
    def runs_as_batch(self) -> bool:
        """Whether the ask is to run at batch price."""
        return self.batched and priced_for_batch(self.draft.rules)

    @property
    def _put_off(self) -> bool:
        steering = self.weighed.steering
        return steering is not None and steering.action == QUEUE


def _tightest(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else min(one, other)


def is_observed(draft: Draft, request: TaskRequest) -> bool:
    """Say whether this ask is only observed: a mode holds for its percentage, the other for the rest."""
    mode, percent = draft.rules.supervisor.mode_for(request.tenant, request.agent)
    if percent < 100 and percentile(request.tenant, request.request_id) >= percent:
        return mode == "enforce"
    return mode == "observe"


def look_at(
    draft: Draft, request: TaskRequest, stage: Stage, ask: Ask, amended: Amended | None = None
) -> Look:
    """Fetch what the checks of an ask need. `ask` is its row so far.

    `amended` is what an optimization changes about the choice of its model; None for the rules as they are.
    """
    rules = draft.rules
    tenant, name = request.tenant, request.agent
    own = model = own_model(draft, request)
    estimate = estimated(draft, request, own)
    agent = draft.get(AGENTS, agent_key(tenant, name))
    record = draft.get(RECORDS, record_key(tenant, name))
    own_hold = hold = hold_for(draft, estimate, record)
    purse = purse_of(
        draft, tenant, request.task_id, name, request.workflow_id or "", tokens_of(draft, request)
    )
    purse.of_workflow = budget_of_step(draft, ask)
    nature = nature_of(draft, request, ask, anew=stage in ("first", "edited"))
    chosen = None
    batched = ask.batched and stage != "edited"  # another ask now, which is put off anew or not at all
    if amended is not None and amended.kind != "router":
        chosen = in_place(draft, request, agent, record, purse, hold, amended, batched=batched)
    elif amended is not None or rules.routing.mode != "off":
        name = "" if amended is None else amended.optimization_id
        chosen = route(draft, request, agent, record, purse, nature, hold, batched=batched, optimization=name)
    if chosen is not None:
        model = chosen.model
    if model != own or batched:
        estimate = estimated(draft, request, model, batched=batched)
        hold = hold_for(draft, estimate, record)
    return Look(
        draft,
        request,
        stage,
        agent,
        record,
        draft.get(SUSPENSIONS, f"suspension/{tenant}|{name}") if draft.state.counts["suspension/"] else None,
        purse,
        estimate,
        own_hold,
        model,
        nature,
        hold,
        model,
        route=chosen,
        waited=ask.wait,
        is_step=bool(ask.step),
        ask=ask,
        batched=batched,
    )


def tokens_of(draft: Draft, request: TaskRequest) -> int:
    """Give the tokens that an ask says it needs, or the setting where it says nothing."""
    read, written = request.estimated_input_tokens, request.estimated_output_tokens
    if read is None and written is None:
        return draft.rules.supervisor.default_hold_tokens
    return (read or 0) + (written or 0)
