"""What a kill stops: over several records where it is much, with its proof; and automatic kills, at their edges."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ops_stream.contract.clocktext import format_time
from ops_stream.core.draft import ITEMS_MAX
from ops_stream.core.killswitch import FIRST_MAX
from ops_stream.core.rows import CONTAINMENTS, RECORDS, Containment, Record, record_key
from ops_stream.core.rules_kills import AutomaticKill, Kills
from ops_stream.core.rules_model import Models, Rules
from ops_stream.core.rules_routing import Routing
from tests.core.test_step import ask, registered
from tests.core.world import DIGEST, START_MS, TENANT, World
from tests.thorough import examples

KILL = {"command_id": "k1", "command": "kill", "issued_by": "olga", "scope": "all"}


def _running(count: int, *, strict: bool = False, kills: Kills | None = None) -> World:
    world = registered(World(Rules(DIGEST, kills=kills or Kills()), strict=strict))
    for number in range(count):
        world.send("task-requests", ask(request_id=f"r{number:04}", estimated_cost_usd=0))
    return world


def _row(world: World, command_id: str = "k1") -> Containment:
    return CONTAINMENTS.decode(world.state.rows[f"containment/{command_id}"])


def _acknowledge(world: World, request_id: str) -> None:
    body = {"agent": "engineer", "tenant": TENANT, "request_id": request_id}
    world.send("agents", {"event": "RevocationAck", "stopped_at": format_time(world.now), **body})


def test_what_is_too_much_for_one_record_is_stopped_at_once_by_ticks() -> None:
    """Time need not pass for it, and until the last is stopped the row says that more is to be stopped."""
    many = 2 * ITEMS_MAX + 500
    world = _running(many)
    world.send("control", KILL)
    assert (_row(world).revoked, _row(world).sweeping) == (FIRST_MAX, True)
    assert world.state.next_due_ms() == 0
    before = world.now
    world.advance(0)
    assert world.now == before
    assert (_row(world).revoked, _row(world).unproved, _row(world).sweeping) == (many, many, False)
    assert "sweep/k1" not in world.state.rows


def test_a_model_is_stopped_and_let_go_by_any_of_its_names() -> None:
    """An alias means its model: what runs is stopped, what is asked is denied; a resume may use the other name."""
    rules = Rules(DIGEST, models=Models("large"), routing=Routing(aliases={"big": "large"}))
    world = registered(World(rules))
    world.send("task-requests", ask(request_id="r1"))
    world.send("control", KILL | {"scope": "model", "target": "big"})
    world.send("task-requests", ask(request_id="r2"))
    assert world.answers("r1")[-1]["decision"] == "revoked"
    assert world.answers("r2")[-1]["reason"] == "kill_switch"
    world.send(
        "control", KILL | {"command_id": "k2", "command": "resume", "scope": "model", "target": "large"}
    )
    world.send("task-requests", ask(request_id="r3"))
    assert world.answers("r3")[-1]["decision"] == "approved"


def test_the_time_to_confirm_begins_with_the_last_that_is_stopped() -> None:
    """A sweep that takes long does not make unconfirmed what it has only just stopped."""
    world = _running(ITEMS_MAX + 1, kills=Kills(confirm_s=10))
    world.send("control", KILL)
    first = _row(world).until
    world.now += 5_000
    world.advance(0)
    assert (first, _row(world).until) == (world.now + 5_000, world.now + 10_000)


def test_some_of_the_unconfirmed_are_named_and_all_counted() -> None:
    """Twenty names, in order; those that are heard of after all are named no longer."""
    world = _running(30, strict=True, kills=Kills(confirm_s=10))
    world.send("control", KILL)
    _acknowledge(world, "r0001")
    world.advance(11)
    row = _row(world)
    assert row.names == tuple(f"{TENANT}|r{number:04}" for number in (0, *range(2, 21)))
    assert (row.acked, row.unconfirmed, row.pending) == (1, 29, 0)
    alert = world.of("Alert")[-1]
    assert (alert["kind"], alert["severity"], alert["count"]) == ("kill_unconfirmed", "critical", 29)
    assert "29 of 30 asks that k1 revoked" in alert["summary"]
    assert "r0000, r0002" in alert["summary"]
    assert "and 9 more" in alert["summary"]
    _acknowledge(world, "r0002")
    _acknowledge(world, "r0029")
    assert f"{TENANT}|r0002" not in _row(world).names
    assert _row(world).unconfirmed == 27


def test_the_row_of_a_proved_kill_is_forgotten_and_that_of_another_is_not() -> None:
    """A day after the last news of it; as long as something is unconfirmed it is kept."""
    for acknowledged in (True, False):
        world = _running(0, kills=Kills(confirm_s=10))
        world.send("task-requests", ask(request_id="r0000", estimated_cost_usd=1))
        world.send("telemetry", _report("started"))
        world.send("control", KILL)
        if acknowledged:
            _acknowledge(world, "r0000")
        world.advance(3 * 86_400)
        assert ("containment/k1" in world.state.rows) is not acknowledged


def test_default_rules_keep_nothing_of_how_fast_an_agent_asks() -> None:
    """Where no automatic kill is configured, an ask and its report leave no trace of it."""
    world = _running(1)
    changes = world.partitions[0].journal[-1].decision.changes
    assert record_key(TENANT, "engineer") not in changes
    world.send("telemetry", _report("completed", cost_usd=1))
    assert _record(world).buckets == ()


def test_buckets_of_rules_that_are_gone_are_dropped() -> None:
    """An agent's record does not grow with every change of the rules."""
    old, new = AutomaticKill("old", asks=5), AutomaticKill("new", asks=5)
    world = _running(1, kills=Kills(automatic=(old,)))
    assert [bucket.rule for bucket in _record(world).buckets] == ["old"]
    world.rules = replace(world.rules, kills=Kills(automatic=(new,)))
    world.send("task-requests", ask(request_id="again"))
    assert [bucket.rule for bucket in _record(world).buckets] == ["new"]


def test_an_automatic_kill_says_who_to_ask_and_how_to_end_it() -> None:
    """Whoever reads the alert or the denial knows the rule and the command; it is the supervisor's own kill."""
    world = _running(2, kills=Kills(automatic=(AutomaticKill("burst", asks=1),)))
    (denied,) = world.answers("r0001")
    assert denied["reason"] == "kill_switch"
    assert (
        "pulled by ops-stream: rule burst of conf/kills.yaml, more than 1 asks within 60 s"
        in denied["explanation"]
    )
    alert = world.of("Alert")[-1]
    assert alert["kind"] == "kill_switch"
    assert f"ops-stream resume --agent engineer --tenant {TENANT}" in alert["summary"]


def test_a_rule_in_shadow_tells_once_until_its_bucket_has_drained() -> None:
    """An agent that runs on and on past its rate fills no topic of alerts."""
    world = _running(6, kills=Kills(automatic=(AutomaticKill("burst", asks=1, within_s=60, shadow=True),)))
    assert [alert["kind"] for alert in world.of("Alert")] == ["automatic_kill"]
    world.advance(61)
    for number in range(3):
        world.send("task-requests", ask(request_id=f"later{number}", estimated_cost_usd=0))
    assert [alert["kind"] for alert in world.of("Alert")] == ["automatic_kill"] * 2
    assert "kill/" not in str(world.state.rows.keys())


GAPS = st.lists(st.integers(0, 90_000), max_size=25)


@given(GAPS, st.integers(1, 5), st.integers(1, 60))
@settings(max_examples=examples(300), deadline=None)
def test_an_agent_that_keeps_to_its_rate_is_never_stopped(gaps: list[int], asks: int, within_s: int) -> None:
    """No window of within_s holds more than the permitted asks: then nothing happens, whatever came before."""
    times = _times(gaps)
    length = within_s * 1000
    kept = [at for n, at in enumerate(times) if n < asks or at - times[n - asks] >= length]
    kept = _thin(kept, asks, length)
    assert _stopped_at(kept, asks, within_s) is None


@given(GAPS, st.integers(1, 5), st.integers(1, 60))
@settings(max_examples=examples(300), deadline=None)
def test_an_agent_at_twice_its_rate_is_always_stopped(gaps: list[int], asks: int, within_s: int) -> None:
    """More than twice the permitted asks in one window cannot pass unseen."""
    times = _times(gaps)
    last = times[-1] if times else START_MS
    times += [last + 1 + number * within_s * 999 // (2 * asks + 1) for number in range(2 * asks + 1)]
    assert _stopped_at(times, asks, within_s) is not None


@given(st.lists(st.integers(1, 10**15), min_size=1, max_size=6), st.integers(1, 10**15))
@settings(max_examples=examples(100), deadline=None)
def test_money_is_counted_exactly_however_much_it_is(costs: list[int], room: int) -> None:
    """All at one moment: the agent is stopped by the first report that brings the sum above the amount."""
    total, expected = 0, None
    for number, cost in enumerate(costs):
        total += cost
        if total > room:
            expected = number
            break
    found = _stopped_by_cost(costs, room)
    # What drains is rounded down to a microsecond: of within_s so small a part that the amount is met to 1 in 10^9.
    slack = any(abs(sum(costs[: n + 1]) - room) <= room // 10**8 for n in range(len(costs)))
    assert found == expected or slack


def _times(gaps: list[int]) -> list[int]:
    now, times = START_MS + 1, []
    for gap in gaps:
        now += gap
        times.append(now)
    return times


def _thin(times: list[int], asks: int, length: int) -> list[int]:
    kept: list[int] = []
    for at in times:
        if len(kept) < asks or at - kept[-asks] >= length:
            kept.append(at)
    return kept


def _stopped_at(times: list[int], asks: int, within_s: int) -> int | None:
    world = registered(
        World(Rules(DIGEST, kills=Kills(automatic=(AutomaticKill("r", asks=asks, within_s=within_s),))))
    )
    for number, at in enumerate(times):
        world.now = max(world.now, at)
        world.send("task-requests", ask(request_id=f"x{number}", estimated_cost_usd=0))
        if "kill/" in str(world.state.rows.keys()):
            return number
    return None


def _stopped_by_cost(costs: list[int], room: int) -> int | None:
    from ops_stream.core.automatic import spent
    from ops_stream.core.draft import Draft
    from ops_stream.core.inputs import Tick
    from ops_stream.core.rows import ASKS

    rule = AutomaticKill("r", spend_micros=room, within_s=86_400)
    world = _running(1)
    row = ASKS.decode(world.state.rows[f"ask/{TENANT}|r0000"])
    draft = Draft(world.state, Rules(DIGEST, kills=Kills(automatic=(rule,))), world.now, Tick())
    record = Record()
    for number, cost in enumerate(costs):
        record = spent(draft, row, record, cost)
        if draft.kills:
            return number
    return None


def _record(world: World) -> Record:
    return RECORDS.decode(world.state.rows[record_key(TENANT, "engineer")])


def _report(kind: str, **fields: Any) -> dict[str, Any]:
    body = {
        "event_id": f"e-{kind}",
        "request_id": "r0000",
        "task_id": "t1",
        "agent": "engineer",
        "kind": kind,
    }
    return {"tenant": TENANT, **body, **fields}
