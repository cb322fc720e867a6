"""Between the reader and an ask: only what is proved to be the supervisor's gets through, and only what is new."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Final

from aiokafka.structs import ConsumerRecord

from agents_adapter._line import Line
from agents_adapter._proof import UNPROVED_LOGGED, Prover, Unproved
from agents_adapter._reader import PartitionReader, Position
from ops_stream.contract.headers import JournalPosition
from ops_stream.contract.models import TaskApproval

logger = logging.getLogger("agents_adapter")

WAITING_MAX: Final = 100
"""How many records about one ask may wait to be proved; whoever writes more forges."""
WAITING_BYTES_MAX: Final = 4 * 1024 * 1024
MISSED_S: Final = 1.0
UNCHECKED: Final = "A revocation came that could not be checked, so that it holds."


class Doubts:
    """What a client did not believe: the first of each kind is logged, all are counted."""

    def __init__(self) -> None:
        """Start with none."""
        self.count = 0
        self.last = ""
        self._told: set[str] = set()

    def add(self, record: ConsumerRecord, why: str, kind: str = "") -> None:
        """Note a record. Whoever floods the topic is not to flood the log."""
        self.count += 1
        self.last = why
        level = logging.DEBUG if (kind or why) in self._told else logging.WARNING
        self._told.add(kind or why)
        logger.log(level, UNPROVED_LOGGED, record.topic, record.offset, why)


class Proving:
    """Watches for one ask's answers in place of its line. Lives on the background loop."""

    proves = True

    def __init__(
        self,
        line: Line,
        reader: PartitionReader,
        prover: Prover,
        doubts: Doubts,
        *,
        timeout_s: float,
        ask_again: Callable[[Line], None],
    ) -> None:
        """`timeout_s` is how long one answer may take to be proved.

        `ask_again` is called when so much came that a genuine answer may have been passed over.
        """
        self._line = line
        self._reader = reader
        self._prover = prover
        self._doubts = doubts
        self._timeout_s = timeout_s
        self._ask_again = ask_again
        self._waiting: deque[tuple[ConsumerRecord, Position, Position]] = deque()
        self._bytes = 0
        self._missed = False
        self._task: asyncio.Task[None] | None = None

    def offer(self, record: ConsumerRecord, position: Position) -> None:
        """Take a record that names this ask; they are proved one by one, in their order."""
        size = len(record.value or b"")
        if self._waiting and (len(self._waiting) >= WAITING_MAX or self._bytes + size > WAITING_BYTES_MAX):
            self._missed = True
            self._doubts.add(record, "too many come at once")
            return
        # What is older than what was proved before it came is late, also if it is proved (promise 4).
        self._waiting.append((record, position, self._reader.proved))
        self._bytes += size
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._work())

    async def settled(self) -> None:
        """Wait until all that came is proved, or is not."""
        if self._task is not None:
            await asyncio.wait([self._task])

    def close(self) -> None:
        """Listen to nothing more."""
        if self._task is not None:
            self._task.cancel()

    async def _work(self) -> None:
        while self._waiting:
            record, position, oldest = self._waiting.popleft()
            self._bytes -= len(record.value or b"")
            try:
                await self._prove(record, position, oldest)
            except Exception:  # one record's trouble must not end the listening
                logger.exception(
                    "A record of %s at offset %d could not be used.", record.topic, record.offset
                )
            if self._missed and not self._waiting:
                await asyncio.sleep(MISSED_S)  # a flood is not to be answered by another
                self._missed = False
                self._ask_again(self._line)
        self._task = None

    async def _prove(self, record: ConsumerRecord, position: Position, oldest: Position) -> None:
        line = self._line
        answer = line.read(record)
        if answer is None or not line.wants(answer):
            return
        try:
            async with asyncio.timeout(self._timeout_s):
                at_ms = await self._prover.prove(record, JournalPosition(record.partition, *position), answer)
                asked_ms = await line.asked_ms()
        except Unproved as error:
            self._doubts.add(record, str(error), error.kind)
        except TimeoutError:
            self._unchecked(record, answer)
        else:
            if position < oldest or at_ms < asked_ms:
                self._doubts.add(record, "it is genuine, but older than what it answers", "old")
                return
            self._reader.proved = max(self._reader.proved, position)
            line.take(answer, record, position)

    def _unchecked(self, record: ConsumerRecord, answer: TaskApproval) -> None:
        self._doubts.add(record, "it could not be checked in time")
        # Fail closed: what may not run any longer, as far as anybody knows, does not run on.
        if self._line.running and self._line.stops(answer):
            self._line.revoke(None, UNCHECKED)
