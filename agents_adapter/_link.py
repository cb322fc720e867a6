"""The process's link to a Kafka cluster: one consumer and one producer for all clients that mean the same."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, Final, Self

from aiokafka.errors import KafkaError

from agents_adapter._journal import Journal
from agents_adapter._reader import Intake
from agents_adapter._sender import Sender
from ops_stream.contract.errors import KafkaUnreachable, NotSo
from ops_stream.contract.settings import Settings

logger = logging.getLogger("agents_adapter")

TOPICS: Final = ("task-requests", "telemetry", "agents", "approvals")
"""The topics that an agent writes and reads."""
JOURNAL: Final = "journal"
ASSIGNMENTS: Final = "assignments"
_TRY_S: Final = 10.0
_BACKOFF_S: Final = 0.5

Key = tuple[object, ...]


class Link:
    """Made by `open`, which counts its users; the last `close` ends it. Lives on the background loop."""

    _open: dict[Key, Self] = {}

    def __init__(self, key: Key, settings: Settings) -> None:
        """Describe a link; `open` makes them."""
        self.key = key
        self.users = 0
        self.partitions = 0
        self.listeners: set[Callable[[], None]] = set()
        self._settings = settings
        connection = settings.aiokafka()
        self.sender = Sender(connection, self._reconnected)
        self.intake = Intake(connection, self._reconnected)
        self._connection = connection
        self._journal: Journal | None = None
        self._others: dict[str, int] = {}
        """The partition counts of topics that not every client needs."""
        self._connecting: asyncio.Task[None] | None = None
        self._trouble: Exception | None = None

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Give the link to a cluster, made if it is the first; it connects by itself, see `connected`."""
        loop = asyncio.get_running_loop()
        key = (loop, *_identity(settings))
        link = cls._open.get(key)
        if link is None:
            link = cls._open[key] = cls(key, settings)
            link._connecting = loop.create_task(link._connect())
        link.users += 1
        return link

    async def close(self) -> None:
        """Give it back."""
        self.users -= 1
        if self.users:
            return
        self._open.pop(self.key, None)
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)
        if self._journal is not None:
            await self._journal.stop()
        await self.intake.stop()
        await self.sender.stop()

    def journal(self) -> Journal:
        """Give the reader of the journal, once connected.

        Raises NotSo where this cluster shows us none that answers can be looked up in.
        """
        if self._others.get(JOURNAL) != self.partitions:
            raise NotSo(
                f"Answers are to be verified by the journal, and {self._settings.topic(JOURNAL)} cannot be seen.",
                where=self._settings.bootstrap_servers,
                next_step="Give this agent the right to read it, or set OPS_STREAM_VERIFY to signature or off.",
            )
        if self._journal is None:
            self._journal = Journal(self._connection, self._settings.topic(JOURNAL))
        return self._journal

    def assignments(self) -> str:
        """Give the topic of assignments, once connected; raises NotSo where this cluster does not show it."""
        topic = self._settings.topic(ASSIGNMENTS)
        if self._others.get(ASSIGNMENTS) != self.partitions:
            raise NotSo(
                f"The topic {topic} cannot be seen, or has other partitions than the rest.",
                where=self._settings.bootstrap_servers,
                next_step="Make it with `ops-stream topics create`, or give this agent the right to read it.",
            )
        return topic

    async def connected(self, timeout_s: float) -> None:
        """Wait for the connection; raises KafkaUnreachable, or NotSo where the cluster is not set up."""
        assert self._connecting is not None
        await asyncio.wait([self._connecting], timeout=timeout_s)
        if self._connecting.done():
            self._connecting.result()
            return
        raise KafkaUnreachable(
            f"No broker answered, or none let us in, within {timeout_s:g} s{_because(self._trouble)}.",
            where=self._settings.bootstrap_servers,
            next_step="Start one with `ops-stream up`, or check OPS_STREAM_BOOTSTRAP_SERVERS and "
            "OPS_STREAM_KAFKA_*; `ops-stream doctor` says more.",
        )

    async def _connect(self) -> None:
        while True:
            try:
                async with asyncio.timeout(_TRY_S):
                    producer = await self.sender.start()
                    await self.intake.start()
                    # Of all topics: asking for one by name could create it.
                    cluster = await producer.client.fetch_all_metadata()
                self.partitions = self._check(cluster.partitions_for_topic)
                for name in (JOURNAL, ASSIGNMENTS):
                    found = cluster.partitions_for_topic(self._settings.topic(name))
                    self._others[name] = len(found or ())
                await producer.client.set_topics([self._settings.topic(name) for name in TOPICS])
                return
            except (KafkaError, OSError, TimeoutError) as error:
                self._trouble = error
                logger.warning("Kafka cannot be reached%s; trying again.", _because(error))
                await asyncio.sleep(_BACKOFF_S)

    def _check(self, partitions_for: Callable[[str], set[int] | None]) -> int:
        """Give the common partition count; raises NotSo where topics are missing or differ."""
        found = {name: len(partitions_for(self._settings.topic(name)) or ()) for name in TOPICS}
        missing = [self._settings.topic(name) for name, count in found.items() if not count]
        if missing:
            raise NotSo(
                f"The cluster has no topic {', '.join(missing)}.",
                where=self._settings.bootstrap_servers,
                next_step="Make them with `ops-stream topics create`, or check prefix and access rights.",
            )
        if len(set(found.values())) > 1:
            counts = ", ".join(f"{self._settings.topic(name)}: {count}" for name, count in found.items())
            raise NotSo(
                f"The topics differ in their partition counts ({counts}).",
                where=self._settings.bootstrap_servers,
                next_step="See the differences with `ops-stream topics check`.",
            )
        return found["approvals"]

    def _reconnected(self) -> None:
        for listener in tuple(self.listeners):
            listener()


def _identity(settings: Settings) -> Key:
    """What makes two clients mean the same cluster, in the same way."""
    values: Mapping[str, Any] = settings.model_dump()
    return tuple(
        (name, value)
        for name, value in sorted(values.items())
        if name in ("bootstrap_servers", "topic_prefix") or name.startswith("kafka_")
    )


def _because(error: Exception | None) -> str:
    return "" if error is None or isinstance(error, TimeoutError) else f" ({type(error).__name__})"
