"""Money: one limit a tenant and one a task; held at admission, then settled, released or unknown.

Promise 3: no ask is admitted that brings held + unknown + spent above a limit. Every movement goes through
`_move`, which keeps the two rows of an ask in step and refuses to let anything become negative.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from ops_stream.core.calendar import window_end, window_of
from ops_stream.core.decision import InvariantBroken
from ops_stream.core.draft import Draft
from ops_stream.core.notices import alert
from ops_stream.core.rows import BUDGETS, LIMITS, Ask, Budget, task_budget_key, tenant_budget_key
from ops_stream.core.rules_model import Limit, WindowKind
from ops_stream.core.words import dollars

DEFAULT_TENANT_WINDOW: Final[WindowKind] = "month"
"""The window in which a tenant without a limit is counted."""
_EMPTY: Final = Budget()


@dataclass(slots=True)
class Scope:
    """One budget that an ask counts against."""

    level: str
    name: str
    key: str
    window: str
    kind: WindowKind
    row: Budget
    limit: Limit | None

    @property
    def what(self) -> str:
        """Name the budget for people."""
        return f"{self.level} {self.name}"

    @property
    def used(self) -> int:
        """What is gone or may be: held, unknown and spent."""
        return self.row.held + self.row.unknown + self.row.spent

    def lacks(self, amount: int) -> bool:
        """Say whether `amount` more would go beyond the limit."""
        limit, row = self.limit, self.row
        return limit is not None and row.held + row.unknown + row.spent + amount > limit.limit_micros

    def explain(self, amount: int) -> str:
        """Say what stands against `amount`: the limit, what is held, unknown and spent."""
        assert self.limit is not None
        window = f" for {self.window}" if self.window else ""
        row = self.row
        return (
            f"The budget of {self.what}{window} is {dollars(self.limit.limit_micros)}: "
            f"held {dollars(row.held)}, unknown {dollars(row.unknown)}, spent {dollars(row.spent)}; "
            f"this ask needs {dollars(amount)}."
        )


@dataclass(slots=True)
class Purse:
    """The budgets of one ask."""

    tenant: Scope
    task: Scope

    def lacking(self, amount: int) -> Scope | None:
        """Give the budget that cannot take `amount` more, the tenant's first."""
        if self.tenant.lacks(amount):
            return self.tenant
        return self.task if self.task.lacks(amount) else None


def tenant_limit(draft: Draft, tenant: str) -> Limit | None:
    """Give a tenant's limit: the one an operator set, else the one in the rules."""
    row = draft.get(LIMITS, f"limit/tenant|{tenant}") if draft.limits else None
    if row is not None:
        return Limit(row.limit, row.window)
    return draft.rules.budgets.tenant_limit(tenant)


def task_limit(draft: Draft, tenant: str, task_id: str) -> Limit | None:
    """Give a task's limit: one set for it, one for every task of the tenant, else that of the rules."""
    if draft.limits:
        own = draft.get(LIMITS, f"limit/task|{tenant}|{task_id}")
        row = own or draft.get(LIMITS, f"limit/task|{tenant}|*")
        if row is not None:
            return Limit(row.limit, row.window)
    return draft.rules.budgets.task_limit(tenant)


def purse_of(draft: Draft, tenant: str, task_id: str) -> Purse:
    """Give the budgets that an ask of now counts against."""
    limit = tenant_limit(draft, tenant)
    kind: WindowKind = limit.window if limit is not None else DEFAULT_TENANT_WINDOW
    window = window_of(kind, draft.now)
    key = tenant_budget_key(tenant, window)
    row = draft.get(BUDGETS, key) or _EMPTY
    whole = Scope("tenant", tenant, key, window, kind, row, limit)
    limit = task_limit(draft, tenant, task_id)
    kind = limit.window if limit is not None else "task"
    window = window_of(kind, draft.now)
    key = task_budget_key(tenant, task_id, window)
    row = draft.get(BUDGETS, key) or _EMPTY
    return Purse(whole, Scope("task", task_id, key, window, kind, row, limit))


def _until(draft: Draft, kind: WindowKind) -> int:
    end = window_end(kind, draft.now)
    return end + draft.rules.supervisor.remember_s * 1000 if end else 0


def charge(draft: Draft, purse: Purse, ask: Ask, amount: int | None) -> Ask:
    """Count an ask among its budgets and hold `amount` there (None: an observed ask that holds nothing)."""
    held = amount or 0
    for scope in (purse.tenant, purse.task):
        if amount is not None and scope.lacks(held):
            raise InvariantBroken(f"an ask is admitted beyond the budget of {scope.what}")
        row = scope.row
        until = row.until or _until(draft, scope.kind)
        scope.row = Budget(row.held + held, row.unknown, row.spent, row.overrun, row.asks + 1, until)
        draft.put(scope.key, scope.row)
    return replace(
        ask,
        money="none" if amount is None else "held",
        held=amount,
        window=purse.tenant.window,
        task_window=purse.task.window,
        charged=True,
    )


def settle(draft: Draft, ask: Ask, cost: int) -> Ask:
    """Replace what an ask holds, or held, by what it really cost; the rest is released."""
    held = ask.held or 0
    in_hand = ask.money in ("held", "unknown")
    overrun = max(0, cost - held) if in_hand else cost
    if not ask.charged:
        ask = charge(draft, purse_of(draft, ask.tenant, ask.task_id), ask, None)
    _move(
        draft,
        ask,
        held=-held if ask.money == "held" else 0,
        unknown=-held if ask.money == "unknown" else 0,
        spent=cost,
        overrun=overrun,
    )
    if overrun:
        _alert_overrun(draft, ask, cost, overrun)
    return replace(ask, money="settled")


def release(draft: Draft, ask: Ask) -> Ask:
    """Give back what an ask holds: it did not run."""
    if ask.money not in ("held", "unknown"):
        return ask
    held = ask.held or 0
    _move(
        draft,
        ask,
        held=-held if ask.money == "held" else 0,
        unknown=-held if ask.money == "unknown" else 0,
    )
    return replace(ask, money="released")


def make_unknown(draft: Draft, ask: Ask) -> Ask:
    """Keep counting what an ask held although nobody knows whether it was spent."""
    if ask.money != "held" or not ask.held:
        return release(draft, ask)
    _move(draft, ask, held=-ask.held, unknown=ask.held)
    return replace(ask, money="unknown")


def discharge(draft: Draft, ask: Ask) -> None:
    """No longer count an ask that is being forgotten; what is unknown of it stays."""
    if not ask.charged:
        return
    _move(draft, ask, asks=-1)
    key = task_budget_key(ask.tenant, ask.task_id, ask.task_window)
    row = draft.get(BUDGETS, key)
    if row is not None and not row.asks and not row.until:
        draft.delete(key)


def window_over(draft: Draft, key: str) -> None:
    """Forget the row of a window that is long over, once nothing remembered can settle there."""
    row = draft.get(BUDGETS, key)
    if row is None:
        return
    if row.asks:
        again = draft.now + max(60, draft.rules.supervisor.remember_s) * 1000
        draft.put(key, replace(row, until=again))
    else:
        draft.delete(key)


def _move(
    draft: Draft,
    ask: Ask,
    *,
    held: int = 0,
    unknown: int = 0,
    spent: int = 0,
    overrun: int = 0,
    asks: int = 0,
) -> None:
    keys = (
        tenant_budget_key(ask.tenant, ask.window),
        task_budget_key(ask.tenant, ask.task_id, ask.task_window),
    )
    for key in keys:
        row = draft.get(BUDGETS, key)
        if row is None:
            raise InvariantBroken(f"the row {key} is missing although ask {ask.request_id} counts there")
        moved = Budget(
            row.held + held,
            row.unknown + unknown,
            row.spent + spent,
            row.overrun + overrun,
            row.asks + asks,
            row.until,
        )
        if min(moved.held, moved.unknown, moved.spent, moved.asks) < 0:
            raise InvariantBroken(f"the row {key} would become negative by ask {ask.request_id}")
        draft.put(key, moved)


def _alert_overrun(draft: Draft, ask: Ask, cost: int, overrun: int) -> None:
    permitted = dollars(ask.held) if ask.held is not None and ask.money in ("held", "unknown") else "nothing"
    alert(
        draft,
        ask.tenant,
        "budget_overrun",
        f"Ask {ask.request_id} of agent {ask.agent} cost {dollars(cost)} where {permitted} was held.",
        dedupe=ask.agent,
        seed=(ask.request_id, "overrun"),
        subject=ask.request_id,
    )
