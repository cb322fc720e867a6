"""`ops-stream notifier`: tells people by webhook what waits for them and what is wrong."""

from __future__ import annotations

import logging
import secrets
import time
from typing import TYPE_CHECKING, Any, Final

import click

from ops_stream.cli.common import Out, load_settings, output_options, run
from ops_stream.cli.output import BAD, GOOD, clean
from ops_stream.cli.worker import HealthPort
from ops_stream.contract.errors import ExitCode, NotSo

if TYPE_CHECKING:
    from ops_stream.contract.settings import Settings
    from ops_stream.notify.config import Target

PORT: Final = 6067


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Where the health server listens.")
@click.option(
    "--port",
    type=HealthPort(),
    default=str(PORT),
    show_default=True,
    help="Port of /healthz, /readyz and /metrics; 0 takes a free one, 'off' none.",
)
@click.option(
    "--check", is_flag=True, help="Read conf/webhooks.yaml and its files, list the targets and end."
)
@click.option("--test", is_flag=True, help="Send each target a test message, once, and end. Needs no Kafka.")
@click.option("--only", multiple=True, metavar="TARGET", help="Only this target; may be given several times.")
@output_options
def notifier(out: Out, host: str, port: int | None, check: bool, test: bool, only: tuple[str, ...]) -> int:
    """Tell the targets in conf/webhooks.yaml what is on ops.escalations and ops.alerts, until SIGTERM or Ctrl-C.

    Where SLACK_WEBHOOK_URL is set, Slack is told without a file. Each target reads for itself, in a consumer
    group of its own; several notifiers share the work. A new target hears of what comes from then on.

    \b
    SLACK_WEBHOOK_URL=https://hooks.slack.com/services/... ops-stream notifier
    ops-stream notifier --test
    ops-stream dead-letters list --reason webhook_failed
    """
    settings = load_settings()
    targets = _targets(settings, only)
    if check:
        return _list(out, targets)
    if test:
        import asyncio

        return asyncio.run(_try(out, targets))
    from ops_stream.logs import set_up_logs

    set_up_logs(out.as_json, logging.ERROR, settings)
    _hide(targets)
    from ops_stream.notify.service import Options, serve

    run(settings, serve(Options(settings, targets, host, port)))
    return ExitCode.DONE


def _targets(settings: Settings, only: tuple[str, ...]) -> tuple[Target, ...]:
    from ops_stream.notify.config import SLACK_URL, read_webhooks

    targets = read_webhooks(settings.conf_dir)
    names = [target.name for target in targets]
    for name in only:
        if name not in names:
            raise NotSo(
                f"There is no target '{clean(name)}'.",
                where=str(settings.conf_dir / "webhooks.yaml"),
                next_step=f"Targets: {', '.join(names) or 'none'}.",
            )
    if not targets:
        raise NotSo(
            "Nobody is to be told: there is no webhook.",
            where=str(settings.conf_dir / "webhooks.yaml"),
            next_step=f"Write one there, or set {SLACK_URL}.",
        )
    return tuple(target for target in targets if not only or target.name in only)


def _hide(targets: tuple[Target, ...]) -> None:
    """Keep the targets' addresses and secrets out of the log."""
    from contextlib import suppress

    from ops_stream.contract.errors import OpsError
    from ops_stream.logs import hide, hide_url

    for target in targets:
        with suppress(OpsError):  # what cannot be read is told by who needs it
            hide_url(target.address())
        if target.secret_file is not None:
            with suppress(OSError, UnicodeDecodeError):
                hide(*target.secret_file.read_text(encoding="utf-8").splitlines())


def _list(out: Out, targets: tuple[Target, ...]) -> int:
    """Show the targets; raises SettingsInvalid where a file of one cannot be used."""
    from ops_stream.notify.config import summary
    from ops_stream.notify.sender import Sender

    for target, row in zip(targets, summary(targets), strict=True):
        Sender(target)
        signed = "signed" if row["signed"] else "not signed"
        out.row(row, f"{clean(target.name)}: {target.format}, {signed}, {', '.join(row['events'])}")
    return ExitCode.DONE


async def _try(out: Out, targets: tuple[Target, ...]) -> int:
    """Send each target a test message; exit code 1 where one does not take it."""
    from ops_stream.notify.sender import Sender, Undelivered

    failed = 0
    for target in targets:
        row: dict[str, Any] = {"target": target.name, "taken": True}
        text = f"{out.style('taken', GOOD)} by {clean(target.name)}"
        try:
            async with Sender(target) as sender:
                await sender.attempt(_test_message(target))
        except Undelivered as problem:
            failed += 1
            row |= {"taken": False, "why": problem.sentence}
            text = f"{out.style('not taken', BAD)} by {clean(target.name)}: {problem.sentence}"
        out.row(row, text)
    return ExitCode.NOT_SO if failed else ExitCode.DONE


def _test_message(target: Target) -> Any:
    from ops_stream.contract.clocktext import format_time
    from ops_stream.contract.headers import JournalPosition
    from ops_stream.notify.payloads import body_of
    from ops_stream.notify.sender import Message
    from ops_stream.notify.told import Notice, Place

    now = time.time_ns() // 1_000_000
    id_ = f"test_{secrets.token_hex(12)}"
    body = {
        "alert_id": id_,
        "tenant": "default",
        "kind": "test",
        "severity": "info",
        "status": "firing",
        "dedupe_key": id_,
        "count": 1,
        "summary": "ops-stream reaches this place. Nothing is wrong.",
        "since": format_time(now),
    }
    notice = Notice("test", body, Place("alerts", 0, 0), JournalPosition(0, 0, 0), now)
    return Message(id_, body_of(target.format, notice), now / 1000)
