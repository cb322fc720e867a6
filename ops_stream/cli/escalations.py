"""`ops-stream escalations`: what waits for a person, as a live list, as lines, or one of them whole."""

from __future__ import annotations

from collections.abc import AsyncIterator
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Any, Final

import click

from ops_stream.cli.common import Out, load_settings, output_options, run
from ops_stream.cli.escalation_rows import COLUMNS, Known, by_urgency, columns_for, find, seen_token, take_in
from ops_stream.cli.live import drawn
from ops_stream.cli.output import QUIET, Row, table_of
from ops_stream.contract.errors import WrongUse

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ops_stream.cli.bus import Bus
    from ops_stream.contract.settings import Settings

_HEAD_LINES: Final = 4
"""Lines of a terminal that the list does not use: the titles, the hint, the prompt below."""
_EMPTY: Final = "Nothing waits for a person."


@click.command()
@click.argument("escalation_id", metavar="[ID]", required=False)
@click.option("--all", "closed_too", is_flag=True, help="Also those that are closed.")
@click.option("--tenant", help="Only this tenant's.")
@click.option("--once", is_flag=True, help="Print the list and end, also on a terminal.")
@click.option("--watch", is_flag=True, help="Go on and print each change, also where nobody sees a terminal.")
@output_options
def escalations(
    out: Out, escalation_id: str | None, closed_too: bool, tenant: str | None, once: bool, watch: bool
) -> None:
    """Show what waits for a person: a live list on a terminal, until Ctrl-C; a list elsewhere; or one: ID.

    Answer with `approve ID`, `deny ID` or `edit ID`. With an ID it shows all of one: what is asked and why,
    the agent's record, who has said what, and how to answer. The first characters of an ID are enough.

    \b
    ops-stream escalations
    ops-stream escalations --once --tenant team-a
    ops-stream escalations esc_3f9c21d0
    ops-stream escalations --watch --json | jq -r '.escalation_id + " " + .status'
    """
    if once and watch:
        raise WrongUse("--once ends at once and --watch goes on.", where="--once", next_step="Leave one out.")
    if escalation_id is not None and (closed_too or tenant is not None or watch):
        raise WrongUse("An ID names one escalation.", where="ID", next_step="Leave the other options out.")
    settings = load_settings()
    live = watch or (out.terminal and not once)
    if escalation_id is not None:
        run(settings, _one(out, settings, escalation_id))
    else:
        run(settings, _escalations(out, settings, _Wanted(tenant, closed_too), live=live))


class _Wanted:
    """Which escalations are shown."""

    def __init__(self, tenant: str | None, closed_too: bool) -> None:
        self.tenant = tenant
        self.closed_too = closed_too

    def __call__(self, row: Row) -> bool:
        return (self.closed_too or row["status"] == "open") and self.tenant in (None, row["tenant"])

    def of(self, known: Known) -> list[dict[str, Any]]:
        return by_urgency(row for row in known.values() if self(row))


async def _one(out: Out, settings: Settings, escalation_id: str) -> None:
    from ops_stream.cli.bus import connect
    from ops_stream.cli.escalation_show import page

    async with connect(settings) as bus:
        row = await find(bus, escalation_id)
    out.row(_for_programs(row), page(out, row))


async def _escalations(out: Out, settings: Settings, wanted: _Wanted, *, live: bool) -> None:
    from ops_stream.cli.bus import connect
    from ops_stream.cli.folding import bar

    async with connect(settings) as bus:
        ranges = await bus.ends(bus.places(["escalations"]))
        known: Known = {}
        with bar("reading escalations", sum(end - start for start, end in ranges.values())) as advance:
            async for record in bus.read(ranges):
                _forget_closed(known, take_in(known, bus.take(record)), wanted)
                advance(1)
        if not live:
            _list(out, wanted.of(known), wanted)
            return
        changes = bus.follow({tp: end for tp, (_, end) in ranges.items()})
        if out.terminal:
            await _draw(out, bus, known, changes, wanted)
        else:
            await _lines(out, bus, known, changes, wanted)


def _list(out: Out, rows: list[dict[str, Any]], wanted: _Wanted) -> None:
    columns = COLUMNS
    if out.terminal:
        columns = columns_for(rows, get_terminal_size().columns, closed_too=wanted.closed_too)
    out.table([_for_programs(row) for row in rows], columns, empty=_EMPTY)


def _for_programs(row: Row) -> Row:
    return {**row, "seen": seen_token(row)}


def _forget_closed(known: Known, row: Row | None, wanted: _Wanted) -> None:
    """Keep in memory only what may be shown: the topic goes back a month."""
    if row is not None and row["status"] != "open" and not wanted.closed_too:
        del known[row["escalation_id"]]


async def _lines(out: Out, bus: Bus, known: Known, changes: AsyncIterator[Any], wanted: _Wanted) -> None:
    """Write a line for each that is there and for every change, also for the end of one."""
    for row in wanted.of(known):
        out.row(_for_programs(row), _line(row))
    async for record in changes:
        changed = take_in(known, bus.take(record))
        if changed is not None and wanted.tenant in (None, changed["tenant"]):
            out.row(_for_programs(changed), _line(changed))
        _forget_closed(known, changed, wanted)


def _line(row: Row) -> str:
    return "  ".join(column.text(row) for column in COLUMNS)


async def _draw(out: Out, bus: Bus, known: Known, changes: AsyncIterator[Any], wanted: _Wanted) -> None:
    """Draw the list again with every change and once a second, so that ages and expiries are true."""

    def picture(width: int, height: int) -> RenderableType:
        return _picture(wanted.of(known), wanted, width, height)

    async with drawn(out, picture) as redraw:
        async for record in changes:
            row = take_in(known, bus.take(record))
            _forget_closed(known, row, wanted)
            if row is not None:
                redraw()


def _picture(rows: list[dict[str, Any]], wanted: _Wanted, width: int, height: int) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    if not rows:
        return Text(f"{_EMPTY} Ctrl-C ends.", style=QUIET)
    columns = columns_for(rows, width, closed_too=wanted.closed_too)
    shown = rows[: max(1, height - _HEAD_LINES)]
    more = f"{len(rows) - len(shown)} more. " if len(rows) > len(shown) else ""
    hint = f"{more}Look: escalations ID. Answer: approve, deny or edit ID. Ctrl-C ends."
    return Group(table_of(shown, columns, one_line=True), Text(hint, style=QUIET))
