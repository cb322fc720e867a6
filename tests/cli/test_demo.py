"""What the demo counts and shows of the topics that it watches, and the demo itself on a real broker."""

from __future__ import annotations

import json
import re
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from ops_stream.contract.models import EVENTS
from ops_stream.demo import page
from ops_stream.demo.crew import FLOW, flow_of
from ops_stream.demo.flow import Flow, StepSeen
from ops_stream.demo.recording import recorded_day
from ops_stream.demo.show import Screen, summary_of
from ops_stream.demo.watch import Seen, Watch
from tests.cli.running import start
from tests.cli.terminal import Terminal
from tests.cli.test_verbs import ended

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


def test_what_waits_for_room_is_told_from_what_waits_for_its_batch_and_for_how_long_it_waited() -> None:
    """A batch first, then room: both count by themselves, and the wait ends with the decision that lets it in."""
    shown: list[Seen] = []
    watch = Watch(shown.append)
    watch._on_request(1_000, ASK)
    batch = {"queue": {"position": 1, "not_before": "2026-11-29T00:00:02.000Z"}}
    room = {"queue": {**batch["queue"], "expected_start": "2026-11-29T00:00:03.000Z"}}
    watch._on_approval(1_004, answer(1, "queued") | batch)
    watch._on_approval(2_000, answer(2, "queued") | room)
    watch._on_approval(2_300, answer(3, "approved"))
    assert watch.reasons == {
        ("queued", "for a batch"): 1,
        ("queued", "for room"): 1,
        ("approved", "approved"): 1,
    }
    assert (watch.waited_ms, [seen.waited_ms for seen in shown]) == ([300], [None, None, 300])
    body = summary_of(watch, (0, 0), 0, 1, audit=True)
    assert (body["queued"], body["queued_for_room"], body["waited_for_room_p50_ms"]) == (2, 1, 300)
    console = Console(width=100, no_color=True)
    with console.capture() as capture:
        for seen in shown:
            Screen(console, as_json=False).decision(seen)
    ends = ["queued for a batch", "queued for room", "approved after 300 ms in line"]
    assert [line[68:] for line in capture.get().splitlines()] == ends


def test_the_answer_to_a_failure_is_told_with_what_is_to_be_done_next() -> None:
    """It ends a permit, and is counted by what it advises beside the decisions, not among what was denied."""
    shown: list[Seen] = []
    watch = Watch(shown.append)
    watch._on_request(1_000, ASK)
    retry = {"action": "retry", "error_class": "transient", "attempt": 1, "max_attempts": 3}
    watch._on_approval(1_004, answer(1, "approved"))
    watch._on_approval(2_000, answer(2, "revoked", "attempt_failed") | {"next_step": retry})
    other = retry | {"action": "retry_agent", "agent": "support-03"}
    watch._on_approval(3_000, answer(3, "revoked", "attempt_failed") | {"next_step": other})
    body = summary_of(watch, (0, 0), 0, 1, audit=True)
    assert (body["approved"], body["denied"]) == (1, 0)
    assert (body["failures_answered"], body["advised"]) == (2, {"retry": 1, "retry_agent": 1})
    console = Console(width=100, no_color=True)
    with console.capture() as capture:
        for seen in shown:
            Screen(console, as_json=False).decision(seen)
    said = [line[68:] for line in capture.get().splitlines()[1:]]
    assert max(map(len, capture.get().splitlines())) <= 100
    assert said == [
        "revoked: retry",
        "revoked: retry_agent support-03",
    ]


def test_a_call_knows_how_often_its_tool_failed_right_before_in_its_conversation() -> None:
    """That is what the recorded agent tried again; what worked ends the count."""
    calls = recorded_day(1)["3-0"]
    found = [(call.step, call.failed, call.retry) for call in calls if call.tool.startswith("update_res")]
    assert [one for one in found if one[1] or one[2]] == [
        (13, True, 0),
        (14, True, 1),
        (16, True, 2),
        (17, True, 3),
        (18, True, 4),
        (19, False, 5),
    ]


def test_a_decision_is_a_line_of_80_columns_unless_it_has_a_reason_of_its_own() -> None:
    """No name of the recording is longer than these."""
    console = Console(width=80, no_color=True)
    with console.capture() as capture:
        for decision, reason in (("escalated", ""), ("denied", "budget_exhausted")):
            Screen(console, as_json=False).decision(Seen(answer(1, decision, reason), ASK, 1_234))
    plain, with_reason = capture.get().splitlines()
    assert plain.endswith(" escalated") and len(plain) <= 80
    assert with_reason.endswith(" denied budget_exhausted")


def step(name: str, request: str, **body: Any) -> dict[str, Any]:
    """Something that was said of a step's ask."""
    return {"task_id": f"{FLOW}/{name}", "request_id": request, "agent": "engineer", **body}


def test_what_becomes_of_the_workflow_is_told_once_with_its_attempts() -> None:
    """Decisions and reports about its steps and its own states; not what others do, nor what is said again."""
    steps: list[StepSeen] = []
    states: list[str] = []
    order: list[str] = []

    def on_step(seen: StepSeen) -> None:
        steps.append(seen)
        order.append(seen.state)

    def on_state(status: dict[str, Any]) -> None:
        states.append(status["state"])
        order.append(f"workflow {status['state']}")

    flow, clock = Flow(on_step, on_state), count(0, 1_000)

    def take(topic: str, body: dict[str, Any]) -> None:
        flow.take(topic, body, next(clock))

    approved = {"decision": "approved", "reason": "approved"}
    failed = {"kind": "failed", "error": "it broke off", "event_id": "e2"}
    status: dict[str, Any] = {
        "workflow_id": FLOW,
        "state": "running",
        "steps": [],
        "cost_usd": 0,
        "blamed": [],
    }
    take("approvals", {**step("figures", "r1"), "approval_id": "a1", **approved})
    take("workflow-status", status)
    take("workflow-status", {**status, "workflow_id": "another", "state": "failed"})
    take("approvals", {**step("figures", "r1"), "approval_id": "a1", **approved})
    take("telemetry", step("figures", "r1", event_id="e1", kind="started"))
    take("telemetry", step("figures", "r1", **failed))
    take("approvals", {**step("figures", "r1"), "task_id": "conversation-1", "approval_id": "a9", **approved})
    take("approvals", {**step("figures", "r2"), "approval_id": "a2", "decision": "escalated", "reason": "x"})
    take("telemetry", step("figures", "r2", event_id="e3", kind="completed", cost_usd=0.01))
    assert not flow.over.is_set()
    done = {"step_id": "figures", "state": "completed", "attempts": 2}
    times = {"accepted_at": "2026-11-29T00:00:00.000Z", "ended_at": "2026-11-29T00:00:02.500Z"}
    over = {**status, "state": "completed", "steps": [done], "cost_usd": 0.03, **times}
    take("workflow-status", over)
    assert [(one.state, one.attempt, one.reason, one.cost_usd) for one in steps] == [
        ("running", 1, "", None),
        ("failed", 1, "it broke off", None),
        ("escalated", 2, "x", None),
        ("completed", 2, "", 0.01),
    ]
    assert states == ["running", "completed"]
    assert order[:2] == ["workflow running", "running"], "no step is shown before its workflow"
    assert flow.over.is_set()
    told = flow.summary()
    assert (told["seconds"], told["tried_again"], told["unknown_usd"]) == (2.5, ["figures"], 0.02)
    assert told["tried_again_after_s"] == {"figures": 2.0}, (
        "from the report to what is decided about the next try"
    )


def test_a_step_is_a_line_beside_the_decisions_and_fits_80_columns() -> None:
    """What becomes of it stands below what was decided; only a reason makes the line longer."""
    console = Console(width=80, no_color=True)
    screen = Screen(console, as_json=False)
    with console.capture() as capture:
        screen.decision(Seen(answer(1, "escalated"), ASK, 1_234))
        screen.step(StepSeen("publish", "coordinator", "completed", 2, cost_usd=0.0123))
        screen.step(StepSeen("publish", "operator", "escalated", 1))
        screen.flow({"workflow_id": FLOW, "state": "completed", "problems": [], "steps": []})
    lines = capture.get().splitlines()
    assert [line[68:] for line in lines] == ["escalated", "completed", "escalated", "completed"]
    assert max(map(len, lines)) <= 80


def test_the_five_roles_make_a_page_of_the_recording_together(tmp_path: Path) -> None:
    """Each needs what the ones before it brought, and that alone; what is published is whole and can be checked."""
    assert EVENTS["Workflow"].from_wire(flow_of("airline"))
    calls = [call for one in recorded_day(1).values() for call in one]
    plan = page.plan_of(calls)
    figures, layout = page.figures_of(plan, calls), page.layout_of(plan)
    path = tmp_path / "desk.html"
    published = page.publish(page.page_of(plan, figures, layout), path)
    text = path.read_text()
    assert len(re.findall("<tr>", text)) == len({call.tool for call in calls})
    assert sum(int(count) for count in re.findall(r"(\d+) calls", text)) == len(calls) == 572
    assert "<!--" not in text
    assert [one.name for one in tmp_path.iterdir()] == ["desk.html"]
    said = page.summary_of(plan, figures, published)
    assert "572 calls" in said and json.loads(published)["sha256"][:12] in said
    with pytest.raises(ValueError, match="no place for the section"):
        page.page_of(plan, figures, "<html></html>")


@pytest.mark.bus
@pytest.mark.timeout(180)
def test_the_demo_works_a_workflow_off_among_its_decisions(kafka: str, tmp_path: Path) -> None:
    """On a real broker: the engineer's first try fails and is made again a second later, publishing waits for the
    support lead, the outputs flow on, the workflow completes; of the desk's calls some wait for room, none is denied
    for it, failures are answered; and the whole journal is proved."""
    env = {"OPS_STREAM_BOOTSTRAP_SERVERS": kafka, "OPS_STREAM_DATA_DIR": str(tmp_path)}
    code, out, err = ended(start("demo", "--seconds", "4", "--json", env=env), 150)
    assert code == 0, err
    rows = [json.loads(line) for line in out.splitlines()]
    told = [(row["step_id"], row["state"], row["attempt"]) for row in rows if row["kind"] == "step"]
    assert set(told) >= {
        ("plan", "completed", 1),
        ("figures", "failed", 1),
        ("figures", "completed", 2),
        ("layout", "completed", 1),
        ("publish", "escalated", 1),
        ("publish", "completed", 1),
        ("summary", "completed", 1),
    }
    assert told.index(("publish", "escalated", 1)) > told.index(("figures", "completed", 2))
    states = [row["state"] for row in rows if row["kind"] == "workflow"]
    assert (states[0], states[-1]) == ("accepted", "completed")
    at = [number for number, row in enumerate(rows) if row["kind"] in ("step", "workflow")]
    assert any(row["kind"] == "decision" for row in rows[at[0] : at[-1]]), "among the desk's decisions"
    (summary,) = [row for row in rows if row["kind"] == "summary"]
    flow = summary["workflow"]
    assert (flow["state"], flow["completed"], flow["steps"], flow["blamed"]) == ("completed", 5, 5, [])
    assert flow["tried_again"] == ["figures"]
    assert flow["tried_again_after_s"]["figures"] >= 0.8, (
        "conf/demo/retries.yaml: a second, less a fifth by lot"
    )
    assert summary["queued_for_room"] > 0 and summary["waited_for_room_p50_ms"] >= 0
    answers = [row["next_step"]["action"] for row in rows if row.get("reason") == "attempt_failed"]
    assert summary["failures_answered"] == len(answers) == sum(summary["advised"].values()) > 0
    assert "denied: overloaded" not in summary["by_reason"]
    assert "denied: retries_exhausted" not in summary["by_reason"]
    assert summary["asks"] == summary["approved"] + summary["denied"] == 572, (
        "each ask came to one of these ends"
    )
    assert 0 < flow["cost_usd"] < flow["budget_usd"]
    assert summary["audit_verify_passed"]
    (made,) = tmp_path.glob("demo/demo-*/desk.html")
    assert "search_direct_flight" in made.read_text()


@pytest.mark.bus
@pytest.mark.timeout(120)
def test_ctrl_c_ends_the_demo_while_its_workflow_runs(kafka: str, tmp_path: Path) -> None:
    """No traceback on the terminal, exit code 130, and its worker has stopped in order."""
    env = {"OPS_STREAM_BOOTSTRAP_SERVERS": kafka, "OPS_STREAM_DATA_DIR": str(tmp_path)}
    with Terminal("demo", "--seconds", "60", env=env, columns=100) as terminal:
        terminal.expect(f"{FLOW}/plan", 60)
        terminal.type("\x03")
        assert terminal.end(60) == 130
        assert "Traceback" not in terminal.shown
    (log,) = tmp_path.glob("demo/demo-*/worker.log")
    assert "worker stopped" in log.read_text().splitlines()[-1]
