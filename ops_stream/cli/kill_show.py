"""A kill as people watch it: a table that fills on a terminal, lines elsewhere, and what is left at the end."""

from __future__ import annotations

from typing import Any, Final

from ops_stream.cli.bus import Bus
from ops_stream.cli.command import new_id
from ops_stream.cli.kill_progress import Kill, Stopping, follow, names_of
from ops_stream.cli.output import BAD, GOOD, QUIET, WAIT, Column, Out, Row, clean, table_of
from ops_stream.contract.errors import ExitCode

NAMES_MAX: Final = 20


def _journaled(row: Row) -> str:
    if row.get("refused"):
        return "refused"
    return "waiting" if row["journal_offset"] is None else f"offset {row['journal_offset']:,}"


def _journaled_style(row: Row) -> str:
    if row.get("refused"):
        return BAD
    return WAIT if row["journal_offset"] is None else GOOD


def _count(name: str, style: str = "", *, alarming: str = "") -> Column:
    def text(row: Row) -> str:
        return "" if row.get(name) is None else f"{row[name]:,}"

    def style_of(row: Row) -> str:
        return (alarming or style) if row.get(name) else QUIET

    return Column(name, text, style_of, right=True)


COLUMNS: Final = (
    Column("partition", "partition", right=True),
    Column("journal", _journaled, _journaled_style),
    Column("after", lambda row: "" if row["ms"] is None else f"{row['ms']:,} ms", right=True),
    _count("revoked"),
    _count("dropped"),
    _count("contained", GOOD),
    _count("acked", GOOD),
    _count("pending", WAIT),
    _count("unconfirmed", alarming=BAD),
)
NARROW: Final = (
    Column("part", "partition", right=True),
    Column("journal", _journaled, _journaled_style),
    Column("ms", lambda row: "" if row["ms"] is None else f"{row['ms']:,}", right=True),
    Column("stopped", lambda row: _sum(row, "revoked", "dropped"), right=True),
    Column("proved", lambda row: _sum(row, "contained", "acked"), GOOD, right=True),
    _count("pending", WAIT),
    _count("unconfirmed", alarming=BAD),
)
WIDE_FROM: Final = 96
"""Columns of a terminal from which on each count has its own."""


def _sum(row: Row, *names: str) -> str:
    return "" if row.get(names[0]) is None else f"{sum(row[name] for name in names):,}"


async def stop(
    bus: Bus, out: Out, body: dict[str, Any], *, tenant: str, everywhere: bool, wait_s: float
) -> int:
    """Send a kill and show how it takes hold, until every stop is proved or too late; give the exit code."""
    kill = Kill(new_id("cmd"))
    numbers = range(bus.partitions_of("journal")) if everywhere else [bus.home(tenant)]
    kill.stops = {number: Stopping(number) for number in numbers}
    ranges = await bus.ends([tp for tp in bus.places(["journal"]) if tp.partition in kill.stops])
    sent = await bus.send_event(
        "control", "ControlCommand", {"command_id": kill.command_id, **body}, kill.command_id, tenant
    )
    place = {"topic": sent.topic, "partition": sent.partition, "offset": sent.offset}
    out.row(
        {"command_id": kill.command_id, **place},
        f"Command {kill.command_id} is on {sent.topic} {sent.partition}:{sent.offset}.",
    )
    if not wait_s:
        return ExitCode.DONE
    news = follow(bus, kill, {tp: end for tp, (_, end) in ranges.items()}, sent.timestamp_ms, wait_s)
    if out.terminal:
        await _draw(out, kill, news)
    else:
        await _lines(out, news)
    return _outcome(out, kill, wait_s)


async def _draw(out: Out, kill: Kill, news: Any) -> None:
    from rich.console import Console
    from rich.live import Live

    console = Console(no_color=not out.color, highlight=False, markup=False, emoji=False)

    def picture() -> Any:
        columns = COLUMNS if console.width >= WIDE_FROM else NARROW
        return table_of([one.as_dict() for one in kill.stops.values()], columns)

    with Live(console=console, get_renderable=picture, auto_refresh=False) as live:
        live.refresh()
        async for _ in news:
            live.refresh()


async def _lines(out: Out, news: Any) -> None:
    """Write a line where a partition has the kill, and one where nothing more is to be waited for there."""
    said: set[tuple[int, bool]] = set()
    async for one in news:
        if (one.partition, one.settled) not in said:
            said.add((one.partition, one.settled))
            out.row(one.as_dict(), f"partition {one.partition}: {_line(out, one)}")


def _line(out: Out, one: Stopping) -> str:
    if one.refused:
        return out.style(clean(one.refused), BAD)
    text = f"{out.style('journaled', GOOD)} at offset {one.offset} after {one.ms} ms"
    proof = one.proof
    if proof is None:
        return text
    parts = [f"{proof.revoked:,} revoked", f"{proof.dropped:,} dropped"]
    parts += [f"{proof.contained:,} contained", f"{proof.acked:,} acked"]
    if proof.pending:
        parts.append(out.style(f"{proof.pending:,} pending", WAIT))
    if proof.unconfirmed:
        parts.append(out.style(f"{proof.unconfirmed:,} unconfirmed", BAD))
    if proof.sweeping:
        parts.append(out.style("more to stop", WAIT))
    return f"{text}; {', '.join(parts)}"


def _outcome(out: Out, kill: Kill, wait_s: float) -> int:
    """Say what is proved and what is not; give the exit code."""
    stops = kill.stops.values()
    for one in stops:
        if one.refused and out.terminal:
            out.say(f"partition {one.partition}: {out.style(clean(one.refused), BAD)}")
    missing = [str(one.partition) for one in stops if one.offset is None]
    if missing and not any(one.refused for one in stops):
        out.note(
            f"Partition(s) {', '.join(missing)} have not journaled it within {wait_s:g} s."
            " It stays on the topic and will be obeyed as soon as a worker reads it; see: ops-stream status"
        )
    unheard, pending = kill.total("unconfirmed"), kill.total("pending")
    if unheard:
        names = names_of(stops)[:NAMES_MAX]
        more = f" and {unheard - len(names):,} more" if unheard > len(names) else ""
        out.note(
            f"{unheard:,} {_asks(unheard)} not known to have stopped: {clean(', '.join(names))}{more}."
            " Stop their agents by hand."
        )
    if pending or any(one.proof is not None and one.proof.sweeping for one in stops):
        out.note(
            f"{pending:,} {_asks(pending)} still pending after {wait_s:g} s."
            " Alert kill_unconfirmed tells if nothing is heard of them: ops-stream tail alerts"
        )
    unproved = [str(one.partition) for one in stops if one.offset is not None and one.proof is None]
    if unproved and not any(one.refused for one in stops):
        out.note(f"The workers of partition(s) {', '.join(unproved)} are older and prove nothing.")
    if not all(one.proved for one in stops):
        return ExitCode.NOT_SO
    count = kill.total("revoked") + kill.total("dropped")
    slowest = max(one.ms or 0 for one in stops)
    what = f"{count:,} asks, each of which is" if count > 1 else "1 ask, which is"
    what = f"{what} known to have stopped" if count else "nothing ran, and nothing waited"
    out.say(
        f"{out.style('Stopped', GOOD, bold=True)}: {what}. The last partition had it after {slowest:,} ms."
    )
    return ExitCode.DONE


def _asks(count: int) -> str:
    return "ask is" if count == 1 else "asks are"
