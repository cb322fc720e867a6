"""`budgets.yaml`: what may be spent, by whom, of what, within which time."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import Field, field_validator, model_validator

from ops_stream.contract.wire import ID_PATTERN
from ops_stream.core.rules_budgets import (
    EVERY,
    LENGTH,
    Bound,
    Budgets,
    Key,
    Level,
    Limit,
    Unit,
    WindowKind,
)
from ops_stream.rules.catalogue import meant
from ops_stream.rules.conf_check import check
from ops_stream.rules.conf_models import ENTRIES_MAX, ConfFile, Part, Selector, Usd, Words, fault
from ops_stream.rules.problems import Problem
from ops_stream.rules.yamlfile import Document

DURATIONS: Final[dict[str, WindowKind]] = {
    "1h": "hour", "1d": "day", "24h": "day", "7d": "week", "30d": "month", "1mo": "month",
}  # fmt: skip
"""LiteLLM's `budget_duration`, where it means a window of ours: 7d begins on Monday, 30d on the first of the month."""
SOFT_ALERTS: Final = (50, 80, 100)
"""Where a soft limit alerts, in percent, unless it says otherwise."""
_LIMITS: Final[dict[str, Unit]] = {
    "limit_usd": "usd",
    "max_budget": "usd",
    "limit_tokens": "tokens",
    "limit_requests": "requests",
    "limit_concurrent": "concurrent",
}

Count = Annotated[int, Field(ge=0, le=10**15)]
Percent = Annotated[int, Field(ge=1, le=1000)]
Target = Annotated[str, Field(min_length=1, max_length=256)]


class BudgetEntry(Part):
    """One limit of `budgets.yaml`."""

    scope: Level = "tenant"
    tenant: Selector = EVERY
    target: Target = EVERY
    limit_usd: Usd | None = None
    max_budget: Usd | None = None
    limit_tokens: Count | None = None
    limit_requests: Count | None = None
    limit_concurrent: Count | None = None
    window: WindowKind | None = None
    budget_duration: str | None = None
    soft: bool = False
    alert_at: Annotated[list[Percent], Field(min_length=1, max_length=20)] | None = None
    description: Words = ""

    @field_validator("budget_duration")
    @classmethod
    def _duration(cls, duration: str | None) -> str | None:
        if duration is not None and duration not in DURATIONS:
            raise fault(
                f"The duration '{duration}' is no window that budgets have.",
                f"Use one of: {', '.join(DURATIONS)}, or 'window: total' for ever.",
            )
        return duration

    @model_validator(mode="after")
    def _once(self) -> "BudgetEntry":
        given = self._given
        if len(given) != 1:
            what = "neither" if not given else f"both '{given[0]}' and '{given[1]}'"
            choice = "limit_usd (or max_budget), limit_tokens, limit_requests, limit_concurrent"
            raise fault(f"A budget has exactly one limit, not {what}.", f"Write one of {choice}.")
        if self.window is not None and self.budget_duration is not None:
            raise fault(
                "'window' and 'budget_duration' say the same thing.", "Keep one of them.", "budget_duration"
            )
        windowed = "window" if self.window is not None else "budget_duration"
        if self.unit == "concurrent" and (self.window or self.budget_duration):
            raise fault("What runs at the same time has no window.", f"Leave '{windowed}' out.", windowed)
        if self.window == "task" and self.scope != "task":
            raise fault(
                "The window 'task' is for the scope 'task'.", "Use hour, day, week, month or total.", "window"
            )
        return self

    @model_validator(mode="after")
    def _named(self) -> "BudgetEntry":
        if self.scope == "tenant" and self.target != EVERY:
            raise fault("A tenant's budget has no target.", "Name the tenant with 'tenant'.", "target")
        if self.scope not in ("tenant", "model") and self.target != EVERY and not _is_id(self.target):
            message = "'target' must be * or 1 to 128 characters of letters, digits and . _ : @ / -"
            raise fault(f"{message}.", "Use '-' for a space.", "target")
        return self

    @property
    def _given(self) -> list[str]:
        return [name for name in _LIMITS if getattr(self, name) is not None]

    @property
    def unit(self) -> Unit:
        """What the limit counts."""
        return _LIMITS[self._given[0]]

    @property
    def kind(self) -> WindowKind:
        """The window, whichever word was used."""
        if self.budget_duration is not None:
            return DURATIONS[self.budget_duration]
        if self.unit == "concurrent":
            return "total"
        return self.window or ("task" if self.scope == "task" else "month")

    @property
    def limit(self) -> Limit:
        """The limit, whichever words were used."""
        alert_at = self.alert_at if self.alert_at is not None else SOFT_ALERTS if self.soft else ()
        amount: int = getattr(self, self._given[0])
        return Limit(amount, self.kind, tuple(sorted(set(alert_at))))

    @property
    def slot(self) -> tuple[Any, ...]:
        """What there may be only one limit for."""
        return (self.scope, self.tenant, self.target, self.unit, LENGTH[self.kind], self.soft)


class BudgetsFile(ConfFile):
    """`budgets.yaml`."""

    budgets: Annotated[list[BudgetEntry], Field(max_length=ENTRIES_MAX)] = Field(default_factory=list)


def _is_id(text: str) -> bool:
    return re.fullmatch(ID_PATTERN, text) is not None


def read_budgets(
    document: Document, models: Document | None, aliases: Mapping[str, str], problems: list[Problem]
) -> Budgets:
    """Read the limits. Where `models.yaml` lists models, a budget may name no other."""
    file = check(BudgetsFile, document, (), problems)
    if file is None:
        return Budgets()
    first: dict[tuple[Any, ...], int] = {}
    names = _models_of(models)
    for at, entry in enumerate(file.budgets):
        before = first.setdefault(entry.slot, at)
        if before != at:
            line = document.at(("budgets", before)).line
            problems.append(
                document.problem(
                    ("budgets", at), f"{_what(entry)} is given twice, first in line {line}.", "Keep one."
                )
            )
        if entry.scope == "model" and names and entry.target not in (EVERY, *names):
            message = f"The model '{entry.target}' is not in models.yaml."
            hint = meant(entry.target, names, aliases)
            problems.append(document.problem(("budgets", at, "target"), message, hint))
    return budgets_from(file.budgets)


def _what(entry: BudgetEntry) -> str:
    if entry.scope == "tenant":
        return f"The tenant budget of '{entry.tenant}'"
    if entry.target == EVERY:
        return f"The {entry.scope} budget of '{entry.tenant}'"
    return f"The budget of {entry.scope} '{entry.target}' of '{entry.tenant}'"


def _models_of(models: Document | None) -> list[str]:
    listed = models.data.get("models") if models is not None and isinstance(models.data, dict) else None
    entries = listed if isinstance(listed, list) else []
    return [str(one["name"]) for one in entries if isinstance(one, dict) and "name" in one]


def budgets_from(entries: Sequence[BudgetEntry]) -> Budgets:
    """Build the table of limits; the order of the entries never matters."""
    written: dict[Key, list[Bound]] = defaultdict(list)
    mains: dict[Literal["tenant", "task"], dict[str, list[Limit]]] = {"tenant": {}, "task": {}}
    plain = True
    for entry in sorted(entries, key=lambda one: one.slot):
        limit = entry.limit
        hard, soft = (None, limit) if entry.soft else (limit, None)
        written[entry.scope, entry.tenant, entry.target].append(Bound(entry.unit, limit.window, hard, soft))
        main = entry.unit == "usd" and not entry.soft and entry.target == EVERY
        if main and (entry.scope == "tenant" or entry.scope == "task"):
            mains[entry.scope].setdefault(entry.tenant, []).append(limit)
        else:
            plain = False
    tenants, clear = _main_limits(mains["tenant"])
    tasks, clear_too = _main_limits(mains["task"])
    alerts = any(entry.limit.alert_at for entry in entries)
    more = {} if plain and clear and clear_too else {key: _merged(found) for key, found in written.items()}
    return Budgets(tenants, tasks, more, alerts)


def _main_limits(limits: dict[str, list[Limit]]) -> tuple[dict[str, Limit], bool]:
    """Give the longest limit of each tenant, and whether it is the only one that binds there."""
    clear = True
    found: dict[str, Limit] = {}
    for_all = limits.get(EVERY, [])
    for tenant, own in limits.items():
        windows = {LENGTH[one.window] for one in own}
        binding = [*own, *(one for one in for_all if LENGTH[one.window] not in windows)]
        found[tenant] = max(binding, key=lambda one: LENGTH[one.window])
        clear = clear and len(binding) == 1
    return found, clear


def _merged(bounds: list[Bound]) -> tuple[Bound, ...]:
    """Put the hard and the soft limit of one unit and window together."""
    found: dict[tuple[Unit, int], Bound] = {}
    for one in bounds:
        slot = (one.unit, LENGTH[one.window])
        known = found.get(slot)
        found[slot] = (
            one
            if known is None
            else Bound(one.unit, known.window, known.hard or one.hard, known.soft or one.soft)
        )
    return tuple(found.values())
