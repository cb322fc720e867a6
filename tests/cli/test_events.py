"""Every event in one line that a terminal can show, whatever it holds."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ops_stream.cli.events import line_of, money, read_event
from ops_stream.contract.codec import encode_json
from ops_stream.core.journal.record import decode_outputs, read
from tests.audit.journals import ordinary_day

DAY = ordinary_day()
EVIL = "\x1b[2J\x07 \u202e" + "x" * 500


def seen_in(topic: str, value: bytes | None, **headers: bytes) -> Any:
    """Read a record."""
    record = SimpleNamespace(
        partition=0,
        offset=7,
        timestamp=1_790_000_000_000,
        key=b"default",
        value=value,
        headers=tuple(headers.items()),
    )
    return read_event(topic, record)


ASK = {"request_id": "r", "task_id": "t", "agent": "a"}
VERDICT = {"resolution_id": "r", "escalation_id": "e", "resolver": "x", "verdict": "deny"}
LETTER = {
    "topic": "t",
    "partition": 0,
    "offset": 1,
    "headers": [],
    "reason": "r",
    "at": "2026-11-24T00:00:00Z",
}


@pytest.mark.parametrize(
    ("topic", "body"),
    [
        ("task-requests", {**ASK, "task_description": EVIL}),
        ("telemetry", {**ASK, "event_id": "e", "kind": "failed", "error": EVIL}),
        ("agents", {"event": "AgentRegistration", "agent": "a", "role": EVIL[:200], "capabilities": []}),
        ("resolutions", {**VERDICT, "reason": EVIL}),
        ("control", {"command_id": "c", "command": "kill", "issued_by": "x", "reason": EVIL}),
        ("dead-letters", {**LETTER, "explanation": EVIL}),
    ],
)
def test_hostile_text_is_shown_on_one_line_and_cut(topic: str, body: dict[str, Any]) -> None:
    """Escape sequences are text, and nobody fills the screen."""
    seen = seen_in(topic, encode_json(body))
    assert seen.body is not None, seen.problem
    subject, text, _ = line_of(seen)
    assert (subject + text).isprintable()
    assert len(text) <= 160
    assert "\\e[2J" in text


def test_everything_that_a_supervisor_writes_has_its_line() -> None:
    """Outputs and journal records of an ordinary day."""
    topics = set()
    for _, value in DAY.log:
        assert value is not None
        assert "→" in line_of(seen_in("journal", value))[1]
        for output in decode_outputs(read(value).outputs):
            seen = seen_in(output.topic, bytes(output.value))
            assert seen.body is not None, seen.problem
            assert line_of(seen)[1].strip()
            topics.add(output.topic)
    assert {"approvals", "agent-status", "alerts", "dead-letters"} <= topics


def test_a_figure_is_shown_with_its_fraction() -> None:
    """What it is of, its value, what that was made from, its window and where it goes."""
    figure = {"kpi": "success_rate", "scope": "tenant/team-a", "tenant": "team-a", "window_s": 3600}
    figure |= {"window_start": "2026-11-24T13:00:00.000Z", "numerator": 3, "denominator": 4, "samples": 4}
    seen = seen_in("kpis", encode_json(figure | {"value": 0.75, "trend": "falling", "closed": True}))
    fraction = "3/4 in 1h since 2026-11-24T13:00:00.000Z"
    assert line_of(seen)[:2] == ("tenant/team-a", f"success_rate 0.75 ({fraction}) falling closed")
    empty = seen_in("kpis", encode_json(figure | {"numerator": 0, "denominator": 0, "samples": 0}))
    assert "nothing to divide by" in line_of(empty)[1]


@pytest.mark.parametrize("value", [None, b"", b"\xff", b"[]", b"{}", b"\x1b[2J"])
def test_what_cannot_be_read_is_shown_as_that(value: bytes | None) -> None:
    """With the reason and how it begins; as JSON with its bytes."""
    seen = seen_in("approvals", value)
    assert seen.body is None
    _, text, color = line_of(seen)
    assert text.startswith("cannot be read: ")
    assert text.isprintable()
    assert color == "red"
    assert seen.as_dict()["problem"]


def test_the_tenant_of_a_record_is_what_it_says_else_its_key() -> None:
    """A journal record is nobody's; a dead letter belongs to whom its key names."""
    assert seen_in("telemetry", b"rubbish").tenant == "default"
    assert seen_in("journal", DAY.log[0][1]).tenant == ""
    ask = encode_json({**ASK, "task_description": "d", "tenant": "x"})
    assert seen_in("task-requests", ask).tenant == "x"


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "$0.00"),
        (1234.5, "$1,234.50"),
        (0.000001, "$0.000001"),
        (None, ""),
        (2, "$2.00"),
        (0.125, "$0.125"),
    ],
)
def test_money_has_two_places_or_as_many_as_it_needs(amount: float | None, text: str) -> None:
    """Micro-dollars are not rounded away."""
    assert money(amount) == text
