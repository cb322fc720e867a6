"""The checks of an ask, one small function each, in the contract's order: the first that objects wins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from ops_stream.contract.reasons import Reason
from ops_stream.core.checks.agents import (
    agent_blocked,
    agent_not_allowed,
    agent_suspended,
    agent_unregistered,
)
from ops_stream.core.checks.limits import (
    budget_exhausted,
    deadline_passed,
    overloaded,
    retries_exhausted,
    too_many_open,
)
from ops_stream.core.checks.load import no_place, no_room, too_late
from ops_stream.core.checks.steering import (
    escalated,
    kill_switch,
    no_model,
    own_model_stopped,
    policy_blocked,
    policy_error,
    queued,
)
from ops_stream.core.look import Look

Check: TypeAlias = Callable[[Look], str | None]
"""Gives a sentence against the ask, or None."""


def _either(first: Check, second: Check) -> Check:
    """Give the check that objects where one of two does, for the first's sake where both do."""
    return lambda look: first(look) or second(look)


CHECKS: Final[tuple[tuple[Reason, Check], ...]] = (
    (Reason.KILL_SWITCH, kill_switch),
    (Reason.AGENT_UNREGISTERED, agent_unregistered),
    (Reason.AGENT_NOT_ALLOWED, agent_not_allowed),
    (Reason.AGENT_SUSPENDED, agent_suspended),
    (Reason.AGENT_BLOCKED, agent_blocked),
    (Reason.POLICY_ERROR, policy_error),
    (Reason.POLICY_BLOCKED, policy_blocked),
    (Reason.BUDGET_EXHAUSTED, budget_exhausted),
    (Reason.RETRIES_EXHAUSTED, retries_exhausted),
    (Reason.NO_MODEL, no_model),
    (Reason.DEADLINE_PASSED, _either(deadline_passed, too_late)),
    (Reason.OVERLOADED, _either(overloaded, no_place)),
    (Reason.ESCALATED, escalated),
    (Reason.QUEUED, _either(queued, no_room)),
)

BINDING: Final[tuple[tuple[Reason, Check], ...]] = (
    (Reason.KILL_SWITCH, own_model_stopped),
    (Reason.OVERLOADED, too_many_open),
)
"""Checks that hold for an observed ask too; a kill of what was chosen for it is found by the first check of all."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What stands between an ask and a plain approval."""

    reason: Reason
    explanation: str


def examine(look: Look) -> Finding | None:
    """Give the strongest finding, or None where an ask may run."""
    return _first(look, CHECKS)


def examine_observed(look: Look, strongest: Finding | None) -> Finding | None:
    """Give the finding that binds although the ask is only observed, behind whatever stronger one does not."""
    if look.binding or (strongest is None and look.route is None):
        return strongest
    return _first(look, BINDING)


def _first(look: Look, checks: tuple[tuple[Reason, Check], ...]) -> Finding | None:
    for reason, check in checks:
        explanation = check(look)
        if explanation is not None:
            return Finding(reason, explanation)
    return None
