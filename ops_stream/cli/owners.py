"""Money by owner: what the agents of each have spent, and hold, by the owners that `agents.yaml` names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from ops_stream.cli.output import QUIET, WAIT, Column, Row
from ops_stream.contract.money import usd
from ops_stream.core.rows import Ask, Record
from ops_stream.core.rules_model import Agents

NOBODY: Final = "(no owner)"


@dataclass(slots=True)
class _Sums:
    agents: dict[str, int] = field(default_factory=dict)
    """What each has spent."""
    spent: int = 0
    assumed: int = 0
    """The part of it for which no cost was reported: what was held counts."""
    overrun: int = 0
    held: int = 0
    unknown: int = 0
    running: int = 0
    done: int = 0
    failed: int = 0


class Owners:
    """The sums of each owner, in micro-dollars, over all tenants and partitions that are taken in."""

    def __init__(self) -> None:
        self._sums: dict[str, _Sums] = {}

    def take(
        self,
        agents: Agents | None,
        records: Mapping[str, Record],
        asks: Mapping[str, Ask],
        tenant: str | None = None,
    ) -> None:
        """Take in a partition: the agents that the rules in force declare, and its rows by key without prefix."""
        for key, record in records.items():
            of, _, name = key.partition("|")
            if tenant in (None, of):
                found = self._of(agents, of, name)
                found.agents[key] = record.spent
                found.spent += record.spent
                found.assumed += record.assumed
                found.overrun += record.overrun
                found.done += record.done
                found.failed += record.failed
        for ask in asks.values():
            if tenant in (None, ask.tenant) and ask.money in ("held", "unknown"):
                found = self._of(agents, ask.tenant, ask.agent)
                found.agents.setdefault(f"{ask.tenant}|{ask.agent}", 0)
                found.held += (ask.held or 0) if ask.money == "held" else 0
                found.unknown += (ask.held or 0) if ask.money == "unknown" else 0
                found.running += ask.phase == "running"

    def rows(self) -> Iterator[Row]:
        """Give the sums, the largest spender first."""
        for owner, sums in sorted(self._sums.items(), key=lambda item: (-item[1].spent, item[0])):
            dearest = sorted(sums.agents, key=lambda key: (-sums.agents[key], key))
            yield {
                "owner": owner,
                "agents": len(sums.agents),
                "dearest": [{"agent": key, "spent_usd": usd(sums.agents[key])} for key in dearest[:3]],
                "running": sums.running,
                "done": sums.done,
                "failed": sums.failed,
                "held_usd": usd(sums.held),
                "unknown_usd": usd(sums.unknown),
                "spent_usd": usd(sums.spent),
                "assumed_usd": usd(sums.assumed),
                "overrun_usd": usd(sums.overrun),
            }

    def _of(self, agents: Agents | None, tenant: str, name: str) -> _Sums:
        declared = agents.find(tenant, name) if agents is not None else None
        owner = declared.owner if declared is not None and declared.owner else NOBODY
        return self._sums.setdefault(owner, _Sums())


def _money(name: str) -> Callable[[Row], str]:
    def cell(row: Row) -> str:
        from ops_stream.cli.events import money

        return money(row[name]) if row[name] or name == "spent_usd" else ""

    return cell


def _dearest(row: Row) -> str:
    from ops_stream.cli.events import money

    return ", ".join(
        f"{one['agent'].replace('|', '/')} {money(one['spent_usd'])}"
        for one in row["dearest"]
        if one["spent_usd"]
    )


def columns(rows: Sequence[Row]) -> tuple[Column, ...]:
    """Give what is shown; sums that nobody has are left out."""
    sums = ("held", "unknown", "assumed", "overrun")
    there = [name for name in sums if any(row[f"{name}_usd"] for row in rows)]
    return (
        Column("owner", "owner", lambda row: QUIET if row["owner"] == NOBODY else ""),
        Column("agents", "agents", right=True),
        Column("spent", _money("spent_usd"), right=True),
        *(Column(name, _money(f"{name}_usd"), "" if name == "held" else WAIT, right=True) for name in there),
        Column("done", "done", right=True),
        Column("failed", "failed", right=True),
        Column("dearest agents", _dearest, QUIET, wrap=True),
    )
