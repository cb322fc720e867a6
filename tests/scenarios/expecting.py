"""Holds what happens in a scenario against what its text expects."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tests.scenarios import optimizing, workflows
from tests.scenarios.alerting import check_told, said_of
from tests.scenarios.driver import Seen
from tests.scenarios.figures import figure_is, without_figures
from tests.scenarios.language import BadScenario, Line
from tests.scenarios.people import stands

DECISIONS = frozenset(("approved", "denied", "escalated", "queued", "revoked"))
OTHER_EVENTS = frozenset(
    (
        "alert",
        "dead-letter",
        "escalation",
        "agent",
        "workflow",
        "assigned",
        "kpi",
        "optimization",
        "nothing",
        "only-alerts",
    )
)


def hold_against(line: Line, subject: str | None, seen: Sequence[Seen]) -> None:
    """Hold what was seen against what a line expects; raises AssertionError where it is otherwise."""
    seen = without_figures(expected := list(line.expected), seen)
    told = f"{line.where}: {line.verb} {' '.join(line.words)}: saw {[_short(event) for event in seen]}"
    if expected == [("nothing",)]:
        assert not seen, told
        return
    approvals = [event.value for event in seen if event.type == "TaskApproval"]
    wanted = [words for words in expected if words[0] not in OTHER_EVENTS]
    if line.expected:
        assert len(approvals) == len(wanted), f"{told}; {len(wanted)} answers expected"
    for words, value in zip(wanted, approvals, strict=False):
        about = words if words[0] not in DECISIONS else (subject or value["request_id"], *words)
        _check_approval(about, value, told)
    check_told(expected, seen, told)
    for words in expected:
        if words not in wanted and words != ("only-alerts",):
            assert any(_matches(words, event) for event in seen), f"{told}; expected {' '.join(words)}"
    letters = [event.value["reason"] for event in seen if event.type == "DeadLetter"]
    allowed = [words[1] for words in expected if words[0] == "dead-letter"]
    assert letters == allowed, f"{told}; dead letters {letters}"


def _check_approval(words: Sequence[str], value: Any, told: str) -> None:
    request_id, decision, *rest = words
    assert value["request_id"] == request_id, told
    assert value["decision"] == decision, (
        f"{told}; expected {decision}, got {value['decision']} {value['reason']}"
    )
    for word in rest:
        name, equals, text = word.partition("=")
        if not equals:
            assert value["reason"] == word, f"{told}; expected {word}, got {value['reason']}"
        elif name == "would":
            found = value["would_have"]
            assert f"{found['decision']}:{found['reason']}" == text, told
        elif name == "policies":
            names = [p["name"] + ("*" if p["shadow"] else "") for p in value["matched_policies"]]
            assert names == [name for name in text.split("+") if name], f"{told}; matched {names}"
        elif name == "says":
            assert text in value["explanation"], f"{told}; says {value['explanation']}"
        else:
            _check_field(value, name, text, told)


def _check_field(value: Any, name: str, text: str, told: str) -> None:
    """Hold one field against a text; `retry.model` is the model of the plan."""
    outer, inner, last = name.rpartition(".")
    fields = value.get(outer, {}) if inner else value
    found = fields.get(last)
    if text == "none":
        assert last not in fields, f"{told}; {name} is {found}"
    elif isinstance(found, list):
        assert found == text.split("+"), f"{told}; {name} is {found}"
    else:
        assert found == value_of(text), f"{told}; {name} is {found}"


def _matches(words: Sequence[str], event: Seen) -> bool:
    value = event.value
    kind, what = words[0], words[1] if len(words) > 1 else ""
    if kind == "alert":
        if event.type != "Alert" or value["kind"] != what:
            return False
        return _all_said(words[2:], said_of(value), value["summary"])
    if kind == "dead-letter":
        return event.type == "DeadLetter" and value["reason"] == what
    if kind == "escalation":
        return event.type == "Escalation" and stands(words[1:], value)
    if kind == "agent":
        if event.type != "AgentStatus" or (value["agent"], value["state"]) != (what, words[2]):
            return False
        return _all_said(words[3:], set(), value.get("reason", ""))
    if kind == "workflow":
        return event.type == "WorkflowStatus" and workflows.told(words[1:], value)
    if kind == "assigned":
        return event.type == "TaskAssignment" and workflows.assigned(words[1:], value)
    if kind == "kpi":
        return event.type == "Kpi" and figure_is(words[1:], value)
    if kind == "optimization":
        return event.type == "Optimization" and optimizing.told(words[1:], value)
    raise BadScenario(f"nothing is known to expect as {' '.join(words)}")


def _all_said(words: Sequence[str], known: set[str], text: str) -> bool:
    """Hold further words against what is known; `says=` is a part of the text."""
    return all(
        word.removeprefix("says=") in text if word.startswith("says=") else word in known for word in words
    )


def _short(event: Seen) -> str:
    value = event.value
    if event.type == "TaskApproval":
        return f"{value['request_id']} {value['decision']} {value['reason']} ({value['explanation']})"
    what = value.get("reason") or value.get("kind") or value.get("status") or value.get("state")
    return f"{event.type} {what}"


def value_of(text: str) -> Any:
    """Read a value: JSON where it is some, else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text
