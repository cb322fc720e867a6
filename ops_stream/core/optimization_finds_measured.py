"""What was measured of each model at each type of work, and how models are held beside one another.

The catalogue's `quality_percent` says how models differ rather than what comes of their work: where scores are high or
agents seldom fail, every model measures better than it. So for a model that has not been measured enough the
catalogue's *difference* to the present one is taken from what that one measures, as `catalogue_weight` imagined
reports. What the present model is to be beaten with is measured alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from ops_stream.core.comparing import Sample, confidence_above, difference, share
from ops_stream.core.decay import decayed, steps_between
from ops_stream.core.draft import Draft
from ops_stream.core.evidence import NOTHING, suits
from ops_stream.core.optimization_finds_figures import latest, spread_around
from ops_stream.core.pooled import hour_of
from ops_stream.core.rows import POOLED
from ops_stream.core.rows_learning import THOUSAND, Pool, looked_at, part
from ops_stream.core.rules_optimization import Optimization
from ops_stream.core.rules_routing import ModelCard

READ_MAX: Final = 500
"""Rows that are read: those that were used last."""
READ_QUARTERS: Final = 3
"""So many quarters of the tokens are taken to be read, the rest written, where only prices tell models apart."""


class Measured(NamedTuple):
    """What all agents of a tenant measured of a model at a type of work, decayed, in reports."""

    card: ModelCard
    runs: float = 0
    good: float = 0
    costed: float = 0
    cost: float = 0
    timed: float = 0
    taken_ms: float = 0
    rated: float = 0
    quality: float = 0
    raw: Sequence[int] = NOTHING
    """All of it in thousandths, as `rows_learning.looked_at` gives it."""

    @property
    def price(self) -> int:
        """What tokens cost, for comparison with other models."""
        card = self.card
        return READ_QUARTERS * card.input_micros_per_mtok + (4 - READ_QUARTERS) * card.output_micros_per_mtok

    @property
    def runs_milli(self) -> int:
        """Runs in thousandths."""
        return round(self.runs * THOUSAND)


class Work(NamedTuple):
    """One type of work, with the models that may be chosen for it."""

    task_type: str
    present: Measured
    """The one that most of it was done with of late."""
    others: tuple[Measured, ...]
    """All others that may be chosen, by name."""


def works(draft: Draft, tenant: str) -> list[Work]:
    """Give the types of work that enough was done of with one model to hold others beside it.

    Reports do not tell whether an ask named its model. Where models are not chosen, only work that is mostly done with
    the default one is given: what names another model is nothing that could be changed.
    """
    rules = draft.rules
    cards = {part(card.name): card for card in rules.routing.cards.values()}
    least = rules.optimization.samples_min
    default = "" if _chosen(draft, tenant) else rules.routing.resolve(rules.models.default or "")
    found = []
    for task_type, measured in sorted(_read(draft, tenant, cards).items()):
        present = max(measured.values(), key=lambda one: (one.runs, one.card.name))
        if present.runs < least or (not _chosen(draft, tenant) and present.card.name != default):
            continue
        others = [
            measured.get(card.name, Measured(card))
            for card in rules.routing.cards.values()
            if card is not present.card and card.by_default and suits(card, tenant, task_type)
        ]
        others.sort(key=lambda one: one.card.name)
        found.append(Work(task_type, present, tuple(others)))
    return found


def _chosen(draft: Draft, tenant: str) -> bool:
    """Say whether models are chosen, by the rules or by an optimization."""
    amended = draft.rules.amended.get(tenant, ())
    return draft.rules.routing.mode != "off" or any(one.kind == "router" for one in amended)


def _read(draft: Draft, tenant: str, cards: Mapping[str, ModelCard]) -> dict[str, dict[str, Measured]]:
    """Read what was measured, by type of work and model; of models that the catalogue no longer has nothing."""
    found: dict[str, dict[str, Measured]] = {}
    rows, half_life_s = draft.state.rows, draft.rules.telemetry.memory.half_life_s
    for key in latest(draft.state.learned.of_agent.get(f"{tenant}|"), READ_MAX):
        _, work, model = key.split("|")
        card = cards.get(model)
        if card is None:
            continue
        row = POOLED.decode(rows[key])
        task_type = row.task_type or work
        if part(task_type) != work:
            continue  # a row from before names were kept: nobody knows what it is about
        steps = steps_between(hour_of(row.used), draft.now, half_life_s)
        sums = [decayed(value, steps) for value in looked_at(row.pool)]
        found.setdefault(task_type, {})[card.name] = measured_of(card, sums)
    return found


def measured_of(card: ModelCard, sums: Sequence[int]) -> Measured:
    """Give decayed sums (`looked_at`) in reports."""
    pool = Pool(*sums)
    runs = pool.good + pool.failed + max(0, pool.lost - pool.found)
    return Measured(
        card,
        runs / THOUSAND,
        pool.good / THOUSAND,
        pool.costed / THOUSAND,
        pool.cost / THOUSAND,
        pool.timed / THOUSAND,
        pool.taken_ms / THOUSAND,
        pool.rated / THOUSAND,
        min(pool.quality_milli / THOUSAND, pool.rated) / THOUSAND,
        sums,
    )


def quality_confidence(rules: Optimization, present: Measured, other: Measured) -> int:
    """Say how sure it is that another model is not worse than the present one by more than the margin.

    What counts is how often it goes well and, where enough is rated, the scores too: the less sure of both. Of scores
    only the mean is kept; none between 0 and 1 spread more than wholes and nothings of the same mean.
    """
    voices = [(present.runs, present.good, other.runs, other.good)]
    if present.rated >= rules.samples_min:
        voices.append((present.rated, present.quality, other.rated, other.quality))
    return min(
        confidence_above(difference(new, now), -rules.quality_margin_percent / 100)
        for now, new in (_qualities(rules, present, other, *voice) for voice in voices)
    )


def quality_of(rules: Optimization, present: Measured, other: Measured) -> tuple[Sample, Sample]:
    """Give how often the present model and another do well."""
    return _qualities(rules, present, other, present.runs, present.good, other.runs, other.good)


def _qualities(
    rules: Optimization,
    present: Measured,
    other: Measured,
    runs: float,
    good: float,
    oruns: float,
    ogood: float,
) -> tuple[Sample, Sample]:
    now = share(runs, good)
    listed = now.mean + (other.card.quality_percent - present.card.quality_percent) / 100
    prior = min(1.0, max(0.0, listed))
    weight = rules.catalogue_weight
    return now, share(weight + oruns, weight * prior + ogood)


def costs(rules: Optimization, present: Measured, other: Measured) -> tuple[Sample, Sample] | None:
    """Give what a run of the present model and of another costs; None where that is not known.

    Of a model that has not been measured enough it is what the present one costs, by the prices of both.
    """
    if present.costed < rules.samples_min or not present.cost:
        return None
    now = spread_around(present.costed, present.cost / present.costed)
    if other.costed >= rules.samples_min:
        return now, spread_around(other.costed, other.cost / other.costed)
    if not present.price:
        return None
    return now, spread_around(rules.catalogue_weight, now.mean * other.price / present.price)


def times(rules: Optimization, present: Measured, other: Measured) -> tuple[Sample, Sample] | None:
    """Give how long a run of the present model and of another takes, likewise."""
    if present.timed < rules.samples_min or not present.taken_ms:
        return None
    now = spread_around(present.timed, present.taken_ms / present.timed)
    if other.timed >= rules.samples_min:
        return now, spread_around(other.timed, other.taken_ms / other.timed)
    listed, olisted = present.card.latency_ms, other.card.latency_ms
    if not listed or olisted is None:
        return None
    return now, spread_around(rules.catalogue_weight, now.mean * olisted / listed)
