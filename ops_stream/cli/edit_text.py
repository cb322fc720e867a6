"""An ask as YAML that a person edits, and what of it was changed.

The text is read back by the same strict reader as the rules. What it cannot hold exactly (deep nesting, say) is
shown as a comment and cannot be edited: only what differs becomes an edit, so that it stays as it was asked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from pydantic import ValidationError

from ops_stream.cli.output import UNSAFE
from ops_stream.contract.digest import action_digest
from ops_stream.contract.models import TaskRequest
from ops_stream.contract.wire import clean_json
from ops_stream.rules.problems import Problem, did_you_mean
from ops_stream.rules.yamlfile import Document, read_yaml

FIXED: Final = ("request_id", "task_id", "agent", "tenant")
"""The fields that say whose ask it is; no edit may change them."""
FIELDS: Final[Mapping[str, str]] = {
    "task_description": "what is to be done",
    "task_type": "the kind of task",
    "tool": "the tool that is called",
    "arguments": "what the tool is called with",
    "estimated_cost_usd": "dollars; so much is held against budgets",
    "estimated_time_s": "seconds",
    "estimated_input_tokens": "a whole number",
    "estimated_output_tokens": "a whole number",
    "required_model": "the model that is used",
    "priority": "1 to 10; 10 goes first",
    "complexity": "low, medium or high",
    "customer_impact": "none, low, medium or high",
    "effect": "none, reversible, irreversible or unknown",
    "deadline": "RFC 3339 in UTC; it may not begin later",
    "retry_count": "which retry this is",
    "workflow_id": "the workflow that it belongs to",
    "objective_id": "what the workflow is for",
    "parent_request_id": "the ask that led to it",
    "tags": "a list of words",
    "attributes": "names with a text, a number, true or false",
}
"""The fields of an ask that may be edited, and what they mean."""

_NUMBERS: Final = frozenset(
    {
        "estimated_cost_usd",
        "estimated_time_s",
        "estimated_input_tokens",
        "estimated_output_tokens",
        "priority",
        "retry_count",
    }
)
_STRUCTURES: Final = frozenset({"arguments", "tags", "attributes"})
_FILE: Final = "the ask"
_COMMENT_COLUMN: Final = 44
_PLAIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9_./@-]*(?: [A-Za-z0-9_./@$%,()-]+)*")
_NOT_PLAIN: Final = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n"})
_ESCAPES: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t", '"': '\\"', "\\": "\\\\"}


class BadAsk(Exception):
    """The edited text makes no ask; `problems` say where and why."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(str(problems[0]))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class Difference:
    """One value that an edit changes; None for one that was or will be absent."""

    path: str
    before: Any
    after: Any


def is_whole(request: Mapping[str, Any], digest: str | None) -> bool:
    """Say whether an ask is shown as it was asked: a very large one is shown without its arguments."""
    try:
        return digest is None or action_digest(TaskRequest.from_wire(request)) == digest
    except ValidationError:
        return False


def text_of(request: Mapping[str, Any], *, title: str, whole: bool = True) -> str:
    """Write an ask for the editor: fixed fields as comments, then what it holds, then what it could hold."""
    # What an agent wrote stands on no line in which editors look for settings: the first and the last five.
    lines = [*_HEAD, "#", f"# {_one_line(title)}"]
    if not whole:
        lines += _PARTIAL
    lines.append("#")
    lines += [f"# {name}: {_quoted(str(request[name]))}" for name in FIXED if name in request]
    lines.append("")
    absent: list[str] = []
    for name, meaning in FIELDS.items():
        if _is_there(request.get(name)):
            lines += _field(name, request[name], meaning)
        else:
            absent.append(f"#{name}:".ljust(_COMMENT_COLUMN) + f"# {meaning}")
    absent += ["#"] * (4 - len(absent))
    return "\n".join([*lines, "", "# Not given by the agent; take the # away to set one:", *absent, ""])


def says_anything(text: str) -> bool:
    """Say whether a text holds more than comments and empty lines."""
    return any(line.strip() and not line.lstrip().startswith("#") for line in text.splitlines())


def edits_in(request: Mapping[str, Any], text: str) -> dict[str, Any]:
    """Give the fields that a text changes, with their new values; null for one that was taken away.

    Raises BadAsk where the text is not YAML, or what comes of it is not an ask.
    """
    document = read_yaml(_FILE, text)
    if not isinstance(document, Document):
        raise BadAsk(document)
    if not isinstance(document.data, dict):
        raise BadAsk([document.problem((), "This is not a list of fields, one `name: value` a line.")])
    _demand_known(document)
    edits: dict[str, Any] = {}
    for name in FIELDS:
        before = request.get(name)
        after = _clean(document, name)
        if not _is_there(before) and not _is_there(after):
            continue
        if name not in document.data and _unwritable(name, before):
            continue
        if not _same(before, after):
            edits[name] = after
    return _changing(document, request, edits)


def edits_from(request: Mapping[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """Give the changes that `FIELD=VALUE` settings make; `arguments.NAME=VALUE` changes one argument.

    A value is read as YAML where the field is no plain text; an empty one takes the field away. Raises BadAsk.
    """
    body = {name: value for name, value in request.items() if name in FIELDS}
    for setting in settings:
        path, equals, text = setting.partition("=")
        name, *inside = path.split(".")
        if not equals:
            raise BadAsk([_wrong(f"'{setting}' is not FIELD=VALUE.")])
        if name not in FIELDS or (inside and name not in ("arguments", "attributes")):
            raise BadAsk([_wrong(_unknown(path))])
        value = _value(name, text, inside=bool(inside))
        body[name] = _put(body.get(name), inside, value, path) if inside else value
    edits = {name: value for name, value in body.items() if not _same(request.get(name), value)}
    return _changing(Document(_FILE, ""), request, edits)


def differences(request: Mapping[str, Any], edits: Mapping[str, Any]) -> list[Difference]:
    """Give every single value that the edits change, also inside arguments and attributes."""
    found: list[Difference] = []
    for name in FIELDS:
        if name in edits:
            found += _differences(name, request.get(name), edits[name])
    return found


def _differences(path: str, before: Any, after: Any) -> Iterator[Difference]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in dict.fromkeys([*before, *after]):
            yield from _differences(f"{path}.{name}", before.get(name), after.get(name))
    elif not _same(before, after):
        yield Difference(path, before, after)


def _demand_known(document: Document) -> None:
    problems = [
        document.problem((name,), _unknown(name), key=True) for name in document.data if name not in FIELDS
    ]
    if problems:
        raise BadAsk(problems)


def _unknown(name: str) -> str:
    if name in FIXED:
        return f"'{name}' cannot be edited: it says whose ask this is."
    return f"An ask has no field '{name[:100]}'. {did_you_mean(name, FIELDS)}"


def _changing(document: Document, request: Mapping[str, Any], edits: Mapping[str, Any]) -> dict[str, Any]:
    """Give the edits that make it another ask: a default that is written out changes nothing. Raises BadAsk."""
    try:
        before = TaskRequest.from_wire(request).wire()
        after = TaskRequest.from_wire({**request, **edits}).wire()
    except ValidationError as error:
        problems = []
        for problem in error.errors(include_url=False, include_context=False, include_input=False)[:10]:
            message = problem["msg"].removeprefix("Value error, ")
            name = ".".join(map(str, problem["loc"]))
            problems.append(document.problem(problem["loc"], f"{name}: {message}."))
        raise BadAsk(problems) from None
    return {name: value for name, value in edits.items() if before.get(name) != after.get(name)}


def _clean(document: Document, name: str) -> Any:
    try:
        return clean_json(document.data.get(name))
    except ValueError as error:
        raise BadAsk([document.problem((name,), f"{name}: {error}.")]) from None


def _value(name: str, text: str, *, inside: bool) -> Any:
    if not inside and name not in _NUMBERS | _STRUCTURES:
        return text or None
    document = read_yaml(_FILE, text)
    if not isinstance(document, Document):
        raise BadAsk([_wrong(f"{name}: {document[0].message}")])
    return _clean(Document(_FILE, "", {name: document.data}), name)


def _put(holder: Any, inside: list[str], value: Any, path: str) -> dict[str, Any]:
    if holder is not None and not isinstance(holder, Mapping):
        raise BadAsk([_wrong(f"'{path}' names something inside a value that holds nothing else.")])
    members = dict(holder or {})
    name, *deeper = inside
    if deeper:
        members[name] = _put(members.get(name), deeper, value, path)
    elif value is None:
        members.pop(name, None)
    else:
        members[name] = value
    return members


def _wrong(message: str) -> Problem:
    return Problem(_FILE, 1, 1, message, "")


def _is_there(value: Any) -> bool:
    return value is not None and value != [] and value != {}


def _same(one: Any, other: Any) -> bool:
    """Say whether two values mean the same ask: 1 and 1.0 do, 1 and true do not."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, int | float | Decimal) and isinstance(other, int | float | Decimal):
        return bool(one == other)
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return type(one) is type(other) and bool(one == other)


def _unwritable(name: str, value: Any) -> bool:
    return value is not None and _field(name, value, "")[0].startswith("#")


def _field(name: str, value: Any, meaning: str) -> list[str]:
    """Write one field; a value that the reader would not give back as it is becomes a comment."""
    lines = list(_member(name, value, ""))
    read = read_yaml(_FILE, "\n".join(lines))
    if not isinstance(read, Document) or not _same(value, read.data.get(name)):
        return [f"# {name}: cannot be written here, and stays as it was asked"]
    if len(lines) == 1 and len(lines[0]) < _COMMENT_COLUMN:
        return [lines[0].ljust(_COMMENT_COLUMN) + f"# {meaning}"]
    return [f"# {meaning}", *lines]


def _member(name: str, value: Any, indent: str) -> Iterator[str]:
    key = f"{indent}{_text(name)}:"
    if isinstance(value, Mapping) and value:
        yield key
        for inner, member in value.items():
            yield from _member(str(inner), member, indent + "  ")
    elif isinstance(value, list | tuple) and value:
        yield key
        for item in value:
            yield from _item(item, indent + "  ")
    elif isinstance(value, str) and _fits_block(value):
        yield f"{key} |-" if not value.endswith("\n") else f"{key} |"
        yield from (f"{indent}  {line}" if line else "" for line in value.removesuffix("\n").split("\n"))
    else:
        yield f"{key} {_scalar(value)}"


def _item(value: Any, indent: str) -> Iterator[str]:
    if isinstance(value, Mapping | list | tuple) and value:
        yield f"{indent}-"
        members = value.items() if isinstance(value, Mapping) else ()
        for inner, member in members:
            yield from _member(str(inner), member, indent + "  ")
        for item in value if isinstance(value, list | tuple) else ():
            yield from _item(item, indent + "  ")
    else:
        yield f"{indent}- {_scalar(value)}"


def _fits_block(text: str) -> bool:
    lines = text.split("\n")
    return (
        len(lines) > 1
        and not lines[0].startswith(" ")
        and lines[0] != ""
        and not text.endswith("\n\n")
        and not UNSAFE.search(text.replace("\n", ""))
    )


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        return _text(value)
    return "{}" if value == {} else "[]" if value == [] or value == () else json.dumps(value)


def _text(text: str) -> str:
    plain = _PLAIN.fullmatch(text) is not None and text.lower() not in _NOT_PLAIN
    return text if plain else _quoted(text)


def _quoted(text: str) -> str:
    """Write a text between quotes; what an editor would not show as it is becomes an escape."""

    def escape(match: re.Match[str]) -> str:
        character = match.group()
        code = ord(character)
        wide = f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65_536 else f"\\U{code:08x}"
        return _ESCAPES.get(character) or wide

    return '"' + _TO_ESCAPE.sub(escape, text) + '"'


def _one_line(text: str) -> str:
    return _quoted(text)[1:-1]


_TO_ESCAPE: Final = re.compile(f'["\\\\]|{UNSAFE.pattern}')
_HEAD: Final = (
    "#",
    "# Change what should be different, save, and leave the editor. You are shown the difference and asked",
    "# before anything is sent; a file without a change, or an empty one, sends nothing. The edited ask is",
    "# decided again by every rule; where it may run, the agent runs it as it is here. A line taken away takes",
    "# its field away.",
)
_PARTIAL: Final = (
    "#",
    "# The ask is too large to be shown whole. What you leave as it is here stays as it was asked.",
)
