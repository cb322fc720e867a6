"""`ops-stream edit`: a person changes what an agent asked, and approves what comes of it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from ops_stream.cli.common import Out, load_settings, output_options, run
from ops_stream.cli.output import BAD, GOOD, QUIET, clean
from ops_stream.cli.resolve import Answer, answer_options, demand_open, give
from ops_stream.contract.errors import ExitCode, NotSo, WrongUse

if TYPE_CHECKING:
    from ops_stream.contract.settings import Settings

_VALUE_CHARACTERS = 2_000


@click.command()
@answer_options
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="FIELD=VALUE",
    help="Change a field without an editor; may be given again. `arguments.NAME=VALUE` is one argument.",
)
@click.option("--yes", is_flag=True, help="Send it without asking back.")
@output_options
def edit(
    out: Out,
    escalation_id: str,
    person: str | None,
    reason: str | None,
    wait: float,
    changes: tuple[str, ...],
    yes: bool,
) -> int:
    """Change what was asked, in your editor, and approve it like that.

    Opens $VISUAL or $EDITOR on the ask as YAML; one with a window of its own must wait (EDITOR='code --wait').
    Only the fields that you change are sent, once you have seen the difference and said yes. The edited ask is
    decided again by every rule, and the agent is told to run it like that. Exit code 1 if it is denied anyway or
    must wait again, or if nothing was changed.

    \b
    ops-stream edit esc_3f9c21d0
    ops-stream edit esc_3f9c21d0 --set estimated_cost_usd=2.50 --set arguments.limit=10 --yes
    """
    from ops_stream.cli.bus import who

    settings, person = load_settings(), who(person)
    found = run(settings, _find(settings, escalation_id))
    request = found["request"]
    edits = _from_settings(request, changes) if changes else {}
    while True:
        if not changes:
            edits = _from_editor(found, edits)
        if not edits:
            raise NotSo("Nothing was changed, and nothing is sent.")
        _show(out, found, edits)
        choice = "y" if yes else _ask_back(person, may_edit=not changes)
        if choice == "y":
            break
        if choice == "n":
            out.note("Nothing is sent.")
            return ExitCode.NOT_SO
    return run(settings, _send(out, settings, found, Answer("edit", person, reason, edits, wait)))


async def _find(settings: Settings, escalation_id: str) -> dict[str, Any]:
    from ops_stream.cli.bus import connect
    from ops_stream.cli.escalation_rows import find

    async with connect(settings) as bus:
        found = await find(bus, escalation_id)
    demand_open(found)
    if not isinstance(found.get("request"), Mapping):
        raise NotSo(
            f"Escalation {found['escalation_id']} asks nothing that could be edited.",
            next_step="Answer with: ops-stream approve or ops-stream deny",
        )
    return found


async def _send(out: Out, settings: Settings, found: Mapping[str, Any], answer: Answer) -> int:
    """Send the edit: nobody knows how long the editor was open, so others may have answered meanwhile."""
    from ops_stream.cli.bus import connect
    from ops_stream.cli.escalation_rows import find

    async with connect(settings) as bus:
        now = await find(bus, found["escalation_id"])
        seen = {name: found.get(name) for name in ("action_digest", "rules_digest")}
        return await give(bus, out, {**now, **seen}, answer)


def _from_settings(request: Mapping[str, Any], changes: tuple[str, ...]) -> dict[str, Any]:
    from ops_stream.cli.edit_text import BadAsk, edits_from

    try:
        return edits_from(request, changes)
    except BadAsk as bad:
        raise WrongUse(bad.problems[0].message, where="--set", next_step=bad.problems[0].suggestion) from None


def _from_editor(found: Mapping[str, Any], edits: Mapping[str, Any]) -> dict[str, Any]:
    """Let the person edit until it is an ask, or until they give up; an empty file gives no edits."""
    from ops_stream.cli import edit_text, editor

    command = editor.command()
    request = found["request"]
    whole = edit_text.is_whole(request, found.get("action_digest"))
    title = f"Escalation {found['escalation_id']}: {found['summary']}"
    text = edit_text.text_of({**request, **edits}, title=title, whole=whole)
    while True:
        text = editor.edit(command, text)
        if not edit_text.says_anything(text):
            return {}
        try:
            return edit_text.edits_in(request, text)
        except edit_text.BadAsk as bad:
            for problem in bad.problems:
                click.echo(f"ops-stream: {clean(problem)}", err=True)
            if not sys.stdin.isatty():
                raise NotSo("What the editor left is no ask, and nothing is sent.") from None
            click.confirm("Edit it again?", default=True, abort=True, err=True)


def _show(out: Out, found: Mapping[str, Any], edits: Mapping[str, Any]) -> None:
    """Show the difference, on standard error: what the program answers comes later."""
    from ops_stream.cli.edit_text import differences

    lines = [out.style(f"Escalation {clean(found['escalation_id'])}: {clean(found['summary'])}", bold=True)]
    for one in differences(found["request"], edits):
        lines.append(f"  {clean(one.path)}")
        lines.append(out.style(f"    - {_value(one.before)}", BAD if one.before is not None else QUIET))
        lines.append(out.style(f"    + {_value(one.after)}", GOOD if one.after is not None else QUIET))
    click.echo("\n".join(lines), err=True, color=out.color)


def _value(value: Any) -> str:
    from ops_stream.cli.output import to_json

    text = "not given" if value is None else to_json(value)
    return (
        text if len(text) <= _VALUE_CHARACTERS else f"{text[:_VALUE_CHARACTERS]}… ({len(text):,} characters)"
    )


def _ask_back(person: str, *, may_edit: bool) -> str:
    if not sys.stdin.isatty():
        raise WrongUse("An edit needs --yes where nobody can be asked.", where="--yes")
    choices = click.Choice(["y", "n", "e"] if may_edit else ["y", "n"], case_sensitive=False)
    question = f"Approve it like that, as {clean(person)}" + (" (e edits again)?" if may_edit else "?")
    answer: str = click.prompt(question, type=choices, default="n", err=True)
    return answer
