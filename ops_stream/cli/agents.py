"""`ops-stream agents`: who they are and how they do; quarantine and reinstate."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import click

from ops_stream.cli.common import Out, load_settings, output_options, run
from ops_stream.cli.groups import NameGroup
from ops_stream.cli.output import BAD, GOOD, QUIET, WAIT, Column, Row
from ops_stream.contract.errors import ExitCode, NotSo

if TYPE_CHECKING:
    from ops_stream.audit.fold import PartitionFold
    from ops_stream.contract.settings import Settings
    from ops_stream.core.rows import Agent, Record, Suspension


@click.group(cls=NameGroup, invoke_without_command=True)
@click.option("--tenant", help="Only this tenant's.")
@output_options
def agents(out: Out, tenant: str | None) -> int:
    """List agents, or show one: `agents NAME`; stop one with `agents quarantine`.

    \b
    ops-stream agents
    ops-stream agents refund-bot --json
    ops-stream agents quarantine refund-bot --reason "loops"
    ops-stream agents reinstate refund-bot
    """
    if click.get_current_context().invoked_subcommand is None:
        settings = load_settings()
        rows = run(settings, _rows(out, settings, tenant, None))
        out.table(rows, _COLUMNS, empty="No agents.")
    return ExitCode.DONE


@agents.command()
@click.argument("name")
@click.option("--tenant", help="Only this tenant's.")
@output_options
def show(out: Out, name: str, tenant: str | None) -> int:
    """Show one agent."""
    settings = load_settings()
    rows = run(settings, _rows(out, settings, tenant, name))
    if not rows:
        raise NotSo(f"No agent '{name}' is known.", next_step="List them with: ops-stream agents")
    out.table(rows, _COLUMNS)
    return ExitCode.DONE


@agents.command()
@click.argument("name")
@click.option("--tenant", help="The agent's tenant [default: the setting].")
@click.option(
    "--state",
    type=click.Choice(["suspended", "blocked"]),
    default="suspended",
    show_default=True,
    help="What the agent is told.",
)
@click.option("--reason", help="Why: people and the agent will read it.")
@click.option("--as", "who_", metavar="NAME", help="Who you are [default: your login name].")
@click.option("--wait", type=click.FloatRange(min=0), default=10.0, show_default=True, metavar="SECONDS")
@output_options
def quarantine(out: Out, /, name: str, who_: str | None, wait: float, **given: Any) -> int:
    """Let an agent have nothing more. What it runs goes on; `kill --agent` stops that too."""
    body = {"command": "quarantine_agent", "parameters": {"state": given["state"]}}
    return _command(out, body, name, given["tenant"], given["reason"], who_, wait)


@agents.command()
@click.argument("name")
@click.option("--tenant", help="The agent's tenant [default: the setting].")
@click.option("--reason", help="Why: people will read it.")
@click.option("--as", "who_", metavar="NAME", help="Who you are [default: your login name].")
@click.option("--wait", type=click.FloatRange(min=0), default=10.0, show_default=True, metavar="SECONDS")
@output_options
def reinstate(out: Out, /, name: str, who_: str | None, wait: float, **given: Any) -> int:
    """Take an agent's quarantine back."""
    return _command(out, {"command": "reinstate_agent"}, name, given["tenant"], given["reason"], who_, wait)


def _command(
    out: Out,
    body: dict[str, Any],
    agent: str,
    tenant: str | None,
    reason: str | None,
    name: str | None,
    wait_s: float,
) -> int:
    from ops_stream.cli.bus import connect, who
    from ops_stream.cli.command import issue, outcome

    settings = load_settings()
    home = tenant or settings.tenant
    body = {**body, "scope": "agent", "target": agent, "tenant": home, "issued_by": who(name)}
    if reason is not None:
        body["reason"] = reason

    async def act() -> int:
        async with connect(settings) as bus:
            followed = await issue(bus, out, body, tenant=home, everywhere=False, wait_s=wait_s)
        return outcome(out, followed, wait_s)

    return run(settings, act())


async def _rows(out: Out, settings: Settings, tenant: str | None, name: str | None) -> list[Row]:
    from ops_stream.cli.bus import connect
    from ops_stream.cli.folding import fold

    async with connect(settings) as bus:
        partitions = None if tenant is None else frozenset((bus.home(tenant),))
        prefixes = ("agent/", "record/", "suspension/", "ask/")
        folds = await fold(bus, out, *prefixes, partitions=partitions)
    rows = [row for folded in folds.values() for row in _rows_of(folded)]
    rows = [row for row in rows if tenant in (None, row["tenant"]) and name in (None, row["agent"])]
    return sorted(rows, key=lambda row: (str(row["tenant"]), str(row["agent"])))


def _rows_of(folded: PartitionFold) -> list[Row]:
    from ops_stream.core.rows import AGENTS, ASKS, RECORDS, SUSPENSIONS

    known, records = folded.table(AGENTS), folded.table(RECORDS)
    suspensions = folded.table(SUSPENSIONS)
    running: dict[str, int] = {}
    for ask in folded.table(ASKS).values():
        if ask.phase == "running":
            key = f"{ask.tenant}|{ask.agent}"
            running[key] = running.get(key, 0) + 1
    return [
        _row(key, known.get(key), records.get(key), suspensions.get(key), running.get(key, 0))
        for key in known.keys() | suspensions.keys() | running.keys()
    ]


def _row(
    key: str, agent: Agent | None, record: Record | None, suspension: Suspension | None, running: int
) -> Row:
    from ops_stream.contract.clocktext import format_time
    from ops_stream.contract.money import usd

    tenant, _, name = key.partition("|")
    row: dict[str, Any] = {"agent": name, "tenant": tenant, "running": running}
    if agent is not None:
        row |= {"state": agent.state, "role": agent.role, "since": format_time(agent.since)}
        row |= {"capabilities": list(agent.capabilities), "models": list(agent.models)}
        row |= {"version": agent.version} if agent.version else {}
        row |= {"reason": agent.reason} if agent.reason else {}
    else:
        row |= {"state": suspension.state if suspension is not None else "unregistered"}
    if suspension is not None:
        row |= {"reason": suspension.reason, "quarantined_by": suspension.issued_by}
    if record is not None:
        row |= {"done": record.done, "failed": record.failed, "failures_in_a_row": record.failures}
        row |= {"cost_usd": usd(record.cost)}
        if record.seen_at:
            row["seen_at"] = format_time(record.seen_at)
    return row


def _state_style(row: Row) -> str:
    return {"active": GOOD, "warned": WAIT, "suspended": BAD, "blocked": BAD}.get(str(row["state"]), QUIET)


def _seen(row: Row) -> str:
    from ops_stream.cli.escalations import span
    from ops_stream.contract.clocktext import parse_time

    return f"{span(time.time() - parse_time(row['seen_at']) / 1000)} ago" if "seen_at" in row else ""


def _cost(row: Row) -> str:
    from ops_stream.cli.events import money

    return money(row.get("cost_usd"))


_COLUMNS: Final = (
    Column("agent", "agent"),
    Column("tenant", "tenant"),
    Column("state", "state", _state_style),
    Column("role", "role"),
    Column("running", "running", right=True),
    Column("done", "done", right=True),
    Column("failed", "failed", right=True),
    Column("spent", _cost, right=True),
    Column("seen", _seen),
    Column("reason", "reason", wrap=True),
)
