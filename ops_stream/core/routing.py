"""Which model an ask gets: the cheapest of which is expected that it does, in time and within what may be spent.

It is chosen before policies are weighed, so that what they say of a model, and the budgets, hold for the one that was
chosen. All of it is whole numbers: money in millionths of a micro-dollar, quality in millionths.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from ops_stream.contract.clocktext import parse_time
from ops_stream.contract.models import TaskRequest
from ops_stream.core.batch_price import at_batch_price
from ops_stream.core.budgets import Purse, hold_for, use_model
from ops_stream.core.circuit import left_until, provider_left
from ops_stream.core.draft import Draft
from ops_stream.core.effects import Nature
from ops_stream.core.evidence import PICO, WHOLE, Expected, expected_of, expected_of_all, suits
from ops_stream.core.ids import percentile, short_hash
from ops_stream.core.kills import model_killed
from ops_stream.core.routing_words import Route, Why, is_left
from ops_stream.core.rows import Agent, Record
from ops_stream.core.rules_routing import ModelCard

NEEDS: Final = "needs:"
"""A tag `needs:NAME` demands a capability."""
EXPLORED: Final = frozenset(("none", "reversible"))
"""What an ask must be classed as for another model to be tried with it; what nobody has classed is not."""
LOW_IMPACT: Final = frozenset(("none", "low"))
READ_QUARTERS: Final = 3
"""So many quarters of the tokens that are assumed for an ask which estimates none are read, the rest written."""
MILLION: Final = 1_000_000
NOBODY: Final[frozenset[str]] = frozenset()


class Candidate(Struct, frozen=True, order=True, gc=False):
    """A model that may be used; they sort from the cheapest on, and of equals the best is first."""

    total: int
    """The expected cost of an ask that is tried until it goes well."""
    badness: int
    """The expected quality, negative."""
    name: str
    cost: int
    """The expected cost of one run."""
    hold: int
    """What would be held, in micro-dollars."""
    in_time: bool
    card: ModelCard


def own_model(draft: Draft, request: TaskRequest) -> str:
    """Give the model that an ask names, by its own name where it was an alias; else the default."""
    named = request.required_model
    if named is None:
        return draft.rules.models.default or ""
    return draft.rules.routing.resolve(named)


def estimated(draft: Draft, request: TaskRequest, model: str, *, batched: bool = False) -> int:
    """Give what an ask estimates to cost with a model, in micro-dollars: what it names, else its tokens at the price.

    An ask that names neither, or whose model has no price, estimates the setting `default_hold_usd`. Of what is
    `batched` it is the batch price.
    """
    amount = request.estimated_cost_micros
    if amount is None:
        amount = priced(draft, request, model)
    if amount is None:
        amount = draft.rules.supervisor.default_hold_micros
    return at_batch_price(draft.rules, model, amount) if batched else amount


def priced(draft: Draft, request: TaskRequest, model: str) -> int | None:
    """Give what an ask's own tokens cost with a model, in micro-dollars; None where it names its cost, or no tokens."""
    if request.estimated_cost_micros is not None:
        return None
    read, written = request.estimated_input_tokens, request.estimated_output_tokens
    if read is None and written is None:
        return None
    card = draft.rules.routing.cards.get(model)
    return None if card is None else -(-_listed(card, read or 0, written or 0) // PICO)


def next_cheaper(draft: Draft, model: str) -> str:
    """Give the next model down the ladder; one that is left is passed over if there is another below it."""
    models, cards = draft.rules.models, draft.rules.routing.cards
    first = found = models.cheaper(model) or model
    while draft.rules.routing.mode != "off" and found in cards and _left(draft, cards[found]):
        lower = models.cheaper(found)
        if lower is None:
            return first
        found = lower
    return found


def route(
    draft: Draft,
    request: TaskRequest,
    agent: Agent | None,
    record: Record | None,
    purse: Purse,
    nature: Nature,
    hold: int,
    *,
    batched: bool = False,
    optimization: str = "",
) -> Route | None:
    """Choose a model; None where there is nothing to choose, so that the ask gets its own one.

    `hold` is what is held where no model makes another of it. What is `batched` runs at each model's batch price.
    For an `optimization` a model is chosen also where the mode is off.
    """
    routing = draft.rules.routing
    if (routing.mode == "off" and not optimization) or not routing.cards:
        return None
    router = Router(draft, request, agent, record, purse, hold, batched=batched)
    if request.required_model is None:
        router.optimization = optimization
        return router.choose(nature)
    card = routing.cards.get(own_model(draft, request))
    return None if card is None else router.obey(card)


class Router:
    """One choice of a model, and what it is made from."""

    def __init__(
        self,
        draft: Draft,
        request: TaskRequest,
        agent: Agent | None,
        record: Record | None,
        purse: Purse,
        hold: int,
        *,
        batched: bool,
    ) -> None:
        self.batched = batched
        self.draft, self.request, self.record, self.purse = draft, request, record, purse
        routing = self.routing = draft.rules.routing
        read, written = request.estimated_input_tokens, request.estimated_output_tokens
        self.told = read is not None or written is not None
        if not self.told:
            tokens = draft.rules.supervisor.default_hold_tokens
            read = tokens * READ_QUARTERS // 4
            written = tokens - read
        self.read, self.written = read or 0, written or 0
        self.hold: int | None = hold
        """What is held with any model; None where it follows from its price."""
        named = request.estimated_cost_micros
        self.bounded = named is not None and self.told
        """Whether what it names is a bound: where it tells no tokens nobody knows what any model would cost."""
        if self.told and named is None:
            self.hold = None
        self.scale = self._scale(named) if named and not self.told else None
        tags = request.tags
        self.needs = frozenset(tag[len(NEEDS) :] for tag in tags if tag.startswith(NEEDS)) if tags else NOBODY
        declared = () if agent is None else agent.models
        self.declared = frozenset(map(routing.resolve, declared)) if declared else NOBODY
        deadline = request.deadline
        self.left_ms = None if deadline is None else parse_time(deadline) - draft.now
        self.demanded = (
            routing.quality_by_complexity.get(request.complexity, routing.quality_percent) * 10_000
        )
        self.circuits = draft.state.counts["circuit/"] > 0
        self.killed = draft.state.counts["kill/"] > 0 or draft.kills
        self.size = self.read + self.written if self.told else 0
        """Tokens for which there must be room: only those that the ask tells."""
        self.optimization = ""
        """The optimization for whose sake a model is chosen."""
        self.fits_all = not (self.needs or self.declared or self.killed)
        """Whether nothing but room can stand against a model."""

    def _scale(self, named: int) -> tuple[int, int] | None:
        """Take what an ask names, where it tells no tokens, for what they cost with its own model.

        Gives what the price of other models is to be multiplied with and divided by; None where its own has no price.
        """
        card = self.routing.cards.get(own_model(self.draft, self.request))
        price = 0 if card is None else _listed(card, self.read, self.written)
        return (named * PICO, price) if price else None

    # -- the ways

    def choose(self, nature: Nature) -> Route:
        """Choose among all models that may be used by default."""
        request = self.request
        models = expected_of_all(self.draft, request.tenant, request.agent, request.task_type)
        found = [self.candidate(model) for model in self.admissible(models)]
        found.sort()
        if not found:
            return Route(
                "", refusal=self.nobody(card for card in self.routing.cards.values() if card.by_default)
            )
        chosen, second, why = self.pick(found)
        if self.circuits:
            until = left_until(self.draft, chosen.card)
            if until is not None:
                return self.instead(chosen, until, found)
            rest = [one for one in found if not _left(self.draft, one.card)]
            if len(rest) < len(found):
                found = rest
                chosen, second, why = self.pick(found)
        return self.explored(nature, found, chosen, second, why)

    def obey(self, card: ModelCard) -> Route | None:
        """Take the model that an ask requires, or one of its fallbacks while it is left."""
        until = left_until(self.draft, card) if self.circuits else None
        if until is None:
            return None
        for other in self.fallbacks(card):
            if self.fits(other) or self.fits(other, strictly=False):
                return self.routed(
                    other, None, Why("fallback", card.name, provider_left(self.draft, card), True)
                )
        return Route(
            card.name,
            refusal=f"{is_left(card.name, provider_left(self.draft, card), until)} None of its fallbacks may be used.",
        )

    def instead(self, left: Candidate, until: int, found: Sequence[Candidate]) -> Route:
        """Choose for an ask whose model is left: its fallbacks in their order, else as if it were not there."""
        provider = provider_left(self.draft, left.card)
        why = Why("fallback", left.name, provider)
        for other in self.fallbacks(left.card):
            if self.will_do(other) and self.fits(other):
                return self.routed(other, None, why)
        rest = [one for one in found if not _left(self.draft, one.card)]
        if not rest:
            return Route(
                "", refusal=f"{is_left(left.name, provider, until)} So is every other that may be used."
            )
        chosen, second, verdict = self.pick(rest)
        return self.routed(chosen, second, replace(verdict, left=left.name, provider=provider))

    def explored(
        self,
        nature: Nature,
        found: Sequence[Candidate],
        chosen: Candidate,
        second: Candidate | None,
        why: Why,
    ) -> Route:
        """Give what was chosen, or for a share of asks that risk little one of the others."""
        share = self.routing.explore_percent
        if not share:
            return self.routed(chosen, second, why)
        request = self.request
        others: list[Candidate] = []
        if nature.known in EXPLORED and request.customer_impact in LOW_IMPACT:
            others = [one for one in found if one is not chosen and self.may_try(one)]
        if not others:
            return self.routed(chosen, second, why, MILLION)
        if percentile("explore", request.tenant, request.request_id) >= share:
            return self.routed(chosen, second, why, MILLION - share * MILLION // 100)
        others.sort(key=lambda one: one.name)
        other = others[short_hash(f"explored|{request.tenant}|{request.request_id}") % len(others)]
        tried = replace(why, kind="tried", instead=chosen.name)
        return self.routed(other, chosen, tried, share * MILLION // 100 // len(others))

    def routed(
        self, chosen: Candidate, second: Candidate | None, why: Why, propensity: int | None = None
    ) -> Route:
        """Give a choice, with what is said of it."""
        name, badness, total = ("", 0, 0) if second is None else (second.name, second.badness, second.total)
        said = Why(
            why.kind,
            why.left,
            why.provider,
            why.required,
            why.instead,
            self.demanded,
            -chosen.badness,
            chosen.total,
            name,
            -badness,
            total,
            why.optimization or self.optimization,
        )
        return Route(chosen.name, propensity, said)

    # -- what may be used

    def admissible(self, models: Iterable[Expected]) -> Iterable[Expected]:
        """Give the models that nothing stands against."""
        if not self.fits_all:
            return [model for model in models if not self.against(model.card)]
        size = self.size
        return [model for model in models if (room := model.card.context_tokens) is None or size <= room]

    def against(self, card: ModelCard) -> str:
        """Say what stands against using a model for this ask, whatever it is expected to do."""
        if self.fits_all and (card.context_tokens is None or self.size <= card.context_tokens):
            return ""
        if self.needs and not self.needs <= card.capabilities:
            return f"cannot do {', '.join(sorted(self.needs - card.capabilities))}"
        if card.context_tokens is not None and self.size > card.context_tokens:
            return f"has no room for {self.size:,} tokens"
        if self.declared and card.name not in self.declared:
            return "is not among those that the agent has registered"
        if self.killed and model_killed(self.draft, self.request.tenant, card.name):
            return "is stopped by the kill switch"
        return ""

    def nobody(self, cards: Iterable[ModelCard]) -> str:
        """Say why no model may be used."""
        request, said = self.request, dict[str, str]()
        for card in cards:
            why = self.against(card)
            if not suits(card, request.tenant, request.task_type):
                why = f"is not for tenant {request.tenant} and task type {request.task_type}"
            said.setdefault(why, card.name)
        reasons = "; ".join(f"{name} {why}" for why, name in list(said.items())[:3])
        return f"No model may be chosen for this ask: {reasons}." if reasons else NONE_BY_DEFAULT

    def fallbacks(self, card: ModelCard) -> Iterable[Candidate]:
        """Give the fallbacks of a model that may be used now, in their order."""
        request, draft = self.request, self.draft
        for name in card.fallbacks:
            other = self.routing.cards.get(name)
            if other is None or not suits(other, request.tenant, request.task_type) or self.against(other):
                continue
            if not _left(draft, other):
                expected = expected_of(draft, request.tenant, request.agent, request.task_type, other)
                yield self.candidate(expected)

    # -- what is expected

    def candidate(self, model: Expected) -> Candidate:
        """Work out what a model would cost here: its price, what was measured, and how often it has to be tried."""
        card, quality, latency_ms, runs, good, share, held, flat = model
        listed = self.read * card.input_micros_per_mtok + self.written * card.output_micros_per_mtok
        if self.scale is not None:
            listed = listed * self.scale[0] // self.scale[1]
        hold = self.hold
        if self.batched:
            listed = at_batch_price(self.draft.rules, card.name, listed)
            estimate = estimated(self.draft, self.request, card.name, batched=True)
            hold = hold_for(self.draft, estimate, self.record)
        elif hold is None:
            hold = hold_for(self.draft, -(-listed // PICO), self.record)
        # Of a model that nobody has measured the list price is all that is known.
        plain = share == WHOLE and not held and not flat
        cost = listed if plain else model.cost(listed, hold)
        in_time = self.left_ms is None or latency_ms is None or latency_ms * runs <= self.left_ms * good
        return Candidate(cost * runs // good, -quality, card.name, cost, hold, in_time, card)

    def pick(self, found: Sequence[Candidate]) -> tuple[Candidate, Candidate | None, Why]:
        """Give the cheapest that will do and the next; else the best that can be paid; else what costs least."""
        first: Candidate | None = None
        demanded = self.demanded
        for one in found:
            if one.in_time and -one.badness >= demanded and self.fits(one):
                if first is not None:
                    return first, one, Why("cheapest")
                first = one
        if first is not None:
            return first, None, Why("cheapest")
        able = [one for one in found if self.fits(one)]
        if able:
            able.sort(key=_from_the_best)
            return able[0], able[1] if len(able) > 1 else None, Why("best")
        able = [one for one in found if self.fits(one, strictly=False)] or list(found)
        able = [one for one in able if self.will_do(one)] or able
        return able[0], able[1] if len(able) > 1 else None, Why("dear")

    def will_do(self, one: Candidate) -> bool:
        """Say whether a model is expected to be good enough, and in time."""
        return one.in_time and -one.badness >= self.demanded

    def fits(self, one: Candidate, *, strictly: bool = True) -> bool:
        """Say whether the budgets can take it; `strictly` also whether it is expected to cost what the ask names."""
        if strictly and self.bounded and one.cost > one.hold * PICO:
            return False
        purse = self.purse
        if not purse.plain:
            use_model(self.draft, purse, self.request.tenant, one.name)
        return purse.lacking(one.hold) is None

    def may_try(self, one: Candidate) -> bool:
        """Say whether a model may be tried out: it can be paid, and is in time."""
        return one.in_time and self.fits(one)


NONE_BY_DEFAULT: Final = "No model of conf/models.yaml may be used by default."


def _listed(card: ModelCard, read: int, written: int) -> int:
    return read * card.input_micros_per_mtok + written * card.output_micros_per_mtok


def _left(draft: Draft, card: ModelCard) -> bool:
    return left_until(draft, card) is not None


def _from_the_best(one: Candidate) -> tuple[bool, int, int, str]:
    return not one.in_time, one.badness, one.total, one.name
