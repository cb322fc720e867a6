"""The tree of budgets: every scope, unit and window, as the core itself counts them. No broker is needed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ops_stream.cli.budgets_show import branches, columns, show
from ops_stream.cli.budgets_tree import Book
from ops_stream.cli.output import Out, Row
from ops_stream.core.rules_model import Rules
from tests.core.world import START_MS, TENANT, World
from tests.rules.building import compiled

BUDGETS = """version: 1
budgets:
  - {tenant: "*", limit_usd: 100, window: month}
  - {tenant: "*", limit_usd: 10, window: day, soft: true}
  - {scope: task, tenant: "*", limit_usd: 20}
  - {scope: workflow, tenant: team-a, target: refunds, limit_usd: 50, window: week}
  - {scope: agent, tenant: "*", target: "*", limit_requests: 10, window: hour}
  - {scope: model, tenant: "*", target: gpt-x, limit_concurrent: 4}
  - {tenant: idle, limit_tokens: 5000, window: day}
"""
PLAIN = Out(as_json=False, color=False, terminal=False)


@pytest.fixture
def world() -> World:
    """Give a tenant whose agents have asked, finished and gone silent."""
    rules = compiled(budgets=BUDGETS, agents="version: 1\nregistration: open\n")
    world = World(rules, strict=False)
    for agent in ("ada", "bob"):
        world.send(
            "agents",
            {
                "event": "AgentRegistration",
                "tenant": TENANT,
                "agent": agent,
                "role": "r",
                "capabilities": ["general"],
                "max_concurrency": 99,
            },
        )
    ask(world, "r1", "ada", 6, task_id="t1", workflow_id="refunds", required_model="gpt-x")
    ask(world, "r2", "ada", 3, task_id="t2")
    ask(world, "r3", "bob", 2, task_id="t3")
    report = {"event_id": "e2", "request_id": "r2", "task_id": "t2", "agent": "ada", "kind": "completed"}
    world.send("telemetry", {**report, "tenant": TENANT, "cost_usd": 1.5})
    return world


def ask(world: World, request_id: str, agent: str, cost: float, **more: Any) -> None:
    """Let an agent ask; it must be approved."""
    body = {
        "request_id": request_id,
        "task_id": "t",
        "agent": agent,
        "tenant": TENANT,
        "task_description": "x",
    }
    world.send("task-requests", {**body, "estimated_cost_usd": cost, **more})
    assert world.answers(request_id)[-1]["decision"] == "approved", world.answers(request_id)


def command(world: World, **fields: Any) -> None:
    """Let an operator set a budget."""
    body = {"command": "set_budget", "scope": "tenant", "tenant": TENANT, "issued_by": "ana"}
    world.send("control", {"command_id": f"c{len(world.outputs)}-{len(world.state.rows)}", **body, **fields})


def lines(world: World, rules: Rules | None = None, **options: Any) -> list[Row]:
    """Give the rows of the tree."""
    return list(Book(world.state.rows, rules or world.rules, world.now).lines(**options))


def only(rows: list[Row], scope: str, target: str | None = None, **more: Any) -> Row:
    """Give the one row of a scope."""
    wanted = {"scope": scope, **({} if target is None else {"target": target}), **more}
    (row,) = [row for row in rows if all(row.get(name) == value for name, value in wanted.items())]
    return row


def test_every_limit_is_a_row_with_what_stands_against_it(world: World) -> None:
    """Held for what runs, unknown and spent, in the limit's unit, within its window; in the order of the tree."""
    rows = lines(world, tenant=TENANT)
    scopes = list(dict.fromkeys(row["scope"] for row in rows))
    assert scopes == ["tenant", "workflow", "agent", "task", "model"]
    month = only(rows, "tenant", window="2026-11")
    assert (month["held_usd"], month["spent_usd"], month["limit_usd"], month["left_usd"]) == (
        8,
        1.5,
        100,
        90.5,
    )
    assert (month["used_usd"], month["share"], month["limit_from"]) == (9.5, 0.095, "rules")
    week = only(rows, "workflow", "refunds")
    assert (week["window"], week["held_usd"], week["limit_usd"]) == ("2026-W48", 6, 50)
    asked = only(rows, "agent", "ada")
    assert (asked["unit"], asked["window"], asked["used_requests"], asked["limit_requests"]) == (
        "requests",
        "2026-11-24T13",
        2,
        10,
    )
    running = only(rows, "model", "gpt-x")
    assert (running["window"], running["used_concurrent"], running["limit_concurrent"]) == ("now", 1, 4)
    task = only(rows, "task", "t2")
    assert (task["held_usd"], task["spent_usd"], task["limit_usd"]) == (0, 1.5, 20)


def test_a_limit_that_only_alerts_is_marked_and_stands_beside_the_hard_one(world: World) -> None:
    """Both have a row; nobody takes the soft one for a wall."""
    row = only(lines(world, tenant=TENANT), "tenant", window="2026-11-24")
    assert (row["soft"], row["limit_usd"], row["share"]) == (True, 10, 0.95)
    assert all(
        "soft" not in other for other in lines(world, tenant=TENANT) if other["window"] != "2026-11-24"
    )


def test_what_an_operator_set_is_marked_as_long_as_it_holds(world: World) -> None:
    """In every unit; taken back, it is the rules' again."""
    command(world, target="ada", parameters={"scope": "agent", "limit_requests": 3, "window": "hour"})
    row = only(lines(world), "agent", "ada")
    assert (row["limit_requests"], row["limit_from"]) == (3, "operator")
    assert only(lines(world), "agent", "bob")["limit_from"] == "rules"
    command(world, target="ada", parameters={"scope": "agent", "limit_requests": None})
    row = only(lines(world), "agent", "ada")
    assert (row["limit_requests"], row["limit_from"]) == (10, "rules")


def test_a_tenant_that_has_a_limit_and_used_nothing_is_shown(world: World) -> None:
    """Where it lives, and not on other partitions."""
    book = Book(world.state.rows, world.rules, world.now)
    assert not list(book.lines("idle"))
    book.take_rules(lambda tenant: tenant == "idle")
    row = only(list(book.lines("idle")), "tenant", unit="tokens")
    assert (row["used_tokens"], row["limit_tokens"], row["window"]) == (0, 5000, "2026-11-24")


def test_many_tasks_are_folded_to_those_that_used_the_most(world: World) -> None:
    """The others are one row with their number and their money; `--all` shows each."""
    for number in range(9):
        ask(world, f"m{number}", "bob" if number % 2 else "ada", 0.5, task_id=f"many-{number}")
    rows = lines(world, top=2)
    tasks = [row for row in rows if row["scope"] == "task"]
    assert [row.get("target") for row in tasks] == ["t1", "t3", None]
    assert (tasks[2]["folded"], tasks[2]["used_usd"]) == (10, 6)
    assert sum(row["scope"] == "task" for row in lines(world)) == 12


def test_a_window_that_is_over_is_shown_on_request(world: World) -> None:
    """A month later the old month's spending is past, and takes part in nothing."""
    world.now = START_MS + 30 * 86_400_000
    rows = lines(world, tenant=TENANT)
    assert all(row["current"] for row in rows)
    assert only(rows, "tenant", window="2026-12")["used_usd"] == 0
    past = [row for row in lines(world, tenant=TENANT, past=True) if not row["current"]]
    row = only(past, "tenant", window="2026-11")
    assert row["used_usd"] == 9.5
    assert "limit_usd" not in row


def test_without_the_rules_what_was_used_is_shown_without_limits(world: World) -> None:
    """Rules of another version of the program cannot be read; the money can."""
    rows = lines(world, Rules(digest=""), tenant=TENANT)
    assert only(rows, "tenant")["used_usd"] == 9.5
    assert all("share" not in row for row in rows)


def test_the_tree_is_drawn_with_branches_bars_and_units(world: World) -> None:
    """What is empty has no column; a soft limit is said to be one."""
    command(world, parameters={"limit_usd": 12})
    rows = branches(lines(world, tenant=TENANT, top=2))
    drawn = PLAIN.render(rows, columns(rows, PLAIN))
    names = [line.split("  ")[0].rstrip() for line in drawn.splitlines()]
    assert drawn.splitlines()[1].startswith("team-a")
    assert "├─ workflows" in drawn
    assert "│  └─ refunds" in drawn
    assert "│  └─ … 1 more" in drawn
    assert "└─ models" in drawn
    assert "   └─ gpt-x" in drawn
    assert "1 run" in drawn
    assert "2 req" in drawn
    assert "unknown" not in drawn
    assert "soft" in drawn
    assert "set" in drawn
    assert "79%" in drawn
    assert "$12.00" in drawn
    assert names[0] == "budget"


def test_hostile_names_are_shown_and_not_obeyed(world: World) -> None:
    """A task's name comes from whoever asks."""
    ask(world, "h", "bob", 1, task_id="t:" + "x" * 100)
    rows = branches(lines(world))
    rows[-1]["name"] = "\x1b[2J"
    assert "\x1b" not in PLAIN.render(rows, columns(rows, PLAIN))


def test_programs_get_the_rows_themselves(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """One object a line, without branches and headings."""
    rows = lines(world, tenant=TENANT)
    show(Out(as_json=True, color=False, terminal=False), rows)
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == rows
    show(PLAIN, [])
    assert capsys.readouterr().out == "No budgets.\n"
