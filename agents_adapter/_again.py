"""Trying again where the supervisor says so: when, and with what."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from agents_adapter._plan import Ask, Plan
from agents_adapter._records import new_id
from agents_adapter.approval import Approval
from agents_adapter.errors import Revoked
from ops_stream.contract.clocktext import parse_time
from ops_stream.contract.models import NextStep, TaskApproval

logger = logging.getLogger("agents_adapter")

WAIT_S: Final = 5.0
"""How long a failed call waits for what to do next."""
_HERE: Final = ("retry", "retry_model")


@dataclass(frozen=True, slots=True)
class Again:
    """The next attempt: after how long, and what it asks."""

    wait_s: float
    ask: Ask


def may_follow(plan: Plan, approval: Approval, error: BaseException) -> bool:
    """Whether it is worth waiting for what to do next: it failed by itself, and the supervisor plans retries."""
    if not plan.retries or not isinstance(error, Exception):
        return False
    if isinstance(error, Revoked) and approval.revoked:
        return False
    return approval.retry is not None or approval.request.retry_count > 0


def again(ask: Ask, approval: Approval, answer: TaskApproval | None) -> Again | None:
    """Give the next attempt, as far as it is this agent's; None where it is not for it to try again."""
    step = answer.next_step if answer is not None else None
    if answer is None or step is None or step.action not in _HERE:
        return None
    request = approval.request
    fields: dict[str, Any] = {
        **ask.fields,
        "request_id": new_id("ask"),
        "task_id": request.task_id,
        "retry_count": request.retry_count + 1,
    }
    if step.action == "retry_model":
        if step.model is None:
            return None
        fields["required_model"] = step.model
    return Again(_wait_s(step, answer), replace(ask, fields=fields))


def note(error: BaseException, step: NextStep | None) -> None:
    """Tell whoever gets an error what the supervisor says to do about it."""
    if step is None:
        return
    told: Mapping[str, Any] = step.model_dump(exclude_none=True)
    text = ", ".join(f"{name} {value}" for name, value in told.items())
    error.add_note(f"The supervisor's next step: {text}.")


def _wait_s(step: NextStep, answer: TaskApproval) -> float:
    """Give how long to wait. Both times are the broker's, so that nobody's clock counts."""
    if step.not_before is None:
        return 0.0
    return max(0.0, (parse_time(step.not_before) - parse_time(answer.decided_at)) / 1000)
