"""Actions of which nobody knows whether they were done: how many are remembered, and which make room."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_stream.contract.models import TaskRequest
from ops_stream.core import unsure
from ops_stream.core.due import DueHeap, Item
from ops_stream.core.inputs import Tick
from ops_stream.core.rows import UNSURE, Unsure
from ops_stream.core.rules_lifecycle import Lifecycle
from ops_stream.core.rules_model import Rules
from ops_stream.core.unsure import action_of
from ops_stream.core.unsure_index import UnsureIndex
from tests.core.test_step import ask, registered
from tests.core.world import DIGEST, TENANT, World, from_snapshot, refold
from tests.scenarios.retrying import shipped


def world_with(**fields: Any) -> World:
    """A world with the rules that are shipped, and the engineer in it."""
    return registered(World(Rules(DIGEST, retries=replace(shipped(), **fields))))


def lose(world: World, request_id: str, tool: str, tenant: str = TENANT) -> None:
    """Let the engineer do what changes state, and not know whether it was done."""
    world.send("task-requests", ask(request_id, tool=tool, effect="reversible", tenant=tenant))
    body = {"event_id": f"e-{request_id}", "request_id": request_id, "task_id": "t1", "agent": "engineer"}
    world.now += 1
    world.send("telemetry", {**body, "tenant": tenant, "kind": "failed", "error": "timeout"})


def remembered(world: World) -> list[Unsure]:
    """Give the rows."""
    return [UNSURE.decode(raw) for key, raw in world.state.rows.items() if key.startswith("unsure/")]


def test_those_of_the_tenant_that_has_most_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """One tenant cannot push out what another has in doubt: its own oldest go first."""
    monkeypatch.setattr(unsure, "ROWS_MAX", 3)
    world = registered(world_with(), tenant="team-b")
    lose(world, "b1", "other", "team-b")
    for number in range(5):
        lose(world, f"r{number}", f"tool{number}")
    assert sorted(row.asks for row in remembered(world)) == [("b1",), ("r3",), ("r4",)]


def test_of_an_action_the_latest_asks_are_remembered_and_that_there_were_more() -> None:
    """Reports of those that are still known do not end the doubt about the others."""
    world = world_with()
    names = [f"r{number}" for number in range(unsure.ASKS_MAX + 1)]
    for name in names:
        world.send("task-requests", ask(name, tool="book", effect="reversible", estimated_cost_usd=0.1))
    world.advance(200)
    (row,) = remembered(world)
    assert (len(row.asks), row.more) == (unsure.ASKS_MAX, True)
    for name in names:
        body = {"event_id": f"e-{name}", "request_id": name, "task_id": "t1", "agent": "engineer"}
        world.send("telemetry", {**body, "tenant": TENANT, "kind": "completed"})
    (row,) = remembered(world)
    assert (row.asks, row.more) == ((), True)


@pytest.mark.parametrize(
    ("late", "waits"),
    [
        ({"kind": "started"}, True),
        ({"kind": "failed", "error": "timeout"}, True),
        ({"kind": "failed", "error": "ValueError"}, False),
        ({"kind": "completed"}, False),
    ],
)
def test_what_was_given_up_and_turns_out_to_have_begun_is_in_doubt(late: dict[str, Any], waits: bool) -> None:
    """Whoever says that it gives up what it has not begun is not believed once it reports on it, unless that tells how
    it ended."""
    quiet = Lifecycle(unpermitted_run="ignore")
    world = registered(World(Rules(DIGEST, retries=shipped(), lifecycle=quiet)))
    world.send("task-requests", ask("r1", tool="book", effect="reversible"))
    about = {"request_id": "r1", "task_id": "t1", "agent": "engineer", "tenant": TENANT}
    world.send("telemetry", {"event_id": "e1", "kind": "cancelled", **about})
    world.send("telemetry", {"event_id": "e2", **late, **about})
    world.send("task-requests", ask("r2", tool="book", effect="reversible"))
    assert world.answers("r2")[-1]["decision"] == ("escalated" if waits else "approved")


def test_recovery_has_the_same_index() -> None:
    """Folded from the journal or from rows in another order: as many, and the same one goes first."""
    world = world_with()
    for number in range(4):
        lose(world, f"r{number}", f"tool{number}")
    live, folded, copied = world.state, refold(world.partitions[0]), from_snapshot(world.state)
    assert len(live.unsure) == len(folded.unsure) == len(copied.unsure) == 4
    first = oldest(live.unsure)
    assert first == oldest(folded.unsure) == oldest(copied.unsure)
    assert UNSURE.decode(live.rows[first[0]]).asks == ("r0",)


def oldest(index: UnsureIndex) -> list[str]:
    """Give the rows that make room, in their order."""
    return [item[3] for item in index.of_the_most().earliest(100)]


def test_a_record_that_loses_sight_of_much_looks_at_each_row_a_few_times(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where as many are remembered as may be, a kill of many makes room for all of them, and each costs the same."""
    full = 300
    looked: list[int] = []
    monkeypatch.setattr(unsure, "ROWS_MAX", full)
    plain = DueHeap.earliest

    def counting(heap: DueHeap, limit: int, until_ms: int | None = None) -> list[Item]:
        if heap is world.state.unsure.of_the_most():
            looked.append(limit)
        return plain(heap, limit, until_ms)

    world = registered(World(Rules(DIGEST, retries=shipped()), strict=False))
    for times in range(2):
        for number in range(full):
            body = ask(f"r{times}-{number}", tool=f"tool{number}", task_id=str(times), effect="reversible")
            world.send("task-requests", body)
            told = {"event_id": body["request_id"], "request_id": body["request_id"], "kind": "started"}
            world.send("telemetry", {**told, "task_id": str(times), "agent": "engineer", "tenant": TENANT})
        monkeypatch.setattr(DueHeap, "earliest", counting)
        world.send(
            "control", {"command_id": f"k{times}", "command": "kill", "scope": "all", "issued_by": "o"}
        )
        world.take(0, Tick())
        monkeypatch.setattr(DueHeap, "earliest", plain)
        world.send(
            "control", {"command_id": f"u{times}", "command": "resume", "scope": "all", "issued_by": "o"}
        )
        world.now += 1
        assert len(world.state.unsure) == full
    assert {UNSURE.decode(world.state.rows[key]).task_id for key in oldest(world.state.unsure)} == {"1"}
    assert 0 < sum(looked) < 10 * full


def test_the_index_counts_what_there_is_in_any_order() -> None:
    """Put, moved and taken out: only the last word on each row counts."""
    said = [("unsure/a|1", 5), ("unsure/a|2", 6), ("unsure/b|1", 1)]
    for order in permutations(said):
        index = UnsureIndex()
        for key, until in order:
            index.row(key, until + 1)
            index.row(key, until)
        assert len(index) == 3
        assert oldest(index) == ["unsure/a|1", "unsure/a|2"]
        for key, _ in order:
            index.row(key, 0)
            index.row(key, 0)
        assert len(index) == 0
        assert oldest(index) == []


ARGUMENTS = st.dictionaries(st.text(max_size=4), st.integers(-9, 9) | st.text(max_size=4), max_size=4)


@given(ARGUMENTS, ARGUMENTS)
def test_an_action_is_its_task_type_tool_and_arguments(one: dict[str, Any], other: dict[str, Any]) -> None:
    """The order of arguments makes no other, nor does anything else that an agent can say; each of the four does."""

    def action(arguments: dict[str, Any], **fields: Any) -> str:
        return action_of(TaskRequest.from_wire({**ask("r1", tool="t"), "arguments": arguments, **fields}))

    assert (action(one) == action(other)) == (one == other)
    assert action(dict(reversed(one.items()))) == action(one)
    said = {"request_id": "r2", "agent": "b", "task_description": "x", "retry_count": 3, "effect": "none"}
    assert action(one, **said, required_model="m", tags=["a"], attributes={"a": 1}) == action(one)
    assert (
        len({action(one), action(one, tool="u"), action(one, task_id="u"), action(one, task_type="u")}) == 4
    )
