"""Which budgets an ask counts against: its scopes, what binds them, and the rows of the windows of now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ops_stream.core.budgets_scope import EMPTY, Purse, Scope
from ops_stream.core.budgets_windows import joined_of, open_rows
from ops_stream.core.calendar import window_of
from ops_stream.core.draft import Draft
from ops_stream.core.rows import BUDGETS, LIMITS, Ask
from ops_stream.core.rules_budgets import (
    EVERY,
    LENGTH,
    UNITS,
    Bound,
    Level,
    Limit,
    Unit,
    WindowKind,
    Zone,
    main_of,
)

MEMO_MAX: Final = 10_000
"""Scopes of which it is remembered what binds them."""
DEFAULT_WINDOW: Final[dict[Level, WindowKind]] = {"tenant": "month", "task": "task"}
"""The windows in which dollars are counted where no limit says another."""


def account_key(level: Level, unit: Unit, tenant: str, name: str) -> str:
    """Give the key of a scope's rows in a unit, up to the window."""
    dotted = level if unit == "usd" else f"{level}.{unit}"
    return f"budget/{dotted}|{tenant}" if level == "tenant" else f"budget/{dotted}|{tenant}|{name}"


def limit_key(level: Level, unit: Unit, tenant: str, name: str) -> str:
    """Give the key of a limit that an operator sets."""
    return "limit/" + account_key(level, unit, tenant, name).removeprefix("budget/")


def purse_of(
    draft: Draft, tenant: str, task_id: str, agent: str = "", workflow: str = "", tokens: int = 0
) -> Purse:
    """Give the budgets that an ask of now counts against, without those of its model (see `use_model`)."""
    budgets = draft.rules.budgets
    zone = draft.rules.zone(tenant)
    if not budgets.more and not draft.limited(tenant):
        whole = _main(draft, "tenant", tenant, tenant, budgets.tenant_limit(tenant), zone)
        task = _main(draft, "task", tenant, task_id, budgets.task_limit(tenant), zone)
        return Purse(whole, task, tokens, plain=True)
    (whole, *more) = _scopes(draft, "tenant", tenant, tenant, zone)
    if workflow:
        more += _scopes(draft, "workflow", tenant, workflow, zone)
    if agent:
        more += _scopes(draft, "agent", tenant, agent, zone)
    (task, *of_task) = _scopes(draft, "task", tenant, task_id, zone)
    return Purse(whole, task, tokens, more + of_task)


def purse_of_ask(draft: Draft, ask: Ask) -> Purse:
    """Give the budgets that an ask of now with the words of this one counts against."""
    purse = purse_of(draft, ask.tenant, ask.task_id, ask.agent, ask.workflow, ask.tokens)
    use_model(draft, purse, ask.tenant, ask.model)
    return purse


def use_model(draft: Draft, purse: Purse, tenant: str, model: str) -> None:
    """Have the budgets of the model count that is to be used, and of no other."""
    if purse.plain:
        return
    if not draft.rules.budgets.more and not draft.limited(tenant):
        return
    kept = [scope for scope in purse.more if scope.level != "model"]
    zone = draft.rules.zone(tenant)
    purse.more = [*kept, *_scopes(draft, "model", tenant, model, zone)] if model else kept


def bounds_of(draft: Draft, tenant: str, level: Level, name: str) -> list[Bound]:
    """Give what binds a scope: the rules' limits, an operator's in their place, the main dollars first."""
    found = draft.rules.budgets.bounds(tenant, level, name)
    if draft.limited(tenant):
        for unit in UNITS:
            own = draft.get(LIMITS, limit_key(level, unit, tenant, name))
            if own is None and level != "tenant":
                own = draft.get(LIMITS, limit_key(level, unit, tenant, EVERY))
            if own is not None:
                _replace(found, unit, Limit(own.limit, own.window))
    if level in DEFAULT_WINDOW:
        main = main_of(found)
        kind = DEFAULT_WINDOW[level] if main is None else main.window
        first = next((one for one in found if _same(one, "usd", kind)), Bound("usd", kind))
        return [first, *(one for one in found if one is not first)]
    return found


def _put(bounds: list[Bound], unit: Unit, limit: Limit) -> None:
    """Have a hard limit hold beside whatever else binds in its window."""
    for at, one in enumerate(bounds):
        if _same(one, unit, limit.window):
            bounds[at] = Bound(unit, limit.window, limit, one.soft)
            return
    bounds.append(Bound(unit, limit.window, limit))


def _replace(bounds: list[Bound], unit: Unit, limit: Limit) -> None:
    """Put an operator's limit in the place of the rules' one of its window, else of the longest window."""
    hard = [one for one in bounds if one.unit == unit and one.hard is not None]
    same = next((one.hard for one in hard if _same(one, unit, limit.window)), None)
    if hard and same is None:
        out = max(hard, key=lambda one: LENGTH[one.window])
        bounds.remove(out)
        if out.soft is not None:
            bounds.append(Bound(unit, out.window, None, out.soft))
    _put(bounds, unit, limit if same is None else Limit(limit.limit_micros, limit.window, same.alert_at))


def _same(bound: Bound, unit: Unit, window: WindowKind) -> bool:
    """Say whether a limit of that unit and window would be in the place of this one."""
    return bound.unit == unit and LENGTH[bound.window] == LENGTH[window]


def _main(
    draft: Draft, level: Level, tenant: str, name: str, limit: Limit | None, zone: Zone | None
) -> Scope:
    """Give the one scope in dollars of a level that has no other limit: the usual case, and the quick one."""
    kind = DEFAULT_WINDOW[level] if limit is None else limit.window
    window = window_of(kind, draft.now, zone)
    account = f"budget/tenant|{tenant}" if level == "tenant" else f"budget/task|{tenant}|{name}"
    key = f"{account}|{window}"
    row = draft.get(BUDGETS, key)
    if row is None:
        if account not in draft.state.budgets.windows and account not in draft.opened and not window:
            return Scope(level, name, key, window, kind, EMPTY, limit)
    elif not row.kinds and not row.joined and not row.carried:
        return Scope(level, name, key, window, kind, row, limit)
    return _of_account(draft, level, tenant, name, [Bound("usd", kind, limit)], zone)[0]


def _scopes(draft: Draft, level: Level, tenant: str, name: str, zone: Zone | None) -> list[Scope]:
    """Give the budgets of one scope, unit by unit."""
    found: list[Scope] = []
    for bounds in _by_unit(draft, tenant, level, name):
        found += _of_account(draft, level, tenant, name, bounds, zone)
    return found


def _by_unit(draft: Draft, tenant: str, level: Level, name: str) -> tuple[tuple[Bound, ...], ...]:
    """Give what binds a scope, one group a unit; worked out once where no operator has set anything."""
    if draft.limited(tenant):
        return _grouped(bounds_of(draft, tenant, level, name))
    budgets = draft.rules.budgets
    more = budgets.more
    named = level != "tenant" and ((level, tenant, name) in more or (level, EVERY, name) in more)
    key = (level, tenant, name if named else EVERY)
    found = budgets.memo.get(key)
    if found is None:
        if len(budgets.memo) >= MEMO_MAX:
            budgets.memo.clear()
        found = budgets.memo[key] = _grouped(bounds_of(draft, tenant, level, key[2]))
    return found


def _grouped(bounds: list[Bound]) -> tuple[tuple[Bound, ...], ...]:
    groups = (tuple(bound for bound in bounds if bound.unit == unit) for unit in UNITS)
    return tuple(group for group in groups if group)


def _of_account(
    draft: Draft, level: Level, tenant: str, name: str, bounds: Sequence[Bound], zone: Zone | None
) -> list[Scope]:
    unit = bounds[0].unit
    account = account_key(level, unit, tenant, name)
    rows = open_rows(draft, account, tuple(bound.window for bound in bounds), zone)
    return [
        Scope(
            level,
            name,
            f"{account}|{window}",
            window,
            bound.window,
            row,
            bound.hard,
            unit,
            bound.soft,
            joined_of(draft, account, row) if row.joined or row.carried else EMPTY,
        )
        for bound, (window, row) in zip(bounds, rows, strict=True)
    ]
