"""Money and what else is limited: held at admission on every budget of an ask or on none, then settled.

Promise 3: no ask is admitted that brings held + unknown + spent above a limit. Every movement goes through
`_move`, which keeps all rows of an ask in step and refuses to let anything become negative. Beside dollars an
ask holds tokens (as dollars), counts as a request from its admission on unless it never ran, and takes one of
the concurrent places while it runs.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from msgspec.structs import replace

from ops_stream.contract.models import Telemetry
from ops_stream.contract.reasons import Reason
from ops_stream.core.budgets_alerts import alert_overrun, alert_thresholds
from ops_stream.core.budgets_find import DEFAULT_WINDOW as DEFAULT_WINDOW
from ops_stream.core.budgets_find import bounds_of, purse_of, purse_of_ask, use_model
from ops_stream.core.budgets_scope import Purse, Scope
from ops_stream.core.budgets_windows import FORGOTTEN_WITH_ASKS, drop, joined_of, mark, opened, until_of
from ops_stream.core.calendar import kind_of, window_of
from ops_stream.core.decision import InvariantBroken
from ops_stream.core.draft import Draft
from ops_stream.core.rows import BUDGETS, Ask, Budget, Record, task_budget_key, tenant_budget_key
from ops_stream.core.rules_budgets import Unit
from ops_stream.core.windows import spent

__all__ = [
    "Purse",
    "Scope",
    "bounds_of",
    "charge",
    "discharge",
    "hold_for",
    "joined_of",
    "make_unknown",
    "purse_of",
    "purse_of_ask",
    "release",
    "settle",
    "tokens_of",
    "use_model",
    "window_over",
]

FACTOR_MAX: Final = 3
"""A learned factor never makes a hold larger than this many times the estimate."""
SAMPLES_MIN: Final = 20
"""Ended asks of an agent before its past says anything."""

Amounts: TypeAlias = tuple[int, int, int, int]
"""Held, unknown, spent and overrun."""
_NOTHING: Final[Amounts] = (0, 0, 0, 0)


def hold_for(draft: Draft, estimate: int, record: Record | None, *, learned: bool = False) -> int:
    """Give what is to be held for an estimate: more of it where the agent's past says so and the rules ask for it.

    The factor is what the agent's ended asks have cost for each dollar estimated, from 1 to 3, rounded up. An
    optimization may ask for it too (`learned`).
    """
    if (draft.rules.supervisor.hold_safety == "off" and not learned) or record is None or record.held <= 0:
        return estimate
    if record.done + record.failed < SAMPLES_MIN or record.cost <= record.held:
        return estimate
    return min(FACTOR_MAX * estimate, -(-estimate * record.cost // record.held))


def tokens_of(event: Telemetry) -> int | None:
    """Give the tokens that a report says were used, read and written together; None where it says nothing."""
    if event.input_tokens is None and event.output_tokens is None:
        return None
    return (event.input_tokens or 0) + (event.output_tokens or 0)


def charge(draft: Draft, purse: Purse, ask: Ask, amount: int | None, asked: int = 0) -> Ask:
    """Count an ask among its budgets and hold `amount` there (None: an observed ask that holds nothing).

    `asked` is what the ask itself estimated, where that is less.
    """
    held = amount or 0
    mark(draft, purse.tenant.key, purse.tenant.kind, purse.tenant.row.spent, draft.rules.zone(ask.tenant))
    for scope in (purse.tenant, purse.task):
        if amount is not None and scope.lacks(held):
            raise InvariantBroken(f"an ask is admitted beyond the budget of {scope.what}")
        _take_in(draft, ask, scope, (held, 0, 0, 0))
    tokens = 0
    for scope in purse.more:
        need = purse.amount(scope, held) if amount is not None else 0
        if amount is not None and scope.lacks(need):
            raise InvariantBroken(f"an ask is admitted beyond the budget of {scope.what}")
        if scope.unit == "tokens":
            tokens = need
        _take_in(draft, ask, scope, (0, 0, need, 0) if scope.unit == "requests" else (need, 0, 0, 0))
    if amount is not None and draft.rules.budgets.alerts:
        alert_thresholds(draft, ask.tenant, purse)
    return replace(
        ask,
        money="none" if amount is None else "held",
        held=amount,
        window=purse.tenant.window,
        task_window=purse.task.window,
        charged=True,
        more=tuple(scope.key.removeprefix("budget/") for scope in purse.more) if purse.more else (),
        tokens=tokens,
        asked=asked if amount is not None and asked < held else 0,
    )


def settle(draft: Draft, ask: Ask, cost: int, tokens: int | None = None) -> Ask:
    """Replace what an ask holds, or held, by what it really took; the rest is released.

    `cost` in micro-dollars; `tokens` None means that the report did not say: what was held counts as used.
    """
    held = ask.held or 0
    in_hand = ask.money in ("held", "unknown")
    overrun = max(0, cost - held) if in_hand else cost
    if not ask.charged:
        ask = charge(draft, purse_of_ask(draft, ask), ask, None)
    spent(draft, ask, cost)
    if not ask.more:
        _move(draft, ask, (*_back(ask, held), cost, overrun))
    else:
        kept = ask.tokens if in_hand else 0
        used = kept if tokens is None else tokens
        more: dict[Unit, Amounts] = {
            "tokens": (*_back(ask, kept), used, max(0, used - kept)),
            "requests": _NOTHING if in_hand or _lapsed_with_nothing(ask) else (0, 0, 1, 1),
            "concurrent": (-1 if ask.money == "held" else 0, 0, 0, 0),
        }
        _move(draft, ask, (*_back(ask, held), cost, overrun), more)
    if overrun:
        alert_overrun(draft, ask, cost, overrun)
    if draft.rules.budgets.alerts:
        _alert_settled(draft, ask)
    return replace(ask, money="settled", cost=cost if ask.step else 0)


def release(draft: Draft, ask: Ask, *, ran: bool = False) -> Ask:
    """Give back what an ask holds: it did not run, or (`ran`) held nothing that could have been spent."""
    if ask.money not in ("held", "unknown"):
        return ask
    more: dict[Unit, Amounts] | None = None
    if ask.more:
        more = {
            "tokens": (*_back(ask, ask.tokens), 0, 0),
            "requests": (0, 0, 0 if ran else -1, 0),
            "concurrent": (-1 if ask.money == "held" else 0, 0, 0, 0),
        }
    _move(draft, ask, (*_back(ask, ask.held or 0), 0, 0), more)
    return replace(ask, money="released")


def make_unknown(draft: Draft, ask: Ask) -> Ask:
    """Keep counting what an ask held although nobody knows whether it was spent."""
    if ask.money != "held":
        return ask if ask.money != "unknown" else release(draft, ask)
    if not ask.held and not ask.tokens:
        return release(draft, ask, ran=True)
    held = ask.held or 0
    more: dict[Unit, Amounts] | None = None
    if ask.more:
        more = {"tokens": (-ask.tokens, ask.tokens, 0, 0), "concurrent": (-1, 0, 0, 0)}
    _move(draft, ask, (-held, held, 0, 0), more)
    return replace(ask, money="unknown")


def discharge(draft: Draft, ask: Ask) -> None:
    """No longer count an ask that is being forgotten; what is unknown of it stays."""
    if not ask.charged:
        return
    for key in _keys_of(ask):
        row = _counting(draft, key, ask)
        row = replace(row, asks=row.asks - 1)
        if row.asks < 0:
            raise InvariantBroken(f"the row {key} would become negative by ask {ask.request_id}")
        if not row.asks and not row.until and key.startswith(FORGOTTEN_WITH_ASKS):
            drop(draft, key, row)
        else:
            draft.put(key, row)


def window_over(draft: Draft, key: str) -> None:
    """Forget the row of a window that is long over, once nothing remembered can settle there."""
    row = draft.get(BUDGETS, key)
    if row is None:
        return
    if row.asks or _goes_on(draft, key, row):
        again = draft.now + max(60, draft.rules.supervisor.remember_s) * 1000
        draft.put(key, replace(row, until=again))
    else:
        drop(draft, key, row)


def _goes_on(draft: Draft, key: str, row: Budget) -> bool:
    """Say whether a window is not over yet: another time zone can make it last longer than it first seemed to.

    One without an end goes on as long as anything counts there.
    """
    name = key.rpartition("|")[2]
    kind = kind_of(name)
    if kind == "total":
        return bool(row.joined)
    return window_of(kind, draft.now, draft.rules.zone(key.split("|", 2)[1])) == name.partition("~")[0]


def _take_in(draft: Draft, ask: Ask, scope: Scope, amounts: Amounts) -> None:
    row = scope.row
    until = row.until
    if not until and scope.window:
        until = until_of(draft, scope.kind, draft.rules.zone(ask.tenant))
        opened(draft, scope.key.rpartition("|")[0], scope.window)
    held, unknown, spent, overrun = amounts
    scope.row = row = Budget(
        row.held + held,
        row.unknown + unknown,
        row.spent + spent,
        row.overrun + overrun,
        row.asks + 1,
        until,
        row.kinds,
        row.joined,
        row.carried,
        row.told,
        row.told_soft,
        row.closed,
        row.by,
        row.passed,
        row.called,
    )
    draft.put(scope.key, row)


def _back(ask: Ask, amount: int) -> tuple[int, int]:
    """Give how held and unknown change when an amount is given back, wherever it counts."""
    return (-amount if ask.money == "held" else 0, -amount if ask.money == "unknown" else 0)


def _keys_of(ask: Ask) -> tuple[str, ...]:
    main = (
        tenant_budget_key(ask.tenant, ask.window),
        task_budget_key(ask.tenant, ask.task_id, ask.task_window),
    )
    return (*main, *(f"budget/{name}" for name in ask.more)) if ask.more else main


def _lapsed_with_nothing(ask: Ask) -> bool:
    """Say whether a lease ended on which nothing was held: it still counts as a request, and not once more."""
    return (ask.money, ask.held, ask.tokens, ask.answer.reason) == ("released", 0, 0, Reason.LEASE_EXPIRED)


def _unit_of(key: str) -> Unit:
    level = key[: key.index("|")]
    dotted = level.partition(".")[2]
    return dotted or "usd"  # type: ignore[return-value]  # written from a Unit


def _counting(draft: Draft, key: str, ask: Ask) -> Budget:
    row = draft.get(BUDGETS, key)
    if row is None:
        raise InvariantBroken(f"the row {key} is missing although ask {ask.request_id} counts there")
    return row


def _move(draft: Draft, ask: Ask, usd: Amounts, more: dict[Unit, Amounts] | None = None) -> None:
    for key in _keys_of(ask):
        unit = _unit_of(key) if more is not None else "usd"
        held, unknown, spent, overrun = usd if unit == "usd" or more is None else more.get(unit, _NOTHING)
        row = _counting(draft, key, ask)
        moved = Budget(
            row.held + held,
            row.unknown + unknown,
            row.spent + spent,
            row.overrun + overrun,
            row.asks,
            row.until,
            row.kinds,
            row.joined,
            row.carried,
            row.told,
            row.told_soft,
            row.closed,
            row.by,
            row.passed,
            row.called,
        )
        if min(moved.held, moved.unknown, moved.spent) < 0:
            raise InvariantBroken(f"the row {key} would become negative by ask {ask.request_id}")
        draft.put(key, moved)


def _alert_settled(draft: Draft, ask: Ask) -> None:
    """Alert at the thresholds that what was settled has reached, in the windows of now."""
    purse = purse_of_ask(draft, ask)
    alert_thresholds(draft, ask.tenant, purse, frozenset(_keys_of(ask)))
