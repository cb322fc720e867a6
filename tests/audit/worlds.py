"""The journal of a world that tests of the core have played, as the sequencer would have written it."""

from __future__ import annotations

from collections.abc import Iterator

from ops_stream.core.inputs import Gap, Takeover, Tick
from ops_stream.core.journal import record as rec
from ops_stream.core.journal.ledger import Ledger, Prepared
from ops_stream.core.state import State
from tests.audit.journals import ENGINE, KEY
from tests.core.world import Entry, World


def records_of(world: World, number: int = 0) -> Iterator[rec.Record]:
    """Give the records of one partition's journal."""
    partition = world.partitions[number]
    ledger = Ledger(State(number, len(world.partitions)), KEY)
    for entry in partition.journal:
        prepared = _prepared(ledger, entry)
        ledger.commit(prepared)
        yield rec.read(prepared.written.value)


def _prepared(ledger: Ledger, entry: Entry) -> Prepared:
    input_, now, digest = entry.input, entry.now, entry.rules.digest
    if isinstance(input_, Tick):
        return ledger.prepare_tick(entry.decision, now, ENGINE, digest, input_)
    if isinstance(input_, Takeover):
        return ledger.prepare_takeover(input_, entry.decision, now, digest)
    if isinstance(input_, Gap):
        return ledger.prepare_gap(input_, entry.decision, now, ENGINE, digest)
    assert entry.raw is not None
    return ledger.prepare_input(entry.raw, entry.decision, now, ENGINE, digest)
