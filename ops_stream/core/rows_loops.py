"""Rows about work that goes in circles; kept only where the trigger `loop` is on, and only after a failure."""

from __future__ import annotations

from ops_stream.core.rows_base import Row


class Tries(Row, frozen=True):
    """How often an agent has tried one task type of one task in vain, one try after the other, since it succeeded."""

    until: int
    """When nothing of it counts any more."""
    ends: tuple[int, ...] = ()
    """When the latest of these tries ended, oldest first: each was let go after the one before had ended."""


class Handovers(Row, frozen=True):
    """How often a task has gone from one of two agents to the other."""

    until: int
    one: str
    other: str
    """The two, in alphabetical order."""
    times: tuple[int, ...] = ()
    """When it went over, oldest first."""
