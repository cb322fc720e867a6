"""CEL's error messages, turned into sentences with a place and a way out."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ops_stream.rules.fields import FIELDS, GIVEN, WHENS
from ops_stream.rules.problems import did_you_mean, nearest

FUNCTIONS: Final = (
    "contains", "startsWith", "endsWith", "matches", "size", "has", "exists", "all", "exists_one", "map",
    "filter", "int", "double", "string", "bool", "timestamp", "duration", "getHours", "dyn", "type",
)  # fmt: skip

_HEAD: Final = re.compile(r"ERROR: <input>:(\d+):(\d+): (.*)")
_UNDECLARED: Final = re.compile(r"undeclared reference to '([^']*)'")
_OVERLOAD: Final = re.compile(r"found no matching overload for '([^']*)' applied to '\((.*)\)'")
_TOKEN: Final = re.compile(
    r"(?:mismatched input|extraneous input|token recognition error at:|no viable alternative at input) "
    r"'(.*?)'(?: expecting .*)?$"
)
_WORD: Final = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")
_LAST_WORD: Final = re.compile(r"[A-Za-z_][A-Za-z_0-9]*$")
_EXPECTING: Final = re.compile(r" expecting \{.*\}$")
_OPERATOR: Final = re.compile(r"_?(\W+)_?$")

_WORDS: Final = {
    "and": "Write '&&' for 'and'.",
    "or": "Write '||' for 'or'.",
    "not": "Write '!' for 'not', as in '!(cost > 1)'.",
    "contains": "Write it as a method: 'text.contains(\"word\")', or '\"word\" in tags' for a list.",
    "startswith": "Write it as a method: 'text.startsWith(\"word\")'.",
    "endswith": "Write it as a method: 'text.endsWith(\"word\")'.",
    "matches": "Write it as a method: 'text.matches(\"pattern\")'.",
    "like": "Write 'text.contains(\"word\")' or 'text.matches(\"pattern\")' for 'like'.",
    "is": "Write '==' for 'is', or 'has(given.field)' to ask whether the event has a field.",
    "between": "Write 'cost >= 1 && cost <= 2' for 'between'.",
    "true": "Write 'true' in small letters.",
    "false": "Write 'false' in small letters.",
    "null": "Ask 'has(given.field)' for whether the event has a field.",
    "none": "Ask 'has(given.field)' for whether the event has a field.",
    "len": "Write 'size(text)' for 'len(text)'.",
    "length": "Write 'size(text)' for the length.",
    "lower": "There is no 'lower'; a pattern can ignore case: 'text.matches(\"(?i)word\")'.",
    "now": "There is no clock in a condition; it sees 'hour' and 'weekday'.",
    "if": "Write 'condition ? then : otherwise' for 'if'.",
}
_SIGNS: Final = {
    "=": "Write '==' to compare.",
    "=~": "Write 'text.matches(\"pattern\")' for '=~'.",
    "&": "Write '&&' for 'and'.",
    "|": "Write '||' for 'or'.",
    "<>": "Write '!=' for '<>'.",
    "#": "Put comments outside the condition, or after '//'.",
    "$": "Write amounts without a currency sign: 'cost > 1.00'.",
    ",": 'Write a list in square brackets, \'x in ["a", "b"]\', and a decimal point rather than a comma.',
    ";": "Leave the semicolon out.",
    "=>": "Write '>=' for at least, or '? :' for a choice.",
    '"': "Close the text with a quote of the same kind.",
    "'": "Close the text with a quote of the same kind.",
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with a condition; line and column count from 1 within the condition."""

    line: int
    column: int
    message: str
    suggestion: str


def explain(text: str, source: str, when: str) -> tuple[Fault, ...]:
    """Turn the text of CEL's exception into faults; the first syntax error stands for those it causes."""
    if "recursion" in text:
        return (Fault(1, 1, "The condition is nested too deeply.", "Split it into several policies."),)
    found = list(_faults(text, source, when))
    if not found:
        return (Fault(1, 1, f"CEL refuses the condition: {_first_line(text)}.", ""),)
    syntax = [fault for fault in found if fault.message.startswith("Syntax")]
    return tuple(syntax[:1]) if syntax else tuple(found)


def _faults(text: str, source: str, when: str) -> Iterator[Fault]:
    lines = source.split("\n")
    for match in _HEAD.finditer(text):
        line, column, said = int(match[1]), int(match[2]), match[3]
        said = said.removesuffix(" [INVALID_ARGUMENT]")
        whole = lines[line - 1] if line <= len(lines) else ""
        yield _fault(line, column, said, whole[column - 1 :], whole[: column - 1], when)


def _fault(line: int, column: int, said: str, rest: str, before: str, when: str) -> Fault:
    if undeclared := _UNDECLARED.search(said):
        return _undeclared(line, column, undeclared[1], rest, before, when)
    if overload := _OVERLOAD.search(said):
        return _wrong_types(line, column, overload[1], overload[2])
    if "reserved identifier" in said or said.startswith("Syntax error"):
        return _syntax(line, column, said, rest, before)
    if "operand of a select" in said:
        return _no_fields(line, column, rest, before, when)
    if "has() argument" in said:
        hint = "Write 'has(given.tool)' for a field of the event, 'has(attributes.name)' for an attribute."
        return Fault(line, column, "'has' needs a field selection.", hint)
    if "invalid int literal" in said:
        return Fault(line, column, "The whole number does not fit into 64 bits.", "Write it with '.0'.")
    return Fault(line, column, f"{said[:1].upper()}{said[1:]}.", "")


def _undeclared(line: int, column: int, name: str, rest: str, before: str, when: str) -> Fault:
    if rest.startswith("("):
        column = len(before.rstrip()) - len(name) + 1
        if hint := _WORDS.get(name.lower()):
            return Fault(line, column, f"There is no function '{name}'.", hint)
        return Fault(line, column, f"There is no function '{name}'.", did_you_mean(name, FUNCTIONS))
    if hint := _WORDS.get(name.lower()):
        return Fault(line, column, f"'{name}' is not a word of CEL.", hint)
    first = name.split(".")[0]
    for other in WHENS:
        if first in FIELDS[other] and first not in FIELDS[when]:
            hint = f"Write 'when: {other}', or use another field."
            return Fault(line, column, f"The field '{first}' is seen only in policies for {other}.", hint)
    if "." in name:
        column -= name.rindex(".") if rest.startswith(".") else 0
        near = nearest(name.replace(".", "_"), FIELDS[when])
        hint = f"Did you mean '{near}'?" if near else "Attributes are 'attributes.name'."
        return Fault(line, column, f"Unknown field '{name}'.", hint)
    return Fault(line, column, f"Unknown field '{name}'.", did_you_mean(name, {*FIELDS[when], GIVEN}))


def _no_fields(line: int, column: int, rest: str, before: str, when: str) -> Fault:
    owner, part = _LAST_WORD.search(before), _WORD.match(rest[1:])
    if owner is None or part is None:
        return Fault(line, column, "A text or a number has no fields.", "")
    near = nearest(f"{owner[0]}_{part[0]}", FIELDS[when].keys() - {owner[0]})
    hint = f"Did you mean '{near}'?" if near else "Own values of an event are 'attributes.name'."
    return Fault(line, column, f"'{owner[0]}' has no field '{part[0]}'.", hint)


def _wrong_types(line: int, column: int, function: str, types: str) -> Fault:
    sign = _OPERATOR.fullmatch(function)
    shown = sign[1] if sign else {"@in": "in"}.get(function, function)
    message = f"'{shown}' does not take ({types})."
    kinds = [kind.strip() for kind in types.split(",")]
    if "list(string)" in kinds and "string" in kinds:
        return Fault(line, column, message, "Write '\"word\" in tags' for a list.")
    if shown in {"+", "-", "*", "/"} and {"int", "double"} == set(kinds):
        return Fault(line, column, message, "Write both as '2.0', or convert: 'double(x)'.")
    if "null_type" in kinds:
        return Fault(line, column, message, "Ask 'has(given.field)' for whether the event has a field.")
    if function == "@in":
        return Fault(line, column, message, "The list must hold values of the same type, as in '[1.0, 2.0]'.")
    if "string" in kinds and {"int", "double"} & set(kinds):
        return Fault(line, column, message, "Write numbers without quotes and texts with them.")
    return Fault(line, column, message, "Compare values of the same type.")


def _syntax(line: int, column: int, said: str, rest: str, before: str) -> Fault:
    token = _TOKEN.search(said)
    word = _WORD.match(rest)
    hint = ""
    if word:
        hint = _WORDS.get(word[0].lower(), "")
    if not hint:
        at = rest.lstrip()
        previous = before.rstrip()[-1:]
        signs = [previous + at[:1], at[:2], at[:1]] if at else []
        hint = next((_SIGNS[sign] for sign in signs if sign in _SIGNS), "")
    if rest.strip() == "" or "<EOF>'" in said.split("expecting")[0]:
        return Fault(line, column, "Syntax error: the condition ends too early.", hint)
    shown = word[0] if word else (token[1].strip() if token else rest[:10])
    return Fault(line, column, f"Syntax error at '{shown[:40]}'.", hint)


def _first_line(text: str) -> str:
    return _EXPECTING.sub("", text.split("\n")[0])[:200].removesuffix(" [INVALID_ARGUMENT]")
