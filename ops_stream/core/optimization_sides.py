"""On which side of each optimization an ask stands: the changed one, or the one where all stays as it is.

The side follows from the name of the task, or of the workflow, so that an ask that is tried again stays on its side.
What is critical is on no side: nothing is tried with it, and it is not compared with what something was tried with.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, NamedTuple

from ops_stream.contract.models import TaskRequest
from ops_stream.core.draft import Draft
from ops_stream.core.effects import Nature
from ops_stream.core.ids import percentile
from ops_stream.core.routing import EXPLORED, LOW_IMPACT
from ops_stream.core.rows_optimization import Amended
from ops_stream.core.rules_effects import IRREVERSIBLE
from ops_stream.core.rules_optimization import Kind

CHANGED: Final = "+"
KEPT: Final = "-"
OF_ASKS: Final[frozenset[Kind]] = frozenset(
    ("cheaper_model", "faster_model", "router", "hold_safety", "retry_plan")
)
"""Kinds that change something about an ask; `agent` changes who is given a step, before there is an ask of it."""
CHOICE: Final = "agents.choice"
NOBODY: Final[frozenset[str]] = frozenset()


class Side(NamedTuple):
    """The side of one optimization."""

    amended: Amended
    changed: bool

    @property
    def arm(self) -> str:
        """Give it as it stands in the row of an ask."""
        return self.amended.optimization_id + (CHANGED if self.changed else KEPT)


class Liked(NamedTuple):
    """Agents that are given steps rather than others, and those that others are preferred to."""

    preferred: Collection[str] = NOBODY
    avoided: Collection[str] = NOBODY


ALIKE: Final = Liked()


def is_changed(one: Amended, unit: str) -> bool:
    """Say whether a task, or a workflow, is on the changed side; with a larger share all that were stay there."""
    return percentile("optimization", one.optimization_id, one.tenant, unit) < one.share


def may_differ(draft: Draft, request: TaskRequest, nature: Nature) -> bool:
    """Say whether anything may be tried with an ask: it risks little, can be taken back, and is not urgent."""
    return (
        nature.known in EXPLORED
        and nature.effective != IRREVERSIBLE
        and request.customer_impact in LOW_IMPACT
        and request.priority < draft.rules.optimization.critical_priority
    )


def sides_of(draft: Draft, request: TaskRequest, nature: Nature) -> tuple[Side, ...]:
    """Give the sides of an ask in all that is tried or in force for its tenant and type of work; none if critical."""
    amended = draft.rules.amended.get(request.tenant)
    if not amended or not may_differ(draft, request, nature):
        return ()
    return tuple(
        Side(one, is_changed(one, request.task_id))
        for one in amended
        if one.kind in OF_ASKS and one.task_type in ("", request.task_type)
    )


def sides_of_step(draft: Draft, request: TaskRequest, nature: Nature) -> tuple[Side, ...]:
    """Give the sides of a workflow's step in what is tried about who is given steps; `request` is its ask."""
    amended, workflow = draft.rules.amended.get(request.tenant), request.workflow_id
    if not amended or not workflow or not may_differ(draft, request, nature):
        return ()
    return tuple(
        Side(one, is_changed(one, workflow))
        for one in amended
        if one.kind == "agent" and one.task_type in ("", request.task_type)
    )


def liked(sides: Collection[Side]) -> Liked:
    """Give the agents that are preferred and avoided on these sides."""
    changed = [side.amended for side in sides if side.changed]
    if not changed:
        return ALIKE
    return Liked(
        frozenset(_agent(one) for one in changed if one.after == "preferred"),
        frozenset(_agent(one) for one in changed if one.after == "avoided"),
    )


def attempts_within(draft: Draft, tenant: str, arms: Collection[str], most: int) -> int:
    """Give how many attempts an ask with these sides has, of `most` by the rules: never more, and always one."""
    for one in draft.rules.amended.get(tenant, ()):
        if one.kind == "retry_plan" and one.optimization_id + CHANGED in arms and one.after.isdecimal():
            most = min(most, max(1, int(one.after)))
    return most


def _agent(one: Amended) -> str:
    return one.path.removeprefix(f"{CHOICE}.{one.task_type}.")
