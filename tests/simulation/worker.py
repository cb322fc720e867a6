"""A worker process: its seats, what it knows from the generation before, and the snapshots that it writes."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Final

from ops_stream.core.journal.chain import JournalKey
from ops_stream.core.journal.ledger import Ledger, Prepared
from ops_stream.core.journal.record import RawInput
from ops_stream.core.journal.watermark import open_watermark, seal_watermark, watermark_of
from tests.simulation.broker import Broker, Wire
from tests.simulation.discipline import Discipline
from tests.simulation.seat import Seat

SNAPSHOTS: Final = "snapshots"
WATERMARK: Final = "watermark"
OFFSET_BYTES: Final = 8


@dataclass(slots=True)
class Pending:
    """What of one partition is journaled and not yet in the snapshot."""

    rows: dict[str, bytes | None] = field(default_factory=dict)
    offsets: dict[str, int] = field(default_factory=dict)
    last: Prepared | None = None


class Worker:
    """One process, from its start to its end."""

    def __init__(
        self,
        broker: Broker,
        key: JournalKey,
        partitions: int,
        discipline: Discipline,
        number: int,
        committed: dict[tuple[str, int], int],
    ) -> None:
        self.broker = broker
        self.key = key
        self.partitions = partitions
        self.discipline = discipline
        self.boot_id = f"boot-{number}"
        self.wire = Wire(broker)
        self.seats: dict[int, Seat] = {}
        self.paused = False
        self.told = 0
        """The generation of the group that this worker has heard of."""
        self.thrown_away = 0
        self._committed = committed
        self._pending: dict[int, Pending] = {}
        self._names = count()

    # -- what seats need

    def counted(self, prepared: Prepared) -> None:
        """A record counts: its rows may go to the snapshot."""
        pending = self._pending.get(prepared.header.partition)
        if pending is not None:
            pending.rows.update(prepared.changes)
            pending.offsets.update(dict.fromkeys(prepared.changes, prepared.written.offset))
            pending.last = prepared

    def went_live(self, seat: Seat, takeover: Prepared) -> None:
        """A partition was taken over: what was folded is still to be written."""
        ledger = seat.ledger
        rows = ledger.state.rows
        self._pending[seat.partition] = Pending(
            {row: rows.get(row) for row in ledger.touched}, ledger.touched
        )
        ledger.touched = {}
        self.counted(takeover)

    def committed(self, topic: str, partition: int) -> int:
        """The offset that the consumer group has committed."""
        return self._committed.get((topic, partition), 0)

    def commit(self, raw: RawInput) -> None:
        """An input is done with."""
        self._committed[raw.topic, raw.partition] = raw.offset + 1

    # -- generations

    def assign(self, generation: int, partitions: frozenset[int], rng: Random) -> None:
        """Hear of a new generation: keep what was and is ours, let the rest go."""
        self.told = generation
        known = {p: self._let_go(seat, rng) for p, seat in list(self.seats.items())}
        for partition in sorted(partitions):
            ledger = known.get(partition) or self.load(partition)
            name = f"{partition}/{next(self._names)}"
            seat = Seat(self, partition, name, ledger)
            self.seats[partition] = seat
            self.thrown_away += seat.thrown_away

    def _let_go(self, seat: Seat, rng: Random) -> Ledger | None:
        """End a seat. Its ledger is kept where nothing of it is in flight, or where it was only recovering."""
        recovering = seat.phase == "recovering"
        seat.drain()
        del self.seats[seat.partition]
        pending = self._pending.pop(seat.partition, None)
        if pending is not None:
            seat.ledger.touched.update(pending.offsets)
        self.wire.cut(lambda most: rng.randint(0, most), (seat.name,))
        return seat.ledger if recovering or seat.idle else None

    # -- snapshots

    def flush(self, partition: int) -> None:
        """Write what is pending, then the watermark."""
        pending = self._pending.get(partition)
        if pending is None or pending.last is None:
            return
        last = pending.last
        self._pending[partition] = Pending()
        for row, value in pending.rows.items():
            self._write(partition, row, pending.offsets[row], value or b"")
        sealed = seal_watermark(watermark_of(last.header, last.hash), self.key)
        self._write(partition, WATERMARK, last.written.offset, sealed)

    def _write(self, partition: int, row: str, offset: int, value: bytes) -> None:
        stamped = offset.to_bytes(OFFSET_BYTES, "big") + value
        self.wire.put((SNAPSHOTS, partition), row, stamped, (), None, _written, "snapshots")

    def load(self, partition: int) -> Ledger | None:
        """What the snapshot holds: of each row the value with the highest offset."""
        restored: dict[str, bytes] = {}
        for stored in self.broker.log(SNAPSHOTS, partition):
            if stored is None or not stored.value:
                continue
            known = restored.get(stored.key)
            if known is None or known[:OFFSET_BYTES] <= stored.value[:OFFSET_BYTES]:
                restored[stored.key] = stored.value
        sealed = restored.pop(WATERMARK, None)
        watermark = None if sealed is None else open_watermark(sealed[OFFSET_BYTES:], self.key)
        if watermark is None or watermark.partition != partition:
            return None
        rows = {row: value[OFFSET_BYTES:] for row, value in restored.items() if len(value) > OFFSET_BYTES}
        return Ledger.from_watermark(rows, self.partitions, self.key, watermark)


def _written(_offset: int, _tokens: list[object]) -> None:
    """Nobody waits for a snapshot."""
