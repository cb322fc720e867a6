"""`ops-stream budgets`: the tree of what is held, unknown and spent against its limits; and setting a limit."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import click

from ops_stream.cli.common import Out, load_settings, output_options, run
from ops_stream.cli.options import all_of, person_options
from ops_stream.cli.output import Row
from ops_stream.contract.errors import ExitCode, WrongUse

if TYPE_CHECKING:
    from ops_stream.cli.bus import Bus
    from ops_stream.contract.settings import Settings

TOP: Final = 10
WINDOWS: Final = ("task", "hour", "day", "week", "month", "total")


@click.group(invoke_without_command=True)
@click.option("--tenant", help="Only this tenant's.")
@click.option(
    "--all", "everything", is_flag=True, help="Every task, agent, …; not only those that used the most."
)
@click.option("--top", type=click.IntRange(min=0), metavar="N", help=f"How many of a level [default: {TOP}].")
@click.option("--past", is_flag=True, help="Also windows that are over.")
@click.option("--by", type=click.Choice(["owner"]), help="Sum up by the owners of agents.yaml instead.")
@output_options
def budgets(
    out: Out, tenant: str | None, everything: bool, top: int | None, past: bool, by: str | None
) -> int:
    """Show budgets as a tree: each tenant, and below it what its workflows, agents, tasks and models used.

    Each line is one limit in its window: held for what runs, unknown (nobody reported it), spent. A limit that
    only alerts is marked soft, one that an operator set is marked set. --by owner sums up what agents have spent
    since they were first seen.

    \b
    ops-stream budgets
    ops-stream budgets --tenant team-a --all
    ops-stream budgets --by owner
    ops-stream budgets set --tenant team-a --limit 250 --window month
    """
    if click.get_current_context().invoked_subcommand is not None:
        return ExitCode.DONE
    if everything and top is not None:
        raise WrongUse("Give --all or --top.", where="--top")
    if by is not None and (everything or past or top is not None):
        raise WrongUse("--all, --top and --past are for the tree.", where="--by")
    settings = load_settings()
    if by is not None:
        from ops_stream.cli.owners import columns

        rows = run(settings, _by_owner(out, settings, tenant))
        out.table(rows, columns(rows), empty="No agent has spent anything.")
        return ExitCode.DONE
    from ops_stream.cli.budgets_show import show

    most = None if everything else TOP if top is None else top
    show(out, run(settings, _tree(out, settings, tenant, most, past)))
    return ExitCode.DONE


_limit_options: Final = all_of(
    click.option("--tenant", help="Whose budget [default: the setting]."),
    click.option(
        "--workflow", metavar="ID", help="It is for this workflow ('*': each) instead of the tenant."
    ),
    click.option("--agent", metavar="NAME", help="It is for this agent ('*': each)."),
    click.option("--task", metavar="ID", help="It is for this task ('*': each)."),
    click.option("--model", metavar="NAME", help="It is for this model ('*': each)."),
    click.option("--limit", type=float, metavar="USD", help="The limit in US dollars."),
    click.option(
        "--tokens", type=click.IntRange(0), metavar="N", help="The limit in tokens, input and output."
    ),
    click.option("--requests", type=click.IntRange(0), metavar="N", help="The limit in admitted asks."),
    click.option("--concurrent", type=click.IntRange(0), metavar="N", help="How many may run at a time."),
    click.option("--window", type=click.Choice(WINDOWS), help="What it is for [default: as it was]."),
    click.option("--from-rules", is_flag=True, help="Take back what was set: the rules' limit holds again."),
    click.option(
        "--unit",
        type=click.Choice(["usd", "tokens", "requests", "concurrent"]),
        help="With --from-rules: which limit [default: usd].",
    ),
    click.option(
        "--release-unknown", metavar="REQUEST", help="Release an ask's unknown cost; 'all': every ask's."
    ),
    click.option(
        "--cost", type=float, metavar="USD", help="What that ask really cost [default: it did not run]."
    ),
)


@budgets.command("set")
@_limit_options
@person_options()
@output_options
def set_limit(out: Out, /, **given: Any) -> int:
    """Set a limit, take it back, or release what is unknown. It holds from the next ask on.

    A limit takes the place of the rules' one of that scope and unit. One below what is already used revokes
    nothing: new asks are refused.

    \b
    ops-stream budgets set --tenant team-a --limit 250 --window month
    ops-stream budgets set --tenant team-a --agent refund-bot --requests 100 --window hour
    ops-stream budgets set --tenant team-a --model gpt-x --concurrent 4
    ops-stream budgets set --tenant team-a --task '*' --limit 5
    ops-stream budgets set --tenant team-a --agent refund-bot --from-rules --unit requests
    ops-stream budgets set --tenant team-a --release-unknown r-1234 --cost 0.12
    """
    from ops_stream.cli.budgets_command import command_of
    from ops_stream.cli.command import order

    return order(out, {"command": "set_budget", "scope": "tenant", **command_of(given)}, given)


async def _tree(out: Out, settings: Settings, tenant: str | None, top: int | None, past: bool) -> list[Row]:
    from ops_stream.cli.budgets_tree import PREFIXES, Book
    from ops_stream.cli.bundles import rules_in_force
    from ops_stream.cli.bus import connect
    from ops_stream.cli.folding import fold

    now_ms = time.time_ns() // 1_000_000
    rows: list[Row] = []
    async with connect(settings) as bus:
        partitions = None if tenant is None else frozenset((bus.home(tenant),))
        folds = await fold(bus, out, *PREFIXES, partitions=partitions)
        in_force = await rules_in_force(bus, folds)
        for number, folded in folds.items():
            book = Book(folded.rows, in_force.get(number), max(now_ms, folded.at_ms))
            book.take_rules(partial(_is_home, bus, number))
            rows += book.lines(tenant, top=top, past=past)
    # A tenant's rows are of one partition, and stay in their order.
    return sorted(rows, key=lambda row: str(row["tenant"]))


def _is_home(bus: Bus, number: int, tenant: str) -> bool:
    return bus.home(tenant) == number


async def _by_owner(out: Out, settings: Settings, tenant: str | None) -> list[Row]:
    from ops_stream.cli.bundles import rules_in_force
    from ops_stream.cli.bus import connect
    from ops_stream.cli.folding import fold
    from ops_stream.cli.owners import Owners
    from ops_stream.core.rows import ASKS, RECORDS

    owners = Owners()
    async with connect(settings) as bus:
        partitions = None if tenant is None else frozenset((bus.home(tenant),))
        folds = await fold(bus, out, RECORDS.prefix, ASKS.prefix, "rules", partitions=partitions)
        in_force = await rules_in_force(bus, folds)
    for number, folded in folds.items():
        rules = in_force.get(number)
        agents = None if rules is None else rules.agents
        owners.take(agents, folded.table(RECORDS), folded.table(ASKS), tenant)
    return list(owners.rows())
