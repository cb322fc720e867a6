"""The command `set_budget`: an operator sets a limit, takes it back, or releases what is unknown.

`parameters`: `scope` (`tenant`, the default, or `task`), `limit_usd` (a number; null goes back to the rules),
`window` (`task`, `day`, `month`, `total`; else that of the limit it replaces), `release_unknown` (a request
id, or true for the whole tenant) with `cost_usd` (what it really cost, for one request id; absent means that
it did not run). `target` names one task.
"""

from __future__ import annotations

from decimal import Decimal
from heapq import nsmallest
from typing import Any, Final

from msgspec.structs import replace

from ops_stream.contract.models import ControlCommand
from ops_stream.contract.money import parse_usd
from ops_stream.core.budgets import purse_of, release, settle, task_limit, tenant_limit
from ops_stream.core.draft import ITEMS_MAX, Draft
from ops_stream.core.lines import end
from ops_stream.core.notices import alert
from ops_stream.core.refusals import Refused
from ops_stream.core.rows import ASKS, BUDGETS, LimitRow, Sweep, ask_key, tenant_budget_key
from ops_stream.core.rules_model import Limit, WindowKind
from ops_stream.core.words import dollars

WINDOWS: Final = ("task", "day", "month", "total")


def set_budget(draft: Draft, command: ControlCommand) -> None:
    """Obey `set_budget`: the whole of it, or nothing."""
    parameters = command.parameters or {}
    if "limit_usd" not in parameters and "release_unknown" not in parameters:
        raise Refused("malformed_command", "parameters need limit_usd or release_unknown.")
    scope = parameters.get("scope", "tenant")
    if scope not in ("tenant", "task"):
        raise Refused("malformed_command", "parameters.scope is tenant or task.")
    row = _limit_row(draft, command, parameters, scope)
    # What can still be refused comes first: a refused command has changed nothing.
    if "release_unknown" in parameters:
        _release(draft, command, parameters)
    if "limit_usd" in parameters:
        _set_limit(draft, command, scope, row)


def _limit_row(
    draft: Draft, command: ControlCommand, parameters: dict[str, Any], scope: str
) -> LimitRow | None:
    """Give the limit that is meant; None for that of the rules."""
    if parameters.get("limit_usd") is None:
        return None
    micros = _micros(parameters["limit_usd"], "limit_usd")
    target = command.target or "*"
    old = (
        tenant_limit(draft, command.tenant)
        if scope == "tenant"
        else task_limit(draft, command.tenant, target)
    )
    window = _window(parameters.get("window"), scope, old)
    return LimitRow(micros, window, command.command_id, draft.now)


def _set_limit(draft: Draft, command: ControlCommand, scope: str, row: LimitRow | None) -> None:
    tenant = command.tenant
    key = f"limit/tenant|{tenant}" if scope == "tenant" else f"limit/task|{tenant}|{command.target or '*'}"
    if row is None:
        draft.delete(key)
        return
    draft.limits = True
    draft.put(key, row)
    _alert_if_exceeded(draft, command, scope)


def _window(given: Any, scope: str, old: Limit | None) -> WindowKind:
    if given is None:
        default: WindowKind = "month" if scope == "tenant" else "task"
        return default if old is None else old.window
    if given not in WINDOWS:
        raise Refused("malformed_command", f"parameters.window is one of {', '.join(WINDOWS)}.")
    window: WindowKind = given
    return window


def _micros(value: Any, name: str) -> int:
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
            raise ValueError("money is a JSON number of US dollars")
        return parse_usd(value)
    except ValueError as error:
        raise Refused("malformed_command", f"parameters.{name}: {error}.") from None


def _alert_if_exceeded(draft: Draft, command: ControlCommand, scope: str) -> None:
    """A lowered limit revokes nothing; that it is exceeded is recorded and alerted."""
    purse = purse_of(draft, command.tenant, command.target or "*")
    found = purse.tenant if scope == "tenant" else purse.task
    if found.limit is None or found.used <= found.limit.limit_micros:
        return
    alert(
        draft,
        command.tenant,
        "budget_exceeded",
        f"The new limit of {found.what}, {dollars(found.limit.limit_micros)}, is below what is held, "
        f"unknown and spent: {dollars(found.used)}. New asks are refused; nothing is revoked.",
        dedupe=found.key,
        seed=(command.command_id,),
        subject=found.what,
    )


def _release(draft: Draft, command: ControlCommand, parameters: dict[str, Any]) -> None:
    which = parameters["release_unknown"]
    if which is True:
        release_sweep(
            draft,
            f"sweep/{command.command_id}",
            Sweep("release", "tenant", command.tenant, "", command.command_id, command.issued_by, draft.now),
        )
        return
    ask = draft.get(ASKS, ask_key(command.tenant, which)) if isinstance(which, str) else None
    if ask is None or ask.money != "unknown":
        raise Refused("nothing_to_do", "parameters.release_unknown names no ask whose cost is unknown.")
    cost = parameters.get("cost_usd")
    if cost is None:
        ask = release(draft, ask)
    else:
        ask = settle(draft, replace(ask, report=f"command {command.command_id}"), _micros(cost, "cost_usd"))
    draft.put(ask_key(ask.tenant, ask.request_id), end(draft, ask))


def release_sweep(draft: Draft, key: str, row: Sweep) -> None:
    """Release the next asks of a tenant whose cost is unknown, and at the end what forgotten ones left."""
    cursor = row.cursor
    found = nsmallest(
        ITEMS_MAX + 1,
        (
            ask_key
            for ask_key, tenant in draft.state.unknown.items()
            if tenant == row.tenant and ask_key > cursor
        ),
    )
    for ask_key_ in found[:ITEMS_MAX]:
        if draft.full():
            break
        cursor = ask_key_
        ask = draft.get(ASKS, ask_key_)
        if ask is not None and ask.money == "unknown" and ask.ended_at <= row.at:
            draft.put(ask_key_, end(draft, release(draft, ask)))
    if found and cursor != found[-1]:
        draft.put(key, replace(row, cursor=cursor))
        return
    draft.delete(key)
    _release_orphans(draft, row.tenant)


def _release_orphans(draft: Draft, tenant: str) -> None:
    """Release what asks that were forgotten too early left unknown in the tenant's own window of now."""
    purse = purse_of(draft, tenant, "*")
    key = tenant_budget_key(tenant, purse.tenant.window)
    row = draft.get(BUDGETS, key)
    if row is None or not row.unknown:
        return
    # Whatever a remembered ask still has unknown here is its own: only the rest belongs to nobody.
    owned = 0
    for ask_key_, owner in draft.state.unknown.items():
        ask = draft.get(ASKS, ask_key_) if owner == tenant else None
        if ask is not None and ask.money == "unknown" and ask.window == purse.tenant.window:
            owned += ask.held or 0
    draft.put(key, replace(row, unknown=owned))
