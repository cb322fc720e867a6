"""`ops-stream optimizations`: what could be better, what is tried, what is in force; apply, revert and reject it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, get_args

import click

from ops_stream.cli.common import Out, load_settings, output_options, run
from ops_stream.cli.groups import NameGroup
from ops_stream.cli.options import person_options
from ops_stream.contract.errors import ExitCode
from ops_stream.contract.models_figures import OptimizationState

if TYPE_CHECKING:
    from ops_stream.cli.bus import Bus
    from ops_stream.cli.output import Row
    from ops_stream.contract.settings import Settings


@click.group(cls=NameGroup, invoke_without_command=True)
@click.option("--tenant", help="Only this tenant's.")
@click.option(
    "--state",
    "states",
    type=click.Choice(get_args(OptimizationState)),
    multiple=True,
    help="Only those in this state; several may be named.",
)
@output_options
def optimizations(out: Out, tenant: str | None, states: tuple[str, ...]) -> int:
    """List what could be better, or show one: `optimizations ID`; decide about it with apply, revert, reject.

    For each what would be changed, how sure it is that this is better, what an ask saves (the bounds hold with 95 %)
    and what that comes to in 30 days, and on how many reports all of this rests. What was reverted or rejected is
    listed until it may be proposed again.

    \b
    ops-stream optimizations
    ops-stream optimizations --state trial --state applied
    ops-stream optimizations opt_3f9c21d0
    ops-stream optimizations apply opt_3f9c21d0 --reason "compared by hand"
    ops-stream optimizations revert opt_3f9c21d0
    """
    if click.get_current_context().invoked_subcommand is None:
        from ops_stream.cli.optimizations_show import show_list

        settings = load_settings()
        rows = run(settings, _rows(out, settings, tenant))
        show_list(out, [row for row in rows if not states or row["state"] in states])
    return ExitCode.DONE


@optimizations.command()
@click.argument("optimization_id", metavar="ID")
@click.option("--tenant", help="Only this tenant's.")
@output_options
def show(out: Out, optimization_id: str, tenant: str | None) -> int:
    """Show one: what is changed and why, how both sides did so far, and what became of it, step by step.

    The first characters of an ID are enough.

    \b
    ops-stream optimizations opt_3f9c21d0
    ops-stream optimizations show opt_3f9c21d0 --json
    """
    settings = load_settings()
    run(settings, _show(out, settings, optimization_id, tenant))
    return ExitCode.DONE


@optimizations.command()
@click.argument("optimization_id", metavar="ID")
@click.option("--tenant", help="The optimization's tenant [default: the one that has it].")
@person_options()
@output_options
def apply(out: Out, /, **given: Any) -> int:
    """Put a change into force for good, however sure it is; what was reverted or rejected, too.

    A share of the asks stays as it was (holdback_percent), and it is taken back by itself if it does harm.

    \b
    ops-stream optimizations apply opt_3f9c21d0 --reason "compared by hand"
    """
    return _command(out, "apply_optimization", given)


@optimizations.command()
@click.argument("optimization_id", metavar="ID")
@click.option("--tenant", help="The optimization's tenant [default: the one that has it].")
@person_options()
@output_options
def revert(out: Out, /, **given: Any) -> int:
    """Take a change back that is tried or in force: the rules are again those without it.

    It is not proposed again for a while (cooldown_s in conf/optimization.yaml).

    \b
    ops-stream optimizations revert opt_3f9c21d0 --reason "customers complain"
    """
    return _command(out, "revert_optimization", given)


@optimizations.command()
@click.argument("optimization_id", metavar="ID")
@click.option("--tenant", help="The optimization's tenant [default: the one that has it].")
@person_options()
@output_options
def reject(out: Out, /, **given: Any) -> int:
    """Refuse what is proposed or tried: it is not proposed again for a while (cooldown_s).

    \b
    ops-stream optimizations reject opt_3f9c21d0 --reason "we leave that model next week"
    """
    return _command(out, "reject_optimization", given)


def _command(out: Out, command: str, given: dict[str, Any]) -> int:
    settings = load_settings()
    return run(settings, _act(out, settings, command, given))


async def _act(out: Out, settings: Settings, command: str, given: dict[str, Any]) -> int:
    from ops_stream.cli.bus import connect, who
    from ops_stream.cli.command import issue, outcome
    from ops_stream.cli.optimizations_rows import named
    from ops_stream.cli.optimizations_show import line

    wait_s: float = given["wait"]
    async with connect(settings) as bus:
        tenant, id_ = await named(bus, given["optimization_id"], given["tenant"])
        body = {
            "command": command,
            "scope": "tenant",
            "target": id_,
            "tenant": tenant,
            "issued_by": who(given["person"]),
        }
        if given["reason"] is not None:
            body["reason"] = given["reason"]
        told = await bus.ends(bus.places(["optimizations"], bus.home(tenant, "optimizations")))
        followed = await issue(bus, out, body, tenant=tenant, everywhere=False, wait_s=wait_s)
        code = outcome(out, followed, wait_s)
        if code != ExitCode.DONE or not followed.obeyed:
            return code
        starts = {tp: end for tp, (_, end) in told.items()}
        try:
            async with asyncio.timeout(wait_s):
                row = await _told(bus, starts, id_, followed.obeyed[0].offset)
        except TimeoutError:
            out.note(f"It is journaled, and was not published within {wait_s:g} s; see: ops-stream status")
            return ExitCode.NOT_SO
        out.row(row, line(out, row))
        return ExitCode.DONE


async def _told(bus: Bus, starts: Any, id_: str, journaled: int) -> Row:
    """Wait for what is published of an optimization by the journal record at an offset, or a later one."""
    async for record in bus.follow(starts):
        seen = bus.take(record)
        if seen is None or seen.body is None or seen.position is None:
            continue
        if seen.body["optimization_id"] == id_ and seen.position.offset >= journaled:
            return dict(seen.body)
    raise AssertionError("a topic is followed for ever")


async def _rows(out: Out, settings: Settings, tenant: str | None) -> list[dict[str, Any]]:
    from ops_stream.cli.bus import connect
    from ops_stream.cli.optimizations_rows import known

    async with connect(settings) as bus:
        return await known(bus, out, tenant)


async def _show(out: Out, settings: Settings, name: str, tenant: str | None) -> None:
    from ops_stream.cli.bus import connect
    from ops_stream.cli.optimizations_rows import whole
    from ops_stream.cli.optimizations_show import page

    async with connect(settings) as bus:
        row = await whole(bus, out, name, tenant)
    out.row(row, page(out, row))
