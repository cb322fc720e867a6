"""Checks of amounts: money, retries, time and how much is open."""

from __future__ import annotations

from ops_stream.contract.clocktext import format_time, parse_time
from ops_stream.core.batch_price import at_batch_price
from ops_stream.core.batch_windows import next_release
from ops_stream.core.budgets import use_model
from ops_stream.core.deadlines import missed, takes_said
from ops_stream.core.look import Look
from ops_stream.core.retries_budget import HELD, provider_of, room_at


def budget_exhausted(look: Look) -> str | None:
    """What is held, unknown and spent stays within every limit (promise 3); what is put off is held at batch price."""
    use_model(look.draft, look.purse, look.request.tenant, look.model)
    hold = at_batch_price(look.draft.rules, look.model, look.hold) if look.queues else look.hold
    lacking = look.purse.lacking(hold)
    return None if lacking is None else look.purse.explain(lacking, hold)


def retries_exhausted(look: Look) -> str | None:
    """There is an end to trying again."""
    most, count = look.draft.rules.supervisor.retries_max, look.request.retry_count
    if most is not None and count > most:
        return f"This is retry {count}; at most {most} are allowed."
    return _held_back(look) if count and look.stage in HELD else None


def _held_back(look: Look) -> str | None:
    """Of the asks to a provider only so many are retries."""
    request, provider = look.request, provider_of(look.draft, look.model)
    at = room_at(look.draft, provider, request.tenant, request.request_id)
    if not at:
        return None
    look.retry_at = at
    return f"As many retries go to provider {provider} as may at a time. Try again at {format_time(at)}."


def deadline_passed(look: Look) -> str | None:
    """What is too late is not begun, nor what cannot be done in time any more."""
    request, draft = look.request, look.draft
    deadline = request.deadline
    if deadline is None:
        return None
    if parse_time(deadline) <= draft.now:
        return f"The ask's deadline, {deadline}, has passed."
    takes = takes_said(request)
    if look.queues:
        begins = next_release(draft.rules, request.tenant, draft.now)
        out = f"The batch queue lets the ask out at {format_time(begins)}{' and ' if takes else ''}{takes}"
        return f"{out}: its deadline, {deadline}, cannot be met." if missed(request, begins) else None
    if missed(request, draft.now):
        return f"The ask's deadline, {deadline}, cannot be met any more: {takes}."
    return None


def too_many_open(look: Look) -> str | None:
    """There is a limit to what a tenant may have open; it binds always."""
    tenant = look.draft.state.tenants.get(look.request.tenant)
    if look.stage != "first" or tenant is None or len(tenant.open) < look.draft.rules.supervisor.open_max:
        return None
    look.binding = True
    return f"Tenant {look.request.tenant} has {len(tenant.open):,} asks open, the limit; try again later."


def overloaded(look: Look) -> str | None:
    """There is a limit to what a tenant may have open, and to what may wait."""
    crowded = too_many_open(look)
    tenant = look.draft.state.tenants.get(look.request.tenant)
    if crowded is not None or look.stage != "first" or tenant is None:
        return crowded
    settings = look.draft.rules.supervisor
    if not look.waits:
        return None
    if tenant.waiting >= settings.waiting_max or tenant.waiting_bytes >= settings.waiting_bytes_max:
        return (
            f"Tenant {look.request.tenant} has {tenant.waiting:,} asks waiting, the limit; try again later."
        )
    return None
