"""Workflows: graphs of steps that are handed in, checked, worked off and brought to an end.

Every decision ends here while there are workflows: whatever has changed an ask of a step, the step learns of it, and
whoever is free by then is given what waits. So no path of an ask needs to know of workflows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from heapq import nsmallest
from typing import Final

from msgspec import Raw
from msgspec.structs import replace

from ops_stream.contract.clocktext import parse_time
from ops_stream.contract.models import ControlCommand, Workflow
from ops_stream.core.draft import Draft
from ops_stream.core.ids import bytes_digest
from ops_stream.core.inputs import EventInput
from ops_stream.core.kills import kill_on
from ops_stream.core.killswitch import enforce_kill
from ops_stream.core.refusals import Refused
from ops_stream.core.rows import AGENTS, ASKS, STEPS, WORKFLOWS, Ask, agent_key, encode_row
from ops_stream.core.rows_workflows import (
    OPEN,
    PENDING,
    StepBody,
    StepRow,
    Trouble,
    WorkflowRow,
    body_key,
    names_of,
    step_key,
    workflow_key,
)
from ops_stream.core.state import FORGETTING
from ops_stream.core.words import because, clip
from ops_stream.core.workflows_check import BYTES_MAX, KNOWN_MAX, Graph, checked, estimated_ms
from ops_stream.core.workflows_ends import advance, stop, until_of
from ops_stream.core.workflows_giving import Giving
from ops_stream.core.workflows_index import Group
from ops_stream.core.workflows_retries import wake
from ops_stream.core.workflows_status import publish, refuse, tell, tell_all
from ops_stream.core.workflows_steps import took

_NO_FAILURES: Final[Mapping[str, str]] = {}
GROUPS_MAX: Final = 1_000
"""Kinds of waiting steps of a tenant that are looked at when a kill switch is turned off, or a record goes on."""
FORGOTTEN_MAX: Final = 100
"""Workflows that are forgotten to make room for one."""
WOKEN_MAX: Final = 100
"""Workflows that one record wakes because a kill switch stops them."""
BLAMED_MAX: Final = 20
"""Steps that are blamed where nobody was free for them or time was over."""


def submit(draft: Draft, event: Workflow) -> None:
    """Take a workflow in, or say what speaks against it; the same one again is told where it stands."""
    key = workflow_key(event.tenant, event.workflow_id)
    digest = bytes_digest(encode_row(event.wire()))
    known = draft.get(WORKFLOWS, key)
    if known is not None and known.digest == digest:
        publish(draft, key, known)
        return
    if known is not None:
        text = f"Workflow {event.workflow_id} was handed in with other steps already; choose a new id."
        refuse(draft, event, [Trouble("duplicate_conflict", text)])
        return
    graph, troubles = checked(draft, event)
    if troubles:
        refuse(draft, event, troubles)
        return
    _accept(draft, key, event, digest, graph)


def _accept(draft: Draft, key: str, event: Workflow, digest: str, graph: Graph) -> None:
    input_ = draft.input
    assert isinstance(input_, EventInput)
    _make_room(draft)
    flow = WorkflowRow(
        until=0,
        digest=digest,
        objective=event.objective_id,
        accepted_at=draft.now,
        size=len(event.steps),
        left=len(event.steps),
        idle_since=draft.now,
        budget=event.budget_micros,
        deadline=event.deadline or "",
        due=0 if event.deadline is None else parse_time(event.deadline),
        order=input_.origin.offset,
        encoding=input_.encoding,
        traceparent=input_.traceparent or "",
    )
    for number, step in enumerate(event.steps, start=1):
        needs, feeds = graph.needs[number - 1], graph.feeds[number - 1]
        row = StepRow(
            step=step.step_id,
            type=step.task_type,
            path=max(estimated_ms(step), graph.paths[number - 1]),
            state="waiting" if needs else "ready",
            named=step.agent or "",
            missing=len(needs),
            since=0 if needs else draft.now,
            needed=len(feeds),
        )
        draft.put(step_key(key, number), row)
        draft.put(body_key(key, number), StepBody(Raw(encode_row(step.wire())), needs, feeds))
    draft.put(key, replace(flow, until=until_of(draft, flow)))
    publish(draft, key, replace(flow, until=until_of(draft, flow)))
    draft.workflows[key] = False


def _make_room(draft: Draft) -> None:
    """Forget the workflows that ended first, where too many are known, or they take too much."""
    index = draft.state.workflows
    over, size = len(index) + 1 - KNOWN_MAX, index.bytes - BYTES_MAX
    if over <= 0 and size < 0:
        return
    for number, (_, _, _, key) in enumerate(index.ended.earliest(FORGOTTEN_MAX)):
        if number >= over and size < 0:
            break
        flow = draft.get(WORKFLOWS, key)
        if flow is not None and not flow.owed:
            size -= len(draft.state.rows[key])
            draft.delete(key)


def cancel(draft: Draft, command: ControlCommand) -> None:
    """Obey `cancel_workflow`: nothing more of it begins, and what runs is revoked. Raises Refused."""
    if not command.target:
        raise Refused("malformed_command", "it needs the workflow as target.")
    key = workflow_key(command.tenant, command.target)
    flow = draft.get(WORKFLOWS, key)
    if flow is None:
        raise Refused("unknown_workflow", f"no workflow {clip(command.target, 128)} is known to this tenant.")
    if flow.ended_at or flow.stopping == "cancelled":
        raise Refused("nothing_to_do", f"workflow {command.target} is {flow.state} or being cancelled.")
    text = f"{command.issued_by} cancelled it{because(command.reason)}"
    stop(draft, key, "cancelled", Trouble("cancelled", text))
    tell(draft, key)


def workflow_due(draft: Draft, key: str) -> None:
    """Do what time does to a workflow: it goes on, has taken too long, or is forgotten."""
    flow = draft.get(WORKFLOWS, key)
    if flow is None:
        return
    if flow.owed:
        tell(draft, key)
    if flow.ended_at:
        if not flow.owed:
            draft.delete(key)
        return
    draft.put(key, replace(flow, until=0))
    wake(draft, key)
    flow = draft.get(WORKFLOWS, key) or flow
    draft.workflows.setdefault(key, False)
    draft.woken.add(key)
    tenant, workflow_id = names_of(key)
    kill = kill_on(draft, tenant, "", workflow_id, "")
    if kill is not None and flow.stopping != "cancelled":
        why = f"The kill switch was pulled by {kill.issued_by}{because(kill.reason)}"
        stop(draft, key, "cancelled", Trouble("kill_switch", why))
        tell(draft, key)
    elif not flow.stopping and flow.due and flow.due <= draft.now:
        _give_up(draft, key, flow, "deadline_passed", f"It was to be done by {flow.deadline}.")
    elif not flow.stopping and not flow.open and _waited(draft, flow):
        wait_s = draft.rules.supervisor.workflow_wait_s
        _give_up(draft, key, flow, "nobody_free", f"For {wait_s} s nobody was free for what is next.")
    else:
        advance(draft, key)


def _waited(draft: Draft, flow: WorkflowRow) -> bool:
    return flow.idle_since + draft.rules.supervisor.workflow_wait_s * 1000 <= draft.now


def _give_up(draft: Draft, key: str, flow: WorkflowRow, code: str, text: str) -> None:
    """Let a workflow fail by what has begun or could begin and is not done; what runs goes on to its end."""
    steps = (draft.get(STEPS, step_key(key, number)) for number in range(1, flow.size + 1))
    late = [step.step for step in steps if step is not None and step.state in OPEN | PENDING]
    stop(draft, key, "failed", *(Trouble(code, text, name) for name in late[:BLAMED_MAX] or [""]))
    tell(draft, key)


def keep_workflows(draft: Draft, failures: Mapping[str, str] = _NO_FAILURES) -> None:
    """Let workflows go on by what a draft has changed, and tell of them. `failures`: steps that are to be denied."""
    index = draft.state.workflows
    if not index.active and not draft.workflows and not len(index.ended):
        return
    done: dict[str, Ask] = {}
    giving = Giving(draft, failures, done)
    moved = True
    while moved:
        moved = _take_in(draft, done)
        for tenant, groups in _looks(draft).items():
            moved |= giving.give_out(tenant, groups)
        moved |= draft.kills and _stop_given(draft)
    if draft.kills or any(_killed(draft, key) for key in {*draft.woken, *draft.workflows}):
        _wake(draft)
    event = draft.input.event if isinstance(draft.input, EventInput) else None
    if isinstance(event, ControlCommand) and event.command == "activate_rules":
        _look_again(draft)
    tell_all(draft)


def _killed(draft: Draft, key: str) -> bool:
    tenant, workflow_id = names_of(key)
    return kill_on(draft, tenant, "", workflow_id, "") is not None


def _wake(draft: Draft) -> None:
    """Let time come at once for some of the workflows that a kill switch stops; the record that stops one wakes more.

    All that run would be too much for the record of a kill: it must always find room.
    """
    woken = 0
    for key in sorted(draft.state.workflows.active):
        if not _killed(draft, key):
            continue
        flow = draft.get(WORKFLOWS, key)
        if flow is None or flow.ended_at or flow.stopping == "cancelled" or 0 < flow.until <= draft.now:
            continue
        if woken == WOKEN_MAX or (woken and draft.full()):
            return
        draft.put(key, replace(flow, until=draft.now))
        woken += 1


def _look_again(draft: Draft) -> None:
    """Other rules hold from the next record on: of each tenant one workflow looks then who may have what waits."""
    for _, groups in sorted(draft.state.workflows.waiting.items()):
        _, _, _, step = min(heap.earliest(1)[0] for heap in groups.values())
        key = "workflow/" + step[5:].rpartition("|")[0]
        flow = draft.get(WORKFLOWS, key)
        if flow is not None and not flow.ended_at and not draft.full():
            draft.put(key, replace(flow, until=draft.now))


def _stop_given(draft: Draft) -> bool:
    """Stop what was given out in the very record in which a kill switch was pulled: no sweep knows of it."""
    stopped = False
    for key, ask in draft.changed(ASKS.prefix):
        if isinstance(ask, Ask) and ask.step and ask.phase in OPEN and ask.answer.at == draft.now:
            stopped |= enforce_kill(draft, key, ask) is not None
    return stopped


def _take_in(draft: Draft, done: dict[str, Ask]) -> bool:
    """Let the steps learn what the draft has done to their asks since the last time; says whether there was any."""
    fresh = [(key, row) for key, row in draft.changed(ASKS.prefix) if row is not done.get(key)]
    moved = False
    for key, ask in fresh:
        if isinstance(ask, Ask) and ask.step:
            old = done.get(key)
            if old is None:
                raw = draft.state.rows.get(key)
                old = None if raw is None else ASKS.decode(raw)
            done[key] = ask
            if old is not None:  # a new one was taken in when it was given out
                took(draft, old, ask)
                moved = True
    return moved


def _looks(draft: Draft) -> dict[str, set[Group]]:
    """Give the kinds of steps that somebody may have become free for, or that have just become ready, by tenant."""
    looks: dict[str, set[Group]] = {}
    for key, row in draft.changed(STEPS.prefix):
        if isinstance(row, StepRow) and row.state == "ready":
            looks.setdefault(key[5 : key.index("|")], set()).add((row.type, row.named))
    waiting = draft.state.workflows.waiting
    for key in sorted(draft.woken):
        tenant = names_of(key)[0]
        looks.setdefault(tenant, set()).update(_ready(draft, key))
        # It may go on for a record that could give out no more: of other kinds, too.
        looks[tenant].update(nsmallest(GROUPS_MAX, waiting.get(tenant, ())))
    if not waiting:
        return looks
    for tenant, name in _freed(draft):
        if tenant in waiting:
            looks.setdefault(tenant, set()).update(_for(draft, tenant, name))
    event = draft.input.event if isinstance(draft.input, EventInput) else None
    if isinstance(event, ControlCommand) and event.command == "resume":
        for tenant in sorted(waiting):
            looks.setdefault(tenant, set()).update(nsmallest(GROUPS_MAX, waiting[tenant]))
    return looks


def _ready(draft: Draft, key: str) -> Iterator[Group]:
    flow = draft.get(WORKFLOWS, key)
    for number in range(1, 0 if flow is None else flow.size + 1):
        step = draft.get(STEPS, step_key(key, number))
        if step is not None and step.state == "ready":
            yield step.type, step.named


def _freed(draft: Draft) -> Iterator[tuple[str, str]]:
    """Give the agents that have ended an ask in this draft, or of whom something else has changed."""
    for key, row in draft.changed(ASKS.prefix):
        if isinstance(row, Ask) and row.phase in FORGETTING:
            index = draft.state.tenants.get(row.tenant)
            if index is not None and key in index.open:
                yield row.tenant, row.agent
    for key, agent in draft.changed(AGENTS.prefix):
        if agent is not None:
            tenant, _, name = key[6:].partition("|")
            yield tenant, name


def _for(draft: Draft, tenant: str, name: str) -> Iterator[Group]:
    """Give the kinds of waiting steps that an agent could be given, by its own word."""
    row = draft.get(AGENTS, agent_key(tenant, name))
    groups = draft.state.workflows.waiting[tenant]
    for task_type in () if row is None else row.capabilities:
        for group in ((task_type, ""), (task_type, name)):
            if group in groups:
                yield group
