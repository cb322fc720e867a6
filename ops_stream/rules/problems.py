"""What is wrong with a set of rules: every problem at once, each with its place and a way out."""

import difflib
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from ops_stream.contract.errors import NotSo

_SHOWN_MAX = 200


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing that is wrong, where it is (line and column count from 1) and what to write instead."""

    file: str
    line: int
    column: int
    message: str
    suggestion: str = ""

    def __str__(self) -> str:
        """Give the problem as compilers do, so that editors can jump to it."""
        hint = f" {self.suggestion}" if self.suggestion else ""
        return f"{self.file}:{self.line}:{self.column}: {self.message}{hint}"


class RulesInvalid(NotSo):
    """A set of rules that cannot be used; the rules in force stay as they are."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        """Keep the problems in the order of the files, each once."""
        self.problems = tuple(sorted(set(problems)))
        count = len(self.problems)
        shown = "\n".join(str(problem) for problem in self.problems[:_SHOWN_MAX])
        more = f"\n… and {count - _SHOWN_MAX} more" if count > _SHOWN_MAX else ""
        super().__init__(f"The rules have {count} problem{'s' if count != 1 else ''}:\n{shown}{more}")


def nearest(name: str, known: Collection[str]) -> str | None:
    """Give the known name that was most likely meant, or nothing where none is near."""
    lowered = {candidate.lower(): candidate for candidate in sorted(known)}
    found = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.6)
    return lowered[found[0]] if found else None


def did_you_mean(name: str, known: Collection[str], *, listed: int = 30) -> str:
    """Suggest the nearest known name, or list the known ones where none is near."""
    near = nearest(name, known)
    if near is not None:
        return f"Did you mean '{near}'?"
    if len(known) <= listed:
        return f"Known: {', '.join(sorted(known))}."
    return ""
