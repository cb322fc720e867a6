"""Rows about figures: what is counted in a window, which objectives are under way, and which agents are to be told of.

Windows are numbered by their length: `h494512` is the hour that begins so many hours after 1970 in UTC, `d20604` a day.
"""

from __future__ import annotations

from typing import Final

import msgspec

from ops_stream.core.rows_base import Row


class Tally(Row, frozen=True):
    """What happened to a tenant in a window: the numerators and denominators of its figures.

    Keys: `tally/T|h494512` (an hour), `tally/T|d20604` (the hours of a day that are over, added up), and
    `tally/T|d20604|W` for what a workflow ended in a day. Money is micro-dollars.
    """

    until: int
    """While the window lasts, when it is told or over; then, when it is forgotten."""
    news: int = 0
    """The figures that have changed since they were told: a bit each, in the order of `core.kpis.KPIS`."""
    closed: bool = False
    used: int = 0
    """A workflow's: the minute since 1970 in which it last counted something."""
    spent: int = 0
    objectives: int = 0
    """Objectives that were completed."""
    good: int = 0
    """Asks that ended well."""
    ended: int = 0
    """Asks that ended, well or not; not those that people or rules stopped."""
    mended: int = 0
    """Failures that were resolved."""
    mended_ms: int = 0
    answered: int = 0
    """Escalations that were decided."""
    answered_ms: int = 0
    escalated: int = 0
    asked: int = 0
    """Asks that got their first decision."""


class Goal(Row, frozen=True):
    """An objective, or a workflow of asks that name no objective; or (`since`) a failure that waits to be resolved.

    Keys: `goal/T|o|OBJECTIVE`, `goal/T|w|WORKFLOW`; a failure of a task `goal/T|f|o|OBJECTIVE|TASK`,
    `goal/T|f|w|WORKFLOW|TASK` or `goal/T|f||TASK`.
    """

    until: int
    """When it is forgotten, unless it is used again."""
    used: int = 0
    """The minute since 1970 in which it was last used."""
    good: bool = False
    """Whether the last report was a success."""
    completed: bool = False
    """Whether it was counted: once is enough."""
    since: int = 0
    """When the failure came."""


class Telling(Row, frozen=True):
    """An agent that has reported: when its scores are told. Keys: `telling/T|AGENT`.

    Scores are kept in millionths, by name.
    """

    until: int
    day: int
    """The day that it is about, as a number since 1970."""
    news: bool = False
    closed: bool = False
    told: tuple[tuple[str, int], ...] = ()
    """What was told last; of a day that is closed, what it came to."""
    before: tuple[tuple[str, int], ...] = ()
    """What the day before came to; nothing where it had no report."""


class Used(msgspec.Struct, frozen=True):
    """When an objective, a failure or a workflow's count was last used, in minutes since 1970."""

    used: int = 0


decode_used: Final = msgspec.json.Decoder(Used).decode


def goal_of(objective: str, workflow: str) -> str:
    """Name what an ask works for: its objective, else its workflow; nothing where it names neither."""
    if objective:
        return f"o|{objective}"
    return f"w|{workflow}" if workflow else ""
