"""The look at an ask by which it is decided: what is tried with it changes only how it runs, never whether.

An ask is looked at by the rules as they are. Only where these let it run, and no person has had a word in it, is it
looked at once more as its sides of optimizations have it; where anything stands against that it runs as it would have.
So what optimizations change loosens nothing: what is blocked, sent to a person, put off or beyond a budget is so on
both sides alike, also where a cheaper model would have stayed within. What raises a hold is the one that may deny.
"""

from __future__ import annotations

from typing import Final

from ops_stream.contract.models import TaskRequest
from ops_stream.core.budgets import hold_for
from ops_stream.core.calls import UNSEEN
from ops_stream.core.checks import Finding, examine
from ops_stream.core.draft import Draft
from ops_stream.core.look import Look, Stage, is_observed, look_at
from ops_stream.core.optimization_sides import Side, sides_of, sides_of_step
from ops_stream.core.routing import MILLION
from ops_stream.core.rows import STEPS, Ask
from ops_stream.core.rows_optimization import Amended
from ops_stream.core.rows_workflows import place_in, step_key
from ops_stream.core.rules_optimization import Kind

CHOOSING: Final[frozenset[Kind]] = frozenset(("cheaper_model", "faster_model", "router"))
"""Kinds that change which model an ask gets."""


def look_to_decide(draft: Draft, request: TaskRequest, stage: Stage, ask: Ask) -> tuple[Look, Finding | None]:
    """Look at an ask as it is decided, and give the strongest finding; None where it may run."""
    look = look_at(draft, request, stage, ask)
    finding = examine(look)
    if finding is None and draft.rules.amended and not is_observed(draft, request):
        return _on_its_sides(look, ask)
    return look, finding


def _on_its_sides(look: Look, ask: Ask) -> tuple[Look, Finding | None]:
    """Give the look at an ask that may run as its sides have it."""
    if look.stage not in UNSEEN or ask.reviewed or ask.approved_by:
        return look, None
    sides = [side for side in sides_of(look.draft, look.request, look.nature) if _concerns(look, side)]
    choice = next((side for side in sides if side.amended.kind in CHOOSING), None)
    sides = [side for side in sides if side is choice or side.amended.kind not in CHOOSING]
    arms = tuple(side.arm for side in (*sides, *_of_step(look, ask)))
    if not arms:
        return look, None
    other = None if choice is None else _chosen_otherwise(look, ask, choice.amended)
    looks = [look]
    if other is not None and choice is not None:
        _set_odds(look, other, choice.amended)
        if choice.changed:
            looks.insert(0, other)
    raised = [side.amended for side in sides if side.changed and side.amended.kind == "hold_safety"]
    return _first_that_may(looks, raised, arms)


def _first_that_may(
    looks: list[Look], raised: list[Amended], arms: tuple[str, ...]
) -> tuple[Look, Finding | None]:
    """Give the first look that stands what is held by it; else the last, with what stands against it."""
    finding = None
    for look in looks:
        look.arms = arms
        finding = _raise_hold(look, raised[0]) if raised else None
        if finding is None:
            break
    return look, finding


def _concerns(look: Look, side: Side) -> bool:
    """Say whether a change is about this ask: whether it is follows from the rules as they are, on both sides alike."""
    rules, one = look.draft.rules, side.amended
    if one.kind == "hold_safety":
        return rules.supervisor.hold_safety == "off"
    if one.kind == "retry_plan":
        return rules.retries.on
    if look.request.required_model is not None or look.weighed.steering is not None:
        return False
    if one.kind == "router":
        return rules.routing.mode == "off"
    drawn = look.route is not None and look.route.why is not None and look.route.why.kind == "tried"
    return look.model == one.before and not drawn


def _chosen_otherwise(look: Look, ask: Ask, amended: Amended) -> Look | None:
    """Look at an ask with the model that it is to get; None where it may not have that, or gets no other."""
    other = look_at(look.draft, look.request, look.stage, ask, amended)
    finding = examine(other)
    if finding is not None or other.model != other.asked_model or other.model == look.model:
        return None
    if other.weighed.steering is not None:
        return None
    other.cap_as(look.caps)
    return other


def _set_odds(look: Look, other: Look, amended: Amended) -> None:
    """Note how probable each of two choices was: by the share of each, and by what chance had in it already."""
    drawn = (
        other if amended.kind == "router" else look
    )  # the other model takes the place of whatever was drawn
    look.odds = _drawn(look) * (100 - amended.share) // 100
    other.odds = _drawn(drawn) * amended.share // 100


def _drawn(look: Look) -> int:
    route = look.route
    return MILLION if route is None or route.propensity is None else route.propensity


def _raise_hold(look: Look, amended: Amended) -> Finding | None:
    """Hold more where the agent's past says so; gives what stands against that."""
    hold = hold_for(look.draft, look.estimate, look.record, learned=True)
    if look.caps.cost_micros is not None:
        hold = min(hold, look.caps.cost_micros)
    if hold <= look.hold:
        return None
    look.hold, look.called, look.placed = hold, False, False
    name = f"optimization {amended.optimization_id}"
    look.said = f"More is held than it estimates, by what its agent's past says ({name})."
    return examine(look)


def _of_step(look: Look, ask: Ask) -> tuple[Side, ...]:
    """Give the sides of a workflow's step in what is tried about who is given steps; none where it names its agent."""
    if not ask.step:
        return ()
    key, number, _ = place_in(ask.tenant, ask.step)
    step = look.draft.get(STEPS, step_key(key, number))
    if step is None or step.named:
        return ()
    return sides_of_step(look.draft, look.request, look.nature)
