"""What becomes of a step when its ask changes: handed out, waiting, done, tried again, failed."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import msgspec
from msgspec.structs import replace

from ops_stream.contract.models import TaskRequest, Telemetry
from ops_stream.contract.reasons import Reason
from ops_stream.core.approvals import approval_of
from ops_stream.core.draft import Draft
from ops_stream.core.ids import derived_id
from ops_stream.core.inputs import EventInput
from ops_stream.core.kills import kill_on
from ops_stream.core.retries_classes import classed
from ops_stream.core.rows import (
    NOTHING,
    STEP_BODIES,
    STEP_OUTPUTS,
    STEPS,
    WORKFLOWS,
    Ask,
    encode_row,
)
from ops_stream.core.rows_retries import ErrorClass
from ops_stream.core.rows_workflows import (
    OPEN,
    PENDING,
    StepBody,
    StepOutput,
    StepRow,
    Trouble,
    WorkflowRow,
    body_key,
    output_key,
    place_in,
    step_key,
)
from ops_stream.core.rules_effects import IRREVERSIBLE
from ops_stream.core.unsure import in_doubt
from ops_stream.core.words import clip
from ops_stream.core.workflows_budget import set_aside
from ops_stream.core.workflows_check import BYTES_MAX
from ops_stream.core.workflows_ends import advance, stop
from ops_stream.core.workflows_index import WorkflowIndex
from ops_stream.core.workflows_retries import failed_again, later, lost_again, woken_at
from ops_stream.core.workflows_status import REASON_MAX, mended, tell, told_at

INPUTS_BYTES_MAX: Final = 393_216
"""What the inputs of one assignment may take; where they take more the longest are cut."""
KEPT_BYTES_MAX: Final = 4_194_304
"""What the outputs of one workflow may take in all; what comes beyond is not kept."""
CUT: Final = "…"


class _Verdict(NamedTuple):
    """How an ask of a step ended: completed, failed for good, to be tried again, or its workflow was stopped."""

    how: str
    code: str = ""
    text: str = ""
    class_: ErrorClass | None = None
    """The class of its error, where it is known and counts."""
    at: int = 0
    """When to come back, of what is denied for the time being."""


def took(draft: Draft, old: Ask | None, ask: Ask, request: TaskRequest | None = None) -> None:
    """Take in that an ask of a step has changed. `request` is what is asked, where it has only just been."""
    key, number, accepted = place_in(ask.tenant, ask.step)
    flow = draft.get(WORKFLOWS, key)
    if flow is None or flow.accepted_at != accepted:
        return
    grown = cost_of(ask) - (0 if old is None else cost_of(old))
    if flow.ended_at:
        if grown:
            draft.put(key, mended(flow, number, grown))
            tell(draft, key)
        return
    step = draft.get(STEPS, step_key(key, number))
    assert step is not None
    if grown:
        step = replace(step, cost=step.cost + grown)
        flow = replace(flow, cost=flow.cost + grown)
        draft.put(step_key(key, number), step)
        draft.put(key, flow)
    if step.request != ask.request_id:
        return
    if step.state in OPEN:
        if ask.phase in OPEN:
            if ask.phase == "running":
                flow, step = set_aside(flow, step, ask)
                draft.put(key, flow)
                draft.put(step_key(key, number), step)
            _goes_on(draft, key, number, step, old, ask, request)
        else:
            _over(draft, key, number, _verdict(draft, ask), ask)
    elif step.state in PENDING and step.attempts and _verdict(draft, ask).how == "completed":
        _done(draft, key, number, replace(step, reason=""), flow)  # it was done after all
        advance(draft, key)
    elif step.unsure and not in_doubt(draft, ask):
        draft.put(step_key(key, number), replace(step, unsure=False))


def cost_of(ask: Ask) -> int:
    """Give what an ask has cost, with what it may have cost where nobody knows."""
    if ask.money == "settled":
        return ask.cost
    return ask.held or 0 if ask.money == "unknown" else 0


def _goes_on(
    draft: Draft,
    key: str,
    number: int,
    step: StepRow,
    old: Ask | None,
    ask: Ask,
    request: TaskRequest | None,
) -> None:
    """Note whether an ask waits or runs; when it begins to run the step is handed out."""
    if step.state != ask.phase:
        draft.put(step_key(key, number), replace(step, state=ask.phase))
    if ask.phase == "running" and (old is None or old.phase != "running"):
        _assign(draft, key, number, step, ask, _asked(old, ask) if request is None else request.wire())


def _asked(old: Ask | None, ask: Ask) -> dict[str, Any]:
    """Give what was asked of an ask that has waited, with what people have changed."""
    assert old is not None
    body: dict[str, Any] = msgspec.json.decode(old.request)
    edits = {} if ask.edits is NOTHING else msgspec.json.decode(ask.edits)
    return {name: value for name, value in {**body, **edits}.items() if value is not None}


def _assign(draft: Draft, key: str, number: int, step: StepRow, ask: Ask, request: dict[str, Any]) -> None:
    """Hand a step out, with what the steps before it brought."""
    body = draft.get(STEP_BODIES, body_key(key, number))
    assert body is not None
    inputs, clipped = _inputs(draft, key, body)
    value: dict[str, Any] = {
        "assignment_id": derived_id("ta_", ask.tenant, ask.request_id, ask.answer.sequence),
        "workflow_id": key.rpartition("|")[2],
        "step_id": step.step,
        "request": request,
        "approval": approval_of(ask),
        "inputs": inputs,
    }
    if clipped:
        value["clipped"] = clipped
    draft.emit(
        "assignments",
        ask.tenant,
        "TaskAssignment",
        value["assignment_id"],
        value,
        encoding=ask.encoding,
        traceparent=ask.traceparent or None,
        subject=ask.request_id,
    )


def _inputs(draft: Draft, key: str, body: StepBody) -> tuple[dict[str, str], list[str]]:
    """Give the outputs of the steps before, by their names, and of which not all is there."""
    found: dict[str, str] = {}
    clipped = []
    for number in body.needs:
        step = draft.get(STEPS, step_key(key, number))
        output = draft.get(STEP_OUTPUTS, output_key(key, number))
        assert step is not None
        if output is not None:
            found[step.step] = output.text
        if step.clipped:
            clipped.append(step.step)
    sizes = {name: len(encode_row(text)) for name, text in found.items()}
    if sum(sizes.values()) > INPUTS_BYTES_MAX:
        share = _share(sorted(sizes.values()))
        for name, size in sizes.items():
            if size > share:
                found[name] = cut(found[name], share)
                clipped.append(name)
    return found, list(dict.fromkeys(clipped))


def _share(sizes: list[int]) -> int:
    """Give how much each may take, so that what is shorter is kept whole and the longest share what is left."""
    room = INPUTS_BYTES_MAX
    for at, size in enumerate(sizes):
        share = room // (len(sizes) - at)
        if size > share:
            return share
        room -= size
    return room


def cut(text: str, size: int) -> str:
    """Cut a text so that its JSON takes at most so many bytes."""
    if len(encode_row(text)) <= size:
        return text
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if len(encode_row(text[:middle] + CUT)) <= size:
            low = middle
        else:
            high = middle - 1
    return text[:low] + CUT


def _verdict(draft: Draft, ask: Ask) -> _Verdict:
    """Say what an ask that has ended means for its step."""
    reason, said = ask.answer.reason, ask.answer.explanation
    event = _report(draft, ask)
    if event is not None and ask.answer.decision != "denied":
        if event.kind == "completed" and event.success is not False:
            return _Verdict("completed")
        text = ": ".join(part for part in (event.error_class, event.error) if part)
        text = text or f"Agent {ask.agent} reports that it failed."
        class_ = classed(draft, ask, event) if draft.rules.retries.on else None
        return _Verdict("again", "unknown_outcome" if class_ == "unknown_outcome" else "failed", text, class_)
    if reason in (Reason.KILL_SWITCH, Reason.KILL_REVOKED):
        if (
            kill_on(draft, ask.tenant, "", place_in(ask.tenant, ask.step)[0].rpartition("|")[2], "")
            is not None
        ):
            return _Verdict("stop", "kill_switch", said)
        if reason == Reason.KILL_SWITCH or not ask.started:
            return _Verdict("again", "kill_switch", said)
        return _unknown(draft, ask, said)
    if reason == Reason.LEASE_EXPIRED:
        return _unknown(draft, ask, said)
    if reason == Reason.RETRIES_EXHAUSTED and ask.answer.retry_at:
        return _Verdict("later", str(reason), said, at=ask.answer.retry_at)
    if reason == Reason.WITHDRAWN and event is not None and event.kind == "cancelled":
        if in_doubt(draft, ask):
            return _unknown(draft, ask, said)
        return _Verdict("again", "withdrawn", said)
    return _Verdict("failed", str(reason), said)


def _unknown(draft: Draft, ask: Ask, said: str) -> _Verdict:
    """Nobody knows whether it was done: what cannot be taken back is not tried again without a person."""
    if in_doubt(draft, ask):
        text = f"{said} Whether it was done is unknown."
        return _Verdict("again", "unknown_outcome", text, "unknown_outcome")
    if draft.rules.effects.effective(ask.effect) == IRREVERSIBLE:
        return _Verdict("failed", "unknown_outcome", f"{said} Whether it was done is unknown.")
    return _Verdict("again", str(ask.answer.reason), said)


def _report(draft: Draft, ask: Ask) -> Telemetry | None:
    """Give the report that is being decided, if it is about this ask and has ended it."""
    event = draft.input.event if isinstance(draft.input, EventInput) else None
    if not isinstance(event, Telemetry) or event.event_id != ask.report:
        return None
    return event if (event.tenant, event.request_id) == (ask.tenant, ask.request_id) else None


def _again(draft: Draft, step: StepRow, ask: Ask, verdict: _Verdict) -> StepRow | None:
    """Give a step as it is tried again, or as it waits for that; None where it is not."""
    if verdict.how == "later":
        return later(draft, step, verdict.at)
    if verdict.how != "again":
        return None
    if verdict.class_ is None:
        return lost_again(draft, step)
    return failed_again(draft, step, ask, verdict.class_)


def _over(draft: Draft, key: str, number: int, verdict: _Verdict, ask: Ask) -> None:
    """Take in that the ask of a step has ended."""
    flow, step = draft.get(WORKFLOWS, key), draft.get(STEPS, step_key(key, number))
    assert flow is not None
    assert step is not None
    flow = replace(flow, open=flow.open - 1, held=flow.held - step.hold)
    step = replace(step, hold=0)
    if not flow.open:
        flow = replace(flow, idle_since=draft.now)
    reason = clip(verdict.text, REASON_MAX)
    again = None if flow.stopping else _again(draft, step, ask, verdict)
    if verdict.how == "completed":
        _done(draft, key, number, step, flow)
    elif again is not None:
        draft.put(step_key(key, number), replace(again, reason=reason))
        draft.put(key, woken_at(flow, again))
    else:
        stopped = verdict.how == "stop" or flow.stopping == "cancelled"
        state = "cancelled" if verdict.how == "stop" else "failed"
        draft.put(step_key(key, number), replace(step, state=state, reason=reason))
        fewer = replace(flow, left=flow.left - 1)
        draft.put(key, fewer)
        trouble = Trouble(verdict.code, verdict.text, "" if verdict.how == "stop" else step.step)
        stop(draft, key, "cancelled" if stopped else "failed", trouble)
        if not flow.stopping or told_at(fewer):
            tell(draft, key)
    advance(draft, key)


def _done(draft: Draft, key: str, number: int, step: StepRow, flow: WorkflowRow) -> None:
    """A step is done: its output is kept where a later one needs it, and those that waited for it alone are ready."""
    body = draft.get(STEP_BODIES, body_key(key, number))
    assert body is not None
    flow = replace(flow, left=flow.left - 1)
    event = draft.input.event if isinstance(draft.input, EventInput) else None
    output = event.output if isinstance(event, Telemetry) else None
    if output and step.needed and not flow.stopping:
        size = len(encode_row(output))
        index: WorkflowIndex = draft.state.workflows
        if flow.kept + size > KEPT_BYTES_MAX or index.bytes - index.ended_bytes >= BYTES_MAX:
            step = replace(step, clipped=True)
        else:
            draft.put(output_key(key, number), StepOutput(output))
            flow = replace(flow, kept=flow.kept + size)
    draft.put(step_key(key, number), replace(step, state="completed", reason=""))
    draft.put(key, flow)
    for other in body.needs:
        _no_longer_needed(draft, key, other)
    for other in body.feeds:
        behind = draft.get(STEPS, step_key(key, other))
        assert behind is not None
        behind = replace(behind, missing=behind.missing - 1)
        if not behind.missing and not flow.stopping:
            behind = replace(behind, state="ready", since=draft.now)
        draft.put(step_key(key, other), behind)
    if told_at(flow):
        tell(draft, key)


def _no_longer_needed(draft: Draft, key: str, number: int) -> None:
    """Count one step less that needs an output; nobody's is kept."""
    step = draft.get(STEPS, step_key(key, number))
    assert step is not None
    step = replace(step, needed=step.needed - 1)
    draft.put(step_key(key, number), step)
    if not step.needed:
        flow, output = draft.get(WORKFLOWS, key), draft.get(STEP_OUTPUTS, output_key(key, number))
        if output is not None and flow is not None:
            draft.put(key, replace(flow, kept=flow.kept - len(encode_row(output.text))))
            draft.delete(output_key(key, number))
