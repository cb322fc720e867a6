"""How agents are shown: state and why, scores, violations. What is shown comes from the core. No broker is needed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ops_stream.audit.fold import PartitionFold
from ops_stream.cli.agents_scores import by_place, give_places
from ops_stream.cli.agents_show import declared, rows_of, show_list, show_one, why
from ops_stream.cli.output import Out
from ops_stream.cli.owners import Owners
from ops_stream.core.rows import RECORDS
from ops_stream.core.rules_telemetry import Memory
from tests.core.world import TENANT, World
from tests.rules.building import compiled

AGENTS = """version: 1
registration: open
agents:
  - {name: ada, role: clerk, owner: finance, task_types: [general]}
"""
LIFECYCLE = "version: 1\nwarn_after: 1\nsuspend_after: 2\ntolerated_percent: 0\n"
PLAIN = Out(as_json=False, color=False, terminal=False)


@pytest.fixture
def world() -> World:
    """Give a fleet in which ada works and bob is silent about what he ran."""
    world = World(compiled(agents=AGENTS, lifecycle=LIFECYCLE), strict=False)
    for agent in ("ada", "bob"):
        body = {"tenant": TENANT, "agent": agent, "role": "r", "capabilities": ["general"], "version": "1.2"}
        world.send("agents", {"event": "AgentRegistration", **body})
    ask(world, "r1", "ada")
    report(world, "r1", "ada", cost_usd=1.5, quality_score=0.75, latency_ms=30_000)
    ask(world, "r2", "ada")
    ask(world, "r3", "bob")
    world.advance(600)
    return world


def ask(world: World, request_id: str, agent: str) -> None:
    """Let an agent ask for a dollar."""
    body = {
        "request_id": request_id,
        "task_id": "t",
        "agent": agent,
        "tenant": TENANT,
        "task_description": "x",
    }
    world.send(
        "task-requests", {**body, "estimated_cost_usd": 1, "estimated_time_s": 60 if agent == "bob" else 600}
    )


def report(world: World, request_id: str, agent: str, **more: Any) -> None:
    """Let an agent report that it is done."""
    body = {"event_id": f"e-{request_id}", "request_id": request_id, "task_id": "t", "agent": agent}
    world.send("telemetry", {**body, "tenant": TENANT, "kind": "completed", **more})


def rows(world: World) -> dict[str, dict[str, Any]]:
    """Give each agent's row by its name."""
    folded = PartitionFold(0)
    folded.rows = dict(world.state.rows)
    return {row["agent"]: row for row in rows_of(folded, world.now, Memory())}


def operator(world: World, command: str, agent: str, **more: Any) -> None:
    """Let an operator command."""
    body = {"command": command, "scope": "agent", "target": agent, "tenant": TENANT, "issued_by": "ana"}
    world.send("control", {"command_id": f"{command}-{agent}", **body, **more})


def test_an_agent_that_works_shows_what_it_did_and_how_well(world: World) -> None:
    """Its scores stand beside what is behind them; alone at its work its cost and time are the usual ones."""
    row = rows(world)["ada"]
    assert (row["state"], row["running"], row["done"], row["failed"]) == ("active", 1, 1, 0)
    assert (row["cost_usd"], row["overrun_usd"], row["violations_1d"]) == (1.5, 0.5, 0)
    assert row["scores"] == {"cost_efficiency": 0.7, "reliability": 0.75, "quality": 0.7083, "speed": 0.7}
    assert row["samples"] == {"cost_efficiency": 1, "reliability": 1, "quality": 1, "speed": 1}
    assert row["intervals"]["reliability"] == [0.3648, 0.94]
    assert (row["overall"], row["prior"], row["rank"], row["ranked"]) == (0.714583, 0.7, 1, 2)
    assert why(row) == ""


def test_a_report_without_a_cost_counts_as_what_was_held(world: World) -> None:
    """As it does against the budgets; the scores go by what was really told."""
    before = rows(world)["ada"]
    report(world, "r2", "ada")
    after = rows(world)["ada"]
    assert (before["cost_usd"], after["cost_usd"]) == (1.5, 2.5)
    assert after["samples"]["cost_efficiency"] == before["samples"]["cost_efficiency"] + 1
    owners = Owners()
    owners.take(world.rules.agents, {"team-a|ada": RECORDS.decode(world.state.rows["record/team-a|ada"])}, {})
    (row,) = owners.rows()
    assert (row["owner"], row["spent_usd"], row["assumed_usd"]) == ("finance", 2.5, 1)


def test_reports_that_break_rules_are_counted_on_the_page(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the rules, and with what was spent that nobody believes; it counts as spent for the owner too."""
    report(world, "r2", "ada", cost_usd=2_000, input_tokens=10**9)
    row = rows(world)["ada"]
    assert (row["flagged"], row["doubted_usd"], row["cost_usd"]) == (2, 2_000, 2_001.5)
    assert row["flags"] == ["cost_range", "latency_too_long", "tokens_range"]
    show_one(PLAIN, row)
    told = "2 reports break rules (cost_range, latency_too_long, tokens_range); $2,000.00 of what it spent is not"
    assert told in capsys.readouterr().out
    owners = Owners()
    owners.take(world.rules.agents, {"team-a|ada": RECORDS.decode(world.state.rows["record/team-a|ada"])}, {})
    assert [(row["spent_usd"], row["assumed_usd"]) for row in owners.rows()] == [(2_001.5, 0)]
    assert "flagged" not in rows(world)["bob"]


def test_an_agent_that_was_silent_is_warned_and_the_violation_is_named(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """The state's reason says which ask it was for; the list counts those of the last day."""
    row = rows(world)["bob"]
    assert (row["state"], row["violations_1d"]) == ("warned", 1)
    (violation,) = row["violations"]
    assert (violation["kind"], violation["request_id"], violation["forgiven"]) == ("no_report", "r3", False)
    assert "no_report (ask r3)" in why(row)
    show_list(PLAIN, list(rows(world).values()))
    drawn = capsys.readouterr().out
    assert "no_report (ask r3)" in drawn


def test_on_a_narrow_terminal_the_reasons_come_below(
    world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sentence is not squeezed into a column of a few characters."""
    monkeypatch.setenv("COLUMNS", "80")
    show_list(Out(as_json=False, color=False, terminal=True), list(rows(world).values()))
    drawn = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 80 for line in drawn[:3])
    assert drawn[-1].startswith("bob of team-a: Warned for a violation")


def test_a_reinstated_agent_has_its_violations_forgiven_and_not_forgotten(world: World) -> None:
    """They are shown, and marked."""
    operator(world, "reinstate_agent", "bob")
    row = rows(world)["bob"]
    assert row["state"] == "active"
    assert [one["forgiven"] for one in row["violations"]] == [True]


def test_a_quarantine_names_the_operator_also_for_an_agent_that_never_registered(world: World) -> None:
    """Its reason is that of the command."""
    operator(world, "quarantine_agent", "ada", reason="loops")
    operator(world, "quarantine_agent", "ghost", parameters={"state": "blocked"})
    found = rows(world)
    assert (found["ada"]["state"], why(found["ada"])) == ("suspended", "Quarantined by ana: loops")
    assert (found["ghost"]["state"], why(found["ghost"])) == ("blocked", "Quarantined by ana")


def test_the_rules_say_who_owns_an_agent(world: World) -> None:
    """An agent that is not declared has no owner."""
    found = rows(world)
    assert declared(world.rules.agents, found["ada"]) == {
        "declared": True,
        "owner": "finance",
        "task_types": ["general"],
    }
    assert declared(world.rules.agents, found["bob"]) == {}
    assert declared(None, found["ada"]) == {}


def test_one_agents_page_says_all_of_it(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """State, why, how to take it back, what it did, each score with its meaning, each violation with its ask."""
    row = rows(world)["ada"]
    show_one(PLAIN, row | declared(world.rules.agents, row))
    page = capsys.readouterr().out
    assert page.startswith("ada of tenant team-a: active since 2026-11-24 13:00:00 UTC\n")
    for text in (
        "finance",
        "1 well, 0 failed",
        "$1.50, $0.50 of it beyond",
        "no violations of late",
        "1.2",
    ):
        assert text in page
    show_one(PLAIN, rows(world)["bob"] | {"reason": "\x1b[2J"})
    page = capsys.readouterr().out
    assert "ops-stream agents reinstate bob --tenant team-a" in page
    assert "no_report       ask r3" in page
    assert "\x1b" not in page


def test_programs_get_one_object(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """With every violation and score."""
    row = rows(world)["bob"]
    show_one(Out(as_json=True, color=False, terminal=False), row)
    assert json.loads(capsys.readouterr().out) == row


def test_the_list_numbers_agents_by_their_place_and_marks_who_is_better_for_certain(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those that are not registered have no place and come last; those that are alike share one."""
    for number in range(30):
        ask(world, f"g{number}", "ada")
        report(world, f"g{number}", "ada", cost_usd=0.5)
    operator(world, "quarantine_agent", "ghost")
    listed = sorted(rows(world).values(), key=by_place)
    assert [(row["agent"], row.get("rank")) for row in listed] == [("ada", 1), ("bob", 2), ("ghost", None)]
    show_list(Out(as_json=False, color=True, terminal=False), listed)
    drawn = capsys.readouterr().out
    assert "\x1b[32m0.96\x1b[0m" in " ".join(drawn.split())
    assert [line.split()[0] for line in drawn.splitlines() if "team-a" in line][:2] != ["ada", "bob"]
    alike = [{"agent": name, "tenant": "t", "role": "r", "overall": 0.7} for name in "ab"]
    give_places(alike)
    assert [row["rank"] for row in alike] == [1, 1]


def test_a_page_says_each_score_with_its_interval_and_its_formula(
    world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a narrow terminal the words come below; who has not registered has no scores."""
    show_one(PLAIN, rows(world)["ada"])
    page = capsys.readouterr().out
    assert "a new agent begins at 0.70; place 1 of 2 by their mean, 0.71" in page
    assert "reliability     ███████▌·· 0.75  0.36 to 0.94     1.0 report  what ended well, of all" in page
    monkeypatch.setenv("COLUMNS", "80")
    show_one(Out(as_json=False, color=False, terminal=True), rows(world)["bob"])
    page = capsys.readouterr().out
    assert "nothing yet" in page
    scored = page[page.index("scores, 0 to 1") : page.index("violations, the latest")]
    assert all(len(line) <= 80 for line in scored.splitlines())
    operator(world, "quarantine_agent", "ghost")
    show_one(PLAIN, rows(world)["ghost"])
    assert "no scores: it has not registered" in capsys.readouterr().out
