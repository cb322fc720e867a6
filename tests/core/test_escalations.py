"""The escalation object: all that people are shown, how often they are told, and what it may take."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace as replace_row

from ops_stream.core.inputs import Tick
from ops_stream.core.rows import ESCALATIONS, EscalationRow, encode_row
from ops_stream.core.rules_escalations import Rung, Trigger, escalations_of
from ops_stream.core.rules_model import Models, Rules, Supervisor
from ops_stream.core.rules_people import People, Person
from tests.core.policies import TestPolicies, TestPolicy
from tests.core.test_sizes import RECORD_MAX, record_bytes
from tests.core.test_step import ask, registered
from tests.core.world import DIGEST, TENANT, World
from tests.thorough import examples

ASKED = TestPolicy("dear", "escalate", parameters={"severity": "critical", "recommendation": "Look twice."})
TOLD = TestPolicy("told", "escalate", when="telemetry", condition="kind == 'failed'")


def _world(*policies: TestPolicy, strict: bool = True, **triggers: Trigger) -> World:
    rules = Rules(
        DIGEST,
        policies=TestPolicies(policies),
        escalations=escalations_of({(name, "*"): rule for name, rule in triggers.items()}),
    )
    return registered(World(rules, strict=strict))


def _say(world: World, verdict: str, by: str = "ann", which: int = -1, **fields: Any) -> dict[str, Any]:
    """Answer the latest open escalation, or another one; gives what came of it."""
    seen = [value for value in world.of("Escalation") if value["status"] == "open"][which]
    body = {
        "resolution_id": f"v{len(world.outputs)}",
        "escalation_id": seen["escalation_id"],
        "tenant": TENANT,
        "resolver": by,
        "verdict": verdict,
        "action_digest": seen["action_digest"],
        **fields,
    }
    world.send("resolutions", body)
    return world.of("Escalation")[-1]


def _report(world: World, request_id: str, kind: str, **fields: Any) -> None:
    body = {"event_id": f"e{len(world.partitions[0].journal)}", "kind": kind, "task_id": "t1", **fields}
    world.send("telemetry", {"request_id": request_id, "agent": "engineer", "tenant": TENANT, **body})


def _row(world: World, escalation_id: str) -> EscalationRow:
    return ESCALATIONS.decode(world.state.rows[f"escalation/{escalation_id}"])


def test_an_escalation_says_all_that_a_person_needs() -> None:
    """What is asked, what the supervisor would do, the money, the agent's record, and what happens when."""
    world = _world(ASKED)
    world.rules = Rules(
        DIGEST,
        policies=TestPolicies([ASKED]),
        escalations=escalations_of({}, {"*": (Rung(), Rung(600, frozenset(("lead",))))}),
    )
    request = ask(tool="browser", arguments={"url": "https://example.org"})
    world.send("task-requests", request)
    shown = world.of("Escalation")[0]
    waits = world.answers("r1")[0]
    seen = shown.pop("request")
    assert {name: seen[name] for name in request} == request
    assert shown == {
        "escalation_id": waits["escalation_id"],
        "request_id": "r1",
        "tenant": TENANT,
        "agent": "engineer",
        "trigger": "policy:dear",
        "triggers": ["policy:dear"],
        "severity": "critical",
        "summary": "Agent engineer asks: Do it.",
        "recommendation": "Look twice.",
        "at_stake_usd": 1,
        "action_digest": waits["action_digest"],
        "rules_digest": DIGEST,
        "quorum": 1,
        "opened_at": "2026-11-24T13:00:00.000Z",
        "expires_at": "2026-11-24T14:00:00.000Z",
        "on_expiry": "deny",
        "status": "open",
        "stage": "proposed",
        "level": 1,
        "levels": 2,
        "next_level_at": "2026-11-24T13:10:00.000Z",
        "count": 1,
        "asks": ["r1"],
        "votes": [],
        "agent_record": {
            "state": "registered",
            "done": 0,
            "failed": 0,
            "failures_in_a_row": 0,
            "cost_usd": 0,
            "violations_1d": 0,
            "scores": {"cost_efficiency": 0.7, "reliability": 0.7, "quality": 0.7, "speed": 0.7},
        },
    }


def test_the_agents_record_is_as_it_is_when_people_are_told() -> None:
    """What the agent has ended, spent and broken so far stands beside what it asks."""
    world = _world(TestPolicy("dear", "escalate", "cost > 5"))
    for number, kind in enumerate(("completed", "failed", "failed")):
        world.send("task-requests", ask(f"r{number}"))
        _report(world, f"r{number}", kind, cost_usd=0.5, quality_score=0.5)
    world.send("task-requests", ask("dear", estimated_cost_usd=6))
    record = world.of("Escalation")[-1]["agent_record"]
    assert {name: record[name] for name in ("state", "done", "failed", "failures_in_a_row", "cost_usd")} == {
        "state": "active",
        "done": 1,
        "failed": 2,
        "failures_in_a_row": 2,
        "cost_usd": 1.5,
    }
    assert record["scores"]["quality"] == (3 * 0.5 + 5 * 0.7) / 8


def test_a_votes_reason_and_time_are_told() -> None:
    """Who said what, when and why is part of the escalation from then on."""
    world = _world(TestPolicy("urgent", "escalate", "priority > 2"), policy=Trigger(on=True, quorum=2))
    world.send("task-requests", ask())
    world.now += 5_000
    told = _say(world, "approve", reason="I have looked twice.")
    assert told["votes"] == [
        {
            "resolver": "ann",
            "verdict": "approve",
            "at": "2026-11-24T13:00:05.000Z",
            "signed": False,
            "reason": "I have looked twice.",
        }
    ]
    told = _say(world, "edit", by="bob", edits={"priority": 1})
    assert told["votes"][1]["edits"] == {"priority": 1}
    told = _say(world, "edit", by="eve", edits={"priority": 1})
    assert told["status"] == "approved"


def test_no_escalation_has_the_id_of_an_earlier_one() -> None:
    """An id is a nonce: once an ask is forgotten, its id asked again opens another, which no old verdict ends."""
    world = _world(ASKED)
    world.rules = Rules(DIGEST, Supervisor(remember_s=60), policies=TestPolicies([ASKED]))
    world.send("task-requests", ask())
    _say(world, "deny")
    first = world.of("Escalation")[0]["escalation_id"]
    world.advance(61)
    assert world.ask_row("r1") is None
    world.send("task-requests", ask())
    assert world.of("Escalation")[-1]["status"] == "open"
    assert world.of("Escalation")[-1]["escalation_id"] != first
    _say(world, "approve", escalation_id=first)
    assert world.of("DeadLetter")[-1]["reason"] == "unknown_escalation"
    assert world.ask_row("r1").phase == "escalated"


def test_what_is_over_takes_little_room() -> None:
    """An escalation that is done keeps only what a late answer is told by, and is forgotten in time."""
    world = _world(ASKED)
    world.send("task-requests", ask(task_description="x" * 4_000))
    escalation = world.of("Escalation")[0]["escalation_id"]
    assert len(world.state.rows[f"escalation/{escalation}"]) > 4_000
    _say(world, "approve")
    _report(world, "r1", "completed")
    assert len(world.state.rows[f"escalation/{escalation}"]) < 700
    assert world.state.escalation_bytes < 700
    world.advance(86_401)
    assert not [key for key in world.state.rows if key.startswith(("escalation/", "fold/"))]
    assert world.state.escalation_bytes == 0


def test_edits_that_wait_for_other_votes_have_a_bound() -> None:
    """With a quorum, all edits together take at most 64 KiB; what would not fit is refused and is no vote."""
    world = _world(ASKED, policy=Trigger(on=True, quorum=3))
    world.send("task-requests", ask())
    for number in range(5):
        _say(world, "edit", by=f"p{number}", edits={"arguments": {"text": str(number) * 20_000}})
    assert [letter["reason"] for letter in world.of("DeadLetter")] == ["too_many_votes"] * 2
    assert [vote["resolver"] for vote in world.of("Escalation")[-1]["votes"]] == ["p0", "p1", "p2"]


ENDS = ("approve", "edit", "deny", "expire", "expire-approve", "kill", "changed")
CROWDS = [(9_000, end) for end in ENDS] + [(200_000, "approve"), (200_000, "changed")]


@pytest.mark.parametrize(("size", "end"), CROWDS)
def test_whatever_becomes_of_many_that_are_the_same_fits_into_records(size: int, end: str) -> None:
    """As many large asks as may wait together, and many policies that match: no record is too large for the journal."""
    many = [TestPolicy(f"policy-{'x' * 240}-{number}", "log") for number in range(examples(300, quick=60))]
    lenient = Trigger(on=True, on_expiry="approve" if end == "expire-approve" else "deny")
    world = _world(ASKED, *many, strict=False, policy=lenient)
    for number in range(100):
        world.send("task-requests", ask(f"r{number:03d}", effect="none", arguments={"text": "x" * size}))
    joined = world.of("Escalation")[-1]["count"]
    assert joined == {9_000: 100, 200_000: 5}[size]
    assert sum(value["reason"] == "overloaded" for value in world.of("TaskApproval")) == 100 - joined
    before = len(world.partitions[0].journal)
    if end == "kill":
        world.send("control", {"command_id": "k", "command": "kill", "issued_by": "olga"})
    elif end in ("expire", "expire-approve"):
        world.now += 3_600_000
    elif end == "changed":
        policies = TestPolicies([ASKED, TestPolicy("no", "block")])
        world.rules = Rules(
            DIGEST, policies=policies, blocking_digest="other", escalations=world.rules.escalations
        )
        _say(world, "approve")
    else:
        _say(world, end, edits={"priority": 6} if end == "edit" else None)
    while (due := world.state.next_due_ms()) is not None and due <= world.now:
        world.take(0, Tick())
    records = [entry.decision for entry in world.partitions[0].journal[before:]]
    assert max(record_bytes(decision) for decision in records) < RECORD_MAX
    phases = {world.ask_row(f"r{number:03d}").phase for number in range(joined)}
    wanted = {
        "approve": {"running", "escalated"},
        "edit": {"escalated"},
        "expire-approve": {"running", "ended"},
    }
    assert phases == wanted.get(end, {"ended"})
    if end == "expire-approve":
        assert sum(world.ask_row(f"r{number:03d}").phase == "running" for number in range(joined)) == 1
    waiting = [number for number in range(joined) if world.ask_row(f"r{number:03d}").phase == "escalated"]
    assert all(
        _row(world, world.ask_row(f"r{number:03d}").answer.escalation).status == "open" for number in waiting
    )


def test_a_level_that_was_reached_is_not_left_when_the_rules_change() -> None:
    """An escalation never climbs down: whoever was asked stays asked."""
    world = _world(ASKED)
    ladder = (Rung(), Rung(60), Rung(120))
    world.rules = Rules(DIGEST, policies=TestPolicies([ASKED]), escalations=escalations_of({}, {"*": ladder}))
    world.send("task-requests", ask())
    world.advance(121)
    assert world.of("Escalation")[-1]["level"] == 3
    world.rules = Rules(DIGEST, policies=TestPolicies([ASKED]))
    world.advance(3_600)
    assert [(value["level"], value["status"]) for value in world.of("Escalation")][2:] == [
        (3, "open"),
        (3, "expired"),
    ]


def test_a_vote_of_somebody_who_is_no_longer_listed_does_not_count() -> None:
    """Whoever was taken off the list of people before the others agreed is not one of the many."""

    def people(*names: str) -> People:
        return People(people={name: Person(name) for name in names})

    world = _world(ASKED, policy=Trigger(on=True, quorum=2))
    rules = world.rules
    world.rules = Rules(
        DIGEST, policies=rules.policies, escalations=rules.escalations, people=people("ann", "bob", "eve")
    )
    world.send("task-requests", ask())
    _say(world, "approve", by="ann")
    world.rules = Rules(
        DIGEST, policies=rules.policies, escalations=rules.escalations, people=people("bob", "eve")
    )
    assert _say(world, "approve", by="bob")["status"] == "open"
    assert _say(world, "approve", by="eve")["status"] == "approved"
    assert world.answers("r1")[-1]["approved_by"] == ["bob", "eve"]


def test_the_same_edit_is_the_same_however_it_is_written() -> None:
    """Numbers, the order of names and fields that stay as they are make no other edit."""
    world = _world(TestPolicy("urgent", "escalate", "priority > 2"), policy=Trigger(on=True, quorum=2))
    world.send("task-requests", ask())
    one = {"estimated_cost_usd": 3, "priority": 1, "arguments": {"a": 1, "b": [2, {"c": 3, "d": 4}]}}
    other = {"arguments": {"b": [2, {"d": 4, "c": 3}], "a": 1}, "priority": 1, "estimated_cost_usd": 3.0}
    told = _say(world, "edit", edits=one)
    assert told["votes"][0]["edits"] == one
    _say(world, "edit", by="bob", edits={**other, "retry_count": 0, "task_type": "general"})
    answer = world.answers("r1")[-1]
    assert (answer["reason"], answer["approved_by"]) == ("approved_with_changes", ["ann", "bob"])
    assert answer["edits"] == one


class _Broken(Models):
    """Models that fail when asked."""

    def known(self, model: str) -> bool:
        """Fail."""
        raise RuntimeError("a bug")


def test_a_failure_when_nobody_answered_denies_and_stops_nothing_else() -> None:
    """What would run unanswered is decided by every rule; where that fails it is denied, and the Tick goes on."""
    world = _world(ASKED, policy=Trigger(on=True, on_expiry="approve"))
    world.send("task-requests", ask("r1", effect="none"))
    world.send("task-requests", ask("r2", effect="none"))
    rules = world.rules
    world.rules = Rules(
        DIGEST, policies=rules.policies, escalations=rules.escalations, models=_Broken("large")
    )
    world.advance(3_600)
    for name in ("r1", "r2"):
        assert world.answers(name)[-1]["reason"] == "policy_error"
        assert "RuntimeError" in world.answers(name)[-1]["explanation"]
    assert world.of("Escalation")[-1]["status"] == "expired"


def test_an_agents_report_that_it_stopped_leaves_what_was_revoked_revoked() -> None:
    """The end of a revoked ask is told once more only where there is something new: what it cost."""
    world = _world(ASKED)
    world.send("task-requests", ask())
    _say(world, "approve")
    _report(world, "r1", "started")
    world.send("control", {"command_id": "k", "command": "kill", "issued_by": "olga"})
    assert world.of("Escalation")[-1]["outcome"] == "revoked"
    _report(world, "r1", "cancelled", cost_usd=0.25)
    assert (world.of("Escalation")[-1]["outcome"], world.of("Escalation")[-1]["cost_usd"]) == (
        "revoked",
        0.25,
    )


def test_a_kill_that_means_only_the_one_shown_leaves_the_others_waiting() -> None:
    """A model is stopped which the first was to use: the next one, which would use another, is shown."""
    world = _world(ASKED)
    for name, model in (("r1", "large"), ("r2", "small")):
        world.rules = Rules(DIGEST, policies=TestPolicies([ASKED]), models=Models(model, ("large", "small")))
        world.send("task-requests", ask(name))
    kill = {"command_id": "k", "command": "kill", "scope": "model", "target": "large", "issued_by": "olga"}
    world.send("control", kill)
    assert world.answers("r1")[-1]["reason"] == "kill_switch"
    told = world.of("Escalation")[-1]
    assert (told["status"], told["request_id"], told["asks"]) == ("open", "r2", ["r2"])
    _say(world, "approve")
    assert world.answers("r2")[-1]["decision"] == "approved"


def test_rows_of_before_are_read_as_before() -> None:
    """An escalation that an earlier version opened is answered as it was then: one person decides."""
    world = _world(ASKED)
    world.send("task-requests", ask())
    key = next(key for key in world.state.rows if key.startswith("escalation/"))
    row = ESCALATIONS.decode(world.state.rows[key])
    old = replace_row(row, fold="", told=0, blocking="", asks=(), count=1)
    world.state.apply({key: encode_row(old), row.fold: None})
    assert _say(world, "approve")["status"] == "approved"
    assert world.answers("r1")[-1]["reason"] == "approved_after_review"


def test_an_edit_makes_no_ask_larger_than_one_that_an_agent_may_send() -> None:
    """Two edits after one another would otherwise make it grow without end."""
    world = _world(ASKED)
    world.send("task-requests", ask("r1", arguments={"text": "x" * 200_000}))
    _say(world, "edit", edits={"attributes": {f"n{number}": "y" * 2_000 for number in range(50)}})
    assert [letter["reason"] for letter in world.of("DeadLetter")] == ["malformed_edit"]
    assert world.ask_row("r1").phase == "escalated"
