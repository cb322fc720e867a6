"""Whether an ask can still be done before its deadline."""

from __future__ import annotations

from typing import Final

from ops_stream.contract.clocktext import parse_time
from ops_stream.contract.models import TaskRequest
from ops_stream.core.leases import estimated_ms

UNSAID_S: Final = TaskRequest.model_fields["estimated_time_s"].default
"""What an ask estimates that says nothing; whoever says so much has said nothing either."""


def said_ms(request: TaskRequest) -> int:
    """Give what an ask itself says that it takes; 0 where it says nothing."""
    return 0 if request.estimated_time_s == UNSAID_S else estimated_ms(request)


def missed(request: TaskRequest, begins_ms: int) -> bool:
    """Say whether what begins at a moment cannot be done in time; done at the deadline itself it is."""
    if request.deadline is None:
        return False
    end = parse_time(request.deadline)
    return begins_ms >= end or begins_ms + said_ms(request) > end


def takes_said(request: TaskRequest) -> str:
    """Say in words what an ask says that it takes; nothing where it says nothing."""
    took = said_ms(request)
    return f"it takes {took / 1000:g} s by its own estimate" if took else ""
