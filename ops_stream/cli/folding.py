"""The journal's rows, folded for a verb that wants to look at them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from time import monotonic
from typing import TYPE_CHECKING, TypeAlias

from ops_stream.audit.fold import PartitionFold
from ops_stream.cli.output import Out, clean
from ops_stream.core.journal.chain import JournalKey

if TYPE_CHECKING:
    from aiokafka import TopicPartition
    from rich.progress import Progress, TaskID

    from ops_stream.cli.bus import Bus
    from ops_stream.contract.settings import Settings
    from ops_stream.core.journal.record import Record

Advance: TypeAlias = Callable[[int], None]

WORTH_SHOWING_S = 2.0
"""How long people wait without seeing anything move."""
_LOOK_EVERY = 256
"""Records between two looks at the clock."""


async def fold(
    bus: Bus,
    out: Out,
    *prefixes: str,
    partitions: frozenset[int] | None = None,
    starts: Mapping[TopicPartition, int] | None = None,
    heard: Callable[[Record], object] | None = None,
) -> dict[int, PartitionFold]:
    """Fold the journal's rows whose key begins with one of `prefixes`, by partition.

    From `starts` on, where that is given; `heard` is told of each record that counts.
    """
    places = [tp for tp in bus.places(["journal"]) if partitions is None or tp.partition in partitions]
    ranges = {
        tp: (max(first, (starts or {}).get(tp, first)), end)
        for tp, (first, end) in (await bus.ends(places)).items()
    }
    key = journal_key(bus.settings)
    folds = {tp.partition: PartitionFold(tp.partition, prefixes=prefixes, key=key) for tp in places}
    total = sum(end - start for start, end in ranges.values())
    with bar("reading the journal", total) as advance:
        async for record in bus.read(ranges):
            counted = folds[record.partition].take(record.offset, record.value)
            if heard is not None and counted is not None:
                heard(counted)
            advance(1)
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
    """Show progress on standard error, on a terminal, once it has taken longer than people like to wait."""
    if not sys.stderr.isatty():
        yield lambda _count: None
        return
    begun, done, shown_of, due = monotonic(), 0, 0, _LOOK_EVERY
    with ExitStack() as stack:
        shown: tuple[Progress, TaskID] | None = None

        def advance(count: int) -> None:
            nonlocal done, shown, shown_of, due
            done += count
            if done < due:
                return
            due = done + _LOOK_EVERY
            if shown is None and monotonic() - begun >= WORTH_SHOWING_S:
                progress = stack.enter_context(progress_bar())
                shown = (progress, progress.add_task(clean(what), total=total))
            if shown is not None:
                shown[0].advance(shown[1], done - shown_of)
                shown_of = done

        yield advance


def progress_bar() -> Progress:
    """Give a progress bar on standard error that leaves nothing behind."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)
