"""Rows about workflows: where each stands, and of each step where it stands, what it is and what it brought.

The keys are `workflow/T|ID`, and for the steps `step/T|ID|N`, `stepbody/T|ID|N` and `stepoutput/T|ID|N`, N from 1.
What changes often is small: the body of a step is written once, and its output once.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from ops_stream.core.rows_base import NOTHING, Row

StepState = Literal[
    "waiting", "ready", "backing_off", "running", "escalated", "queued", "completed", "failed", "cancelled"
]
"""Its dependencies are not done; it waits for an agent; it waits before it is tried again; its ask is open in one of
three ways; it is over."""
PENDING: Final = frozenset(("ready", "backing_off"))
OPEN: Final = frozenset(("running", "escalated", "queued"))


class Trouble(msgspec.Struct, frozen=True, omit_defaults=True):
    """Something that a workflow fails by."""

    code: str
    text: str
    step: str = ""


class WorkflowRow(Row, frozen=True):
    """One workflow, from its acceptance until it is forgotten."""

    until: int
    """When time acts on it; 0 while only reports do."""
    digest: str
    objective: str
    accepted_at: int
    size: int
    """Its steps."""
    left: int
    """Those of them that have not ended."""
    open: int = 0
    """Those of them that have an open ask."""
    idle_since: int = 0
    """Since when none has."""
    state: Literal["accepted", "running", "completed", "failed", "cancelled"] = "accepted"
    stopping: Literal["", "failed", "cancelled"] = ""
    """How it will end: no step of it begins any more."""
    cursor: int = 0
    """The last step that stopping it has looked at."""
    troubles: tuple[Trouble, ...] = ()
    cost: int = 0
    """What its asks have cost, with what may have been spent, in micro-dollars."""
    held: int = 0
    """What is set aside for its open steps."""
    kept: int = 0
    """How many bytes of outputs it has kept, in all."""
    budget: int | None = None
    deadline: str = ""
    due: int = 0
    """The deadline in milliseconds, 0 for none."""
    wake: int = 0
    """When the first of its steps has waited long enough to be tried again; 0 where none waits so."""
    order: int = 0
    """The offset at which it was handed in."""
    encoding: str = "json"
    traceparent: str = ""
    told: int = 0
    """How many times it was told where it stands."""
    owed: bool = False
    """Whether it is still to be told: the record that was to say it had no room for it."""
    ended_at: int = 0
    status: msgspec.Raw = NOTHING
    """Once it is over, the WorkflowStatus that says how."""


class StepRow(Row, frozen=True):
    """Where one step stands."""

    step: str
    type: str
    path: int
    """How long it and the longest chain of steps behind it take together, in milliseconds."""
    state: StepState = "waiting"
    named: str = ""
    """The one agent that may have it; empty for any."""
    missing: int = 0
    """Steps before it that are not done."""
    since: int = 0
    """When it became ready."""
    needed: int = 0
    """Steps behind it that still need its output."""
    attempts: int = 0
    agent: str = ""
    """Who has it, or had it last."""
    request: str = ""
    """Its latest ask."""
    tried: tuple[str, ...] = ()
    """Agents that have failed on it."""
    hold: int = 0
    """What is set aside for it while its ask is open."""
    cost: int = 0
    clipped: bool = False
    """Whether its output was not kept whole."""
    reason: str = ""
    """Why it has failed, or was tried again."""
    until: int = 0
    """Until when it waits before it is tried again."""
    model: str = ""
    """The model that it is tried with, where that is not its own."""
    prefer: str = ""
    """Who is to try it again, if free."""
    unsure: bool = False
    """Whether nobody knows if it was done: a person is asked before it is tried again."""
    put_off: int = 0
    """How often it was denied for the time being."""


class StepBody(Row, frozen=True):
    """What a step is, as it was handed in, and between which others it stands."""

    body: msgspec.Raw
    needs: tuple[int, ...] = ()
    feeds: tuple[int, ...] = ()


class StepOutput(Row, frozen=True):
    """What a step brought, kept while a later one needs it."""

    text: str


class WaitingFacts(msgspec.Struct, frozen=True, gc=False):
    """What the index needs of a step."""

    type: str
    path: int
    state: StepState = "waiting"
    named: str = ""
    since: int = 0


class HeadFacts(msgspec.Struct, frozen=True, gc=False):
    """What the index needs of a workflow."""

    until: int
    ended_at: int = 0


def workflow_key(tenant: str, workflow_id: str) -> str:
    """Give the key of a workflow's row."""
    return f"workflow/{tenant}|{workflow_id}"


def step_key(workflow: str, number: int) -> str:
    """Give the key of a step's row by the key of its workflow's."""
    return f"step/{workflow[9:]}|{number}"


def body_key(workflow: str, number: int) -> str:
    """Give the key of the row with a step's body."""
    return f"stepbody/{workflow[9:]}|{number}"


def output_key(workflow: str, number: int) -> str:
    """Give the key of the row with a step's output."""
    return f"stepoutput/{workflow[9:]}|{number}"


def names_of(workflow: str) -> tuple[str, str]:
    """Give the tenant and the id in the key of a workflow's row."""
    tenant, _, workflow_id = workflow[9:].partition("|")
    return tenant, workflow_id


def place_in(tenant: str, step: str) -> tuple[str, int, int]:
    """Give the key of the workflow whose step an ask is, the step's number, and when that workflow was accepted."""
    name, number, accepted = step.rsplit("|", 2)
    return workflow_key(tenant, name), int(number), int(accepted)
