"""What befalls a history. Each history suffers only some kinds of fault, so that each kind also strikes alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from ops_stream.streams.topics_in import ALL
from tests.simulation.seat import JOURNAL, Seat
from tests.simulation.worker import OFFSET_BYTES, SNAPSHOTS, WATERMARK, Worker

if TYPE_CHECKING:
    from tests.simulation.history import History

WORKERS_MAX: Final = 3


class Faults:
    """Strikes a history with the kinds of fault that its seed allows."""

    def __init__(self, history: History, enabled: Sequence[str]) -> None:
        self.counts: Counter[str] = Counter()
        self.say: Callable[[str], None] = lambda _name: None
        self._history = history
        self._rng = history.rng
        self._enabled = enabled

    def strike(self) -> None:
        """Something happens."""
        history = self._history
        if len(history.workers) < 2 and self._rng.random() < 0.3:
            history.start_worker()
        if self._enabled:
            name = self._rng.choice(self._enabled)
            if FAULTS[name](self):
                self.counts[name] += 1
                self.say(name)

    def _worker(self) -> Worker:
        return self._rng.choice(self._history.workers)

    def _seat(self) -> Seat | None:
        seats = [
            seat
            for worker in self._history.workers
            if not worker.paused
            for seat in worker.seats.values()
            if seat.phase == "live"
        ]
        return self._rng.choice(seats) if seats else None

    # -- workers

    def crash(self) -> bool:
        """A worker is killed."""
        self._history.crash(self._worker())
        return True

    def pause(self) -> bool:
        """A worker stands still past its session: the others get its partitions, and it knows nothing of it."""
        worker = self._worker()
        worker.paused = not worker.paused
        if worker.paused and not [one for one in self._history.workers if not one.paused]:
            self._history.start_worker()
        elif worker.paused:
            self._history.rebalance()
        return True

    def rebalance(self) -> bool:
        """The group gives its partitions out anew."""
        if self._rng.random() < 0.3 and len(self._history.workers) < WORKERS_MAX:
            self._history.start_worker()
        else:
            self._history.rebalance()
        return True

    # -- the bus

    def stuck_leader(self) -> bool:
        """A partition of the journal takes nothing for a while."""
        closed = self._history.broker.closed
        place = (JOURNAL, self._rng.randrange(self._history.partitions))
        if place in closed:
            closed.remove(place)
            return False
        closed.add(place)
        return True

    def duplicate(self) -> bool:
        """The bus delivers some records again."""
        seat = self._seat()
        if seat is None:
            return False
        topic = self._rng.choice(ALL)
        seat.read[topic] = max(0, min(seat.read[topic], seat.cursors.next[topic]) - self._rng.randint(0, 3))
        return True

    def skip(self) -> bool:
        """The bus passes a record over, though not where it was asked to read it again."""
        seat = self._seat()
        ready = [] if seat is None else [topic for topic in ALL if seat.unread(topic)]
        topic = self._rng.choice(ready) if ready else ""
        if seat is None or not topic or (topic, seat.read[topic]) in seat.passed:
            return False
        seat.passed[topic, seat.read[topic]] = None
        seat.read[topic] += 1
        return True

    def slow_topic(self) -> bool:
        """One topic lags behind the others."""
        seat, moment = self._seat(), self._history.broker.moment
        if seat is None or moment < seat.slow_until:
            return False
        seat.slow = self._rng.choice(("task-requests", "telemetry", "telemetry", "agents"))
        seat.slow_until = moment + self._rng.randint(10, 50)
        return True

    def hole(self) -> bool:
        """An offset of an input holds nothing."""
        partition = self._rng.randrange(self._history.partitions)
        self._history.broker.leave_hole(self._rng.choice(ALL), partition)
        return True

    # -- the journal

    def stranger(self) -> bool:
        """Somebody else writes to the journal."""
        broker = self._history.broker
        partition = self._rng.randrange(self._history.partitions)
        log = broker.log(JOURNAL, self._rng.randrange(self._history.partitions))
        kind = self._rng.randrange(4)
        value: bytes | None = b"hello"
        old = self._rng.choice(log) if log else None
        if old is not None and old.value is not None and old.offset != broker.end(JOURNAL, partition):
            if kind == 1:
                value = old.value
            elif kind == 2:
                value = old.value[:-20]
            elif kind == 3 and old.value.startswith(b"{"):
                value = old.value.replace(old.value[-90:-70], b"0" * 20)
        broker.append(JOURNAL, partition, "0", value)
        return True

    # -- snapshots

    def lost_snapshot(self) -> bool:
        """The snapshots of a partition are gone."""
        self._history.broker.log(SNAPSHOTS, self._rng.randrange(self._history.partitions)).clear()
        return True

    def forged_snapshot(self) -> bool:
        """Somebody else writes to the snapshots."""
        broker, rng = self._history.broker, self._rng
        partition = rng.randrange(self._history.partitions)
        log = broker.log(SNAPSHOTS, partition)
        old = rng.choice(log) if log else None
        if old is None or old.value is None:
            return False
        body = old.value[OFFSET_BYTES:]
        late = (int.from_bytes(old.value[:OFFSET_BYTES], "big") + rng.choice((0, 3, 1_000))).to_bytes(
            8, "big"
        )
        forged = rng.choice((b"garbage", body[:-1], body.replace(b"alpha", b"bravo"), b"", body))
        broker.append(SNAPSHOTS, partition, old.key, late + forged)
        return True

    def old_watermark(self) -> bool:
        """An old watermark, rightly sealed, takes a newer one's place."""
        broker = self._history.broker
        partition = self._rng.randrange(self._history.partitions)
        log = broker.log(SNAPSHOTS, partition)
        marks = [stored.value for stored in log if stored is not None and stored.key == WATERMARK]
        if not marks:
            return False
        value = marks[0] or b""
        broker.append(
            SNAPSHOTS, partition, WATERMARK, b"\x00\x00\x00\x00\x7f\xff\xff\xff" + value[OFFSET_BYTES:]
        )
        return True

    def compaction(self) -> bool:
        """The broker keeps of each key of a snapshot only what was written last."""
        log = self._history.broker.log(SNAPSHOTS, self._rng.randrange(self._history.partitions))
        last = {stored.key: stored.offset for stored in log if stored is not None}
        for offset, stored in enumerate(log):
            if stored is not None and last[stored.key] != offset:
                log[offset] = None
        return True


FAULTS: Final[dict[str, Callable[[Faults], bool]]] = {
    "crash": Faults.crash,
    "pause": Faults.pause,
    "rebalance": Faults.rebalance,
    "stuck leader": Faults.stuck_leader,
    "duplicate": Faults.duplicate,
    "skip": Faults.skip,
    "slow topic": Faults.slow_topic,
    "hole": Faults.hole,
    "stranger": Faults.stranger,
    "lost snapshot": Faults.lost_snapshot,
    "forged snapshot": Faults.forged_snapshot,
    "old watermark": Faults.old_watermark,
    "compaction": Faults.compaction,
}
