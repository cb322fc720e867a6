"""Kills of everything, measured from the command to the last partition's journal record; shared with the benchmark."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import time
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from ops_stream.cli.command import obeyed_in
from ops_stream.cli.kill_progress import Kill, Stopping
from ops_stream.contract.partitions import partition_for
from ops_stream.contract.settings import Settings
from ops_stream.core.journal import record as rec
from tests.survival.fleet import Fleet
from tests.survival.proof import body_of, position_of

IN_FLIGHT = 1_000
LAG = 100_000
MARGIN = 30_000
"""So many more are piled up: what is decided between the counting and the kill is taken from them."""


@dataclass
class Round:
    """One kill of everything, and the resume that followed."""

    kill: Kill
    sent_ms: float
    asks_end: dict[int, int]
    """Where the topic of asks ended on each partition when the command was sent."""
    took_ms: float = 0.0
    """From the command to the last partition's journal record of it."""
    swept_ms: float = 0.0
    """From the command to the last partition's record by which everything is stopped."""
    resumed: dict[int, int] = field(default_factory=dict)
    """Partition → journal offset of the resume."""
    asked_at_kill: dict[int, int] = field(default_factory=dict)
    """Partition → the first ask that was decided behind the kill, by its offset."""
    denied: int = 0
    """Asks that were denied between kill and resume."""

    @property
    def revoked(self) -> int:
        """Asks that were in flight."""
        return self.kill.total("revoked")

    @property
    def lag(self) -> int:
        """Asks that waited to be read when the kill was journaled."""
        return sum(self.asks_end[p] - at for p, at in self.asked_at_kill.items())


class Approvals(Fleet):
    """A fleet that reports nothing, so that all it was allowed stays in flight, and counts what it was allowed."""

    approved = 0

    async def _on_approval(self, approval: dict[str, Any]) -> None:
        self.approved += approval["decision"] == "approved"
        await super()._on_approval(approval)

    async def until_approved(self, count: int, within_s: float = 300.0) -> None:
        """Wait until so many asks have been approved, all in all."""
        async with asyncio.timeout(within_s):
            while self.approved < count:
                await asyncio.sleep(0.02)


async def kill_in_flight(settings: Settings, tenants: tuple[str, ...], count: int) -> list[Round]:
    """Let a thousand asks run and kill them, again and again."""
    rounds: list[Round] = []
    async with Approvals(settings, tenants, report_share=0) as fleet, switch(settings) as pulled:
        await fleet.until_registered()
        for number in range(count):
            await fleet.ask(IN_FLIGHT, rate=2_000, name=f"r{number}")
            await fleet.until_approved((number + 1) * IN_FLIGHT)
            rounds.append(await pulled.kill())
            await pulled.resume(rounds[-1])
    return rounds


async def kill_behind_lag(settings: Settings, tenants: tuple[str, ...], count: int) -> list[Round]:
    """Pile up more than a hundred thousand asks, and kill what of them runs while all others wait, again and again.

    However fast they are decided meanwhile, so many lie there before each kill that enough wait when it is sent.
    """
    rounds: list[Round] = []
    piled = 0
    async with Approvals(settings, tenants, report_share=0) as fleet, switch(settings) as pulled:
        await fleet.until_registered()
        for number in range(count):
            while (missing := LAG + MARGIN - await pulled.waiting()) > 0:
                await pile_up(settings, tenants, missing, f"lag{piled}")
                piled += missing
            # Seen in the journal: whoever reads approvals comes long after, on a busy machine.
            await pulled.until_decided(2 * IN_FLIGHT)
            rounds.append(await pulled.kill())
            if number < count - 1:
                await pulled.resume(rounds[-1])
        # Some are decided behind the last kill as well before the workers are ended.
        await asyncio.sleep(1)
    return rounds


class Switch:
    """The kill switch, and the journal in which it shows."""

    def __init__(self, settings: Settings, producer: AIOKafkaProducer, journal: AIOKafkaConsumer) -> None:
        self._settings = settings
        self._producer = producer
        self._journal = journal
        self._places = [TopicPartition(settings.topic("journal"), p) for p in range(settings.partitions)]
        self._count = 0

    async def kill(self) -> Round:
        """Kill everything; returns when every partition has stopped what it had."""
        kill = Kill(f"kill-{self._next()}", {p: Stopping(p) for p in range(self._settings.partitions)})
        asks = [
            TopicPartition(self._settings.topic("task-requests"), p) for p in range(self._settings.partitions)
        ]
        await self._to_end()
        ends = await self._journal.end_offsets(asks)
        sent_ms = time() * 1000
        await self._send("kill", kill.command_id)
        found = Round(kill, sent_ms, {tp.partition: end for tp, end in ends.items()})
        left = set(kill.stops)
        async for record in self._journal:
            stop = kill.take(record, round(sent_ms))
            if stop is None:
                continue
            if stop.partition in left and stop.proof is not None and not stop.proof.sweeping:
                left.discard(stop.partition)
                found.swept_ms = max(found.swept_ms, record.timestamp - sent_ms)
            if not left:
                break
        found.took_ms = max(float(stop.ms or 0) for stop in kill.stops.values())
        return found

    async def waiting(self) -> int:
        """How many asks wait at least: whatever is journaled counts as one of them that was decided."""
        asks, decided = (
            [TopicPartition(self._settings.topic(topic), p) for p in range(self._settings.partitions)]
            for topic in ("task-requests", "journal")
        )
        ends = await self._journal.end_offsets([*asks, *decided])
        return int(sum(ends[tp] for tp in asks) - sum(ends[tp] for tp in decided))

    async def until_decided(self, count: int) -> None:
        """Wait until so many of those that wait have been decided."""
        before = await self.waiting()
        while await self.waiting() > before - count:
            await asyncio.sleep(0.02)

    async def resume(self, after: Round) -> None:
        """Take the kill back; returns when every partition has it."""
        command_id = f"resume-{self._next()}"
        await self._to_end()
        await self._send("resume", command_id)
        async for record in self._journal:
            if obeyed_in(record, command_id) is not None:
                after.resumed[record.partition] = record.offset
            if len(after.resumed) == self._settings.partitions:
                break

    async def _to_end(self) -> None:
        await self._journal.seek_to_end(*self._places)
        for tp in self._places:
            await self._journal.position(tp)

    async def _send(self, command: str, command_id: str) -> None:
        body = {"command_id": command_id, "command": command, "scope": "all", "issued_by": "test"}
        await self._producer.send_and_wait(
            self._settings.topic("control"),
            json.dumps(body).encode(),
            key=b"default",
            partition=partition_for("default", self._settings.partitions),
        )

    def _next(self) -> int:
        self._count += 1
        return self._count


@asynccontextmanager
async def switch(settings: Settings) -> AsyncIterator[Switch]:
    """Give the kill switch of a cluster."""
    producer = AIOKafkaProducer(**settings.aiokafka(), acks="all", enable_idempotence=True)
    journal = AIOKafkaConsumer(
        **settings.aiokafka(), group_id=None, max_partition_fetch_bytes=8 << 20, fetch_max_wait_ms=20
    )
    await producer.start()
    await journal.start()
    try:
        journal.assign([TopicPartition(settings.topic("journal"), p) for p in range(settings.partitions)])
        yield Switch(settings, producer, journal)
    finally:
        await journal.stop()
        await producer.stop()


async def pile_up(settings: Settings, tenants: Sequence[str], count: int, name: str) -> None:
    """Write asks in whole batches, so that they lie there sooner than anybody can decide them."""
    producer = AIOKafkaProducer(**settings.aiokafka(), acks="all")
    await producer.start()
    topic = settings.topic("task-requests")
    batches: dict[int, Any] = {}
    waiting = []
    try:
        for number in range(count):
            tenant = tenants[number % len(tenants)]
            partition = partition_for(tenant, settings.partitions)
            body = {
                "request_id": f"{name}-{number}",
                "task_id": f"t-{name}-{number}",
                "agent": "a",
                "tenant": tenant,
                "task_description": "wait",
                "estimated_cost_usd": 0.001,
            }
            value, key = json.dumps(body).encode(), tenant.encode()
            batch = batches.get(partition) or producer.create_batch()
            if batch.append(timestamp=None, key=key, value=value) is None:
                waiting.append(await producer.send_batch(batch, topic, partition=partition))
                batch = producer.create_batch()
                batch.append(timestamp=None, key=key, value=value)
            batches[partition] = batch
        for partition, batch in batches.items():
            waiting.append(await producer.send_batch(batch, topic, partition=partition))
        for sent in waiting:
            await sent
    finally:
        await producer.stop()


async def no_approval_while_killed(settings: Settings, rounds: Sequence[Round]) -> None:
    """Read the journal and the topic of approvals: nothing is approved from a kill's record to its resume's."""
    async for partition, record in _records(settings, "journal", _starts(rounds)):
        found = _round_at(rounds, partition, record.offset)
        if found is None:
            continue
        read = rec.read(record.value)
        assert read.header.expected_offset == record.offset, "nobody else writes to this journal"
        if read.header.kind == "input":
            given = rec.decode_input(read.input)
            if given.topic == "task-requests":
                found.asked_at_kill.setdefault(partition, given.offset)
        for output in rec.decode_outputs(read.outputs):
            if output.topic == "approvals":
                decision = json.loads(bytes(output.value))
                assert decision["decision"] != "approved", (partition, record.offset, decision)
                found.denied += decision["decision"] == "denied"
    async for _, record in _records(settings, "approvals", None):
        partition, offset, _ = map(int, position_of(record).split(":"))
        if _round_at(rounds, partition, offset) is not None:
            assert body_of(record.value)["decision"] != "approved", (partition, offset)


def _round_at(rounds: Sequence[Round], partition: int, offset: int) -> Round | None:
    for found in rounds:
        since = found.kill.stops[partition].offset
        assert since is not None
        if since <= offset < found.resumed.get(partition, 2**62):
            return found
    return None


def _starts(rounds: Sequence[Round]) -> dict[int, int]:
    return {partition: stop.offset or 0 for partition, stop in rounds[0].kill.stops.items()}


async def _records(
    settings: Settings, topic: str, starts: Mapping[int, int] | None
) -> AsyncIterator[tuple[int, Any]]:
    """Give what a topic holds now, a little at a time: all of it would not fit into memory."""
    consumer = AIOKafkaConsumer(
        **settings.aiokafka(), group_id=None, auto_offset_reset="earliest", max_partition_fetch_bytes=8 << 20
    )
    await consumer.start()
    try:
        tps = [TopicPartition(settings.topic(topic), p) for p in range(settings.partitions)]
        consumer.assign(tps)
        ends = await consumer.end_offsets(tps)
        for tp in tps:
            if starts is None:
                await consumer.seek_to_beginning(tp)
            else:
                consumer.seek(tp, starts[tp.partition])
        while any([await consumer.position(tp) < ends[tp] for tp in tps]):
            for tp, records in (await consumer.getmany(timeout_ms=300)).items():
                for record in records:
                    if record.offset < ends[tp]:
                        yield tp.partition, record
    finally:
        await consumer.stop()
