"""`ops-stream agents`: where they stand, how they do and why; quarantine and reinstate."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from ops_stream.cli.common import Out, load_settings, output_options, run
from ops_stream.cli.groups import NameGroup
from ops_stream.cli.options import person_options
from ops_stream.cli.output import Row
from ops_stream.contract.errors import ExitCode, NotSo

if TYPE_CHECKING:
    from ops_stream.contract.settings import Settings


@click.group(cls=NameGroup, invoke_without_command=True)
@click.option("--tenant", help="Only this tenant's.")
@output_options
def agents(out: Out, tenant: str | None) -> int:
    """List agents, or show one: `agents NAME`; stop one with `agents quarantine`.

    For each its place among its tenant's agents, its state and why, what it runs, its scores from 0 to 1 and their
    mean (cost efficiency, reliability, quality, speed), and the violations of the last day. A score is green or red
    where it is above or below that of a new agent for certain, and yellow where it only seems to be below.

    \b
    ops-stream agents
    ops-stream agents refund-bot
    ops-stream agents quarantine refund-bot --reason "loops"
    ops-stream agents reinstate refund-bot
    """
    if click.get_current_context().invoked_subcommand is None:
        from ops_stream.cli.agents_show import show_list

        settings = load_settings()
        show_list(out, run(settings, _rows(out, settings, tenant, None)))
    return ExitCode.DONE


@agents.command()
@click.argument("name")
@click.option("--tenant", help="Only this tenant's.")
@output_options
def show(out: Out, name: str, tenant: str | None) -> int:
    """Show one agent: its state and why, what it did, its scores, its violations, how it does at which work.

    \b
    ops-stream agents refund-bot
    ops-stream agents show refund-bot --tenant team-a --json
    """
    from ops_stream.cli.agents_show import show_one

    settings = load_settings()
    rows = run(settings, _rows(out, settings, tenant, name))
    if not rows:
        raise NotSo(f"No agent '{name}' is known.", next_step="List them with: ops-stream agents")
    for number, row in enumerate(rows):
        if number:
            out.say()
        show_one(out, row)
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
@person_options(read_by="people and the agent")
@output_options
def quarantine(out: Out, /, **given: Any) -> int:
    """Let an agent have nothing more. What it runs goes on; `kill --agent` stops that too.

    \b
    ops-stream agents quarantine refund-bot --reason "loops"
    ops-stream agents quarantine refund-bot --tenant team-a --state blocked
    """
    return _command(out, {"command": "quarantine_agent", "parameters": {"state": given["state"]}}, given)


@agents.command()
@click.argument("name")
@click.option("--tenant", help="The agent's tenant [default: the setting].")
@person_options()
@output_options
def reinstate(out: Out, /, **given: Any) -> int:
    """Let an agent work again: end its quarantine, or what it was warned, suspended or blocked for.

    Its violations are counted anew from now on; its scores stay what they are.

    \b
    ops-stream agents reinstate refund-bot --reason "fixed in 1.4.2"
    """
    return _command(out, {"command": "reinstate_agent"}, given)


def _command(out: Out, command: dict[str, Any], given: dict[str, Any]) -> int:
    from ops_stream.cli.command import order

    return order(out, {**command, "scope": "agent", "target": given["name"]}, given)


async def _rows(out: Out, settings: Settings, tenant: str | None, name: str | None) -> list[Row]:
    from ops_stream.cli.agents_memory import prefixes, remembered
    from ops_stream.cli.agents_scores import by_place
    from ops_stream.cli.agents_show import PREFIXES, declared, rows_of
    from ops_stream.cli.bundles import rules_in_force
    from ops_stream.cli.bus import connect
    from ops_stream.cli.folding import fold
    from ops_stream.core.rules_telemetry import Memory

    now_ms = time.time_ns() // 1_000_000
    rows: list[Row] = []
    async with connect(settings) as bus:
        partitions = None if tenant is None else frozenset((bus.home(tenant),))
        # What is remembered is only told of one agent: it is much.
        more = () if name is None else prefixes(tenant, name)
        folds = await fold(bus, out, *PREFIXES, *more, "rules", partitions=partitions)
        in_force = await rules_in_force(bus, folds)
    for number, folded in folds.items():
        rules = in_force.get(number)
        memory = Memory() if rules is None else rules.telemetry.memory
        for row in rows_of(folded, now_ms, memory):
            if tenant in (None, row["tenant"]) and name in (None, row["agent"]):
                known = {} if name is None else remembered(folded, row["tenant"], name, now_ms, memory)
                rows.append(row | declared(None if rules is None else rules.agents, row) | known)
    return sorted(rows, key=by_place)
