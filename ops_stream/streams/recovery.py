"""Recovery: fold the journal, prove the result, take the partition over. It never decides.

Recovery runs in a task of its own, so that it may take as long as it must. It starts from what is already known (the
ledger of an earlier generation, a snapshot) only where that agrees with the journal, else from the journal's start.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import monotonic

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.structs import RecordMetadata

from ops_stream.contract.settings import Settings
from ops_stream.contract.signing import SigningKey
from ops_stream.core.inputs import Takeover
from ops_stream.core.journal import record as rec
from ops_stream.core.journal.chain import JournalKey, short_digest
from ops_stream.core.journal.ledger import (
    GAP_DIGEST,
    BrokenChain,
    Folded,
    Ledger,
    Position,
    Prepared,
    Void,
    Written,
)
from ops_stream.core.journal.lookback import look_back, look_back_from
from ops_stream.core.journal.record import decode_outputs
from ops_stream.core.state import State
from ops_stream.core.step import step
from ops_stream.streams.bus import offsets, read_range, reader
from ops_stream.streams.compacted import COMPACTED, rewrite_stale
from ops_stream.streams.exits import Exit, Refusal, other_input
from ops_stream.streams.identity import Identity
from ops_stream.streams.rulebook import Rulebook, active_bundle

log = structlog.get_logger(__name__)

JOURNAL = "journal"
TAKEOVER_TRIES_MAX = 20
BACKOFF_S = 0.05
BACKOFF_MAX_S = 2.0
YIELD_EVERY = 100
LAST_RECORDS = 10
"""Of the journal's end, looked at before the start for the engine that decided last."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """A partition that this worker owns: its ledger, and what the last owner may not have published."""

    ledger: Ledger
    takeover: Prepared
    tail: list[Written]
    seconds: float
    folded: int
    taken_over: tuple[int, float]
    """The broker's time of the takeover, and the monotonic time of its acknowledgement."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Under what a partition is taken over."""

    settings: Settings
    identity: Identity
    engine: str
    key: JournalKey
    rulebook: Rulebook
    producer: AIOKafkaProducer
    refresh_rules: Callable[[], Awaitable[None]]
    alert: Callable[[int, str], None]
    append_deadline_s: float = 30.0
    fold_delay_s: float = 0.0
    """A test's brake: sleep so long after each batch of the fold."""
    signing_key: SigningKey | None = None
    """Signs the answers to agents; None where no key is set."""


class Recovery:
    """Recovers one partition."""

    def __init__(self, owner: Owner, partition: int, partitions: int) -> None:
        self._owner = owner
        self._partition = partition
        self._partitions = partitions
        self._tp = TopicPartition(owner.settings.topic(JOURNAL), partition)
        self._tail: list[Written] = []
        self._folded = 0
        self._taken_over = (0, 0.0)

    async def run(self, known: Ledger | None) -> Recovered:
        """Fold, prove and take over. `known` is a ledger to start from. Raises `Refusal`."""
        started = monotonic()
        async with reader(self._owner.settings) as consumer:
            ledger = await self._folded_ledger(consumer, known)
            takeover = await self._take_over(consumer, ledger)
            await self._rewrite_stale(consumer)
        return Recovered(ledger, takeover, self._tail, monotonic() - started, self._folded, self._taken_over)

    async def _rewrite_stale(self, consumer: AIOKafkaConsumer) -> None:
        owner = self._owner
        for name in COMPACTED:
            topic = owner.settings.topic(name)
            rewritten = await rewrite_stale(consumer, owner.producer, topic, self._partition)
            if rewritten:
                log.warning(
                    "stale keys were written again", topic=topic, partition=self._partition, keys=rewritten
                )

    def _empty(self) -> Ledger:
        return Ledger(State(self._partition, self._partitions), self._owner.key)

    async def _folded_ledger(self, consumer: AIOKafkaConsumer, known: Ledger | None) -> Ledger:
        beginning, end = (await offsets(consumer, [self._tp]))[self._tp]
        if known is not None and beginning <= known.next_offset <= end:
            try:
                await self._look_back(consumer, known, beginning)
                await self._fold_to_end(consumer, known)
                known.prove()
                return known
            except BrokenChain as error:
                self._tail.clear()
                self._owner.alert(
                    self._partition, f"what was known of the state is wrong and was thrown away: {error}"
                )
        if beginning > 0:
            raise Refusal(
                f"The journal {self._tp.topic} partition {self._partition} begins at offset {beginning}, and no "
                "snapshot reaches back to it.",
                "Restore the journal from a backup; check its retention with: ops-stream topics check",
                Exit.RECOVERY_FAILED,
            )
        ledger = self._empty()
        try:
            await self._fold_to_end(consumer, ledger)
            ledger.prove()
        except BrokenChain as error:
            raise Refusal(
                f"The journal contradicts itself: {error}.",
                "Find the first wrong record with: ops-stream audit verify",
                Exit.RECOVERY_FAILED,
            ) from error
        return ledger

    async def _look_back(self, consumer: AIOKafkaConsumer, known: Ledger, beginning: int) -> None:
        """Gather what may not have been published of records that are not folded again."""
        start = max(beginning, look_back_from(known))
        if start > known.last_offset:
            return
        found: list[tuple[int, bytes | None]] = []
        async for records in read_range(consumer, self._tp, start, known.last_offset + 1):
            found += [(record.offset, record.value) for record in records]
        self._tail = look_back(known, found)

    async def _fold_to_end(self, consumer: AIOKafkaConsumer, ledger: Ledger) -> None:
        end = (await consumer.end_offsets([self._tp]))[self._tp]
        async for records in read_range(consumer, self._tp, ledger.next_offset, end):
            for number, record in enumerate(records):
                self._fold(ledger, record.offset, record.value)
                if number % YIELD_EVERY == YIELD_EVERY - 1:
                    await asyncio.sleep(0)
            if self._owner.fold_delay_s:
                await asyncio.sleep(self._owner.fold_delay_s)
        # Control records of a foreign transaction may stand at the end: offsets that hold nothing.
        ledger.next_offset = max(ledger.next_offset, end)
        self._trim(ledger.published_through)

    def _fold(self, ledger: Ledger, offset: int, value: bytes | None) -> None:
        result = ledger.fold(offset, value)
        self._folded += 1
        if not isinstance(result, Folded):
            self._on_void(result)
            return
        record = result.record
        outputs = decode_outputs(record.outputs)
        if outputs:
            self._tail.append(Written(offset, record.header.at_ms, b"", outputs))
        if len(self._tail) > 2048:
            self._trim(ledger.published_through)

    def _on_void(self, void: Void) -> None:
        if void.foreign_key_id:
            raise _other_key(self._partition, void.offset, void.foreign_key_id, self._owner.key)
        if void.astray:
            # What follows it would be void too, and what it all decided would be decided again.
            raise BrokenChain(f"partition {self._partition} offset {void.offset}: {void.reason}")
        log.warning(
            "a journal record does not count", partition=self._partition, offset=void.offset, why=void.reason
        )

    def _trim(self, published_through: int) -> None:
        self._tail = [written for written in self._tail if written.offset >= published_through]

    async def _take_over(self, consumer: AIOKafkaConsumer, ledger: Ledger) -> Prepared:
        owner = self._owner
        self._refuse_newer(ledger)
        for attempt in range(TAKEOVER_TRIES_MAX):
            await self._load_rules(ledger)
            rules = owner.rulebook.active(ledger.state)
            takeover = Takeover(owner.identity.boot_id, owner.identity.instance, owner.engine, rules.digest)
            decision = step(ledger.state, takeover, rules, ledger.at_ms)
            prepared = ledger.prepare_takeover(takeover, decision, ledger.at_ms, rules.digest)
            written = prepared.written
            metadata = await self._append(written.value)
            if metadata.offset == written.offset:
                self._taken_over = (metadata.timestamp or 0, monotonic())
                ledger.commit(prepared)
                self._tail.append(written)
                return prepared
            log.info("a takeover landed elsewhere", partition=self._partition, at=metadata.offset)
            await asyncio.sleep(min(BACKOFF_MAX_S, BACKOFF_S * 2**attempt) * (0.5 + random.random()))  # noqa: S311
            await self._fold_to_end(consumer, ledger)
        raise Refusal(
            f"Partition {self._partition} of the journal could not be taken over in {TAKEOVER_TRIES_MAX} tries: others "
            "keep writing to it.",
            "See who else runs on this prefix with: ops-stream status",
            Exit.RECOVERY_FAILED,
        )

    async def _append(self, value: bytes) -> RecordMetadata:
        try:
            async with asyncio.timeout(self._owner.append_deadline_s):
                return await self._owner.producer.send_and_wait(
                    self._tp.topic, value, key=b"%d" % self._partition, partition=self._partition
                )
        except TimeoutError:
            raise Refusal(
                f"Partition {self._partition} of the journal has neither taken nor refused a takeover for "
                f"{self._owner.append_deadline_s:.0f} s.",
                "Look at the broker; what became of it is found out at the next start.",
                Exit.APPEND_UNKNOWN,
            ) from None

    async def _load_rules(self, ledger: Ledger) -> None:
        digest = active_bundle(ledger.state)
        if digest is not None and digest not in self._owner.rulebook.known:
            await self._owner.refresh_rules()

    def _refuse_newer(self, ledger: Ledger) -> None:
        _refuse_newer(self._partition, ledger.last_engine_version, self._owner.engine)


async def refuse_newer_journal(consumer: AIOKafkaConsumer, owner: Owner) -> None:
    """Refuse to start where a newer engine has decided last, or the journal begins under another key. Raises `Refusal`.

    Recovery would see it too, but only once the group has given this worker partitions that others then do not decide.
    Of the key the first record tells: whoever may write to the journal can put another at its end only.
    """
    settings = owner.settings
    tps = [TopicPartition(settings.topic(JOURNAL), partition) for partition in range(settings.partitions)]
    for tp, (beginning, end) in (await offsets(consumer, tps)).items():
        if beginning == 0:
            async for records in read_range(consumer, tp, 0, min(end, 1)):
                for record in records:
                    _refuse_other_key(tp.partition, record.value, owner.key)
        engine = ""
        async for records in read_range(consumer, tp, max(beginning, end - LAST_RECORDS), end):
            for record in records:
                engine = _engine_of(owner.key, record.offset, record.value) or engine
        _refuse_newer(tp.partition, engine, owner.engine)


def _refuse_other_key(partition: int, first: bytes | None, ours: JournalKey) -> None:
    try:
        header = rec.read(first).header
    except rec.Unreadable:
        return
    if header.expected_offset == 0 and header.key_id != ours.key_id:
        raise _other_key(partition, 0, header.key_id, ours)


def _other_key(partition: int, offset: int, theirs: str, ours: JournalKey) -> Refusal:
    return Refusal(
        f"The journal partition {partition} has a record at offset {offset} under another key "
        f"({theirs}; this worker's is {ours.key_id}).",
        "All workers of a prefix share one key: name its file in OPS_STREAM_JOURNAL_KEY_FILE.",
    )


def _engine_of(key: JournalKey, offset: int, value: bytes | None) -> str:
    """The engine that wrote a record; empty where the record is void."""
    try:
        record = rec.read(value)
    except rec.Unreadable:
        return ""
    genuine = record.header.expected_offset == offset and rec.mac_of(record, key) == record.hash
    return record.header.engine_version if genuine else ""


def _refuse_newer(partition: int, theirs: str, ours: str) -> None:
    if theirs and engine_number(theirs) > engine_number(ours):
        raise Refusal(
            f"Partition {partition} was last decided by a newer engine ({theirs}); this one is {ours}.",
            "Run the newer version of ops-stream.",
        )


def engine_number(version: str) -> int:
    """The number of the decisions in an engine version such as `2+cel0.1.3`. An unreadable one is the newest."""
    head = version.split("+", 1)[0]
    return int(head) if head.isdigit() else 1 << 30


async def prove_positions(
    consumer: AIOKafkaConsumer,
    ledger: Ledger,
    topics: dict[str, str],
    accepted: frozenset[str],
) -> tuple[dict[str, int], dict[str, tuple[int, int]]]:
    """Where each input is taken up: `beginning ≤ position ≤ end`, and the record before it is the one journaled.

    `topics` maps logical to full names. Returns the offset to take next per topic, and per topic that was reset with
    the operator's word (`accepted`) the gap (first, last) to journal. Raises `Refusal`.
    """
    partition = ledger.state.partition
    tps = {name: TopicPartition(full, partition) for name, full in topics.items()}
    bounds = await offsets(consumer, tps.values())
    starts: dict[str, int] = {}
    gaps: dict[str, tuple[int, int]] = {}
    for name, tp in tps.items():
        beginning, end = bounds[tp]
        position = ledger.position(name)
        if position is None:
            starts[name] = beginning
            continue
        why = await _why_unproved(consumer, tp, position, beginning, end)
        if why is None:
            starts[name] = position.next
        elif name in accepted:
            starts[name] = beginning
            gaps[name] = (position.next, beginning - 1)
        else:
            raise other_input(name, partition, why)
    return starts, gaps


async def _why_unproved(
    consumer: AIOKafkaConsumer, tp: TopicPartition, position: Position, beginning: int, end: int
) -> str | None:
    if position.next > end:
        return f"it ends at offset {end}, and {position.next} was reached before"
    if position.next < beginning:
        return f"offsets {position.next} to {beginning - 1} were deleted before they were read"
    before = position.next - 1
    if before < beginning or position.digest == GAP_DIGEST:
        return None
    async for records in read_range(consumer, tp, before, position.next):
        for record in records:
            if record.offset == before and short_digest(record.value) == position.digest:
                return None
    return f"the record at offset {before} is another one than was journaled"
