"""What must be true of a workflow before any step of it begins; everything that is not is told at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from ops_stream.contract.clocktext import parse_time
from ops_stream.contract.models import Step, Workflow
from ops_stream.core.draft import Draft
from ops_stream.core.kills import kill_on
from ops_stream.core.leases import LEASE_MAX_S
from ops_stream.core.rows import encode_row
from ops_stream.core.rows_workflows import Trouble
from ops_stream.core.words import because, clip, dollars
from ops_stream.core.workflows_index import AgentFacts

ACTIVE_MAX: Final = 2_000
"""Workflows of a partition that run at the same time."""
KNOWN_MAX: Final = 20_000
"""Workflows of a partition that run or are remembered; those that ended first make room."""
BYTES_MAX: Final = 268_435_456
"""What the rows of a partition's workflows may take: those that have ended make room, then no more are accepted."""
BODY_BYTES_MAX: Final = 786_432
"""What the steps of one workflow may take: it is written in one record."""
TOLD_MAX: Final = 100
"""Problems that an answer names."""
NAMED_MAX: Final = 20
"""Steps that one problem names."""


@dataclass(frozen=True, slots=True)
class Graph:
    """The steps as numbers from 1, by the order in which they were handed in."""

    needs: tuple[tuple[int, ...], ...]
    feeds: tuple[tuple[int, ...], ...]
    paths: tuple[int, ...]
    """For each how long it and the longest chain behind it take, in milliseconds."""


def checked(draft: Draft, event: Workflow) -> tuple[Graph, list[Trouble]]:
    """Give the graph of a workflow, and everything that speaks against it."""
    troubles = list(_admission(draft, event))
    names: dict[str, int] = {}
    for number, step in enumerate(event.steps, start=1):
        if step.step_id in names:
            text = f"Step {step.step_id} is given twice; each needs a name of its own."
            troubles.append(Trouble("repeated_step", text, step.step_id))
        names.setdefault(step.step_id, number)
    needs: list[tuple[int, ...]] = []
    for step in event.steps:
        wanted = dict.fromkeys(step.depends_on)
        needs.append(tuple(names[name] for name in wanted if name in names))
        for name in wanted:
            if name not in names:
                text = f"It depends on step {name}, which there is not."
                troubles.append(Trouble("unknown_step", text, step.step_id))
    feeds = _feeds(needs)
    paths, looped = _paths(needs, feeds, [estimated_ms(step) for step in event.steps])
    if looped:
        circle = [event.steps[number - 1].step_id for number in looped]
        text = f"Steps wait for one another: {_named(circle)}."
        troubles.append(Trouble("cycle", text, circle[0]))
    troubles += _nobody(draft, event)
    troubles += _money_and_time(draft, event, max(paths, default=0))
    graph = Graph(tuple(needs), tuple(tuple(feed) for feed in feeds), tuple(paths))
    return graph, _bounded(troubles)


def estimated_ms(step: Step) -> int:
    """Give what a step estimates that it takes, within the bounds of a lease."""
    return max(1, round(min(step.estimated_time_s, LEASE_MAX_S) * 1000))


def is_capable(draft: Draft, tenant: str, name: str, agent: AgentFacts, task_type: str) -> bool:
    """Say whether an agent does a type of task, by its own word and the operator's."""
    if task_type not in agent.capabilities:
        return False
    declared = draft.rules.agents.find(tenant, name)
    return declared is None or not declared.task_types or task_type in declared.task_types


def _admission(draft: Draft, event: Workflow) -> Iterator[Trouble]:
    """What speaks against any workflow at this time, and against one of this size."""
    kill = kill_on(draft, event.tenant, "", event.workflow_id, "")
    if kill is not None:
        yield Trouble("kill_switch", f"The kill switch was pulled by {kill.issued_by}{because(kill.reason)}")
    index = draft.state.workflows
    if len(index.active) >= ACTIVE_MAX or index.bytes - index.ended_bytes >= BYTES_MAX:
        yield Trouble("overloaded", "As many workflows run as this partition takes; hand it in again later.")
    if not event.steps:
        yield Trouble("no_steps", "It has no steps.")
    size = sum(len(encode_row(step.wire())) for step in event.steps)
    if size > BODY_BYTES_MAX:
        yield Trouble("too_large", f"Its steps take {size:,} bytes; {BODY_BYTES_MAX:,} are the limit.")


def _feeds(needs: Sequence[tuple[int, ...]]) -> list[list[int]]:
    feeds: list[list[int]] = [[] for _ in needs]
    for number, before in enumerate(needs, start=1):
        for other in before:
            feeds[other - 1].append(number)
    return feeds


def _paths(
    needs: Sequence[tuple[int, ...]], feeds: Sequence[Sequence[int]], times: Sequence[int]
) -> tuple[list[int], list[int]]:
    """Give the time from the beginning of each step to the end of all behind it, and the steps that go in circles."""
    paths = list(times)
    missing = [len(feed) for feed in feeds]
    ends = [number for number, count in enumerate(missing, start=1) if not count]
    for number in ends:  # grows as it goes
        for other in needs[number - 1]:
            paths[other - 1] = max(paths[other - 1], times[other - 1] + paths[number - 1])
            missing[other - 1] -= 1
            if not missing[other - 1]:
                ends.append(other)
    return paths, _circles(needs, feeds, set(range(1, len(needs) + 1)) - set(ends))


def _circles(needs: Sequence[tuple[int, ...]], feeds: Sequence[Sequence[int]], left: set[int]) -> list[int]:
    """Of steps that lead into a circle give those that also come from one."""
    missing = {number: sum(other in left for other in needs[number - 1]) for number in left}
    free = sorted(number for number, count in missing.items() if not count)
    for number in free:
        left.discard(number)
        for other in feeds[number - 1]:
            if other in left:
                missing[other] -= 1
                if not missing[other]:
                    free.append(other)
    return sorted(left)


def _nobody(draft: Draft, event: Workflow) -> Iterator[Trouble]:
    """Find steps that no registered agent can be given, whatever state it is in."""
    tenant = event.tenant
    able = draft.state.workflows.able.get(tenant, {})
    missing = {step.task_type for step in event.steps if step.agent is None}
    for name, agent in able.items():
        if not missing:
            break
        for task_type in missing.intersection(agent.capabilities):
            if is_capable(draft, tenant, name, agent, task_type):
                missing.discard(task_type)
    for step in event.steps:
        if step.agent is None:
            lacks, who = step.task_type in missing, "No agent"
        else:
            named = able.get(step.agent)
            lacks = named is None or not is_capable(draft, tenant, step.agent, named, step.task_type)
            who = f"No agent {step.agent}"
        if lacks:
            text = f"{who} is registered that does tasks of type {clip(step.task_type, 100)}."
            yield Trouble("nobody_capable", text, step.step_id)


def _money_and_time(draft: Draft, event: Workflow, path_ms: int) -> Iterator[Trouble]:
    default = draft.rules.supervisor.default_hold_micros
    costs = [step.estimated_cost_micros for step in event.steps]
    total = sum(default if cost is None else cost for cost in costs)
    if event.budget_micros is not None and total > event.budget_micros:
        text = f"Its steps estimate {dollars(total)}, its budget is {dollars(event.budget_micros)}."
        yield Trouble("budget_below_estimate", text)
    if event.deadline is not None and draft.now + path_ms > parse_time(event.deadline):
        text = f"Its longest chain of steps takes {path_ms / 1000:g} s, beyond its deadline {event.deadline}."
        yield Trouble("deadline_unreachable", text)


def _named(steps: Sequence[str]) -> str:
    more = len(steps) - NAMED_MAX
    return ", ".join(steps[:NAMED_MAX]) + (f" and {more:,} more" if more > 0 else "")


def _bounded(troubles: list[Trouble]) -> list[Trouble]:
    more = len(troubles) - TOLD_MAX
    if more <= 0:
        return troubles
    return [*troubles[:TOLD_MAX], Trouble("more", f"{more:,} more problems are not listed.")]
