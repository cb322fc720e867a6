"""The batch queue over random histories: it lets out within windows alone, all that waits, at its price."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ops_stream.contract.clocktext import format_time, parse_time
from ops_stream.core.batch_windows import is_open
from ops_stream.core.rows import ASKS
from ops_stream.core.rules_load import Batch, BatchWindow, Load
from ops_stream.core.rules_model import Rules, Supervisor
from ops_stream.core.state import State
from ops_stream.rules.conf_zones import named_zone
from tests.core.policies import TestPolicies, TestPolicy
from tests.core.world import DIGEST, World

ZONES = ("UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kathmandu")
BEGINS = (
    "2026-11-24T13:00:00Z",
    "2026-03-28T22:00:00Z",  # the clocks of Berlin are about to be set forward,
    "2026-10-24T22:00:00Z",  # or back
    "2026-04-04T12:00:00Z",  # those of Lord Howe
    "2026-11-01T02:00:00Z",  # those of St John's
)
windows = st.builds(
    BatchWindow, st.integers(0, 1_439), st.integers(1, 1_440), st.frozensets(st.integers(1, 7), min_size=3)
)
asks = st.fixed_dictionaries(
    {
        "wait": st.integers(0, 20_000),
        "priority": st.integers(1, 10),
        "deadline": st.one_of(st.none(), st.integers(0, 100_000)),
        "takes": st.sampled_from((60, 5, 5_000)),
        "micros": st.integers(0, 3_000_000),
        "down": st.booleans(),
    }
)


@given(
    st.lists(windows, min_size=1, max_size=2),
    st.sampled_from(ZONES),
    st.sampled_from(BEGINS),
    st.sampled_from((1, 60, 7_200)),
    st.sampled_from((None, 1, 50, 100)),
    st.lists(asks, min_size=1, max_size=6),
)
def test_what_is_queued_is_let_go_at_the_next_window_and_never_outside_one(
    found: list[BatchWindow],
    zone: str,
    begin: str,
    every_s: int,
    percent: int | None,
    asked: list[dict[str, Any]],
) -> None:
    """Each answer `queued` names a moment ahead, in a window, before the deadline; at that moment the ask is let go.

    That holds also where nobody read for a while: what a window closed on is queued anew. What is let go is held at no
    more than its share, rounded up, and is not queued again. Recovery has the same rows.
    """
    rules = _rules(found, zone, every_s, percent)
    world = World(rules)
    world.now = parse_time(begin)
    world.takeover()
    world.send("agents", _agent())
    for number, one in enumerate(asked):
        if one["down"]:
            world.now += one["wait"] * 1000  # nobody reads meanwhile
        else:
            world.advance(one["wait"])
        world.send("task-requests", _ask(number, one, world.now))
    while (due := _next_release(world)) is not None:
        world.advance(max(0, due - world.now) / 1000)
        late = [ask for ask in _queued(world) if ask.until <= world.now]
        assert late == [], "what is due is let go, or put off to a later window"
    _hold_against(world, rules, asked, zone)
    again = State(0, 1)
    again.apply(world.state.rows)
    assert again.rows == world.state.rows
    assert again.next_due_ms() == world.state.next_due_ms()


def _hold_against(world: World, rules: Rules, asked: list[dict[str, Any]], zone: str) -> None:
    there, found = rules.zone("team-a"), rules.load.batch.of_tenant("team-a")
    percent, let_go = rules.load.batch.price_percent, set[str]()
    for output in world.outputs:
        if output.type != "TaskApproval":
            continue
        answer = output.value
        name, at = answer["request_id"], parse_time(answer["decided_at"])
        one = asked[int(name)]
        if answer["decision"] == "queued":
            opens = parse_time(answer["queue"]["not_before"])
            assert opens > at
            assert is_open(found, opens, there)
            assert name not in let_go
        elif answer["decision"] == "approved":
            assert is_open(found, at, there)
            assert answer.get("batch", False) is (percent is not None)
            held = round(answer["cost_limit_usd"] * 1_000_000)
            assert held == -(-one["micros"] * (percent or 100) // 100)
            let_go.add(name)
        else:
            assert answer["reason"] in ("deadline_passed", "lease_expired")
            assert answer["reason"] == "lease_expired" or one["deadline"] is not None
    ended = {ask.phase for ask in _asks(world)}
    assert ended <= {"running", "unknown", "ended"}


def _rules(found: list[BatchWindow], zone: str, every_s: int, percent: int | None) -> Rules:
    return Rules(
        DIGEST,
        supervisor=Supervisor(batch_window_s=every_s),
        load=Load(batch=Batch({"*": tuple(found)}, percent)),
        zones={} if zone == "UTC" else {"*": named_zone(zone)},
        policies=TestPolicies([TestPolicy("idle", "queue_for_batch_processing")]),
    )


def _agent() -> dict[str, Any]:
    return {
        "event": "AgentRegistration",
        "tenant": "team-a",
        "agent": "engineer",
        "role": "worker",
        "capabilities": ["general"],
    }


def _ask(number: int, one: dict[str, Any], now: int) -> dict[str, Any]:
    body = {
        "request_id": str(number),
        "task_id": "t1",
        "agent": "engineer",
        "tenant": "team-a",
        "task_description": "Do it.",
        "priority": one["priority"],
        "estimated_time_s": one["takes"],
        "estimated_cost_usd": one["micros"] / 1_000_000,
    }
    if one["deadline"] is not None:
        body["deadline"] = format_time(now + one["deadline"] * 1000)
    return body


def _asks(world: World) -> list[Any]:
    return [ASKS.decode(row) for key, row in world.state.rows.items() if key.startswith("ask/")]


def _queued(world: World) -> list[Any]:
    return [ask for ask in _asks(world) if ask.phase == "queued"]


def _next_release(world: World) -> int | None:
    return min((ask.until for ask in _queued(world)), default=None)
