"""`ops-stream kill` and `ops-stream resume`."""

from __future__ import annotations

import sys
from typing import Any, Final

import click

from ops_stream.cli.common import Out, load_settings, output_options, run
from ops_stream.cli.options import all_of, person_options
from ops_stream.contract.errors import WrongUse

_scope_options: Final = all_of(
    click.option("--all", "everything", is_flag=True, help="Everything of everybody."),
    click.option("--tenant", help="Everything of a tenant; or narrows the next three to one."),
    click.option("--workflow", help="What belongs to a workflow."),
    click.option("--agent", help="What an agent does and asks."),
    click.option("--model", help="What uses a model."),
    click.option("--yes", is_flag=True, help="Do not ask back for --all."),
)


@click.command()
@_scope_options
@person_options(read_by="people and agents", wait_for="the journal and the proofs", wait_s=60.0)
@output_options
def kill(out: Out, /, **options: Any) -> int:
    """Stop a scope at once: running asks are revoked, waiting ones dropped, new ones denied.

    Shows each partition: when its journal had the kill, and how far its stops are proved. An ask is contained
    if it never ran or its end was reported, acknowledged (acked) if its agent said that it has stopped it, and
    unconfirmed if nothing is heard of it in time (confirm_s in conf/kills.yaml, 30 s). Exit code 0 if every
    partition has it and every stop is proved; 1 if not, with the names of what is unconfirmed.

    \b
    ops-stream kill --all --reason "wrong prices in production"
    ops-stream kill --agent refund-bot --tenant team-a
    ops-stream kill --model gpt-x --as alice --wait 0
    """
    return _given(out, "kill", **options)


@click.command()
@_scope_options
@person_options(read_by="people and agents")
@output_options
def resume(out: Out, /, **options: Any) -> int:
    """Take a kill back. It must name the same scope as the kill did.

    \b
    ops-stream resume --all
    ops-stream resume --agent refund-bot --tenant team-a --reason "fixed"
    """
    return _given(out, "resume", **options)


def _given(out: Out, command: str, *, person: str | None, yes: bool, wait: float, **given: Any) -> int:
    from ops_stream.cli.bus import connect, who
    from ops_stream.cli.command import issue, outcome
    from ops_stream.cli.kill_show import stop

    body, everywhere = scope_of(**given)
    if given["everything"] and not yes:
        if not sys.stdin.isatty():
            raise WrongUse(f"{command} --all needs --yes where nobody can be asked.", where="--all")
        click.confirm(f"Really {command} everything of everybody?", abort=True, err=True)
    settings = load_settings()
    body = {"command": command, **body, "issued_by": who(person)}
    tenant = body.get("tenant") or settings.tenant

    async def act() -> int:
        async with connect(settings) as bus:
            if command == "kill":
                return await stop(bus, out, body, tenant=tenant, everywhere=everywhere, wait_s=wait)
            followed = await issue(bus, out, body, tenant=tenant, everywhere=everywhere, wait_s=wait)
        return outcome(out, followed, wait)

    return run(settings, act())


def scope_of(
    *,
    everything: bool,
    tenant: str | None,
    workflow: str | None,
    agent: str | None,
    model: str | None,
    reason: str | None,
) -> tuple[dict[str, Any], bool]:
    """Give the command's fields, and whether it is for every partition. Raises WrongUse."""
    targets = {"workflow": workflow, "agent": agent, "model": model}
    named = [(scope, target) for scope, target in targets.items() if target is not None]
    if everything and (tenant is not None or named):
        raise WrongUse("--all goes with no other scope.", where="--all")
    if len(named) > 1 or not (everything or tenant is not None or named):
        raise WrongUse(
            "Name one scope.", next_step="One of --all, --tenant, --workflow, --agent, --model; see --help."
        )
    body: dict[str, Any] = {"scope": "all" if everything else "tenant"}
    if named:
        body |= {"scope": named[0][0], "target": named[0][1]}
    if tenant is not None:
        body["tenant"] = tenant
    if reason is not None:
        body["reason"] = reason
    return body, tenant is None
