"""Finds models that would cost less, or be quicker, and do as well; and whether it pays to choose models at all."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import Final

from ops_stream.core.comparing import Difference, confidence_above, difference
from ops_stream.core.draft import Draft
from ops_stream.core.evidence import NOTHING, weighed
from ops_stream.core.optimization_finds_figures import asks_in_30_days, percent, shown, unit_of, whole
from ops_stream.core.optimization_finds_measured import (
    Measured,
    Work,
    costs,
    quality_confidence,
    quality_of,
    times,
    works,
)
from ops_stream.core.optimization_found import Found
from ops_stream.core.rules_optimization import TRIAL, Kind
from ops_stream.core.words import dollars

CANDIDATES_MAX: Final = 3
"""Other models that are named of one type of work: those that save most. One of them may have been found wanting."""
_CHOICES: Final = frozenset[Kind](("cheaper_model", "faster_model"))


def models(draft: Draft, tenant: str) -> list[Found]:
    """Give what other models would save."""
    found: list[Found] = []
    known = works(draft, tenant)
    changed = {one.task_type for one in draft.rules.amended.get(tenant, ()) if one.kind in _CHOICES}
    for work in known:
        if work.task_type in changed:
            continue  # its figures are of two models, and it is being judged
        for kind in (_cheaper, _faster):
            better = [one for other in work.others if (one := kind(draft, work, other)) is not None]
            better.sort(key=lambda one: (-one.effect, -one.confidence, one.after))
            found += better[:CANDIDATES_MAX]
    return found + _router(draft, tenant, known)


def _cheaper(draft: Draft, work: Work, other: Measured) -> Found | None:
    """Hold what runs of another model cost beside what those of the present one do."""
    rules, present = draft.rules.optimization, work.present
    known = costs(rules, present, other)
    if known is None or known[1].mean >= known[0].mean:
        return None
    now, new = known
    saving = difference(now, new)
    least = now.mean * rules.saving_min_percent / 100
    confidence = min(quality_confidence(rules, present, other), confidence_above(saving, least))
    if confidence < TRIAL:
        return None
    text = f"costs {dollars(whole(new.mean))} a run and not {dollars(whole(now.mean))}"
    return _found(draft, "cheaper_model", work, other, saving, confidence, text)


def _faster(draft: Draft, work: Work, other: Measured) -> Found | None:
    """Hold how long another model takes beside the present one; it must not be expected to cost notably more."""
    rules, present = draft.rules.optimization, work.present
    known, money = times(rules, present, other), costs(rules, present, other)
    if known is None or known[1].mean >= known[0].mean:
        return None
    if money is None or money[1].mean > money[0].mean * (100 + rules.saving_min_percent) / 100:
        return None
    now, new = known
    saving = difference(now, new)
    least = now.mean * rules.saving_min_percent / 100
    confidence = min(quality_confidence(rules, present, other), confidence_above(saving, least))
    if confidence < TRIAL:
        return None
    text = f"takes {whole(new.mean):,} ms and not {whole(now.mean):,} ms"
    found = _found(draft, "faster_model", work, other, saving, confidence, text)
    micros = whole(money[0].mean - money[1].mean) * found.asks_30d
    return found._replace(saving_micros=max(0, micros))


def _found(
    draft: Draft, kind: Kind, work: Work, other: Measured, saving: Difference, confidence: int, text: str
) -> Found:
    rules, present = draft.rules.optimization, work.present
    asks = asks_in_30_days(present.runs_milli, draft.rules.telemetry.memory.half_life_s)
    now, new = quality_of(rules, present, other)
    effect = whole(saving.value)
    runs = whole(other.runs)
    voices = ([f"{runs} runs"] if runs else []) + (["the catalogue"] if rules.catalogue_weight else [])
    behind = " and ".join(voices) or "nothing"
    why = (
        f"{shown(other.card.name)} {text}, and should go well in {percent(new.mean)} (by {behind}) where "
        f"{shown(present.card.name)} does in {percent(now.mean)} of {whole(present.runs)} runs."
    )
    return Found(
        kind=kind,
        task_type=work.task_type,
        scope=f"task type {shown(work.task_type)}",
        path=f"models.choice.{work.task_type}",
        before=present.card.name,
        after=other.card.name,
        samples=whole(present.runs + other.runs),
        effect=effect,
        low=whole(saving.low),
        high=whole(saving.high),
        confidence=confidence,
        saving_micros=effect * asks,
        why=why,
        risk="low" if other.runs >= rules.samples_min else "medium",
        asks_30d=asks,
        cost_unit=unit_of(present.cost / present.costed) if present.costed else 1,
        taken_unit=unit_of(present.taken_ms / present.timed) if present.timed else 1,
    )


def _router(draft: Draft, tenant: str, known: Sequence[Work]) -> list[Found]:
    """Say what it would save to have a model chosen for each ask, over all types of work with enough reports."""
    rules = draft.rules
    amended = rules.amended.get(tenant, ())
    if rules.routing.mode != "off" or any(one.kind == "router" for one in amended):
        return []
    pairs = [(work, _chosen(draft, work)) for work in known]
    runs = sum(work.present.runs for work, _ in pairs)
    if not runs or all(other is None for _, other in pairs):
        return []
    total, saving, worse = 0.0, [], []
    for work, other in pairs:
        money = costs(rules.optimization, work.present, work.present)
        part_of = work.present.runs / runs
        total += part_of * (money[0].mean if money else 0.0)
        if other is not None:
            both = costs(rules.optimization, work.present, other)
            assert both is not None, "what costs nobody knows what is not chosen"
            saving.append((part_of, difference(*both)))
            was, is_ = quality_of(rules.optimization, work.present, other)
            worse.append((part_of, difference(is_, was)))
    gain, quality = _mean(saving), _mean(worse)
    margin = -rules.optimization.quality_margin_percent / 100
    least = total * rules.optimization.saving_min_percent / 100
    asks = asks_in_30_days(round(1_000 * runs), rules.telemetry.memory.half_life_s)
    changes = [(work.task_type, other.card.name) for work, other in pairs if other is not None]
    effect = whole(gain.value)
    why = (
        f"Models chosen by what is expected of them would save {dollars(max(0, effect))} of "
        f"{dollars(whole(total))} an ask: {len(changes)} of {len(pairs)} types of work would get another, "
        f"as {shown(changes[0][0])} {shown(changes[0][1])}."
    )
    return [
        Found(
            kind="router",
            task_type="",
            scope=f"tenant {shown(tenant)}",
            path="routing.mode",
            before="off",
            after="cheapest",
            samples=whole(runs + sum(other.runs for _, other in pairs if other is not None)),
            effect=effect,
            low=whole(gain.low),
            high=whole(gain.high),
            confidence=min(confidence_above(gain, least), confidence_above(quality, margin)),
            saving_micros=effect * asks,
            why=why,
            risk="medium",
            asks_30d=asks,
            cost_unit=unit_of(total),
            taken_unit=unit_of(_taken(known)),
        )
    ]


def _chosen(draft: Draft, work: Work) -> Measured | None:
    """Give the model that the router would choose where that is another: of those good enough the cheapest per success.

    How good one is expected to be is weighed as the router does (`core/evidence.py`); of the qualities that it demands
    the usual one is taken.
    """
    routing, rules = draft.rules.routing, draft.rules.optimization
    best: tuple[float, float, str] | None = None
    chosen = None
    for one in (work.present, *work.others):
        money = costs(rules, work.present, one)
        expected = weighed(routing, one.card, NOTHING, one.raw)
        if money is None or expected.quality < routing.quality_percent * 10_000:
            continue
        rank = (money[1].mean * expected.runs / expected.good, -expected.quality, one.card.name)
        if best is None or rank < best:
            best, chosen = rank, one
    return None if chosen is work.present else chosen


def _mean(parts: Sequence[tuple[float, Difference]]) -> Difference:
    """Give the mean of differences by their weights: those that are not named are nothing."""
    square = sum(weight * weight * one.error * one.error for weight, one in parts)
    return Difference(sum(weight * one.value for weight, one in parts), sqrt(square))


def _taken(known: Sequence[Work]) -> float:
    timed = sum(work.present.timed for work in known)
    return sum(work.present.taken_ms for work in known) / timed if timed else 0.0
