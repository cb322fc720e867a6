"""The sequencer of one partition: take the next input, decide, journal, and publish behind the acknowledgement.

Taking an input, deciding it, applying its changes and taking the journal offset happen in one piece without an await,
so that nothing can come between. Appends are in flight many at a time, bounded by number and by bytes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import monotonic

import structlog

from ops_stream.core.decision import Decision
from ops_stream.core.inputs import Gap, Input, Tick
from ops_stream.core.intake import read_input
from ops_stream.core.journal.cursors import Cursors, Verdict
from ops_stream.core.journal.ledger import Ledger, Prepared, Written
from ops_stream.core.step import InvariantBroken, step
from ops_stream.streams.around import Arrival, Flow, Observer, Phase
from ops_stream.streams.exits import Exit, other_input
from ops_stream.streams.lane import Headers, Lane, Parcel
from ops_stream.streams.publisher import Publisher
from ops_stream.streams.rulebook import Rulebook

log = structlog.get_logger(__name__)

WINDOW_RECORDS_MAX = 128
"""A kill is journaled behind what is on its way, on two partitions in turn: more would make it wait under load."""
WINDOW_BYTES_MAX = 16 * 1024 * 1024
INBOX_HIGH = 512
INBOX_LOW = 128
PUMP_RECORDS_MAX = 4  # in one turn of the loop: what brings a kill in and out takes several turns
SEEK_AGAIN_S = 2.0
NO_HEADERS: Headers = []
AT_ONCE = 0  # when what a command leaves to ticks is due


@dataclass(frozen=True, slots=True)
class _Flight:
    prepared: Prepared
    ack: Callable[[], None] | None
    sealed_at: float


class Sequencer:
    """One partition that this worker owns and has recovered."""

    def __init__(
        self,
        ledger: Ledger,
        *,
        journal: Callable[[Callable[[int, int, list[_Flight]], None]], Lane[_Flight]],
        publisher: Publisher,
        rulebook: Rulebook,
        engine: str,
        flow: Flow,
        observer: Observer,
        die: Callable[[Exit, str], None],
        halted: Callable[[int, str], None],
        clock: Callable[[int, float], None],
        counted: Callable[[Prepared], None],
        starts: Mapping[str, int],
    ) -> None:
        self.ledger = ledger
        self.partition = ledger.state.partition
        self.phase = Phase.LIVE
        self._key = b"%d" % self.partition
        self.publisher = publisher
        self._journal = journal(self._appended)
        self._rulebook = rulebook
        self._engine = engine
        self._flow = flow
        self._observer = observer
        self._die = die
        self._halted = halted
        self._clock = clock
        self._counted = counted
        self._priority: deque[Arrival] = deque()
        self._inbox: deque[Arrival] = deque()
        self._cursors = Cursors(starts)
        self._sought: dict[str, tuple[int, float]] = {}
        """Topics that were sought back, to which offset, and when."""
        self._paused = False
        self._flying: deque[_Flight] = deque()
        self._bytes_flying = 0
        self._tick: tuple[int, dict[str, int]] | None = None
        self._pump_scheduled = False
        self._loop = asyncio.get_running_loop()
        self.progressed_at = self.ticked_at = monotonic()
        publisher.on_progress = self._published

    # -- inputs

    def offer(self, arrival: Arrival, *, priority: bool = False) -> None:
        """Take an input record. Never waits; asks the bus to pause where too many wait."""
        if self.phase is not Phase.LIVE:
            arrival.ack()
            return
        if not self._inbox and not self._priority:
            self.progressed_at = monotonic()  # what came to nobody before is not late by that
        if priority:
            self._priority.append(arrival)
        else:
            self._inbox.append(arrival)
            if not self._paused and len(self._inbox) >= INBOX_HIGH:
                self._paused = True
                self._flow.pause(self.partition)
        self._schedule()

    def next_offset(self, topic: str) -> int:
        """The offset of `topic` that is taken next."""
        return self._cursors.next[topic]

    def propose_tick(self, now_ms: int, ends: dict[str, int]) -> None:
        """Let time pass to `now_ms` once every input has been read to `ends`, the end that it had at or after then."""
        if self._tick is None and self.phase is Phase.LIVE:
            self._tick = (now_ms, ends)
            self._schedule()

    @property
    def tick_pending(self) -> bool:
        """A tick is proposed and not taken yet."""
        return self._tick is not None

    @property
    def tick_waits_for(self) -> dict[str, tuple[int, int]]:
        """Topics that hold a proposed tick up: (next offset, end to be reached)."""
        return {} if self._tick is None else self._cursors.behind(self._tick[1])

    def seek_again(self, now: float) -> None:
        """Seek once more where a seek has led to nothing: what it should have brought was lost on the way here."""
        for topic, (offset, since) in list(self._sought.items()):
            if self.next_offset(topic) != offset:
                del self._sought[topic]
            elif now - since > SEEK_AGAIN_S and self.phase is Phase.LIVE:
                self._sought[topic] = (offset, now)
                self._flow.probe(self.partition, topic, offset)

    def skip_gap(self, topic: str, last: int) -> None:
        """Journal that the offsets up to `last` hold nothing; the caller has seen the broker show it."""
        self._cursors.forget_hole(topic)
        if self.phase is Phase.LIVE and self.next_offset(topic) <= last:
            self._write_gap(Gap(topic, self.partition, self.next_offset(topic), last))
            self._schedule()

    def reset_input(self, gap: Gap) -> None:
        """Journal that an input was recreated or trimmed, with the operator's word; before `start`."""
        self._write_gap(gap)

    # -- states

    @property
    def idle(self) -> bool:
        """Nothing is in flight: every decision is journaled and published."""
        return not self._flying and not self.publisher.waiting

    @property
    def waiting(self) -> int:
        """Inputs that were delivered and are not decided yet."""
        return len(self._inbox) + len(self._priority)

    def append_age_s(self, now: float) -> float:
        """Age of the oldest append that is not acknowledged."""
        return self._journal.oldest_age_s(now)

    def oldest_age_s(self, now: float) -> float:
        """Age of the oldest append or publish that is not acknowledged."""
        return max(self.append_age_s(now), self.publisher.oldest_age_s(now))

    def drain(self) -> None:
        """Decide nothing more; what is in flight goes on. Inputs that wait come again to the next owner."""
        if self.phase is Phase.LIVE:
            self.phase = Phase.DRAINING
        for arrival in (*self._priority, *self._inbox):
            arrival.ack()
        self._priority.clear()
        self._inbox.clear()
        self._tick = None

    def close(self) -> None:
        """Send nothing more at all."""
        self.drain()
        self._journal.close()
        self.publisher.close()

    def start(self, tail: list[Written]) -> None:
        """Publish again what the last owner may not have published, then begin."""
        for written in tail:
            self.publisher.publish(written.offset, written.at_ms, written.outputs)
        self._schedule()

    # -- the loop

    def _schedule(self) -> None:
        if not self._pump_scheduled:
            self._pump_scheduled = True
            self._loop.call_soon(self._pump)

    def _room(self) -> bool:
        return (
            len(self._flying) + self.publisher.waiting < WINDOW_RECORDS_MAX
            and self._bytes_flying < WINDOW_BYTES_MAX
        )

    def _pump(self) -> None:
        self._pump_scheduled = False
        try:
            self._take_some()
        except Exception as error:
            # Nothing of this kind is foreseen: what is journaled stays true, and a new process starts from it.
            log.error("the sequencer failed", partition=self.partition, exc_info=error)
            self._die(
                Exit.CRASHED, f"partition {self.partition} cannot go on: {type(error).__name__}: {error}"
            )

    def _take_some(self) -> None:
        for _ in range(PUMP_RECORDS_MAX):
            if self.phase is not Phase.LIVE or not self._room():
                return
            if self._priority:
                self._take(self._priority.popleft())
            elif self.ledger.state.due.next_ms() == AT_ONCE:
                # What a command left over, which no waiting input could forestall: a piece at a time, so that the
                # copies of a kill are out before the next.
                if self.idle:
                    self._write_tick(Tick(AT_ONCE), self.ledger.at_ms)
                return
            elif self._take_tick():
                continue
            elif self._inbox:
                self._take(self._inbox.popleft())
                self._maybe_resume()
            else:
                return
        self._schedule()

    def _maybe_resume(self) -> None:
        if self._paused and len(self._inbox) <= INBOX_LOW:
            self._paused = False
            self._flow.resume(self.partition)

    def _take(self, arrival: Arrival) -> None:
        topic, offset = arrival.raw.topic, arrival.raw.offset
        verdict = self._cursors.judge(topic, offset, arrival.raw.timestamp_ms)
        if verdict is Verdict.GAP:
            # Deliveries may repeat and cross a seek: only the broker itself can show that nothing is there.
            arrival.ack()
            self._flow.probe(self.partition, topic, self.next_offset(topic))
            return
        if verdict is Verdict.OTHER:
            why = (
                f"it holds a new record at offset {offset}, and {self.next_offset(topic)} was reached before"
            )
            refusal = other_input(topic, self.partition, why)
            self._die(refusal.code, str(refusal))
            return
        if verdict is not Verdict.TAKE:
            arrival.ack()
            if verdict is Verdict.SEEK:
                self._sought[topic] = (self.next_offset(topic), monotonic())
                self._flow.seek(self.partition, topic, self.next_offset(topic))
            return
        self._decide(arrival)

    def _decide(self, arrival: Arrival) -> None:
        raw = arrival.raw
        started = monotonic()
        ledger = self.ledger
        now_ms = max(ledger.at_ms, raw.timestamp_ms)
        rules = self._rulebook.active(ledger.state)
        try:
            input_ = read_input(raw)
            decision = step(ledger.state, input_, rules, now_ms)
            prepared = ledger.prepare_input(raw, decision, now_ms, self._engine, rules.digest)
        except InvariantBroken as error:
            arrival.ack()
            self._halt(f"{raw.topic} {raw.partition}:{raw.offset} broke an invariant: {error}")
            return
        self._cursors.reach(raw.topic, raw.offset + 1, raw.timestamp_ms)
        self._enqueue(prepared, decision, input_, arrival.ack, started)

    def _take_tick(self) -> bool:
        if self._tick is None:
            return False
        until_ms, ends = self._tick
        if self._cursors.behind(ends):
            return False
        due = self.ledger.state.next_due_ms()
        if due is None or due > until_ms:
            self._tick = None
            return False
        # Inputs newer than `until_ms` may have been decided meanwhile; others as new may wait to be read.
        now_ms = max(self.ledger.at_ms, until_ms)
        self._write_tick(Tick(until_ms) if until_ms < now_ms else Tick(), now_ms)
        return True

    def _write_tick(self, tick: Tick, now_ms: int) -> None:
        started = monotonic()
        ledger = self.ledger
        rules = self._rulebook.active(ledger.state)
        try:
            decision = step(ledger.state, tick, rules, now_ms)
        except InvariantBroken as error:
            self._halt(f"the tick at {now_ms} broke an invariant: {error}")
            return
        self.ticked_at = started
        prepared = ledger.prepare_tick(decision, now_ms, self._engine, rules.digest, tick)
        self._enqueue(prepared, decision, tick, None, started)

    def _write_gap(self, gap: Gap) -> None:
        ledger, started = self.ledger, monotonic()
        rules = self._rulebook.active(ledger.state)
        decision = step(ledger.state, gap, rules, ledger.at_ms)
        prepared = ledger.prepare_gap(gap, decision, ledger.at_ms, self._engine, rules.digest)
        self._cursors.reach(gap.topic, gap.last + 1)
        self._enqueue(prepared, decision, gap, None, started)

    def _enqueue(
        self,
        prepared: Prepared,
        decision: Decision,
        input_: Input,
        ack: Callable[[], None] | None,
        started: float,
    ) -> None:
        self.ledger.commit(prepared)
        written = prepared.written
        self._bytes_flying += len(written.value)
        sealed_at = monotonic()
        flight = _Flight(prepared, ack, sealed_at)
        self._flying.append(flight)
        self._journal.put(Parcel(self._key, written.value, NO_HEADERS, flight))
        self._observer.decided(prepared, decision, input_, started, sealed_at)

    def _halt(self, why: str) -> None:
        self.phase = Phase.HALTED
        self._flow.pause(self.partition)
        # Faust waits at a rebalance until all that it delivered is acknowledged, and the whole group with it.
        self.drain()
        self._halted(self.partition, why)

    # -- acknowledgements

    def _appended(self, first_offset: int, timestamp_ms: int, flights: list[_Flight]) -> None:
        meant = flights[0].prepared.written.offset
        if meant != first_offset:
            self._die(
                Exit.FENCED,
                f"journal partition {self.partition}: a record meant for offset {meant} landed at {first_offset}; "
                "another worker has taken this partition over",
            )
            return
        now = monotonic()
        self.progressed_at = now
        self._clock(timestamp_ms, now)
        for flight in flights:
            self._flying.popleft()
            written = flight.prepared.written
            self._bytes_flying -= len(written.value)
            self._counted(flight.prepared)
            self.publisher.publish(
                written.offset, written.at_ms, written.outputs, flight.ack, flight.sealed_at
            )
        self._observer.journaled(now - flights[0].sealed_at)
        self._schedule()

    def _published(self) -> None:
        self.ledger.published_through = self.publisher.published_through
        self.progressed_at = monotonic()
        self._schedule()
