"""Generates the function that finds the policies matching an event.

Policies with gates are looked at only where a gate is open (see `gates`); those with equality gates are
found by a dictionary, those with bounds in blocks sorted by bound. The others are looked at always, grouped
by the fields that they read: once in code for events that have all of those, once in code for events that
lack one.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from ops_stream.rules import evaluation
from ops_stream.rules.checked_expr import Checked
from ops_stream.rules.codegen import Truth, asked_of, generate
from ops_stream.rules.codegen_values import Names, NotCovered, variable
from ops_stream.rules.fields import FIELDS, NOW
from ops_stream.rules.gates import Above, Equal, Gate, counted, gates_of

Matcher = Callable[[Mapping[str, Any], "list[int]", "Callable[[int], bool | None] | None"], None]
"""Takes a view, a list for the ranks of policies that match (inverted: undecided), and CEL for the rest."""

_HELPERS: Final = {name: value for name, value in vars(evaluation).items() if not name.startswith("_")}
_BLOCK: Final = 12
_READ: Final = {
    "string": ("{v} = get({f!r}, MISSING)", "if {v}.__class__ is not str: {v} = as_text({v})"),
    "int": (
        "{v} = get({f!r}, NAN)",
        "if {v}.__class__ is not int or not INT_MIN <= {v} <= INT_MAX: {v} = as_int({v})",
    ),
    "double": ("{v} = get({f!r}, NAN)", "if {v}.__class__ is not float: {v} = as_double({v})"),
    "bool": ("{v} = get({f!r}, MISSING)", "if {v}.__class__ is not bool: {v} = MISSING"),
    "list": ("{v} = as_list(get({f!r}))",),
    "map": ("{v} = get({f!r}, MISSING)", "if {v}.__class__ is not dict: {v} = as_map({v})"),
}
"""How a field is read; a value of another type than declared counts as missing."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What of a policy the generated code depends on."""

    rank: int
    tree: Checked
    tenant: str | None
    fields: tuple[str, ...]
    """The fields that must be there for it to be decided for certain."""
    valid_from: int | None = None
    valid_until: int | None = None


@dataclass(slots=True)
class _Module:
    """The source that is being written, and what it refers to."""

    when: str
    names: Names
    lines: list[str] = field(default_factory=list)
    left_to_cel: set[int] = field(default_factory=set)
    functions: int = 0

    def kind(self, name: str) -> str:
        return FIELDS[self.when][name].kind

    def lacks(self, name: str) -> str:
        """Ask whether a field is missing."""
        if self.kind(name) in ("int", "double"):
            return f"{variable(name)} != {variable(name)}"
        return f"{variable(name)} is MISSING"


def compile_matcher(
    when: str, rules: Sequence[Rule], pattern: Callable[[str], Callable[[bytes], Any]]
) -> tuple[Matcher, set[int]]:
    """Generate and compile; also give the ranks of the rules whose condition is left to CEL."""
    module = _Module(when, Names(pattern))
    kinds = {name: one.kind for name, one in FIELDS[when].items()}
    common = counted((rule.tree.root for rule in rules), kinds)
    gated: dict[Gate, list[Rule]] = {}
    always: list[Rule] = []
    for rule in rules:
        gates = gates_of(rule.tree.root, kinds, common)
        for gate in gates:
            gated.setdefault(gate, []).append(rule)
        if not gates:
            always.append(rule)
    body = [*_by_value(module, gated), *_by_bound(module, gated), *_grouped(module, always)]
    name = _function(module, rules, body)
    scope: dict[str, Any] = {**_HELPERS, **module.names.bound}
    for function in _functions(
        module.lines
    ):  # one at a time: the compiler takes far more memory than the code
        exec(compile(function, f"<policies for {when}>", "exec"), scope)  # noqa: S102  (our own code: see codegen)
    for index in [key for key in scope if key.startswith("index_")]:
        scope[index] = {value: scope[function] for value, function in scope[index].items()}
    matcher: Matcher = scope[name]
    return matcher, module.left_to_cel


def _functions(lines: Sequence[str]) -> Iterable[str]:
    starts = [at for at, line in enumerate(lines) if line.startswith("def ")]
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        yield "\n".join(lines[start:end])


def _function(module: _Module, rules: Sequence[Rule], body: Iterable[str]) -> str:
    """Write a function that reads the fields that the rules need and then runs the body."""
    name = f"match_{module.functions}"
    module.functions += 1
    used = {one for rule in rules for one in rule.fields}
    used |= {"tenant"} if any(rule.tenant is not None for rule in rules) else set()
    asked = {one for rule in rules for one in asked_of(rule.tree)}
    timed = any(rule.valid_from is not None or rule.valid_until is not None for rule in rules)
    module.lines += [f"def {name}(view, found, cel):", " get = view.get", " hit = found.append"]
    for one in sorted(used):
        module.lines += [f" {line.format(v=variable(one), f=one)}" for line in _READ[module.kind(one)]]
    # A view without a time leaves every policy in force: no comparison with NaN takes one out.
    module.lines += [f" now = get({NOW!r}, NAN)"] if timed else []
    module.lines += [f" has_{one} = get({one!r}) is not None" for one in sorted(asked)]
    module.lines += [f" {line}" for line in body]
    return name


def _by_value(module: _Module, gated: Mapping[Gate, Sequence[Rule]]) -> Iterable[str]:
    """Find rules with equality gates by a dictionary: value → function for the rules with that value."""
    by_field: dict[str, dict[str | int | float, list[Rule]]] = {}
    for gate, rules in gated.items():
        if isinstance(gate, Equal):
            by_field.setdefault(gate.field, {}).setdefault(gate.value, []).extend(rules)
    for name, by_value in sorted(by_field.items()):
        index = {value: _plain_function(module, rules) for value, rules in by_value.items()}
        every = _plain_function(module, _unique(by_value.values()))
        module.names.bound[f"index_{name}"] = index
        yield f"if {module.lacks(name)}: {every}(view, found, cel)"
        yield "else:"
        yield f" some = index_{name}.get({variable(name)})"
        yield " if some is not None: some(view, found, cel)"


def _by_bound(module: _Module, gated: Mapping[Gate, Sequence[Rule]]) -> Iterable[str]:
    """Look at rules with bounds block by block, as far as the value reaches."""
    by_field: dict[str, list[tuple[Above, list[Rule]]]] = {}
    for gate, rules in gated.items():
        if isinstance(gate, Above):
            by_field.setdefault(gate.field, []).append((gate, list(rules)))
    for name, bounds in sorted(by_field.items()):
        every = _plain_function(module, _unique(rules for _, rules in bounds))
        yield f"if {module.lacks(name)}: {every}(view, found, cel)"
        yield "else:"
        for up in (True, False):
            mine = [(gate.bound, rules) for gate, rules in bounds if gate.up is up]
            mine.sort(key=lambda one: one[0], reverse=not up)
            for at in range(0, len(mine), _BLOCK):
                block = mine[at : at + _BLOCK]
                bound = module.names.constant("bound", float(block[0][0]))
                yield f" if {variable(name)} {'>=' if up else '<='} {bound}:"
                for rule in _unique(rules for _, rules in block):
                    yield from (f"  {line}" for line in _alone(module, rule))


def _plain_function(module: _Module, rules: Sequence[Rule]) -> str:
    return _function(module, rules, [line for rule in rules for line in _alone(module, rule)])


def _grouped(module: _Module, rules: Sequence[Rule]) -> Iterable[str]:
    groups: dict[tuple[str, ...], list[Rule]] = {}
    for rule in rules:
        groups.setdefault(rule.fields, []).append(rule)
    for fields, members in sorted(groups.items()):
        here = [line for rule in members for line in _code(module, rule, present=True)]
        if not fields:
            yield from here
            continue
        yield f"if {_lacks_one(module, fields)}:"
        for rule in members:
            yield from (f" {line}" for line in _code(module, rule, present=False))
        yield "else:"
        yield from (f" {line}" for line in here)


def _lacks_one(module: _Module, fields: Iterable[str]) -> str:
    return " or ".join(module.lacks(name) for name in fields)


def _code(module: _Module, rule: Rule, *, present: bool) -> list[str]:
    truth = _truth(module, rule, present=present)
    scope = _scope(rule)
    lines = [f"if {scope}{truth.yes}: hit({rule.rank})"]
    if truth.hard or not present:
        lines.append(f"elif {scope}not {truth.no}: hit({~rule.rank})")
    return lines


def _alone(module: _Module, rule: Rule) -> list[str]:
    """Write a rule for any event, without knowing which fields it has."""
    truth = _truth(module, rule, present=False)
    scope = _scope(rule)
    lines = [f"if {scope}{truth.yes}: hit({rule.rank})"]
    lacks = "" if truth.hard else _lacks_one(module, rule.fields)
    if truth.hard:
        lines.append(f"elif {scope}not {truth.no}: hit({~rule.rank})")
    elif lacks:
        lines.append(f"elif {scope}({lacks}) and not {truth.no}: hit({~rule.rank})")
    return lines


def _truth(module: _Module, rule: Rule, *, present: bool) -> Truth:
    try:
        return generate(rule.tree, module.names, present=present)
    except NotCovered:
        module.left_to_cel.add(rule.rank)
        return Truth(f"(cel({rule.rank}) is True)", f"(cel({rule.rank}) is False)", hard=True)


def _scope(rule: Rule) -> str:
    """Ask whether the rule is for this tenant and in force now."""
    parts = [] if rule.tenant is None else [f"v_tenant == {rule.tenant!r}"]
    if rule.valid_from is not None:
        parts.append(f"not now < {int(rule.valid_from)}")
    if rule.valid_until is not None:
        parts.append(f"not now >= {int(rule.valid_until)}")
    return "".join(f"{part} and " for part in parts)


def _unique(groups: Iterable[Sequence[Rule]]) -> list[Rule]:
    return list({rule.rank: rule for rules in groups for rule in rules}.values())
