"""Rows about models: whether one, or all of a provider, is left for a while because it keeps failing."""

from __future__ import annotations

from typing import Literal

from ops_stream.core.rows_base import Row

CircuitState = Literal["closed", "open", "half_open"]


class Circuit(Row, frozen=True):
    """A circuit: `circuit/model|NAME` or `circuit/provider|NAME`. There is none where nothing failed of late."""

    until: int
    """When it is forgotten, unless something comes before that."""
    name: str = ""
    """The name, clipped, where it cannot stand in a key."""
    state: CircuitState = "closed"
    since: int = 0
    """When it came into its state, from the time on that it first opened."""
    opened: int = 0
    """When it opened first since it was last closed."""
    last: str = ""
    """What the latest reports said while it was closed, oldest first: `+` for good, `-` for a failure, `r` for one that
    a provider refused because it was asked too often."""
    by: tuple[str, ...] = ()
    """Whom each of them is from: short hashes of agents; where it is a provider's, of models and then of agents."""
    trial: str = ""
    """The key of the ask that tries it."""
    good: int = 0
    """Trials that went well, one after the other."""
