"""Who holds and has spent a budget that cannot take an ask."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import nlargest
from typing import Any, Final

from ops_stream.contract.clocktext import format_time
from ops_stream.contract.money import usd
from ops_stream.core.budgets_scope import Scope
from ops_stream.core.draft import Draft
from ops_stream.core.look import Look
from ops_stream.core.rows import ASKS, RECORDS, Ask, record_key

SHOWN_MAX: Final = 10
"""The largest holds, and the agents that have spent most, that are shown; how many there are is said."""


def users(look: Look, scope: Scope) -> dict[str, Any]:
    """Give the largest holds of a budget, and who of its tenant has spent most since it is known."""
    tenant = look.request.tenant
    asks = [ask for ask in _charged(look.draft, tenant) if _counts(ask, scope)]
    held = nlargest(SHOWN_MAX, asks, key=lambda ask: (_held(ask, scope), ask.request_id))
    found: dict[str, Any] = {
        "budget": scope.what,
        "unit": scope.unit,
        "open_holds": len(asks),
        "largest_holds": [
            {
                "request_id": ask.request_id,
                "agent": ask.agent,
                "task_id": ask.task_id,
                "money": ask.money,
                "amount": amount(scope.unit, _held(ask, scope)),
                "since": format_time(ask.asked_at or ask.answer.at),
            }
            for ask in held
        ],
    }
    spent = nlargest(SHOWN_MAX, _spent(look.draft, tenant))
    found["tenant_spent_in_all_by_agent"] = [
        {"agent": agent, "usd": usd(micros)} for micros, agent in spent if micros
    ]
    return found


def _charged(draft: Draft, tenant: str) -> Iterator[Ask]:
    """Give the asks of a tenant whose money is held or unknown."""
    state = draft.state
    index = state.tenants.get(tenant)
    keys = [
        *(index.open if index is not None else ()),
        *(key for key, of in state.unknown.items() if of == tenant),
    ]
    for key in keys:
        ask = draft.get(ASKS, key)
        if ask is not None and ask.charged and ask.money in ("held", "unknown"):
            yield ask


def _counts(ask: Ask, scope: Scope) -> bool:
    """Say whether an ask counts against a budget, in the window that is looked at."""
    key = scope.key.removeprefix("budget/")
    if scope.level == "tenant" and scope.unit == "usd" and key not in ask.more:
        return ask.window == scope.window
    if scope.level == "task" and scope.unit == "usd" and key not in ask.more:
        return (ask.task_id, ask.task_window) == (scope.name, scope.window)
    return key in ask.more


def _held(ask: Ask, scope: Scope) -> int:
    if scope.unit == "usd":
        return ask.held or 0
    return ask.tokens if scope.unit == "tokens" else 1


def _spent(draft: Draft, tenant: str) -> Iterator[tuple[int, str]]:
    for key in draft.state.agents.get(tenant, ()):
        agent = key.partition("|")[2]
        record = draft.get(RECORDS, record_key(tenant, agent))
        if record is not None:
            yield record.spent, agent


def amount(unit: str, value: int) -> int | float:
    """Write an amount of a budget's unit: dollars with their fraction, whole numbers of everything else."""
    return usd(value) if unit == "usd" else value
