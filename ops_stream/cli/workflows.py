"""`ops-stream workflows`: list them, show one as a tree, hand one in, cancel one."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from ops_stream.cli.common import Out, load_settings, output_options, run
from ops_stream.cli.groups import NameGroup
from ops_stream.cli.options import person_options
from ops_stream.contract.errors import ExitCode, NotSo, WrongUse

if TYPE_CHECKING:
    from ops_stream.cli.bus import Bus
    from ops_stream.cli.output import Row
    from ops_stream.contract.settings import Settings

BYTES_MAX: Final = 262_144
"""What an input topic takes."""


@click.group(cls=NameGroup, invoke_without_command=True)
@click.option("--tenant", help="Only this tenant's.")
@click.option("--all", "ended_too", is_flag=True, help="Also those that have ended.")
@output_options
def workflows(out: Out, tenant: str | None, ended_too: bool) -> int:
    """List the workflows that run, or show one: `workflows ID`; hand one in with `workflows submit`.

    For each its state, how many of its steps are done, what it has cost and since when it runs.

    \b
    ops-stream workflows
    ops-stream workflows --all --json
    ops-stream workflows release-7
    ops-stream workflows submit release.yaml
    ops-stream workflows cancel release-7 --reason "wrong branch"
    """
    if click.get_current_context().invoked_subcommand is None:
        from ops_stream.cli.workflows_show import COLUMNS

        settings = load_settings()
        rows = run(settings, _rows(out, settings, tenant, None))
        shown = [row for row in rows if ended_too or "ended_at" not in row]
        empty = (
            "No workflow is known."
            if ended_too
            else "No workflow runs. Those that ended are shown with --all."
        )
        out.table(shown, COLUMNS, empty=empty)
    return ExitCode.DONE


@workflows.command()
@click.argument("workflow_id", metavar="ID")
@click.option("--tenant", help="Only this tenant's.")
@output_options
def show(out: Out, workflow_id: str, tenant: str | None) -> int:
    """Show one workflow as a tree: each step below the first that it waits for, with its state, agent and cost.

    \b
    ops-stream workflows release-7
    ops-stream workflows show release-7 --tenant team-a --json
    """
    from ops_stream.cli.workflows_show import tree

    settings = load_settings()
    rows = run(settings, _rows(out, settings, tenant, workflow_id))
    if not rows:
        raise NotSo(
            f"No workflow '{workflow_id}' is known.", next_step="List them with: ops-stream workflows --all"
        )
    for row in rows:
        out.row(row, tree(out, row))
    return ExitCode.DONE


@workflows.command()
@click.argument("file", metavar="FILE")
@click.option("--tenant", help="Whose it is [default: what the file says, else the setting].")
@click.option(
    "--wait",
    "wait_s",
    type=click.FloatRange(min=0),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for the answer; 0: not at all.",
)
@output_options
def submit(out: Out, file: str, tenant: str | None, wait_s: float) -> int:
    """Hand a workflow in, from a file in YAML or JSON (`-`: standard input), and print the answer.

    Exit code 1 where it is rejected, or nobody answers in time. The fields are those of the event Workflow.

    \b
    ops-stream workflows submit release.yaml
    ops-stream workflows submit - --tenant team-a < release.json
    """
    settings = load_settings()
    body = read(file)
    body["tenant"] = tenant or body.get("tenant") or settings.tenant
    return run(settings, _submit(out, settings, body, wait_s))


@workflows.command()
@click.argument("workflow_id", metavar="ID")
@click.option("--tenant", help="The workflow's tenant [default: the setting].")
@person_options()
@output_options
def cancel(out: Out, /, **given: Any) -> int:
    """Cancel a workflow: no step of it begins any more, what waits is withdrawn, what runs is revoked.

    \b
    ops-stream workflows cancel release-7 --reason "wrong branch"
    """
    from ops_stream.cli.command import order

    command = {"command": "cancel_workflow", "scope": "workflow", "target": given["workflow_id"]}
    return order(out, command, given)


def read(file: str) -> dict[str, Any]:
    """Read a workflow from a file; what is JSON is YAML too."""
    from ops_stream.contract.wire import clean_json
    from ops_stream.rules.yamlfile import Document, read_yaml

    try:
        raw = sys.stdin.buffer.read(BYTES_MAX + 1) if file == "-" else _bytes_of(Path(file))
        text = raw.decode("utf-8")
    except OSError as error:
        raise WrongUse(f"It cannot be read: {error.strerror}.", where=file) from None
    except UnicodeDecodeError:
        raise WrongUse("It is not text in UTF-8.", where=file) from None
    if len(raw) > BYTES_MAX:
        raise WrongUse(f"It is larger than a workflow may be ({BYTES_MAX:,} bytes).", where=file)
    found = read_yaml(file, text)
    if not isinstance(found, Document):
        raise WrongUse(found[0].message, where=f"{file}:{found[0].line}", next_step=found[0].suggestion)
    if not isinstance(found.data, dict):
        raise WrongUse("It holds no workflow: it needs workflow_id, objective_id and steps.", where=file)
    try:
        body: dict[str, Any] = clean_json(found.data)
    except ValueError as error:
        raise WrongUse(f"It cannot be written as JSON: {error}.", where=file) from None
    return body


def _bytes_of(path: Path) -> bytes:
    with path.open("rb") as opened:
        return opened.read(BYTES_MAX + 1)


async def _submit(out: Out, settings: Settings, body: dict[str, Any], wait_s: float) -> int:
    from ops_stream.cli.bus import check, connect
    from ops_stream.cli.command import new_id
    from ops_stream.cli.workflows_show import answer

    check("Workflow", body)
    tenant = body["tenant"]
    async with connect(settings) as bus:
        home = bus.home(tenant, "workflow-status")
        ranges = await bus.ends(bus.places(["workflow-status"], home))
        await bus.send_event("workflows", "Workflow", body, new_id("wf"), tenant)
        if not wait_s:
            return ExitCode.DONE
        try:
            async with asyncio.timeout(wait_s):
                starts = {tp: end for tp, (_, end) in ranges.items()}
                row = await _answer(bus, starts, tenant, body["workflow_id"])
        except TimeoutError:
            out.note(
                f"Nobody has answered within {wait_s:g} s. It stays on the topic and will be taken in as soon as a "
                "worker reads it; see: ops-stream status"
            )
            return ExitCode.NOT_SO
    out.row(row, answer(out, row))
    return ExitCode.NOT_SO if row["state"] == "rejected" else ExitCode.DONE


async def _answer(bus: Bus, starts: Any, tenant: str, workflow_id: str) -> Row:
    async for record in bus.follow(starts):
        seen = bus.take(record)
        body = {} if seen is None or seen.body is None else dict(seen.body)
        if (body.get("tenant"), body.get("workflow_id")) == (tenant, workflow_id):
            return body
    raise AssertionError("a topic is followed for ever")


async def _rows(out: Out, settings: Settings, tenant: str | None, workflow_id: str | None) -> list[Row]:
    from ops_stream.cli.bus import connect
    from ops_stream.cli.folding import fold
    from ops_stream.cli.workflows_show import PREFIXES, rows_of

    async with connect(settings) as bus:
        partitions = None if tenant is None else frozenset((bus.home(tenant),))
        prefixes = PREFIXES[:1] if workflow_id is None else PREFIXES
        folds = await fold(bus, out, *prefixes, partitions=partitions)
    rows = [row for folded in folds.values() for row in rows_of(folded, workflow_id)]
    return sorted(
        (row for row in rows if tenant in (None, row["tenant"])),
        key=lambda row: (row["accepted_at"], row["tenant"], row["workflow_id"]),
    )
