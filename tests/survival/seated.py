"""A supervisor with a live partition over a given state, and no bus behind it: nothing is ever sent."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from ops_stream.contract.settings import Settings
from ops_stream.core.journal.chain import JournalKey
from ops_stream.core.journal.ledger import Ledger
from ops_stream.core.state import State
from ops_stream.streams.around import Phase
from ops_stream.streams.lane import Lane
from ops_stream.streams.metrics import Metrics
from ops_stream.streams.owned import Limits, Owned
from ops_stream.streams.publisher import Publisher
from ops_stream.streams.recovery import Owner
from ops_stream.streams.rulebook import Rulebook
from ops_stream.streams.sequencer import Sequencer
from ops_stream.streams.supervisor import Supervisor
from ops_stream.streams.topics_in import ALL

KEY = JournalKey(b"k" * 32)


def _nothing(*_: Any) -> None: ...


def seated(state: State, book: Rulebook, metrics: Metrics) -> tuple[Supervisor, Sequencer]:
    """Give both; every part is the real one, but for the producer that is not there."""
    owner = SimpleNamespace(rulebook=book, refresh_rules=None, key=KEY, producer=None, signing_key=None)
    supervisor = Supervisor(Settings(), cast(Owner, owner), 6, metrics, Limits(), frozenset())
    producer: Any = None

    def journal(delivered: Any) -> Lane[Any]:
        return Lane(producer, "ops.journal", state.partition, delivered, _nothing)

    sequencer = Sequencer(
        Ledger(state, KEY),
        journal=journal,
        publisher=Publisher(producer, state.partition, lambda topic: f"ops.{topic}", KEY, _nothing),
        rulebook=book,
        engine="test",
        flow=cast(Any, SimpleNamespace(pause=_nothing, resume=_nothing, seek=_nothing, probe=_nothing)),
        observer=metrics,
        die=_nothing,
        halted=_nothing,
        clock=supervisor.clock.observe,
        counted=_nothing,
        starts=dict.fromkeys(ALL, 0),
    )
    supervisor.generation = 1
    supervisor.owned[state.partition] = Owned(state.partition, Phase.LIVE, sequencer=sequencer)
    metrics.watch(lambda: supervisor, "test")
    return supervisor, sequencer
