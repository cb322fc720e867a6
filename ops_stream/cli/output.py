"""How answers are written: tables and colours for people, one JSON object a line for programs.

Whatever came over the bus may be hostile: control characters are shown, never sent to the terminal.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import click

from ops_stream.contract.escape import UNSAFE, clean, to_json

__all__ = [
    "BAD",
    "GOOD",
    "QUIET",
    "UNSAFE",
    "WAIT",
    "Column",
    "Out",
    "Row",
    "bar",
    "clean",
    "lasting",
    "table_of",
    "to_json",
]

Row = Mapping[str, Any]

_WIDE: Final = 100_000

GOOD, BAD, WAIT, QUIET = "green", "red", "yellow", "bright_black"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: its title, and the row's key, or a function of the row."""

    title: str
    get: str | Callable[[Row], object]
    style: str | Callable[[Row], str] = ""
    right: bool = False
    wrap: bool = False

    def text(self, row: Row) -> str:
        """Give the cell's text, safe to show."""
        value = row.get(self.get) if isinstance(self.get, str) else self.get(row)
        return "" if value is None else clean(value)

    def style_of(self, row: Row) -> str:
        """Give the cell's colour."""
        return self.style if isinstance(self.style, str) else self.style(row)


@dataclass(frozen=True, slots=True)
class Out:
    """Where a command writes. `terminal` says whether people see it redrawn."""

    as_json: bool
    color: bool
    terminal: bool

    @classmethod
    def make(cls, *, as_json: bool, no_color: bool) -> Out:
        """Look at the options, the environment and the terminal."""
        terminal = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        color = terminal and not no_color and not os.environ.get("NO_COLOR") and not as_json
        return cls(as_json, color, terminal and not as_json)

    def style(self, text: str, color: str = "", *, bold: bool = False) -> str:
        """Colour a text, if at all."""
        return click.style(text, fg=color or None, bold=bold or None) if self.color else text

    def say(self, text: str = "") -> None:
        """Write a sentence for people; programs do not get it. `text` must be safe to show."""
        if not self.as_json:
            click.echo(text, color=self.color)

    def note(self, text: str) -> None:
        """Write a remark beside the answer, on standard error."""
        click.echo(clean(text, keep="\n"), err=True)

    def row(self, row: Row, text: str) -> None:
        """Write one thing: as JSON, or as the given line, which must be safe to show."""
        click.echo(to_json(row) if self.as_json else text, color=self.color)

    def table(self, rows: Iterable[Row], columns: Sequence[Column], *, empty: str = "Nothing.") -> None:
        """Write rows as a table, or one JSON object a line."""
        rows = list(rows)
        if self.as_json:
            for row in rows:
                click.echo(to_json(row))
        elif rows:
            click.echo(self.render(rows, columns), nl=False, color=self.color)
        else:
            click.echo(empty)

    def render(self, rows: Iterable[Row], columns: Sequence[Column]) -> str:
        """Give a table as text."""
        from rich.console import Console

        console = Console(
            color_system="standard" if self.color else None,
            force_terminal=self.color,
            width=None if self.terminal else _WIDE,
            highlight=False,
            markup=False,
            emoji=False,
        )
        with console.capture() as capture:
            console.print(table_of(rows, columns))
        # Cells are padded to the column's width; nobody needs that at the end of a line.
        return "".join(line.rstrip() + "\n" for line in capture.get().splitlines())


def table_of(rows: Iterable[Row], columns: Sequence[Column], *, one_line: bool = False) -> Any:
    """Build the table that `rich` draws; with `one_line`, what would be wrapped is cut off instead.

    Where it is too wide, what may be wrapped gives way first; where nothing may, words do before figures.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    wraps = any(column.wrap for column in columns)
    for column in columns:
        table.add_column(
            column.title if column.wrap else Text(column.title, no_wrap=True, overflow="ellipsis"),
            justify="right" if column.right else "left",
            no_wrap=not column.wrap if wraps else column.right,
            overflow="fold" if column.wrap else "ellipsis",
        )
    for row in rows:
        table.add_row(
            *(
                Text(
                    column.text(row),
                    style=column.style_of(row),
                    no_wrap=one_line or not column.wrap or None,
                    overflow="ellipsis" if one_line or not column.wrap else None,
                )
                for column in columns
            )
        )
    return table


def bar(share: float, width: int = 20) -> str:
    """Draw a share of 1 as a bar; more than the whole is drawn full."""
    eighths = round(max(0.0, min(1.0, share)) * width * 8)
    full, rest = divmod(eighths, 8)
    return ("█" * full + (" ▏▎▍▌▋▊▉"[rest] if rest else "")).ljust(width, "·")


def lasting(seconds: float) -> str:
    """Write how long something took."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3_600:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3_600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.1f} days"
