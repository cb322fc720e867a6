"""What speaks against a workflow: every problem is told, and the graph is what it is."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops_stream.contract.models import Workflow
from ops_stream.core import workflows_check
from ops_stream.core.draft import Draft
from ops_stream.core.inputs import Tick
from ops_stream.core.rules_model import Agents, DeclaredAgent, Rules
from tests.core.flows import hand_in, register, status, step
from tests.core.world import DIGEST, START_MS, TENANT, World
from tests.thorough import examples

GRAPHS = st.integers(1, 7).flatmap(
    lambda size: st.lists(st.sets(st.integers(0, size - 1), max_size=3), min_size=size, max_size=size)
)


def _checked(steps: list[dict[str, Any]], **fields: Any) -> Any:
    world = World()
    register(world, "ann")
    body = {"workflow_id": "w1", "objective_id": "o1", "tenant": TENANT, "steps": steps, **fields}
    draft = Draft(world.state, world.rules, START_MS, Tick())
    return workflows_check.checked(draft, Workflow.from_wire(body))


def _behind(needs: list[set[int]], start: int) -> set[int]:
    """Every step that a step waits for, directly or not."""
    found: set[int] = set()
    todo = list(needs[start])
    while todo:
        one = todo.pop()
        if one not in found:
            found.add(one)
            todo += needs[one]
    return found


@settings(max_examples=examples(300, quick=40), deadline=None, derandomize=True)
@given(GRAPHS)
def test_a_cycle_is_told_exactly_where_there_is_one(needs: list[set[int]]) -> None:
    """Named are the steps of circles and those between two of them; a step that only leads there is not."""
    steps = [step(f"s{n}", *(f"s{other}" for other in sorted(need))) for n, need in enumerate(needs)]
    _, troubles = _checked(steps)
    loops = {n for n in range(len(needs)) if n in _behind(needs, n)}
    assert [trouble.code for trouble in troubles] == (["cycle"] if loops else [])
    if loops:
        named = troubles[0].text.removeprefix("Steps wait for one another: ").removesuffix(".").split(", ")
        told = {int(name[1:]) for name in named}
        ahead = {n for n in range(len(needs)) if _behind(needs, n) & loops}
        after = {n for loop in loops for n in _behind(needs, loop)}
        assert told == loops | (ahead & after)


@settings(max_examples=examples(300, quick=40), deadline=None, derandomize=True)
@given(GRAPHS, st.lists(st.integers(0, 50), min_size=7, max_size=7))
def test_a_path_is_the_longest_way_to_the_end(needs: list[set[int]], times: list[int]) -> None:
    """From the beginning of a step through the slowest chain behind it; no step takes less than a millisecond."""
    needs = [{other for other in need if other < n} for n, need in enumerate(needs)]
    steps = [
        step(f"s{n}", *(f"s{other}" for other in sorted(need)), estimated_time_s=times[n])
        for n, need in enumerate(needs)
    ]
    graph, troubles = _checked(steps)
    assert not troubles

    def longest(number: int) -> int:
        feeds = [n for n, need in enumerate(needs) if number in need]
        return max(1, times[number] * 1000) + max((longest(n) for n in feeds), default=0)

    assert list(graph.paths) == [longest(n) for n in range(len(needs))]
    assert [sorted(feed) for feed in graph.feeds] == [
        [n + 1 for n, need in enumerate(needs) if number in need] for number in range(len(needs))
    ]


def test_what_an_operator_keeps_from_an_agent_it_is_not_capable_of() -> None:
    """The task types of conf/agents.yaml bind, whatever the agent registers."""
    agents = Agents({("*", "ann"): DeclaredAgent("ann", task_types=frozenset({"review"}))})
    world = World(Rules(DIGEST, agents=agents))
    register(world, "ann", "general", "review")
    hand_in(world, step("a"))
    assert status(world)["problems"][0]["code"] == "nobody_capable"
    hand_in(world, step("a", task_type="review"))
    assert status(world)["state"] == "running"


def test_agents_of_another_tenant_are_nobody() -> None:
    """A tenant's workflow is worked off by its own agents."""
    world = World()
    register(world, "ann", tenant="team-b")
    hand_in(world, step("a"))
    assert status(world)["problems"][0]["code"] == "nobody_capable"


def test_a_step_without_an_estimate_counts_with_what_is_held_for_it() -> None:
    """The setting `default_hold_usd` is its estimate."""
    bare = step("a")
    del bare["estimated_cost_usd"]
    _, troubles = _checked([bare], budget_usd=0.09)
    assert [trouble.code for trouble in troubles] == ["budget_below_estimate"]
    assert not _checked([bare], budget_usd=0.1)[1]


def test_problems_are_bounded() -> None:
    """A workflow that is wrong in a thousand places is answered with a hundred, and how many more there are."""
    _, troubles = _checked([step(f"s{n}", "nowhere") for n in range(1_000)])
    assert len(troubles) == workflows_check.TOLD_MAX + 1
    assert troubles[-1].text == "900 more problems are not listed."


def test_the_bytes_of_the_steps_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are written in one record."""
    monkeypatch.setattr(workflows_check, "BODY_BYTES_MAX", 1_000)
    _, troubles = _checked([step("a", task_description="x" * 1_000)])
    assert [trouble.code for trouble in troubles] == ["too_large"]


def test_nothing_is_kept_of_what_is_rejected() -> None:
    """It can be mended and handed in under the same id."""
    world = World()
    register(world, "ann")
    hand_in(world, step("a", "b"))
    assert not len(world.state.workflows)
    assert not [key for key in world.state.rows if key.startswith(("workflow", "step"))]
    hand_in(world, step("a"))
    assert status(world)["state"] == "running"
