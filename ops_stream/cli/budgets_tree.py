"""The budgets of a partition as rows of a tree, worked out by the core's own functions from the journal's rows.

Which limit binds, which window is open and what counts there is nowhere decided a second time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ops_stream.cli.output import Row
from ops_stream.contract.money import usd
from ops_stream.core.budgets import purse_of, use_model
from ops_stream.core.budgets_find import account_key, limit_key
from ops_stream.core.budgets_scope import Scope
from ops_stream.core.draft import Draft
from ops_stream.core.inputs import Tick
from ops_stream.core.rows import BUDGETS, LIMITS, Budget
from ops_stream.core.rules_budgets import EVERY, LEVELS, UNITS, Level, Limit, Unit
from ops_stream.core.rules_model import Rules
from ops_stream.core.state import State

PREFIXES: Final = (BUDGETS.prefix, LIMITS.prefix, "spending/", "rules")
"""The rows of the journal that this needs."""
NAMED: Final = LEVELS[1:]
"""The levels below a tenant, in the order in which they are shown."""
_SCOPES: Final[Mapping[str, tuple[Level, Unit]]] = {
    level if unit == "usd" else f"{level}.{unit}": (level, unit) for level in LEVELS for unit in UNITS
}


@dataclass(slots=True)
class _Used:
    """How much a scope has used, in dollars and in whatever else, to choose which are shown."""

    micros: int = 0
    others: int = 0

    def key(self) -> tuple[int, int]:
        return self.micros, self.others


@dataclass(slots=True)
class _Tenant:
    """The scopes of a tenant that have used something or have a limit by name."""

    names: dict[Level, dict[str, _Used]] = field(default_factory=lambda: {level: {} for level in NAMED})


class Book:
    """One partition's budgets, at a moment."""

    def __init__(self, rows: Mapping[str, bytes], rules: Rules | None, now_ms: int) -> None:
        """Take the partition's rows, and the rules in force (None where they cannot be had)."""
        self._state = State(0, 1)
        self._state.apply(dict(rows))
        self._draft = Draft(self._state, rules or Rules(digest=""), now_ms, Tick())
        self._tenants: dict[str, _Tenant] = {}
        self._take_rows()

    def take_rules(self, is_here: Callable[[str], bool]) -> None:
        """Have those tenants of this partition shown as well that only the rules name."""
        budgets = self._draft.rules.budgets
        for tenant in {*budgets.tenants, *(owner for _, owner, _ in budgets.more)} - {EVERY}:
            if is_here(tenant):
                self._tenants.setdefault(tenant, _Tenant())

    def lines(
        self, tenant: str | None = None, *, top: int | None = None, past: bool = False
    ) -> Iterator[Row]:
        """Give the rows of each tenant's tree: itself, then its workflows, agents, tasks and models.

        `top` is how many of a level are shown; a row with `folded` sums up the others. `past` adds windows that
        take no more asks.
        """
        for name in sorted(self._tenants):
            if tenant in (None, name):
                yield from self._tree(name, top, past)

    def _tree(self, tenant: str, top: int | None, past: bool) -> Iterator[Row]:
        current = self._scopes(tenant, "tenant", tenant)
        yield from self._rows(tenant, current)
        if past:
            yield from self._past(tenant, "tenant", tenant, current)
        names = self._names(tenant)
        for level in NAMED:
            ranked = sorted(names[level], key=lambda name: (_negative(names[level][name]), name))
            shown = ranked if top is None else ranked[:top]
            for name in shown:
                current = self._scopes(tenant, level, name)
                yield from self._rows(tenant, current)
                if past:
                    yield from self._past(tenant, level, name, current)
            if len(ranked) > len(shown):
                rest = sum(names[level][name].micros for name in ranked[len(shown) :])
                yield {
                    "scope": level,
                    "tenant": tenant,
                    "folded": len(ranked) - len(shown),
                    "unit": "usd",
                    "used_usd": usd(rest),
                    "current": True,
                }

    def _names(self, tenant: str) -> dict[Level, dict[str, _Used]]:
        """Give what a tenant has below it, with what the rules limit by name."""
        names = self._tenants[tenant].names
        for level, owner, target in self._draft.rules.budgets.more:
            if level != "tenant" and owner in (tenant, EVERY) and target != EVERY:
                names[level].setdefault(target, _Used())
        return names

    def _scopes(self, tenant: str, level: Level, name: str) -> list[Scope]:
        """Give the budgets of one scope, as an ask of now would meet them."""
        purse = purse_of(
            self._draft,
            tenant,
            name if level == "task" else EVERY,
            name if level == "agent" else "",
            name if level == "workflow" else "",
        )
        if level == "model":
            use_model(self._draft, purse, tenant, name)
        found = [scope for scope in purse if scope.level == level]
        if level == "task":  # which is counted whether or not it has a limit
            found = [one for one in found if one.limit or one.soft or one.used or one.row.asks]
        return found

    def _rows(self, tenant: str, scopes: Iterable[Scope]) -> Iterator[Row]:
        for scope in scopes:
            if scope.limit is not None or scope.soft is None:
                yield self._row(tenant, scope, scope.limit, soft=False)
            if scope.soft is not None:
                yield self._row(tenant, scope, scope.soft, soft=True)

    def _row(self, tenant: str, scope: Scope, limit: Limit | None, *, soft: bool) -> Row:
        row = _start(tenant, scope.level, scope.name, scope.unit, scope.window)
        row["window_kind"] = "now" if scope.unit == "concurrent" else scope.kind
        row |= _amounts(scope.unit, scope.held, scope.unknown, scope.spent, scope.row.overrun)
        row["current"] = True
        if limit is None:
            return row
        most, unit = limit.limit_micros, scope.unit
        row |= {f"limit_{unit}": _shown(unit, most), f"left_{unit}": _shown(unit, max(0, most - scope.used))}
        row["share"] = scope.used / most if most else 1.0
        row["limit_from"] = "rules" if soft or not self._is_set(tenant, scope) else "operator"
        return row | ({"soft": True} if soft else {})

    def _is_set(self, tenant: str, scope: Scope) -> bool:
        """Say whether the hard limit is one that an operator set."""
        names = (scope.name,) if scope.level == "tenant" else (scope.name, EVERY)
        rows = (self._draft.get(LIMITS, limit_key(scope.level, scope.unit, tenant, name)) for name in names)
        own = next((row for row in rows if row is not None), None)
        return own is not None and own.window == scope.kind

    def _past(self, tenant: str, level: Level, name: str, current: Iterable[Scope]) -> Iterator[Row]:
        """Give the rows of windows that are over, or that a change of limits has closed; the latest first."""
        taken = {scope.key for scope in current}
        for unit in UNITS:
            account = account_key(level, unit, tenant, name)
            windows = {"", *self._state.budgets.windows.get(account, ())}
            for window in sorted(windows, reverse=True):
                row = self._draft.get(BUDGETS, f"{account}|{window}")
                if row is not None and f"{account}|{window}" not in taken:
                    found = _start(tenant, level, name, unit, window)
                    found |= _amounts(unit, row.held, row.unknown, row.spent, row.overrun)
                    yield found | {"current": False}

    def _take_rows(self) -> None:
        for key, value in self._state.rows.items():
            kind, _, rest = key.partition("/")
            if kind == "budget":
                scope, tenant, *names = rest.split("|")
                self._count(scope, tenant, names[:-1], BUDGETS.decode(value))
            elif kind == "limit":
                scope, tenant, *names = rest.split("|")
                self._count(scope, tenant, [name for name in names if name != EVERY], Budget())

    def _count(self, scope: str, tenant: str, names: list[str], row: Budget) -> None:
        found = self._tenants.setdefault(tenant, _Tenant())
        if scope not in _SCOPES or not names:
            return
        level, unit = _SCOPES[scope]
        used = found.names[level].setdefault(names[0], _Used())
        amount = row.held + row.unknown + row.spent
        if unit == "usd":
            used.micros = max(used.micros, amount)
        else:
            used.others = max(used.others, amount)


def _negative(used: _Used) -> tuple[int, int]:
    return -used.micros, -used.others


def _start(tenant: str, level: Level, name: str, unit: Unit, window: str) -> dict[str, Any]:
    row: dict[str, Any] = {"scope": level, "tenant": tenant}
    if level != "tenant":
        row["target"] = name
    endless = "now" if unit == "concurrent" else "task" if level == "task" else "total"
    return row | {"unit": unit, "window": window.partition("~")[0] or endless}


def _amounts(unit: Unit, held: int, unknown: int, spent: int, overrun: int) -> dict[str, Any]:
    amounts = {"held": held, "unknown": unknown, "spent": spent, "used": held + unknown + spent}
    amounts |= {"overrun": overrun} if overrun else {}
    return {f"{name}_{unit}": _shown(unit, amount) for name, amount in amounts.items()}


def _shown(unit: Unit, amount: int) -> int | float:
    return usd(amount) if unit == "usd" else amount
