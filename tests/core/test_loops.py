"""Loops: the longest row of tries in vain one after the other, and tasks that go back and forth."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops_stream.core import loops
from ops_stream.core.rows import TRIES
from ops_stream.core.rules_escalations import Trigger, escalations_of
from ops_stream.core.rules_model import Enforcement, Rules, Supervisor
from tests.core.world import DIGEST, TENANT, World

REPEATS = 4
LOOP = Trigger(on=True, repeats=REPEATS, handovers=3, within_s=600)


def world(**changes: Any) -> World:
    """A world in which loops call a person."""
    rule = replace(LOOP, **changes)
    made = World(Rules(DIGEST, escalations=escalations_of({("loop", "*"): rule})))
    for agent in ("a", "b"):
        register(made, agent)
    return made


def register(world: World, agent: str) -> None:
    """Let an agent register."""
    body = {"event": "AgentRegistration", "tenant": TENANT, "agent": agent, "role": "x", "capabilities": []}
    world.send("agents", body)


def ask(world: World, name: str, agent: str = "a", **fields: Any) -> str:
    """Ask, a millisecond later, and give the decision."""
    world.advance(0.001)
    body = {
        "request_id": name,
        "task_id": "t",
        "tenant": TENANT,
        "agent": agent,
        "task_description": "Do it.",
    }
    world.send("task-requests", {**body, "estimated_cost_usd": 0.01, **fields})
    return str(world.answers(name)[-1]["decision"])


def report(world: World, name: str, kind: str = "failed", agent: str = "a", **fields: Any) -> None:
    """Report, a millisecond later."""
    world.advance(0.001)
    body = {"event_id": f"e-{name}", "request_id": name, "task_id": "t", "tenant": TENANT, "agent": agent}
    world.send("telemetry", {**body, "kind": kind, "cost_usd": 0.0, **fields})


def kept(world: World) -> list[str]:
    """Give the keys of the rows about loops."""
    return sorted(key for key in world.state.rows if key.startswith(("tries/", "handover/")))


def test_nothing_is_kept_of_work_that_goes_well() -> None:
    """An agent that succeeds, alone on its task, leaves no row about loops behind."""
    here = world()
    for number in range(20):
        assert ask(here, f"r{number}") == "approved"
        report(here, f"r{number}", "completed")
    assert kept(here) == []


def test_nothing_at_all_is_kept_where_loops_call_nobody() -> None:
    """With the trigger off the rows are, to the byte, those of rules that know no escalations."""
    plain, off = World(Rules(DIGEST)), world()
    off.rules = Rules(DIGEST, escalations=escalations_of({("loop", "*"): Trigger(on=False)}))
    for here in (plain, off):
        here.partitions = World(here.rules).partitions
        for agent in ("a", "b"):
            register(here, agent)
        for number in range(6):
            agent = "ab"[number % 2]
            assert ask(here, f"r{number}", agent) == "approved"
            report(here, f"r{number}", "failed", agent)
    assert plain.state.rows == off.state.rows
    assert kept(off) == []


def test_a_count_is_forgotten_when_nothing_of_it_counts_any_more() -> None:
    """The rows go when their time is over; a success takes the count of tries at once."""
    here = world()
    ask(here, "r1")
    report(here, "r1")
    ask(here, "r2", "b")
    report(here, "r2", "completed", "b")
    assert kept(here) == [f"handover/{TENANT}|t", f"tries/{TENANT}|t|a|general"]
    here.advance(601)
    assert kept(here) == []
    ask(here, "r3")
    report(here, "r3")
    ask(here, "r4")
    report(here, "r4", "completed")
    assert not any(key.startswith("tries/") for key in kept(here))


def test_only_so_many_are_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit no further row is kept; those that are there go on counting."""
    monkeypatch.setattr(loops, "ROWS_MAX", 1)
    here = world()
    ask(here, "r1")
    report(here, "r1")
    ask(here, "s1", task_id="other")
    report(here, "s1", task_id="other")
    assert kept(here) == [f"tries/{TENANT}|t|a|general"]
    for number in range(2, REPEATS):
        assert ask(here, f"r{number}") == "approved"
        report(here, f"r{number}")
    assert ask(here, "r9") == "escalated"


def test_a_row_never_holds_more_than_the_highest_threshold() -> None:
    """However long an observed agent goes on, its row stays as small as it can be."""
    here = world(within_s=604_800)
    supervisor = Supervisor(enforcement=(Enforcement(mode="observe"),))
    here.rules = Rules(DIGEST, supervisor=supervisor, escalations=here.rules.escalations)
    for number in range(loops.COUNT_MAX + 20):
        assert ask(here, f"r{number}") == "approved"
        report(here, f"r{number}")
    (key,) = kept(here)
    assert len(TRIES.decode(here.state.rows[key]).ends) == loops.COUNT_MAX


@dataclass
class _Try:
    began: int
    ended: int | None = None


class _Model:
    """Works out by brute force which try in a row an ask would be."""

    def __init__(self) -> None:
        self.running: dict[str, _Try] = {}
        self.vain: list[_Try] = []

    def next_try(self) -> int:
        """The longest chain of tries in vain of which each began after the one before had ended, and one more."""
        longest: list[int] = []
        ordered = sorted(self.vain, key=lambda one: one.ended or 0)
        for at, one in enumerate(ordered):
            before = [longest[n] for n in range(at) if (ordered[n].ended or 0) < one.began]
            longest.append(1 + max(before, default=0))
        return 1 + max(longest, default=0)


@given(st.lists(st.sampled_from(["ask", "fail", "cancel", "succeed", "fail-last"]), max_size=40), st.data())
def test_tries_in_a_row_are_the_longest_chain_one_after_the_other(
    events: list[str], data: st.DataObject
) -> None:
    """Whatever runs side by side, fails, is given up or succeeds: the count is that of the longest chain since."""
    here, model = world(handovers=0), _Model()
    for number, event in enumerate(events):
        if event == "ask":
            name = f"r{number}"
            decision = ask(here, name)
            assert (decision == "escalated") == (model.next_try() >= REPEATS)
            if decision == "approved":
                model.running[name] = _Try(number)
            continue
        if not model.running:
            continue
        names = sorted(model.running)
        name = names[-1] if event == "fail-last" else data.draw(st.sampled_from(names))
        one = model.running.pop(name)
        report(here, name, {"cancel": "cancelled", "succeed": "completed"}.get(event, "failed"))
        if event == "succeed":
            # What still runs began before the success: it counts from there on like one that began just then.
            model.vain = []
        else:
            one.ended = number
            model.vain.append(one)
