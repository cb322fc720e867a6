"""What a decision saw of an ask: each check and what it said, each policy with the values it looked at, the budgets.

Told while a record is decided again (`core.step.step`'s `watch`), so that it is what the decision saw at that moment,
also of the hundredth ask that one record lets go.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from ops_stream.audit.looks_money import amount, users
from ops_stream.contract.clocktext import format_time
from ops_stream.contract.models import TaskRequest
from ops_stream.contract.money import usd
from ops_stream.core.budgets_scope import Purse, Scope
from ops_stream.core.checks import CHECKS
from ops_stream.core.draft import Draft
from ops_stream.core.look import Look, Stage
from ops_stream.core.optimization_looks import look_to_decide
from ops_stream.core.routing_alternatives import Alternative, alternatives
from ops_stream.core.rows import Ask
from ops_stream.core.views import request_view
from ops_stream.core.words import clip
from ops_stream.rules.policies import CompiledPolicies

POLICIES_MAX: Final = 200
"""Policies that are shown of one look, those that matched before the others; how many there are is said."""
VALUE_CHARACTERS: Final = 300
STAGES: Final[Mapping[Stage, str]] = {
    "first": "when it was asked",
    "reviewed": "after people had approved it",
    "edited": "after people had changed it",
    "again": "once more, while it waited for people",
    "released": "when the batch queue let it out",
    "released_after_review": "when the batch queue let it out, after people had changed it",
    "let_in": "when there was room for it",
    "let_in_batched": "when there was room for it, after the batch queue had let it out",
    "let_in_reviewed": "when there was room for it, after people had approved it",
    "let_in_edited": "when there was room for it, after people had changed it",
}


def looked(draft: Draft, request: TaskRequest, stage: Stage, ask: Ask) -> dict[str, Any]:
    """Give all that a look at an ask finds. The draft is left as it is."""
    look, _ = look_to_decide(draft.aside(), request, stage, ask)
    checks = list(_checks(look))
    found: dict[str, Any] = {
        "when": STAGES[stage],
        "at": format_time(draft.now),
        "checks": checks,
        "policies": _policies(look, request),
        "nature": {"effect": look.nature.effective, "said": look.nature.known, "depth": look.nature.depth},
        "model": _model(look),
        "holds_usd": usd(look.hold),
        "budgets": [budget(scope, look.purse, look.hold) for scope in look.purse],
    }
    # Of another look: what is tried on a purse for one model after the other is not what it was for the one chosen.
    others = alternatives(look_to_decide(draft.aside(), request, stage, ask)[0])
    if others:
        found["model"]["alternatives"] = [_alternative(other) for other in others]
    if look.arms:
        sides = {"+": "changed", "-": "kept"}
        found["optimizations"] = {arm[:-1]: sides[arm[-1]] for arm in look.arms}
    lacking = look.purse.lacking(look.hold)
    if lacking is not None:
        found["used_by"] = users(look, lacking)
    return found


def _checks(look: Look) -> Iterator[dict[str, Any]]:
    """Ask every check, also those behind the first that objects: what else stood against it is worth knowing."""
    strongest = True
    for reason, check in CHECKS:
        explanation = check(look)
        result = "passed" if explanation is None else "objects" if strongest else "would object too"
        strongest &= explanation is None
        found = {"check": str(reason), "result": result}
        if explanation is not None:
            found["explanation"] = explanation
        yield found


def _policies(look: Look, request: TaskRequest) -> dict[str, Any]:
    """Give the policies that were looked at, with the values that their conditions saw."""
    compiled = look.draft.rules.policies
    if not isinstance(compiled, CompiledPolicies):
        return {"looked_at": 0, "shown": []}
    view = request_view(
        look.draft,
        request,
        look.agent,
        look.record,
        look.purse,
        look.estimate,
        look.asked_model,
        look.nature,
    )
    matches = {match.name: match for match in compiled.match("request", view)}
    concerned = [policy for policy in compiled.policies if policy.when == "request" and policy.concerns(view)]
    concerned.sort(key=lambda policy: policy.name not in matches)
    shown = []
    for policy in concerned[:POLICIES_MAX]:
        match = matches.get(policy.name)
        held = "no" if match is None else "undecided" if match.error is not None else "yes"
        found: dict[str, Any] = {
            "policy": policy.name,
            "action": policy.action,
            "condition": clip(policy.condition.source, 1_000),
            "matched": held if policy.in_force(draft_now(look)) else "not in force",
            "saw": {name: _short(view[name]) for name in sorted(policy.sees) if name in view},
        }
        missing = sorted(name for name in policy.sees if name not in view)
        if missing:
            found["absent"] = missing
        if policy.shadow:
            found["shadow"] = True
        if match is not None and match.error is not None:
            found["error"] = match.error
        shown.append(found)
    return {"looked_at": len(concerned), "shown": shown}


def draft_now(look: Look) -> int:
    """Give the time of a look."""
    return look.draft.now


def _model(look: Look) -> dict[str, Any]:
    found: dict[str, Any] = {"asked": look.request.required_model, "used": look.model or None}
    route = look.route
    if route is not None:
        found["why"] = route.sentence or route.refusal
        if route.propensity is not None:
            found["propensity"] = route.propensity / 1_000_000
    elif look.model != look.asked_model:
        found["why"] = "A policy chose it."
    if look.odds is not None and look.model == look.asked_model:
        found["propensity"] = look.odds / 1_000_000
    return found


def _alternative(other: Alternative) -> dict[str, Any]:
    return {
        "model": other.model,
        "expected_usd": usd(other.micros),
        "expected_usd_until_it_goes_well": usd(other.total_micros),
        "expected_quality": other.quality / 1_000_000,
        "expected_ms": other.latency_ms,
        "holds_usd": usd(other.hold_micros),
        "against": other.against or None,
    }


def budget(scope: Scope, purse: Purse, hold: int) -> dict[str, Any]:
    """Give a budget as it stood before, and what the ask needs of it."""
    found: dict[str, Any] = {
        "budget": scope.what,
        "window": scope.window.partition("~")[0] or None,
        "unit": scope.unit,
        "limit": None if scope.limit is None else amount(scope.unit, scope.limit.limit_micros),
        "held": amount(scope.unit, scope.held),
        "unknown": amount(scope.unit, scope.unknown),
        "spent": amount(scope.unit, scope.spent),
        "needs": amount(scope.unit, purse.amount(scope, hold)),
        "row": scope.key,
    }
    if scope.soft is not None:
        found["soft_limit"] = amount(scope.unit, scope.soft.limit_micros)
    return found


def _short(value: Any) -> Any:
    return clip(value, VALUE_CHARACTERS) if isinstance(value, str) else value
