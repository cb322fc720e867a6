"""The language of scenario texts.

A file holds scenarios. Each begins with `scenario` and a sentence, the test's specification; then come
lines of the form

    verb word word name=value … -> expectation, expectation … # comment

First what the world is like (`budget`, `policy`, `setting`, …), then what happens in it and what is expected.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SETUP_VERBS = frozenset(
    (
        "budget",
        "limit",
        "zone",
        "begin",
        "task-budget",
        "policy",
        "setting",
        "lifecycle",
        "alerts",
        "silence",
        "trigger",
        "rung",
        "quorum",
        "kills",
        "automatic",
        "effects",
        "effect",
        "signatures",
        "person",
        "owner",
        "mode",
        "models",
        "declare",
        "strangers",
        "rules",
        "partitions",
        "reports",
        "model",
        "alias",
        "routing",
        "load",
        "tenant-load",
        "provider-load",
        "batch",
        "window",
        "retries",
        "plan",
        "optimization",
    )
)


@dataclass(frozen=True)
class Line:
    """One line of a scenario."""

    where: str
    verb: str
    words: tuple[str, ...]
    named: dict[str, str]
    expected: tuple[tuple[str, ...], ...]
    """Each expectation as its words; nothing where the line expects nothing in particular."""

    def word(self, index: int, default: str = "") -> str:
        """Give a word, or a default where the line is shorter."""
        return self.words[index] if index < len(self.words) else default


@dataclass(frozen=True)
class Scenario:
    """One scenario."""

    file: str
    title: str
    setup: tuple[Line, ...]
    lines: tuple[Line, ...]

    @property
    def id(self) -> str:
        """Name the scenario for a test report."""
        return f"{self.file}: {self.title}"


class BadScenario(Exception):
    """A scenario text that cannot be read."""


def read_file(path: Path) -> Iterator[Scenario]:
    """Read the scenarios of a file."""
    title = ""
    lines: list[Line] = []
    for number, text in enumerate(path.read_text("utf-8").splitlines(), start=1):
        stripped = text.strip()
        if not stripped or stripped.startswith("#"):
            continue
        if stripped.startswith("scenario "):
            if title:
                yield _scenario(path, title, lines)
            title, lines = stripped.removeprefix("scenario ").strip(), []
        elif not title:
            raise BadScenario(f"{path.name}:{number}: a line before the first scenario")
        else:
            lines.append(_line(f"{path.name}:{number}", stripped))
    if title:
        yield _scenario(path, title, lines)


def _scenario(path: Path, title: str, lines: list[Line]) -> Scenario:
    setup = tuple(line for line in lines if line.verb in SETUP_VERBS)
    return Scenario(path.stem, title, setup, tuple(line for line in lines if line.verb not in SETUP_VERBS))


def _line(where: str, text: str) -> Line:
    left, arrow, right = text.partition("->")
    tokens = shlex.split(left, comments=True)
    verb, *rest = tokens
    words = tuple(token for token in rest if not _is_named(token))
    named = dict(token.split("=", 1) for token in rest if _is_named(token))
    expected = _groups(shlex.split(right, comments=True)) if arrow else ()
    return Line(where, verb, words, named, expected)


def _groups(tokens: list[str]) -> tuple[tuple[str, ...], ...]:
    """Split at the words that end in a comma."""
    groups: list[list[str]] = [[]]
    for token in tokens:
        groups[-1].append(token.removesuffix(","))
        if token.endswith(","):
            groups.append([])
    return tuple(tuple(group) for group in groups if group)


def _is_named(token: str) -> bool:
    name, equals, _ = token.partition("=")
    return bool(equals) and name.replace("_", "").replace("-", "").isalnum() and not token.startswith("=")
