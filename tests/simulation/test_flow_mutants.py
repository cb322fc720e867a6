"""What may go wrong with workflows is seen: each deliberate defect of the core is caught within a few histories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from ops_stream.contract.models import Workflow
from ops_stream.core import (
    decide,
    workflows,
    workflows_check,
    workflows_ends,
    workflows_giving,
    workflows_status,
    workflows_steps,
)
from ops_stream.core.approvals import approval_of, emit_answer
from ops_stream.core.draft import Draft
from ops_stream.core.rows import STEPS, WORKFLOWS, Ask
from ops_stream.core.rows_workflows import Trouble, WorkflowRow
from tests.simulation.history import History
from tests.simulation.test_mutants import CATCHES, SEEDS

Patch = pytest.MonkeyPatch


def test_a_step_that_is_given_twice_is_caught(monkeypatch: Patch) -> None:
    """Whoever gives a step out and lets it wait on gives it to the next as well."""
    given = workflows_giving.Giving._give

    def twice(giving: Any, tenant: str, key: str) -> bool:
        before = giving.draft.get(STEPS, key)
        done = given(giving, tenant, key)
        after = giving.draft.get(STEPS, key)
        if after is not None and after.state == "running" and before.attempts == 0:
            giving.draft.put(key, before)
        return done

    monkeypatch.setattr(workflows_giving.Giving, "_give", twice)
    assert "one ask at a time" in caught_by(monkeypatch)


def test_an_ask_that_is_handed_out_twice_is_caught(monkeypatch: Patch) -> None:
    """One approval is one assignment."""
    assign = workflows_steps._assign

    def twice(*arguments: Any) -> None:
        assign(*arguments)
        assign(*arguments)

    monkeypatch.setattr(workflows_steps, "_assign", twice)
    assert "is handed out once" in caught_by(monkeypatch)


def test_a_dependency_that_is_ignored_is_caught(monkeypatch: Patch) -> None:
    """A step begins although what it needs is not done."""

    look = workflows_check.checked

    def blind(draft: Draft, event: Workflow) -> tuple[workflows_check.Graph, list[Trouble]]:
        graph, troubles = look(draft, event)
        return replace(graph, needs=tuple(() for _ in graph.needs)), troubles

    monkeypatch.setattr(workflows, "checked", blind)
    assert "when ['s" in caught_by(monkeypatch)


def test_an_output_that_is_left_out_is_caught(monkeypatch: Patch) -> None:
    """A step does not get what the steps before it brought."""
    monkeypatch.setattr(workflows_steps, "_inputs", lambda *_: ({}, []))
    assert "gets what the steps before it brought" in caught_by(monkeypatch)


def test_an_assignment_without_its_approval_is_caught(monkeypatch: Patch) -> None:
    """A step is handed out, and nobody is told that it may run."""

    def unsaid(draft: Draft, ask: Ask) -> None:
        if not ask.step:
            emit_answer(draft, ask)

    monkeypatch.setattr(decide, "emit_answer", unsaid)
    assert "beside its approval" in caught_by(monkeypatch)


def test_an_assignment_by_an_approval_that_is_not_in_force_is_caught(monkeypatch: Patch) -> None:
    """What goes out with a step is the decision that was made and no other."""
    monkeypatch.setattr(workflows_steps, "approval_of", lambda ask: {**approval_of(ask), "priority": 10})
    assert "beside its approval" in caught_by(monkeypatch)


def test_a_workflow_that_never_ends_is_caught(monkeypatch: Patch) -> None:
    """All of its steps have ended, and it has not."""

    def put_off(draft: Draft, key: str, flow: WorkflowRow) -> None:
        draft.put(key, flow)

    monkeypatch.setattr(workflows_ends, "_finish", put_off)
    assert "every workflow ends" in caught_by(monkeypatch)


def test_a_cost_that_is_counted_twice_is_caught(monkeypatch: Patch) -> None:
    """A workflow costs what its asks cost."""
    monkeypatch.setattr(workflows_steps, "cost_of", lambda ask: 2 * ask.cost)
    assert "its asks cost" in caught_by(monkeypatch)


def test_a_revoked_step_that_is_not_given_up_is_caught(monkeypatch: Patch) -> None:
    """The lease of a step ends, and it is taken to run on."""
    took = workflows_steps.took

    def deaf(draft: Draft, old: Ask | None, ask: Ask, *request: Any) -> None:
        if ask.answer.decision != "revoked":
            took(draft, old, ask, *request)

    monkeypatch.setattr(workflows, "took", deaf)
    assert "not so" in caught_by(monkeypatch)


def test_a_cancelled_workflow_that_lets_its_steps_run_is_caught(monkeypatch: Patch) -> None:
    """What runs of a workflow that is cancelled is revoked."""
    monkeypatch.setattr(workflows_ends, "_stop_ask", lambda *_: None)
    assert "has ended and" in caught_by(monkeypatch)


def test_a_step_that_is_completed_by_a_report_of_a_failure_is_caught(monkeypatch: Patch) -> None:
    """Only a report that says so completes a step."""
    verdict = workflows_steps._verdict

    def kind(draft: Draft, ask: Ask) -> Any:
        found = verdict(draft, ask)
        return found._replace(how="completed") if found.how == "again" else found

    monkeypatch.setattr(workflows_steps, "_verdict", kind)
    assert "is completed by a report" in caught_by(monkeypatch)


def test_a_workflow_whose_end_is_not_told_is_caught(monkeypatch: Patch) -> None:
    """Whoever has handed a workflow in hears how it ended."""
    told = workflows_status.tell_all

    def silent(draft: Draft) -> None:
        for key in list(draft.workflows):
            flow = draft.get(WORKFLOWS, key)
            draft.workflows[key] &= flow is None or not flow.ended_at
        told(draft)

    monkeypatch.setattr(workflows, "tell_all", silent)
    assert "it was told" in caught_by(monkeypatch)


def caught_by(monkeypatch: Patch, faults: Sequence[str] | None = None, length: int | None = None) -> str:
    """Give what is objected to; once the defect is mended the same history keeps every promise.

    `faults` and `length` are those that bring the defect about soonest; without them, what each seed chooses.
    """
    for seed in range(SEEDS):
        try:
            History(seed, faults=faults, length=length).run()
        except CATCHES as objection:
            monkeypatch.undo()
            History(seed, faults=faults, length=length).run()
            return str(objection)
    raise AssertionError(f"{SEEDS} histories did not notice")
