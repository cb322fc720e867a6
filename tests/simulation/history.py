"""One history: a crowd, a few workers and whatever befalls them, all chosen by one seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from random import Random
from typing import Final

from ops_stream.core.journal.chain import JournalKey
from ops_stream.core.state import State
from ops_stream.streams.topics_in import ALL
from tests.simulation.audit import audit
from tests.simulation.broker import Broker, Wire
from tests.simulation.crowd import HOSTILE_IDS, Crowd
from tests.simulation.discipline import KEPT, Discipline
from tests.simulation.faults import FAULTS, Faults
from tests.simulation.referee import Objection, Referee
from tests.simulation.seat import Fenced, Seat
from tests.simulation.worker import Worker
from tests.thorough import THOROUGH

KEY: Final = JournalKey(bytes(range(32)))
MOVES_MIN: Final = 20
MOVES_MORE: Final = 36
MOVES_LONG: Final = 300
"""Most histories are short, so that there can be many; some are long enough for what takes time to come about."""
LONG_SHARE: Final = 0.1
AUDITED: Final = 1 if THOROUGH else 10
"""Every seed, in the fast loop every tenth, is audited as `audit verify` does it."""
CALM_ROUNDS: Final = 3
CALM_MS: Final = 4_000
REST_ROUNDS: Final = 40
"""How many times as long it may take until every workflow has ended, once nobody hands in any more."""
STEPS_A_ROUND: Final = 3
SETTLE_MAX: Final = 20_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a history came to."""

    seed: int
    trace: str
    """A digest of everything that landed on the broker."""
    records: int
    voids: int
    takeovers: int
    faults: dict[str, int]
    reasons: dict[str, int]
    ends: dict[str, int]
    """How workflows ended."""


class History:
    """Runs one seed."""

    def __init__(
        self,
        seed: int,
        discipline: Discipline = KEPT,
        *,
        faults: Sequence[str] | None = None,
        length: int | None = None,
    ) -> None:
        """`faults` and `length` take the place of what the seed would choose."""
        self.seed = seed
        self.rng = rng = Random(seed)
        self.partitions = rng.choice((1, 2, 2, 3))
        self.broker = Broker()
        self.referee = Referee(self.broker, KEY, self.partitions, ALL)
        self.crowd = Crowd(self.broker, self.partitions, rng)
        self.workers: list[Worker] = []
        self.ghosts: list[Wire] = []
        """Ways of workers that are gone: what they had sent may still land."""
        self.generation = 0
        self.started = 0
        self._discipline = discipline
        self._committed: dict[tuple[str, int], int] = {}
        self._assignment: dict[Worker, frozenset[int]] = {}
        chosen = [name for name in FAULTS if rng.random() < 0.5]
        self.faults = Faults(self, chosen if faults is None else faults)
        weights: dict[Callable[[], None], int] = {
            self._write: rng.choice((8, 16)),
            self._work_somewhere: 28,
            self._land: 16,
            self._acknowledge: 16,
            self._pass_time: rng.choice((6, 6, 20)),
            self._propose_tick: 4,
            self._hear: 4,
            self._flush: 4,
            self.faults.strike: 7,
        }
        self._moves = list(weights)
        self._weights = list(accumulate(weights.values()))
        self._brisk = rng.random() < 0.5
        """Whether the way to the broker and back is short, so that a worker keeps up with its inputs."""
        self._haste = rng.choice((1, 2, 4, 4))
        """How many records the bus delivers at a time."""
        usual = MOVES_LONG if rng.random() < LONG_SHARE else MOVES_MIN + int(rng.expovariate(1 / MOVES_MORE))
        self._length = usual if length is None else length

    def run(self) -> Outcome:
        """Run to the end. Raises `Objection` where a promise is broken."""
        for _ in range(self.rng.choice((1, 1, 2))):
            self.start_worker()
        self.turmoil()
        self.calm_down()
        folds = self.referee.folds
        return Outcome(
            self.seed,
            self.referee.trace.hexdigest(),
            sum(fold.counted for fold in folds),
            sum(fold.voids for fold in folds),
            self.started,
            self.faults.counts,
            dict(self.referee.reasons),
            Counter(end for fold in folds for end in fold.flows.ends.values()),
        )

    def turmoil(self) -> None:
        """Let everybody act and everything go wrong that may."""
        for _ in range(self._length):
            self._move()

    def left(self, partition: int) -> list[str]:
        """Topics of a partition with inputs that no record that counts has taken."""
        positions = self.referee.folds[partition].positions
        return [topic for topic in ALL if any(self.broker.log(topic, partition)[positions.get(topic, 0) :])]

    # -- moves

    def _move(self) -> None:
        self.broker.moment += 1
        self.rng.choices(self._moves, cum_weights=self._weights)[0]()

    def _write(self) -> None:
        for _ in range(self.rng.choice((1, 1, 1, 3))):
            self.crowd.act()

    def _pass_time(self) -> None:
        self.broker.now += self.rng.choice((1, 20, 300, 900, 2_500))
        if self.rng.random() < 0.5:
            self._propose_tick()

    def _work_somewhere(self) -> None:
        self._work(self.rng.choice(self.workers))

    def _work(self, worker: Worker) -> None:
        if worker.paused:
            return
        for seat in list(worker.seats.values()):
            if seat.phase != "live":
                continue
            for _ in range(self.rng.randint(0, self._haste)):
                self._deliver(seat)
            while seat.work():
                pass
            seat.look_for_holes()

    def _deliver(self, seat: Seat) -> None:
        slow = seat.slow if self.broker.moment < seat.slow_until else ""
        ready = [topic for topic in ALL if topic != slow and seat.unread(topic)]
        if not ready:
            return
        topic = self.rng.choice(ready)
        if self.rng.random() < 0.7:
            # Mostly in the order in which they were written, but not always: topics are read apart.
            topic = min(ready, key=seat.waiting_since)
        seat.deliver(topic)

    def _land(self) -> None:
        wires = [*self.ghosts, *(worker.wire for worker in self.workers)]
        lanes = [(wire, lane) for wire in wires for lane in wire.sending()]
        self.rng.shuffle(lanes)
        for wire, lane in lanes if self._brisk else lanes[:3]:
            wire.land(lane, 8 if self._brisk else self.rng.randint(1, 4))

    def _acknowledge(self) -> None:
        for worker in list(self.workers):
            lanes = [] if worker.paused else worker.wire.waiting()
            self.rng.shuffle(lanes)
            for lane in lanes if self._brisk else lanes[:3]:
                if lane.landed and not self.acknowledge(worker, lane):
                    break

    def acknowledge(self, worker: Worker, lane: object) -> bool:
        """Let a worker hear of what landed; it ends where it has been fenced."""
        try:
            worker.wire.acknowledge(lane)  # type: ignore[arg-type]
        except Fenced:
            self.crash(worker)
            return False
        return True

    def _propose_tick(self) -> None:
        # What a worker takes for the broker's time is never ahead of it.
        lag = self.rng.choice((0, 0, 3, 200))
        for worker in self.workers:
            for seat in () if worker.paused else worker.seats.values():
                if seat.phase == "live":
                    seat.propose_tick(self.broker.now - lag)

    def _hear(self) -> None:
        """A worker hears of the group's generation."""
        late = [worker for worker in self.workers if worker.told < self.generation and not worker.paused]
        if late:
            worker = self.rng.choice(late)
            worker.assign(self.generation, self._assignment.get(worker, frozenset()), self.rng)

    def _flush(self) -> None:
        for worker in self.workers:
            if not worker.paused:
                for partition in list(worker.seats):
                    worker.flush(partition)

    # -- the group

    def start_worker(self) -> None:
        """A worker starts and joins the group."""
        self.started += 1
        worker = Worker(self.broker, KEY, self.partitions, self._discipline, self.started, self._committed)
        self.workers.append(worker)
        self.rebalance()

    def rebalance(self) -> None:
        """The group gives its partitions out anew, to those that it takes to be alive."""
        self.generation += 1
        members = [worker for worker in self.workers if not worker.paused]
        self.rng.shuffle(members)
        shares: dict[Worker, set[int]] = {worker: set() for worker in members}
        for partition in range(self.partitions if members else 0):
            shares[members[partition % len(members)]].add(partition)
        self._assignment = {worker: frozenset(share) for worker, share in shares.items()}

    def crash(self, worker: Worker) -> None:
        """A worker ends in the middle of whatever it does."""
        self.workers.remove(worker)
        worker.wire.cut(lambda most: self.rng.randint(0, most))
        self.ghosts.append(worker.wire)
        if not self.workers or self.rng.random() < 0.5:
            self.start_worker()
        else:
            self.rebalance()

    # -- the end

    def calm_down(self) -> None:
        """Nothing more goes wrong: everything must come to its end, and be as it should."""
        self.broker.closed.clear()
        for worker in self.workers:
            worker.paused = False
        self.rebalance()
        for _ in range(CALM_ROUNDS):
            self.settle()
            self.crowd.act()
            self.crowd.resolve()
            self._wait()
        for _ in range(REST_ROUNDS):
            if not any(fold.flows.unended() or fold.load.waiting() for fold in self.referee.folds):
                break
            self._wait()
        self._check_the_end()
        if self.seed % AUDITED == 0:
            audit(self.broker, KEY, self.partitions, strangers=self.faults.counts["stranger"] > 0)

    def _wait(self) -> None:
        """Let everything happen that can, then let time pass."""
        for _ in range(STEPS_A_ROUND):
            self.settle()
            self.crowd.applications.work_off()
        self.settle()
        self.broker.now += CALM_MS
        self._propose_all()
        self.settle()

    def _propose_all(self) -> None:
        for worker in self.workers:
            for seat in worker.seats.values():
                if seat.phase == "live":
                    seat.propose_tick(self.broker.now)

    def settle(self) -> None:
        """Let everything happen that can, without anything new."""
        for _ in range(SETTLE_MAX):
            self.broker.moment += 1
            if not self._settle_once():
                return
        raise Objection("not so: it comes to rest when nothing more happens")

    def _settle_once(self) -> bool:
        moved = False
        for worker in list(self.workers):
            if worker.told < self.generation:
                worker.assign(self.generation, self._assignment.get(worker, frozenset()), self.rng)
                moved = True
        for wire in [*self.ghosts, *(worker.wire for worker in self.workers)]:
            for lane in wire.sending():
                wire.land(lane, len(lane.sent))
                moved = True
        for worker in list(self.workers):
            for lane in worker.wire.waiting():
                moved = True
                if lane.landed and not self.acknowledge(worker, lane):
                    break
        return self._all(self._run_seat) or moved

    def _all(self, act: Callable[[Seat], bool]) -> bool:
        found = [
            act(seat) for worker in self.workers for seat in worker.seats.values() if seat.phase == "live"
        ]
        return any(found)

    def _run_seat(self, seat: Seat) -> bool:
        moved = False
        while ready := [topic for topic in ALL if seat.unread(topic)]:
            seat.deliver(min(ready, key=seat.waiting_since))
            moved = True
        while seat.work():
            moved = True
        seat.look_for_holes()
        return moved or seat.tick is not None

    def _check_the_end(self) -> None:
        """What must be true when everything has come to rest."""
        for partition, fold in enumerate(self.referee.folds):
            self._demand(not fold.unpublished, f"all outputs went out, not so {list(fold.unpublished)[:5]}")
            left = self.left(partition)
            self._demand(not left, f"every input is taken, not so all of {left}")
            going = fold.flows.unended()
            self._demand(not going, f"every workflow ends once nobody hands in any more, not so {going[:5]}")
            waiting = fold.load.waiting()
            self._demand(not waiting, f"everybody finds room once nobody asks any more, not so {waiting[:5]}")
            owners = [worker.seats[partition] for worker in self.workers if partition in worker.seats]
            self._demand(len(owners) == 1 and owners[0].phase == "live", "every partition has one owner")
            self._compare(owners[0], fold.state)
        answered = {name: None for fold in self.referee.folds for name in fold.answered}
        missing = [ask for ask in self.crowd.asked if ask not in answered]
        self._demand(not missing, f"every ask is answered, not so {missing[:5]}")
        unasked = [ask for ask in answered if ask not in self.crowd.asked and ask[1] not in HOSTILE_IDS]
        handed_in = self.crowd.applications.handed_in
        unasked = [ask for ask in unasked if not (ask[1].startswith("wr_") and ask[0] in handed_in)]
        self._demand(not unasked, f"nobody is answered who has not asked, not so {unasked[:5]}")

    def _compare(self, seat: Seat, folded: State) -> None:
        state = seat.ledger.state
        self._demand(seat.idle, "nothing is left in flight")
        rows = {row: value for row, value in state.rows.items() if not row.startswith("position/")}
        self._demand(rows == folded.rows, "the state is a fold of the journal")
        seat.ledger.prove()
        fresh = State(state.partition, state.partitions)
        fresh.apply(dict(sorted(state.rows.items())))
        for derived in ("unknown", "agents", "counts"):
            self._demand(
                getattr(state, derived) == getattr(fresh, derived), f"{derived} follows from the rows"
            )
        self._demand(state.next_due_ms() == fresh.next_due_ms(), "what is due follows from the rows")
        ours, theirs = (
            {
                name: (index.open, index.queued, index.waiting, index.waiting_bytes)
                for name, index in each.tenants.items()
            }
            for each in (state, fresh)
        )
        self._demand(ours == theirs, "what is open follows from the rows")

    def _demand(self, so: bool, what: str) -> None:
        if not so:
            raise Objection(f"not so at the end: {what}")
