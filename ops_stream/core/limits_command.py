"""The command `set_budget`: an operator sets a limit, takes it back, or releases what is unknown.

`parameters`: `scope` (`tenant`, the default, `workflow`, `agent`, `task` or `model`); the limit, as exactly one of
`limit_usd`, `limit_tokens`, `limit_requests`, `limit_concurrent`, or as `limit` with `unit` (a number; null goes back
to the rules); `window` (`task`, `hour`, `day`, `week`, `month`, `total`; else that of the limit it replaces);
`release_unknown` (a request id, or true for the whole tenant) with `cost_usd` (what it really cost, for one
request id; absent means that it did not run). `target`, of the command or among the parameters, names the workflow,
agent, task or model; without it each of the tenant's has that limit. The limit takes the place of the rules' limit
with the same window or, where there is none, of that with the longest.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from heapq import nsmallest
from typing import Any, Final

from msgspec.structs import replace

from ops_stream.contract.models import ControlCommand
from ops_stream.contract.money import parse_usd
from ops_stream.core.alarms import kept
from ops_stream.core.budgets import bounds_of, purse_of, release, settle, use_model
from ops_stream.core.budgets_alerts import alert_raised, forgotten
from ops_stream.core.budgets_find import account_key, limit_key
from ops_stream.core.calendar import window_end
from ops_stream.core.containment import proved
from ops_stream.core.draft import ITEMS_MAX, Draft
from ops_stream.core.lines import end
from ops_stream.core.notices import alert, ended
from ops_stream.core.refusals import Refused
from ops_stream.core.rows import ASKS, BUDGETS, LimitRow, Sweep, ask_key
from ops_stream.core.rules_budgets import EVERY, LENGTH, LEVELS, UNITS, WINDOWS, Level, Unit, WindowKind

COUNT_MAX: Final = 10**15
"""The largest number of tokens, requests or running asks that a limit may be."""
TARGET_MAX: Final = 256
LIMITS_MAX: Final = 100_000
"""Limits that operators may have set on a partition: each is kept until it is taken back."""
_WORDS: Final[dict[str, Unit]] = {f"limit_{unit}": unit for unit in UNITS}


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The limit that a command is about; `amount` None takes back what was set."""

    level: Level
    target: str
    unit: Unit
    amount: int | None
    window: WindowKind


def set_budget(draft: Draft, command: ControlCommand) -> None:
    """Obey `set_budget`: the whole of it, or nothing."""
    parameters = command.parameters or {}
    wanted = _wanted(draft, command, parameters)
    if wanted is None and "release_unknown" not in parameters:
        raise Refused("malformed_command", "parameters need limit_usd (or another limit) or release_unknown.")
    # What can still be refused comes first: a refused command has changed nothing.
    if "release_unknown" in parameters:
        _release(draft, command, parameters)
    if wanted is not None:
        _set_limit(draft, command, wanted)


def _wanted(draft: Draft, command: ControlCommand, parameters: dict[str, Any]) -> _Wanted | None:
    scope = parameters.get("scope", "tenant")
    if scope not in LEVELS:
        raise Refused("malformed_command", f"parameters.scope is one of {', '.join(LEVELS)}.")
    level: Level = scope
    given = [word for word in (*_WORDS, "limit") if word in parameters]
    if not given:
        return None
    if len(given) > 1:
        raise Refused("malformed_command", f"parameters hold both {given[0]} and {given[1]}; give one.")
    unit = _WORDS.get(given[0]) or parameters.get("unit", "usd")
    if unit not in UNITS or parameters.get("unit", unit) != unit:
        raise Refused(
            "malformed_command", f"parameters.unit is one of {', '.join(UNITS)}, that of the limit."
        )
    target = _target(command, parameters, level)
    value = parameters[given[0]]
    amount = None if value is None else _amount(value, given[0], unit)
    window = _window(draft, command.tenant, parameters.get("window"), level, target, unit)
    if amount is not None and draft.state.counts["limit/"] >= LIMITS_MAX:
        raise Refused("overloaded", f"{LIMITS_MAX:,} limits are set already; take some back first.")
    return _Wanted(level, target, unit, amount, window)


def _target(command: ControlCommand, parameters: dict[str, Any], level: Level) -> str:
    target = parameters.get("target", command.target)
    if level == "tenant":
        return command.tenant
    if target is None:
        return EVERY
    if not isinstance(target, str) or not 0 < len(target) <= TARGET_MAX:
        raise Refused("malformed_command", f"the target is a name of at most {TARGET_MAX} characters.")
    return target


def _set_limit(draft: Draft, command: ControlCommand, wanted: _Wanted) -> None:
    key = limit_key(wanted.level, wanted.unit, command.tenant, wanted.target)
    draft.limits = True
    if wanted.amount is None:
        draft.delete(key)
    else:
        draft.put(key, LimitRow(wanted.amount, wanted.window, command.command_id, draft.now))
    _alert_if_exceeded(draft, command, wanted)


def _window(draft: Draft, tenant: str, given: Any, level: Level, target: str, unit: Unit) -> WindowKind:
    if given is None:
        if unit == "concurrent":
            return "total"
        bounds = bounds_of(draft, tenant, level, target)
        hard = [one.window for one in bounds if one.unit == unit and one.hard is not None]
        default: WindowKind = "task" if level == "task" else "month"
        return max(hard, key=LENGTH.__getitem__, default=default)
    if given not in WINDOWS:
        raise Refused("malformed_command", f"parameters.window is one of {', '.join(WINDOWS)}.")
    if unit == "concurrent" and given != "total":
        raise Refused("malformed_command", "what runs at the same time has no window; leave it out.")
    if given == "task" and level != "task":
        given = "total"  # nothing else has a task's own window: it never ends, as the total
    window: WindowKind = given
    return window


def _amount(value: Any, name: str, unit: Unit) -> int:
    if unit == "usd":
        return _micros(value, name)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= COUNT_MAX:
        raise Refused("malformed_command", f"parameters.{name}: a whole number from 0 to {COUNT_MAX:,}.")
    return value


def _micros(value: Any, name: str) -> int:
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
            raise ValueError("money is a JSON number of US dollars")
        return parse_usd(value)
    except ValueError as error:
        raise Refused("malformed_command", f"parameters.{name}: {error}.") from None


def _alert_if_exceeded(draft: Draft, command: ControlCommand, wanted: _Wanted) -> None:
    """A lowered limit revokes nothing; that it is exceeded is recorded and alerted.

    Looking at the budget also opens its window where the command has changed it.
    """
    level, name = wanted.level, wanted.target
    if name == EVERY:
        return  # each of them meets its new limit with its next ask
    purse = purse_of(
        draft,
        command.tenant,
        name if level == "task" else EVERY,
        name if level == "agent" else "",
        name if level == "workflow" else "",
    )
    if level == "model":
        use_model(draft, purse, command.tenant, name)
    limited = [scope for scope in purse if (scope.level, scope.unit) == (level, wanted.unit)]
    if not limited and kept(draft):
        account = account_key(level, wanted.unit, command.tenant, name)
        for window in sorted({"", *draft.state.budgets.windows.get(account, ())}):
            forgotten(draft, f"{account}|{window}", "Nothing limits it any more.")
    for scope in limited:
        alert_raised(draft, command.tenant, scope)
        if scope.limit is None or scope.used <= scope.limit.limit_micros:
            why = f"The limit of {scope.what} is no longer below what is held, unknown and spent."
            ended(draft, command.tenant, "budget_exceeded", why, dedupe=scope.key)
            continue
        if wanted.amount is None:
            continue
        alert(
            draft,
            command.tenant,
            "budget_exceeded",
            f"The new limit of {scope.what}, {scope.say(scope.limit.limit_micros)}, is below what is held, "
            f"unknown and spent: {scope.say(scope.used)}. New asks are refused; nothing is revoked.",
            dedupe=scope.key,
            seed=(command.command_id, scope.key),
            subject=scope.what,
            news=True,
            ends=window_end(scope.kind, draft.now, draft.rules.zone(command.tenant)),
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
    spent = None if cost is None else _micros(cost, "cost_usd")
    if spent is None:
        ask = release(draft, ask)
    else:
        ask = replace(proved(draft, ask, "contained"), report=f"command {command.command_id}")
        ask = settle(draft, ask, spent)
    draft.put(ask_key(ask.tenant, ask.request_id), end(draft, ask, "unknown", spent))


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
            draft.put(ask_key_, end(draft, release(draft, ask), "unknown"))
    if found and cursor != found[-1]:
        draft.put(key, replace(row, cursor=cursor))
        return
    draft.delete(key)
    _release_orphans(draft, row.tenant)


def _release_orphans(draft: Draft, tenant: str) -> None:
    """Release what asks that were forgotten too early left unknown in the tenant's own windows of now.

    What that is, is worked out in the state as it was: the same record may have made other asks unknown.
    """
    rows = draft.state.rows
    for scope in purse_of(draft, tenant, EVERY):
        row, raw = draft.get(BUDGETS, scope.key), rows.get(scope.key)
        unknown = 0 if raw is None else BUDGETS.decode(raw).unknown
        if scope.level != "tenant" or row is None or not unknown:
            continue
        # Whatever a remembered ask had unknown here is its own: only the rest belongs to nobody.
        owned = 0
        for ask_key_, owner in draft.state.unknown.items():
            if owner != tenant:
                continue
            ask = ASKS.decode(rows[ask_key_])
            if scope.key == f"budget/tenant|{tenant}|{ask.window}":
                owned += ask.held or 0
            elif scope.key.removeprefix("budget/") in ask.more:
                owned += ask.tokens if scope.unit == "tokens" else ask.held or 0
        if unknown != owned:
            draft.put(scope.key, replace(row, unknown=row.unknown - (unknown - owned)))
