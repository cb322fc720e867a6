"""What the journal tells of workflows over time: since when a step waits, how long it ran, what it depended on.

The rows of steps go when their workflow ends, and none of them says when it changed; the records that changed them do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from ops_stream.core.journal import record as rec
from ops_stream.core.rows import STEP_BODIES, STEPS, WORKFLOWS
from ops_stream.core.rows_workflows import workflow_key

WAITING: Final = frozenset(("ready", "backing_off", "escalated", "queued"))
"""What waits for an agent, its next attempt, a person or its turn; a step that is `waiting` has others before it."""
ENDED: Final = frozenset(("completed", "failed", "cancelled"))


@dataclass(slots=True)
class StepStory:
    """One step: how it stands, and how long it has waited and run, all its attempts together."""

    name: str = ""
    needs: tuple[int, ...] = ()
    state: str = "waiting"
    since_ms: int = 0
    """When that became so."""
    ready_ms: int = 0
    started_ms: int = 0
    ended_ms: int = 0
    """When it was first ready, when it first ran, and when it ended; 0 where it has not."""
    _waited_ms: int = 0
    _ran_ms: int = 0

    def turn(self, state: str, at_ms: int) -> None:
        """Take in how it stands from now on."""
        if state == self.state:
            return
        self._waited_ms, self._ran_ms = self.waited_ms(at_ms), self.ran_ms(at_ms)
        self.state, self.since_ms = state, at_ms
        if state != "waiting" and state not in ENDED:
            self.ready_ms = self.ready_ms or at_ms
        if state == "running":
            self.started_ms = self.started_ms or at_ms
        self.ended_ms = at_ms if state in ENDED else 0

    def waited_ms(self, now_ms: int) -> int:
        """Give how long it has waited until now although all that it needs was there."""
        return self._waited_ms + (max(0, now_ms - self.since_ms) if self.state in WAITING else 0)

    def ran_ms(self, now_ms: int) -> int:
        """Give how long it has run until now."""
        return self._ran_ms + (max(0, now_ms - self.since_ms) if self.state == "running" else 0)


@dataclass(slots=True)
class Story:
    """One workflow, by its steps' numbers."""

    accepted_ms: int = 0
    steps: dict[int, StepStory] = field(default_factory=dict)

    def needs_of(self, number: int) -> list[str]:
        """Give the names of the steps that a step depends on."""
        step = self.steps.get(number)
        return [] if step is None else [self.steps[other].name for other in step.needs if other in self.steps]


class Stories:
    """The workflows of one id, which several tenants may have, as the journal's records come."""

    def __init__(self, workflow_id: str) -> None:
        self._mark: Final = f"|{workflow_id}".encode()
        self._id: Final = workflow_id
        self._by_key: dict[str, Story] = {}

    def of(self, tenant: str) -> Story:
        """Give the story of a tenant's workflow; an empty one where none is known."""
        return self._by_key.get(workflow_key(tenant, self._id), Story())

    def take(self, record: rec.Record) -> bool:
        """Take in a record that counts; says whether it tells anything of such a workflow."""
        if self._mark not in record.changes:
            return False
        return self.note(rec.decode_changes(record.changes), record.header.at_ms)

    def note(self, changes: Mapping[str, bytes | None], at_ms: int) -> bool:
        """Take in what a record changes; says whether that is anything of such a workflow."""
        kinds: dict[str, list[tuple[str, bytes | None]]] = {}
        for key, value in changes.items():
            kinds.setdefault(key.partition("/")[0], []).append((key, value))
        # A record may hold all of a workflow: what it is, and of its steps first how they hang together.
        told = [self._head(key, value) for key, value in kinds.get("workflow", ())]
        told += [self._body(key, value) for key, value in kinds.get("stepbody", ())]
        told += [self._step(key, value, at_ms) for key, value in kinds.get("step", ())]
        return any(told)

    def _head(self, key: str, value: bytes | None) -> bool:
        if key.rpartition("|")[2] != self._id:
            return False
        if value is None:
            self._by_key.pop(key, None)
            return True
        accepted = WORKFLOWS.decode(value).accepted_at
        if self._by_key.setdefault(key, Story(accepted)).accepted_ms != accepted:
            self._by_key[key] = Story(accepted)  # forgotten, and handed in again
        return True

    def _body(self, key: str, value: bytes | None) -> bool:
        step = self._at(key)
        if step is not None and value is not None:
            step.needs = STEP_BODIES.decode(value).needs
        return step is not None

    def _step(self, key: str, value: bytes | None, at_ms: int) -> bool:
        step = self._at(key)
        if step is None:
            return False
        if value is not None:
            row = STEPS.decode(value)
            step.name = row.step
            step.turn(row.state, at_ms)
        elif step.state not in ENDED:
            step.turn("cancelled", at_ms)  # its workflow has ended, whose status says how the step did
        return True

    def _at(self, key: str) -> StepStory | None:
        name, _, number = key.partition("/")[2].rpartition("|")
        story = self._by_key.get(f"workflow/{name}")
        return None if story is None else story.steps.setdefault(int(number), StepStory())
