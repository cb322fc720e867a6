"""Reads a YAML file of rules strictly, and remembers where everything stands.

Only what JSON has is taken: mappings with text keys, lists, texts, numbers, true, false and null, as YAML
1.2 reads them (`on` is a text). Anchors, aliases, tags, several documents and deep nesting are refused while
the file is read, before anything is built from it. Numbers with a fraction become Decimals, so that money is
exact.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.reader import ReaderError

from ops_stream.rules.problems import Problem

CHARACTERS_MAX: Final = 1_048_576
DEPTH_MAX: Final = 16
NODES_MAX: Final = 250_000
REMEMBERED_CHARACTERS_MAX: Final = 32_768

Path = tuple[str | int, ...]

_WORDS: Final = {"": None, "~": None, "null": None, "Null": None, "NULL": None}
_TRUTHS: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT: Final = re.compile(r"[-+]?[0-9]{1,18}")
_FLOAT: Final = re.compile(
    r"[-+]?(?:[0-9]{1,40}\.[0-9]{0,40}|\.[0-9]{1,40})(?:[eE][-+]?[0-9]{1,3})?"
    r"|[-+]?[0-9]{1,40}[eE][-+]?[0-9]{1,3}"
)
_NUMBER_LIKE: Final = re.compile(
    r"[-+]?(?:[0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?|\.inf|0[xo][0-9a-fA-F]+)|\.nan", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of the file: from `start` to before `end`; line and column of the start count from 1."""

    line: int
    column: int
    start: int
    end: int


@dataclass(slots=True)
class Document:
    """A file that could be read: its data, and the place of each value and key. Nobody changes it: it is shared."""

    file: str
    text: str
    data: Any = None
    values: dict[Path, Span] = field(default_factory=dict)
    keys: dict[Path, Span] = field(default_factory=dict)

    def at(self, path: Path, *, key: bool = False) -> Span:
        """Give the place of a value or of its key; of what holds it where it is not there itself."""
        path = tuple(path)
        if key and path in self.keys:
            return self.keys[path]
        while path not in self.values and path:
            path = path[:-1]
        return self.values.get(path, Span(1, 1, 0, 0))

    def problem(self, path: Path, message: str, suggestion: str = "", *, key: bool = False) -> Problem:
        """Say that something is wrong at a place."""
        span = self.at(path, key=key)
        return Problem(self.file, span.line, span.column, message, suggestion)

    def within(self, path: Path, value: str, line: int, column: int) -> tuple[int, int]:
        """Turn line and column in a text value into those of the file, however it is quoted or folded."""
        span = self.at(path)
        lines = value.split("\n")
        offset = sum(len(one) + 1 for one in lines[: line - 1]) + column - 1
        wanted = value[:offset]
        at = span.start
        for character in wanted:
            if not character.isspace():
                found = self.text.find(character, at, span.end)
                at = found + 1 if found >= 0 else at
        # What is pointed at is the next thing that is not space.
        rest = value[offset:].lstrip()
        if rest:
            found = self.text.find(rest[0], at, span.end)
            at = found if found >= 0 else at
        before = self.text[:at]
        return before.count("\n") + 1, at - (before.rfind("\n") + 1) + 1


class _Refused(Exception):
    def __init__(self, mark: Any, message: str, suggestion: str = "") -> None:
        super().__init__(message)
        self.mark = mark
        self.message = message
        self.suggestion = suggestion


def read_yaml(file: str, text: str) -> Document | tuple[Problem, ...]:
    """Read a file, or say what is wrong with it."""
    # The parser takes milliseconds a kilobyte, and most files of a bundle are those of the bundle before.
    return (_read if len(text) > REMEMBERED_CHARACTERS_MAX else _remembered)(file, text)


@lru_cache(maxsize=64)
def _remembered(file: str, text: str) -> Document | tuple[Problem, ...]:
    return _read(file, text)


def _read(file: str, text: str) -> Document | tuple[Problem, ...]:
    if len(text) > CHARACTERS_MAX:
        message = f"The file is longer than {CHARACTERS_MAX:,} characters."
        return (Problem(file, 1, 1, message, "Split it, or remove what is not used."),)
    document = Document(file, text)
    reader = _Reader(document)
    try:
        reader.read()
    except _Refused as refused:
        reader.problems.append(_problem(file, refused.mark, refused.message, refused.suggestion))
    except ReaderError as error:
        before = text[: error.position]
        place = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
        reader.problems.append(Problem(file, *place, "A control character does not belong in a text file."))
    except MarkedYAMLError as error:
        said = f"{error.problem or error.context or 'not YAML'}"
        hint = "Indent with spaces, not tabs." if "\\t" in said else _hint(said)
        reader.problems.append(_problem(file, error.problem_mark, f"This is not YAML: {said}.", hint))
    except (YAMLError, ValueError) as error:
        reader.problems.append(Problem(file, 1, 1, f"This is not YAML: {str(error)[:200]}."))
    return tuple(reader.problems) or document


def _hint(said: str) -> str:
    if "mapping values are not allowed" in said:
        return "Put a text with ': ' in it into quotes, or check the indentation."
    if "block end" in said:
        return "Check the indentation of this line."
    return "A text that begins with a special character belongs in quotes."


def _problem(file: str, mark: Any, message: str, suggestion: str = "") -> Problem:
    if mark is None:
        return Problem(file, 1, 1, message, suggestion)
    return Problem(file, mark.line + 1, mark.column + 1, message, suggestion)


class _Reader:
    """Builds the data from the parser's events, one at a time: nothing is expanded, nothing recurses far."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.problems: list[Problem] = []
        self._events: Iterator[Any] = iter(())
        self._nodes = 0

    def read(self) -> None:
        self._events = iter(YAML(typ="safe", pure=True).parse(self.document.text))
        documents = 0
        for event in self._events:
            if isinstance(event, DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise _Refused(event.start_mark, "The file holds several documents.", "Keep one.")
            elif isinstance(event, NodeEvent):
                self.document.data = self._node(event, (), 1)

    def _node(self, event: Any, path: Path, depth: int) -> Any:
        self._check(event, depth)
        span = _span(event)
        self.document.values[path] = span
        if isinstance(event, ScalarEvent):
            return self._scalar(event)
        if isinstance(event, SequenceStartEvent):
            return self._sequence(path, depth)
        return self._mapping(path, depth)

    def _check(self, event: Any, depth: int) -> None:
        self._nodes += 1
        if isinstance(event, AliasEvent):
            raise _Refused(event.start_mark, "Aliases ('*name') are not taken.", "Write the value out.")
        if event.anchor is not None:
            raise _Refused(event.start_mark, "Anchors ('&name') are not taken.", "Write the value out.")
        if event.tag is not None:
            raise _Refused(event.start_mark, "Tags ('!name') are not taken.", "Leave the tag out.")
        if depth > DEPTH_MAX:
            raise _Refused(event.start_mark, f"The file is nested deeper than {DEPTH_MAX} levels.")
        if self._nodes > NODES_MAX:
            raise _Refused(event.start_mark, f"The file has more than {NODES_MAX:,} values.")

    def _sequence(self, path: Path, depth: int) -> list[Any]:
        items: list[Any] = []
        for event in self._events:
            if isinstance(event, SequenceEndEvent):
                break
            items.append(self._node(event, (*path, len(items)), depth + 1))
        return items

    def _mapping(self, path: Path, depth: int) -> dict[str, Any]:
        members: dict[str, Any] = {}
        for event in self._events:
            if isinstance(event, MappingEndEvent):
                break
            self._check(event, depth)
            if not isinstance(event, ScalarEvent):
                raise _Refused(event.start_mark, "A key must be a text.")
            name = event.value
            value_event = next(self._events)
            if name in members:
                place = self.document.keys[(*path, name)]
                message = f"The key '{name}' is given twice, first in line {place.line}."
                self.problems.append(_problem(self.document.file, event.start_mark, message, "Keep one."))
            self.document.keys[(*path, name)] = _span(event)
            members[name] = self._node(value_event, (*path, name), depth + 1)
        return members

    def _scalar(self, event: Any) -> Any:
        text = str(event.value)
        if not event.implicit[0]:
            if any("\ud800" <= character <= "\udfff" for character in text):
                raise _Refused(event.start_mark, "The text holds half a character (a lone surrogate).")
            return text
        if text in _WORDS:
            return _WORDS[text]
        if text in _TRUTHS:
            return _TRUTHS[text]
        if _INT.fullmatch(text):
            return int(text)
        if _FLOAT.fullmatch(text):
            return Decimal(text)
        if _NUMBER_LIKE.fullmatch(text):
            hint = "Write it in plain decimal digits, or in quotes where it is a text."
            raise _Refused(event.start_mark, f"The number '{text[:40]}' is not taken.", hint)
        return text


def _span(event: Any) -> Span:
    mark = event.start_mark
    return Span(mark.line + 1, mark.column + 1, mark.index, event.end_mark.index)
