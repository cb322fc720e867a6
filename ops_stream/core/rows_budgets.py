"""Rows about money: what each scope has under way and behind it, and the limits that operators set."""

from __future__ import annotations

from ops_stream.core.rows_base import Row
from ops_stream.core.rules_budgets import WindowKind


class Budget(Row, frozen=True):
    """What one scope has under way and behind it, in one unit and one window.

    Keys: `budget/tenant|T|WINDOW`, `budget/task|T|TASK|WINDOW` and likewise for `workflow`, `agent` and `model`;
    these count micro-dollars. Other units stand behind the level: `budget/agent.tokens|T|AGENT|WINDOW`, `.requests`,
    `.concurrent`. WINDOW is the last part: `2026-11-24T13` (hour), `2026-11-24`, `2026-W48`, `2026-11`, or nothing for
    what has no end; `~2` behind it marks the second row of a window whose limits changed their windows in between.
    A row whose `kinds` begin with `-` takes no more asks. What counts against a limit is
    the row's own numbers with `ops_stream.core.budgets_windows.joined_in`, those of the rows that it has joined.
    """

    held: int = 0
    unknown: int = 0
    spent: int = 0
    overrun: int = 0
    """The part of `spent` that nobody had held."""
    asks: int = 0
    """Remembered asks that may still settle here."""
    until: int = 0
    """When the window is over and may be forgotten; 0 where it has no end."""
    kinds: str = ""
    """The windows in force together, by their letters (h, d, w, m, t), where there is more than one; `-` before
    them where they no longer are."""
    joined: tuple[tuple[str, int], ...] = ()
    """Windows of the same scope, no longer in force, whose numbers count here too, and how much of what they
    have spent does not because it was spent before this window began."""
    carried: int = 0
    """What forgotten ones of them left behind."""
    told: int = 0
    """The highest threshold (percent) of the hard limit that was alerted in this window."""
    told_soft: int = 0
    closed: int = 0
    """When it took no more asks because the windows in force changed."""
    by: str = ""
    """A task's: the agent whose ask was admitted last; only kept where loops call a person."""
    passed: int = 0
    """A task's: up to which multiple of the trigger's cost a person has let it go."""
    called: int = 0
    """The percentage of the soft limit at which a person was called in this window."""


class Spending(Row, frozen=True):
    """What a tenant's budget row had spent when the hour, the day and so on began: each window with the amount."""

    next: int
    """When the next hour begins."""
    began: tuple[tuple[str, int], ...] = ()


class Overrun(Row, frozen=True):
    """Overruns of one agent that were not alerted one by one, until the hour is over."""

    until: int
    tenant: str
    agent: str
    count: int = 0
    micros: int = 0


class LimitRow(Row, frozen=True):
    """A limit that an operator set; it takes the place of one in the rules.

    Keys: `limit/tenant|T`, `limit/task|T|TASK` and likewise for the other levels, where the name may be `*`;
    units other than dollars stand behind the level, as in `limit/agent.tokens|T|AGENT`.
    """

    limit: int
    window: WindowKind
    command_id: str
    at: int
