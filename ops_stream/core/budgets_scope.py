"""The budgets that one ask counts against, side by side."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from msgspec import Struct, field

from ops_stream.core.rows import Budget
from ops_stream.core.rules_budgets import Level, Limit, Unit, WindowKind
from ops_stream.core.words import dollars

EMPTY: Final = Budget()


class Scope(Struct):
    """One budget that an ask counts against: a scope in one unit and one window."""

    level: Level
    name: str
    key: str
    window: str
    """The window's name as in the key."""
    kind: WindowKind
    row: Budget
    limit: Limit | None
    unit: Unit = "usd"
    soft: Limit | None = None
    joined: Budget = EMPTY
    """What counts here of windows that are no longer in force."""

    @property
    def what(self) -> str:
        """Name the budget for people."""
        return f"{self.level} {self.name}"

    @property
    def held(self) -> int:
        """What is held, in the scope's unit."""
        return self.row.held + self.joined.held

    @property
    def unknown(self) -> int:
        """What may have been spent, in the scope's unit."""
        return self.row.unknown + self.joined.unknown

    @property
    def spent(self) -> int:
        """What was spent, in the scope's unit."""
        return self.row.spent + self.joined.spent

    @property
    def used(self) -> int:
        """What is gone or may be: held, unknown and spent."""
        row, joined = self.row, self.joined
        used = row.held + row.unknown + row.spent
        return used if joined is EMPTY else used + joined.held + joined.unknown + joined.spent

    def lacks(self, amount: int) -> bool:
        """Say whether `amount` more would go beyond the hard limit."""
        limit = self.limit
        return limit is not None and self.used + amount > limit.limit_micros

    def explain(self, amount: int) -> str:
        """Say what stands against `amount`: the limit, what is held, unknown and spent."""
        assert self.limit is not None
        say = self.say
        return (
            f"The budget of {self.what}{self.for_window} is {say(self.limit.limit_micros)}: "
            f"held {say(self.held)}, unknown {say(self.unknown)}, spent {say(self.spent)}; "
            f"this ask needs {say(amount)}."
        )

    @property
    def for_window(self) -> str:
        """Name the window for people, with a word before it."""
        window = self.window.partition("~")[0]
        return f" for {window}" if window else ""

    def say(self, amount: int) -> str:
        """Write an amount of the scope's unit."""
        if self.unit == "usd":
            return dollars(amount)
        what = {"tokens": "token", "requests": "request", "concurrent": "running ask"}[self.unit]
        return f"{amount:,} {what}{'' if amount == 1 else 's'}"


class Purse(Struct):
    """The budgets of one ask. Dollars of the tenant and of the task are always counted, others where limited."""

    tenant: Scope
    task: Scope
    tokens: int = 0
    """Tokens that the ask needs; a policy may cap them before they are held."""
    more: list[Scope] = field(default_factory=list)
    plain: bool = False
    """Whether nothing but the tenant and the task limits it, whatever model is used."""
    of_workflow: Scope | None = None
    """What the workflow, a step of which the ask is, was handed in with; it is counted in that one's own row."""

    def __iter__(self) -> Iterator[Scope]:
        """Go through all of them, the tenant's first."""
        yield self.tenant
        yield self.task
        yield from self.more

    def amount(self, scope: Scope, micros: int) -> int:
        """Give what an ask of so many micro-dollars needs of a scope, in its unit."""
        if scope.unit == "usd":
            return micros
        return self.tokens if scope.unit == "tokens" else 1

    def lacking(self, micros: int) -> Scope | None:
        """Give the budget that cannot take an ask of so many micro-dollars, the tenant's first."""
        if self.tenant.lacks(micros):
            return self.tenant
        if self.task.lacks(micros):
            return self.task
        for scope in self.more:
            if scope.lacks(self.amount(scope, micros)):
                return scope
        of_workflow = self.of_workflow
        return of_workflow if of_workflow is not None and of_workflow.lacks(micros) else None

    def explain(self, scope: Scope, micros: int) -> str:
        """Say why a budget cannot take an ask of so many micro-dollars."""
        return scope.explain(self.amount(scope, micros))

    def first(self, level: Level, unit: Unit = "usd") -> Scope | None:
        """Give the first budget of a level in a unit, or None where nothing limits it."""
        return next((scope for scope in self if (scope.level, scope.unit) == (level, unit)), None)

    @property
    def workflow_spent(self) -> int | None:
        """What the workflow has spent, in micro-dollars; None where no limit has it counted."""
        found = self.first("workflow")
        return None if found is None else found.spent

    @property
    def workflow_held(self) -> int | None:
        """What the workflow holds, in micro-dollars; None where no limit has it counted."""
        found = self.first("workflow")
        return None if found is None else found.held

    @property
    def tenant_limit(self) -> int | None:
        """The tenant's main hard limit in micro-dollars, or None."""
        return None if self.tenant.limit is None else self.tenant.limit.limit_micros
