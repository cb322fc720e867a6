"""Retry storms are held back: of the asks to a provider only so many are retries, on each partition for itself.

Each minute lets a fixed number in, and each other ask earns a part of one more, which is forgotten again by and by.
Nothing is counted before the first retry of a provider, and nothing any more an hour after its last one.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from ops_stream.core.decay import decayed, steps_between
from ops_stream.core.draft import Draft
from ops_stream.core.ids import short_hash
from ops_stream.core.look import Stage
from ops_stream.core.rows import RETRY_BUDGETS, Ask, RetryBudget
from ops_stream.core.rows_learning import part

MINUTE_MS: Final = 60_000
WHOLE: Final = 1_000
"""One retry, in the parts in which they are earned."""
EARNED_MAX: Final = 1_000 * WHOLE
"""No more is saved up."""
HALF_LIFE_S: Final = 300
IDLE_MS: Final = 3_600_000
PUT_OFF_MAX: Final = 60
"""Minutes that a retry is put off at most, however many were before it."""
HELD: Final[frozenset[Stage]] = frozenset(("first", "released", "let_in", "let_in_batched"))
"""Looks at which a retry can be held back: what people have let run is not, and is not counted."""


def provider_of(draft: Draft, model: str) -> str:
    """Give who serves a model; empty where nobody has said, or nothing is held back."""
    if draft.rules.retries.budget_percent is None or not draft.rules.retries.on:
        return ""
    card = draft.rules.routing.cards.get(model)
    return "" if card is None else card.provider


def room_at(draft: Draft, provider: str, tenant: str, request_id: str) -> int:
    """Say from when on a retry to a provider is let in, spread by lot; 0 for now."""
    if not provider:
        return 0
    row = _at_present(draft, provider)
    least = max(1, draft.rules.retries.budget_min_per_minute)
    if row is None or row.used < least or row.earned >= WHOLE:
        return 0
    later = 1 + min(row.put_off // least, PUT_OFF_MAX - 1)
    return (row.minute + later) * MINUTE_MS + short_hash(f"room|{tenant}|{request_id}") % MINUTE_MS


def put_off(draft: Draft, provider: str) -> None:
    """Take down that a retry was told to come later, so that not all come in the same minute."""
    row = _at_present(draft, provider)
    if row is not None:
        draft.put(_key(provider), replace(row, put_off=row.put_off + 1))


def let_in(draft: Draft, ask: Ask, stage: Stage) -> None:
    """Count an ask that may run: a retry takes what there is, any other earns a part of one."""
    provider = provider_of(draft, ask.model)
    if not provider or stage not in HELD:
        return
    row = _at_present(draft, provider)
    if not ask.retry_count:
        if row is not None:
            earned = row.earned + (draft.rules.retries.budget_percent or 0) * WHOLE // 100
            draft.put(_key(provider), replace(row, earned=min(earned, EARNED_MAX)))
        return
    row = row or RetryBudget(0, draft.now // MINUTE_MS, at=draft.now)
    if row.used < max(1, draft.rules.retries.budget_min_per_minute):
        row = replace(row, used=row.used + 1)
    else:
        row = replace(row, earned=max(0, row.earned - WHOLE))
    draft.put(_key(provider), replace(row, until=draft.now + IDLE_MS))


def _at_present(draft: Draft, provider: str) -> RetryBudget | None:
    """Give the row of a provider as it stands now."""
    row = draft.get(RETRY_BUDGETS, _key(provider))
    if row is None:
        return None
    earned = decayed(row.earned, steps_between(row.at, draft.now, HALF_LIFE_S))
    row = replace(row, earned=earned, at=draft.now)
    minute = draft.now // MINUTE_MS
    return row if row.minute == minute else replace(row, minute=minute, used=0, put_off=0)


def _key(provider: str) -> str:
    return f"retrybudget/{part(provider)}"
