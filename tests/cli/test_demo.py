"""What the demo counts and shows of the topics that it watches. No broker."""

from __future__ import annotations

from typing import Any

from rich.console import Console

from ops_stream.demo.show import Screen
from ops_stream.demo.watch import Seen, Watch

ASK = {"request_id": "46-1.10", "agent": "support-12", "tool": "update_reservation_passengers"} | {
    "estimated_cost_usd": 0.0123
}


def answer(number: int, decision: str, reason: str = "") -> dict[str, Any]:
    """A decision about the ask."""
    return {
        "request_id": ASK["request_id"],
        "approval_id": f"ap_{number}",
        "decision": decision,
        "reason": reason or decision,
    }


def test_an_answer_that_is_repeated_counts_once() -> None:
    """An ask that is made again gets the decision in force again; what is decided anew about it counts."""
    shown: list[Seen] = []
    watch = Watch(shown.append)
    watch._on_approval(1_004, answer(1, "queued"))  # seen before its ask
    watch._on_request(1_000, ASK)
    for body in (answer(1, "queued"), answer(2, "approved"), answer(2, "approved")):
        watch._on_approval(2_000, body)
    assert (watch.decisions["queued"], watch.decisions["approved"]) == (1, 1)
    assert [seen.latency_ms for seen in shown] == [4, None]


def test_a_decision_is_a_line_of_80_columns_unless_it_has_a_reason_of_its_own() -> None:
    """No name of the recording is longer than these."""
    console = Console(width=80, no_color=True)
    with console.capture() as capture:
        for decision, reason in (("escalated", ""), ("denied", "budget_exhausted")):
            Screen(console, as_json=False).decision(Seen(answer(1, decision, reason), ASK, 1_234))
    plain, with_reason = capture.get().splitlines()
    assert plain.endswith(" escalated") and len(plain) <= 80
    assert with_reason.endswith(" denied budget_exhausted")
