"""What the demo counts and shows of the topics that it watches, and the demo itself on a real broker."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from ops_stream.contract.models import EVENTS
from ops_stream.demo import page
from ops_stream.demo.crew import FLOW, flow_of
from ops_stream.demo.flow import Flow, StepSeen
from ops_stream.demo.recording import recorded_day
from ops_stream.demo.show import Screen
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

    flow = Flow(on_step, on_state)
    approved = {"decision": "approved", "reason": "approved"}
    failed = {"kind": "failed", "error": "it broke off", "event_id": "e2"}
    status: dict[str, Any] = {
        "workflow_id": FLOW,
        "state": "running",
        "steps": [],
        "cost_usd": 0,
        "blamed": [],
    }
    flow.take("approvals", {**step("figures", "r1"), "approval_id": "a1", **approved})
    flow.take("workflow-status", status)
    flow.take("workflow-status", {**status, "workflow_id": "another", "state": "failed"})
    flow.take("approvals", {**step("figures", "r1"), "approval_id": "a1", **approved})
    flow.take("telemetry", step("figures", "r1", event_id="e1", kind="started"))
    flow.take("telemetry", step("figures", "r1", **failed))
    flow.take(
        "approvals", {**step("figures", "r1"), "task_id": "conversation-1", "approval_id": "a9", **approved}
    )
    flow.take(
        "approvals", {**step("figures", "r2"), "approval_id": "a2", "decision": "escalated", "reason": "x"}
    )
    flow.take("telemetry", step("figures", "r2", event_id="e3", kind="completed", cost_usd=0.01))
    assert not flow.over.is_set()
    done = {"step_id": "figures", "state": "completed", "attempts": 2}
    times = {"accepted_at": "2026-11-29T00:00:00.000Z", "ended_at": "2026-11-29T00:00:02.500Z"}
    over = {**status, "state": "completed", "steps": [done], "cost_usd": 0.03, **times}
    flow.take("workflow-status", over)
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
    """On a real broker: the engineer's first try fails and is made again, publishing waits for the support lead, the
    outputs flow on, the workflow completes, and the whole journal is proved."""
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
