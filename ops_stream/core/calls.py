"""Whether an ask must wait for a person, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ops_stream.core.effects import why_irreversible
from ops_stream.core.policy import ESCALATE
from ops_stream.core.rules_escalations import Severity, Trigger
from ops_stream.core.rules_model import PolicyMatch
from ops_stream.core.words import clip

if TYPE_CHECKING:
    from ops_stream.core.look import Look

SEVERITIES: Final[tuple[Severity, ...]] = ("info", "warning", "critical")
"""From the least to the most."""


@dataclass(frozen=True, slots=True)
class Call:
    """What calls for a person."""

    trigger: str
    """The strongest reason, by its name on the wire, as in `policy:NAME`."""
    triggers: tuple[str, ...]
    """All of them, the strongest first."""
    severity: Severity
    advice: str
    """What the supervisor would do, and why."""
    why: str
    """A sentence for the agent."""
    rule: Trigger
    """What an answer must fulfil: the strictest of all that called."""


def call_for(look: Look) -> Call | None:
    """Say whether an ask must wait for a person, and why; None where it need not."""
    steering = look.weighed.steering
    if steering is not None and steering.action == ESCALATE:
        return _by_policy(look, steering)
    return _by_effect(look) if look.needs_person else None


def _by_policy(look: Look, policy: PolicyMatch) -> Call:
    rule = look.draft.rules.escalations.trigger("policy", look.request.tenant) or Trigger(on=True)
    severity = policy.parameters.get("severity")
    advice = policy.parameters.get("recommendation")
    name = f"policy:{policy.name}"
    return Call(
        trigger=name,
        triggers=(name,),
        severity=severity if severity in SEVERITIES else "warning",
        advice=advice if isinstance(advice, str) else f"Deny, because of policy {policy.name}.",
        why=f"Policy {policy.name} wants a person to decide.",
        rule=rule,
    )


def _by_effect(look: Look) -> Call:
    rule = look.draft.rules.escalations.trigger("effect", look.request.tenant) or Trigger(on=True)
    why = why_irreversible(look.draft, look.request, look.nature)
    return Call(
        trigger="effect:irreversible",
        triggers=("effect:irreversible",),
        severity="critical",
        advice="Approve only what may stay done: it cannot be taken back.",
        why=f"What is asked cannot be taken back ({clip(why, 300)}): a person decides.",
        rule=rule,
    )
