"""Money by owner: whose agents have spent it. No broker is needed."""

from __future__ import annotations

from types import MappingProxyType

from ops_stream.cli.output import Out
from ops_stream.cli.owners import NOBODY, Owners, columns
from ops_stream.core.rows import Answer, Ask, Record
from ops_stream.core.rules_model import Agents, DeclaredAgent

DECLARED = Agents(
    MappingProxyType(
        {
            ("*", "writer"): DeclaredAgent("writer", owner="editorial"),
            ("team-a", "clerk"): DeclaredAgent("clerk", owner="finance", tenant="team-a"),
            ("*", "stray"): DeclaredAgent("stray"),
        }
    )
)


def ask(agent: str, money: str, held: int, tenant: str = "team-a") -> Ask:
    """Give an ask that holds money, or whose cost is unknown."""
    phase = "running" if money == "held" else "unknown"
    answer = Answer("approved", "approved", 0, "")
    return Ask(tenant, "r", "t", agent, "", phase, 0, answer, money=money, held=held)  # type: ignore[arg-type]


def owners(tenant: str | None = None) -> Owners:
    """Give the sums of two partitions."""
    found = Owners()
    records = {
        "team-a|writer": Record(cost=2_000_000, done=3, failed=1, overrun=500_000),
        "team-a|clerk": Record(cost=5_000_000, done=2),
        "team-a|stray": Record(cost=200_000, assumed=50_000, done=1),
    }
    asks = {
        "1": ask("writer", "held", 750_000),
        "2": ask("clerk", "unknown", 100_000),
        "3": ask("clerk", "settled", 9),
    }
    found.take(DECLARED, records, asks, tenant)
    found.take(DECLARED, {"team-b|writer": Record(cost=4_000_000, done=1)}, {}, tenant)
    found.take(None, {"team-c|ghost": Record(cost=1)}, {"1": ask("ghost", "held", 1, "team-c")}, tenant)
    return found


def test_each_owner_s_agents_are_summed_over_tenants_the_largest_spender_first() -> None:
    """What is held and unknown now beside what was ever spent; an agent that nobody owns is told as such, as is
    everything of a partition whose rules cannot be read. What was held for reports without a cost counts as spent."""
    rows = list(owners().rows())
    assert [(row["owner"], row["agents"], row["spent_usd"]) for row in rows] == [
        ("editorial", 2, 6),
        ("finance", 1, 5),
        (NOBODY, 2, 0.250001),
    ]
    first, second, nobody = rows
    assert (first["done"], first["failed"], first["overrun_usd"], first["running"]) == (4, 1, 0.5, 1)
    assert (first["held_usd"], first["unknown_usd"], second["unknown_usd"]) == (0.75, 0, 0.1)
    assert first["dearest"][0] == {"agent": "team-b|writer", "spent_usd": 4}
    assert (nobody["held_usd"], nobody["assumed_usd"]) == (0.000001, 0.05)
    assert sum(row["spent_usd"] for row in rows) == 11.250001


def test_one_tenant_s_share_can_be_looked_at() -> None:
    """Others' agents take no part."""
    rows = {row["owner"]: row["spent_usd"] for row in owners("team-a").rows()}
    assert rows == {"finance": 5, "editorial": 2, NOBODY: 0.25}


def test_the_table_names_the_dearest_agents() -> None:
    """Where to look first; a sum that nobody has is no column."""
    rows = list(owners().rows())
    shown = Out(as_json=False, color=False, terminal=False).render(rows, columns(rows))
    assert "team-b/writer $4.00, team-a/writer $2.00" in shown
    assert "$0.50" in shown
    assert "assumed" in shown
    (plain,) = owners("team-b").rows()
    assert "overrun" not in Out(as_json=False, color=False, terminal=False).render([plain], columns([plain]))
