"""Why a call did not run: every refusal, with the last answer that was had."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ops_stream.contract.errors import OpsError

if TYPE_CHECKING:
    from agents_adapter.approval import Approval


class Refused(OpsError):
    """The agent may not act, or may not go on. `approval` is the last answer, None where there was none."""

    def __init__(
        self, what: str, *, approval: Approval | None = None, where: str = "", next_step: str = ""
    ) -> None:
        """Keep the answer beside the sentence."""
        super().__init__(what, where=where, next_step=next_step)
        self.approval = approval


class Denied(Refused):
    """The supervisor said no, or said yes to something other than what would run."""

    @property
    def retry_at(self) -> str | None:
        """When to come back, on the broker's clock, where the denial is one that passes."""
        return self.approval.retry_at if self.approval is not None else None


class NoAnswer(Refused):
    """Nobody decided in time. The ask is withdrawn."""


class Revoked(Refused):
    """What was approved is so no more.

    `result` is what the call returned where it could not be stopped before it did: the value is not lost, but
    whoever called is stopped here.
    """

    def __init__(
        self,
        what: str,
        *,
        approval: Approval | None = None,
        where: str = "",
        next_step: str = "",
        result: Any = None,
    ) -> None:
        """Keep the answer and the late result beside the sentence."""
        super().__init__(what, approval=approval, where=where, next_step=next_step)
        self.result = result
