"""What a condition can ever be: whether it can hold at all, and whether another always holds where it does.

A condition is written as a choice of branches, each a list of plain facts about fields (`cost > 5`,
`tool == "x"`, `has(given.tool)`, or some other expression that is true or false). A branch is impossible where
its facts contradict each other or what a field can be. Whatever is not understood counts as possible, so that
"impossible" is certain and "possible" is not.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ops_stream.rules.checked_expr import Call, Const, Ident, ListOf, Node, Select, children
from ops_stream.rules.fields import FIELDS, GIVEN

BRANCHES_MAX: Final = 64

RANGES: Final[dict[str, tuple[float, float]]] = {
    "priority": (1, 10),
    "hour": (0, 23),
    "weekday": (1, 7),
    "error_rate": (0, 1),
    "quality_score": (0, 1),
    "agent_score_cost_efficiency": (0, 1),
    "agent_score_reliability": (0, 1),
    "agent_score_quality": (0, 1),
    "agent_score_speed": (0, 1),
}
"""What a number can be; of the others those below are never negative."""
SIGNED: Final = frozenset(("tenant_left_usd",))
WORDS: Final[dict[str, tuple[str, ...]]] = {
    "complexity": ("low", "medium", "high"),
    "customer_impact": ("none", "low", "medium", "high"),
    "effect": ("none", "reversible", "irreversible"),
    "kind": ("started", "progress", "completed", "failed", "cancelled"),
    "agent_state": ("registered", "active", "warned", "suspended", "blocked"),
}
"""What a text can be, of those that are chosen from a few words."""

_ORDER: Final = {"_<_": "<", "_<=_": "<=", "_>_": ">", "_>=_": ">="}
_OPPOSITE: Final = {
    "<": ">=",
    "<=": ">",
    ">": "<=",
    ">=": "<",
    "==": "!=",
    "!=": "==",
    "in": "not in",
    "is": "is not",
}
_TURNED: Final = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that must be so: a field compared with a literal, or an expression that `is` or `is not`."""

    subject: Any
    """The field's name; for other expressions their shape."""
    sign: str
    value: Any
    node: int
    """Where it stands."""

    @property
    def opposite(self) -> "Fact":
        """The fact that holds where this one is false."""
        return Fact(self.subject, _OPPOSITE[self.sign], self.value, self.node)


Branch = tuple[Fact, ...]


@dataclass(frozen=True, slots=True)
class Contradiction:
    """Why a branch is impossible."""

    why: str
    node: int


@dataclass(slots=True)
class Effort:
    """How many branches may still be looked at; past that everything counts as possible."""

    left: int = 300_000


def branches(node: Node, when: str, *, holds: bool = True) -> list[Branch] | None:
    """Give the branches in which a condition holds (or does not); None where there are too many."""
    match node:
        case Const(value=bool(value)):
            return [()] if value is holds else []
        case Call(function="!_", args=(inner,)):
            return branches(inner, when, holds=not holds)
        case Call(function="_&&_" | "_||_" as function, args=args):
            parts = [branches(one, when, holds=holds) for one in args]
            return _all_of(parts) if (function == "_&&_") is holds else _one_of(parts)
    fact = _fact(node, when)
    return [(fact if holds else fact.opposite,)]


def contradiction(branch: Iterable[Fact], when: str) -> Contradiction | None:
    """Give why a branch is impossible, or None where it may be possible."""
    known = _Known(when)
    for fact in branch:
        why = known.add(fact)
        if why is not None:
            return Contradiction(why, fact.node)
    return None


def implies(
    one: Sequence[Branch] | None, other_not: Sequence[Branch] | None, when: str, effort: Effort
) -> bool:
    """Say whether a condition certainly holds wherever another does, given where it does not hold."""
    if one is None or other_not is None or effort.left < len(one) * len(other_not):
        return False
    effort.left -= len(one) * len(other_not)
    return all(contradiction((*mine, *theirs), when) is not None for mine in one for theirs in other_not)


def _all_of(parts: Sequence[list[Branch] | None]) -> list[Branch] | None:
    found: list[Branch] = [()]
    for part in parts:
        if part is None:
            return None
        found = [(*before, *after) for before in found for after in part]
        if len(found) > BRANCHES_MAX:
            return None
    return found


def _one_of(parts: Sequence[list[Branch] | None]) -> list[Branch] | None:
    found: list[Branch] = []
    for part in parts:
        if part is None or len(found) + len(part) > BRANCHES_MAX:
            return None
        found += part
    return found


def _fact(node: Node, when: str) -> Fact:
    fields = FIELDS[when]
    match node:
        case Call(function=function, args=(Ident(name=name), Const(value=value))) if name in fields:
            sign = _ORDER.get(function) or {"_==_": "==", "_!=_": "!="}.get(function)
            if sign is not None and _plain(value, fields[name].kind, sign):
                return Fact(name, sign, value, node.id)
        case Call(function=function, args=(Const(value=value), Ident(name=name))) if name in fields:
            sign = _TURNED.get(_ORDER.get(function, "")) or {"_==_": "==", "_!=_": "!="}.get(function)
            if sign is not None and _plain(value, fields[name].kind, sign):
                return Fact(name, sign, value, node.id)
        case Call(function="@in", args=(Ident(name=name), ListOf(items=items))) if name in fields:
            values = [one.value for one in items if isinstance(one, Const)]
            if len(values) == len(items) and all(_plain(one, fields[name].kind, "==") for one in values):
                return Fact(name, "in", frozenset(values), node.id)
        case Select(operand=Ident(name=name), field=asked, test=True) if name == GIVEN:
            return Fact(("has", asked), "is", True, node.id)
    return Fact(_shape(node), "is", True, node.id)


def _plain(value: Any, kind: str, sign: str) -> bool:
    """Say whether a comparison with this literal is understood: numbers by any sign, texts by equality."""
    if kind in ("int", "double"):
        return type(value) in (int, float) and math.isfinite(value)
    return kind == "string" and type(value) is str and sign in ("==", "!=")


def _shape(node: Node) -> tuple[Any, ...]:
    """Give what an expression says, wherever it stands."""
    own = tuple(
        (name, type(value).__name__, value)
        for name in ("value", "name", "field", "test", "function", "variable")
        if not isinstance(value := getattr(node, name, None), Node) and value is not None
    )
    return (
        type(node).__name__,
        node.id if type(node).__name__ == "Other" else 0,
        own,
        *map(_shape, children(node)),
    )


@dataclass(slots=True)
class _Number:
    low: float
    high: float
    low_open: bool = False
    high_open: bool = False
    not_these: set[float] = field(default_factory=set)

    def empty(self) -> bool:
        if self.low == self.high:
            return self.low_open or self.high_open or self.low in self.not_these
        return self.low > self.high

    def above(self, bound: float, open_: bool) -> None:
        if bound > self.low or (bound == self.low and open_):
            self.low, self.low_open = bound, open_

    def below(self, bound: float, open_: bool) -> None:
        if bound < self.high or (bound == self.high and open_):
            self.high, self.high_open = bound, open_


class _Known:
    """What the facts so far leave open."""

    def __init__(self, when: str) -> None:
        self.fields = FIELDS[when]
        self.numbers: dict[str, _Number] = {}
        self.only: dict[str, frozenset[Any]] = {}
        self.never: dict[str, set[Any]] = {}
        self.truths: dict[Any, bool] = {}

    def add(self, fact: Fact) -> str | None:
        """Take a fact in; gives why it cannot be, in view of the others."""
        if fact.sign in ("is", "is not"):
            return self._truth(fact.subject, fact.sign == "is")
        name = fact.subject
        absent = self._truth(("has", name), True)
        if absent is not None:
            return absent
        if self.fields[name].kind == "string":
            return self._text(name, fact)
        return self._number(name, fact)

    def _truth(self, subject: Any, value: bool) -> str | None:
        asked = subject[1] if isinstance(subject, tuple) and subject[:1] == ("has",) else None
        if asked is not None and not value and asked in self.fields and self.fields[asked].always:
            return f"every event has '{asked}'"
        if self.truths.setdefault(subject, value) is value:
            return None
        return (
            f"it needs '{asked}' to be there and not to be there"
            if asked is not None
            else "it contradicts itself"
        )

    def _text(self, name: str, fact: Fact) -> str | None:
        words = WORDS.get(name)
        values = frozenset((fact.value,)) if fact.sign in ("==", "!=") else fact.value
        if fact.sign in ("==", "in"):
            before = self.only.get(name)
            if before is None and words is not None:
                before = frozenset(words)
            self.only[name] = values if before is None else values & before
        else:
            self.never.setdefault(name, set()).update(values)
            if words is not None:
                self.only.setdefault(name, frozenset(words))
        left = self.only.get(name)
        if left is None or left - self.never.get(name, set()):
            return None
        if words is not None and fact.sign in ("==", "in") and not values & frozenset(words):
            return f"'{name}' is always {_listed(words)}"
        return f"no value is left for '{name}'"

    def _number(self, name: str, fact: Fact) -> str | None:
        low, high = RANGES.get(name, (float("-inf") if name in SIGNED else 0, float("inf")))
        number = self.numbers.setdefault(name, _Number(low, high))
        whole = self.fields[name].kind == "int"
        _narrow(number, fact.sign, fact.value, whole)
        if not number.empty():
            return None
        alone = _Number(low, high)
        _narrow(alone, fact.sign, fact.value, whole)
        if alone.empty():
            return f"'{name}' is always {_between(low, high)}"
        return f"no value is left for '{name}'"


def _narrow(number: _Number, sign: str, value: Any, whole: bool) -> None:
    if sign in ("==", "in"):
        values = [value] if sign == "==" else sorted(value)
        fitting = [one for one in values if _within(one, number, whole)]
        if not fitting:
            number.low, number.high, number.low_open = 1, 0, False
            return
        number.above(min(fitting), False)
        number.below(max(fitting), False)
    elif sign in ("!=", "not in"):
        number.not_these.update([value] if sign == "!=" else value)
    elif sign in (">", ">="):
        open_ = sign == ">"
        if whole:
            value, open_ = (value // 1) + 1 if open_ or value % 1 else value, False
        number.above(value, open_)
    else:
        open_ = sign == "<"
        if whole:
            value, open_ = -((-value // 1) + 1) if open_ or value % 1 else value, False
        number.below(value, open_)


def _within(value: float, number: _Number, whole: bool) -> bool:
    if whole and value % 1:
        return False
    above = value > number.low or (value == number.low and not number.low_open)
    below = value < number.high or (value == number.high and not number.high_open)
    return above and below and value not in number.not_these


def _between(low: float, high: float) -> str:
    return f"{low:g} or more" if high == float("inf") else f"{low:g} to {high:g}"


def _listed(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"
