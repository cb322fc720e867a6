"""`ops-stream kpis` on a real broker: from what agents ask and report to what people and programs see."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from time import monotonic, sleep
from typing import Any

import pytest

from tests.cli.conftest import World, make_world, running_worker
from tests.cli.terminal import Terminal

pytestmark = [pytest.mark.bus, pytest.mark.timeout(120)]
SOON = {"telemetry.yaml": "version: 1\nkpis: {publish_every_s: 1}\n"}


@pytest.fixture(scope="module")
def busy(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Give a cluster on which two tenants have worked, whose figures are told after a second."""
    found = make_world(kafka, tmp_path_factory.mktemp("busy"), SOON)
    with running_worker(found):
        _work(found, "one", "r1", "completed", 2.0, "o1")
        _work(found, "one", "r2", "failed", 1.0, "o1")
        _work(found, "one", "r3", "completed", 3.0, "o2")
        _work(found, "two", "r1", "completed", 6.0, "o1", workflow_id="refunds")
        _send(found, "task-requests", "two", request_id="r2", task_id="t9", estimated_cost_usd=9, **_ASK)
        yield found


_ASK = {"agent": "clerk", "task_description": "x"}


def _work(
    world: World, tenant: str, request_id: str, kind: str, cost: float, objective: str, **more: Any
) -> None:
    same = {"request_id": request_id, "task_id": "t1", "agent": "clerk"}
    _send(
        world, "agents", tenant, event="AgentRegistration", agent="clerk", role="r", capabilities=["general"]
    )
    fields = {"task_description": "x", "estimated_cost_usd": 1, "objective_id": objective}
    _send(world, "task-requests", tenant, **same, **fields, **more)
    _until(lambda: f'"{request_id}"' in world.ops("tail", "approvals", *_ALL, "--tenant", tenant).out)
    _send(world, "telemetry", tenant, **same, event_id=f"e-{request_id}", kind=kind, cost_usd=cost)


_ALL = ("--from-beginning", "--no-follow", "--json")


def _send(world: World, topic: str, tenant: str, **body: Any) -> None:
    world.put(topic, json.dumps({"tenant": tenant, **body}).encode(), tenant=tenant)


def _until(is_so: Callable[[], bool]) -> None:
    deadline = monotonic() + 90
    while not is_so():
        assert monotonic() < deadline, "it took too long"
        sleep(0.1)


def _figures(world: World, *args: str) -> dict[tuple[str, str], tuple[Any, float, float]]:
    result = world.ops("kpis", *args, "--json")
    assert result.code == 0, result
    return {(r["scope"], r["kpi"]): (r["value"], r["numerator"], r["denominator"]) for r in result.rows}


def test_figures_come_from_what_was_asked_and_reported(busy: World) -> None:
    """one: 6.00 spent, o1 and o2 completed: 3.00. two: 6.00 and one objective. All: 12.00 / 3; 3 of 4 went well; of
    five asks one waits for a person."""
    cost, success, escalated = "cost_per_completed_objective_usd", "success_rate", "human_escalation_rate"
    _until(lambda: _figures(busy).get(("system", escalated)) == (0.2, 1, 5))
    _until(lambda: _figures(busy)["system", success] == (0.75, 3, 4))
    found = _figures(busy)
    assert found["tenant/one", cost] == (3.0, 6.0, 2)
    assert found["tenant/two", cost] == (6.0, 6.0, 1)
    assert found["system", cost] == (4.0, 12.0, 3)
    assert _figures(busy, "--window", "1h")["system", cost] == (4.0, 12.0, 3)
    assert _figures(busy, "--window", "30d")["system", cost] == (4.0, 12.0, 3)


def test_one_tenant_workflow_and_agent(busy: World) -> None:
    """Named, each is shown alone; a tenant's page has its workflows and agents. Of whom nothing is told: a no."""
    _until(lambda: ("agent/one/clerk", "reliability") in _figures(busy, "--tenant", "one"))
    assert {scope for scope, _ in _figures(busy, "--tenant", "one")} == {"tenant/one", "agent/one/clerk"}
    assert _figures(busy, "--workflow", "refunds") == {("workflow/two/refunds", "success_rate"): (1.0, 1, 1)}
    scores = busy.ops("kpis", "--agent", "clerk", "--tenant", "one", "--json").rows
    assert {"cost_efficiency", "reliability"} <= {row["kpi"] for row in scores}
    assert all(row["interval"][0] <= row["value"] <= row["interval"][1] for row in scores)
    page = busy.ops("kpis", "--tenant", "two")
    assert "Tenant two" in page.out
    assert "refunds" in page.out
    assert "clerk" in page.out
    for options in ((), ("--json",)):
        unknown = busy.ops("kpis", "--workflow", "nobody", *options)
        assert (unknown.code, unknown.out) == (1, "")
        assert "No figure is known of workflow 'nobody'." in unknown.err


def test_what_cannot_be_asked_is_wrong_use(busy: World) -> None:
    """Scores and workflows have no hours; a workflow and an agent are two questions."""
    for args in (
        ("--agent", "clerk", "--window", "7d"),
        ("--workflow", "w", "--window", "1h"),
        ("--workflow", "w", "--agent", "a"),
        ("--window", "2h"),
    ):
        assert busy.ops("kpis", *args).code == 2, args


def test_on_a_terminal_changes_are_drawn_until_somebody_ends_it(busy: World) -> None:
    """--watch shows the page, and then what changes on it."""
    with Terminal("kpis", "--tenant", "three", "--watch", env=busy.env, columns=140) as terminal:
        terminal.expect("No figure has been told yet")
        _work(busy, "three", "r1", "completed", 1.0, "o1")
        terminal.expect("Tenant three")
        terminal.expect("1 of 1 ask")
        terminal.type("\x03")
        assert terminal.end() == 130


def test_a_narrow_terminal_shows_whole_figures_while_they_change(busy: World) -> None:
    """On 80 columns --watch wraps words as the page does, and cuts none off."""
    with Terminal(
        "kpis", "--tenant", "one", "--watch", "--window", "30d", env=busy.env, columns=80
    ) as terminal:
        page = terminal.expect("Ctrl-C ends")
        assert "Tenant one" in page and "…" not in page
        terminal.type("\x03")
        assert terminal.end() == 130


def test_elsewhere_than_on_a_terminal_changes_are_lines(busy: World) -> None:
    """One object for each figure that there is, and one for each that changes."""
    watching = busy.start("kpis", "--tenant", "four", "--watch", "--json")
    try:
        assert watching.stdout is not None
        sleep(1)
        _work(busy, "four", "r1", "completed", 1.0, "o1")
        while True:
            row = json.loads(watching.stdout.readline())
            if (row["kpi"], row["numerator"]) == ("success_rate", 1.0):
                break
        assert row["scope"] == "tenant/four"
    finally:
        watching.kill()
        watching.communicate()


def test_nothing_told_yet_is_a_sentence(idle: World) -> None:
    """Where no worker has told a figure there is none: that is no error."""
    result = idle.ops("kpis")
    assert (result.code, result.out) == (
        0,
        "No figure has been told yet: they come a minute after the first asks and reports.\n",
    )
    assert idle.ops("kpis", "--json").out == ""
