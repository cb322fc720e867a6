"""A door to a broker that can keep the acknowledgements of one partition's records back.

Records go through and stand in the log; what comes back for the partition is `NOT_ENOUGH_REPLICAS_AFTER_APPEND`, what a
leader answers whose followers are away. A client tries again, and the broker knows the batch as one that it has.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO
from typing import Any

from aiokafka.protocol import produce

PRODUCE = 0
NOT_ENOUGH_REPLICAS_AFTER_APPEND = 20
FRAME_MAX = 64 * 2**20


class HoldingDoor:
    """Passes frames on, both ways; answers to appends are looked at and changed where a partition is held."""

    def __init__(self, broker: str) -> None:
        host, port = broker.rsplit(":", 1)
        self._broker = (host, int(port))
        self._held: set[tuple[str, int]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.kept_back = 0
        """Acknowledgements that did not come back as they were."""

    def hold(self, topic: str, partition: int) -> None:
        """Keep the acknowledgements of a partition back."""
        self._held.add((topic, partition))

    def release(self) -> None:
        """Keep nothing back any more."""
        self._held.clear()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client's connection."""
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        upstream: asyncio.StreamWriter | None = None
        try:
            answers, upstream = await asyncio.open_connection(*self._broker)
            appends: dict[int, int] = {}
            await asyncio.gather(self._up(reader, upstream, appends), self._down(answers, writer, appends))
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()
            if upstream is not None:
                upstream.close()

    def close(self) -> None:
        """End every connection."""
        for task in list(self._tasks):
            task.cancel()

    async def _up(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, appends: dict[int, int]
    ) -> None:
        while True:
            frame = await _frame(reader)
            api, version, correlation = struct.unpack_from(">hhi", frame)
            if api == PRODUCE:
                appends[correlation] = version
            await _pass_on(writer, frame)

    async def _down(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, appends: dict[int, int]
    ) -> None:
        while True:
            frame = await _frame(reader)
            (correlation,) = struct.unpack_from(">i", frame)
            version = appends.pop(correlation, None)
            if version is not None and self._held:
                frame = frame[:4] + self._changed(frame[4:], version)
            await _pass_on(writer, frame)

    def _changed(self, body: bytes, version: int) -> bytes:
        shape: Any = getattr(produce, f"ProduceResponse_v{version}").SCHEMA
        topics, *rest = shape.decode(BytesIO(body))
        answers = []
        for topic, partitions in topics:
            found = []
            for partition, error, *more in partitions:
                if not error and (topic, partition) in self._held:
                    error = NOT_ENOUGH_REPLICAS_AFTER_APPEND
                    self.kept_back += 1
                found.append((partition, error, *more))
            answers.append((topic, found))
        return bytes(shape.encode((answers, *rest)))


async def _frame(reader: asyncio.StreamReader) -> bytes:
    (size,) = struct.unpack(">i", await reader.readexactly(4))
    assert 0 < size < FRAME_MAX
    return await reader.readexactly(size)


async def _pass_on(writer: asyncio.StreamWriter, frame: bytes) -> None:
    writer.write(struct.pack(">i", len(frame)) + frame)
    await writer.drain()


@asynccontextmanager
async def holding_door(broker: str, port: int) -> AsyncIterator[HoldingDoor]:
    """Open a door at a port of this machine."""
    door = HoldingDoor(broker)
    server = await asyncio.start_server(door.serve, "127.0.0.1", port)
    try:
        yield door
    finally:
        server.close()
        door.close()
        await server.wait_closed()
