"""`ops-stream workflows` on a real cluster: handed in, shown, followed on a terminal and elsewhere, cancelled."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import World
from tests.cli.running import ops
from tests.cli.terminal import Terminal
from tests.cli.test_verbs import ended, next_line

pytestmark = [pytest.mark.bus, pytest.mark.timeout(120)]

RELEASE = """workflow_id: release
objective_id: o1
budget_usd: 2
steps:
  - {step_id: design, task_type: design, task_description: Draw it., estimated_cost_usd: 1}
  - step_id: build
    task_type: design
    task_description: Build it.
    depends_on: [design]
    estimated_cost_usd: 0.5
"""


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """Give a workflow in a file."""
    path = tmp_path / "release.yaml"
    path.write_text(RELEASE)
    return path


def _register(world: World, agent: str, tenant: str = "default") -> None:
    body = {"event": "AgentRegistration", "agent": agent, "role": "designer", "capabilities": ["design"]}
    world.put("agents", json.dumps({**body, "tenant": tenant}).encode(), tenant=tenant)


def test_a_workflow_is_handed_in_shown_and_cancelled(world: World, release: Path) -> None:
    """It is refused while nobody can do it; then it runs, is listed, shown as a tree, and cancelled once."""
    refused = world.ops("workflows", "submit", str(release))
    assert refused.code == 1, refused
    assert "nobody_capable" in refused.out
    assert "0 steps" not in refused.out, "of a rejected one nothing is kept, and nothing is counted"
    assert world.ops("workflows").out.startswith("No workflow runs.")
    _register(world, "ann")
    accepted = world.ops("workflows", "submit", str(release), "--json")
    assert accepted.code == 0, accepted
    assert accepted.rows[0]["state"] == "accepted"
    (listed,) = world.ops("workflows", "--json").rows
    assert (listed["workflow_id"], listed["state"], listed["left"]) == ("release", "running", 2)
    shown = world.ops("workflows", "release")
    assert shown.code == 0
    lines = [line.split() for line in shown.out.splitlines()]
    assert ["└─", "design", "running", "ann"] in [line[:4] for line in lines], shown
    assert ["└─", "build", "waiting"] in lines
    assert "0 of 2 steps done  $0.00 of $2.00, $1.00 held" in shown.out
    cancelled = world.ops("workflows", "cancel", "release", "--as", "olga", "--reason", "enough")
    assert cancelled.code == 0, cancelled
    (row,) = world.ops("workflows", "release", "--json").rows
    assert (row["state"], [one["state"] for one in row["steps"]]) == ("cancelled", ["cancelled", "cancelled"])
    assert row["problems"][0]["explanation"] == "olga cancelled it: enough"
    assert "cancelled" in world.ops("workflows", "--all").out
    same = world.ops("workflows", "submit", str(release))
    assert (same.code, same.out) == (
        0,
        "Workflow release: cancelled, 2 steps.\n  cancelled  olga cancelled it: enough\n"
        "See how it went with: ops-stream workflows release\n",
    )
    again = world.ops("workflows", "cancel", "release", "--as", "olga")
    assert again.code == 1
    assert "changes nothing" in again.out
    assert world.ops("workflows", "nowhere").code == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("steps: [", "This is not YAML"),
        ("[1, 2]", "It holds no workflow"),
        ("workflow_id: w1\nobjective_id: o1\nsteps: 7\n", "steps: "),
        ("workflow_id: w 1\nobjective_id: o1\nsteps: []\n", "workflow_id: "),
        (
            "workflow_id: w1\nobjective_id: o1\nsteps: [{step_id: a, task_type: t, task_description: d, effect: none}]",
            "Unknown field 'steps.0.effect'",
        ),
        ("workflow_id: w1\nobjective_id: o1\ndedline: x\nsteps: []", "Did you mean 'deadline'?"),
        ("x: " + "y" * 262_144, "larger than a workflow may be"),
    ],
)
def test_a_file_that_is_no_workflow_is_wrong_use(tmp_path: Path, text: str, said: str) -> None:
    """It is said what is wrong with it, and nothing is sent."""
    path = tmp_path / "w.yaml"
    path.write_text(text)
    result = ops("workflows", "submit", str(path))
    assert result.code == 2, result
    assert said in result.err
    assert "w.yaml" in result.err


def _report(world: World, tenant: str, workflow_id: str, step_id: str, kind: str = "completed") -> None:
    """Let the agent that has a step report on it."""
    (row,) = world.ops("workflows", workflow_id, "--tenant", tenant, "--json").rows
    (step,) = [one for one in row["steps"] if one["step_id"] == step_id]
    body = {
        "event_id": f"e-{step['request_id']}",
        "request_id": step["request_id"],
        "task_id": f"{workflow_id}/{step_id}",
        "agent": step["agent"],
        "tenant": tenant,
        "kind": kind,
        "cost_usd": 0.25,
        "error": "no paper" if kind == "failed" else None,
    }
    named = {name: value for name, value in body.items() if value is not None}
    world.put("telemetry", json.dumps(named).encode(), tenant=tenant)


def _next(stream: Any) -> dict[str, Any]:
    row: dict[str, Any] = json.loads(next_line(stream))
    return row


def test_whoever_submits_can_follow_it_to_its_end(world: World, release: Path) -> None:
    """`submit --watch --json`: the answer, all of it, each change of a step or the workflow, and all of it again with
    what each step cost and how long it took. Exit code 0: it has completed."""
    _register(world, "ann", "follow")
    watching = world.start("workflows", "submit", str(release), "--watch", "--json", "--tenant", "follow")
    assert _next(watching.stdout)["state"] == "accepted"
    assert len(_next(watching.stdout)["steps"]) == 2
    _report(world, "follow", "release", "design")
    told: list[dict[str, Any]] = []
    while not told or (told[-1].get("step_id"), told[-1]["state"]) != ("build", "running"):
        told.append(_next(watching.stdout))
    assert ("design", "completed") in [(one.get("step_id"), one["state"]) for one in told]
    assert all("at" in one for one in told)
    _report(world, "follow", "release", "build")
    code, out, err = ended(watching)
    assert (code, err) == (0, "")
    last = json.loads(out.splitlines()[-1])
    assert (last["state"], last["cost_usd"], last["budget_usd"]) == ("completed", 0.5, 2)
    design, build = last["steps"]
    assert build["depends_on"] == ["design"]
    assert design["ran_s"] > 0
    assert design["started_at"] <= design["ended_at"] <= build["started_at"] <= last["ended_at"]
    again = world.ops("workflows", "submit", str(release), "--watch", "--tenant", "follow")
    assert again.code == 0, again
    assert "2 of 2 steps done  $0.50 of $2.00" in again.out
    assert "   └─ build" in again.out, "it is shown as a tree although the rows of its steps are gone"


def test_whoever_submits_what_fails_is_told_by_the_exit_code(world: World, release: Path) -> None:
    """Elsewhere than on a terminal there is a line for each change; what did not complete ends with exit code 1."""
    _register(world, "ann", "fails")
    watching = world.start("workflows", "submit", str(release), "--watch", "--tenant", "fails")
    assert "Workflow release: accepted" in next_line(watching.stdout)
    assert next_line(watching.stdout).startswith("release  "), "no word on how to see what is shown anyway"
    while "build" not in next_line(watching.stdout):
        pass
    _report(world, "fails", "release", "design", "failed")
    while "attempt 2" not in (line := next_line(watching.stdout)):
        pass
    assert line.split()[:4] == ["release", "design", "running", "ann"], line
    assert "no paper" in line
    _report(world, "fails", "release", "design", "failed")
    code, out, err = ended(watching)
    assert (code, err) == (1, ""), out
    assert "release  failed  $0.50 of $2.00" in out
    assert "failed  design: no paper" in out


def test_on_a_terminal_the_tree_is_drawn_again_as_it_goes(world: World, release: Path) -> None:
    """`ID --watch` shows the states of the steps live, on 100 columns and few lines, and ends by itself."""
    _register(world, "ann", "live")
    assert world.ops("workflows", "submit", str(release), "--tenant", "live").code == 0
    watch = ("workflows", "release", "--tenant", "live", "--watch")
    with Terminal(*watch, env=world.env, columns=100, lines=9) as terminal:
        first = terminal.expect("Ctrl-C ends this")
        assert "0 of 2 steps done" in first
        assert max(map(len, first.splitlines())) <= 100
        (design,) = [line.split() for line in first.splitlines() if "design" in line]
        assert design[:4] == ["└─", "design", "running", "ann"]
        _report(world, "live", "release", "design")
        terminal.expect("1 of 2 steps done")
        terminal.expect("completed")
        _report(world, "live", "release", "build")
        terminal.expect("2 of 2 steps done")
        assert terminal.end() == 0


def test_ctrl_c_leaves_the_workflow_as_it_is(world: World, release: Path) -> None:
    """On a terminal and elsewhere: exit code 130, no traceback, and it still runs."""
    _register(world, "ann", "leave")
    assert world.ops("workflows", "submit", str(release), "--tenant", "leave").code == 0
    watch = ("workflows", "release", "--tenant", "leave", "--watch")
    with Terminal(*watch, env=world.env) as terminal:
        terminal.expect("Ctrl-C ends this")
        terminal.type("\x03")
        assert terminal.end() == 130
        assert "Traceback" not in terminal.shown
    plain = world.start(*watch)
    while "build" not in next_line(plain.stdout):
        pass
    plain.send_signal(signal.SIGINT)
    code, _, err = ended(plain)
    assert (code, err.strip()) == (130, "")
    (row,) = world.ops("workflows", "--tenant", "leave", "--json").rows
    assert row["state"] == "running"


def test_what_nobody_knows_cannot_be_followed(world: World, release: Path) -> None:
    """Exit code 1 where there is no such workflow or it is rejected; 2 where the answer is not waited for."""
    assert world.ops("workflows", "nowhere", "--watch").code == 1
    rejected = world.ops("workflows", "submit", str(release), "--watch", "--tenant", "nobody")
    assert rejected.code == 1
    assert "nobody_capable" in rejected.out
    assert ops("workflows", "submit", str(release), "--watch", "--wait", "0").code == 2
