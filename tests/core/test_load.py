"""Room: how limits are divided, in what order asks that wait are let in, and what becomes of a failure while one is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_stream.core import load_gates
from ops_stream.core.draft import Draft
from ops_stream.core.inputs import Tick
from ops_stream.core.load_gates import MINUTE_US, Gate, named_gate, pool_gate
from ops_stream.core.load_lines import COST_MAX, COST_MIN
from ops_stream.core.load_release import LET_IN_MAX, OLDEST_EVERY, PASSED_MAX, SWEPT_MAX
from ops_stream.core.rules_load import ANY, Limits, Load, ProviderLimits
from ops_stream.core.rules_model import Models, PolicyMatch, Rules, Supervisor
from ops_stream.core.rules_routing import ModelCard, Routing
from ops_stream.core.state import State
from ops_stream.core.workflows_giving import FAILURES_MAX
from tests.core.test_step import ask, registered
from tests.core.world import DIGEST, START_MS, TENANT, World

ONE_AT_A_TIME = Load({TENANT: Limits(1)}, queue_max=100_000)


def crowded(load: Load = ONE_AT_A_TIME, **fields: Any) -> World:
    """A world whose only place is taken by ask `first`."""
    world = registered(World(Rules(DIGEST, load=load, **fields), strict=False))
    world.send("task-requests", ask("first", task_id="first", estimated_time_s=100_000))
    return world


def follow_up(world: World, ended: str) -> list[str]:
    """End an ask, and give those that are let in because of it."""
    body = {"event_id": ended, "request_id": ended, "tenant": TENANT, "task_id": "t1", "agent": "engineer"}
    outputs = world.send("telemetry", {**body, "kind": "completed"})
    return [
        out.value["request_id"]
        for out in outputs
        if out.type == "TaskApproval" and out.value["decision"] == "approved"
    ]


# -- parts of a provider's limit


def parts_of(entry: ProviderLimits, partitions: int) -> list[Gate]:
    """Give every part that anybody has: of those that are named once, of the others on every partition."""
    rules = Rules(DIGEST, load=Load({}, {"north": entry}))
    drafts = [Draft(State(n, partitions), rules, START_MS, Tick()) for n in range(partitions)]
    named = [named_gate(drafts[0], name, "north") for name in entry.shares if name != ANY]
    return [*named, *(pool_gate(draft, "north") for draft in drafts)]


SHARES = st.dictionaries(st.sampled_from(("a", "b", "c", "d", ANY)), st.integers(0, 9), min_size=1)


@given(st.integers(0, 1_000), SHARES, st.integers(1, 40))
def test_parts_never_come_to_more_than_the_whole(whole: int, shares: dict[str, int], partitions: int) -> None:
    """Whatever the shares and however many partitions: together no more run than the provider takes.

    Rounding leaves at most one place a share unused, and who has no part is told that it has none.
    """
    parts = parts_of(ProviderLimits(Limits(whole), shares), partitions)
    given_out = sum(part.concurrency or 0 for part in parts)
    assert given_out <= whole
    if shares.get(ANY) and sum(shares.values()):
        assert given_out > whole - len(shares)
    assert all(bool(part.shut) == (not part.concurrency) for part in parts)


@given(st.integers(1, 100_000), SHARES, st.integers(1, 40))
def test_rates_together_are_no_more_than_the_whole(
    rate: int, shares: dict[str, int], partitions: int
) -> None:
    """What may begin in a minute adds up to no more than the provider's rate, and to nearly all of it."""
    parts = parts_of(ProviderLimits(Limits(None, rate), shares), partitions)
    given_out = sum((Fraction(MINUTE_US, part.interval_us) for part in parts if not part.shut), Fraction())
    assert given_out <= rate
    if shares.get(ANY):
        assert given_out >= Fraction(rate) * Fraction(95, 100)


def test_shares_of_tenants_of_whom_nothing_runs_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many are named: what the others share is counted by those of them alone of whom anything runs."""
    looked: list[str] = []
    plain = load_gates._running_of
    monkeypatch.setattr(load_gates, "_running_of", lambda *args: looked.append(args[1]) or plain(*args))
    card, named = ModelCard("m1", 1, 1, "north"), {f"t{number}": 1 for number in range(5_000)}
    entry = ProviderLimits(Limits(10_000), {**named, ANY: 1})
    world = World(Rules(DIGEST, load=Load({}, {"north": entry}), routing=Routing(cards={"m1": card})))
    for tenant in ("t7", TENANT):
        registered(world, tenant)
        for number in range(2):
            world.send("task-requests", ask(f"{tenant}-{number}", tenant=tenant, required_model="m1"))
    assert world.answers(f"{TENANT}-1")[-1]["decision"] == "queued"
    assert set(looked) == {"t7"}


# -- the order


def test_a_fork_join_of_a_hundred_steps_does_not_starve_a_single_ask() -> None:
    """One ask of another task that comes behind a hundred of one workflow is let in third at the latest."""
    world = crowded()
    for number in range(100):
        world.send("task-requests", ask(f"step{number}", workflow_id="many", task_id=f"s{number}"))
    world.send("task-requests", ask("single", task_id="alone"))
    running, order = "first", []
    for _ in range(3):
        (running,) = follow_up(world, running)
        order.append(running)
    assert "single" in order


def test_workflows_have_room_by_what_they_cost() -> None:
    """Of two that both always want more, the one whose asks cost a third is let in three times as often."""
    world = crowded()
    for number in range(40):
        world.send("task-requests", ask(f"dear{number}", workflow_id="dear", estimated_cost_usd=3))
        world.send("task-requests", ask(f"cheap{number}", workflow_id="cheap", estimated_cost_usd=1))
    running, order = "first", []
    for _ in range(40):
        (running,) = follow_up(world, running)
        order.append(running[:5])
    assert 26 <= order.count("cheap") <= 32


def test_nothing_is_passed_for_ever_by_cheaper_ones() -> None:
    """An ask that costs as much as a million others is let in when its turn of those that have waited longest comes."""
    world = crowded()
    world.send("task-requests", ask("dear", workflow_id="dear", estimated_cost_usd=COST_MAX // 1_000_000))
    running = "first"
    for number in range(2 * OLDEST_EVERY):
        world.send("task-requests", ask(f"new{number}", workflow_id=f"w{number}", estimated_cost_usd=0))
        world.send("task-requests", ask(f"more{number}", workflow_id=f"v{number}", estimated_cost_usd=0))
        (running,) = follow_up(world, running)
        if running == "dear":
            break
    assert running == "dear"
    assert number < OLDEST_EVERY


def test_a_lower_level_is_not_starved_by_a_higher_one() -> None:
    """However many urgent asks keep coming: it is let in once it has waited as much longer as it is less urgent."""
    world = crowded(replace(ONE_AT_A_TIME, ageing_s=10))
    world.send("task-requests", ask("low", priority=1, task_id="low", estimated_time_s=1_000))
    running, waited = "first", 0
    while running != "low":
        for number in range(2):
            body = ask(f"h{waited}-{number}", priority=10, estimated_time_s=1_000)
            world.send("task-requests", body)
        world.advance(5)
        waited += 5
        (running,) = follow_up(world, running)
        assert waited <= 400
    assert waited > 80


def test_free_asks_count_too() -> None:
    """A workflow whose asks cost nothing does not have all of the room: each counts as the least that is counted."""
    assert COST_MIN > 0
    world = crowded()
    for number in range(10):
        world.send("task-requests", ask(f"free{number}", workflow_id="free", estimated_cost_usd=0))
    for number in range(10):
        world.send("task-requests", ask(f"paid{number}", workflow_id="paid", estimated_cost_usd=0.001))
    running, order = "first", []
    for _ in range(8):
        (running,) = follow_up(world, running)
        order.append(running[:4])
    assert 3 <= order.count("paid") <= 5


# -- many at once


def test_more_than_one_record_lets_in_go_on_at_once() -> None:
    """When a limit is taken away everything goes on, a bounded piece a record, in Ticks that are due at once."""
    world = crowded()
    asks = 2 * LET_IN_MAX + 50
    for number in range(asks):
        world.send("task-requests", ask(f"r{number}"))
    _activate(world, Load({TENANT: Limits(10_000)}))
    seen = len(world.outputs)
    before = len(world.partitions[0].journal)
    world.advance(0)
    let_in = [out for out in world.outputs[seen:] if out.type == "TaskApproval"]
    assert [out.value["decision"] for out in let_in] == ["approved"] * asks
    assert len(world.partitions[0].journal) - before == 3
    assert not world.state.load.count


def test_a_change_of_rules_reaches_every_tenant() -> None:
    """However many tenants have something that waits, each is looked at, a bounded piece a record."""
    world = registered(World(Rules(DIGEST, load=Load({ANY: Limits(1)})), strict=False))
    tenants = [f"t{number:04}" for number in range(2 * SWEPT_MAX + 1)]
    for tenant in tenants:
        registered(world, tenant)
        for number in range(2):
            world.send("task-requests", ask(f"{tenant}-{number}", tenant=tenant))
    assert world.state.load.count == len(tenants)
    _activate(world, Load())
    world.advance(0)
    assert not world.state.load.count
    assert world.state.load.running_of == dict.fromkeys(tenants, 2)
    assert not [key for key in world.state.rows if key.startswith(("line/", "gate/"))]


def _activate(world: World, load: Load) -> None:
    digest = "sha256:" + "cd" * 32
    world.rules = replace(world.rules, known=frozenset((digest,)))
    body = {"command_id": "c1", "command": "activate_rules", "issued_by": "olga"}
    world.send("control", {**body, "parameters": {"digest": digest}})
    world.rules = replace(world.rules, digest=digest, load=load)


@pytest.mark.parametrize("burst", [1, 20])
def test_a_rate_that_is_raised_is_in_force_at_once(burst: int) -> None:
    """What began under a slower rate holds nobody up for longer than all tokens of the faster one would take."""
    world = registered(World(Rules(DIGEST, load=Load({TENANT: Limits(None, 1, 20)})), strict=False))
    for number in range(25):
        world.send("task-requests", ask(f"r{number}", estimated_time_s=100_000))
    _activate(world, Load({TENANT: Limits(None, 60, burst)}))
    world.advance(0)
    assert world.state.load.count == 5
    world.advance(5)
    assert not world.state.load.count


def test_what_waits_takes_no_more_memory_than_it_may() -> None:
    """A large ask pushes out as many less urgent ones as it takes, and is denied where these are not enough."""
    most = 60_000
    world = crowded(supervisor=Supervisor(waiting_bytes_max=most))
    for number in range(200):
        world.send("task-requests", ask(f"low{number}", priority=1, task_id=f"t{number}"))
    assert world.answers("low199")[-1]["reason"] == "overloaded"
    for number in range(10):
        body = ask(f"high{number}", priority=9, task_description="x" * 10_000)
        world.send("task-requests", body)
    assert world.state.tenants[TENANT].waiting_bytes < most + 20_000
    last = [world.answers(f"high{number}")[-1] for number in range(10)]
    assert [one["decision"] for one in last[:4]] == ["queued"] * 4
    assert {one["reason"] for one in last[-3:]} == {"overloaded"}
    assert all(one["retry_at"] for one in last[-3:])
    out = [told[-1] for n in range(200) if len(told := world.answers(f"low{n}")) > 1]
    assert {one["reason"] for one in out} == {"overloaded"}
    assert {f"{most:,} bytes" in one["explanation"] for one in out} == {True}


@pytest.mark.parametrize("limit", [Limits(None, 60), Limits(1)])
def test_nobody_new_takes_the_room_of_those_who_wait_for_what_tenants_share(limit: Limits) -> None:
    """A record that comes before the Tick that lets others in waits behind them, whosever it is."""
    card = ModelCard("m1", 1, 1, "north")
    rules = Rules(
        DIGEST, load=Load({}, {"north": ProviderLimits(limit)}), routing=Routing(cards={"m1": card})
    )
    world = registered(registered(World(rules), "new"))
    for name in ("first", "waits"):
        world.send("task-requests", ask(name, required_model="m1", estimated_time_s=100_000))
    if limit.concurrency:
        _activate(world, Load({}, {"north": ProviderLimits(Limits(2))}))
    world.now += 1_000
    world.send("task-requests", ask("new", tenant="new", required_model="m1"))
    world.advance(0)
    assert world.answers("waits")[-1]["decision"] == "approved"
    assert world.answers("new", "new")[-1]["decision"] == "queued"


def test_nobody_new_takes_the_room_of_those_of_its_tenant_who_wait_in_another_line() -> None:
    """What a tenant may begin belongs to those that wait for it, whatever provider the new one would use."""
    cards = {"m1": ModelCard("m1", 1, 1, "north")}
    load = Load({TENANT: Limits(None, 60)}, {"north": ProviderLimits(Limits(9))})
    world = registered(World(Rules(DIGEST, load=load, routing=Routing(cards=cards))))
    for name in ("first", "waits"):
        world.send("task-requests", ask(name, required_model="m1"))
    world.now += 1_000
    world.send("task-requests", ask("new", required_model="other"))
    world.advance(0)
    assert world.answers("waits")[-1]["decision"] == "approved"
    assert world.answers("new")[-1]["decision"] == "queued"


def test_one_record_passes_over_so_many_lines() -> None:
    """However many tenants come to wait for limits of their own: who has room gets what they share, Ticks later."""
    card, limits = ModelCard("m1", 1, 1, "north"), {"north": ProviderLimits(Limits(2 * PASSED_MAX + 1))}
    world = World(Rules(DIGEST, load=Load({}, limits), routing=Routing(cards={"m1": card})), strict=False)
    tenants = [f"t{number:04}" for number in range(2 * PASSED_MAX + 1)]
    for tenant in (*tenants, "last"):
        registered(world, tenant)
    for number in range(2):
        for tenant in tenants:
            body = ask(f"{tenant}-{number}", tenant=tenant, required_model="m1", estimated_time_s=100_000)
            world.send("task-requests", body)
    world.send("task-requests", ask("last", tenant="last", required_model="m1"))
    _activate(world, Load({ANY: Limits(1)}, limits))
    world.advance(0)
    begun, killed = len(world.partitions[0].journal), {"scope": "tenant", "target": tenants[0]}
    world.send("control", {"command_id": "k1", "command": "kill", "issued_by": "olga", **killed})
    world.advance(0)
    assert world.answers("last", "last")[-1]["decision"] == "approved"
    changed = [len(entry.decision.changes) for entry in world.partitions[0].journal[begun:]]
    assert PASSED_MAX < max(changed) < PASSED_MAX + 50


def test_who_waits_for_its_own_limit_is_in_nobodys_way() -> None:
    """Lines that are known to wait for limits of their own are not looked at when what they share has room."""
    card, limits = ModelCard("m1", 1, 1, "north"), {"north": ProviderLimits(Limits(9))}
    rules = Rules(DIGEST, load=Load({ANY: Limits(1)}, limits), routing=Routing(cards={"m1": card}))
    world = registered(World(rules))
    for number in range(2):
        world.send("task-requests", ask(f"r{number}", required_model="m1"))
    assert world.state.load.passed_over == {(TENANT, "north")}
    assert follow_up(world, "r0") == ["r1"]
    assert not world.state.load.passed_over


# -- failures


class Breaking:
    """Policies that fail on asks with a word in their task, once they are broken."""

    fields = frozenset(("task_id",))
    broken = False

    def match(self, when: Literal["request", "telemetry"], view: Mapping[str, Any]) -> Sequence[PolicyMatch]:
        """Match nothing, or fail."""
        if self.broken and when == "request" and view["task_id"].startswith("bad"):
            raise RuntimeError("a bug")
        return ()


@pytest.mark.parametrize("bad", [1, 25])
def test_a_failure_while_one_is_let_in_denies_that_ask_alone(bad: int) -> None:
    """The report that made room is taken in, what fails is denied, and the next is let in, however many fail."""
    policies = Breaking()
    world = crowded(policies=policies)
    for number in range(bad):
        world.send("task-requests", ask(f"bad{number}", task_id=f"bad{number}"))
    world.send("task-requests", ask("good", task_id="good"))
    policies.broken = True
    follow_up(world, "first")
    world.advance(0)
    for number in range(bad):
        assert [a["reason"] for a in world.answers(f"bad{number}")] == ["queued", "policy_error"]
    assert [a["decision"] for a in world.answers("good")] == ["queued", "approved"]
    assert not world.of("DeadLetter")


class BreakingModels(Models):
    """Models that fail when they are asked for a bad one: nothing on the way catches that."""

    def known(self, model: str) -> bool:
        """Know every other model."""
        if model == "bad":
            raise RuntimeError("a bug")
        return True


@pytest.mark.parametrize("bad", [1, FAILURES_MAX - 1, FAILURES_MAX, 3 * FAILURES_MAX])
def test_a_bug_while_some_are_let_in_holds_nobody_up(bad: int) -> None:
    """However many fail: a Tick denies as many as one record takes, the next goes on, and who is behind them runs."""
    world = crowded()
    for number in range(bad):
        world.send("task-requests", ask(f"bad{number}", task_id=f"bad{number}", required_model="bad"))
    world.send("task-requests", ask("good", task_id="good"))
    world.rules = replace(world.rules, models=BreakingModels())
    follow_up(world, "first")
    world.advance(0)
    for number in range(bad):
        assert [a["reason"] for a in world.answers(f"bad{number}")] == ["queued", "policy_error"]
    assert [a["decision"] for a in world.answers("good")] == ["queued", "approved"]


# -- what is told of it


def test_those_that_wait_are_counted_by_provider() -> None:
    """Whoever looks from outside is told how many wait for each provider, and for their tenant's limit alone."""
    cards = {"m1": ModelCard("m1", 1, 1, "north"), "m2": ModelCard("m2", 1, 1, "south")}
    limited = {"north": ProviderLimits(Limits(1)), "south": ProviderLimits(Limits(100))}
    world = crowded(Load({TENANT: Limits(1)}, limited), routing=Routing(cards=cards))
    for number, model in enumerate(("m1", "m1", "m2", "other")):
        world.send("task-requests", ask(f"r{number}", required_model=model))
    assert world.state.load.of_line == {"north": 2, "south": 1, "": 1}
    follow_up(world, "first")
    assert world.state.load.of_line == {"north": 1, "south": 1, "": 1}
