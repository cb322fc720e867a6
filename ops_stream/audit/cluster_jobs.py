"""Partitions verified side by side, each in a process of its own: deciding is bound by the processor."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from multiprocessing.context import SpawnContext, SpawnProcess
from queue import Empty
from typing import Any, Final, Literal, TypeAlias

from aiokafka.errors import KafkaConnectionError, KafkaError

from ops_stream.audit.cluster import Audit, Marked, Progress, verify_cluster
from ops_stream.audit.report import PartitionReport
from ops_stream.audit.span import Proved
from ops_stream.contract.errors import NotSo, OpsError

WAIT_S: Final = 0.5
Said: TypeAlias = tuple[Literal["progress", "mark", "report", "failed", "kafka"], int, Any]
"""What a process tells: of which partition, and what."""


async def verify_in_processes(
    audit: Audit, jobs: int, progress: Progress, marked: Marked
) -> list[PartitionReport]:
    """Verify the partitions, so many at a time. The same is found as by one process."""
    context = get_context("spawn")
    left = list(audit.audited)
    with _started(context, audit) as fleet:
        while left or fleet.running:
            while left and len(fleet.running) < jobs:
                fleet.start(left.pop(0))
            said = await asyncio.to_thread(fleet.hear)
            if said is not None:
                fleet.take(said, progress, marked)
    return [fleet.reports[partition] for partition in audit.audited]


@dataclass(slots=True)
class _Fleet:
    """The processes, and what they have told."""

    context: SpawnContext
    audit: Audit
    queue: Any
    running: dict[int, SpawnProcess] = field(default_factory=dict)
    reports: dict[int, PartitionReport] = field(default_factory=dict)

    def start(self, partition: int) -> None:
        """Let a process verify a partition."""
        one = replace(self.audit, audited=[partition])
        process = self.context.Process(target=_verify_one, args=(one, self.queue), daemon=True)
        process.start()
        self.running[partition] = process

    def hear(self) -> Said | None:
        """Wait a moment for news. Raises NotSo where a process has ended without a report."""
        try:
            said: Said = self.queue.get(timeout=WAIT_S)
            return said
        except Empty:
            for partition, process in self.running.items():
                if not process.is_alive() and self.queue.empty():
                    raise NotSo(
                        f"The process that verified partition {partition} has ended ({process.exitcode}).",
                        next_step="Verify with --jobs 1, or with more memory.",
                    ) from None
            return None

    def take(self, said: Said, progress: Progress, marked: Marked) -> None:
        """Act on news."""
        what, partition, value = said
        if what == "progress":
            progress(*value)
        elif what == "mark":
            marked(value)
        elif what == "report":
            self.reports[partition] = value
            self.running.pop(partition).join()
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


def _verify_one(audit: Audit, queue: Any) -> None:
    """Verify one partition; the body of a process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started it is interrupted too, and ends it
    (partition,) = audit.audited

    def tell(what: str, value: Any) -> None:
        queue.put((what, partition, value))

    def progress(name: str, done: int, total: int) -> None:
        shown = name if name.startswith("journal") else f"{name} {partition}"
        tell("progress", (shown, done, total))

    def marked(mark: Proved) -> None:
        tell("mark", mark)

    try:
        (report,) = asyncio.run(verify_cluster(audit, progress, marked))
        tell("report", report)
    except OpsError as error:
        tell("failed", (error.what, error.where, error.next_step))
    except (KafkaError, ConnectionError) as error:
        tell("kafka", str(error))
    except Exception as error:
        text = f"Partition {partition} could not be verified: {type(error).__name__}: {error}."
        tell("failed", (text, "", ""))
    queue.close()
    queue.join_thread()
