"""Python generated from the checked tree of a condition: the fast path of the policies.

Every condition becomes two Python expressions: `yes` is true where CEL gives true, `no` where CEL gives
false; where neither is, the condition cannot be decided. That is CEL's logic of errors in plain Boolean
terms: `a && b` is yes where both are yes, no where one of them is no, whatever the other does.

A field that the event lacks is `MISSING` (a number: NaN, since each comparison with it is false). A `hard`
condition may be undecidable even where no field is missing. The text of a condition never reaches the
generated code: only declared field names, our own helpers and literals written by `repr` or bound by name
do. What is not covered raises `NotCovered`, and CEL itself evaluates that condition.
"""

from dataclasses import dataclass
from typing import Final

from ops_stream.rules.checked_expr import Call, Checked, Const, Ident, Kind, ListOf, Loop, Node, Select, walk
from ops_stream.rules.codegen_values import NUMERIC, Names, NotCovered, Value, Values
from ops_stream.rules.fields import GIVEN

CODE_MAX: Final = 20_000
"""Longer code than this is left to CEL; only choices within choices double it."""

_ORDER: Final = {
    "_<_": ("<", ">=", "less"),
    "_<=_": ("<=", ">", "less_equal"),
    "_>_": (">", "<=", "greater"),
    "_>=_": (">=", "<", "greater_equal"),
}
_TEXT: Final = {
    "contains": ("{1} in {0}", "contains"),
    "startsWith": ("{0}.startswith({1})", "starts_with"),
    "endsWith": ("{0}.endswith({1})", "ends_with"),
}


@dataclass(frozen=True, slots=True)
class Truth:
    """A condition as Python: where it is true, where it is false, and whether it may be neither."""

    yes: str
    no: str
    hard: bool = False
    cost: int = 1
    """Roughly how dear it is to evaluate: cheap parts come first, which CEL's logic allows."""


def generate(tree: Checked, names: Names, *, present: bool) -> Truth:
    """Turn a condition into Python; with `present`, for events that have all of its fields."""
    truth = _Generator(tree, names, present).truth(tree.root)
    if len(truth.yes) + len(truth.no) > CODE_MAX:
        raise NotCovered("the code would be too long")
    return truth


def fields_of(tree: Checked) -> frozenset[str]:
    """Give the fields that the condition reads; those that it only asks for by `has(given.…)` are not."""
    return frozenset(
        node.name
        for node in walk(tree.root)
        if isinstance(node, Ident) and node.name != GIVEN and node.name[:1] not in "@#"
    )


def asked_of(tree: Checked) -> frozenset[str]:
    """Give the fields that the condition asks for by `has(given.…)`."""
    return frozenset(
        node.field
        for node in walk(tree.root)
        if isinstance(node, Select) and isinstance(node.operand, Ident) and node.operand.name == GIVEN
    )


class _Generator(Values):
    def truth(self, node: Node) -> Truth:
        """Turn a node in the place of a condition into Python."""
        match node:
            case Const(value=bool(value)):
                return Truth(str(value), str(not value))
            case Select(test=True):
                return self._has(node)
            case Call(function="!_", args=(inner,)):
                truth = self.truth(inner)
                return Truth(truth.no, truth.yes, truth.hard, truth.cost)
            case Call(function="_&&_" | "_||_"):
                return self._junction(node)
            case Call(function="_?_:_", args=(test, then, otherwise)):
                return self._choice(self.truth(test), self.truth(then), self.truth(otherwise))
            case Call():
                return self._call(node)
            case Loop():
                return self._loop(node)
        return self._bare(self.value(node))

    def _bare(self, value: Value) -> Truth:
        if value.kind.name not in ("bool", "dyn"):
            raise NotCovered("not a truth value")
        hard = value.hard or value.kind.name == "dyn"
        return _asks(value.code, hard)

    def _junction(self, node: Call) -> Truth:
        parts = [self.truth(part) for part in _flat(node, node.function)]
        parts.sort(key=lambda part: part.cost)
        every = " and " if node.function == "_&&_" else " or "
        some = " or " if node.function == "_&&_" else " and "
        return Truth(
            f"({every.join(part.yes for part in parts)})",
            f"({some.join(part.no for part in parts)})",
            any(part.hard for part in parts),
            sum(part.cost for part in parts),
        )

    def _choice(self, test: Truth, then: Truth, otherwise: Truth) -> Truth:
        yes = f"({test.yes} and {then.yes} or {test.no} and {otherwise.yes})"
        no = f"({test.yes} and {then.no} or {test.no} and {otherwise.no})"
        if len(yes) + len(no) > CODE_MAX:
            raise NotCovered("the code would be too long")
        cost = 2 * (test.cost + then.cost + otherwise.cost)
        return Truth(yes, no, test.hard or then.hard or otherwise.hard, cost)

    def _call(self, node: Call) -> Truth:
        name, args = node.function, node.args
        if name in _ORDER and len(args) == 2:
            return self._compare(name, self.value(args[0]), self.value(args[1]))
        if name in ("_==_", "_!=_") and len(args) == 2:
            return self._equality(name == "_==_", self.value(args[0]), self.value(args[1]))
        if name == "@in" and len(args) == 2:
            return self._membership(args[0], args[1])
        if name in _TEXT and len(args) == 2:
            return self._text(name, self.value(args[0]), self.value(args[1]))
        if name == "matches" and len(args) == 2:
            return self._matches(self.value(args[0]), args[1])
        return self._bare(self.value(node))

    def _compare(self, name: str, left: Value, right: Value) -> Truth:
        sign, opposite, helper = _ORDER[name]
        kinds = {left.kind.name, right.kind.name}
        if not left.hard and not right.hard:
            if left.computed or right.computed:
                code = f"{left.code} {sign} {right.code}"
                return Truth(f"({code})", f"(not {code})", cost=3)
            if kinds <= set(NUMERIC):
                # A missing number is NaN: neither the comparison nor its opposite holds.
                return Truth(f"({left.code} {sign} {right.code})", f"({left.code} {opposite} {right.code})")
            if kinds == {"string"}:
                asked = self.asked(left, right)
                return Truth(
                    f"({asked}{left.code} {sign} {right.code})",
                    f"({asked}{left.code} {opposite} {right.code})",
                )
        if left.element and right.constant and right.kind.name in NUMERIC:
            return _asks(f"{helper}_number({left.element}, {right.code})", True)
        return self._helped(helper, left, right)

    def _equality(self, same: bool, left: Value, right: Value) -> Truth:
        kinds = {left.kind.name, right.kind.name}
        plain = kinds <= set(NUMERIC) or kinds == {"string"} or kinds == {"bool"}
        if not plain or left.hard or right.hard:
            return self._helped("equal" if same else "unequal", left, right)
        asked = self.asked(left, right)
        # MISSING and NaN equal no literal, so that only two fields need asking.
        unasked = left.constant or right.constant
        yes = f"({'' if unasked else asked}{left.code} == {right.code})"
        if left.computed or right.computed:
            return Truth(yes, f"(not {yes})") if same else Truth(f"(not {yes})", yes)
        no = f"({asked}{left.code} != {right.code})"
        return Truth(yes, no) if same else Truth(no, yes)

    def _membership(self, left: Node, right: Node) -> Truth:
        value = self.value(left)
        literal = self._literal_set(value, right)
        if literal is not None:
            asked = self.asked(value)
            return Truth(f"({value.code} in {literal})", f"({asked}{value.code} not in {literal})", cost=2)
        holder = self.value(right)
        if (
            holder.hard
            or value.hard
            or holder.kind.name not in ("list", "map")
            or value.kind.name != "string"
        ):
            if value.kind.name not in ("string", "int", "double", "bool"):
                raise NotCovered("membership of a value of unknown type")
            if holder.kind.name != "list" and value.kind.name != "string":
                raise NotCovered("a key that is not a text")
            return self._helped("is_in", value, holder)
        if not holder.guard:
            raise NotCovered("membership in a computed list")
        asked = self.asked(value, holder)
        return Truth(
            f"({asked}{value.code} in {holder.code})",
            f"({asked}{value.code} not in {holder.code})",
            cost=3,
        )

    def _literal_set(self, value: Value, right: Node) -> str | None:
        if value.hard or value.kind.name not in ("string", *NUMERIC) or not isinstance(right, ListOf):
            return None
        types = (str,) if value.kind.name == "string" else (int, float)
        items = [one.value for one in right.items if isinstance(one, Const)]
        if len(items) != len(right.items) or not all(type(one) in types for one in items):
            return None
        return self.names.constant(f"set of {types}", frozenset(items))

    def _text(self, name: str, left: Value, right: Value) -> Truth:
        direct, helper = _TEXT[name]
        if left.hard or right.hard or {left.kind.name, right.kind.name} != {"string"}:
            return self._helped(helper, left, right)
        asked = self.asked(left, right)
        code = direct.format(left.code, right.code)
        return Truth(f"({asked}{code})", f"({asked}not {code})", cost=3)

    def _matches(self, text: Value, pattern: Node) -> Truth:
        if not isinstance(pattern, Const) or not isinstance(pattern.value, str):
            raise NotCovered("a pattern that is not a literal")
        search = self.names.pattern(pattern.value)
        code = f"matches({self.boxed(text)}, {search})"
        truth = _asks(code, text.hard or text.kind.name == "dyn")
        return Truth(truth.yes, truth.no, truth.hard, 50)

    def _has(self, node: Select) -> Truth:
        if isinstance(node.operand, Ident) and node.operand.name == GIVEN and GIVEN not in self.elements:
            # Asked also in code for events that have all fields of the condition: this one need not be there.
            code = f"has_{node.field}"
            return Truth(code, f"(not {code})")
        holder = self.value(node.operand)
        if holder.kind.name not in ("map", "dyn"):
            raise NotCovered("has of something else than a map")
        if holder.guard and not holder.hard:
            asked, key = self.asked(holder), repr(node.field)
            return Truth(f"({asked}{key} in {holder.code})", f"({asked}{key} not in {holder.code})")
        code = f"has({self.boxed(holder)}, {node.field!r})"
        return _asks(code, True)

    def _loop(self, node: Loop) -> Truth:
        over = self.value(node.over)
        # Only what is bounded by the contract is walked here; CEL counts iterations for the rest.
        if not over.guard or over.hard or over.kind.name not in ("list", "map"):
            raise NotCovered("a loop over computed values")
        helper, body = _macro(node)
        kind = over.kind.item if over.kind.name == "list" and over.kind.item else Kind("string")
        name = f"e{len(self.elements)}"
        before = self.elements
        self.elements = {**before, node.variable: Value(name, kind)}
        inner = self.truth(body)
        self.elements = before
        code = f"{helper}({over.code}, lambda {name}: True if {inner.yes} else False if {inner.no} else None)"
        return Truth(f"({code} is True)", f"({code} is False)", inner.hard, 20 + 5 * inner.cost)

    def _helped(self, helper: str, left: Value, right: Value) -> Truth:
        code = f"{helper}({self.boxed(left)}, {self.boxed(right)})"
        hard = left.hard or right.hard or "dyn" in (left.kind.name, right.kind.name)
        return _asks(code, hard)


def _asks(code: str, hard: bool) -> Truth:
    """A helper's answer: true, false or neither."""
    return Truth(f"({code} is True)", f"({code} is False)", hard, 10)


def _flat(node: Node, function: str) -> list[Node]:
    """Give the operands of a chain of one operator, in order."""
    found: list[Node] = []
    stack = [node]
    while stack:
        current = stack.pop()
        if isinstance(current, Call) and current.function == function:
            stack.extend(reversed(current.args))
        else:
            found.append(current)
    return found


def _macro(node: Loop) -> tuple[str, Node]:
    """Recognise `exists` and `all` by what CEL turns them into."""
    match node.step, node.start, node.result:
        case (
            Call(function="_||_", args=(Ident(name=left), body)),
            Const(value=False),
            Ident(name=result),
        ) if left == result:
            return "exists", body
        case (
            Call(function="_&&_", args=(Ident(name=left), body)),
            Const(value=True),
            Ident(name=result),
        ) if left == result:
            return "every", body
    raise NotCovered("a macro other than exists and all")
