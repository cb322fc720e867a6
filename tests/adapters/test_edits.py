"""What a person changed about an ask, as the agent's code gets it."""

from __future__ import annotations

from typing import Any

import pytest

from agents_adapter import Approval, Denied, OpsClient, supervised
from ops_stream.contract.digest import action_digest
from ops_stream.contract.models import TaskApproval, TaskRequest
from tests.adapters.responder import RULES, Responder

ASKED = TaskRequest.from_wire(
    {
        "request_id": "r1",
        "task_id": "t1",
        "agent": "clerk",
        "task_description": "Pay the invoice",
        "tool": "pay",
        "arguments": {"amount": 900, "to": "acme"},
        "estimated_cost_usd": 0.5,
        "tags": ["money"],
    }
)


def given(edits: dict[str, Any] | None, approved: TaskRequest, **fields: Any) -> Approval:
    """Give an approval of something, which tells these edits."""
    body = {
        "approval_id": "a1",
        "request_id": "r1",
        "task_id": "t1",
        "tenant": "default",
        "agent": "clerk",
        "decision": "approved",
        "sequence": 1,
        "reason": "approved_with_changes",
        "explanation": "With changes.",
        "action_digest": action_digest(approved),
        "priority": 5,
        "matched_policies": [],
        "rules_digest": RULES,
        "decided_at": "2026-11-24T13:00:00.000Z",
        **({} if edits is None else {"edits": edits}),
        **fields,
    }
    return Approval(ASKED, TaskApproval.from_wire(body))


def edited(**changes: Any) -> TaskRequest:
    """Give what was asked with other values."""
    return TaskRequest.from_wire({**ASKED.wire(), **changes})


def test_an_approval_of_what_was_asked_runs_as_it_is() -> None:
    """Nothing is changed; what to run is the request itself."""
    approval = given(None, ASKED, reason="approved_after_review", approved_by=["ann", "bob"])
    assert not approval.changed
    assert approval.edits == {}
    assert approval.to_run is approval.request
    assert approval.approved_by == ("ann", "bob")


@pytest.mark.parametrize(
    "changes",
    [
        {"arguments": {"amount": 90, "to": "acme"}},
        {"estimated_cost_usd": 0.1, "task_description": "Pay a tenth of it"},
        {"tool": None, "arguments": None},
        {"tags": []},
    ],
)
def test_the_edits_make_of_the_ask_what_was_approved(changes: dict[str, Any]) -> None:
    """Money, free-form values, fields taken away: the digest proves that nothing is missing."""
    approval = given(changes, edited(**changes))
    assert approval.changed
    assert approval.edits == changes
    assert approval.to_run == edited(**changes)


@pytest.mark.parametrize(
    "told", [None, {}, {"tool": "transfer"}, {"priority": 99}, {"arguments": {"amount": 90, "to": "mallory"}}]
)
def test_edits_that_do_not_make_what_was_approved_make_nothing(told: dict[str, Any] | None) -> None:
    """Missing, incomplete, invalid or other edits: there is nothing that is known to be approved."""
    approval = given(told, edited(arguments={"amount": 90, "to": "acme"}, tool="transfer"))
    assert approval.changed
    assert approval.to_run is None


def test_without_an_answer_nobody_changed_anything() -> None:
    """An observing client that runs on unanswered runs what it asked."""
    approval = Approval(ASKED, None)
    assert (approval.changed, approval.edits, approval.approved_by) == (False, {}, ())
    assert approval.to_run is ASKED


async def _edited_answer(responder: Responder, ask: TaskRequest, told: dict[str, Any]) -> None:
    approved = TaskRequest.from_wire({**ask.wire(), "arguments": {"amount": 90}})
    await responder.answer(ask, "escalated")
    await responder.answer(
        ask,
        sequence=1,
        reason="approved_with_changes",
        action_digest=action_digest(approved),
        edits=told,
        approved_by=["ann"],
    )


@pytest.mark.bus
async def test_apply_runs_what_was_approved(client: OpsClient, responder: Responder) -> None:
    """The call goes out with the amount that a person put in the place of the one asked for."""
    responder.on_ask = lambda ask: _edited_answer(responder, ask, {"arguments": {"amount": 90}})
    paid = []

    def as_approved(approval: Approval, args: Any, kwargs: Any) -> Any:
        assert approval.to_run is not None
        assert approval.approved_by == ("ann",)
        return (), approval.to_run.arguments

    @supervised(
        client, agent="clerk", estimate=lambda args: {"arguments": {"amount": args[0]}}, apply=as_approved
    )
    async def pay(amount: int) -> None:
        paid.append(amount)

    await pay(900)
    assert paid == [90]


@pytest.mark.bus
async def test_without_apply_the_refusal_names_what_was_changed(
    client: OpsClient, responder: Responder
) -> None:
    """Nothing runs, and the sentence says which fields a person changed."""
    responder.on_ask = lambda ask: _edited_answer(responder, ask, {"arguments": {"amount": 90}})
    with pytest.raises(Denied, match=r"with changes \(arguments\)"):
        await client.ask("clerk", "Pay", arguments={"amount": 900})
    await responder.report("cancelled")


@pytest.mark.bus
async def test_edits_that_do_not_fit_the_digest_are_refused_also_with_apply(
    client: OpsClient, responder: Responder
) -> None:
    """What is told as approved is not what was: fail closed, before `apply` sees it."""
    responder.on_ask = lambda ask: _edited_answer(responder, ask, {"arguments": {"amount": 89}})
    with pytest.raises(Denied, match="do not make of the ask what was approved"):
        await client.ask("clerk", "Pay", arguments={"amount": 900}, accept_changes=True)
    await responder.report("cancelled")
