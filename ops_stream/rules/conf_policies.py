"""From `ai_ops_policies.yaml` to policies: each one and its condition is checked, all problems at once."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

import re2

from ops_stream.rules.cel import Condition, compile_condition
from ops_stream.rules.checked_expr import Call, Const, Ident, ListOf, Loop, Node, Select, walk
from ops_stream.rules.conf_check import check
from ops_stream.rules.conf_models import POLICIES_MAX
from ops_stream.rules.fields import FIELDS, GIVEN, WHENS
from ops_stream.rules.policies import Policy, compile_pattern
from ops_stream.rules.policy_entries import CONDITION_MAX, PARAMETERS, Parameters, PoliciesFile, PolicyEntry
from ops_stream.rules.possible import WORDS, branches, contradiction
from ops_stream.rules.problems import Problem, did_you_mean
from ops_stream.rules.yamlfile import Document, Path

NODES_MAX: Final = 1000
PATTERN_MAX: Final = 1000
LOOPS_MAX: Final = 4


def read_policies(document: Document, problems: list[Problem]) -> list[Policy]:
    """Give the enabled policies; add what is wrong with any of them, enabled or not."""
    check(PoliciesFile, document, (), problems)
    entries = _raw(document, (), "policies")
    if not isinstance(entries, list) or len(entries) > POLICIES_MAX:
        return []
    policies: list[Policy] = []
    names: dict[str, int] = {}
    for at in range(len(entries)):
        path: Path = ("policies", at)
        entry = check(PolicyEntry, document, path, problems)
        condition = _condition(document, path, problems)
        name = _raw(document, path, "name")
        if isinstance(name, str):
            if name in names:
                line = document.at(("policies", names[name], "name")).line
                message = f"The name '{name}' is given twice, first in line {line}."
                problems.append(document.problem((*path, "name"), message, "Give each its own name."))
            names.setdefault(name, at)
        parameters = _parameters(document, path, problems)
        if entry is not None and condition is not None and entry.enabled:
            policies.append(_policy(entry, condition, parameters))
    return policies


def _policy(entry: PolicyEntry, condition: Condition, parameters: Mapping[str, Any]) -> Policy:
    return Policy(
        name=entry.name,
        condition=condition,
        action=entry.action,
        agent=entry.agent,
        tenant=entry.tenant,
        priority=entry.priority,
        shadow=entry.shadow,
        valid_from=entry.valid_from,
        valid_until=entry.valid_until,
        description=entry.description,
        parameters=parameters,
    )


def _parameters(document: Document, path: Path, problems: list[Problem]) -> Mapping[str, Any]:
    """Check the parameters even where something else about the policy is wrong, to report both."""
    action, given = _raw(document, path, "action"), _raw(document, path, "parameters")
    model = PARAMETERS.get(action) if isinstance(action, str) else None
    if model is None or not (given is None or isinstance(given, dict)):
        return MappingProxyType({})
    if not given:
        if model.NEEDED:
            # What is missing is said of the action, since there is no place for parameters yet.
            hint = f"Add 'parameters' with {_either(model)}."
            message = f"The action '{action}' does nothing without parameters."
            problems.append(document.problem((*path, "action"), message, hint))
        return MappingProxyType({})
    where = (*path, "parameters")
    unread = [name for name in given if name not in model.model_fields]
    problems.extend(_unread(name, action, document, where) for name in unread)
    if _raw(document, path, "when") == "telemetry" and "permit_irreversible" in given and not unread:
        message = "Nobody reads 'permit_irreversible' here: the task has run."
        problems.append(document.problem((*where, "permit_irreversible"), message, "Leave it out.", key=True))
        return MappingProxyType({})
    if unread:
        return MappingProxyType({})
    checked = check(model, document, where, problems)
    if checked is None:
        return MappingProxyType({})
    values = checked.model_dump(exclude_unset=True, exclude_none=True)
    if "cost_usd" in values:
        values["cost_micros"] = values.pop("cost_usd")
    return MappingProxyType(values)


def _either(model: type[Parameters]) -> str:
    return " or ".join(f"'{name}'" for name in model.model_fields if name != "permit_irreversible")


def _unread(name: str, action: str, document: Document, where: Path) -> Problem:
    """Say that nobody reads a parameter, and which one was meant or which action would read it."""
    mine = PARAMETERS[action].model_fields
    readers = sorted(one for one, model in PARAMETERS.items() if name in model.model_fields)
    near = did_you_mean(name, mine, listed=0)
    if readers:
        hint = f"It is read by: {', '.join(readers)}."
    elif near:
        hint = near
    elif mine:
        hint = f"It reads: {', '.join(mine)}."
    else:
        hint = "Leave it out."
    message = f"The action '{action}' reads no parameter '{name}'."
    return document.problem((*where, name), message, hint, key=True)


def _condition(document: Document, path: Path, problems: list[Problem]) -> Condition | None:
    """Compile the condition even where something else about the policy is wrong, to report both."""
    source, when = _raw(document, path, "condition"), _raw(document, path, "when") or "request"
    if not isinstance(source, str) or when not in WHENS or not 0 < len(source) <= CONDITION_MAX:
        return None
    where: Path = (*path, "condition")
    compiled = compile_condition(source, when)
    if isinstance(compiled, Condition):
        found = list(_beyond_cel(compiled)) or list(_never(compiled))
        for offset, message, suggestion in found:
            before = source[:offset]
            line = before.count("\n") + 1
            column = offset - (before.rfind("\n") + 1) + 1
            problems.append(_at(document, where, source, line, column, message, suggestion))
        return None if found else compiled
    for fault in compiled:
        problems.append(
            _at(document, where, source, fault.line, fault.column, fault.message, fault.suggestion)
        )
    return None


def _at(
    document: Document, where: Path, source: str, line: int, column: int, message: str, suggestion: str
) -> Problem:
    row, col = document.within(where, source, line, column)
    return Problem(document.file, row, col, message, suggestion)


def _raw(document: Document, path: Path, key: str) -> Any:
    data = document.data
    for step in path:
        data = data[step]
    return data.get(key) if isinstance(data, dict) else None


# What CEL allows and policies do not


def _beyond_cel(condition: Condition) -> Iterator[tuple[int, str, str]]:
    """Find what type-checks and still cannot be right: offset in the condition, message, suggestion."""
    tree = condition.tree
    nodes = list(walk(tree.root))
    if len(nodes) > NODES_MAX:
        yield 0, f"The condition has more than {NODES_MAX:,} parts.", "Split it into several policies."
        return
    loops = [node for node in nodes if isinstance(node, Loop)]
    if len(loops) > LOOPS_MAX:
        yield 0, f"The condition has more than {LOOPS_MAX} macros such as exists.", "Split it."
    tested: set[int] = set()
    for node in nodes:
        at = tree.offsets.get(node.id, 0)
        if isinstance(node, Loop) and sum(isinstance(one, Loop) for one in walk(node)) > 1:
            yield at, "A macro such as exists within another takes too long on large inputs.", "Use one."
        if isinstance(node, Select) and _is_given(node.operand):
            tested.add(node.operand.id)
            field = tree.offsets.get(node.operand.id, at) + len(GIVEN) + 1
            yield from _given(node, field, condition.when)
        if isinstance(node, Call) and node.function == "matches":
            yield from _pattern(node, condition)
        if isinstance(node, Call) and node.function.startswith("get") and len(node.args) > 1:
            # Which data on time zones a machine has is nothing that a journal knows.
            yield at, f"'{node.function}' takes no time zone here.", "Times are UTC; leave the argument out."
    for node in nodes:
        if _is_given(node) and node.id not in tested:
            hint = "Write 'has(given.tool)' to ask for a field, and 'tool' for its value."
            yield tree.offsets.get(node.id, 0), f"'{GIVEN}' can only be asked for fields.", hint


def _never(condition: Condition) -> Iterator[tuple[int, str, str]]:
    """Find words that a field never has, and conditions that can never hold."""
    tree, when = condition.tree, condition.when
    wrong = list(_wrong_words(condition))
    if wrong:
        yield from wrong
        return
    if not any(isinstance(node, Ident) for node in walk(tree.root)):
        if condition.decide({}) is not True:
            yield (
                0,
                "The condition can never hold: it is always false.",
                "Use 'enabled: false' to switch it off.",
            )
        return
    ways = branches(tree.root, when)
    if ways is None:
        return
    why = [contradiction(one, when) for one in ways]
    if all(why):
        first = next((one for one in why if one is not None), None)
        said = first.why if first is not None else "it is always false"
        at = tree.offsets.get(first.node, 0) if first is not None and len(why) == 1 else 0
        hint = "Change the comparison, or use 'enabled: false' to switch the policy off."
        yield at, f"The condition can never hold: {said}.", hint


def _wrong_words(condition: Condition) -> Iterator[tuple[int, str, str]]:
    for node in walk(condition.tree.root):
        match node:
            case Call(function="_==_" | "_!=_", args=(Ident(name=name), Const() as value)) if name in WORDS:
                yield from _wrong_word(condition, name, value)
            case Call(function="_==_" | "_!=_", args=(Const() as value, Ident(name=name))) if name in WORDS:
                yield from _wrong_word(condition, name, value)
            case Call(function="@in", args=(Ident(name=name), ListOf(items=items))) if name in WORDS:
                for one in items:
                    if isinstance(one, Const):
                        yield from _wrong_word(condition, name, one)


def _wrong_word(condition: Condition, name: str, value: Const) -> Iterator[tuple[int, str, str]]:
    words = WORDS[name]
    if not isinstance(value.value, str) or value.value in words:
        return
    hint = did_you_mean(value.value, words)
    if name == "effect" and value.value == "unknown":
        hint = "What is unknown counts as effects.yaml says: 'unknown: reversible' or 'irreversible'."
    at = condition.tree.offsets.get(value.id, 0)
    yield at, f"'{value.value[:60]}' is no value of '{name}'.", hint


def _is_given(node: Node) -> bool:
    return isinstance(node, Ident) and node.name == GIVEN


def _given(node: Select, at: int, when: str) -> Iterator[tuple[int, str, str]]:
    if node.field not in FIELDS[when]:
        yield at, f"Unknown field '{node.field}'.", did_you_mean(node.field, FIELDS[when])
    elif not node.test:
        hint = f"Write '{node.field}' for the value, 'has({GIVEN}.{node.field})' for whether it is there."
        yield at, f"'{GIVEN}' can only be asked for fields.", hint


def _pattern(node: Call, condition: Condition) -> Iterator[tuple[int, str, str]]:
    pattern = node.args[-1]
    at = condition.tree.offsets.get(pattern.id, 0)
    if not isinstance(pattern, Const) or not isinstance(pattern.value, str):
        yield (
            at,
            "A pattern must be written out, not computed.",
            "Use 'contains' for a computed text.",
        )
        return
    if len(pattern.value) > PATTERN_MAX:
        yield at, f"The pattern is longer than {PATTERN_MAX:,} characters.", "Split it into several policies."
        return
    try:
        compile_pattern(pattern.value)
    except re2.error as error:
        said = error.args[0].decode(errors="replace") if isinstance(error.args[0], bytes) else str(error)
        hint = "Write '\\\\(' for a bracket that is meant as such."
        if "invalid perl operator" in said or "invalid escape" in said:
            hint = "Look-around and back-references are not supported: patterns are RE2."
        yield at, f"The pattern is not valid: {said}.", hint
