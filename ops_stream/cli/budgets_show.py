"""The tree of budgets as people see it: branches, bars, amounts in their unit; as wide as the terminal."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from ops_stream.cli.output import BAD, GOOD, QUIET, WAIT, Column, Out, Row, bar, clean

NEAR: Final = 0.8
"""The share of a limit from which on a bar warns."""
WIDE: Final = 120
"""Columns of a terminal from which on there is room for everything."""
NAME_MIN: Final = 12
_ENDLESS: Final = 100_000
_TITLES: Final = {"workflow": "workflows", "agent": "agents", "task": "tasks", "model": "models"}
_WORDS: Final = {"tokens": " tok", "requests": " req", "concurrent": " run"}


def branches(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """Give the rows with what stands before them: `name` holds the branch of the tree, and headings are added."""
    found: list[dict[str, Any]] = []
    for tenant, of_tenant in groupby(rows, lambda row: row["tenant"]):
        levels = [(scope, list(level)) for scope, level in groupby(of_tenant, lambda row: row["scope"])]
        for at, (scope, level) in enumerate(levels):
            if scope == "tenant":
                found += [{**row, "name": "│" if number else tenant} for number, row in enumerate(level)]
            else:
                found += _level(_TITLES[scope], level, last=at == len(levels) - 1)
    return found


def _level(title: str, rows: Iterable[Row], *, last: bool) -> Iterator[dict[str, Any]]:
    """Give a heading, and below it each scope of a level: its name once, then a line for each of its limits."""
    yield {"name": ("└─ " if last else "├─ ") + title, "heading": True}
    stem = "   " if last else "│  "
    scopes = [list(lines) for _, lines in groupby(rows, lambda row: row.get("target"))]
    for lines in scopes:
        ends = lines is scopes[-1]
        for number, row in enumerate(lines):
            name = f"… {row['folded']:,} more" if "folded" in row else str(row["target"])
            branch = ("└─ " if ends else "├─ ") + name if number == 0 else " " if ends else "│"
            yield {**row, "name": stem + branch}


def columns(rows: Sequence[Row], out: Out) -> tuple[Column, ...]:
    """Choose what is shown: columns in which nothing stands are left out, and the least needed where it is narrow.

    Names give way to amounts: they are cut to what room the others leave.
    """
    width = shutil.get_terminal_size().columns if out.terminal else _ENDLESS
    wide = width >= WIDE
    length = 20 if wide else 10
    always = {"spent", "limit"}
    others = (
        Column("window", "window", QUIET),
        Column("used of limit", lambda row: _bar(row, length), _bar_style),
        *(
            Column(name, _amount(name), WAIT if name == "unknown" else "", right=True)
            for name in ("held", "unknown", "spent", "limit", *(["left"] if wide else []))
            if name in always or any(_value(row, name) for row in rows)
        ),
        *([Column("", _note, QUIET)] if any(_note(row) for row in rows) else []),
    )
    taken = sum(2 + max(len(text) for text in _texts(column, rows)) for column in others)
    room = max(NAME_MIN, width - taken)
    name = Column(
        "budget", lambda row: _cut(row["name"], room), lambda row: QUIET if row.get("heading") else ""
    )
    return (name, *others)


def _texts(column: Column, rows: Sequence[Row]) -> list[str]:
    return [column.title, *(column.text(row) for row in rows)]


def _cut(name: str, room: int) -> str:
    name = clean(name)
    return name if len(name) <= room else name[: room - 1] + "…"


def show(out: Out, rows: Iterable[Row]) -> None:
    """Write the tree for people, or one JSON object a line for programs."""
    rows = list(rows)
    if out.as_json:
        out.table(rows, ())
        return
    drawn = branches(rows)
    out.table(drawn, columns(drawn, out), empty="No budgets.")


def _value(row: Row, name: str) -> Any:
    return row.get(f"{name}_{row.get('unit', 'usd')}")


def _amount(name: str) -> Callable[[Row], str]:
    def cell(row: Row) -> str:
        if "folded" in row:
            return amount(row["used_usd"], "usd") if name == "spent" else ""
        value = _value(row, name)
        counts_now = row.get("unit") == "concurrent" and name == "spent"
        if value is None or counts_now or (not value and name in ("held", "unknown")):
            return ""
        return amount(value, row["unit"])

    return cell


def amount(value: float | int, unit: str) -> str:
    """Write an amount in its unit."""
    from ops_stream.cli.events import money

    return money(value) if unit == "usd" else f"{value:,}{_WORDS[unit]}"


def _bar(row: Row, length: int) -> str:
    return f"{bar(row['share'], length)} {min(row['share'], 99.99):4.0%}" if "share" in row else ""


def _bar_style(row: Row) -> str:
    share = row.get("share", 0.0)
    over = WAIT if row.get("soft") else BAD
    return over if share >= 1 else WAIT if share >= NEAR else GOOD


def _note(row: Row) -> str:
    notes: Mapping[str, bool] = {
        "soft": bool(row.get("soft")),
        "set": row.get("limit_from") == "operator",
        "over": row.get("current") is False,
    }
    return ", ".join(name for name, so in notes.items() if so)
