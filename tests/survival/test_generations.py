"""What a worker knows of a partition survives rebalances that follow close on each other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from faust.types import TP

from ops_stream.contract.settings import Settings
from ops_stream.core.journal.chain import JournalKey
from ops_stream.streams import supervisor as module
from ops_stream.streams.around import Phase
from ops_stream.streams.exits import Refusal
from ops_stream.streams.faust_app import OpsConsumer
from ops_stream.streams.metrics import Metrics
from ops_stream.streams.owned import Limits
from ops_stream.streams.recovery import Owner
from ops_stream.streams.rulebook import Rulebook
from ops_stream.streams.sequencer import Sequencer
from ops_stream.streams.supervisor import Supervisor

CONSUMER = cast(OpsConsumer, SimpleNamespace(leave_out_snapshots=lambda _generation: None))
PARTITION = frozenset((0,))


class _Draining:
    """A sequencer of a generation before, with an append under way."""

    def __init__(self) -> None:
        self.ledger = object()
        self.phase = Phase.DRAINING
        self.idle = False
        self.closed = False

    def drain(self) -> None:
        """Decide nothing more."""

    def oldest_age_s(self, _now: float) -> float:
        """How long the append has been under way."""
        return 0.1

    def close(self) -> None:
        """Send nothing more."""
        self.closed = True


class _Recovery:
    """Notes what it was started from, and gives it back."""

    started: list[Any]

    def __init__(self, *_: Any) -> None:
        pass

    async def run(self, known: Any) -> Any:
        """Take the partition over."""
        self.started.append(known)
        return SimpleNamespace(ledger=known)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What recoveries were started from."""
    found: list[Any] = []
    monkeypatch.setattr(_Recovery, "started", found, raising=False)
    monkeypatch.setattr(module, "Recovery", _Recovery)
    return found


async def _supervisor(monkeypatch: pytest.MonkeyPatch) -> Supervisor:
    owner = SimpleNamespace(
        rulebook=Rulebook(), refresh_rules=None, key=JournalKey(b"k" * 32), producer=None, signing_key=None
    )
    supervisor = Supervisor(Settings(), cast(Owner, owner), 6, Metrics(), Limits(), frozenset())

    async def never_live(*_: Any) -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr(supervisor, "_go_live", never_live)
    return supervisor


async def _generation(supervisor: Supervisor, number: int) -> None:
    supervisor.on_restored(number)
    supervisor.on_seek(CONSUMER, number, PARTITION)
    await asyncio.sleep(0.05)


async def test_what_is_in_flight_is_awaited_also_by_the_generation_after_the_next(
    monkeypatch: pytest.MonkeyPatch, started: list[Any]
) -> None:
    """A second rebalance while appends of the first are under way: the worker must not fence itself with them."""
    supervisor, old = await _supervisor(monkeypatch), _Draining()
    await _generation(supervisor, 1)
    supervisor.owned[0].sequencer = cast(Sequencer, old)
    started.clear()
    for number in (2, 3):
        await _generation(supervisor, number)
        assert started == []
    old.idle = True
    await asyncio.sleep(0.05)
    assert started == [old.ledger]
    assert old.closed
    await supervisor.stop()


async def test_what_was_recovered_is_kept_until_it_is_live(
    monkeypatch: pytest.MonkeyPatch, started: list[Any]
) -> None:
    """A rebalance between recovery and going live folds nothing again: the journal may no longer begin at its start."""
    supervisor, old = await _supervisor(monkeypatch), _Draining()
    await _generation(supervisor, 1)
    supervisor.owned[0].sequencer, old.idle = cast(Sequencer, old), True
    started.clear()
    for number in (2, 3, 4):
        await _generation(supervisor, number)
    assert started == [old.ledger] * 3
    await supervisor.stop()


async def test_what_is_taken_away_is_closed_also_two_generations_on(
    monkeypatch: pytest.MonkeyPatch, started: list[Any]
) -> None:
    """A partition that goes to another worker is written to no more, whichever generation still held it."""
    supervisor, old = await _supervisor(monkeypatch), _Draining()
    await _generation(supervisor, 1)
    supervisor.owned[0].sequencer = cast(Sequencer, old)
    await _generation(supervisor, 2)
    supervisor.on_restored(3)
    supervisor.on_seek(CONSUMER, 3, frozenset())
    assert old.closed
    await supervisor.stop()


class _Assigned:
    """A consumer whose assignment comes and goes."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def tps_of(self, partition: int) -> set[TP]:
        """What is assigned now."""
        return {TP(name, partition) for name in self.names}

    async def must_have(self, names: list[str], within_s: float, holds: Callable[[], bool]) -> None:
        """As the worker asks for it."""
        await OpsConsumer.must_have(cast(OpsConsumer, self), 0, names, within_s, holds)


async def test_a_rebalance_is_not_taken_for_a_deleted_topic() -> None:
    """Nothing is assigned while the group rebalances: the next generation, or the same inputs again, are waited for."""
    consumer = _Assigned()
    waiting = asyncio.ensure_future(consumer.must_have(["a", "b"], 60, lambda: True))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    consumer.names = ("a", "b")
    await waiting
    consumer.names = ()
    begun = [True]
    waiting = asyncio.ensure_future(consumer.must_have(["a", "b"], 60, lambda: begun[0]))
    await asyncio.sleep(0.05)
    begun[0] = False
    await waiting


@pytest.mark.parametrize(("names", "gone"), [(("a",), "b"), ((), "a, b")])
async def test_an_input_that_went_away_is_named(names: tuple[str, ...], gone: str) -> None:
    """One of them alone at once; all of them once they have not come back in time."""
    with pytest.raises(Refusal, match=f"The input {gone} went away"):
        await _Assigned(*names).must_have(["a", "b"], 0.02, lambda: True)
