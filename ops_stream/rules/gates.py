"""Which policies need looking at: an index over the simple comparisons in their conditions.

A gate is a comparison of a field with a literal, such as `task_type == "refund"` or `cost > 5.0`. The gates
of a condition are chosen so that it is false where all of them are: of `a && b` those of one side, of
`a || b` those of both. That holds whatever else in the condition cannot be decided, since false && error is
false. A gate whose field is missing counts as open.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from ops_stream.rules.checked_expr import Call, Const, Ident, ListOf, Node

_UP: Final = {"_>_": True, "_>=_": True, "_<_": False, "_<=_": False}
_GATES_MAX: Final = 8


@dataclass(frozen=True, slots=True)
class Equal:
    """Open where the field has this value."""

    field: str
    value: str | int | float


@dataclass(frozen=True, slots=True)
class Above:
    """Open where the field is at least this bound; with `up` false, at most."""

    field: str
    bound: int | float
    up: bool


Gate = Equal | Above


def gates_of(node: Node, fields: Mapping[str, str], common: Counter[Gate]) -> frozenset[Gate]:
    """Choose the gates of a condition, the rarest first; none where it must always be looked at."""
    match node:
        case Call(function="_&&_", args=args):
            choices = [gates for gates in (gates_of(one, fields, common) for one in args) if gates]
            return min(choices, key=lambda gates: _width(gates, common), default=frozenset())
        case Call(function="_||_", args=args):
            sides = [gates_of(one, fields, common) for one in args]
            union = frozenset().union(*sides)
            return union if all(sides) and len(union) <= _GATES_MAX else frozenset()
        case Call(function="_==_", args=(left, right)):
            return _equal(left, right, fields) or _equal(right, left, fields)
        case Call(function="@in", args=(Ident(name=name), ListOf(items=items))):
            return _one_of(name, items, fields)
        case Call(function=function, args=(left, right)) if function in _UP:
            up = _UP[function]
            return _bound(left, right, up, fields) or _bound(right, left, not up, fields)
    return frozenset()


def counted(nodes: Iterable[Node], fields: Mapping[str, str]) -> Counter[Gate]:
    """Count how often each comparison occurs, so that rare ones can be preferred."""
    common: Counter[Gate] = Counter()
    for node in nodes:
        stack = [node]
        while stack:
            one = stack.pop()
            if isinstance(one, Call) and one.function in ("_&&_", "_||_"):
                stack.extend(one.args)
            else:
                common.update(gates_of(one, fields, Counter()))
    return common


def _width(gates: frozenset[Gate], common: Counter[Gate]) -> tuple[int, int, list[str]]:
    bounds = sum(isinstance(gate, Above) for gate in gates)
    return bounds, sum(common[gate] for gate in gates), sorted(map(repr, gates))


def _equal(field: Node, literal: Node, fields: Mapping[str, str]) -> frozenset[Gate]:
    if isinstance(field, Ident) and isinstance(literal, Const):
        return _one_of(field.name, (literal,), fields)
    return frozenset()


def _one_of(name: str, items: Iterable[Node], fields: Mapping[str, str]) -> frozenset[Gate]:
    types = {"string": (str,), "int": (int, float), "double": (int, float)}.get(fields.get(name, ""), ())
    values = [item.value for item in items if isinstance(item, Const) and type(item.value) in types]
    gates = frozenset(Equal(name, value) for value in values if isinstance(value, str | int | float))
    return gates if len(values) == len(tuple(items)) and len(gates) <= _GATES_MAX else frozenset()


def _bound(field: Node, literal: Node, up: bool, fields: Mapping[str, str]) -> frozenset[Gate]:
    if not isinstance(field, Ident) or fields.get(field.name) not in ("int", "double"):
        return frozenset()
    if not isinstance(literal, Const) or type(literal.value) not in (int, float):
        return frozenset()
    bound = literal.value
    if not isinstance(bound, int | float) or bound != bound:
        return frozenset()
    return frozenset((Above(field.name, bound, up),))
