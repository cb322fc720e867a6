"""Mixtures in which optimizations of all kinds are tried, and a world that compares every look with the rules' own."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random
from typing import Any, NamedTuple

from ops_stream.contract.models import TaskRequest
from ops_stream.core.budgets import SAMPLES_MIN
from ops_stream.core.checks import Finding, examine
from ops_stream.core.decision import Decision
from ops_stream.core.draft import Draft
from ops_stream.core.inputs import Input
from ops_stream.core.look import Look, Stage, is_observed, look_at
from ops_stream.core.optimization_looks import look_to_decide
from ops_stream.core.optimization_sides import is_changed, may_differ
from ops_stream.core.rows import ASKS, Ask, Record, encode_row, record_key
from ops_stream.core.rows_optimization import Amended
from ops_stream.core.rules_kills import Kills
from ops_stream.core.rules_load import Load
from ops_stream.core.rules_model import Agents, Budgets, Limit, Models, Rules
from ops_stream.core.state import State
from ops_stream.core.step import step
from tests.core.amending import amend, change
from tests.properties.mixture_rules import TENANTS
from tests.properties.mixtures import AGENTS, Mixture
from tests.properties.watching import Watched

KINDS = (
    "cheaper_model",
    "cheaper_model",
    "faster_model",
    "router",
    "hold_safety",
    "agent",
    "agent",
    "retry_plan",
)
MODELS = ("large", "medium", "small", "spare", "nope")
SHARES = (10, 50, 50, 90, 100)
BY_PEOPLE = frozenset(("reviewed", "edited", "released_after_review", "let_in_reviewed", "let_in_edited"))


class Both(NamedTuple):
    """One ask, looked at by the rules as they are and as they are amended."""

    request: TaskRequest
    stage: Stage
    ask: Ask
    plain: Look
    found: Finding | None
    look: Look
    finding: Finding | None
    critical: bool


class Compared(Watched):
    """A world that looks at each ask twice."""

    def __init__(self, rules: Rules, seed: int) -> None:
        super().__init__(rules, seed)
        self.set: dict[int, dict[str, bytes]] = {}
        """Rows that were set from outside, by the number of the record before which they were."""
        self.seen: Counter[str] = Counter()
        self._sides: dict[tuple[Amended, str], bool] = {}

    def activate(self, amended: list[Amended]) -> None:
        """Put amendments into force."""
        amend(self, *amended)
        self.put("rules", self.state.rows["rules"])

    def put(self, key: str, row: bytes) -> None:
        """Set a row from outside."""
        self.state.apply({key: row})
        self.set.setdefault(len(self.partitions[0].journal), {})[key] = row

    def take(self, number: int, input_: Input) -> Decision:
        """Decide one input, after all that it lets be looked at was looked at twice."""
        rules, looks = self.rules_of(number), list[Both]()
        if rules.amended:

            def watch(draft: Draft, request: TaskRequest, stage: Stage, ask: Ask) -> None:
                looks.append(self._looked(draft, request, stage, ask))

            step(self.partitions[number].state, input_, rules, self.now, watch)
        decision = super().take(number, input_)
        for both in looks:
            self._hold(both, rules)
        self._told_as_looked(looks, decision)
        return decision

    def _looked(self, draft: Draft, request: TaskRequest, stage: Stage, ask: Ask) -> Both:
        aside = draft.aside()
        aside.rules = self.rules  # type: ignore[misc]
        plain = look_at(aside, request, stage, ask)
        found = examine(plain)
        look, finding = look_to_decide(draft.aside(), request, stage, ask)
        critical = not may_differ(draft, request, plain.nature) or is_observed(draft, request)
        return Both(request, stage, ask, plain, found, look, finding, critical)

    def _hold(self, both: Both, rules: Rules) -> None:
        """Hold what the amended rules say of an ask against what they say without amendments."""
        plain, look = both.plain, both.look
        assert look.nature == plain.nature, "effects are not classed otherwise"
        untouched = both.critical or both.stage in BY_PEOPLE or bool(both.ask.reviewed)
        self.seen["critical"] += both.critical
        if both.found is not None or untouched:
            self.seen["stopped"] += both.found is not None
            assert both.finding == both.found
            assert (look.arms, look.odds, look.said) == ((), None, "")
            assert (look.model, look.hold, look.caps) == (plain.model, plain.hold, plain.caps)
            return
        changed = self._changed(both, rules)
        if both.finding is not None:
            assert "hold_safety" in {one.kind for one in changed}, "only what raises a hold denies"
            assert look.hold > plain.hold or look.model != plain.model
            return
        for own, was in zip(_amounts(look), _amounts(plain), strict=True):
            assert was is None or (own is not None and own <= was), "caps are as tight as they were"
        if look.model != plain.model:
            self.seen["other model"] += 1
            assert any(one.kind == "router" or one.after == look.model for one in changed)
            assert both.request.required_model is None
        elif look.hold != plain.hold:
            self.seen["other hold"] += 1
            assert look.hold > plain.hold
            assert "hold_safety" in {one.kind for one in changed}

    def _changed(self, both: Both, rules: Rules) -> list[Amended]:
        """Give the amendments on whose changed side an ask is: the one that its name says, now as ever."""
        known = {one.optimization_id: one for one in rules.amended.get(both.request.tenant, ())}
        changed = []
        for arm in both.look.arms:
            one, side = known[arm[:-1]], arm[-1]
            unit = (both.request.workflow_id or "") if one.kind == "agent" else both.request.task_id
            assert (side == "+") == is_changed(one, unit) == self._sides.setdefault((one, unit), side == "+")
            assert one.task_type in ("", both.request.task_type)
            self.seen[one.kind + side] += 1
            if side == "+":
                changed.append(one)
        return changed

    def _told_as_looked(self, looks: list[Both], decision: Decision) -> None:
        """What is published, and what stands in the row, is what the last look at the ask has said."""
        last = {(both.request.tenant, both.request.request_id): both for both in looks}
        for out in decision.outputs:
            value = out.value
            both = last.get((value.get("tenant", ""), value.get("request_id", "")))
            if out.type != "TaskApproval" or both is None or is_observed(both.plain.draft, both.request):
                continue
            raw = self.state.rows.get(f"ask/{value['tenant']}|{value['request_id']}")
            if value["decision"] == "approved" and both.finding is None and raw is not None:
                assert value.get("model", "") == both.look.model
                assert ASKS.decode(raw).arms == both.look.arms

    def _model(self, before: dict[str, bytes], state: State, value: dict[str, Any]) -> None:
        """The odds of a choice that an optimization has a part in are those of its share."""
        raw = state.rows[f"ask/{value['tenant']}|{value['request_id']}"]
        if ASKS.decode(raw).arms:
            assert 0 <= value.get("propensity", 1) <= 1
            value = {name: said for name, said in value.items() if name != "propensity"}
        super()._model(before, state, value)


def _amounts(look: Look) -> tuple[int | None, int | None, int | None]:
    return look.caps.cost_micros, look.caps.time_ms, look.caps.tokens


class Amending(Mixture):
    """A history in which amendments come and go."""

    watched = Compared

    def __init__(self, seed: int, share: int | None = -1) -> None:
        self.share = share
        """What share is changed, at random where it is negative; None for no amendments at all."""
        self.lots = Random(f"amended {seed}")
        super().__init__(seed)
        assert isinstance(self.world, Compared)
        for tenant in TENANTS:
            self.world.put(record_key(tenant, "ann"), encode_row(Record(done=SAMPLES_MIN, held=2, cost=3)))
        self.amend()

    def new(self) -> Rules:
        """Give rules under which some types of work are known to risk little, and most often much may run."""
        rules = super().new()
        known = {**rules.effects.task_types, "general": "reversible", "review": "none"}
        rules = replace(rules, effects=replace(rules.effects, task_types=known))
        if self.lots.random() < 0.3:
            return rules
        free = replace(rules.supervisor, open_max=1_000, hold_safety="off")
        rules = replace(rules, supervisor=free, load=Load(), kills=Kills(), agents=Agents())
        budgets = Budgets({TENANTS[0]: Limit(30_000_000, "total")})
        return replace(rules, budgets=budgets, models=Models("large", MODELS[:4]))

    def act(self) -> None:
        """Let one thing happen, and now and then other amendments come into force."""
        lot = self.lots.random()
        if lot < 0.07:
            self.amend()
        elif lot < 0.5:
            self.ask()
        elif lot < 0.6:
            self.hand_in()
        else:
            super().act()

    def send(self, topic: str, **body: Any) -> None:
        """Send something; some asks are urgent, or matter to customers."""
        if topic == "task-requests" and str(body["request_id"]).startswith("own-"):
            lots = Random(f"{body['request_id']} urgent")
            body["task_id"] = f"t{lots.randrange(20)}"
            body.setdefault("priority", lots.choice((1, 5, 5, 5, 8, 9)))
            body.setdefault("customer_impact", lots.choice(("none", "none", "none", "low", "low", "high")))
        super().send(topic, **body)

    def new_rules(self) -> None:
        """An operator activates others, and new things are tried under them."""
        super().new_rules()
        self.amend()

    def amend(self) -> None:
        """Put other amendments into force."""
        lots, world = self.lots, self.world
        amended = [self._any(f"opt_{number}") for number in range(lots.choice((0, 4, 8, 8)))]
        if self.share is not None and isinstance(world, Compared):
            world.activate(amended)

    def _any(self, name: str) -> Amended:
        lots = self.lots
        kind, share = lots.choice(KINDS), lots.choice(SHARES)
        before, after = (
            lots.choice(("large", "large", "medium")),
            lots.choice((*MODELS[1:], "small", "small")),
        )
        if kind == "agent":
            before, after = "as_ranked", lots.choice(("avoided", "preferred"))
        elif kind == "retry_plan":
            before, after = "3", lots.choice(("1", "2"))
        return change(
            kind,
            before,
            after,
            share if self.share is None or self.share < 0 else self.share,
            task_type=""
            if kind in ("router", "hold_safety")
            else lots.choice(("general", "general", "review")),
            tenant=lots.choice(TENANTS),
            name=name,
            agent=lots.choice(AGENTS),
        )
