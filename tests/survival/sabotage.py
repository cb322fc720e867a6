"""Parts of a worker that stand still from SIGUSR1 to SIGUSR2, without an error: for tests of what its health sees."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

from ops_stream.streams.priority import PriorityReader
from ops_stream.streams.sequencer import Sequencer
from ops_stream.streams.supervisor import Supervisor
from ops_stream.streams.ticker import Ticker

PARTITION = 2


class Sabotage:
    """Which part stands still now. Its name is read from a file at SIGUSR1, and forgotten at SIGUSR2."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._part = ""
        self._consumer: Any = None
        signal.signal(signal.SIGUSR1, lambda *_: self._begin(self._file.read_text()))
        signal.signal(signal.SIGUSR2, lambda *_: self._begin(""))
        self._spoil_ticks()
        self._remember_consumer()
        self._spoil(Ticker, "_turn", "ticker")
        self._spoil(PriorityReader, "_turn", "commands")

    def _begin(self, part: str) -> None:
        if part == "deliveries":
            self._consumer.hold(PARTITION)
        elif self._part == "deliveries":
            self._consumer.release(PARTITION)
        self._part = part

    def _spoil(self, of: Any, method: str, part: str) -> None:
        """Have every call of a coroutine wait as long as the fault lasts."""
        honest = getattr(of, method)

        async def waiting(*arguments: Any) -> Any:
            while self._part == part:
                await asyncio.sleep(0.05)
            return await honest(*arguments)

        setattr(of, method, waiting)

    def _spoil_ticks(self) -> None:
        honest = Sequencer.propose_tick

        def silent(sequencer: Sequencer, now_ms: int, ends: dict[str, int]) -> None:
            if self._part != "ticks" or sequencer.partition != PARTITION:
                honest(sequencer, now_ms, ends)

        setattr(Sequencer, "propose_tick", silent)  # noqa: B010  # mypy knows methods as fixed

    def _remember_consumer(self) -> None:
        """It will hold a partition that nobody lets go: what stands at the broker comes to nobody."""
        honest = Supervisor.on_seek

        def remembering(
            supervisor: Supervisor, consumer: Any, generation: int, assigned: frozenset[int]
        ) -> None:
            self._consumer = consumer
            honest(supervisor, consumer, generation, assigned)

        setattr(Supervisor, "on_seek", remembering)  # noqa: B010
