"""`ops-stream rules`: check the files in `conf/`, put them into force, list what was ever in force."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from ops_stream.cli.common import Out, load_settings, output_options, run
from ops_stream.cli.output import BAD, GOOD, QUIET, WAIT, Column, Row, clean
from ops_stream.contract.errors import ExitCode, NotSo, WrongUse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ops_stream.cli.bus import Bus
    from ops_stream.core.rules_model import Rules
    from ops_stream.rules.problems import Problem

_SHORT: Final = 19
"""Characters of a digest that people are shown; enough to name a bundle by."""


@click.group()
def rules() -> None:
    """Rules: policies, budgets, models, agents and settings, as one bundle named by its digest.

    \b
    ops-stream rules check
    ops-stream rules activate conf/
    ops-stream rules list
    """


@rules.command()
@click.argument("directory", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
@click.option("--fields", is_flag=True, help="List what conditions can see, and check nothing.")
@output_options
def check(out: Out, directory: Path | None, fields: bool) -> int:
    """Check the rules in DIR [default: OPS_STREAM_CONF_DIR, else those that come with ops-stream].

    Prints everything that is wrong at once, as file:line:column; exit code 1 if there is anything.
    """
    if fields:
        _show_fields(out)
        return ExitCode.DONE
    from ops_stream.rules.problems import RulesInvalid

    directory = directory or load_settings().conf_dir
    try:
        checked = _read(directory)[1]
    except RulesInvalid as invalid:
        for problem in invalid.problems:
            _show_problem(out, directory, problem)
        count = len(invalid.problems)
        out.say(out.style(f"{count} problem{'s' if count != 1 else ''}", BAD) + "; nothing was activated.")
        return ExitCode.NOT_SO
    _show_checked(out, directory, checked)
    return ExitCode.DONE


@rules.command()
@click.argument("directory", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
@click.option("--digest", help="Go back to this bundle instead; its first characters are enough.")
@click.option("--reason", help="Why: people will read it.")
@click.option("--as", "name", metavar="NAME", help="Who you are [default: your login name].")
@click.option("--wait", type=click.FloatRange(min=0), default=10.0, show_default=True, metavar="SECONDS")
@output_options
def activate(
    out: Out,
    directory: Path | None,
    digest: str | None,
    reason: str | None,
    name: str | None,
    wait: float,
) -> int:
    """Check the rules in DIR, publish them and put them into force on every partition.

    Prints each partition whose journal has the switch. Invalid rules never replace valid ones.

    \b
    ops-stream rules activate conf/ --reason "stricter refunds"
    ops-stream rules activate --digest sha256:3a796c36
    """
    from ops_stream.cli.bus import connect, who
    from ops_stream.cli.command import issue, outcome

    if digest is not None and directory is not None:
        raise WrongUse("Name either a directory or a digest.", where="--digest")
    settings = load_settings()
    issued_by = who(name)
    files = None if digest is not None else _read(directory or settings.conf_dir)[0]

    async def act() -> int:
        async with connect(settings) as bus:
            there = await _bundles(bus)
            wanted = (
                _named(there, digest) if digest is not None else await _publish(bus, files, there, issued_by)
            )
            out.say(f"Bundle {wanted} is on {settings.topic('rules')}.")
            body: dict[str, Any] = {"command": "activate_rules", "parameters": {"digest": wanted}}
            body |= {"issued_by": issued_by} | ({"reason": reason} if reason is not None else {})
            followed = await issue(bus, out, body, tenant=settings.tenant, everywhere=True, wait_s=wait)
        return outcome(out, followed, wait)

    return run(settings, act())


@rules.command("list")
@output_options
def list_bundles(out: Out) -> int:
    """List every bundle that was published, and on which partitions it is in force."""
    from ops_stream.cli.bus import connect
    from ops_stream.cli.folding import fold
    from ops_stream.core.rows import RULES

    settings = load_settings()

    async def look() -> list[Row]:
        async with connect(settings) as bus:
            there = await _bundles(bus)
            folds = await fold(bus, out, RULES.prefix)
        in_force: dict[str, list[int]] = {}
        for number, folded in sorted(folds.items()):
            raw = folded.rows.get(RULES.prefix)
            if raw is not None:
                in_force.setdefault(RULES.decode(raw).digest, []).append(number)
        return [
            _listed(digest, there.get(digest), in_force.get(digest, [])) for digest in {**there, **in_force}
        ]

    out.table(run(settings, look()), _COLUMNS, empty="No rules were published yet.")
    return ExitCode.DONE


def _read(directory: Path) -> tuple[Mapping[str, str], Rules]:
    from ops_stream.rules.bundle import compile_bundle, read_conf

    files = read_conf(directory)
    return files, compile_bundle(files)


# Publishing and reading bundles


async def _publish(
    bus: Bus, files: Mapping[str, str] | None, there: Mapping[str, Mapping[str, Any]], issued_by: str
) -> str:
    """Put a bundle on the topic, unless it is there; wait until it is acknowledged, and give its digest."""
    from ops_stream.cli.bus import SOURCE, now_text
    from ops_stream.cli.bus import check as check_event
    from ops_stream.contract.codec import encode_json
    from ops_stream.contract.headers import event_headers
    from ops_stream.rules.bundle import digest_of

    assert files is not None
    digest = digest_of(files)
    if digest in there:
        return digest
    body = {"digest": digest, "files": dict(files), "created_at": now_text(), "issued_by": issued_by}
    check_event("RuleBundle", body)
    await bus.send(
        "rules",
        encode_json({"event": "RuleBundle", **body}),
        key=digest.encode(),
        partition=0,
        headers=event_headers("RuleBundle", digest, time=now_text(), source=SOURCE),
    )
    return digest


async def _bundles(bus: Bus) -> dict[str, Mapping[str, Any]]:
    """Give every bundle on the topic by its digest, the oldest first; others are passed over."""
    from ops_stream.rules.bundle import digest_of

    found: dict[str, Mapping[str, Any]] = {}
    async for record in bus.read(await bus.ends(bus.places(["rules"]))):
        try:
            body = json.loads(record.value or b"null")
            if digest_of(body["files"]) == body["digest"]:
                found[body["digest"]] = body
        except (ValueError, TypeError, KeyError):
            continue
    return found


def _named(there: Mapping[str, Any], digest: str) -> str:
    wanted = digest if digest.startswith("sha256:") else f"sha256:{digest}"
    matching = [one for one in there if one.startswith(wanted)]
    if len(matching) == 1:
        return matching[0]
    what = "Several bundles begin so." if matching else "No bundle on the rules topic has this digest."
    raise NotSo(what, where=digest, next_step="List them with: ops-stream rules list")


# Showing


def _listed(digest: str, body: Mapping[str, Any] | None, partitions: list[int]) -> Row:
    body = body or {}
    return {
        "digest": digest,
        "in_force_on": partitions,
        "created_at": body.get("created_at"),
        "issued_by": body.get("issued_by"),
        "files": sorted(body.get("files", ())),
    }


_COLUMNS: Final = (
    Column("DIGEST", lambda row: row["digest"][:_SHORT]),
    Column(
        "IN FORCE ON",
        lambda row: ", ".join(map(str, row["in_force_on"])) or "-",
        style=lambda row: GOOD if row["in_force_on"] else QUIET,
    ),
    Column("PUBLISHED", "created_at"),
    Column("BY", "issued_by"),
    Column("FILES", lambda row: ", ".join(row["files"]), style=QUIET, wrap=True),
)


def _show_problem(out: Out, directory: Path, problem: Problem) -> None:
    row = {
        "file": str(directory / problem.file),
        "line": problem.line,
        "column": problem.column,
        "message": problem.message,
        "suggestion": problem.suggestion,
    }
    place = out.style(clean(f"{directory / problem.file}:{problem.line}:{problem.column}:"), bold=True)
    hint = " " + out.style(clean(problem.suggestion), WAIT) if problem.suggestion else ""
    out.row(row, f"{place} {clean(problem.message)}{hint}")


def _show_checked(out: Out, directory: Path, checked: Rules) -> None:
    from ops_stream.rules.cautions import cautions
    from ops_stream.rules.policies import CompiledPolicies

    policies = checked.policies
    assert isinstance(policies, CompiledPolicies)
    noted = cautions(policies)
    counts = {
        "policies": len(policies.policies),
        "budgets": len(checked.budgets.tenants) + len(checked.budgets.tasks),
        "models": len(checked.models.prices),
        "agents": len(checked.agents.declared),
    }
    shown = ", ".join(f"{count} {name}" for name, count in counts.items())
    text = f"{out.style('valid', GOOD)}: {shown}\n{checked.digest}"
    out.row({"directory": str(directory), "digest": checked.digest, **counts, "cautions": noted}, text)
    for caution in noted:
        out.say(out.style("note: ", WAIT) + clean(caution))


def _show_fields(out: Out) -> None:
    from ops_stream.rules.fields import FIELDS

    out.table(
        [
            {
                "when": when,
                "field": field.name,
                "type": {"list": "list of text", "string": "text"}.get(field.kind, field.kind),
                "always": field.always,
                "meaning": field.meaning,
            }
            for when, fields in FIELDS.items()
            for field in sorted(fields.values(), key=lambda one: one.name)
        ],
        (
            Column("WHEN", "when"),
            Column("FIELD", "field"),
            Column("TYPE", "type"),
            Column("THERE", lambda row: "always" if row["always"] else "maybe"),
            Column("MEANING", "meaning", wrap=True),
        ),
    )
