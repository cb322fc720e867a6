"""Forgetting: ids are kept for a while after their end, and never more than a fixed number of them."""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from ops_stream.core.budgets import discharge
from ops_stream.core.containment import proved
from ops_stream.core.draft import Draft
from ops_stream.core.notices import alert
from ops_stream.core.rows import ASKS, FIRINGS, Firing

EVICTIONS_MAX: Final = 100
"""Ids forgotten early by one record."""
_BOUND_KEY: Final = "alert/remember_max"


def forget(draft: Draft, key: str) -> None:
    """Forget an ended ask whose time is over; one whose cost is unknown is kept until somebody reports it."""
    ask = draft.get(ASKS, key)
    if ask is None or ask.phase not in ("ended", "unknown"):
        return
    if ask.phase == "unknown":
        again = draft.now + max(60, draft.rules.supervisor.remember_s) * 1000
        draft.put(key, replace(ask, until=again))
        return
    proved(draft, ask, "forgotten")
    discharge(draft, ask)
    draft.delete(key)


def keep_bound(draft: Draft) -> None:
    """Forget the oldest ended asks early where there are too many, and say so.

    What such an ask left unknown stays in its budgets until an operator releases it.
    """
    most = draft.rules.supervisor.remember_max
    over = len(draft.state.forget) - most
    if over <= 0:
        if _BOUND_KEY in draft.state.rows and len(draft.state.forget) <= most * 9 // 10:
            _resolve(draft)
        return
    for _, _, _, key in draft.state.forget.earliest(min(over, EVICTIONS_MAX)):
        if draft.touched(key):
            continue
        ask = draft.get(ASKS, key)
        if ask is not None:
            proved(draft, ask, "forgotten")
            discharge(draft, ask)
            draft.delete(key)
    if draft.get(FIRINGS, _BOUND_KEY) is None:
        text = f"More than {most:,} ended asks are remembered: the oldest are forgotten before their time."
        id_ = alert(
            draft,
            "default",
            "remember_max",
            text,
            dedupe=_partition(draft),
            seed=(_partition(draft), draft.now),
        )
        draft.put(_BOUND_KEY, Firing(draft.now, id_))


def _resolve(draft: Draft) -> None:
    firing = draft.get(FIRINGS, _BOUND_KEY)
    if firing is None:
        return
    alert(
        draft,
        "default",
        "remember_max",
        "Ended asks are remembered for their full time again.",
        dedupe=_partition(draft),
        seed=(_partition(draft), firing.since),
        severity="info",
        status="resolved",
        since=firing.since,
    )
    draft.delete(_BOUND_KEY)


def _partition(draft: Draft) -> str:
    return f"partition {draft.state.partition}"
