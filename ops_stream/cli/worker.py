"""`ops-stream worker`: one supervisor worker in the foreground."""

from __future__ import annotations

from typing import Final

import click

from ops_stream.cli.common import Out, load_settings, output_options
from ops_stream.contract.errors import WrongUse

PORT: Final = 6066


class HealthPort(click.ParamType):
    """A port number, or `off`."""

    name = "port"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        """Read it; `off` is None."""
        if value is None or value == "off":
            return None
        text = str(value)
        if text.isascii() and text.isdigit() and int(text) <= 65_535:
            return int(text)
        return self.fail("a port is a number from 0 (any that is free) to 65535, or 'off'", param, ctx)


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Where the health server listens.")
@click.option(
    "--port",
    type=HealthPort(),
    default=str(PORT),
    show_default=True,
    help="Port of /healthz, /readyz and /metrics; 0 takes a free one, 'off' none.",
)
@click.option("--watch", is_flag=True, help="Activate the rules in conf/ when their files change.")
@click.option(
    "--accept-reset",
    multiple=True,
    metavar="TOPIC",
    help="This input topic was recreated or trimmed on purpose: take it up where it begins. Once.",
)
@click.option(
    "--snapshot-interval",
    type=click.FloatRange(min=0.1),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="How often changed rows are saved, so that a restart folds less of the journal.",
)
@click.option(
    "--append-deadline",
    type=click.FloatRange(min=1.0),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="End when the journal has not acknowledged a record for so long.",
)
@output_options
def worker(
    out: Out,
    host: str,
    port: int | None,
    watch: bool,
    accept_reset: tuple[str, ...],
    snapshot_interval: float,
    append_deadline: float,
) -> int:
    """Run one worker until SIGTERM or Ctrl-C. Logs go to standard error, with --json a JSON object a line.

    Exit codes beyond the usual: 10 another worker took over, 11 the journal gave no answer, 12 it stood
    still, 13 a partition could not be recovered, 14 something unforeseen. After each it may be started again.

    \b
    ops-stream worker
    ops-stream worker --port off --watch
    curl -s 127.0.0.1:6066/readyz
    """
    settings = load_settings()
    accepted = frozenset(_input_topic(topic.removeprefix(settings.topic_prefix)) for topic in accept_reset)
    from ops_stream.streams.worker import WorkerOptions, run_worker

    return run_worker(
        WorkerOptions(
            settings=settings,
            host=host,
            port=port,
            watch=watch,
            accept_reset=accepted,
            snapshot_interval_s=snapshot_interval,
            append_deadline_s=append_deadline,
            log_json=out.as_json,
        )
    )


def _input_topic(name: str) -> str:
    from ops_stream.contract.models import INPUT_TOPICS

    known = (*INPUT_TOPICS, "forwarded")
    if name not in known:
        raise WrongUse(
            f"'{name}' is no input topic.",
            where="--accept-reset",
            next_step=f"Input topics: {', '.join(known)}.",
        )
    return name
