"""The journal's rows, folded for a verb that wants to look at them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias

from ops_stream.audit.fold import PartitionFold
from ops_stream.cli.output import Out, clean
from ops_stream.core.journal.chain import JournalKey

if TYPE_CHECKING:
    from rich.progress import Progress

    from ops_stream.cli.bus import Bus
    from ops_stream.contract.settings import Settings

Advance: TypeAlias = Callable[[int], None]

_WORTH_SHOWING = 20_000
"""Records from which on a bar is worth its place."""


async def fold(
    bus: Bus, out: Out, *prefixes: str, partitions: frozenset[int] | None = None
) -> dict[int, PartitionFold]:
    """Fold the journal's rows whose key begins with one of `prefixes`, by partition."""
    places = [tp for tp in bus.places(["journal"]) if partitions is None or tp.partition in partitions]
    ranges = await bus.ends(places)
    key = journal_key(bus.settings)
    folds = {tp.partition: PartitionFold(tp.partition, prefixes=prefixes, key=key) for tp in places}
    total = sum(end - start for start, end in ranges.values())
    done = 0
    with bar("reading the journal", total) as advance:
        async for record in bus.read(ranges):
            folds[record.partition].take(record.offset, record.value)
            done += 1
            if done % 1000 == 0:
                advance(1000)
    doubtful = {number: folded for number, folded in folds.items() if folded.astray}
    if doubtful:
        numbers = ", ".join(map(str, sorted(doubtful)))
        out.note(
            f"Partition(s) {numbers}: the journal's last records do not follow the ones before, so that "
            "what is shown may be old. Find out why with: ops-stream audit verify"
        )
    return folds


def journal_key(settings: Settings) -> JournalKey | None:
    """Give the journal key where this machine has it; None where not."""
    try:
        return JournalKey(bytes.fromhex(settings.journal_key_file.read_text().strip()))
    except (OSError, ValueError):
        return None


@contextmanager
def bar(what: str, total: int) -> Iterator[Advance]:
    """Show progress on standard error, on a terminal and where it takes a while."""
    if total < _WORTH_SHOWING or not sys.stderr.isatty():
        yield lambda _count: None
        return
    with progress_bar() as shown:
        task = shown.add_task(clean(what), total=total)
        yield lambda count: shown.advance(task, count)


def progress_bar() -> Progress:
    """Give a progress bar on standard error that leaves nothing behind."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)
