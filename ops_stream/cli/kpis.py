"""`ops-stream kpis`: what objectives cost, how often work succeeds, how fast people and agents mend what went wrong."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import click

from ops_stream.cli.common import Out, load_settings, output_options, run
from ops_stream.cli.kpis_book import DAY_S, SCORES, SPANS, SYSTEM, Book, Span, row_of, standing_of
from ops_stream.cli.live import drawn
from ops_stream.cli.output import QUIET, Column, Row, clean, table_of
from ops_stream.contract.errors import ExitCode, NotSo, WrongUse

if TYPE_CHECKING:
    from aiokafka.structs import ConsumerRecord
    from rich.console import RenderableType

    from ops_stream.audit.reading import Bounds
    from ops_stream.cli.bus import Bus
    from ops_stream.contract.settings import Settings

_AHEAD_MS: Final = 3_600_000
"""How far the clocks of two brokers may be apart: a window begins before it is told, by the broker's time."""
_EMPTY: Final = "No figure has been told yet: they come a minute after the first asks and reports."
_LEFT_OUT: Final = "There are more figures than are kept in memory; name a tenant with --tenant."


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for."""

    span: Span
    tenant: str | None = None
    workflow: str | None = None
    agent: str | None = None

    def __call__(self, scope: str, tenant: str) -> bool:
        """Say whether a figure of a scope is looked at."""
        if self.tenant not in (None, tenant):
            return False
        kind, _, name = scope.partition("/")
        own = name.removeprefix(f"{tenant}/")
        if self.workflow is not None:
            return kind == "workflow" and own == self.workflow
        if self.agent is not None:
            return kind == "agent" and own == self.agent
        return kind == "tenant" or self.tenant is not None

    def now(self, book: Book) -> int:
        """Give the number of the window that lasts: by this machine's clock, unless the broker's is ahead."""
        clock = time.time_ns() // 1_000_000_000 // self.span.window_s
        return max(clock, book.newest.get(self.span.window_s, 0))


@click.command()
@click.option("--tenant", help="Only this tenant's, with its workflows and agents.")
@click.option("--workflow", metavar="ID", help="Only the success of this workflow.")
@click.option("--agent", metavar="NAME", help="Only the scores of this agent.")
@click.option(
    "--window",
    type=click.Choice(list(SPANS)),
    help="The hour or day that lasts, or days added up, today among them [default: 1d].",
)
@click.option("--watch", is_flag=True, help="Go on, and show what changes, until Ctrl-C.")
@output_options
def kpis(
    out: Out, tenant: str | None, workflow: str | None, agent: str | None, window: str | None, watch: bool
) -> int:
    """Show figures: cost per completed objective, success, time to resolution, what is sent to people; and scores.

    Of all tenants added up, and then of each; of one tenant also its workflows and agents, the worst first. An arrow
    says how a figure compares with the time before (steady: by no more than 5 %). Windows are hours and days in UTC; a
    figure is told a minute after it has changed. docs/kpis.md says how each is made.

    \b
    ops-stream kpis
    ops-stream kpis --tenant team-a --window 7d
    ops-stream kpis --workflow refunds
    ops-stream kpis --agent refund-bot --json
    ops-stream kpis --window 1h --watch
    """
    if workflow is not None and agent is not None:
        raise WrongUse("Give --workflow or --agent.", where="--agent")
    if (workflow is not None and window in ("1h", "30d")) or (
        agent is not None and window not in (None, "1d")
    ):
        raise WrongUse(
            "Of workflows and agents the last 8 days are told, day by day.",
            where="--window",
            next_step="Leave it out, or for a workflow: --window 7d",
        )
    wanted = Wanted(SPANS[window or "1d"], tenant, workflow, agent)
    settings = load_settings()
    return run(settings, _kpis(out, settings, wanted, watch=watch))


async def _kpis(out: Out, settings: Settings, wanted: Wanted, *, watch: bool) -> int:
    from ops_stream.cli.bus import connect

    async with connect(settings) as bus:
        book, ranges = await read(bus, wanted)
        if not watch:
            show(out, book, wanted)
            return ExitCode.DONE
        changes = bus.follow({tp: end for tp, (_, end) in ranges.items()})
        if out.terminal:
            await _draw(out, book, wanted, changes)
        else:
            await _lines(out, book, wanted, changes)
    return ExitCode.DONE


async def read(bus: Bus, wanted: Wanted) -> tuple[Book, Bounds]:
    """Read the figures that are told so far; gives where they end, too."""
    from ops_stream.cli.folding import bar

    book = Book(wanted)
    home = None if wanted.tenant is None else bus.home(wanted.tenant, "kpis")
    ranges = await bus.ends(bus.places(["kpis"], home))
    with bar("reading figures", sum(end - start for start, end in ranges.values())) as advance:
        async for record in bus.read(ranges):
            _take(book, record)
            advance(1)
    return book, ranges


def _take(book: Book, record: ConsumerRecord) -> tuple[str, str] | None:
    from ops_stream.cli.events import read_event
    from ops_stream.contract.clocktext import parse_time

    seen = read_event("kpis", record)
    if seen.body is None or seen.position is None or seen.position.partition != record.partition:
        return None  # not written by a supervisor
    if parse_time(seen.body["window_start"]) > record.timestamp + _AHEAD_MS:
        return None  # nor this: it would hide what is told of now
    return book.take(seen.body, seen.position)


def rows_of(book: Book, wanted: Wanted) -> list[dict[str, Any]]:
    """Give every figure that is asked for, for programs."""
    from ops_stream.cli import kpis_show

    span, now = wanted.span, wanted.now(book)
    if wanted.agent is not None:
        return kpis_show.scores(book)
    days = SPANS["1d"] if span.window_s != DAY_S or span.name == "30d" else span
    if wanted.workflow is not None:
        return kpis_show.workflows(book, days, now)
    rows = []
    scopes = book.scopes("tenant")
    if wanted.tenant is None and scopes:
        rows += kpis_show.figures(book, "system", scopes, span, now)
    for scope in scopes:
        rows += kpis_show.figures(book, scope, [scope], span, now)
    if wanted.tenant is not None:
        today = Wanted(days, wanted.tenant).now(book)
        rows += kpis_show.workflows(book, days, today) + kpis_show.scores(book)
    return rows


def show(out: Out, book: Book, wanted: Wanted) -> None:
    """Write the page, or an object for each figure."""
    if book.left_out:
        out.note(_LEFT_OUT)
    if out.as_json:
        figures = rows_of(book, wanted)
        if not figures:
            _nothing(wanted)
        for figure in figures:
            out.row(figure, "")
        return
    tables = tables_of(book, wanted)
    if not tables:
        _nothing(wanted)
        out.say(_EMPTY)
    for number, (heading, rows, columns) in enumerate(tables):
        if number:
            out.say()
        out.say(out.style(clean(heading), bold=True))
        out.table(rows, columns)


def _nothing(wanted: Wanted) -> None:
    """Raise NotSo where somebody was named of whom nothing is told."""
    for what, name in (("workflow", wanted.workflow), ("agent", wanted.agent), ("tenant", wanted.tenant)):
        if name is not None:
            raise NotSo(
                f"No figure is known of {what} '{name}'.",
                next_step="See all tenants with: ops-stream kpis",
            )


def tables_of(book: Book, wanted: Wanted) -> list[tuple[str, list[Row], tuple[Column, ...]]]:
    """Give the tables of the page: their headings, rows and columns."""
    from ops_stream.cli import kpis_show as page

    span, now = wanted.span, wanted.now(book)
    tables: list[tuple[str, list[Row], tuple[Column, ...]]] = []

    def add(heading: str, rows: list[Any], columns: tuple[Column, ...], most: int | None = None) -> None:
        if rows:
            more = f" ({most} of {len(rows):,})" if most is not None and len(rows) > most else ""
            tables.append((heading + more, rows[:most], columns))

    if wanted.workflow is not None:
        rows = rows_of(book, wanted)
        add(f"Workflow {wanted.workflow}, {span.name}", rows, (_TENANT, *page.workflow_columns(span)))
    elif wanted.agent is not None:
        add(f"Agent {wanted.agent}", rows_of(book, wanted), (_TENANT, *page.SCORE_COLUMNS))
    elif wanted.tenant is None:
        everybody = book.scopes("tenant")
        if everybody:
            rows = page.figures(book, "system", everybody, span, now)
            number = len(everybody)
            what = f"The whole system, {number:,} {'tenant' if number == 1 else 'tenants'}"
            add(page.title(what, span, rows[0]), rows, page.figure_columns(span))
            if number > 1:
                add(
                    "Tenants, the busiest first",
                    page.tenants(book, span, now),
                    page.tenant_columns(span),
                    page.TOP,
                )
    else:
        _add_tenant(book, wanted, add)
    return tables


def _add_tenant(book: Book, wanted: Wanted, add: Any) -> None:
    from ops_stream.cli import kpis_show as page

    span = wanted.span
    scopes = book.scopes("tenant")
    if scopes:
        rows = page.figures(book, scopes[0], scopes, span, wanted.now(book))
        add(page.title(f"Tenant {wanted.tenant}", span, rows[0]), rows, page.figure_columns(span))
    days = SPANS["7d"] if span.name == "7d" else SPANS["1d"]
    today = Wanted(days, wanted.tenant).now(book)
    found = page.workflows(book, days, today)
    add(f"Workflows, the least successful first, {days.name}", found, page.workflow_columns(days), page.TOP)
    add("Agents, the least reliable first", page.agents(book), page.agent_columns(), page.TOP)


_TENANT: Final = Column("tenant", lambda row: row["scope"].split("/")[1])


async def _lines(out: Out, book: Book, wanted: Wanted, changes: AsyncIterator[Any]) -> None:
    """Write a line for each figure that there is, and then for each that changes."""
    for row in rows_of(book, wanted):
        out.row(row, _line(row))
    async for record in changes:
        changed = _take(book, record)
        if changed is not None:
            for row in _changed(book, wanted, *changed):
                out.row(row, _line(row))


def _changed(book: Book, wanted: Wanted, scope: str, kpi: str) -> list[dict[str, Any]]:
    if kpi in SCORES:
        row = standing_of(book, scope, kpi)
        return [] if row is None else [row]
    if kpi not in SYSTEM:
        return []
    now = wanted.now(book)
    rows = [row_of(book, scope, kpi, [scope], wanted.span, now)]
    if wanted.tenant is None and scope.startswith("tenant/"):
        rows.insert(0, row_of(book, "system", kpi, book.scopes("tenant"), wanted.span, now))
    return rows


def _line(row: Row) -> str:
    from ops_stream.cli.kpis_show import TITLES, amount, arrow, made_from

    kpi = str(row["kpi"])
    words = (
        clean(row["scope"]),
        TITLES[kpi],
        row["window"],
        amount(kpi, row["value"]),
        arrow(row),
        made_from(row),
    )
    return "  ".join(word for word in words if word)


async def _draw(out: Out, book: Book, wanted: Wanted, changes: AsyncIterator[Any]) -> None:
    """Draw the page again once a second, so that the window shown is the one that lasts."""
    async with drawn(out, lambda _width, _height: _picture(book, wanted)):
        async for record in changes:
            _take(book, record)


def _picture(book: Book, wanted: Wanted) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = []
    for heading, rows, columns in tables_of(book, wanted):
        parts += [Text(clean(heading), style="bold"), table_of(rows, columns), Text()]
    if not parts:
        return Text(f"{_EMPTY} Ctrl-C ends.", style=QUIET)
    return Group(*parts, Text("Ctrl-C ends.", style=QUIET))
