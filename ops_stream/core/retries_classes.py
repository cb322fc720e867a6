"""Which class an error is of, and what changes state.

An agent's own word counts only as far as it does no harm: where a call that changes state was cut off, nobody knows
whether it was done, whatever class the agent names beside that.
"""

from __future__ import annotations

import re
from typing import Final, get_args

from ops_stream.contract.models import Telemetry
from ops_stream.core.draft import Draft
from ops_stream.core.rows import Ask
from ops_stream.core.rows_retries import ErrorClass
from ops_stream.core.rules_effects import IRREVERSIBLE, UNKNOWN
from ops_stream.core.rules_retries import Retries, Said

TEXT_MAX: Final = 4_096
"""Characters of an error that are looked at."""
_SEAMS: Final = re.compile(
    r"[^A-Za-z0-9]+|(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[0-9])(?=[A-Za-z])"
)
_CODES: Final = re.compile(r"(?<=[A-Za-z])(?=[0-9]{3}\b)")
_BEFORE_A_CODE: Final = frozenset(("http", "https", "status", "code", "error"))
"""A number in a sentence is a status only behind one of these, or at its beginning."""


def spaced(text: str) -> str:
    """Write a text in lower case, each of its words between blanks; `RateLimitError` and `rate_limit` have two or more.

    >>> spaced("RateLimitError: HTTP429")
    ' rate limit error http 429 '
    """
    words = _SEAMS.sub(" ", _CODES.sub(" ", text[:TEXT_MAX])).split()
    return f" {' '.join(words).lower()} "


_NAMES: Final[dict[str, ErrorClass]] = {spaced(name): name for name in get_args(ErrorClass)}


def changes_state(draft: Draft, effect: str) -> bool:
    """Say whether what has an effect (as an ask's row has it) may change something outside.

    What nobody has classed counts only where `conf/effects.yaml` takes it for irreversible, or `unsure_effects` names
    it.
    """
    if effect == UNKNOWN:
        return UNKNOWN in draft.rules.retries.unsure_effects or draft.rules.effects.unknown == IRREVERSIBLE
    return effect == IRREVERSIBLE or effect in draft.rules.retries.unsure_effects


def classed(draft: Draft, ask: Ask, event: Telemetry) -> ErrorClass:
    """Give the class of the error that a report of a failure tells.

    A time-out or a lost connection is an unknown outcome of a call that changes state, and passes otherwise; so does
    what is called an unknown outcome although nothing can have changed.
    """
    rules = draft.rules.retries
    named, told = spaced(event.error_class or ""), _without_counts(spaced(event.error or ""))
    said: Said = _NAMES.get(named) or _said(rules, named) or _said(rules, told) or rules.otherwise
    changes = changes_state(draft, ask.effect)
    if said == "lost" or said == "unknown_outcome":
        return "unknown_outcome" if changes else "transient"
    cut = (word for word, meant in rules.words if meant in ("lost", "unknown_outcome"))
    return "unknown_outcome" if changes and any(word in named or word in told for word in cut) else said


def _said(rules: Retries, text: str) -> Said | None:
    for word, said in rules.words:
        if word in text:
            return said
    return None


def _without_counts(text: str) -> str:
    """Take numbers out of a sentence that are no status, as in `took 400 ms`."""
    words = text.split()
    kept = [
        word
        for before, word in zip(("", *words), words, strict=False)
        if not word.isdecimal() or not before or before in _BEFORE_A_CODE
    ]
    return f" {' '.join(kept)} "
