"""The batch queue: when its window closes, what waited is looked at once more and let go."""

from __future__ import annotations

from ops_stream.core.decide import decide
from ops_stream.core.draft import Draft
from ops_stream.core.escalation_edits import request_of
from ops_stream.core.look import Stage
from ops_stream.core.rows import ASKS


def let_go(draft: Draft, key: str) -> None:
    """Release one queued ask after a second look at switches, policies and budgets."""
    ask = draft.get(ASKS, key)
    if ask is None or ask.phase != "queued":
        return
    stage: Stage = "released_after_review" if ask.reviewed else "released"
    decide(draft, key, request_of(ask), stage, ask, ask.answer.sequence + 1, ask.answer.digest)
