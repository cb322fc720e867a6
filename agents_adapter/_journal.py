"""Looking answers up in the journal: on demand, one consumer for the process, with a bounded memory.

Nothing is read while nothing is looked up: a partition of the journal is paused but for the moment of a fetch. A
fetch brings whole batches, so that under load one serves many.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError, TopicAuthorizationFailedError
from aiokafka.structs import ConsumerRecord
from pydantic import ValidationError

from agents_adapter._proof import Unproved
from agents_adapter._reader import stop_consumer
from ops_stream.contract.answers import PROVED
from ops_stream.contract.clocktext import parse_time
from ops_stream.contract.headers import JournalPosition
from ops_stream.contract.jsontext import NotJson, parse
from ops_stream.contract.models import Event
from ops_stream.contract.wire import DEPTH_MAX_OUTPUT

logger = logging.getLogger("agents_adapter")

MEMORY_BYTES: Final = 4 * 1024 * 1024
"""How many bytes of journal records are kept, as they were on the wire."""
_FETCH_BYTES: Final = 256 * 1024
_FETCH_WAIT_MS: Final = 5
_POLL_MS: Final = 25
_REQUEST_MS: Final = 20_000
_BACKOFF_S: Final = 0.2

Place = tuple[int, int]
"""Partition and offset of a journal record."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A journal record: when it was decided, and which answers and assignments it holds.

    They stand by their index in its outputs, each with its type.
    """

    at_ms: int
    answers: Mapping[int, tuple[str, Mapping[str, Any]]]


class JournalProver:
    """Believes what stands in the journal where the answer says."""

    def __init__(self, journal: Journal) -> None:
        """`journal` is shared by all clients of the process that mean the same cluster."""
        self._journal = journal

    async def prove(self, record: ConsumerRecord, position: JournalPosition, answer: Event) -> int:
        """Compare an answer with the output of the journal record from which it says it comes."""
        entry = await self._journal.find(position.partition, position.offset)
        if entry is None:
            raise Unproved(
                f"the journal has no record at {position.partition}:{position.offset}", "no record"
            )
        kind, body = entry.answers.get(position.index, ("", None))
        if body is None or kind != type(answer).__name__:
            raise Unproved(f"the journal has no answer at {position}", "no answer")
        try:
            written = type(answer).from_wire(body)
        except ValidationError:
            raise Unproved(
                f"what the journal has at {position} cannot be read as an answer", "unreadable"
            ) from None
        if written != answer:
            raise Unproved(f"the journal has another answer at {position}", "another")
        return entry.at_ms


class Journal:
    """The process's reader of one cluster's journal; lives on the background loop."""

    def __init__(self, connection: Mapping[str, Any], topic: str) -> None:
        """`connection` are aiokafka's arguments, `topic` the journal's full name."""
        self._connection = dict(connection)
        self._topic = topic
        self._wanted: dict[Place, asyncio.Future[Entry | None]] = {}
        self._memory = Memory(MEMORY_BYTES)
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def find(self, partition: int, offset: int) -> Entry | None:
        """Give a record that counts; None where the journal holds none there.

        Waits as long as Kafka cannot be asked. Raises Unproved where this client may not read the journal.
        """
        place = (partition, offset)
        found = self._memory.get(place)
        if found is not None:
            return found
        wanted = self._wanted.get(place)
        if wanted is None:
            loop = asyncio.get_running_loop()
            wanted = self._wanted[place] = loop.create_future()
            self._wake.set()
            if self._task is None:
                self._task = loop.create_task(self._run())
        # Others may wait for the same record: one who gives up must not take it from them.
        return await asyncio.shield(wanted)

    async def stop(self) -> None:
        """Look nothing more up, and disconnect."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for wanted in self._wanted.values():
            wanted.cancel()
        self._wanted.clear()

    async def _run(self) -> None:
        while True:
            consumer = self._new_consumer()
            try:
                await consumer.start()
                await self._serve(consumer)
            except Exception as error:  # whatever it is, those who wait are not to wait in vain
                unexpected = not isinstance(error, KafkaError | OSError)
                logger.warning(
                    "The journal cannot be read (%s); trying again.",
                    type(error).__name__,
                    exc_info=unexpected,
                )
                await asyncio.sleep(_BACKOFF_S)
            finally:
                await stop_consumer(consumer)

    def _new_consumer(self) -> AIOKafkaConsumer:
        return AIOKafkaConsumer(
            **self._connection,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",
            fetch_max_wait_ms=_FETCH_WAIT_MS,
            max_partition_fetch_bytes=_FETCH_BYTES,
            request_timeout_ms=_REQUEST_MS,
        )

    async def _serve(self, consumer: AIOKafkaConsumer) -> None:
        positions: dict[TopicPartition, int] = {}
        while True:
            while not self._wanted:
                self._wake.clear()
                await self._wake.wait()
            partition, offset = min(self._wanted)
            tp = TopicPartition(self._topic, partition)
            if tp not in positions:
                # Assigning forgets positions: seek each, with no await between.
                positions[tp] = offset
                consumer.assign(list(positions))
                for each, position in positions.items():
                    consumer.seek(each, position)
                consumer.pause(*positions)
            try:
                await self._fetch(consumer, tp, offset)
            except OffsetOutOfRangeError as error:
                # One that comes late is about a lookup before this one.
                if error.args and error.args[0] == {tp: offset} and (partition, offset) in self._wanted:
                    self._settle((partition, offset), None)
            except TopicAuthorizationFailedError:
                self._refuse((partition, offset))

    async def _fetch(self, consumer: AIOKafkaConsumer, tp: TopicPartition, offset: int) -> None:
        """Read what is at an offset and behind it, and settle whoever waits for any of that."""
        consumer.seek(tp, offset)
        consumer.resume(tp)
        try:
            batches = await consumer.getmany(tp, timeout_ms=_POLL_MS)
        finally:
            consumer.pause(tp)
        records = batches.get(tp, ())
        for record in records:
            place = (tp.partition, record.offset)
            self._memory.put(place, record.value or b"")
            if place in self._wanted:
                self._settle(place, self._memory.get(place))
        if (tp.partition, offset) not in self._wanted:
            return
        passed = bool(records) and records[-1].offset > offset
        if passed or (await consumer.end_offsets([tp]))[tp] <= offset:
            self._settle((tp.partition, offset), None)

    def _settle(self, place: Place, entry: Entry | None) -> None:
        wanted = self._wanted.pop(place)
        if not wanted.done():
            wanted.set_result(entry)

    def _refuse(self, place: Place) -> None:
        wanted = self._wanted.pop(place)
        if not wanted.done():
            wanted.set_exception(Unproved(f"this client may not read {self._topic}, to look it up"))
            wanted.exception()  # looked at: all who waited may have gone


class Memory:
    """The journal records read last: bytes until somebody wants one, then what it holds."""

    def __init__(self, bytes_max: int) -> None:
        """Keep so many bytes at most."""
        self._bytes_max = bytes_max
        self._bytes = 0
        self._kept: OrderedDict[Place, tuple[int, bytes | Entry | None]] = OrderedDict()

    def put(self, place: Place, value: bytes) -> None:
        """Keep a record, and forget the ones longest unused."""
        if place in self._kept:
            return
        self._kept[place] = (len(value), value)
        self._bytes += len(value)
        while self._bytes > self._bytes_max and len(self._kept) > 1:
            _, (size, _value) = self._kept.popitem(last=False)
            self._bytes -= size

    def get(self, place: Place) -> Entry | None:
        """Give what a record holds; None where it is not here or does not count."""
        kept = self._kept.get(place)
        if kept is None:
            return None
        size, held = kept
        self._kept.move_to_end(place)
        if isinstance(held, bytes):
            held = read_entry(held, *place)
            self._kept[place] = (size, held)
        return held


def read_entry(value: bytes, partition: int, offset: int) -> Entry | None:
    """Read a journal record; None for one that does not count, as far as can be seen without the journal's key.

    It counts only where it stands where it was meant to: the record of a worker that was replaced does not.
    """
    with contextlib.suppress(NotJson, ValueError, KeyError, TypeError):
        body = parse(value.decode(), DEPTH_MAX_OUTPUT)
        where = (body["event"], body["partition"], body["expected_offset"])
        if where != ("JournalRecord", partition, offset):
            return None
        answers = {
            index: (output["type"], output["value"])
            for index, output in enumerate(body["outputs"])
            if PROVED.get(output["topic"], "") == output["type"] and type(output["value"]) is dict
        }
        return Entry(parse_time(body["at"]), answers)
    return None
