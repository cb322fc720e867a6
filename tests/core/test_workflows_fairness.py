"""Nothing that could begin waits for what cannot, or for more than one record holds."""

from __future__ import annotations

import pytest

from ops_stream.core import workflows_agents
from ops_stream.core.draft import Draft
from ops_stream.core.kills import kill_on
from ops_stream.core.ranks import RANKED_MAX
from ops_stream.core.rows import Kill
from ops_stream.core.rules_model import Agents, DeclaredAgent, Rules
from tests.core.flows import command, given, hand_in, register, states, status, step
from tests.core.world import DIGEST, TENANT, World


def _world(*agents: str, strict: bool = True, **fields: int) -> World:
    world = World(strict=strict)
    world.takeover(0)
    for agent in agents:
        register(world, agent, "x", "y", **fields)
    return world


def test_what_one_record_cannot_give_out_follows_whatever_its_kind() -> None:
    """An agent with many places comes back: the rest goes on at once, also the kinds that nothing was given of yet."""
    world = _world("ann", strict=False, max_concurrency=1_000)
    command(world, "quarantine_agent", target="ann", tenant=TENANT)
    hand_in(world, *(step(f"s{n}", task_type="x") for n in range(150)), workflow_id="w1")
    hand_in(world, *(step(f"s{n}", task_type="y") for n in range(5)), workflow_id="w2")
    command(world, "reinstate_agent", target="ann", tenant=TENANT)
    world.advance(1)
    assert len(given(world)) == 155
    assert set(states(world, "w2").values()) == {"running"}


def test_steps_of_a_cancelled_workflow_are_in_nobodys_way() -> None:
    """Many ready steps of it wait before all others: whoever is freed by the cancellation gets those behind them."""
    world = _world("ann", strict=False)
    hand_in(world, *(step(f"s{n}", task_type="x") for n in range(600)), workflow_id="w1")
    hand_in(world, step("a", task_type="x"), workflow_id="w2")
    command(world, "cancel_workflow", target="w1", tenant=TENANT)
    assert status(world, "w2")["state"] == "running"
    world.advance(1)
    assert status(world, "w1")["state"] == "cancelled"


def test_of_more_agents_than_are_ranked_each_gets_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is free is found however many there are, and nobody is looked at once for each step that is given out."""
    looked = []

    def counting(draft: Draft, tenant: str, agent: str, workflow: str, model: str) -> Kill | None:
        looked.append(agent)
        return kill_on(draft, tenant, agent, workflow, model)

    monkeypatch.setattr(workflows_agents, "kill_on", counting)
    count = RANKED_MAX + 50
    world = _world(*(f"a{n:03d}" for n in range(count)), strict=False)
    command(world, "kill", scope="agent", target="a007", tenant=TENANT)
    hand_in(world, *(step(f"s{n}", task_type="x") for n in range(count)))
    world.advance(1)
    assert sorted(agent for _, agent in given(world)) == [f"a{n:03d}" for n in range(count) if n != 7]
    assert len(looked) < 2 * count


def test_what_new_rules_permit_is_given_out_at_once() -> None:
    """Who may have a step by the rules that are activated gets it, although nothing happens to that agent."""
    narrow = Agents({(TENANT, "ann"): DeclaredAgent("ann", task_types=frozenset(("y",)))})
    wide = Rules("sha256:" + "cd" * 32)
    world = World(Rules(DIGEST, agents=narrow, known={wide.digest}))
    world.takeover(0)
    for agent in ("ann", "bob"):
        register(world, agent, "x", "y")
    command(world, "quarantine_agent", target="bob", tenant=TENANT)
    hand_in(world, step("a", task_type="x"))
    command(world, "activate_rules", parameters={"digest": wide.digest})
    assert given(world) == []
    world.rules = wide
    world.advance(0)
    assert given(world) == [("a", "ann")]
