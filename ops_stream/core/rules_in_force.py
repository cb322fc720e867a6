"""The rules in force by the row `rules`: read, proved and put together once, not at every step.

The row names its bundle, its amendments and the digest of both. A row whose digest is not that of what it names is
nobody's decision, so that nothing is decided under it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from ops_stream.core.amend import base_of, digest_with, in_force
from ops_stream.core.rows import RULES, ActiveRules
from ops_stream.core.rules_model import Rules

KEPT_MAX: Final = 256
"""Rows that are kept read: those of all partitions of a worker, as long as it has no more."""


class WrongRules(Exception):
    """The row `rules` names another digest than its bundle and amendments have."""

    def __init__(self, row: ActiveRules) -> None:
        """Keep what the row names and what it should."""
        super().__init__(
            f"its row of rules names {row.digest}, and its bundle with its {len(row.amended)} amendments is "
            f"{digest_with(row.base, row.amended)}"
        )


class _Known(NamedTuple):
    base: str
    bundle: Rules
    rules: Rules


def active_rules(value: bytes) -> ActiveRules:
    """Read a row of rules. Raises WrongRules where its digest is not that of what it names."""
    row = RULES.decode(value)
    if row.digest != digest_with(base_of(row), row.amended):
        raise WrongRules(row)
    return row


class InForce:
    """Gives the rules in force by the bytes of the row `rules`; the last rows are kept read."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._known: dict[bytes, _Known] = {}

    def clear(self) -> None:
        """Forget everything: the bundles are other ones than before."""
        self._known.clear()

    def of(self, value: bytes, bundle_of: Callable[[str], Rules | None]) -> Rules | None:
        """Give the rules of a row, or None where `bundle_of` has no such bundle. Raises WrongRules."""
        known = self._known.get(value)
        if known is not None and bundle_of(known.base) is known.bundle:
            return known.rules
        row = active_rules(value)
        base = base_of(row)
        bundle = bundle_of(base)
        if bundle is None:
            return None
        rules = in_force(bundle, row)
        self._known.pop(value, None)
        while len(self._known) >= KEPT_MAX:
            del self._known[next(iter(self._known))]
        self._known[value] = _Known(base, bundle, rules)
        return rules


__all__ = ["InForce", "WrongRules", "active_rules"]
