"""`ops-stream tail`: the events of topics, one line each, as they come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from ops_stream.cli.common import Out, load_settings, output_options, run
from ops_stream.cli.output import QUIET, clean
from ops_stream.contract.errors import WrongUse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ops_stream.audit.reading import Bounds
    from ops_stream.cli.bus import Bus
    from ops_stream.cli.events import Seen
    from ops_stream.contract.settings import Settings

_MACHINERY: Final = ("journal", "checkpoints", "rules", "forwarded")
"""Topics that are shown only where they are named."""
_LAST: Final = 10
_SORTED_MAX: Final = 20_000
"""Events that are held in memory to be put in the order of time."""


@click.command()
@click.argument("topic", required=False)
@click.option("--from-beginning", is_flag=True, help="Begin with the first event that is kept.")
@click.option(
    "-n",
    "--last",
    type=click.IntRange(0),
    default=_LAST,
    show_default=True,
    help="Begin with the last N events.",
)
@click.option("--no-follow", is_flag=True, help="End with what is there now.")
@click.option("--tenant", help="Only this tenant's events.")
@output_options
def tail(
    out: Out, topic: str | None, from_beginning: bool, last: int, no_follow: bool, tenant: str | None
) -> None:
    """Print the events of a topic of the catalogue (or of all but the machinery) as they come.

    \b
    ops-stream tail approvals
    ops-stream tail telemetry --tenant team-a -n 50
    ops-stream tail dead-letters --from-beginning --no-follow --json | jq .body.reason
    """
    settings = load_settings()
    topics = _topics(settings, topic)
    limit = None if from_beginning else last
    run(settings, _tail(out, settings, topics, limit, follow=not no_follow, tenant=tenant))


def _topics(settings: Settings, topic: str | None) -> list[str]:
    from ops_stream.contract.catalog import Catalog

    known = Catalog.load().topics
    if topic is None:
        return [name for name in known if name not in _MACHINERY]
    name = topic.removeprefix(settings.topic_prefix) if topic not in known else topic
    if name not in known:
        raise WrongUse(f"There is no topic '{clean(topic)}'.", next_step=f"Topics: {', '.join(known)}.")
    return [name]


async def _tail(
    out: Out, settings: Settings, topics: list[str], limit: int | None, *, follow: bool, tenant: str | None
) -> None:
    from ops_stream.cli.bus import connect
    from ops_stream.cli.events import read_event

    width = max(len(name) for name in topics)
    async with connect(settings) as bus:
        ranges = await bus.ends(bus.places(topics))
        async for seen in _present(bus, ranges, limit, tenant):
            _show(out, seen, width)
        if not follow:
            return
        async for record in bus.follow({tp: end for tp, (_, end) in ranges.items()}):
            seen = read_event(bus.name_of(record.topic), record)
            if tenant is None or seen.tenant == tenant:
                _show(out, seen, width)


async def _present(bus: Bus, ranges: Bounds, limit: int | None, tenant: str | None) -> AsyncIterator[Seen]:
    """Give what is there: in the order of time, or, where it is much, as each partition has it."""
    from ops_stream.cli.events import read_event

    starts = {
        tp: (start if limit is None else max(start, end - limit), end) for tp, (start, end) in ranges.items()
    }
    much = limit is None and sum(end - start for start, end in starts.values()) > _SORTED_MAX
    found = []
    async for record in bus.read(starts):
        seen = read_event(bus.name_of(record.topic), record)
        if tenant is not None and seen.tenant != tenant:
            continue
        if much:
            yield seen
        else:
            found.append(seen)
    found.sort(key=lambda seen: seen.timestamp_ms)
    for seen in found if limit is None else found[len(found) - min(limit, len(found)) :]:
        yield seen


def _show(out: Out, seen: Seen, width: int) -> None:
    from ops_stream.cli.events import line_of
    from ops_stream.contract.clocktext import format_time

    subject, text, color = line_of(seen)
    moment = format_time(seen.timestamp_ms)[11:23]
    head = out.style(f"{moment} {seen.topic.ljust(width)} {clean(seen.tenant)[:16]:<10}", QUIET)
    out.row(seen.as_dict(), f"{head} {out.style(subject, bold=True)} {out.style(text, color)}")
