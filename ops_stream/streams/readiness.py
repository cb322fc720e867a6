"""Whether a worker does what it is there for, and if not, what stands in the way: the truth, not the hope.

Each fault is looked for where it shows: in what was sent and is not acknowledged, in what came and is not decided, in
what the broker holds and nobody has taken, in what was due and has not happened, in tasks that no longer turn.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from ops_stream.streams.around import Phase

if TYPE_CHECKING:
    from ops_stream.streams.owned import Owned
    from ops_stream.streams.sequencer import Sequencer
    from ops_stream.streams.supervisor import Supervisor

BROKER_SILENT_S: Final = 10.0
"""After this long without an answer of the broker the worker is not ready."""


@dataclass(slots=True)
class Health:
    """What was found."""

    ready: bool = True
    reasons: list[str] = field(default_factory=list)
    """Why it is not ready, a sentence each."""
    partitions: dict[str, dict[str, Any]] = field(default_factory=dict)
    broker_silent_s: float = 0.0

    def object(self, why: str) -> None:
        """It is not ready, for this reason."""
        self.ready = False
        self.reasons.append(why)


def examine(supervisor: Supervisor) -> Health:
    """Look at everything. Takes no longer for a large state than for a small one."""
    now = monotonic()
    health = Health(broker_silent_s=now - supervisor.clock.heard_at)
    if supervisor.stopping:
        health.object("it is being stopped")
    if supervisor.generation < 0:
        health.object("it was given no place in the group of workers yet")
    # Every half second something is asked of the broker: where it says nothing, nothing can be decided either.
    if health.broker_silent_s > BROKER_SILENT_S:
        health.object(f"the broker has not answered for {health.broker_silent_s:.0f} s")
    for name, still_s in _still_tasks(supervisor, now, supervisor.limits.still_s).items():
        health.object(f"{name} has stood still for {still_s:.0f} s")
    for number, owned in sorted(supervisor.owned.items()):
        state = _look_at(supervisor, owned, now)
        health.partitions[str(number)] = state
        if state["phase"] != Phase.LIVE:
            why = state.get("why", "")
            health.object(f"partition {number} is {state['phase']}" + (f": {why}" if why else ""))
    return health


def lost_tasks(supervisor: Supervisor) -> dict[str, float]:
    """Tasks that stand still although the broker answers: only a new process helps."""
    now = monotonic()
    if now - supervisor.clock.heard_at > BROKER_SILENT_S:
        return {}
    return _still_tasks(supervisor, now, supervisor.limits.lost_s)


def _still_tasks(supervisor: Supervisor, now: float, longer_than_s: float) -> dict[str, float]:
    ages = {name: now - turned_at for name, turned_at in supervisor.tasks()}
    return {name: age for name, age in ages.items() if age > longer_than_s}


def _look_at(supervisor: Supervisor, owned: Owned, now: float) -> dict[str, Any]:
    state: dict[str, Any] = {"phase": owned.phase.value}
    sequencer = owned.sequencer
    if sequencer is None:
        state["recovering_s"] = round(now - owned.since, 1)
        if owned.task is not None and owned.task.done():
            state["why"] = "its recovery has ended and led to nothing"
    else:
        state |= {"waiting": sequencer.waiting, "oldest_append_s": round(sequencer.oldest_age_s(now), 3)}
        if sequencer.phase is not Phase.LIVE:
            # Being taken away, and not yet given again: it decides nothing, however long that lasts.
            state["phase"] = sequencer.phase.value
        why = _stall(supervisor, sequencer, now)
        if why and state["phase"] != Phase.HALTED:
            state |= {"phase": "stalled", "why": why}
    if owned.partition in supervisor.halted:
        state["why"] = supervisor.halted[owned.partition]
    return state


def _stall(supervisor: Supervisor, sequencer: Sequencer, now: float) -> str:
    """What keeps a partition that has recovered from going on, or nothing."""
    longest = supervisor.limits.stalled_s
    age = sequencer.append_age_s(now)
    if age > longest:
        return f"the journal has not acknowledged a record for {age:.1f} s"
    age, topic = sequencer.publisher.oldest(now)
    if age > longest:
        return f"{topic} has not acknowledged an output for {age:.1f} s"
    if sequencer.phase is not Phase.LIVE:
        return ""
    idle_s = now - sequencer.progressed_at
    if sequencer.waiting and idle_s > longest:
        return f"{sequencer.waiting} inputs wait, and none was decided for {idle_s:.1f} s"
    untaken = supervisor.sampler.untaken(sequencer)
    if untaken is not None:
        topic, since = untaken
        return f"the broker holds records of {topic}, and none was taken for {now - since:.1f} s"
    return _overdue(supervisor, sequencer, now)


def _overdue(supervisor: Supervisor, sequencer: Sequencer, now: float) -> str:
    """Whether time stands still. Reports that wait to be read come before it: that is no fault."""
    due_ms, now_ms = sequencer.ledger.state.next_due_ms(), supervisor.clock.now_ms()
    if due_ms is None or now_ms is None or sequencer.tick_waits_for:
        return ""
    late_s = (now_ms - due_ms) / 1000
    # What is due at once has been so for as long as nothing has moved.
    quiet_s = now - (
        max(sequencer.ticked_at, sequencer.progressed_at) if due_ms == 0 else sequencer.ticked_at
    )
    if min(late_s, quiet_s) <= supervisor.limits.overdue_s:
        return ""
    return f"what is due has not happened for {min(late_s, quiet_s):.0f} s"
