"""What people change about an ask that waits for them."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Raw
from msgspec.structs import replace
from pydantic import ValidationError

from ops_stream.contract.codec import INPUT_BYTES_MAX
from ops_stream.contract.models import TaskRequest
from ops_stream.core.decision import InvariantBroken
from ops_stream.core.leases import estimated_ms
from ops_stream.core.rows import NOTHING, Ask, encode_row

FIXED: Final = ("request_id", "task_id", "agent", "tenant")
"""Fields of an ask that no edit may change."""
_NAMES: Final = frozenset(field.alias or name for name, field in TaskRequest.model_fields.items())


class BadEdit(Exception):
    """An edit that does not make a valid ask; says what is wrong with it."""


def body_of(ask: Ask) -> dict[str, Any]:
    """Give the body of a waiting ask as it is seen now."""
    if ask.request is NOTHING:
        raise InvariantBroken(f"ask {ask.request_id} waits without what was asked")
    body: dict[str, Any] = msgspec.json.decode(ask.request)
    return body


def request_of(ask: Ask) -> TaskRequest:
    """Give a waiting ask as it is seen now."""
    return TaskRequest.from_wire(body_of(ask))


def edited(ask: Ask, edits: dict[str, Any]) -> TaskRequest:
    """Give a waiting ask with a person's changes; null takes a field away. Raises BadEdit."""
    body = body_of(ask)
    for name in FIXED:
        if name in edits and edits[name] != body.get(name):
            raise BadEdit(f"the field {name} of an ask cannot be edited.")
    unknown = sorted(name for name in edits if name not in _NAMES)
    if unknown:
        raise BadEdit(f"an ask has no field {unknown[0][:100]!r}.")
    merged = {**body, **edits}
    if len(encode_row(merged)) > INPUT_BYTES_MAX:
        raise BadEdit(f"the edited ask is larger than an ask may be ({INPUT_BYTES_MAX:,} bytes).")
    try:
        return TaskRequest.from_wire(merged)
    except ValidationError as error:
        where = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise BadEdit(f"the edited ask is not valid, see its field {where}.") from None


def changes_of(ask: Ask, request: TaskRequest) -> dict[str, Any]:
    """Give what is other in `request` than in a waiting ask: fields with their new values, None for one taken away."""
    before, after = body_of(ask), request.wire()
    names = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    return {name: after.get(name) for name in names}


def with_edit(ask: Ask, request: TaskRequest) -> Ask:
    """Give the row of an ask that a person has changed to `request`, with every field changed so far."""
    earlier = {} if ask.edits is NOTHING else msgspec.json.decode(ask.edits)
    changes = {**earlier, **changes_of(ask, request)}
    return replace(
        ask,
        reviewed="edit",
        edits=Raw(encode_row(changes)) if changes else NOTHING,
        priority=request.priority,
        task_type=request.task_type,
        tool=request.tool or "",
        workflow=request.workflow_id or "",
        objective=request.objective_id or ask.objective,
        complexity=request.complexity,
        impact=request.customer_impact,
        effect=request.effect,
        retry_count=request.retry_count,
        estimated_ms=estimated_ms(request),
    )
