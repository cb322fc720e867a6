"""The answer to an ask, as the agent's code sees it."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from ops_stream.contract.digest import action_digest
from ops_stream.contract.models import (
    MatchedPolicy,
    NextStep,
    QueuePlace,
    Retry,
    TaskApproval,
    TaskRequest,
    WouldHave,
)
from ops_stream.contract.money import usd

if TYPE_CHECKING:
    from agents_adapter._spans import AskTrace

UNANSWERED: Final = "no_answer"


@dataclass(slots=True, eq=False)
class Mark:
    """What became of an approval after it was given. Written by the background loop, read from anywhere."""

    revoked: bool = False
    answer: TaskApproval | None = None
    why: str = ""
    after: TaskApproval | None = None
    """The decision that followed the report of a failure."""
    trace: AskTrace | None = None
    """Who is told of every answer, where the program uses OpenTelemetry."""


@dataclass(frozen=True, slots=True)
class Approval:
    """An answer of the supervisor and the ask that it answers.

    `answer` is the TaskApproval as it came; its fields can be read here directly. It is None only where an
    observing client runs on although nobody answered.
    """

    request: TaskRequest
    answer: TaskApproval | None
    traceparent: str | None = None
    mark: Mark = field(default_factory=Mark, repr=False, compare=False)

    @property
    def revoked(self) -> bool:
        """Whether it has been revoked since. A blocking call that can stop early looks here."""
        return self.mark.revoked

    @property
    def answered(self) -> bool:
        """False where an observing client runs on without an answer."""
        return self.answer is not None

    @property
    def changed(self) -> bool:
        """Whether a person approved something else: what was asked must not run as it is."""
        answer = self.answer
        if answer is None or answer.decision != "approved":
            return False
        return answer.action_digest != action_digest(self.request)

    @property
    def edits(self) -> Mapping[str, Any]:
        """What a person changed: fields of the ask by their wire names, each with its new value.

        None as a value means that the field was taken away. Empty where nothing was changed.
        """
        return (self.answer.edits or {}) if self.answer is not None else {}

    @property
    def to_run(self) -> TaskRequest | None:
        """The request that was approved: what was asked, with the edits.

        It is what the answer's digest stands for. None where the answer does not tell all that was changed.
        """
        if not self.changed:
            return self.request
        try:
            edited = TaskRequest.from_wire({**self.request.wire(), **self.edits})
        except ValidationError:
            return None
        return edited if action_digest(edited) == self.action_digest else None

    @property
    def approved_by(self) -> tuple[str, ...]:
        """The people who approved it; empty where nobody had to."""
        return self.answer.approved_by if self.answer is not None else ()

    @property
    def request_id(self) -> str:
        """The ask's id."""
        return self.request.request_id

    @property
    def task_id(self) -> str:
        """The task that the ask belongs to."""
        return self.request.task_id

    @property
    def tenant(self) -> str:
        """The tenant that pays."""
        return self.request.tenant

    @property
    def agent(self) -> str:
        """The agent that asked."""
        return self.request.agent

    @property
    def approval_id(self) -> str | None:
        """The answer's id."""
        return self.answer.approval_id if self.answer is not None else None

    @property
    def decision(self) -> str:
        """`approved`, `denied`, `escalated`, `queued` or `revoked`."""
        return self.answer.decision if self.answer is not None else "approved"

    @property
    def sequence(self) -> int:
        """Which of the ask's decisions this is; -1 without an answer."""
        return self.answer.sequence if self.answer is not None else -1

    @property
    def reason(self) -> str:
        """The reason code; `no_answer` without an answer."""
        return self.answer.reason if self.answer is not None else UNANSWERED

    @property
    def explanation(self) -> str:
        """The decision in a sentence."""
        if self.answer is not None:
            return self.answer.explanation
        return "Nobody answered in time, and this client only observes."

    @property
    def action_digest(self) -> str | None:
        """The digest of what was decided on."""
        return self.answer.action_digest if self.answer is not None else None

    @property
    def model(self) -> str | None:
        """The model to use, where the supervisor chose one."""
        return self.answer.model if self.answer is not None else None

    @property
    def priority(self) -> int:
        """The priority in force."""
        return self.answer.priority if self.answer is not None else self.request.priority

    @property
    def cost_limit_usd(self) -> float | None:
        """How much was held for it."""
        micros = self.answer.cost_limit_micros if self.answer is not None else None
        return None if micros is None else usd(micros)

    @property
    def time_limit_s(self) -> float | None:
        """How long it should take at most."""
        return self.answer.time_limit_s if self.answer is not None else None

    @property
    def token_limit(self) -> int | None:
        """How many tokens it may use at most, where a policy caps them."""
        return self.answer.token_limit if self.answer is not None else None

    @property
    def lease_expires_at(self) -> str | None:
        """When it ends unless a heartbeat renews it, on the broker's clock."""
        return self.answer.lease_expires_at if self.answer is not None else None

    @property
    def retry(self) -> Retry | None:
        """How to try again after a failure."""
        return self.answer.retry if self.answer is not None else None

    @property
    def next_step(self) -> NextStep | None:
        """What to do after it has failed, once the supervisor has said so; see `next_step` of a client."""
        answer = self.mark.after or self.answer
        return answer.next_step if answer is not None else None

    @property
    def retry_at(self) -> str | None:
        """When to come back after a denial that passes, on the broker's clock."""
        return self.answer.retry_at if self.answer is not None else None

    @property
    def batch(self) -> bool:
        """Whether to run it at batch price."""
        return self.answer.batch if self.answer is not None else False

    @property
    def queue(self) -> QueuePlace | None:
        """Where it waits."""
        return self.answer.queue if self.answer is not None else None

    @property
    def escalation_id(self) -> str | None:
        """The escalation that a person resolves."""
        return self.answer.escalation_id if self.answer is not None else None

    @property
    def matched_policies(self) -> tuple[MatchedPolicy, ...]:
        """The policies whose condition held."""
        return self.answer.matched_policies if self.answer is not None else ()

    @property
    def would_have(self) -> WouldHave | None:
        """What enforcement would have decided, in observe mode."""
        return self.answer.would_have if self.answer is not None else None

    @property
    def recommendation(self) -> str | None:
        """What the supervisor suggests."""
        return self.answer.recommendation if self.answer is not None else None

    @property
    def rules_digest(self) -> str | None:
        """The rules that were in force."""
        return self.answer.rules_digest if self.answer is not None else None

    @property
    def decided_at(self) -> str | None:
        """When it was decided, on the broker's clock."""
        return self.answer.decided_at if self.answer is not None else None


_current: ContextVar[Approval | None] = ContextVar("ops_stream_approval", default=None)


def current_approval() -> Approval | None:
    """Give the approval under which the code that asks this runs; None outside a supervised call."""
    return _current.get()


class under:
    """Make an approval the current one for a block."""

    def __init__(self, approval: Approval) -> None:
        """Name the approval."""
        self._approval = approval

    def __enter__(self) -> None:
        """Begin."""
        self._token = _current.set(self._approval)

    def __exit__(self, *_: object) -> None:
        """Put back what was current before."""
        _current.reset(self._token)
