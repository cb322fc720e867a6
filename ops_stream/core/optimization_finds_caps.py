"""Finds limits that cut off much of what is asked, or that nothing comes near, and caps that are spent beyond.

All of it is for people: the supervisor never loosens a limit.

What is looked at are the limits of agents and tasks, beside the windows and the tasks that are remembered: of an agent
the windows that are not forgotten yet, of tasks those of the asks that are forgotten next. What cannot be seen: what
was asked beyond a limit and never ran, so a limit counts as too low where many windows are used up to it; what a `cap`
policy allows (policies show it only as they match), so the largest hold under it stands for that; and what asks have
cost that are no steps of workflows, of which only budgets know. Whether a cap is too high cannot be seen at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import sqrt
from typing import Final, NamedTuple

from ops_stream.core.budgets_find import account_key, bounds_of
from ops_stream.core.budgets_windows import joined_in
from ops_stream.core.comparing import Difference, confidence_above, share
from ops_stream.core.draft import Draft
from ops_stream.core.optimization_finds_figures import first, shown, unit_of
from ops_stream.core.optimization_found import Found
from ops_stream.core.policy import CAP
from ops_stream.core.rows import ASKS, BUDGETS, Ask, task_budget_key
from ops_stream.core.rules_budgets import UNITS, Level, Unit, WindowKind
from ops_stream.core.rules_optimization import TRIAL
from ops_stream.core.words import dollars

READ_MAX: Final = 400
"""Rows that are read: a quarter of them asks, a quarter tasks, the rest windows of agents."""
AHEAD_MAX: Final = 2_000
"""Asks of all tenants, those forgotten next, among which a tenant's own are looked for by their keys."""
FULL_PERCENT: Final = 95
"""A limit of which so much is used is taken to have cut something off."""
CUT_PERCENT: Final = 10
"""How often at least that must be so, or a cap be spent beyond."""
WIDE: Final = 5
"""A limit that is more than so many times the largest use is too high."""
_UNITS: Final[tuple[Unit, ...]] = ("usd", "tokens", "requests")


class _Limit(NamedTuple):
    """A limit: what it binds, in what, for how long, and how much."""

    level: Level
    unit: Unit
    window: WindowKind
    amount: int


def caps(draft: Draft, tenant: str) -> list[Found]:
    """Give limits and caps that do not fit what is used."""
    asks = list(_asks(draft, tenant))
    used: dict[_Limit, list[int]] = {}
    for limit, amount in (*_agents(draft, tenant), *_tasks(draft, tenant, asks)):
        used.setdefault(limit, []).append(amount)
    found = [_judged(draft, limit, amounts) for limit, amounts in sorted(used.items())]
    return [one for one in found if one is not None] + _policies(draft, asks)


def _judged(draft: Draft, limit: _Limit, used: list[int]) -> Found | None:
    """Hold a limit beside what was used of it."""
    number, largest = len(used), max(used)
    if number < draft.rules.optimization.samples_min:
        return None
    full = sum(100 * amount >= FULL_PERCENT * limit.amount for amount in used)
    cut = _confidence_often(number, full)
    what = f"the limit of {_say(limit.unit, limit.amount)} {_FOR[limit.window]} for each {limit.level}"
    if cut >= TRIAL:
        after = _rounded(2 * limit.amount)
        why = f"{full:,} of {number:,} times all of {what} was used; nobody can see how much more was wanted."
        return _limit(limit, after, number, cut, why, largest)
    if 0 < WIDE * largest < limit.amount:
        near = sum(WIDE * amount >= limit.amount for amount in used)
        after = _rounded(2 * largest)
        why = f"Never in {number:,} times was more than {_say(limit.unit, largest)} used of {what}."
        return _limit(limit, after, number, _confidence_seldom(number, near), why, largest)
    return None


_FOR: Final = {
    "hour": "an hour",
    "day": "a day",
    "week": "a week",
    "month": "a month",
    "total": "in all",
    "task": "in all",
}


def _limit(limit: _Limit, after: int, samples: int, confidence: int, why: str, largest: int) -> Found:
    return Found(
        kind="cap",
        task_type="",
        scope=f"limit {_FOR[limit.window]} of each {limit.level}",
        path=f"budgets.{limit.level}.{limit.unit}.{limit.window}",
        before=_say(limit.unit, limit.amount),
        after=_say(limit.unit, after),
        samples=samples,
        effect=0,
        low=0,
        high=0,
        confidence=confidence,
        saving_micros=0,
        why=why,
        risk="none",
        cost_unit=unit_of(largest),
    )


def _policies(draft: Draft, asks: list[Ask]) -> list[Found]:
    """Give the caps beyond which steps of workflows are spent."""
    capped: dict[str, list[tuple[int, int]]] = {}
    for ask in asks:
        if not ask.step or ask.held is None or ask.money != "settled":
            continue
        for one in ask.answer.matched:
            if one.action == CAP and not one.shadow:
                capped.setdefault(one.name, []).append((ask.held, ask.cost))
    found = []
    for name, pairs in sorted(capped.items()):
        over = [cost for held, cost in pairs if cost > held]
        if len(pairs) < draft.rules.optimization.samples_min or not over:
            continue
        largest = max(held for held, _ in pairs)
        found.append(
            Found(
                kind="cap",
                task_type="",
                scope=f"policy {shown(name)}",
                path=f"policies.{name}.cost_usd",
                before=dollars(largest),
                after=dollars(_rounded(max(over))),
                samples=len(pairs),
                effect=0,
                low=0,
                high=0,
                confidence=_confidence_often(len(pairs), len(over)),
                saving_micros=0,
                why=(
                    f"{len(over):,} of {len(pairs):,} steps that {shown(name)} caps cost more than was held, up to "
                    f"{dollars(max(over))}: the cap keeps nobody from spending, and what is spent was not held."
                ),
                risk="none",
                cost_unit=unit_of(largest),
            )
        )
    return found


def _confidence_often(number: int, times: int) -> int:
    """Say how sure it is that something is so more often than `CUT_PERCENT`."""
    known = share(number, times)
    return confidence_above(Difference(known.mean, sqrt(known.variance / known.number)), CUT_PERCENT / 100)


def _confidence_seldom(number: int, times: int) -> int:
    """Say how sure it is that something is so less often than that."""
    return 100 - _confidence_often(number, times)


# What is there


def _asks(draft: Draft, tenant: str) -> Iterator[Ask]:
    """Read the tenant's asks that are forgotten next."""
    prefix, left = f"ask/{tenant}|", READ_MAX // 4
    for _, _, _, key in draft.state.forget.earliest(AHEAD_MAX):
        if left and key.startswith(prefix):
            left -= 1
            yield ASKS.decode(draft.state.rows[key])


def _tasks(draft: Draft, tenant: str, asks: list[Ask]) -> Iterator[tuple[_Limit, int]]:
    """Give what tasks have used of their limits in dollars."""
    seen = {(ask.task_id, ask.task_window) for ask in asks if ask.charged}
    for task_id, window in sorted(seen)[: READ_MAX // 4 // _rows_each(draft, tenant)]:
        key = task_budget_key(tenant, task_id, window)
        yield from _used(draft, tenant, "task", task_id, "usd", key)


def _agents(draft: Draft, tenant: str) -> Iterator[tuple[_Limit, int]]:
    """Give what agents have used of theirs, by the windows that are remembered."""
    left = READ_MAX // 2 // _rows_each(draft, tenant)
    windows = draft.state.budgets.windows
    for agent in first(draft.state.agents.get(tenant), READ_MAX // 2):
        name = agent.partition("|")[2]
        for unit in _UNITS:
            account = account_key("agent", unit, tenant, name)
            for window in sorted(windows.get(account, ())):
                if left <= 0:
                    return
                left -= 1
                yield from _used(draft, tenant, "agent", name, unit, f"{account}|{window}")


def _rows_each(draft: Draft, tenant: str) -> int:
    """Give how many rows are read of one account: its own, and the limits that operators may have set for it."""
    return 1 + 2 * len(UNITS) if draft.limited(tenant) else 1


def _used(
    draft: Draft, tenant: str, level: Level, name: str, unit: Unit, key: str
) -> Iterator[tuple[_Limit, int]]:
    """Give what one row says was used, with the limit that holds for it now."""
    raw = draft.state.rows.get(key)
    if raw is None:
        return
    kind = _kind(key.rpartition("|")[2].partition("~")[0])
    row = BUDGETS.decode(raw)
    more = joined_in(row, lambda _: None)
    used = row.held + row.unknown + row.spent + more.spent
    for bound in bounds_of(draft, tenant, level, name):
        whole = bound.window in ("task", "total")
        if bound.unit == unit and bound.hard is not None and (bound.window == kind or (whole and not kind)):
            yield _Limit(level, unit, bound.window, bound.hard.limit_micros), used


def _kind(window: str) -> str:
    """Give the kind of a window by its name; empty for one without an end."""
    if "T" in window:
        return "hour"
    if "W" in window:
        return "week"
    return {10: "day", 7: "month"}.get(len(window), "")


def _rounded(amount: int) -> int:
    """Round up to one, two or five with noughts, so that a suggestion is the same from one look to the next."""
    size = 1
    while size * 10 <= amount:
        size *= 10
    return next(step * size for step in (1, 2, 5, 10) if step * size >= amount)


def _say(unit: Unit, amount: int) -> str:
    return dollars(amount) if unit == "usd" else f"{amount:,} {unit}"
