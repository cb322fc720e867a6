"""`ops-stream workflows`: on a real cluster what people do with them, and without one how they are shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ops_stream.audit.fold import PartitionFold
from ops_stream.cli.output import Out
from ops_stream.cli.workflows_show import rows_of, tree
from tests.cli.conftest import World
from tests.cli.running import ops
from tests.core.flows import hand_in, register, report, step
from tests.core.world import World as CoreWorld

PLAIN = Out(as_json=False, color=False, terminal=False)
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


def _register(world: World, agent: str) -> None:
    body = {"event": "AgentRegistration", "agent": agent, "role": "designer", "capabilities": ["design"]}
    world.put("agents", json.dumps(body).encode())


def test_a_workflow_is_handed_in_shown_and_cancelled(world: World, release: Path) -> None:
    """It is refused while nobody can do it; then it runs, is listed, shown as a tree, and cancelled once."""
    refused = world.ops("workflows", "submit", str(release))
    assert refused.code == 1, refused
    assert "nobody_capable" in refused.out
    assert world.ops("workflows").out.startswith("No workflow runs.")
    _register(world, "ann")
    accepted = world.ops("workflows", "submit", str(release), "--json")
    assert accepted.code == 0, accepted
    assert accepted.rows[0]["state"] == "accepted"
    (listed,) = world.ops("workflows", "--json").rows
    assert (listed["workflow_id"], listed["state"], listed["left"]) == ("release", "running", 2)
    shown = world.ops("workflows", "release")
    assert shown.code == 0
    assert "└─ design  running  ann\n   └─ build  waiting" in shown.out
    cancelled = world.ops("workflows", "cancel", "release", "--as", "olga", "--reason", "enough")
    assert cancelled.code == 0, cancelled
    (row,) = world.ops("workflows", "release", "--json").rows
    assert (row["state"], [one["state"] for one in row["steps"]]) == ("cancelled", ["cancelled", "cancelled"])
    assert row["problems"][0]["explanation"] == "olga cancelled it: enough"
    assert "cancelled" in world.ops("workflows", "--all").out
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


def test_each_step_stands_once_below_the_first_that_it_waits_for() -> None:
    """With whoever has it or had it, what it cost, why it failed, and what else it waits for."""
    world = CoreWorld()
    register(world, "ann", max_concurrency=2)
    hand_in(world, step("a"), step("b", "a"), step("c", "a"), step("d", "b", "c"), step("e"))
    report(world, "a")
    report(world, "b", "failed", error="\x1b[31mred")
    folded = PartitionFold(0)
    folded.rows = dict(world.state.rows)
    (row,) = rows_of(folded, "w1")
    assert tree(PLAIN, row).splitlines()[1:] == [
        "├─ a  completed  ann  0.5 USD",
        "│  ├─ b  ready  ann  0.5 USD  \\e[31mred",
        "│  │  └─ d  waiting  (after c too)",
        "│  └─ c  running  ann",
        "└─ e  running  ann",
    ]
    assert "1 of 5 steps done  1 USD" in tree(PLAIN, row)
