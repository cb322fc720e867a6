"""`ops-stream rules`: check and test the files in `conf/`, put them into force, list what was ever in force."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ops_stream.cli.common import Out, load_settings, output_options, run
from ops_stream.cli.options import person_options
from ops_stream.cli.output import Row
from ops_stream.contract.errors import ExitCode, WrongUse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ops_stream.contract.settings import Settings
    from ops_stream.core.rules_model import Rules
    from ops_stream.rules.problems import Problem


@click.group()
def rules() -> None:
    """Rules: policies, budgets, models, agents and settings, as one bundle named by its digest.

    \b
    ops-stream rules check conf/
    ops-stream rules test conf/
    ops-stream rules activate conf/ --reason "stricter refunds"
    ops-stream rules list
    ops-stream rules list --observed --days 3
    """


@rules.command()
@click.argument("directory", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
@click.option("--fields", is_flag=True, help="List what conditions can see, and check nothing.")
@click.option(
    "--against",
    type=click.Choice(["journal"]),
    help="Say also what the recorded asks would be answered under these rules (as audit replay does).",
)
@output_options
def check(out: Out, directory: Path | None, fields: bool, against: str | None) -> int:
    """Check the rules in DIR [default: OPS_STREAM_CONF_DIR, else those that come with ops-stream], and its webhooks.

    Prints everything that is wrong at once, as file:line:column; exit code 1 if there is anything.

    \b
    ops-stream rules check conf/
    ops-stream rules check conf/ --against journal
    ops-stream rules check --fields
    """
    from ops_stream.cli.rules_show import show_checked, show_fields, show_invalid

    if fields:
        show_fields(out)
        return ExitCode.DONE
    from ops_stream.rules.problems import RulesInvalid

    directory = directory or load_settings().conf_dir
    try:
        checked, told = _checked(directory)
    except RulesInvalid as invalid:
        show_invalid(out, directory, invalid, "nothing was activated")
        return ExitCode.NOT_SO
    show_checked(out, directory, checked, webhooks=told)
    if against is not None:
        from ops_stream.cli.audit_replay import replayed, summary

        doc = run(settings := load_settings(), replayed(settings, checked, 0, 0))
        out.row(doc, "" if out.as_json else summary(out, doc))
    return ExitCode.DONE


@rules.command()
@click.argument("directory", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
@output_options
def test(out: Out, directory: Path | None) -> int:
    """Try the cases in DIR's tests.yaml [default: OPS_STREAM_CONF_DIR]: given an event, what do the rules decide?

    Prints each case, and where one fails what was expected, with its place. Exit code 1 if one fails. Nothing is
    sent or activated, and no Kafka is needed.

    \b
    ops-stream rules test conf/
    ops-stream rules test conf/ --json
    """
    from ops_stream.cli.rules_show import show_cases, show_invalid
    from ops_stream.rules.casetest import run_cases, uncovered
    from ops_stream.rules.problems import RulesInvalid

    directory = directory or load_settings().conf_dir
    try:
        results = run_cases(directory)
        missing = uncovered(_read(directory)[1], results)
    except RulesInvalid as invalid:
        show_invalid(out, directory, invalid, "no case was tried")
        return ExitCode.NOT_SO
    return ExitCode.DONE if show_cases(out, directory, results, missing) else ExitCode.NOT_SO


@rules.command()
@click.argument("what", metavar="[DIR|DIGEST]", required=False)
@click.option("--digest", help="The same as DIGEST, for scripts that must not mean a directory.")
@person_options()
@output_options
def activate(
    out: Out, what: str | None, digest: str | None, person: str | None, reason: str | None, wait: float
) -> int:
    """Check the rules in DIR [default: OPS_STREAM_CONF_DIR], publish them and put them into force everywhere.

    With a DIGEST it goes back to a bundle that was published before: its first characters are enough, with or
    without sha256:. Prints each partition whose journal has the switch. Invalid rules never replace valid ones.

    \b
    ops-stream rules activate conf/ --reason "stricter refunds"
    ops-stream rules activate sha256:3a796c36
    """
    from ops_stream.cli.bundles import bundles, named, publish
    from ops_stream.cli.bus import connect, who
    from ops_stream.cli.command import issue, outcome

    directory, digest = _meant(what, digest)
    settings = load_settings()
    issued_by = who(person)
    files = None if digest is not None else _read(directory or settings.conf_dir)[0]

    async def act() -> int:
        async with connect(settings) as bus:
            if files is not None:
                wanted = await publish(bus, files, issued_by)
            else:
                wanted = named(await bundles(bus), digest or "")
            out.say(f"Bundle {wanted} is on {settings.topic('rules')}.")
            body: dict[str, Any] = {"command": "activate_rules", "parameters": {"digest": wanted}}
            body |= {"issued_by": issued_by} | ({"reason": reason} if reason is not None else {})
            followed = await issue(bus, out, body, tenant=settings.tenant, everywhere=True, wait_s=wait)
        return outcome(out, followed, wait)

    return run(settings, act())


def _meant(what: str | None, digest: str | None) -> tuple[Path | None, str | None]:
    """Tell a directory from a digest: a directory that is there is meant, whatever its name."""
    from ops_stream.cli.bundles import looks_like_digest

    if what is None:
        return None, digest
    if digest is not None:
        raise WrongUse("Name either a directory or a digest.", where="--digest")
    if Path(what).exists() or not looks_like_digest(what):
        return Path(what), None
    return None, what


@rules.command("list")
@click.option("--observed", is_flag=True, help="What observe mode would have stopped, by day and tenant.")
@click.option(
    "--days",
    type=click.IntRange(1, 400),
    help="With --observed: how many UTC days, today among them [default: 7].",
)
@click.option("--tenant", help="With --observed: only this tenant's.")
@output_options
def list_bundles(out: Out, observed: bool, days: int | None, tenant: str | None) -> int:
    """List every bundle that was published, where it is in force, since when and by which command.

    With --observed: for each day and tenant the asks that were only observed, how many of them the rules would
    have stopped, for which reasons and by which policies, and the money that those asked for.

    \b
    ops-stream rules list
    ops-stream rules list --observed --days 3 --tenant team-a
    """
    settings = load_settings()
    if observed:
        return _list_observed(out, settings, days or 7, tenant)
    if days is not None or tenant is not None:
        raise WrongUse("--days and --tenant go with --observed.", where="--days")
    from ops_stream.cli.bundles import columns

    out.table(run(settings, _listed(out, settings)), columns(out), empty="No rules were published yet.")
    return ExitCode.DONE


async def _listed(out: Out, settings: Settings) -> list[Row]:
    from ops_stream.cli.bundles import bundles, listed, switches
    from ops_stream.cli.bus import connect
    from ops_stream.cli.folding import fold
    from ops_stream.core.rows import RULES

    async with connect(settings) as bus:
        there = await bundles(bus)
        folds = await fold(bus, out, RULES.prefix)
        switched = await switches(bus)
    active = {
        number: RULES.decode(folded.rows[RULES.prefix])
        for number, folded in folds.items()
        if RULES.prefix in folded.rows
    }
    return listed(there, active, switched)


def _list_observed(out: Out, settings: Settings, days: int, tenant: str | None) -> int:
    from ops_stream.cli.bus import connect
    from ops_stream.cli.observed import COLUMNS, Summary, summarise

    async def look() -> Summary:
        async with connect(settings) as bus:
            return await summarise(bus, days, tenant)

    rows = run(settings, look()).rows()
    span = "today" if days == 1 else f"in the last {days} days"
    out.table(rows, COLUMNS, empty=f"No ask was only observed {span}. See enforcement in supervisor.yaml.")
    return ExitCode.DONE


def _checked(directory: Path) -> tuple[Rules, int]:
    """Give the rules and how many webhooks there are; raises RulesInvalid with what is wrong with either."""
    from ops_stream.notify.config import read_webhooks
    from ops_stream.rules.problems import RulesInvalid

    problems: list[Problem] = []
    try:
        checked = _read(directory)[1]
    except RulesInvalid as invalid:
        problems += invalid.problems
    try:
        targets = read_webhooks(directory)
    except RulesInvalid as invalid:
        problems += invalid.problems
    if problems:
        raise RulesInvalid(problems)
    return checked, len(targets)


def _read(directory: Path) -> tuple[Mapping[str, str], Rules]:
    from ops_stream.rules.bundle import compile_bundle, read_conf

    files = read_conf(directory)
    return files, compile_bundle(files)
