"""Lists of words that call for a person, found by RE2: whole words, in any case, in one search."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import re2

PHRASES_MAX: Final = 500
"""Words of one list."""
PHRASE_MAX: Final = 100
LISTS_MAX: Final = 20
MEMORY_MAX: Final = 64 * 1_048_576
"""What one compiled list may take, in bytes; lists within the bounds take far less."""

# Neither a letter nor a digit: what stands around a whole word. Written out, since `\\b` knows only ASCII.
_EDGE: Final = r"[^\pL\pM\pN]"
_GAP: Final = r"[\s_-]+"


class WordLists:
    """Named lists of words and phrases.

    A phrase is found where it stands as whole words: `tax` in `the tax, then`, in `TAX_2026`, not in `taxi`. White
    space, `-` and `_` between its words stand for each other, and for more of them. Letters of the other case are
    the same letters, as Unicode's simple folding has it.
    """

    def __init__(self, lists: Mapping[str, Iterable[str]]) -> None:
        """Compile the lists; empty ones find nothing."""
        kept = {name: sorted(set(phrases)) for name, phrases in sorted(lists.items())}
        self.lists: Final[Mapping[str, tuple[str, ...]]] = {
            name: tuple(phrases) for name, phrases in kept.items() if phrases
        }
        self._each = tuple((name, _compiled(phrases)) for name, phrases in self.lists.items())
        everything = sorted({phrase for phrases in self.lists.values() for phrase in phrases})
        self._any = _compiled(everything) if everything else None

    def find(self, texts: Iterable[str]) -> tuple[tuple[str, str], ...]:
        """Give each list of which the texts hold a word, with the first such word as it stands there."""
        if self._any is None:
            return ()
        # A character that is part of no phrase keeps the texts apart.
        text = "\0".join(texts).encode("utf-8", "replace")
        if self._any.search(text) is None:
            return ()
        found = ((name, pattern.search(text)) for name, pattern in self._each)
        return tuple((name, match.group(1).decode("utf-8", "replace")) for name, match in found if match)

    def __eq__(self, other: object) -> bool:
        """Lists with the same words find the same."""
        return isinstance(other, WordLists) and self.lists == other.lists

    def __hash__(self) -> int:
        """Equal lists have the same hash."""
        return hash(tuple(self.lists.items()))


def words_of(phrase: str) -> list[str]:
    """Give the words of a phrase."""
    return phrase.replace("_", " ").replace("-", " ").split()


def _compiled(phrases: Iterable[str]) -> Any:
    options = re2.Options()
    options.log_errors = False
    options.max_mem = MEMORY_MAX
    options.case_sensitive = False
    # The longest first, so that it is what is reported where several fit.
    ordered = sorted(phrases, key=lambda phrase: (-len(phrase), phrase))
    choice = "|".join(_GAP.join(re2.escape(word) for word in words_of(phrase)) for phrase in ordered)
    return re2.compile(f"(?:^|{_EDGE})({choice})(?:$|{_EDGE})".encode(), options)
