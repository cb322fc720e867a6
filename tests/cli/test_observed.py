"""The summary of observe mode: what is counted, and that memory does not grow with the asks. No broker is needed."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from ops_stream.cli import observed
from ops_stream.cli.observed import COLUMNS, OTHERS, Observation, Reader, Summary, estimate_of
from ops_stream.cli.output import Out
from ops_stream.contract.codec import encode_avro

DAY = "2026-11-24"
AT = f"{DAY}T10:00:00.000Z"


def approval(
    number: int = 1, would: tuple[str, str] = ("approved", "approved"), **more: Any
) -> dict[str, Any]:
    """Give a TaskApproval of observe mode."""
    return {
        "approval_id": f"ap_{number}",
        "request_id": f"r{number}",
        "task_id": "t",
        "tenant": "team-a",
        "agent": "a",
        "decision": "approved",
        "sequence": 0,
        "reason": "approved",
        "explanation": "Observed only.",
        "action_digest": "sha256:" + "0" * 64,
        "priority": 5,
        "matched_policies": [],
        "would_have": {"decision": would[0], "reason": would[1]},
        "rules_digest": "sha256:" + "0" * 64,
        "decided_at": AT,
        **more,
    }


def record(body: dict[str, Any], place: str = "1:5:0", time: str | None = None, avro: bool = False) -> Any:
    """Give the record that carries an approval."""
    headers = [("ops-journal", place.encode()), ("ce_time", (time or body["decided_at"]).encode())]
    if avro:
        headers.append(("content-type", b"application/avro"))
    value = encode_avro("TaskApproval", body) if avro else json.dumps(body).encode()
    return SimpleNamespace(
        topic="approvals", partition=1, offset=0, timestamp=0, key=b"team-a", value=value, headers=headers
    )


def observation(
    number: int = 1, would: tuple[str, str] = ("denied", "policy_blocked"), **more: Any
) -> Observation:
    """Give what is read of an approval."""
    found = Reader().take(record(approval(number, would, **more)))
    assert found is not None
    return found


def policy(name: str, action: str = "block", shadow: bool = False) -> dict[str, Any]:
    """Give a policy that matched."""
    return {"name": name, "action": action, "shadow": shadow}


def test_a_day_sums_what_would_have_been_stopped_by_reason_by_policy_and_in_money() -> None:
    """An ask that would run counts as observed and no more; a policy counts where it would have stopped the ask, so
    neither as a shadow nor for a note in the log."""
    found = Summary()
    found.add(observation(1, ("approved", "approved"), cost_limit_usd=9))
    blocked = [policy("never"), policy("noted", "log"), policy("tried", shadow=True)]
    found.add(observation(2, cost_limit_usd=0.1, matched_policies=blocked))
    found.add(observation(3, cost_limit_usd=0.2, matched_policies=[policy("never")]))
    found.add(
        observation(
            4, ("escalated", "escalated"), cost_limit_usd=5, matched_policies=[policy("dear", "escalate")]
        )
    )
    assert list(found.rows()) == [
        {
            "day": DAY,
            "tenant": "team-a",
            "asks": 4,
            "stopped": 3,
            "decisions": [
                {"decision": "denied", "reason": "policy_blocked", "asks": 2},
                {"decision": "approved", "reason": "approved", "asks": 1},
                {"decision": "escalated", "reason": "escalated", "asks": 1},
            ],
            "policies": [
                {"name": "never", "action": "block", "asks": 2},
                {"name": "dear", "action": "escalate", "asks": 1},
            ],
            "stopped_usd": 5.3,
            "unpriced": 0,
        }
    ]


def test_days_and_tenants_are_kept_apart_and_the_latest_day_comes_first() -> None:
    """A day is one of UTC; within it tenants come by name."""
    found = Summary()
    for number, (time, tenant) in enumerate(
        [
            (f"{DAY}T23:59:59.999Z", "b"),
            ("2026-11-25T00:00:00.000Z", "b"),
            ("2026-11-25T01:00:00.000Z", "a"),
        ]
    ):
        found.add(observation(number, tenant=tenant, decided_at=time))
    assert [(row["day"], row["tenant"]) for row in found.rows()] == [
        ("2026-11-25", "a"),
        ("2026-11-25", "b"),
        (DAY, "b"),
    ]
    assert [row["day"] for row in found.rows("b")] == ["2026-11-25", DAY]


def test_an_ask_for_which_nothing_was_held_is_priced_by_its_estimate_once() -> None:
    """What would not have fitted into a budget holds nothing; where there is no estimate, it is counted as unknown."""
    found = Summary()
    for number in (1, 2):
        found.add(observation(number, ("denied", "budget_exhausted")))
    ask = {"request_id": "r1", "tenant": "team-a", "estimated_cost_usd": 2.5}
    for _ in range(2):
        estimate = estimate_of(SimpleNamespace(value=json.dumps(ask).encode(), headers=[]))
        assert estimate == ("team-a", "r1", 2_500_000)
        found.price(*estimate)
    (row,) = found.rows()
    assert (row["stopped_usd"], row["unpriced"]) == (2.5, 1)
    shown = Out(as_json=False, color=False, terminal=False).render([row], COLUMNS)
    assert "$2.50 + 1 of unknown cost" in shown
    assert "denied budget_exhausted 2" in shown


@pytest.mark.parametrize(
    "value", [b"", b"[]", b"{", b'{"request_id":"r"}', b'{"request_id":"r","estimated_cost_usd":-1}']
)
def test_what_tells_no_estimate_is_passed_over(value: bytes) -> None:
    """Anybody may write to the topic of asks."""
    assert estimate_of(SimpleNamespace(value=value, headers=[])) is None


def test_each_decision_counts_once() -> None:
    """Not when it is published a second time, when it is late, or when the same ask is asked again and answered with
    the decision that it has; and only where the supervisor wrote it."""
    reader = Reader()
    assert reader.take(record(approval(1), "1:5:0")) is not None
    assert reader.take(record(approval(1), "1:5:0")) is None, "published again"
    assert reader.take(record(approval(2), "1:4:0")) is None, "late"
    assert reader.take(record(approval(1), "1:6:0", time=f"{DAY}T10:00:01.000Z")) is None, "asked again"
    assert reader.take(record(approval(3), "")) is None, "not the supervisor's"
    plain = {name: value for name, value in approval(4).items() if name != "would_have"}
    assert reader.take(record(plain, "1:7:0")) is None, "not observed"
    assert reader.take(record(approval(5), "1:8:0")) is not None
    assert Reader(since_ms=2**42).take(record(approval(6), "1:9:0")) is None, "of a day before"


def test_an_answer_in_avro_counts_like_one_in_json() -> None:
    """The encoding is that of who asked."""
    body = approval(1, ("denied", "policy_blocked"), cost_limit_usd=0.25, matched_policies=[policy("never")])
    assert Reader().take(record(body, avro=True)) == Reader().take(record(body))


def test_memory_is_bounded_whatever_is_observed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups, names and asks that are looked up have a most; what comes beyond is still counted."""
    monkeypatch.setattr(observed, "GROUPS_MAX", 2)
    monkeypatch.setattr(observed, "NAMES_MAX", 3)
    monkeypatch.setattr(observed, "UNPRICED_MAX", 4)
    found = Summary()
    for number in range(10):
        tenant = f"tenant-{number}"
        found.add(observation(number, tenant=tenant, matched_policies=[policy("same")]))
        found.add(observation(number, tenant="tenant-0", matched_policies=[policy(f"p{number}")]))
    assert len(found.groups) <= 2 + 1
    assert sum(group.asks for group in found.groups.values()) == 20
    assert len(found.unpriced) == 4
    policies = found.groups[DAY, "tenant-0"].policies
    assert len(policies) <= 3 + 1
    assert policies[OTHERS, ""] > 0
    assert sum(group.unpriced for group in found.groups.values()) == 20
