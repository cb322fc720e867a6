"""`ops-stream escalations`: what waits for a person."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import click

from ops_stream.cli.common import Out, load_settings, output_options, run
from ops_stream.cli.output import BAD, GOOD, QUIET, WAIT, Column, Row, table_of

if TYPE_CHECKING:
    from ops_stream.cli.bus import Bus
    from ops_stream.cli.events import Seen
    from ops_stream.contract.settings import Settings

Known = dict[str, dict[str, Any]]
"""Escalations by id, in the order in which they were opened."""


@click.command()
@click.option("--all", "closed_too", is_flag=True, help="Also those that are closed.")
@click.option("--tenant", help="Only this tenant's.")
@click.option("--watch", is_flag=True, help="Go on, and show each change.")
@output_options
def escalations(out: Out, closed_too: bool, tenant: str | None, watch: bool) -> None:
    """List what waits for a person. Answer with `approve ID` or `deny ID`.

    \b
    ops-stream escalations
    ops-stream escalations --watch
    ops-stream escalations --json | jq -r .escalation_id
    """
    settings = load_settings()
    run(settings, _escalations(out, settings, tenant, closed_too=closed_too, watch=watch))


async def _escalations(
    out: Out, settings: Settings, tenant: str | None, *, closed_too: bool, watch: bool
) -> None:
    from ops_stream.cli.bus import connect

    def wanted(row: Row) -> bool:
        return (closed_too or row["status"] == "open") and tenant in (None, row["tenant"])

    async with connect(settings) as bus:
        ranges = await bus.ends(bus.places(["escalations"]))
        known: Known = {}
        async for record in bus.read(ranges):
            _fold(known, bus.take(record))
        if watch:
            changes = bus.follow({tp: end for tp, (_, end) in ranges.items()})
            await _watch(out, bus, known, changes, wanted)
        else:
            rows = [row for row in known.values() if wanted(row)]
            out.table(rows, COLUMNS, empty="Nothing waits for a person.")


async def find(bus: Bus, escalation_id: str) -> Mapping[str, Any] | None:
    """Give an escalation as it stands now."""
    known: Known = {}
    async for seen in bus.outputs("escalations"):
        if seen.body is not None and seen.body["escalation_id"] == escalation_id:
            _fold(known, seen)
    return known.get(escalation_id)


def _fold(known: Known, seen: Seen | None) -> dict[str, Any] | None:
    """Take in one event; what it leaves out (the ask as it was seen) stays as it was."""
    if seen is None or seen.body is None:
        return None
    escalation_id = seen.body["escalation_id"]
    row = known.get(escalation_id, {"at_ms": seen.timestamp_ms}) | dict(seen.body)
    known[escalation_id] = row
    return row


async def _watch(out: Out, bus: Bus, known: Known, changes: AsyncIterator[Any], wanted: Any) -> None:
    """Show the list and every change: a table that is drawn again on a terminal, lines elsewhere."""
    if not out.terminal:
        for row in known.values():
            if wanted(row):
                out.row(row, _line(row))
        async for record in changes:
            changed = _fold(known, bus.take(record))
            if changed is not None:
                out.row(changed, _line(changed))
        return
    from rich.live import Live

    def draw() -> Any:
        rows = [row for row in known.values() if wanted(row)]
        return table_of(rows, COLUMNS) if rows else "Nothing waits for a person."

    from rich.console import Console

    console = Console(no_color=not out.color, highlight=False)
    with Live(console=console, get_renderable=draw, refresh_per_second=1, screen=False) as live:
        async for record in changes:
            if _fold(known, bus.take(record)) is not None:
                live.refresh()


def _line(row: Row) -> str:
    return "  ".join(column.text(row) for column in COLUMNS)


def _age(row: Row) -> str:
    return span(time.time() - row["at_ms"] / 1000)


def _left(row: Row) -> str:
    from ops_stream.contract.clocktext import parse_time

    if row["status"] != "open":
        return ""
    seconds = parse_time(row["expires_at"]) / 1000 - time.time()
    return span(seconds) if seconds > 0 else "now"


def span(seconds: float) -> str:
    """Write a length of time for people."""
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def _stake(row: Row) -> str:
    from ops_stream.cli.events import money

    return money(row.get("at_stake_usd"))


def _severity_style(row: Row) -> str:
    return {"critical": BAD, "warning": WAIT}.get(str(row["severity"]), "")


def _status_style(row: Row) -> str:
    return {"open": WAIT, "approved": GOOD}.get(str(row["status"]), QUIET)


COLUMNS: Final = (
    Column("id", "escalation_id"),
    Column("status", "status", _status_style),
    Column("severity", "severity", _severity_style),
    Column("tenant", "tenant"),
    Column("agent", "agent"),
    Column("at stake", _stake, right=True),
    Column("age", _age, right=True),
    Column("expires in", _left, right=True),
    Column("summary", "summary", wrap=True),
)
