"""What is sent: the event for programs, and a message that no text from outside can turn into something else."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_stream.contract.headers import JournalPosition
from ops_stream.notify.payloads import body_of, generic, safe, slack
from ops_stream.notify.told import Notice, Place
from tests.notify.receiver import alert, escalation

HOSTILE = [
    "<!channel> <https://evil.example|your bank> <@U123>",
    "@here @channel @all look at https://evil.example/login",
    "www.evil.example and mailto:a@evil.example and evil.example/x",
    "[Approve](https://evil.example) ![x](http://evil.example/x.png)",
    "*APPROVED* _by_ ~nobody~ `ops-stream approve esc_9` ```code```",
    "first line\nsecond line\r\n> quoted\n# Title\u2028more\u2029yet",
    "a\u202eb\u200bc\x1b[31md\x00e\u2066f\U000e0041",
    "HTTP://EVIL.EXAMPLE javascript:alert(1) slack://open?team=1",
]


def _notice(type_: str, body: dict[str, Any]) -> Notice:
    topic = "alerts" if "kind" in body else "escalations"
    return Notice(type_, body, Place(topic, 2, 17), JournalPosition(2, 40, 1), 1_795_521_600_123)


def test_the_generic_form_is_the_event_with_its_type_time_and_place() -> None:
    """Programs get the contract's event as it is on the topic, and where it and its journal record stand."""
    body = escalation()
    assert generic(_notice("escalation.opened", body)) == {
        "type": "escalation.opened",
        "timestamp": "2026-11-24T12:00:00.123Z",
        "data": body,
        "position": {"topic": "escalations", "partition": 2, "offset": 17, "journal": "2:40:1"},
    }


def _shown(message: dict[str, Any]) -> str:
    """All that Slack shows, in its order."""
    found = []
    for block in message["blocks"]:
        parts = [block.get("text"), *block.get("fields", ()), *block.get("elements", ())]
        found += [part["text"] for part in parts if part]
    return "\n".join(found)


def test_slack_is_told_what_is_asked_what_to_do_and_how_to_answer() -> None:
    """The message has severity, summary, advice, money, expiry and the commands that answer it."""
    shown = _shown(slack(_notice("escalation.opened", escalation(quorum=2))))
    for part in (
        "A person is asked: warning",
        "clerk wants to refund order 1234.",
        "Deny it, unless somebody knows the customer.",
        "Tenant: default",
        "At stake: $12.50",
        "People needed: 2",
        "Level: 1 of 2",
        "Then: denied",
        "`ops-stream approve esc_1`",
        "`ops-stream deny esc_1`",
    ):
        assert part in shown


def test_slack_is_told_who_decided() -> None:
    """The verdict names its people; how to answer is no longer said."""
    votes = [{"resolver": "alice", "verdict": "approve", "at": "2026-11-24T12:00:00.000Z"}]
    shown = _shown(slack(_notice("escalation.decided", escalation(status="approved", votes=votes))))
    assert "approved by alice (approve)" in shown
    assert "ops-stream approve" not in shown


@pytest.mark.parametrize("type_", ["alert.firing", "alert.resolved"])
def test_slack_is_told_of_alerts(type_: str) -> None:
    """An alert's message has its kind, tenant, summary and how often it came."""
    shown = _shown(slack(_notice(type_, alert(count=3, runbook="docs/alerts.md"))))
    for part in (
        "critical",
        "budget",
        "80 % of the tenant's budget is spent.",
        "Times: 3",
        "Tenant: default",
    ):
        assert part in shown


def _links(text: str) -> list[str]:
    """What readers of markup would take for a link or a call to everybody."""
    return re.findall(
        r"(?i)<[^>]*>|[a-z][a-z0-9+.-]*:[^\s\u200b]|www\.[^\u200b]|@\w|\]\(|[a-z0-9-]\.[a-z]{2}|[*_~`]\w",
        text,
    )


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_from_outside_becomes_markup_a_link_or_a_mention(text: str) -> None:
    """In `text` nothing of it is a link, a mention, formatting or a line of its own; in blocks it is plain text."""
    message = slack(_notice("escalation.opened", escalation(summary=text, recommendation=text, trigger="x")))
    first, second, third = message["text"].split("\n")[:3]
    assert first == "A person is asked: warning"
    for line in (second, third):
        assert _links(line) == []
    assert "<" not in message["text"] and ">" not in message["text"]
    for block in message["blocks"]:
        for part in [block.get("text"), *block.get("fields", ())]:
            assert part is None or part["type"] == "plain_text"
        for part in block.get("elements", ()):
            assert part["verbatim"] is True
            assert re.fullmatch(r"(`ops-stream (approve|deny|escalations) esc_1`\n?)+", part["text"])


def test_an_ampersand_is_escaped_once() -> None:
    """Slack's three characters are escaped in mrkdwn, and left as they are in plain text."""
    message = slack(_notice("alert.firing", alert(summary="R&D < all")))
    assert "R&amp;D &lt; all" in message["text"]
    assert message["blocks"][1]["text"]["text"].startswith("R&D < all")


def test_an_id_that_is_none_is_not_put_into_a_command() -> None:
    """Only what the contract calls an id stands in code; a record that holds another text gets no commands."""
    message = slack(_notice("escalation.opened", escalation(escalation_id="x` <!channel> `")))
    assert all(block["type"] != "context" for block in message["blocks"])


TEXT = st.text(max_size=400)


@given(summary=TEXT, recommendation=TEXT, subject=TEXT)
def test_a_message_keeps_slack_s_limits_whatever_is_in_it(
    summary: str, recommendation: str, subject: str
) -> None:
    """Header 150, section 3,000, field 2,000, ten fields, fifty blocks; no control character; JSON that reads back."""
    body = escalation(summary=summary * 20, recommendation=recommendation * 20, subject=subject)
    notice = _notice("escalation.opened", body)
    message = json.loads(body_of("slack", notice))
    assert len(message["blocks"]) <= 50
    for block in message["blocks"]:
        if block["type"] == "header":
            assert 0 < len(block["text"]["text"]) <= 150
        elif "text" in block:
            assert 0 < len(block["text"]["text"]) <= 3000
        assert len(block.get("fields", ())) <= 10
        assert all(0 < len(one["text"]) <= 2000 for one in block.get("fields", ()))
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", message["text"])


@given(TEXT)
def test_safe_text_is_one_line_without_links(text: str) -> None:
    """Whatever the text, nothing of it is a link, a mention or a second line."""
    assert len(safe(text).splitlines()) <= 1
    assert not re.search(r"(?i)[a-z0-9]://|www\.[a-z]|@[a-z]|\]\(", safe(text))
