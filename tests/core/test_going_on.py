"""Asks that wait on when the one before them has been decided: under the rules of that moment."""

from __future__ import annotations

from typing import Any

import pytest

from ops_stream.core.rules_escalations import OnExpiry, Trigger, escalations_of
from ops_stream.core.rules_model import Rules
from tests.core.policies import TestPolicies, TestPolicy
from tests.core.test_step import ask, registered
from tests.core.world import TENANT, World

KINDS = (
    "agent",
    "record",
    "ask",
    "escalation",
    "fold",
    "rules",
    "budget",
    "position",
    "suspension",
    "spending",
    "learned",
    "tally",
)


def rules(name: str, quorum: int, on_expiry: OnExpiry, *, block: str = "False", ttl_s: int = 600) -> Rules:
    """Rules under which every ask waits for people."""
    trigger = Trigger(on=True, quorum=quorum, on_expiry=on_expiry, ttl_s=ttl_s)
    return Rules(
        f"sha256:{name * 64}",
        policies=TestPolicies([TestPolicy("p", "escalate"), TestPolicy("b", "block", block)]),
        blocking_digest=block,
        escalations=escalations_of({("policy", "*"): trigger}),
    )


def world_of(*asks: dict[str, Any]) -> World:
    """A world in which the same asks wait, one person is enough, and silence lets one run."""
    world = registered(World(rules("1", 1, "approve")))
    for number, fields in enumerate(asks):
        world.send("task-requests", ask(f"r{number}", effect="none", **fields))
    return world


def still_open(world: World) -> list[dict[str, Any]]:
    """The escalations that are open, as they were told last."""
    latest = {value["escalation_id"]: value for value in world.of("Escalation")}
    return [value for value in latest.values() if value["status"] == "open"]


def say(world: World, verdict: str, by: str, **fields: Any) -> dict[str, Any]:
    """Answer what is shown last; gives the escalation that is told last then."""
    seen = still_open(world)[-1]
    body = {
        "resolution_id": f"v{len(world.outputs)}",
        "escalation_id": seen["escalation_id"],
        "tenant": TENANT,
        "resolver": by,
        "verdict": verdict,
        "action_digest": seen["action_digest"],
        "rules_digest": seen["rules_digest"],
        **fields,
    }
    world.send("resolutions", body)
    return world.of("Escalation")[-1]


def decisions(world: World, request_id: str) -> list[str]:
    """What an ask was answered, one after the other."""
    return [one["decision"] for one in world.of("TaskApproval") if one["request_id"] == request_id]


def test_what_waits_on_is_held_to_what_the_rules_demand_by_then() -> None:
    """One was enough for the first; for the others three must agree, silence denies, and that sooner."""
    world = world_of({}, {}, {})
    world.rules = rules("2", 3, "deny", ttl_s=60)
    shown = say(world, "approve", "ann")
    assert (shown["request_id"], shown["quorum"], shown["on_expiry"]) == ("r1", 3, "deny")
    say(world, "approve", "ann")
    assert decisions(world, "r1")[-1] == "escalated"
    world.advance(61)
    assert [decisions(world, one)[-1] for one in ("r0", "r1", "r2")] == ["approved", "denied", "denied"]


def test_so_it_is_where_the_first_is_blocked_by_then() -> None:
    """What blocks has changed: the first is denied, and nobody alone lets the next one run."""
    world = world_of({}, {"retry_count": 1})
    world.rules = rules("2", 3, "deny", block="retry_count == 0")
    shown = say(world, "approve", "ann")
    assert decisions(world, "r0")[-1] == "denied"
    assert (shown["request_id"], shown["quorum"]) == ("r1", 3)


@pytest.mark.parametrize("verdict", ["approve", "deny"])
def test_rows_have_names_whatever_waits_behind_what(verdict: str) -> None:
    """An edit that changes nothing puts the first behind the others: nothing is left without a name, or at all."""
    world = world_of({}, {}, {})
    say(world, "edit", "ann", edits={})
    for number in range(3):
        if still_open(world):
            say(world, verdict, f"p{number}")
    assert not still_open(world)
    assert {key.partition("/")[0] for key in world.state.rows} <= set(KINDS)
    assert not [key for key in world.state.rows if key.startswith("fold/")]
