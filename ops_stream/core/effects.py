"""The effect of an ask: the worst of its own word, the operator's classes and the chain that it came from."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from ops_stream.contract.models import TaskRequest
from ops_stream.core.draft import Draft
from ops_stream.core.rows import ASKS, Ask, ask_key
from ops_stream.core.rules_effects import IRREVERSIBLE, UNKNOWN, worst

DEPTH_MAX: Final = 1_000_000
"""Nobody counts the links of a longer chain."""


class Nature(Struct, frozen=True):
    """What an ask does to the world, and how far down a chain of asks it stands."""

    known: str
    """The worst that anybody says of it; `unknown` where nobody does."""
    effective: str
    """What it counts as: none, reversible or irreversible."""
    depth: int = 0
    """How many asks it descends from; 0 without a parent."""


def nature_of(draft: Draft, request: TaskRequest, ask: Ask, *, anew: bool) -> Nature:
    """Give the nature of an ask.

    A chain takes the worst: what descends from an irreversible ask is irreversible. A parent that is not
    known to the tenant counts as unknown, so as the setting says. On a second look at the same ask (`anew`
    is false) its row says what the chain was; the parent may be forgotten by then.
    """
    effects = draft.rules.effects
    known = effects.known(request.task_type, request.tool, request.effect)
    depth = 0
    if not anew:
        known, depth = worst(known, ask.effect), ask.depth
    elif request.parent_request_id is not None:
        parent = _parent(draft, request, request.parent_request_id)
        above = effects.effective(UNKNOWN if parent is None else parent.effect)
        known = worst(known, above)
        depth = 1 if parent is None else min(parent.depth + 1, DEPTH_MAX)
    return Nature(known, effects.effective(known), depth)


def why_irreversible(draft: Draft, request: TaskRequest, nature: Nature) -> str:
    """Say who says that an ask cannot be taken back."""
    effects = draft.rules.effects
    if request.effect == IRREVERSIBLE:
        return "it says so itself"
    if effects.known(request.task_type, None, UNKNOWN) == IRREVERSIBLE:
        return f"its task type {request.task_type} is classed so"
    if effects.known("", request.tool, UNKNOWN) == IRREVERSIBLE:
        return f"its tool {request.tool} is classed so"
    return "nobody has classed it" if nature.known == UNKNOWN else "the ask that it came from is so"


def _parent(draft: Draft, request: TaskRequest, parent_id: str) -> Ask | None:
    if parent_id == request.request_id:
        return None  # nobody is his own parent
    return draft.get(ASKS, ask_key(request.tenant, parent_id))
