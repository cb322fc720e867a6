"""Folding: what is the same as something that waits for a person already joins it and is counted there."""

from __future__ import annotations

from hashlib import sha256
from typing import Final

from msgspec.structs import replace

from ops_stream.contract.clocktext import parse_time
from ops_stream.contract.digest import action_digest
from ops_stream.contract.models import TaskRequest
from ops_stream.core.draft import Draft
from ops_stream.core.escalation_events import find
from ops_stream.core.rows import FOLDS, EscalationRow, FoldRow, encode_row

ASKS_MAX: Final = 100
"""Asks that wait for one escalation."""
FOLD_BYTES_MAX: Final = 1_048_576
"""What they may take together: one record has to hold them all when they go on to wait for another."""
_SEPARATOR: Final = "\0"
_SAME: Final = {"request_id": "*", "retry_count": 0, "parent_request_id": None, "deadline": None}
"""What does not make an ask another one."""


def fold_of_ask(request: TaskRequest) -> str:
    """Give the key by which the same ask, of the same agent for the same task, is found again."""
    return _key(request.tenant, "ask", action_digest(request.model_copy(update=_SAME)))


def fold_of_call(tenant: str, trigger: str, whom: str) -> str:
    """Give the key by which the same call about the same agent or subject is found again."""
    return _key(tenant, "call", trigger, whom)


def _key(tenant: str, *parts: str) -> str:
    return f"fold/{tenant}|{sha256(_SEPARATOR.join(parts).encode()).hexdigest()[:32]}"


def folded(draft: Draft, fold: str) -> tuple[str, EscalationRow] | None:
    """Give the open escalation that something folds into, or None."""
    known = draft.get(FOLDS, fold)
    if known is None:
        return None
    row = find(draft, known.escalation_id)
    return None if row is None or row.status != "open" else (known.escalation_id, row)


def joins(draft: Draft, request: TaskRequest, fold: str) -> tuple[str, EscalationRow] | None:
    """Give the escalation that an ask joins: not one that would keep it beyond its own deadline."""
    found = folded(draft, fold)
    if found is None or (request.deadline is not None and parse_time(request.deadline) < found[1].expires):
        return None
    return found


def crowded(draft: Draft, request: TaskRequest, fold: str) -> str | None:
    """Say why an ask cannot wait with those that are the same, or None."""
    found = joins(draft, request, fold)
    if found is None:
        return None
    most = max(1, min(ASKS_MAX, FOLD_BYTES_MAX // len(encode_row(request.wire()))))
    if len(found[1].asks) + 1 < most:
        return None
    return f"{most} asks that are the same wait for escalation {found[0]} already."


def remember(draft: Draft, escalation_id: str, row: EscalationRow, fold: str) -> EscalationRow:
    """Let more of the same find an escalation, unless another one is found by it already."""
    if not fold or folded(draft, fold) is not None:
        return row
    draft.put(fold, FoldRow(escalation_id))
    return replace(row, fold=fold)


def forget(draft: Draft, row: EscalationRow) -> None:
    """Let nothing more find an escalation."""
    if row.fold:
        draft.delete(row.fold)
