"""The models that an ask could have got: what is expected of each, and what stood against it.

Only for whoever wants to know why a model was chosen (`audit explain`): nothing that decides asks this.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from ops_stream.contract.clocktext import format_time
from ops_stream.core.circuit import left_until
from ops_stream.core.evidence import PICO, expected_of, suits
from ops_stream.core.look import Look
from ops_stream.core.routing import Candidate, Router, own_model
from ops_stream.core.rules_routing import ModelCard

SHOWN_MAX: Final = 50
"""Models that are shown of one choice, the cheapest of them."""


class Alternative(NamedTuple):
    """One model at one choice. Money is in micro-dollars, rounded up."""

    model: str
    micros: int
    """The expected cost of one run."""
    total_micros: int
    """The expected cost of an ask that is tried until it goes well."""
    quality: int
    """The expected quality, in millionths."""
    latency_ms: int | None
    """None where nobody knows."""
    hold_micros: int
    against: str
    """What stood against it; empty for the one that was chosen."""


def alternatives(look: Look) -> list[Alternative]:
    """Give the models among which one was chosen for an ask, the cheapest first; none where nothing was chosen.

    The budgets of the look are left as they are for the last model that was tried on them.
    """
    if look.route is None:
        return []
    draft, request = look.draft, look.request
    router = Router(draft, request, look.agent, look.record, look.purse, look.uncapped, batched=look.batched)
    found = []
    for card in _cards(look):
        expected = expected_of(draft, request.tenant, request.agent, request.task_type, card)
        one = router.candidate(expected)
        found.append((one, expected.latency_ms, _against(look, router, one)))
    found.sort(key=lambda item: (item[0].total, item[0].badness, item[0].name))
    # A required model that is left is named by the route, and not used.
    chosen = "" if look.route.refusal else look.route.model
    return [
        Alternative(
            one.name,
            -(-one.cost // PICO),
            -(-one.total // PICO),
            -one.badness,
            latency_ms,
            one.hold,
            "" if one.name == chosen else why or f"comes after {chosen} in the order of choice",
        )
        for one, latency_ms, why in found[:SHOWN_MAX]
    ]


def _cards(look: Look) -> Iterable[ModelCard]:
    """Give the models in question: of a required one only itself and its fallbacks."""
    cards = look.draft.rules.routing.cards
    if look.request.required_model is None:
        return cards.values()
    own = cards.get(own_model(look.draft, look.request))
    names = () if own is None else (own.name, *own.fallbacks)
    return [cards[name] for name in names if name in cards]


def _against(look: Look, router: Router, one: Candidate) -> str:
    """Say what stands against a model, the weightiest first; nothing where it would do."""
    card, request = one.card, look.request
    if not suits(card, request.tenant, request.task_type):
        return f"is not for tenant {request.tenant} and task type {request.task_type}"
    if request.required_model is None and not card.by_default:
        return "is never chosen by default"
    said = router.against(card)
    if said:
        return said
    until = left_until(look.draft, card)
    if until is not None:
        return f"keeps failing or is slow, and is left until {format_time(until)}"
    if not router.fits(one, strictly=False):
        return "is more than a budget can take"
    if not one.in_time:
        return "is expected to come after the deadline"
    if -one.badness < router.demanded:
        return f"is expected to be good to {_share(-one.badness)} where {_share(router.demanded)} is demanded"
    if not router.fits(one):
        return "is expected to cost more than the ask names"
    return ""


def _share(millionths: int) -> str:
    return f"{millionths // 10_000 / 100:.2f}"
