"""The verbs against a real broker and a real worker: what an operator does in a day, and what it shows."""

from __future__ import annotations

import base64
import json
import signal
import subprocess
from pathlib import Path
from typing import IO

import pytest

from tests.cli.conftest import CONF, PARTITIONS, World

pytestmark = [pytest.mark.bus, pytest.mark.timeout(120)]


def next_line(stream: IO[str] | None) -> str:
    """Wait for the next line that a process says."""
    assert stream is not None
    return stream.readline()


def ended(process: subprocess.Popen[str], within_s: float = 60) -> tuple[int, str, str]:
    """Wait for a process's end."""
    out, err = process.communicate(timeout=within_s)
    return process.returncode, out, err


def test_an_ask_is_answered_and_reported(world: World) -> None:
    """The approval is printed for people, or as the event for programs."""
    result = world.ops(
        "ask", "write the notes", "--register", "--cost", "0.25", "--report", "completed", "--json"
    )
    assert result.code == 0, result
    (row,) = result.rows
    assert (row["decision"], row["cost_limit_usd"]) == ("approved", 0.25)
    shown = world.ops("ask", "evil \x1b[2J", "--cost", "0.5")
    assert shown.code == 0
    assert "approved" in shown.out
    assert "$0.50" in shown.out


def test_the_life_of_an_ask_is_explained(world: World) -> None:
    """What was asked, what every check and policy saw, the money and the report, from the journal of a real worker."""
    asked = world.ops(
        "ask",
        "explain me",
        "--register",
        "--cost",
        "0.25",
        "--report",
        "completed",
        "--tenant",
        "told",
        "--json",
    )
    request_id = asked.rows[0]["request_id"]
    (life,) = world.ops("audit", "explain", request_id, "--tenant", "told", "--json").rows
    assert [moment["cause"]["event"] for moment in life["moments"]][:2] == ["TaskRequest", "Telemetry"]
    look = life["moments"][0]["looks"][0]
    assert {check["result"] for check in look["checks"]} == {"passed"}
    assert look["policies"]["looked_at"]
    shown = world.ops("audit", "explain", request_id, "--tenant", "told", "--whole")
    assert shown.code == 0
    assert "explain me" in shown.out
    unknown = world.ops("audit", "explain", "no-such-ask", "--tenant", "told")
    assert unknown.code == 1
    assert "no-such-ask" in unknown.err


def test_what_would_have_been_is_told(world: World, tmp_path: Path) -> None:
    """Under the rules in force nothing flips; under others it is told, also as a page, and nothing is changed by it."""
    world.ops(
        "ask", "try me", "--register", "--cost", "0.25", "--report", "completed", "--tenant", "replayed"
    )
    same = world.ops("audit", "replay", "--rules", world.env["OPS_STREAM_CONF_DIR"], "--json").rows[0]
    assert same["compared"] > 0
    assert same["failed"] == 0
    conf = tmp_path / "other"
    conf.mkdir()
    policy = "name: nothing\n    condition: tenant == 'replayed'\n    action: block"
    (conf / "ai_ops_policies.yaml").write_text(f"version: 1\npolicies:\n  - {policy}\n")
    written = tmp_path / "page.html"
    shown = world.ops("audit", "replay", "--rules", str(conf), "--html", str(written))
    assert shown.code == 0, shown
    assert "denied, policy_blocked" in shown.out
    assert "<svg" in written.read_text()
    assert world.ops("audit", "replay", "--rules", str(conf), "--from", "soon").code == 2
    checked = world.ops("rules", "check", str(conf), "--against", "journal")
    assert checked.code == 0
    assert "get another first answer" in checked.out


def test_an_ask_that_is_refused_is_exit_code_1(world: World) -> None:
    """The reason and the sentence are printed, not raised."""
    result = world.ops("ask", "tidy up", "--register", "--task-type", "drop_database", "--json")
    assert result.code == 1
    assert (result.rows[0]["decision"], result.rows[0]["reason"]) == ("denied", "policy_blocked")


@pytest.mark.parametrize(
    ("verb", "code", "decision", "reason"),
    [("approve", 0, "approved", "approved_after_review"), ("deny", 1, "denied", "escalation_denied")],
)
def test_a_person_ends_an_escalation(world: World, verb: str, code: int, decision: str, reason: str) -> None:
    """The one who asks waits and is told the id; the verdict's outcome is printed on both sides."""
    tenant = f"people-{verb}"
    asking = world.start("ask", f"pay {verb}", "--register", "--cost", "20", "--tenant", tenant, "--json")
    told = next_line(asking.stderr)
    assert "Waiting for a person" in told
    (row,) = world.ops("escalations", "--json", "--tenant", tenant).rows
    assert row["escalation_id"] in told
    assert (row["status"], row["at_stake_usd"], row["request"]["task_description"]) == (
        "open",
        20,
        f"pay {verb}",
    )

    result = world.ops(verb, row["escalation_id"], "--as", "alice", "--reason", "because", "--json")
    assert result.code == 0, result
    (outcome,) = result.rows
    assert outcome["escalation"]["status"] == {"approve": "approved", "deny": "denied"}[verb]
    assert (outcome["approval"]["decision"], outcome["approval"]["reason"]) == (decision, reason)
    assert ended(asking)[0] == code

    again = world.ops(verb, row["escalation_id"])
    assert again.code == 1
    assert "not open any more" in again.err
    assert not world.ops("escalations", "--json", "--tenant", tenant).rows
    (closed,) = world.ops("escalations", "--all", "--json", "--tenant", tenant).rows
    assert closed["request"]["task_description"] == f"pay {verb}"


def test_an_escalation_that_nobody_knows_is_exit_code_1(world: World) -> None:
    """And the way to see those that there are is named."""
    result = world.ops("approve", "esc_nobody")
    assert result.code == 1
    assert "ops-stream escalations" in result.err


def test_ctrl_c_withdraws_an_ask_that_waits(world: World) -> None:
    """130, without a traceback, and nobody has to answer any more."""
    asking = world.start("ask", "wait for it", "--register", "--cost", "20", "--tenant", "impatient")
    assert "Waiting for a person" in next_line(asking.stderr)
    asking.send_signal(signal.SIGINT)
    code, _, err = ended(asking)
    assert code == 130
    assert "Traceback" not in err
    tail = world.start("tail", "escalations", "--tenant", "impatient", "--from-beginning", "--json")
    statuses = [json.loads(next_line(tail.stdout))["body"]["status"] for _ in range(2)]
    tail.send_signal(signal.SIGINT)
    assert ended(tail)[0] == 130
    assert statuses == ["open", "withdrawn"]


def test_a_kill_binds_at_once_and_a_resume_lifts_it(world: World) -> None:
    """The partition that has journaled it is named, `status` shows it, and asks are denied meanwhile."""
    world.ops("ask", "run on", "--agent", "loop", "--register", "--tenant", "killed")
    killed = world.ops(
        "kill", "--agent", "loop", "--tenant", "killed", "--reason", "loops", "--as", "bob", "--json"
    )
    assert killed.code == 1, "its agent says nothing of having stopped"
    sent, obeyed, too_late = killed.rows
    assert (obeyed["partition"], obeyed["stopped"], obeyed["pending"]) == (sent["partition"], 1, 1)
    assert (too_late["pending"], too_late["unconfirmed"]) == (0, 1)
    refused = world.ops("ask", "again", "--agent", "loop", "--tenant", "killed", "--json")
    assert (refused.code, refused.rows[0]["reason"]) == (1, "kill_switch")
    shown = world.ops("status")
    assert "KILLED agent killed loop" in shown.out
    assert "by bob" in shown.out
    assert world.ops("resume", "--agent", "loop", "--tenant", "killed").code == 0
    assert "KILLED" not in world.ops("status").out
    assert world.ops("ask", "again", "--agent", "loop", "--tenant", "killed").code == 0


def test_a_kill_of_everything_reaches_every_partition(world: World) -> None:
    """Every journal partition has it before it ends, whatever runs still that nobody stops."""
    killed = world.ops("kill", "--all", "--yes", "--json")
    journaled = {row["partition"] for row in killed.rows[1:] if row["journal_offset"] is not None}
    assert journaled == set(range(PARTITIONS))
    assert world.ops("ask", "anything", "--tenant", "everybody").code == 1
    assert world.ops("resume", "--all", "--yes").code == 0
    assert world.ops("ask", "anything", "--register", "--tenant", "everybody").code == 0


def test_agents_are_listed_quarantined_and_reinstated(world: World) -> None:
    """With what they run and did; an agent that nobody knows is exit code 1."""
    where = ("--tenant", "zoo")
    world.ops("ask", "x", "--agent", "lion", "--role", "king", "--register", "--report", "completed", *where)
    (row,) = world.ops("agents", *where, "--json").rows
    assert (row["agent"], row["state"], row["role"]) == ("lion", "active", "king")
    assert (row["rank"], row["ranked"], row["prior"], row["scores"]["reliability"] > 0.7) == (1, 1, 0.7, True)
    assert world.ops("agents", "quarantine", "lion", *where, "--reason", "bites").code == 0
    (row,) = world.ops("agents", "lion", *where, "--json").rows
    assert (row["state"], row["reason"]) == ("suspended", "bites")
    refused = world.ops("ask", "y", "--agent", "lion", *where, "--json")
    assert refused.rows[0]["reason"] == "agent_suspended"
    assert world.ops("agents", "reinstate", "lion", *where).code == 0
    again = world.ops("agents", "reinstate", "lion", *where)
    assert again.code == 1
    assert "was not stopped" in again.out
    assert world.ops("agents", "unicorn").code == 1
    page = world.ops("agents", "lion", *where)
    assert "1 well, 0 failed" in page.out
    assert "lion" in world.ops("agents").out


def test_budgets_show_what_is_used_and_take_a_new_limit(world: World) -> None:
    """From the rules until an operator sets another, and again once that is taken back."""
    where = ("--tenant", "shop")
    world.ops("ask", "x", "--register", "--cost", "4", *where)

    def row(*more: str) -> dict[str, object]:
        rows: list[dict[str, object]] = world.ops("budgets", *where, "--json", *more).rows
        return rows[0]

    found = row()
    assert (found["held_usd"], found["limit_usd"], found["limit_from"]) == (4, 100, "rules")
    assert world.ops("budgets", "set", *where, "--limit", "5").code == 0
    found = row()
    assert (found["share"], found["left_usd"], found["limit_from"]) == (0.8, 1, "operator")
    refused = world.ops("ask", "y", "--cost", "2", *where, "--json")
    assert (refused.code, refused.rows[0]["reason"]) == (1, "budget_exhausted")
    assert "80%" in world.ops("budgets").out
    assert world.ops("budgets", "set", *where, "--from-rules").code == 0
    assert row()["limit_usd"] == 100
    assert [one["scope"] for one in world.ops("budgets", *where, "--json").rows] == ["tenant", "task"]


def test_budgets_are_set_for_every_scope_and_summed_by_owner(world: World) -> None:
    """An agent's limit of one request an hour denies its second, names itself, and stands in the tree."""
    where = ("--tenant", "tree")
    ours = ("--agent", "clerk", "--requests", "1", "--window", "hour")
    assert world.ops("budgets", "set", *where, *ours).code == 0
    world.ops("ask", "x", "--agent", "clerk", "--register", "--cost", "2", "--report", "completed", *where)
    refused = world.ops("ask", "y", "--agent", "clerk", *where, "--json")
    assert (refused.code, refused.rows[0]["reason"]) == (1, "budget_exhausted")
    assert "agent clerk" in refused.rows[0]["explanation"]
    (row,) = [row for row in world.ops("budgets", *where, "--json").rows if row["scope"] == "agent"]
    assert (row["used_requests"], row["limit_requests"], row["share"]) == (1, 1, 1)
    shown = world.ops("budgets", *where)
    assert "clerk" in shown.out
    assert "1 req" in shown.out
    assert "100%" in shown.out
    owners = {row["owner"]: row for row in world.ops("budgets", "--by", "owner", *where, "--json").rows}
    assert (owners["finance"]["agents"], owners["finance"]["done"]) == (1, 1)
    assert world.ops("budgets", "set", *where, "--release-unknown", "nothing").code == 1


def test_rules_go_forth_and_back_and_an_observed_day_is_summed_up(world: World, tmp_path: Path) -> None:
    """Where a tenant is observed, what the rules would have stopped is counted by reason and policy. Back by digest,
    the earlier rules are in force on every partition, by a command that is named."""
    for name, text in CONF.items():
        (tmp_path / name).write_text(text)
    first = next(row for row in world.ops("rules", "list", "--json").rows if row["in_force_on"])["digest"]
    observe = "version: 1\nenforcement:\n  - {tenant: watched, mode: observe}\n"
    (tmp_path / "supervisor.yaml").write_text(observe)
    assert world.ops("rules", "activate", str(tmp_path), "--as", "ana", "--reason", "watch").code == 0
    where = ("--tenant", "watched")
    blocked = ("drop it", "--task-type", "drop_database", "--cost", "2")
    assert world.ops("ask", *blocked, "--register", *where).code == 0
    world.ops("ask", "fine", "--cost", "1", *where)
    world.ops("ask", "never", "--cost", "500", *where)
    (day,) = world.ops("rules", "list", "--observed", "--days", "2", *where, "--json").rows
    assert (day["asks"], day["stopped"], day["unpriced"]) == (3, 2, 0)
    reasons = {one["reason"]: one["asks"] for one in day["decisions"]}
    assert reasons == {"approved": 1, "policy_blocked": 1, "budget_exhausted": 1}
    assert {"name": "never", "action": "block", "asks": 1} in day["policies"]
    assert day["stopped_usd"] == 502
    assert "never 1" in world.ops("rules", "list", "--observed").out

    assert world.ops("rules", "activate", first[:19], "--as", "bob").code == 0
    rows = {row["digest"]: row for row in world.ops("rules", "list", "--json").rows}
    assert rows[first]["in_force_on"] == list(range(PARTITIONS))
    assert {one["issued_by"] for one in rows[first]["in_force"]} == {"bob"}
    assert f"all {PARTITIONS}" in world.ops("rules", "list").out
    assert world.ops("ask", *blocked, *where).code == 1


def test_a_dead_letter_is_listed_and_sent_again_byte_for_byte(world: World) -> None:
    """What could not be decided goes back to its topic with its bytes and headers, and can be seen there."""
    value = (
        b'{"event_id":"e1","request_id":"later","task_id":"t","agent":"a","kind":"completed","tenant":"dead"}'
    )
    headers = [("traceparent", b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01"), ("ops-journal", b"0:0:0")]
    offset = world.put("telemetry", value, tenant="dead", headers=headers)
    tail = world.start("tail", "dead-letters", "--tenant", "dead", "--json")
    assert json.loads(next_line(tail.stdout))["body"]["reason"] == "unknown_ask"

    (row,) = world.ops("dead-letters", "list", "--tenant", "dead", "--json").rows
    assert row["id"].startswith("telemetry:")
    assert row["id"].endswith(f":{offset}")
    assert base64.b64decode(row["value_b64"]) == value
    result = world.ops("dead-letters", "retry", row["id"], "--json")
    assert result.code == 0, result
    assert json.loads(next_line(tail.stdout))["body"]["offset"] > offset
    tail.send_signal(signal.SIGINT)
    assert ended(tail)[0] == 130
    seen = world.ops(
        "tail", "telemetry", "--tenant", "dead", "--from-beginning", "--no-follow", "--json"
    ).rows
    assert [one["body"]["event_id"] for one in seen] == ["e1", "e1"]
    assert [name for name, _ in seen[1]["headers"]] == ["traceparent"]
    assert world.ops("dead-letters", "retry", "telemetry:0:999").code == 1


def test_tail_shows_hostile_records_without_letting_them_act(world: World) -> None:
    """Escape sequences are shown as text, what cannot be read as what it is; both are still valid JSON lines."""
    world.put("telemetry", b"\x1b[2J\x1b]0;owned\x07 not json", tenant="evil")
    world.put("telemetry", b"\xff\xfe", tenant="evil")
    world.put("telemetry", None, tenant="evil")
    shown = world.ops("tail", "telemetry", "--tenant", "evil", "--no-follow", "-n", "5")
    assert len(shown.out.splitlines()) == 3
    assert all(line.isprintable() for line in shown.out.splitlines())
    assert "\\e[2J\\e]0;owned\\x07" in shown.out
    rows = world.ops("tail", "telemetry", "--tenant", "evil", "--no-follow", "-n", "5", "--json").rows
    assert base64.b64decode(rows[0]["value_b64"]).startswith(b"\x1b[2J")
    assert rows[2]["value_b64"] is None
    assert all(row["problem"] for row in rows)


def test_tail_begins_with_the_last_events_and_takes_full_names(world: World) -> None:
    """`-n` counts events; the prefix may be given; all topics but the machinery where none is named."""
    for number in range(4):
        world.put("resolutions", json.dumps({"n": number}).encode(), tenant="count")
    topic = world.settings.topic("resolutions")
    shown = world.ops("tail", topic, "--no-follow", "-n", "2", "--json")
    assert [base64.b64decode(row["value_b64"]) for row in shown.rows] == [b'{"n": 2}', b'{"n": 3}']
    topics = {row["topic"] for row in world.ops("tail", "--no-follow", "--from-beginning", "--json").rows}
    assert {"resolutions", "approvals", "dead-letters"} <= topics
    assert not topics & {"journal", "rules", "forwarded", "checkpoints"}


def test_a_reader_that_stops_reading_ends_tail_without_a_word(world: World) -> None:
    """As `tail ... | head -1` does."""
    tail = world.start("tail", "journal", "--from-beginning", "--json")
    assert "JournalRecord" in next_line(tail.stdout)
    assert tail.stdout is not None
    tail.stdout.close()
    world.ops("ask", "one more", "--register")
    assert tail.wait(30) == 141
    assert tail.stderr is not None
    assert tail.stderr.read() == ""
    tail.stderr.close()


def test_status_and_doctor_say_that_all_is_well(world: World) -> None:
    """Who decides, how far behind, and what was checked."""
    status = world.ops("status", "--json")
    assert status.code == 0, status
    parts = {row.get("part") for row in status.rows}
    assert {"cluster", "workers", "partition"} <= parts
    partitions = [row for row in status.rows if row["part"] == "partition"]
    assert [row["partition"] for row in partitions] == list(range(PARTITIONS))
    assert all(row["owner"] for row in partitions)
    doctor = world.ops("doctor", "--json")
    states = {row["check"]: row["state"] for row in doctor.rows}
    assert doctor.code == 0, doctor
    assert "fail" not in states.values()
    assert states["Kafka"] == states["topics"] == states["journal key"] == states["rules"] == "ok"


def test_the_journal_is_proved_until_somebody_forges_an_approval(world: World) -> None:
    """`audit verify` decides everything above again; an approval that no record holds is found by its place."""
    passed = world.ops("audit", "verify", "--json")
    assert passed.code == 0, passed
    assert sum(row["decided_again"] for row in passed.rows) > 50
    shown = world.ops("audit", "verify", "--partition", "0")
    assert "Proved" in shown.out

    seen = world.ops("tail", "approvals", "--no-follow", "-n", "1", "--json").rows[0]
    forged = json.dumps({**seen["body"], "decision": "approved"}).encode()
    position = dict(seen["headers"])["ops-journal"].encode()
    offset = world.put("approvals", forged, partition=seen["partition"], headers=[("ops-journal", position)])
    found = world.ops("audit", "verify", "--json")
    assert found.code == 1
    wrong = [finding for row in found.rows for finding in row["findings"]]
    assert [finding["place"] for finding in wrong] == [f"approvals {seen['partition']}:{offset}"]
    assert f"approvals {seen['partition']}:{offset}" in world.ops("audit", "verify").out
    assert world.ops("audit", "verify", "--partition", "7").code == 1
