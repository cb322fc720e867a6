"""Rows about what a success takes at each type of task: what agents are compared with."""

from __future__ import annotations

import msgspec

from ops_stream.core.rows_base import Row


class Peer(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What one agent has needed, decayed: thousandths of successes, micro-dollars and milliseconds."""

    agent: int
    """A short hash of its name; 0 for all those that have no entry of their own."""
    priced: int = 0
    """Successes whose cost it has told."""
    cost: int = 0
    """What it has spent on them, and on what failed."""
    timed: int = 0
    """Successes whose time is known."""
    took: int = 0
    """How long these took, and what failed."""


class Baseline(Row, frozen=True):
    """What agents have needed for a type of task of late; `until` is when it is forgotten."""

    until: int
    at: int = 0
    """When the latest of it came."""
    peers: tuple[Peer, ...] = ()
    """What came before that, by agent."""
    fresh: tuple[Peer, ...] = ()
    """What came at that very millisecond: nothing is compared with it yet, so that the order does not matter."""
