"""`audit verify` says what people decided and commanded, and what of it no signature proves to be theirs."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from ops_stream.cli.audit_verify import _explain
from ops_stream.cli.output import Out
from ops_stream.core.rules_effects import Effects
from tests.audit.journals import BOOK, RULES, Writer, audit
from tests.cli.running import ops
from tests.scenarios.signing import people_of, signature

OPERATOR = {"roles": "operator"}
PEOPLE = people_of({"ann": OPERATOR, "bob": OPERATOR}, demanded=False)
WITH_PEOPLE = replace(
    RULES, digest="sha256:" + "c" * 64, people=PEOPLE, effects=Effects(tools={"send": "irreversible"})
)


def put(writer: Writer, topic: str, way: str = "yes", **body: Any) -> None:
    """Decide what a person signed, in a way."""
    who = body.get("resolver") or body["issued_by"]
    headers = signature(way, who, topic, body, json.dumps(body).encode(), writer.now + 1_000)
    writer.input(topic, headers, **body)


def kill(writer: Writer, id_: str, by: str, way: str = "yes") -> None:
    """Kill one agent."""
    put(
        writer,
        "control",
        way,
        command_id=id_,
        command="kill",
        scope="agent",
        target="a",
        tenant="default",
        issued_by=by,
    )


def answer(writer: Writer, number: int, by: str, way: str = "yes") -> None:
    """Approve the ask of a number."""
    writer.ask(f"r{number}", tool="send", task_id=f"t{number}")
    (found,) = (
        json.loads(record.value or b"")
        for record in writer.published
        if record.topic == "escalations" and f'"r{number}"'.encode() in (record.value or b"")
    )
    put(
        writer,
        "resolutions",
        way,
        resolution_id=f"v{number}",
        escalation_id=found["escalation_id"],
        resolver=by,
        verdict="approve",
        action_digest=found["action_digest"],
    )


def a_day() -> Writer:
    """Three verdicts and three commands, signed, unsigned and refused, and one said twice."""
    writer = Writer(rules=WITH_PEOPLE)
    writer.take_over()
    writer.input("agents", event="AgentRegistration", agent="a", role="clerk", capabilities=["general"])
    answer(writer, 1, "ann")
    answer(writer, 2, "bob", "none")
    answer(writer, 3, "bob", "tampered")
    kill(writer, "k1", "ann")
    kill(writer, "k1", "ann")
    kill(writer, "k2", "bob", "none")
    kill(writer, "k3", "mallory", "none")
    return writer


def test_verdicts_and_commands_are_counted_by_whether_they_are_signed() -> None:
    """Signed, unsigned and refused are told apart; what was said twice counts once. Nothing of it is wrong."""
    report = audit(a_day().log, book={**BOOK, WITH_PEOPLE.digest: WITH_PEOPLE})
    assert report.passed, report.findings
    found = report.as_dict()
    assert found["verdicts"] == {"signed": 1, "unsigned": 1, "refused": 1}
    assert found["commands"] == {"signed": 1, "unsigned": 1, "refused": 1}
    assert [(act["kind"], act["who"]) for act in found["unsigned"]] == [
        ("verdict", "bob"),
        ("command", "bob"),
    ]
    assert found["unsigned"][1]["what"] == "kill agent a"
    place = int(found["unsigned"][1]["place"].rpartition(":")[2])
    assert b'"k2"' in (a_day().log[place][1] or b"").replace(b'\\"', b'"')


def test_it_is_said_in_words(capsys: Any) -> None:
    """How many there were, how many of them unsigned, and which."""
    report = audit(a_day().log, book={**BOOK, WITH_PEOPLE.digest: WITH_PEOPLE})
    _explain(Out(as_json=False, color=False, terminal=False), [report])
    said = capsys.readouterr().out
    assert "2 verdicts, 1 unsigned; 1 more refused." in said
    assert "2 commands, 1 unsigned; 1 more refused." in said
    assert "unsigned: bob, kill agent a (journal 0:" in said


def test_what_nobody_is_listed_for_is_unsigned_whatever_it_carries() -> None:
    """Without keys to hold it against a signature proves nothing, and is not counted as one."""
    writer = Writer()
    writer.take_over()
    kill(writer, "k1", "ann")
    found = audit(writer.log).as_dict()
    assert found["commands"] == {"signed": 0, "unsigned": 1, "refused": 0}


def test_asks_and_reports_count_for_nothing() -> None:
    """Only what people do is theirs to sign."""
    writer = Writer()
    writer.take_over()
    writer.ask("r1")
    found = audit(writer.log).as_dict()
    assert sum(found["verdicts"].values()) + sum(found["commands"].values()) == 0
    assert found["unsigned"] == []


def test_the_help_says_so() -> None:
    """Whoever looks for it finds it."""
    assert "no signature proves" in ops("audit", "verify", "--help").out.replace("\n  ", " ")
