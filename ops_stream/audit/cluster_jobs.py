"""Partitions verified side by side, some in each of several processes: deciding is bound by the processor."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from multiprocessing.context import SpawnContext, SpawnProcess
from queue import Empty
from typing import Any, Final, Literal, TypeAlias

from aiokafka import TopicPartition
from aiokafka.errors import KafkaConnectionError, KafkaError

from ops_stream.audit.cluster import Audit, Marked, Progress, verify_cluster
from ops_stream.audit.reading import bounds, reader
from ops_stream.audit.report import PartitionReport
from ops_stream.audit.span import Proved
from ops_stream.contract.errors import NotSo, OpsError

WAIT_S: Final = 0.5
WORTH_A_PROCESS: Final = 2_000
"""Records that take about as long as a process takes to begin."""
Share: TypeAlias = tuple[int, ...]
"""The partitions that one process verifies."""
Said: TypeAlias = tuple[Literal["progress", "mark", "reports", "failed", "kafka"], Share, Any]
"""What a process tells: which one, and what."""


async def verify_in_processes(
    audit: Audit, shares: Sequence[Share], progress: Progress, marked: Marked
) -> list[PartitionReport]:
    """Verify each share in a process of its own. The same is found as by one process."""
    with _started(get_context("spawn"), audit) as fleet:
        for share in shares:
            fleet.start(share)
        while fleet.running:
            said = await asyncio.to_thread(fleet.hear)
            if said is not None:
                fleet.take(said, progress, marked)
    return [fleet.reports[partition] for partition in audit.audited]


def shared_out(sizes: Mapping[int, int], jobs: int) -> list[Share]:
    """Share partitions out among processes, each time the largest that is left to who has least to do.

    Each process reads the rules and compiles them once; that costs more than a few records moved from one to another
    would save. Source: longest processing time first, Graham (1969), at most 4/3 of the shortest time.
    """
    shares: list[list[int]] = [[] for _ in range(min(jobs, len(sizes)))]
    load = [0] * len(shares)
    for partition in sorted(sizes, key=lambda one: (-sizes[one], one)):
        least = load.index(min(load))
        shares[least].append(partition)
        load[least] += sizes[partition] + 1  # an empty one is looked at too
    return [tuple(sorted(share)) for share in shares]


async def sizes_of(audit: Audit) -> dict[int, int]:
    """Give how many offsets the journal has on each partition."""
    topic = audit.settings.topic("journal")
    async with reader(audit.settings) as consumer:
        found = await bounds(consumer, [TopicPartition(topic, partition) for partition in audit.audited])
    return {tp.partition: end - start for tp, (start, end) in found.items()}


def jobs_for(sizes: Mapping[int, int]) -> int:
    """Give how many processes verify soonest: one a core that this process may use, where there is enough for each."""
    return max(1, min(_cores(), sum(sizes.values()) // WORTH_A_PROCESS))


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass(slots=True)
class _Fleet:
    """The processes, and what they have told."""

    context: SpawnContext
    audit: Audit
    queue: Any
    running: dict[Share, SpawnProcess] = field(default_factory=dict)
    reports: dict[int, PartitionReport] = field(default_factory=dict)

    def start(self, share: Share) -> None:
        """Let a process verify some partitions."""
        some = replace(self.audit, audited=list(share))
        process = self.context.Process(target=_verify_some, args=(some, self.queue), daemon=True)
        process.start()
        self.running[share] = process

    def hear(self) -> Said | None:
        """Wait a moment for news. Raises NotSo where a process has ended without a report."""
        try:
            said: Said = self.queue.get(timeout=WAIT_S)
            return said
        except Empty:
            for share, process in self.running.items():
                if not process.is_alive() and self.queue.empty():
                    raise NotSo(
                        f"The process that verified {_named(share)} has ended ({process.exitcode}).",
                        next_step="Verify with --jobs 1, or with more memory.",
                    ) from None
            return None

    def take(self, said: Said, progress: Progress, marked: Marked) -> None:
        """Act on news."""
        what, share, value = said
        if what == "progress":
            progress(*value)
        elif what == "mark":
            marked(value)
        elif what == "reports":
            self.reports |= {report.partition: report for report in value}
            self.running.pop(share).join()
        elif what == "kafka":
            raise KafkaConnectionError(value)
        else:
            text, where, next_step = value
            raise NotSo(text, where=where, next_step=next_step)


@contextmanager
def _started(context: SpawnContext, audit: Audit) -> Iterator[_Fleet]:
    fleet = _Fleet(context, audit, context.Queue())
    try:
        yield fleet
    finally:
        for process in fleet.running.values():
            process.terminate()
            process.join()


def _verify_some(audit: Audit, queue: Any) -> None:
    """Verify some partitions; the body of a process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started it is interrupted too, and ends it
    share = tuple(audit.audited)

    def tell(what: str, value: Any) -> None:
        queue.put((what, share, value))

    def progress(name: str, done: int, total: int) -> None:
        shown = name if name.startswith("journal") else f"{name} of {_named(share)}"
        tell("progress", (shown, done, total))

    def marked(mark: Proved) -> None:
        tell("mark", mark)

    try:
        tell("reports", asyncio.run(verify_cluster(audit, progress, marked)))
    except OpsError as error:
        tell("failed", (error.what, error.where, error.next_step))
    except (KafkaError, ConnectionError) as error:
        tell("kafka", str(error))
    except Exception as error:
        text = f"{_named(share).capitalize()} could not be verified: {type(error).__name__}: {error}."
        tell("failed", (text, "", ""))
    queue.close()
    queue.join_thread()


def _named(share: Sequence[int]) -> str:
    """Name partitions in a sentence."""
    return f"partition{'' if len(share) == 1 else 's'} {', '.join(map(str, share))}"
