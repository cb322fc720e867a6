"""`ops-stream doctor`: what is fit, what is not, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from ops_stream.cli.common import Out, load_settings, output_options, run
from ops_stream.cli.output import BAD, GOOD, QUIET, WAIT, clean
from ops_stream.contract.errors import ExitCode

if TYPE_CHECKING:
    from ops_stream.cli.checkup import Check

_COLORS: Final = {"ok": GOOD, "warn": WAIT, "fail": BAD}


@click.command()
@output_options
def doctor(out: Out) -> int:
    """Check Python, packages, Java, cache, disk, ports, Kafka, topics, journal key and rules.

    Each line says what was found and, where it is not right, the way out. Exit code 1 if something fails.

    \b
    ops-stream doctor
    ops-stream doctor --json | jq -r 'select(.state == "fail").next_step'
    """
    from ops_stream.cli import checkup

    settings = load_settings()
    failed = False
    for look in checkup.LOCAL:
        failed |= _show(out, look(settings))
    for check in run(settings, checkup.cluster(settings)):
        failed |= _show(out, check)
    return ExitCode.NOT_SO if failed else ExitCode.DONE


def _show(out: Out, check: Check) -> bool:
    state = out.style(check.state.ljust(4), _COLORS[check.state], bold=check.state == "fail")
    text = f"{state}  {check.name.ljust(14)}{clean(check.found)}"
    if check.next_step:
        text += f"\n{' ' * 20}{out.style('→ ' + clean(check.next_step), QUIET)}"
    out.row(check.as_dict(), text)
    return check.state == "fail"
