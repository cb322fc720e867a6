"""How what is remembered of an agent is shown. What is shown comes from the core. No broker is needed."""

from __future__ import annotations

from typing import Any

import pytest

from ops_stream.audit.fold import PartitionFold
from ops_stream.cli.agents_memory import SHOWN, page, pages, prefixes, remembered
from ops_stream.cli.output import UNSAFE, Out, to_json
from ops_stream.core.rules_telemetry import Memory
from tests.core.test_learning import remembering, run, tell
from tests.core.test_step import ask
from tests.core.world import TENANT, World

PLAIN = Out(as_json=False, color=False, terminal=False)


@pytest.fixture
def world() -> World:
    """Give a world in which the engineer has worked for two days, at two types of work."""
    world = remembering()
    run(world, "r1", cost_usd=0.25, latency_ms=900, quality_score=0.5, workflow="w1")
    world.advance(30 * 3_600)
    body = ask("r2", task_type="code", required_model="large", workflow_id="w1")
    world.send("task-requests", body)
    world.advance(66)
    tell(world, "r2", "failed", cost_usd=1.5, latency_ms=65_000)
    world.advance(1_734)
    run(world, "r3", cost_usd=0.5, latency_ms=1_500, quality_score=1, workflow="w2")
    world.advance(5)
    run(world, "r4", "plan", asked_model="small")
    return world


def seen(world: World, tenant: str | None = TENANT, agent: str = "engineer") -> dict[str, Any]:
    """What the command would know, having read only the rows that it asks for."""
    folded = PartitionFold(0)
    wanted = prefixes(tenant, agent)
    folded.rows = {key: raw for key, raw in world.state.rows.items() if key.startswith(wanted)}
    return remembered(folded, TENANT, agent, world.now, Memory())


def test_each_type_of_work_is_told_by_window_the_latest_used_first(world: World) -> None:
    """With names that programs read; a window in which nothing was is left out, and so is what nobody told."""
    rows = seen(world)["memory"]
    assert [(row["task_type"], row["model"]) for row in rows] == [("plan", "small"), ("code", "large")]
    assert rows[0]["windows"]["1h"] == {"runs": 1, "good": 1, "success": 1.0}
    code = rows[1]["windows"]
    assert code["all"] == {
        "runs": 3,
        "good": 2,
        "failed": 1,
        "overruns": 1,
        "success": 0.6667,
        "cost_usd": 0.75,
        "cost_per_success_usd": 1.125,
        "latency_p50_ms": 1_503,
        "latency_p90_ms": 64_511,
        "latency_p99_ms": 64_511,
        "quality": 0.75,
        "overrun_usd": 0.5,
    }
    assert (code["1d"]["runs"], code["1h"]["runs"], code["7d"]["runs"]) == (2, 2, 3)
    assert 2 < code["decayed"]["runs"] < 3
    world.advance(7_200)
    assert "1h" not in seen(world)["memory"][1]["windows"]


def test_workflows_are_told_to_whoever_worked_on_them(world: World) -> None:
    """With cost, duration and what took longest."""
    found = seen(world)["workflows"]
    assert [row["workflow_id"] for row in found] == ["w2", "w1"]
    assert found[1] == {
        "workflow_id": "w1",
        "ended_at": found[1]["ended_at"],
        "good": 1,
        "failed": 1,
        "cost_usd": 1.75,
        "duration_s": 108_066.0,
        "worked_s": 65.9,
        "waited_s": 0.0,
        "bottleneck": {"task_type": "code", "share": 1.0},
    }
    assert seen(world, agent="somebody") == {"memory": [], "workflows": []}


def test_without_a_tenant_the_rows_of_all_are_read(world: World) -> None:
    """The same is shown, whether or not the tenant was named."""
    assert seen(world, tenant=None) == seen(world)


def test_the_page_fits_a_narrow_terminal_and_says_it_all(world: World) -> None:
    """A table below each type of work; no line is longer than eighty columns."""
    lines = pages(PLAIN, seen(world))
    text = "\n".join(lines)
    assert "  code with large, last used " in text
    line = next(line for line in lines if line.startswith("  ever") and "64.5 s" in line)
    assert line.split() == ["ever", "3", "67%", "1.5", "s", "64.5", "s", "64.5", "s", "$1.125", "0.75", "1"]
    assert "code, 100% of the work" in text
    names = [
        line.split("  ")[1].strip() for line in lines if line.startswith(("  1 ", "  7 ", "  dec", "  ever"))
    ]
    assert names == ["1 hour", "ever", "1 hour", "7 days", "decayed", "ever"], (
        "none says the same as the one above"
    )
    assert max(map(len, lines)) <= 80
    assert pages(PLAIN, {"agent": "new"}) == []


def test_a_long_memory_is_cut_on_the_page_and_whole_in_json() -> None:
    """The latest used are shown, and how many more there are."""
    world = remembering()
    for number in range(SHOWN + 3):
        world.advance(1)
        run(world, f"r{number}", f"type-{number}")
    rows = seen(world)["memory"]
    assert len(rows) == SHOWN + 3
    lines = page(PLAIN, rows)
    assert lines[-1] == "  … and 3 more; all with --json"
    assert sum("last used" in line for line in lines) == SHOWN


def test_hostile_names_are_shown_and_never_sent() -> None:
    """Whatever a type of work or a model is called: escaped for people, escaped for programs."""
    world = remembering()
    evil = "\x1b[2Jcode|\u202e\n"
    run(world, "r1", evil, model=evil, workflow="w1", latency_ms=5)
    found = seen(world)
    assert found["memory"][0]["task_type"] == evil
    assert not UNSAFE.search("".join(pages(PLAIN, found)))
    assert not UNSAFE.search(to_json(found))


def test_what_is_lost_and_reversed_is_shown(world: World) -> None:
    """A lease that ended without a report is a run that failed."""
    world.send("task-requests", ask("r9", task_type="lost"))
    world.advance(600)
    row = seen(world)["memory"][0]
    assert row["windows"]["1h"] == {"runs": 1, "lost": 1, "success": 0.0}
    assert "model" not in row
    tell(world, "r9")
    assert seen(world)["memory"][0]["windows"]["1h"]["success"] == 1.0
