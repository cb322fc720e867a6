"""Values within conditions as Python: fields, literals, parts of maps, arithmetic. See `codegen`."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from ops_stream.rules.checked_expr import Call, Checked, Const, Ident, Kind, Node, Select
from ops_stream.rules.fields import GIVEN

_ARITHMETIC: Final = {"_+_": "add", "_-_": "subtract", "_*_": "multiply", "_/_": "divide", "_%_": "modulo"}
_DIRECT: Final = {"_+_": "+", "_-_": "-", "_*_": "*"}
"""Where Python's arithmetic of doubles is CEL's."""
NUMERIC: Final = ("int", "double")


class NotCovered(Exception):
    """The fast path does not do this; CEL does."""


@dataclass(frozen=True, slots=True)
class Value:
    """A value as Python, and what is known of it."""

    code: str
    kind: Kind
    guard: str = ""
    """The field that this is, where it is one."""
    element: str = ""
    """The value as it is found in a field that is a map, not yet as CEL sees it."""
    hard: bool = False
    constant: bool = False
    computed: bool = False
    """A double from arithmetic: not a number, perhaps, although nothing is missing."""


@dataclass(slots=True)
class Names:
    """What the generated code refers to by name beside its fields: compiled patterns and sets."""

    compile_pattern: Callable[[str], Callable[[bytes], Any]]
    bound: dict[str, Any] = field(default_factory=dict)
    _by_value: dict[Any, str] = field(default_factory=dict)

    def pattern(self, pattern: str) -> str:
        """Name the search of a compiled pattern."""
        return self._name(("pattern", pattern), lambda: self.compile_pattern(pattern))

    def constant(self, kind: str, value: Any) -> str:
        """Name a constant that has no literal of its own; `kind` keeps 1, 1.0 and true apart."""
        return self._name((kind, value), lambda: value)

    def _name(self, key: Any, make: Callable[[], Any]) -> str:
        if key not in self._by_value:
            self._by_value[key] = f"k{len(self._by_value)}"
            self.bound[self._by_value[key]] = make()
        return self._by_value[key]


def variable(name: str) -> str:
    """Name the local variable that holds a field."""
    return f"v_{name}"


class Values:
    """Turns the nodes of one condition that stand for values into Python."""

    def __init__(self, tree: Checked, names: Names, present: bool) -> None:
        """With `present`, the code is for events that have all fields of the condition."""
        self.tree = tree
        self.names = names
        self.present = present
        self.elements: dict[str, Value] = {}

    def value(self, node: Node) -> Value:
        match node:
            case Const():
                return self._const(node)
            case Ident():
                return self._ident(node)
            case Select(test=False):
                holder = self.value(node.operand)
                if holder.kind.name not in ("map", "dyn"):
                    raise NotCovered("a field of something else than a map")
                return self._inside(f"select({holder.code}, {node.field!r})", holder, node.field)
            case Call(function="_[_]", args=(operand, key)):
                return self._index(self.value(operand), key)
            case Call(function="size", args=(operand,)):
                sized = self.value(operand)
                return self._computed(node, f"size({self.boxed(sized)})")
            case Call(function="-_", args=(operand,)):
                negated = self.value(operand)
                return self._computed(node, f"negate({self.boxed(negated)})")
            case Call(function=name, args=(left, right)) if name in _ARITHMETIC:
                one, other = self.value(left), self.value(right)
                if self.present and name in _DIRECT and _doubles(one, other):
                    code = f"({one.code} {_DIRECT[name]} {other.code})"
                    return Value(code, Kind("double"), computed=True)
                code = f"{_ARITHMETIC[name]}({self.boxed(one)}, {self.boxed(other)})"
                return self._computed(node, code)
        raise NotCovered(type(node).__name__)

    def _const(self, node: Const) -> Value:
        value = node.value
        if isinstance(value, float) and not math.isfinite(value):
            return Value(self.names.constant("float", value), Kind("double"), constant=True)
        kind = {bool: "bool", int: "int", float: "double", str: "string"}.get(type(value), "null")
        code = f"({value!r})" if isinstance(value, int | float) else repr(value)
        return Value(code, Kind(kind), constant=True)

    def _ident(self, node: Ident) -> Value:
        if node.name in self.elements:
            return self.elements[node.name]
        if node.name == GIVEN:
            raise NotCovered("the whole event as a value")
        kind = self.tree.kind(node)
        return Value(variable(node.name), kind, guard=node.name)

    def _inside(self, code: str, holder: Value, key: str | None) -> Value:
        found = "" if holder.hard or key is None else f"{holder.code}.get({key!r}, MISSING)"
        element = found if self.present and holder.guard else ""
        return Value(code, holder.kind.item or Kind("dyn"), hard=True, element=element)

    def _index(self, holder: Value, key: Node) -> Value:
        if isinstance(key, Const) and type(key.value) is int and holder.kind.name in ("list", "dyn"):
            if not holder.hard:
                raise NotCovered("an index into a field")
            return self._inside(f"item({holder.code}, {key.value!r})", holder, None)
        if isinstance(key, Const) and type(key.value) is str and holder.kind.name in ("map", "dyn"):
            return self._inside(f"select({holder.code}, {key.value!r})", holder, str(key.value))
        raise NotCovered("a computed index")

    def _computed(self, node: Node, code: str) -> Value:
        return Value(code, self.tree.kind(node), hard=True)

    def boxed(self, value: Value) -> str:
        """Give a value to a helper, which knows a missing number as MISSING."""
        if self.present or not value.guard or value.hard or value.kind.name not in NUMERIC:
            return value.code
        return f"(MISSING if {value.code} != {value.code} else {value.code})"

    def asked(self, *values: Value) -> str:
        """Ask whether the fields are there, where they may not be."""
        if self.present:
            return ""
        return "".join(
            f"{value.code} == {value.code} and "
            if value.kind.name in NUMERIC
            else f"{value.code} is not MISSING and "
            for value in values
            if value.guard
        )


def _doubles(*values: Value) -> bool:
    return all(value.kind.name == "double" and not value.hard for value in values)
