"""One partition at one worker: recovery, sequencer and publisher in the discipline of `ops_stream.streams`."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec

from ops_stream.contract.avro import encode_avro
from ops_stream.contract.headers import JournalPosition
from ops_stream.core.inputs import Gap, Headers, Takeover, Tick
from ops_stream.core.intake import read_input
from ops_stream.core.journal.chain import JournalKey
from ops_stream.core.journal.cursors import Cursors, Verdict
from ops_stream.core.journal.ledger import BrokenChain, Folded, Ledger, Prepared, Written
from ops_stream.core.journal.lookback import look_back, look_back_from
from ops_stream.core.journal.record import OutputDoc, RawInput, decode_outputs
from ops_stream.core.rows import RULES
from ops_stream.core.rules_model import Rules
from ops_stream.core.state import State
from ops_stream.core.step import step
from ops_stream.streams.intake import meaningful, meaningful_forwarded, meaningful_signed
from ops_stream.streams.publisher import FORWARD_MAC_HEADER, PROVED, forward_mac
from ops_stream.streams.sequencer import AT_ONCE
from ops_stream.streams.topics_in import ALL, PRIORITY
from tests.simulation.broker import Broker, Stored, Wire
from tests.simulation.discipline import Discipline
from tests.simulation.rules import ENGINE, of_row

JOURNAL: Final = "journal"
WINDOW: Final = 6
INBOX: Final = 4


class Fenced(Exception):
    """Another worker has written to the journal: this one ends."""


@dataclass(slots=True)
class Entry:
    """A journal record whose outputs are being published."""

    offset: int
    remaining: int
    raw: RawInput | None


class Home(Protocol):
    """What a seat needs of its worker."""

    broker: Broker
    wire: Wire
    key: JournalKey
    boot_id: str
    partitions: int
    discipline: Discipline

    def counted(self, prepared: Prepared) -> None:
        """A record counts: its rows may go to the snapshot."""

    def went_live(self, seat: Seat, takeover: Prepared) -> None:
        """A partition was taken over."""

    def committed(self, topic: str, partition: int) -> int:
        """The offset that the consumer group has committed."""

    def commit(self, raw: RawInput) -> None:
        """An input is done with."""


class Seat:
    """A partition that its worker was given in one generation."""

    def __init__(self, home: Home, partition: int, name: str, known: Ledger | None) -> None:
        self.home: Final = home
        self.partition: Final = partition
        self.name: Final = name
        self.phase = "recovering"
        self.cursors = Cursors({})
        self.inbox: deque[RawInput] = deque()
        self.first: deque[RawInput] = deque()
        """What may not wait behind the others."""
        self.read: dict[str, int] = {}
        self.slow = ""
        self.slow_until = 0
        """A topic of which the bus delivers nothing for now, and until when."""
        self.passed: dict[tuple[str, int], None] = {}
        """Records that the bus has passed over once."""
        self.tick: tuple[int, dict[str, int]] | None = None
        self.flying: deque[tuple[Prepared, RawInput | None]] = deque()
        self.entries: deque[Entry] = deque()
        self.thrown_away = False
        """Whether what was known turned out to be wrong."""
        self._tail: list[Written] = []
        self._takeover: Prepared | None = None
        self.ledger = self._recover(known)
        self._take_over()

    # -- recovery

    def _recover(self, known: Ledger | None) -> Ledger:
        end = self.home.broker.end(JOURNAL, self.partition)
        if known is not None and known.next_offset <= end:
            try:
                if self.home.discipline.look_back:
                    self._look_back(known)
                self._fold_to_end(known)
                if self.home.discipline.prove:
                    known.prove()
                known.proved = True
                return known
            except BrokenChain:
                self._tail = []
                self.thrown_away = True
        ledger = Ledger(State(self.partition, self.home.partitions), self.home.key)
        self._fold_to_end(ledger)
        ledger.prove()
        return ledger

    def _look_back(self, known: Ledger) -> None:
        log = self.home.broker.log(JOURNAL, self.partition)
        start = look_back_from(known)
        records = [
            (stored.offset, stored.value)
            for stored in log[start : known.last_offset + 1]
            if stored is not None
        ]
        self._tail = look_back(known, records)

    def _fold_to_end(self, ledger: Ledger) -> None:
        log = self.home.broker.log(JOURNAL, self.partition)
        for offset in range(ledger.next_offset, len(log)):
            stored = log[offset]
            if stored is None:
                continue
            result = ledger.fold(offset, stored.value)
            if isinstance(result, Folded):
                outputs = decode_outputs(result.record.outputs)
                if outputs:
                    self._tail.append(Written(offset, result.record.header.at_ms, b"", outputs))
            elif result.astray:
                raise BrokenChain(f"offset {offset}: {result.reason}")
        ledger.next_offset = max(ledger.next_offset, len(log))
        self._tail = [written for written in self._tail if written.offset >= ledger.published_through]

    def _take_over(self) -> None:
        rules = self.rules
        takeover = Takeover(self.home.boot_id, "host", ENGINE, rules.digest)
        decision = step(self.ledger.state, takeover, rules, self.ledger.at_ms)
        prepared = self.ledger.prepare_takeover(takeover, decision, self.ledger.at_ms, rules.digest)
        self._takeover = prepared
        self._append(prepared)

    def _taken_over(self, landed: int) -> None:
        prepared = self._takeover
        assert prepared is not None
        if landed != prepared.written.offset and self.home.discipline.fence:
            self._fold_to_end(self.ledger)
            self._take_over()
            return
        self.ledger.commit(prepared)
        self._tail.append(prepared.written)
        starts = {topic: self._start(topic) for topic in ALL}
        self.cursors = Cursors(starts)
        self.read = dict(starts)
        self.phase = "live"
        self.home.went_live(self, prepared)
        tail = self._tail if self.home.discipline.republish else [prepared.written]
        for written in tail:
            self.publish(written.offset, written.outputs, None)

    def _start(self, topic: str) -> int:
        if not self.home.discipline.journaled_positions:
            return self.home.committed(topic, self.partition)
        position = self.ledger.position(topic)
        return 0 if position is None else position.next

    # -- inputs

    @property
    def rules(self) -> Rules:
        """The rules in force."""
        return of_row(self.ledger.state.rows.get(RULES.prefix))

    @property
    def idle(self) -> bool:
        """Nothing is in flight."""
        return not self.flying and not self.entries

    def unread(self, topic: str) -> bool:
        """Say whether the bus has more of a topic."""
        return self.read[topic] < self.home.broker.end(topic, self.partition)

    def waiting_since(self, topic: str) -> int:
        """When the next record of a topic was written."""
        stored = self.home.broker.log(topic, self.partition)[self.read[topic]]
        return 0 if stored is None else stored.at_ms

    def deliver(self, topic: str) -> None:
        """The bus hands over the next record of a topic, if there is room."""
        log = self.home.broker.log(topic, self.partition)
        at = self.read[topic]
        while at < len(log) and log[at] is None:
            at += 1
        self.read[topic] = min(at + 1, len(log))
        if at < len(log):
            stored = log[at]
            assert stored is not None
            (self.first if topic in PRIORITY else self.inbox).append(self._raw(topic, stored))

    def _raw(self, topic: str, stored: Stored) -> RawInput:
        kept: Headers
        if topic == "forwarded" and self.home.discipline.proven_forwards:
            kept = meaningful_forwarded(self.home.key, stored.headers, stored.value)
        elif topic == "forwarded":
            kept = stored.headers
        elif topic in PRIORITY:
            kept = meaningful_signed(
                self.home.key, topic, self.partition, topic, stored.headers, stored.value
            )
        else:
            kept = meaningful(stored.headers)
        return RawInput(topic, self.partition, stored.offset, stored.at_ms, stored.value, kept)

    def propose_tick(self, now_ms: int) -> None:
        """Let time pass to `now_ms`, once every input has been read to the end that it has now."""
        due = self.ledger.state.next_due_ms()
        if self.tick is None and due is not None and due <= now_ms:
            self.tick = (now_ms, {topic: self.home.broker.end(topic, self.partition) for topic in ALL})

    def look_for_holes(self) -> None:
        """Nothing comes and a tick waits: perhaps the offsets that it waits for hold nothing."""
        if self.tick is None or self.first or self.inbox:
            return
        for topic, (start, end) in self.cursors.behind(self.tick[1]).items():
            log = self.home.broker.log(topic, self.partition)
            reached = start
            while reached < end and log[reached] is None:
                reached += 1
            if reached > start:
                self._gap(Gap(topic, self.partition, start, reached - 1))

    # -- deciding

    def work(self) -> bool:
        """Take one thing, if there is one and room for it."""
        if self.phase != "live" or len(self.flying) + len(self.entries) >= WINDOW:
            return False
        if self.first:
            self._take(self.first.popleft())
        elif self._take_tick():
            return True
        elif self.inbox:
            self._take(self.inbox.popleft())
        else:
            return False
        return True

    def _take(self, raw: RawInput) -> None:
        verdict, expected = self._verdict(raw), self.cursors.next[raw.topic]
        if verdict is Verdict.GAP:
            self._gap(Gap(raw.topic, self.partition, expected, raw.offset - 1))
        elif verdict is not Verdict.TAKE:
            if verdict is Verdict.SEEK:
                self.read[raw.topic] = expected
            return
        ledger = self.ledger
        late = ledger.at_ms if self.home.discipline.time_goes_on else 0
        at_ms = max(late, raw.timestamp_ms)
        rules = self.rules
        decision = step(ledger.state, read_input(raw), rules, at_ms)
        prepared = ledger.prepare_input(raw, decision, at_ms, ENGINE, rules.digest)
        self.cursors.reach(raw.topic, raw.offset + 1, raw.timestamp_ms)
        self._enqueue(prepared, raw)

    def _verdict(self, raw: RawInput) -> Verdict:
        kept = self.home.discipline
        if not kept.next_offset_only:
            return Verdict.TAKE
        verdict = self.cursors.judge(raw.topic, raw.offset, raw.timestamp_ms)
        assert verdict is not Verdict.OTHER, "no topic is made anew here"
        if verdict is Verdict.SEEK and not kept.seek_before_gap:
            return Verdict.GAP
        stale = verdict is Verdict.DROP and raw.offset > self.cursors.next[raw.topic]
        return Verdict.GAP if stale and not kept.ignore_stale else verdict

    def _take_tick(self) -> bool:
        if self.ledger.state.due.next_ms() == AT_ONCE:
            self._write_tick(Tick(AT_ONCE), self.ledger.at_ms)
            return True
        if self.tick is None:
            return False
        until_ms, ends = self.tick
        kept = self.home.discipline
        if kept.barrier and self.cursors.behind(ends):
            return False
        ledger = self.ledger
        at_ms = max(ledger.at_ms, until_ms)
        if not kept.tick_until:
            until_ms = at_ms
        due = ledger.state.next_due_ms()
        if due is None or due > until_ms:
            self.tick = None
            return False
        self._write_tick(Tick(until_ms) if until_ms < at_ms else Tick(), at_ms)
        return True

    def _write_tick(self, tick: Tick, at_ms: int) -> None:
        ledger, rules = self.ledger, self.rules
        decision = step(ledger.state, tick, rules, at_ms)
        self._enqueue(ledger.prepare_tick(decision, at_ms, ENGINE, rules.digest, tick), None)

    def _gap(self, gap: Gap) -> None:
        ledger, rules = self.ledger, self.rules
        decision = step(ledger.state, gap, rules, ledger.at_ms)
        self.cursors.reach(gap.topic, gap.last + 1)
        self._enqueue(ledger.prepare_gap(gap, decision, ledger.at_ms, ENGINE, rules.digest), None)

    def _enqueue(self, prepared: Prepared, raw: RawInput | None) -> None:
        self.ledger.commit(prepared)
        self.flying.append((prepared, raw))
        self._append(prepared)
        if not self.home.discipline.publish_behind_ack:
            self.publish(prepared.written.offset, prepared.written.outputs, raw)

    # -- the journal and the outputs

    def _append(self, prepared: Prepared) -> None:
        place = (JOURNAL, self.partition)
        self.home.wire.put(
            place, str(self.partition), prepared.written.value, (), prepared, self._appended, self.name
        )

    def _appended(self, offset: int, tokens: list[object]) -> None:
        if tokens[0] is self._takeover:
            self._taken_over(offset)
            return
        kept = self.home.discipline
        if self.flying[0][0].written.offset != offset and kept.fence:
            raise Fenced(f"partition {self.partition}: {self.flying[0][0].written.offset} landed at {offset}")
        for _ in tokens:
            prepared, raw = self.flying.popleft()
            self.home.counted(prepared)
            if kept.publish_behind_ack:
                self.publish(prepared.written.offset, prepared.written.outputs, raw)

    def publish(self, offset: int, outputs: tuple[OutputDoc, ...], raw: RawInput | None) -> None:
        """Send the outputs of a record."""
        entry = Entry(offset, len(outputs), raw)
        self.entries.append(entry)
        for index, output in enumerate(outputs):
            self._send(entry, offset, index, output)
        self._advance()

    def _send(self, entry: Entry, offset: int, index: int, output: OutputDoc) -> None:
        value = bytes(output.value)
        if output.encoding == "avro":
            value = encode_avro(output.type, msgspec.json.decode(value))
        position = str(JournalPosition(self.partition, offset, index))
        headers: Headers = (("ce_type", output.type.encode()), ("ops-journal", position.encode()))
        if output.encoding == "avro":
            headers = (*headers, ("content-type", b"application/avro"))
        target = self.partition if output.partition is None else output.partition
        if output.topic in PROVED:
            mac = forward_mac(self.home.key, position, value, output.topic, target)
            headers = (*headers, (FORWARD_MAC_HEADER, mac))
        self.home.wire.put(
            (output.topic, target), output.key, value, headers, entry, self._delivered, self.name
        )

    def _delivered(self, _offset: int, tokens: list[object]) -> None:
        for entry in tokens:
            assert isinstance(entry, Entry)
            entry.remaining -= 1
        self._advance()

    def _advance(self) -> None:
        if not self.home.discipline.through_behind_ack and self.entries:
            self.ledger.published_through = self.entries[-1].offset + 1
        while self.entries and self.entries[0].remaining == 0:
            entry = self.entries.popleft()
            if self.home.discipline.through_behind_ack:
                self.ledger.published_through = entry.offset + 1
            if entry.raw is not None:
                self.home.commit(entry.raw)

    def drain(self) -> None:
        """Decide nothing more."""
        if self.phase == "live":
            self.phase = "draining"
        self.first.clear()
        self.inbox.clear()
        self.tick = None
