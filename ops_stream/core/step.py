"""The one function that decides."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from ops_stream.contract.digest import action_digest
from ops_stream.contract.models import (
    AgentRegistration,
    ControlCommand,
    Heartbeat,
    Resolution,
    RevocationAck,
    TaskRequest,
    Telemetry,
)
from ops_stream.contract.reasons import Reason
from ops_stream.core.agents import acknowledge, heartbeat, register
from ops_stream.core.approvals import emit_answer, emit_refusal
from ops_stream.core.asks import ask_in, bare_ask
from ops_stream.core.control import obey
from ops_stream.core.decision import Decision, InvariantBroken
from ops_stream.core.draft import Draft
from ops_stream.core.forwarding import asked_in, forwarded, seen_before
from ops_stream.core.goals import keep_goals
from ops_stream.core.ids import bytes_digest
from ops_stream.core.inputs import (
    RECORD_INPUTS,
    EventInput,
    Gap,
    Input,
    MalformedInput,
    Rebase,
    RecordInput,
    Takeover,
    Tick,
)
from ops_stream.core.lines import end
from ops_stream.core.load_release import keep_lines, keep_on
from ops_stream.core.memory import keep_bound
from ops_stream.core.notices import alert, dead_letter
from ops_stream.core.policy import REMIND_MS
from ops_stream.core.rebase import counted_on, rebase
from ops_stream.core.resolutions import resolve
from ops_stream.core.rows import ASKS, FIRINGS, RULES, ActiveRules, Answer, Firing, ask_key
from ops_stream.core.rules_model import Rules
from ops_stream.core.state import State
from ops_stream.core.telemetry import report
from ops_stream.core.ticks import tick
from ops_stream.core.workflows import keep_workflows, submit
from ops_stream.core.workflows_giving import StepFailed

__all__ = ["Decision", "InvariantBroken", "step"]


def step(
    state: State, input_: Input, rules: Rules, now_ms: int, watch: Callable[..., None] | None = None
) -> Decision:
    """Decide one input. Pure: the state is not changed, `state.apply(decision.changes)` does that.

    An exception on the way drops everything that was drafted: the input becomes a dead letter, and an ask
    that nobody has heard of yet is denied. Where it comes from a step of a workflow only that step is denied.
    `InvariantBroken` comes through: the partition must halt. `watch` is shown each ask before it is looked at, with the
    draft as it is then, which it must not change (`Draft.aside`): so a decision can be explained that is decided again.
    """
    if isinstance(input_, Tick):
        return tick(state, input_, rules, now_ms, watch)
    if isinstance(input_, RECORD_INPUTS):
        input_ = counted_on(state, input_)
    failures: dict[str, str] = {}
    while True:
        draft = Draft(state, rules, now_ms, input_, watch)
        try:
            _take(draft, input_)
            keep_lines(draft, failures)
            keep_workflows(draft, failures)
            keep_on(draft)
            keep_bound(draft)
            keep_goals(draft)
            return draft.decision()
        except (InvariantBroken, MemoryError):
            raise
        except StepFailed as failed:
            if failed.key in failures:
                return _contain(Draft(state, rules, now_ms, input_), failed.error)
            failures[failed.key] = failed.error
        except Exception as error:
            return _contain(Draft(state, rules, now_ms, input_), type(error).__name__)


def _take(draft: Draft, input_: RecordInput | Takeover | Gap | Rebase) -> None:
    if isinstance(input_, Takeover):
        if draft.get(RULES, "rules") is None:
            draft.put("rules", ActiveRules(input_.rules_digest, draft.now))
    elif isinstance(input_, Gap):
        _gap(draft, input_)
    elif isinstance(input_, Rebase):
        rebase(draft, input_)
    elif seen_before(draft, input_) or forwarded(draft, input_):
        return
    elif isinstance(input_, MalformedInput):
        _malformed(draft, input_)
    else:
        _event(draft, input_)


def _event(draft: Draft, input_: EventInput) -> None:
    event = input_.event
    if isinstance(event, TaskRequest):
        ask_in(draft, event)
    elif isinstance(event, Telemetry):
        report(draft, event)
    elif isinstance(event, Heartbeat):
        heartbeat(draft, event)
    elif isinstance(event, AgentRegistration):
        register(draft, event)
    elif isinstance(event, Resolution):
        resolve(draft, event)
    elif isinstance(event, ControlCommand):
        obey(draft, event)
    elif isinstance(event, RevocationAck):
        acknowledge(draft, event)
    else:
        submit(draft, event)


def _malformed(draft: Draft, input_: MalformedInput) -> None:
    """Keep the bytes, and answer whoever asked with them."""
    tenant = input_.tenant or "default"
    dead_letter(draft, tenant, Reason.MALFORMED_REQUEST, input_.explanation)
    if asked_in(input_) and input_.request_id is not None:
        ids = (tenant, input_.request_id, input_.task_id or "unknown", input_.agent or "unknown")
        digest = bytes_digest(input_.raw)
        emit_refusal(draft, ids, digest, Reason.MALFORMED_REQUEST, input_.explanation)


def _gap(draft: Draft, gap: Gap) -> None:
    """Tell people of a gap: of one that is only empty once an hour, since every transaction leaves one behind it."""
    where = f"{gap.topic} partition {gap.partition}"
    key = f"alert/input_gap|{gap.topic}"
    firing = draft.get(FIRINGS, key)
    anew = gap.last < gap.first
    if not anew and firing is not None and draft.now - firing.since < REMIND_MS:
        return
    if anew:
        text = (
            f"{where} was made anew: it goes on at offset {gap.last + 1}, after {gap.first} had been reached."
        )
    else:
        text = f"Offsets {gap.first} to {gap.last} of {where} hold no record."
    id_ = alert(
        draft,
        "default",
        "input_gap",
        text,
        dedupe=f"{gap.topic}|{gap.partition}",
        seed=(gap.topic, gap.partition, gap.first),
        severity="critical",
        subject=gap.topic,
    )
    draft.put(key, Firing(draft.now, id_))


def _contain(draft: Draft, error: str) -> Decision:
    """Give what is left to say: a dead letter, and a denial where an ask has no answer yet."""
    input_ = draft.input
    if not isinstance(input_, RECORD_INPUTS):
        raise InvariantBroken(f"{error} while {type(input_).__name__} was decided")
    why = f"The supervisor failed on this record ({error}); nothing was changed by it."
    if isinstance(input_, MalformedInput):
        dead_letter(draft, input_.tenant or "default", "internal_error", why)
        return draft.decision()
    event = input_.event
    dead_letter(draft, event.tenant, "internal_error", why)
    seen_before(draft, input_)
    if isinstance(event, TaskRequest):
        key = ask_key(event.tenant, event.request_id)
        if draft.get(ASKS, key) is None:
            answer = Answer("denied", Reason.POLICY_ERROR, draft.now, draft.rules.digest, explanation=why)
            ask = end(draft, replace(bare_ask(draft, event, action_digest(event)), answer=answer))
            draft.put(key, ask)
            emit_answer(draft, ask)
    return draft.decision()
