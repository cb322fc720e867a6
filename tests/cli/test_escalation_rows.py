"""What a person reads of escalations, without a broker: how events fold, the list on any terminal, the page."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest

from ops_stream.cli import escalation_show
from ops_stream.cli.bus import Bus
from ops_stream.cli.escalation_rows import (
    COLUMNS,
    ID,
    Known,
    agreed,
    agreed_with,
    by_urgency,
    columns_for,
    find,
    take_in,
    votes,
)
from ops_stream.cli.escalation_show import page
from ops_stream.cli.events import line_of
from ops_stream.cli.output import UNSAFE, Out
from ops_stream.contract.codec import encode_json
from ops_stream.contract.errors import NotSo
from ops_stream.contract.models import Escalation, TaskApproval
from ops_stream.contract.settings import Settings

EVIL = "\x1b[2J\u202e\x07 $(reboot)\nsecond line"
LINES = Out(as_json=False, color=False, terminal=False)
SHOWN = Out(as_json=False, color=True, terminal=True)


def wire(**changes: Any) -> dict[str, Any]:
    """Give an escalation as the supervisor writes it, with changes."""
    body = {
        "escalation_id": "esc_1",
        "tenant": "team-a",
        "trigger": "policy:dear",
        "severity": "warning",
        "summary": "Agent payer asks: pay",
        "recommendation": "Deny, because of policy dear.",
        "rules_digest": "sha256:" + "0" * 64,
        "expires_at": "2126-11-24T00:00:00Z",
        "opened_at": "2026-11-24T00:00:00Z",
        "status": "open",
        "level": 1,
        "count": 1,
    }
    return Escalation.from_wire(body | changes).wire()


def row(**changes: Any) -> dict[str, Any]:
    """Give an escalation as the command line holds it, with changes."""
    return wire(**changes) | {"at_ms": 0}


def vote(resolver: str, verdict: str = "approve", **more: Any) -> dict[str, Any]:
    """Give a vote."""
    return {"resolver": resolver, "verdict": verdict, "at": "2026-11-24T00:00:00Z", **more}


def seen(**changes: Any) -> Any:
    """Give an event as it is read from the topic."""
    return SimpleNamespace(body=row(**changes), timestamp_ms=5, event="Escalation", topic="escalations")


def test_a_later_event_holds_all_but_the_ask_that_was_shown() -> None:
    """Votes that were taken back are gone, and so is a level that nothing follows; the ask stays to be read."""
    known: Known = {}
    request = {"request_id": "r", "task_id": "t", "agent": "a", "task_description": "pay"}
    take_in(known, seen(request=request, votes=[vote("ana")], next_level_at="2026-11-25T00:00:00Z"))
    changed = take_in(known, seen(status="denied"))
    assert changed is known["esc_1"]
    assert changed is not None
    assert (changed["status"], changed["request"], changed["votes"]) == ("denied", request, [])
    assert "next_level_at" not in changed
    assert take_in(known, SimpleNamespace(body=None)) is None  # type: ignore[arg-type]


def test_the_most_urgent_stands_first() -> None:
    """Open before closed, critical before the rest, then what expires first."""
    rows = [
        row(escalation_id="closed", status="denied", severity="critical"),
        row(escalation_id="later"),
        row(escalation_id="sooner", expires_at="2026-11-24T01:00:00Z"),
        row(escalation_id="critical", severity="critical"),
        row(escalation_id="info", severity="info"),
    ]
    order = [one["escalation_id"] for one in by_urgency(rows)]
    assert order == ["critical", "sooner", "later", "info", "closed"]


def test_votes_for_the_same_are_counted_together() -> None:
    """Two approvals, or two of the same edit; a denial agrees with nothing. Where one is enough nothing is shown."""
    given = [vote("a"), vote("b", "edit", edits={"priority": 1}), vote("c", "edit", edits={"priority": 1})]
    mixed = row(quorum=3, votes=[*given, vote("d", "edit", edits={"priority": 2}), vote("e", "deny")])
    assert (agreed(mixed), votes(mixed)) == (2, "2/3")
    assert [agreed_with(mixed, name) for name in "abcde"] == [1, 2, 2, 1, 1]
    assert votes(row(votes=[vote("a")])) == ""


@pytest.mark.parametrize("width", [40, 80, 99, 100, 139, 140, 300])
@pytest.mark.parametrize("closed_too", [True, False])
def test_the_list_has_the_id_and_the_summary_at_every_width(width: int, closed_too: bool) -> None:
    """The status only where closed ones are shown, the votes and the level only where they say something."""
    for rows in ([row()], [row(), row(quorum=2, levels=3)]):
        titles = [column.title for column in columns_for(rows, width, closed_too=closed_too)]
        assert titles[0] == ID.title
        assert titles[-1] == "summary"
        assert ("status" in titles) is closed_too
        assert ("votes" in titles) is (len(rows) == 2 and width >= 100)
        assert len(titles) == len(set(titles)) <= len(COLUMNS)


@pytest.mark.parametrize("out", [LINES, SHOWN], ids=["lines", "terminal"])
def test_nothing_of_a_page_acts_on_the_terminal(out: Out) -> None:
    """Whatever an agent, an operator or a person wrote is text, in every field."""
    request = {
        "request_id": "r",
        "task_id": "t",
        "agent": "a",
        "task_description": EVIL,
        "tool": EVIL,
        "arguments": {EVIL: [EVIL]},
        "tags": [EVIL],
        "estimated_cost_usd": 3,
    }
    hostile = row(
        trigger=EVIL,
        triggers=[EVIL, f"words:{EVIL}", "cost"],
        summary=EVIL,
        recommendation=EVIL,
        subject=EVIL,
        agent="a",
        request=request,
        roles=[EVIL],
        quorum=2,
        count=3,
        asks=["r", "r2"],
        agent_record={EVIL: EVIL, "scores": {EVIL: EVIL}, "cost_usd": EVIL},
        votes=[vote("ana", EVIL, reason=EVIL, signed=True, key_id=EVIL, edits={EVIL: EVIL})],
    )
    ours = {"\x1b[0m", "\x1b[1m", "\x1b[32m", "\x1b[33m", "\x1b[90m"} if out.color else set()
    shown = page(out, hostile)
    for code in ours:
        shown = shown.replace(code, "")
    assert not UNSAFE.search(shown.replace("\n", ""))
    assert "\\e[2J" in shown


def test_a_page_names_what_calls_and_what_became_of_it() -> None:
    """Triggers in words, the demand for roles, the ladder's last level; in the end the outcome and its cost."""
    shown = page(LINES, row(trigger="words:legal", triggers=["words:legal", "loop:repeat", "new:thing"]))
    assert "legal words, a loop (repeat), new:thing" in shown
    shown = page(LINES, row(roles=["lead", "legal"], level=2, levels=2))
    assert "one of: lead, legal" in shown
    assert "2 of 2, the last" in shown
    done = row(
        status="approved", stage="done", outcome="failed", cost_usd=1.5, ended_at="2026-11-24T00:00:00Z"
    )
    assert "it was tried and failed, for $1.50" in page(LINES, done)
    unanswered = row(asks=["r"], on_expiry="approve")
    assert "then it is approved" in page(LINES, unanswered)


def test_a_long_text_goes_on_below_itself_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """And every word of it is there; elsewhere it is one line, for grep."""
    monkeypatch.setattr(escalation_show, "get_terminal_size", lambda: os.terminal_size((60, 20)))
    advice = " ".join(f"word{number}" for number in range(40))
    plain = Out(as_json=False, color=False, terminal=True)
    lines = page(plain, row(recommendation=advice)).splitlines()
    assert max(map(len, lines[:10])) <= 60
    assert all(word in " ".join(lines) for word in advice.split())
    assert any(advice in line for line in page(LINES, row(recommendation=advice)).splitlines())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "open Agent payer asks: pay"),
        ({"level": 2, "count": 3}, "open level 2 3x Agent"),
        ({"quorum": 2, "votes": [vote("ana")]}, "open 1 of 2 votes Agent"),
        ({"status": "approved", "quorum": 2, "outcome": "completed"}, "approved (completed) Agent"),
        ({"status": "denied", "outcome": "not_run"}, "denied Agent"),
    ],
)
def test_a_line_of_tail_says_how_far_an_escalation_is(changes: dict[str, Any], said: str) -> None:
    """Its level, its votes, how often, and what came of it: as far as there is anything to say."""
    assert line_of(seen(**changes))[1].startswith(said)


def test_a_line_of_tail_says_what_was_edited() -> None:
    """An approval with changes names the fields."""
    body = {
        "approval_id": "a",
        "request_id": "r",
        "task_id": "t",
        "tenant": "d",
        "agent": "a",
        "decision": "approved",
        "sequence": 1,
        "reason": "approved_with_changes",
        "explanation": "",
        "action_digest": "sha256:" + "0" * 64,
        "priority": 5,
        "matched_policies": [],
        "rules_digest": "sha256:" + "0" * 64,
        "decided_at": "2026-11-24T00:00:00Z",
        "edits": {"tool": None, "priority": 5},
    }
    body = TaskApproval.from_wire(body).wire()
    text = line_of(SimpleNamespace(body=body, event="TaskApproval"))[1]  # type: ignore[arg-type]
    assert text.startswith("approved (approved_with_changes) (edited: priority, tool) for a")


async def test_one_is_found_without_reading_the_others_and_without_what_is_late() -> None:
    """Its last event counts, unless a lost owner wrote it: one that stands behind what came later, of whichever
    escalation. The first characters of an id are enough where they are of one only."""
    events = [
        ("esc_aaaa1", "open", 1),
        ("esc_bbbb1", "open", 2),
        ("esc_aaaa1", "denied", 3),
        ("esc_bbbb2", "open", 9),
        ("esc_aaaa1", "open", 4),
    ]
    records = [
        SimpleNamespace(
            topic="ops.escalations",
            partition=0,
            offset=offset,
            timestamp=1,
            key=b"t",
            value=encode_json({"event": "Escalation", **wire(escalation_id=name, status=status)}),
            headers=(("ops-journal", f"0:{place}:0".encode()),),
        )
        for offset, (name, status, place) in enumerate(events)
    ]

    class OneTopic(Bus):
        """A bus that gives these records."""

        def __init__(self) -> None:
            super().__init__(Settings(), {"escalations": 1}, None)

        async def ends(self, places: Any) -> Any:
            return {}

        async def read(self, ranges: Any) -> Any:
            for record in records:
                yield record

    assert (await find(OneTopic(), "esc_aaaa"))["status"] == "denied"
    assert (await find(OneTopic(), "esc_bbbb2"))["status"] == "open"
    for name, said in (
        ("esc_bbbb", "2 escalations begin"),
        ("esc_cccc", "is known"),
        ("esc_aaa", "'esc_aaa' is too short to name an escalation"),
    ):
        with pytest.raises(NotSo, match=said):
            await find(OneTopic(), name)
