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
from ops_stream.contract.errors import ExitCode, WrongUse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiokafka import TopicPartition
    from pydantic import BaseModel

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

    For each its state, how many of its steps are done, what it has cost of what it may, and since when it runs.

    \b
    ops-stream workflows
    ops-stream workflows --all --json
    ops-stream workflows release-7 --watch
    ops-stream workflows submit release.yaml --watch
    ops-stream workflows cancel release-7 --reason "wrong branch"
    """
    if click.get_current_context().invoked_subcommand is None:
        from ops_stream.cli.workflows_show import COLUMNS

        settings = load_settings()
        rows = run(settings, _list(out, settings, tenant))
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
@click.option("--watch", is_flag=True, help="Go on until it has ended.")
@output_options
def show(out: Out, workflow_id: str, tenant: str | None, watch: bool) -> int:
    """Show one workflow as a tree: of each step its state and agent, how long it waited and ran, and its cost.

    A step stands below what it waits for; one that waits for several names them: "needs a, b". WAITED is the time in
    which it could have run: for an agent, a person or its turn.

    With --watch the tree is drawn again as things change, until the workflow has ended or Ctrl-C; where nobody sees a
    terminal there is a line for each change, and the tree before and after. Exit code 1 where it did not complete.

    \b
    ops-stream workflows release-7
    ops-stream workflows release-7 --watch
    ops-stream workflows show release-7 --tenant team-a --json
    ops-stream workflows release-7 --watch --json | jq -r 'select(.step_id) | .step_id + " " + .state'
    """
    settings = load_settings()
    return run(settings, _show(out, settings, workflow_id, tenant, watch=watch))


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
@click.option("--watch", is_flag=True, help="Then show how it goes until it has ended.")
@output_options
def submit(out: Out, file: str, tenant: str | None, wait_s: float, watch: bool) -> int:
    """Hand a workflow in, from a file in YAML or JSON (`-`: standard input), and print the answer.

    Exit code 1 where it is rejected, or nobody answers in time; with --watch also where it does not complete. The
    fields are those of the event Workflow.

    \b
    ops-stream workflows submit release.yaml
    ops-stream workflows submit release.yaml --watch
    ops-stream workflows submit - --tenant team-a < release.json
    """
    if watch and not wait_s:
        raise WrongUse("--watch waits for the answer.", where="--wait", next_step="Leave --wait 0 out.")
    settings = load_settings()
    body = read(file)
    body["tenant"] = tenant or body.get("tenant") or settings.tenant
    check(body, file)
    return run(settings, _submit(out, settings, body, wait_s, watch=watch))


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


def check(body: dict[str, Any], file: str) -> None:
    """Raise WrongUse where it is no workflow, or has a field that would be passed over: a misspelt one, mostly."""
    from ops_stream.cli import bus
    from ops_stream.cli.output import clean
    from ops_stream.contract.models import Step, Workflow
    from ops_stream.rules.problems import did_you_mean

    bus.check("Workflow", body, where=file, next_step="docs/workflows.md shows a whole one.")
    parts: list[tuple[str, type[BaseModel], Mapping[str, Any]]] = [
        ("", Workflow, body),
        *((f"steps.{at}.", Step, step) for at, step in enumerate(body["steps"])),
    ]
    for path, model, found in parts:
        known = {field.alias or name for name, field in model.model_fields.items()}
        for name in found:
            if name not in known and path + name != "event":  # lines for Kafka's own tools name their event
                said = f"Unknown field '{path}{clean(name)}'."
                raise WrongUse(said, where=file, next_step=did_you_mean(name, known))


def _bytes_of(path: Path) -> bytes:
    with path.open("rb") as opened:
        return opened.read(BYTES_MAX + 1)


async def _submit(out: Out, settings: Settings, body: dict[str, Any], wait_s: float, *, watch: bool) -> int:
    from ops_stream.cli.bus import connect
    from ops_stream.cli.command import new_id
    from ops_stream.cli.workflows_show import answer

    tenant, workflow_id = body["tenant"], body["workflow_id"]
    async with connect(settings) as bus:
        told = await _ends(bus, "workflow-status", tenant)
        journal = await _ends(bus, "journal", tenant)
        await bus.send_event("workflows", "Workflow", body, new_id("wf"), tenant)
        if not wait_s:
            return ExitCode.DONE
        try:
            async with asyncio.timeout(wait_s):
                row = await _answer(bus, told, tenant, workflow_id)
        except TimeoutError:
            out.note(
                f"Nobody has answered within {wait_s:g} s. It stays on the topic and will be taken in as soon as a "
                "worker reads it; see: ops-stream status"
            )
            return ExitCode.NOT_SO
        out.row(row, answer(out, row, watched=watch))
        if row["state"] == "rejected":
            return ExitCode.NOT_SO
        return await _watch_new(out, bus, workflow_id, tenant, journal) if watch else ExitCode.DONE


async def _ends(bus: Bus, topic: str, tenant: str) -> dict[TopicPartition, int]:
    """Give where the next record on a tenant's partition of a topic will stand."""
    ranges = await bus.ends(bus.places([topic], bus.home(tenant, topic)))
    return {tp: end for tp, (_, end) in ranges.items()}


async def _watch_new(
    out: Out, bus: Bus, workflow_id: str, tenant: str, starts: dict[TopicPartition, int]
) -> int:
    """Follow a workflow that has only been handed in; one that was known before is read from the beginning."""
    from ops_stream.cli.workflows_watch import View, follow

    view = await View.read(bus, out, workflow_id, tenant, starts)
    if not view.begins():
        view = await View.read(bus, out, workflow_id, tenant)
    return await follow(out, view)


async def _answer(bus: Bus, starts: Any, tenant: str, workflow_id: str) -> Row:
    async for record in bus.follow(starts):
        seen = bus.take(record)
        body = {} if seen is None or seen.body is None else dict(seen.body)
        if (body.get("tenant"), body.get("workflow_id")) == (tenant, workflow_id):
            return body
    raise AssertionError("a topic is followed for ever")


async def _show(out: Out, settings: Settings, workflow_id: str, tenant: str | None, *, watch: bool) -> int:
    from ops_stream.cli.bus import connect
    from ops_stream.cli.workflows_watch import View, follow, show

    async with connect(settings) as bus:
        view = await View.read(bus, out, workflow_id, tenant)
        if watch:
            return await follow(out, view)
    show(out, view.found())
    return ExitCode.DONE


async def _list(out: Out, settings: Settings, tenant: str | None) -> list[Row]:
    from ops_stream.cli.bus import connect
    from ops_stream.cli.folding import fold
    from ops_stream.cli.workflows_rows import PREFIXES, listed

    async with connect(settings) as bus:
        partitions = None if tenant is None else frozenset((bus.home(tenant),))
        folds = await fold(bus, out, PREFIXES[0], partitions=partitions)
    rows = [row for folded in folds.values() for row in listed(folded)]
    return sorted(
        (row for row in rows if tenant in (None, row["tenant"])),
        key=lambda row: (row["accepted_at"], row["tenant"], row["workflow_id"]),
    )
