"""Time passes: leases, escalations, batch windows, sweeps and memories that are due."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ops_stream.contract.reasons import Reason
from ops_stream.core.alarm_groups import gathered_due
from ops_stream.core.alarms import alarm_due
from ops_stream.core.batch import let_go
from ops_stream.core.budgets import window_over
from ops_stream.core.budgets_alerts import overruns_over
from ops_stream.core.circuit import circuit_due
from ops_stream.core.containment import confirm_due
from ops_stream.core.decision import Decision, InvariantBroken
from ops_stream.core.draft import ITEMS_MAX, Draft
from ops_stream.core.goals import goal_due, keep_goals
from ops_stream.core.inputs import Tick
from ops_stream.core.killswitch import sweep
from ops_stream.core.kpis_agents import telling_due
from ops_stream.core.kpis_windows import tally_due
from ops_stream.core.learning_room import forget_idle
from ops_stream.core.leases import expire
from ops_stream.core.lifecycle import conduct_due
from ops_stream.core.limits_command import release_sweep
from ops_stream.core.lines import end, follow
from ops_stream.core.load_lines import too_late
from ops_stream.core.load_release import gate_due, keep_lines, keep_on
from ops_stream.core.memory import forget, keep_bound
from ops_stream.core.optimization import optimization_due
from ops_stream.core.optimization_looking import finder_due
from ops_stream.core.resolutions import escalation_due
from ops_stream.core.rows import ASKS, FINDERS, SWEEPS
from ops_stream.core.rules_model import Rules
from ops_stream.core.silence import pulse_due
from ops_stream.core.state import State
from ops_stream.core.workflows import keep_workflows, workflow_due
from ops_stream.core.workflows_giving import StepFailed

FAILURES_MAX: Final = 20
"""Queued asks and escalations that one Tick gives up on; more are left to the next."""
LOOKS_MAX: Final = 10
"""Tenants whose figures one Tick looks through: each look may read thousands of rows, and after a time without a worker
those of all tenants are due at once."""


class _Failed(Exception):
    def __init__(self, key: str, error: str) -> None:
        super().__init__(key, error)
        self.key = key
        self.error = error


def tick(
    state: State, input_: Tick, rules: Rules, now_ms: int, watch: Callable[..., None] | None = None
) -> Decision:
    """Do what is due, as much as one record takes; the rest is due at once again.

    Where the second look at a queued ask fails, or at what runs unanswered, the Tick is drafted anew and that denied.
    """
    failures: dict[str, str] = {}
    while True:
        draft = Draft(state, rules, now_ms, input_, watch)
        try:
            _act(draft, input_.until_ms, failures)
            keep_lines(draft, failures)
            keep_workflows(draft, failures)
            keep_on(draft)
            keep_bound(draft)
            keep_goals(draft)
            return draft.decision()
        except (_Failed, StepFailed) as failed:
            failures[failed.key] = failed.error


def _act(draft: Draft, until_ms: int | None, failures: dict[str, str]) -> None:
    state, until = draft.state, draft.now if until_ms is None else min(draft.now, until_ms)
    looks = 0
    for _, _, _, key in state.due.earliest(ITEMS_MAX, until):
        if draft.full():
            return
        if not draft.touched(key) and not _left(key, failures):
            looks += key.startswith(FINDERS.prefix)
            if looks <= LOOKS_MAX or not key.startswith(FINDERS.prefix):
                _due(draft, key, failures)
    for _, _, _, key in state.forget.earliest(ITEMS_MAX, until):
        if draft.full():
            return
        if not draft.touched(key):
            forget(draft, key)
    forget_idle(draft, until)


def _left(key: str, failures: dict[str, str]) -> bool:
    """Say whether a row is left to the next Tick, because it might fail where as many have failed as one gives up on.

    All others are acted on, or what has failed because of them would not be denied by this one.
    """
    return len(failures) >= FAILURES_MAX and key not in failures and key.startswith(("ask/", "escalation/"))


def _due(draft: Draft, key: str, failures: dict[str, str]) -> None:
    kind = key.partition("/")[0]
    if kind == "ask":
        _ask_due(draft, key, failures)
    elif kind == "escalation":
        _escalation_due(draft, key, failures)
    elif kind == "sweep":
        row = draft.get(SWEEPS, key)
        if row is not None:
            (sweep if row.kind == "kill" else release_sweep)(draft, key, row)
    elif kind == "budget":
        window_over(draft, key)
    elif kind == "overrun":
        overruns_over(draft, key)
    elif kind in (
        "command",
        "marks",
        "flow",
        "tries",
        "handover",
        "lifted",
        "baseline",
        "unsure",
        "retrybudget",
    ):
        draft.delete(key)
    elif kind == "containment":
        confirm_due(draft, key)
    elif kind == "violations":
        conduct_due(draft, key)
    elif kind == "pulse":
        pulse_due(draft, key)
    elif kind == "alarm":
        alarm_due(draft, key)
    elif kind == "gathered":
        gathered_due(draft, key)
    elif kind == "tally":
        tally_due(draft, key)
    elif kind == "goal":
        goal_due(draft, key)
    elif kind == "telling":
        telling_due(draft, key)
    elif kind == "workflow":
        workflow_due(draft, key)
    elif kind == "circuit":
        circuit_due(draft, key)
    elif kind == "gate":
        gate_due(draft, key)
    elif kind == "optimization":
        optimization_due(draft, key)
    elif kind == "finder":
        finder_due(draft, key)
    else:
        raise InvariantBroken(f"nothing is known to do when the row {key} is due")


def _escalation_due(draft: Draft, key: str, failures: dict[str, str]) -> None:
    try:
        escalation_due(draft, key, failures.get(key))
    except (InvariantBroken, MemoryError):
        raise
    except Exception as error:
        if key in failures:
            raise
        raise _Failed(key, type(error).__name__) from error


def _ask_due(draft: Draft, key: str, failures: dict[str, str]) -> None:
    ask = draft.get(ASKS, key)
    if ask is None:
        return
    if ask.phase == "running":
        expire(draft, key, ask)
    elif key in failures:
        why = f"The supervisor failed on the second look at this ask ({failures[key]})."
        follow(draft, key, end(draft, ask), "denied", Reason.POLICY_ERROR, why)
    elif ask.wait is not None:
        too_late(draft, key, ask)
    elif ask.phase == "queued":
        try:
            let_go(draft, key)
        except (InvariantBroken, MemoryError):
            raise
        except Exception as error:
            raise _Failed(key, type(error).__name__) from error
