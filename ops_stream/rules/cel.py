"""Conditions in CEL: compiled and type-checked at load against the declared fields.

CEL itself is the reference: what the generated fast path (`codegen`) cannot do is evaluated here, and the
fuzz test compares both. Three things of `cel-expr-python` need care:

- a CEL error is a returned value, not an exception (a spent iteration budget is an exception, though);
- `cost > 1` compares a double with an int, for which the standard library declares no overload although the
  runtime has it: the comparisons are therefore declared anew, with the mixed ones;
- values must be plain: lists rather than tuples, floats rather than decimals, integers of 64 bits.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any, Final

from cel_expr_python import cel

from ops_stream.rules import checked_expr
from ops_stream.rules.cel_errors import Fault, explain
from ops_stream.rules.fields import FIELDS, GIVEN

INT_MIN: Final = -(1 << 63)
INT_MAX: Final = (1 << 63) - 1

_T: Final = cel.Type
_STANDARD: Final = {
    "bool": _T.BOOL,
    "int64": _T.INT,
    "uint64": _T.UINT,
    "double": _T.DOUBLE,
    "string": _T.STRING,
    "bytes": _T.BYTES,
    "timestamp": _T.TIMESTAMP,
    "duration": _T.DURATION,
}
_MIXED: Final = (("double", "int64"), ("int64", "double"))
_ORDER: Final = {"_<_": "less", "_<=_": "less_equals", "_>_": "greater", "_>=_": "greater_equals"}
_EQUAL: Final = {"_==_": "equals", "_!=_": "not_equals"}
_FIELD_TYPES: Final = {
    "string": _T.STRING,
    "int": _T.INT,
    "double": _T.DOUBLE,
    "bool": _T.BOOL,
    "list": _T.List(_T.STRING),
    "map": _T.Map(_T.STRING, _T.DYN),
}


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition that has passed the check."""

    source: str
    when: str
    tree: checked_expr.Checked
    expression: Any

    def decide(self, view: Mapping[str, Any]) -> bool | None:
        """Evaluate by CEL itself: true, false, or nothing where it cannot be decided."""
        return self.decide_in(activation(view, self.when))

    def decide_in(self, shown: Any) -> bool | None:
        """The same for an activation, which serves many conditions."""
        try:
            value = self.expression.eval(shown)
        except (RuntimeError, ValueError, TypeError, OverflowError):
            return None
        if value.type() != _T.BOOL:
            return None
        return bool(value.value())


def compile_condition(source: str, when: str) -> Condition | tuple[Fault, ...]:
    """Compile and type-check a condition, or give everything that CEL finds wrong with it."""
    try:
        expression = _environment(when).compile(source)
    except RuntimeError as error:
        return explain(str(error), source, when)
    if expression.return_type() != _T.BOOL:
        kind = expression.return_type().name().lower()
        hint = "Compare it: for example 'attributes.flag == true'." if kind == "dyn" else "Compare it."
        return (Fault(1, 1, f"A condition is true or false; this one gives {kind}.", hint),)
    return Condition(source, when, checked_expr.read(expression.serialize()), expression)


def activation(view: Mapping[str, Any], when: str) -> Any:
    """Give a view as CEL evaluates conditions in it."""
    known = FIELDS[when].keys() | {GIVEN}
    shown = plain_view(view)
    return _environment(when).Activation({name: shown[name] for name in shown.keys() & known})


def plain_view(view: Mapping[str, Any]) -> dict[str, Any]:
    """Give the view as CEL takes it, with `given` for `has(given.tool)`."""
    fields = {name: plain(value) for name, value in view.items() if value is not None}
    return {**fields, GIVEN: fields}


def plain(value: Any) -> Any:
    """Give a JSON-like value as CEL takes it; an integer of more than 64 bits is a double, as in JSON."""
    kind = type(value)
    if kind is str or kind is float or kind is bool or value is None:
        return value
    if kind is int:
        return value if INT_MIN <= value <= INT_MAX else to_float(value)
    if isinstance(value, Decimal):
        return to_float(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, str):
        return str.__str__(value)
    return value


def to_float(value: int | Decimal) -> float:
    """Give a number as a double; what is beyond all doubles is infinite."""
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


@cache
def _environment(when: str) -> Any:
    variables = {name: _FIELD_TYPES[field.kind] for name, field in FIELDS[when].items()}
    variables[GIVEN] = _T.Map(_T.STRING, _T.DYN)
    names = (*_ORDER, *_EQUAL)
    config = cel.NewEnvConfigFromYaml(
        "stdlib:\n  exclude_functions:\n" + "".join(f'    - name: "{name}"\n' for name in names)
    )
    functions = [cel.FunctionDecl(name, _overloads(stem)) for name, stem in _ORDER.items()]
    functions += [
        cel.FunctionDecl(name, [*_overloads(stem), *_equalities(stem)]) for name, stem in _EQUAL.items()
    ]
    return cel.NewEnv(config=config, variables=variables, functions=functions)


def _overloads(stem: str) -> list[Any]:
    same = [_overload(f"{stem}_{name}", kind, kind) for name, kind in _STANDARD.items()]
    mixed = [_overload(f"{stem}_{left}_{right}", _STANDARD[left], _STANDARD[right]) for left, right in _MIXED]
    return same + mixed


def _equalities(stem: str) -> list[Any]:
    lists, maps = _T.List(_T.DYN), _T.Map(_T.DYN, _T.DYN)
    return [
        _overload(f"{stem}_null", _T.NULL, _T.NULL),
        _overload(f"{stem}_list", lists, lists),
        _overload(f"{stem}_map", maps, maps),
    ]


def _overload(name: str, left: Any, right: Any) -> Any:
    return cel.Overload(name, _T.BOOL, [left, right], False)
