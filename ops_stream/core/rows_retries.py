"""Rows about retries: what an approval plans for a failure, and what was answered to one."""

from __future__ import annotations

from typing import Literal

import msgspec

from ops_stream.core.rows_base import Row

ErrorClass = Literal["transient", "rate_limit", "bad_input", "policy", "unknown_outcome"]
NextAction = Literal["retry", "retry_model", "retry_agent", "escalate", "give_up"]


class RetryPlan(msgspec.Struct, frozen=True, omit_defaults=True):
    """How to try again after a failure."""

    max_attempts: int
    backoff_ms: int
    next: Literal["same", "model", "agent"] = "same"
    model: str = ""
    """The first fallback of its model that fits it, whatever is next; empty where there is none."""


class NextStep(msgspec.Struct, frozen=True, omit_defaults=True):
    """What to do after an attempt has failed."""

    action: NextAction
    error_class: ErrorClass
    attempt: int
    """Which attempt has failed, from 1."""
    max_attempts: int
    not_before: int = 0
    """When to try again at the earliest; 0 for at once, or never."""
    model: str = ""
    agent: str = ""
    escalation: str = ""


class Unsure(Row, frozen=True):
    """An action of which nobody knows whether it was done: `unsure/TENANT|ACTION`."""

    until: int
    """When it is forgotten."""
    since: int
    """When it was last lost sight of."""
    task_id: str
    agent: str
    effect: str
    asks: tuple[str, ...]
    """The asks whose outcome is unknown, the latest last."""
    more: bool = False
    """Whether there were more of them than are remembered."""
    allowed: tuple[str, ...] = ()
    """The asks for the same that a person has let run since."""


class RetryBudget(Row, frozen=True):
    """How many retries a provider gets on a partition: `retrybudget/PROVIDER`; none where nothing is retried."""

    until: int
    """When it is forgotten, unless something is retried before."""
    minute: int
    """The minute, since 1970, that `used` and `put_off` are of."""
    used: int = 0
    """Retries of this minute that were let in whatever else there was."""
    put_off: int = 0
    """Retries of this minute that were told to come later."""
    earned: int = 0
    """What other asks have earned, in thousandths of a retry."""
    at: int = 0
    """When that was worked out."""
