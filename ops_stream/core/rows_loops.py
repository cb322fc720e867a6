"""Rows about work that goes in circles; kept only where the trigger `loop` is on, and only after a failure."""

from __future__ import annotations

from ops_stream.core.rows_base import Row


class Tries(Row, frozen=True):
    """How often an agent has tried one task type of one task in vain, since it last succeeded.

    Tries that run side by side are one round. An ask knows how many rounds came before its own (`Ask.tries`).
    """

    until: int
    """When nothing of it counts any more."""
    round: int
    """The latest round of which an ask has ended without success."""
    ends: tuple[int, ...] = ()
    """When each of the latest rounds had its first end without success, oldest first."""


class Handovers(Row, frozen=True):
    """How often a task has gone from one of two agents to the other."""

    until: int
    one: str
    other: str
    """The two, in alphabetical order."""
    times: tuple[int, ...] = ()
    """When it went over, oldest first."""
