"""State: a fold of rows, with indexes that depend on nothing else."""

from __future__ import annotations

import gc
import tracemalloc
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from ops_stream.core.due import DueHeap
from ops_stream.core.rules_model import Budgets, Limit, Rules
from ops_stream.core.state import State
from tests.core.world import DIGEST, TENANT, World
from tests.thorough import examples


@given(st.lists(st.tuples(st.integers(0, 50), st.sampled_from("abcdefgh"), st.booleans()), max_size=60))
def test_a_due_heap_gives_the_earliest_live_items(steps: list[tuple[int, str, bool]]) -> None:
    """However items were put, moved and removed, the heap gives those that are in, in order."""
    heap = DueHeap()
    live: dict[str, tuple[int, int, int, str]] = {}
    for due, key, put in steps:
        if put:
            live[key] = (due, 0, 0, key)
            heap.put(live[key])
        else:
            live.pop(key, None)
            heap.remove(key)
    assert heap.earliest(100) == sorted(live.values())
    assert heap.earliest(2, 25) == sorted(item for item in live.values() if item[0] <= 25)[:2]
    assert heap.next_ms() == min((item[0] for item in live.values()), default=None)
    assert len(heap) == len(live)
    assert heap.earliest(100) == sorted(live.values()), "looking takes nothing out"


def test_a_due_heap_does_not_grow_with_renewals() -> None:
    """Leases that are renewed again and again leave no trail behind them."""
    heap = DueHeap()
    for turn in range(100_000):
        heap.put((turn, 0, 0, f"k{turn % 10}"))
    assert len(heap._heap) < 200


def test_rows_of_the_shell_mean_nothing_to_the_core() -> None:
    """Input positions travel with the state and are left alone."""
    state = State(0, 1)
    state.apply({"position/task-requests": b'{"next":5,"digest":"x"}'})
    assert state.rows == {"position/task-requests": b'{"next":5,"digest":"x"}'}
    assert state.next_due_ms() is None
    state.apply({"position/task-requests": None})
    assert state.rows == {}


def test_applying_the_same_changes_twice_is_harmless() -> None:
    """A recovery that sees a record again ends in the same state."""
    world = World()
    _ask(world, "r1")
    once, twice = State(0, 1), State(0, 1)
    for entry in world.partitions[0].journal:
        once.apply(entry.decision.changes)
        twice.apply(entry.decision.changes)
        twice.apply(entry.decision.changes)
    assert once.rows == twice.rows
    assert once.due.earliest(10) == twice.due.earliest(10)
    assert once.counts == twice.counts
    assert once.agents == twice.agents


def test_an_open_ask_takes_less_than_two_kilobytes() -> None:
    """Rows and indexes of an open ask with a task of its own, everything counted."""
    limits = Budgets({TENANT: Limit(10**15, "month")}, {TENANT: Limit(10**9, "task")})
    world = World(Rules(DIGEST, budgets=limits), strict=False)
    _ask(world, "warm-up")
    asks = examples(2_000, quick=600)
    decisions = []
    for number in range(asks):
        _ask(world, f"req-{number:08d}")
        decisions.append(dict(world.partitions[0].journal[-1].decision.changes))
    rebuilt = State(0, 1)
    gc.collect()
    tracemalloc.start()
    for changes in decisions:
        # New objects, as a recovery makes them, so that everything is counted.
        rebuilt.apply({"".join(key): bytes(bytearray(value or b"")) for key, value in changes.items()})
    gc.collect()
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert taken / asks < 2_000


def _ask(world: World, request_id: str) -> None:
    body = {
        "request_id": request_id,
        "task_id": f"task-of-{request_id}",
        "agent": "engineer",
        "tenant": TENANT,
        "task_description": "Fix the test that fails now and then in the module for payments, please.",
        "estimated_cost_usd": 0.5,
        "tool": "shell",
        "arguments": {"command": "pytest -x", "tries": 3},
    }
    if request_id == "warm-up" or not world.outputs:
        registration = {"agent": "engineer", "tenant": TENANT, "role": "worker", "capabilities": []}
        world.send("agents", {"event": "AgentRegistration", **registration})
    assert world.send("task-requests", body)[-1].value["decision"] == "approved"


def test_queue_order_does_not_depend_on_arrival_in_memory() -> None:
    """Items put in any order come out in the same one."""
    items = [(due, rank, order, f"k{order}") for due in (1, 2) for rank in (1, 2) for order in range(5)]
    items = [(due, rank, order, f"{key}{due}{rank}") for due, rank, order, key in items]
    for seed in range(5):
        heap = DueHeap()
        for item in Random(seed).sample(items, len(items)):
            heap.put(item)
        assert heap.earliest(100) == sorted(items)
