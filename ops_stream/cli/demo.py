"""`ops-stream demo`: a real agent's recorded day under supervision."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from ops_stream.cli.common import Out, load_settings, output_options, run
from ops_stream.contract.errors import ExitCode

if TYPE_CHECKING:
    from ops_stream.contract.settings import Settings

SECONDS = 45.0


@click.command()
@click.option(
    "--seconds",
    type=click.FloatRange(1.0, 3600.0),
    default=SECONDS,
    show_default=True,
    help="How long the day lasts: the trace's bursts are pressed into it.",
)
@output_options
def demo(out: Out, seconds: float) -> int:
    """Start a real broker and a worker, and let support agents ask before each of 572 recorded tool calls.

    Policies, a budget for each conversation and a scripted support lead decide; at the end the journal is proved, and
    the figures of the day are shown. Meanwhile agents of five roles, who never call one another, work off a workflow: a
    page about the day, which is published when the support lead agrees. In a rush calls wait for room, and those that
    fail are answered with the next step.
    Uses the broker of OPS_STREAM_BOOTSTRAP_SERVERS where that is set, an embedded one otherwise. Ctrl-C stops it all.

    \b
    ops-stream demo
    ops-stream demo --seconds 20
    ops-stream demo --json | jq 'select(.kind == "summary")'
    """
    from rich.console import Console

    from ops_stream.demo.run import Plan, demo_settings, play
    from ops_stream.demo.show import Screen

    console = Console(no_color=None if out.color else True, highlight=False)
    screen = Screen(console, as_json=out.as_json)
    base = load_settings()
    with _broker(base, screen.say) as bootstrap:
        settings = demo_settings(bootstrap, base.data_dir / "demo")
        summary = run(settings, play(Plan(settings, seconds), screen))
        screen.say("audit: deciding the whole journal again, and comparing what went out")
        passed, findings, verdicts = _audit(settings)
        screen.summary(summary | {"audit_verify_passed": passed, "verdicts": verdicts})
        _figures(out, settings)
        for finding in findings:
            screen.say(finding)
        screen.say(f"logs, journal key, state and the workflow's page (desk.html): {settings.data_dir}")
    return ExitCode.DONE if passed else ExitCode.NOT_SO


@contextmanager
def _broker(settings: Settings, say: object) -> Iterator[str | None]:
    """The address of a broker of the demo's own; `None` where the environment names one."""
    from ops_stream.cli.broker import fetching
    from ops_stream.embedded import EmbeddedKafka

    if "OPS_STREAM_BOOTSTRAP_SERVERS" in os.environ:
        yield None
        return
    with fetching() as progress:
        # A free port, so that a broker that runs already is in nobody's way.
        broker = EmbeddedKafka(settings.data_dir / "demo" / "kafka", port=0, progress=progress)
        address = broker.start()
    try:
        yield address
    finally:
        with contextlib.suppress(KeyboardInterrupt):
            broker.stop()


def _figures(out: Out, settings: Settings) -> None:
    """Show the figures of the day, as `ops-stream kpis` does."""
    from ops_stream.cli.bus import connect
    from ops_stream.cli.kpis import Wanted, read, rows_of, show
    from ops_stream.cli.kpis_book import SPANS, Book

    wanted = Wanted(SPANS["1d"], settings.tenant)

    async def told() -> Book:
        async with connect(settings) as bus:
            return (await read(bus, wanted))[0]

    book = run(settings, told())
    if out.as_json:
        for row in rows_of(book, wanted):
            out.row({"kind": "kpi", **row}, "")
        return
    out.say()
    show(out, book, wanted)
    out.say()


def _audit(settings: Settings) -> tuple[bool, list[str], dict[str, int]]:
    """Say whether the journal is proved, what is wrong, and how many verdicts were signed and not."""
    from ops_stream.audit.cluster import Audit, verify_cluster
    from ops_stream.cli.audit_plan import compile_rules
    from ops_stream.core.journal.chain import JournalKey
    from ops_stream.rules.engine import engine_version

    key = JournalKey(bytes.fromhex(settings.journal_key_file.read_text().strip()))
    partitions = settings.partitions
    plan = Audit(settings, key, engine_version(), compile_rules, partitions, list(range(partitions)))
    reports = asyncio.run(verify_cluster(plan, lambda *_: None))
    findings = [f"{f.place} {f.offset}: {f.explanation}" for report in reports for f in report.findings]
    counts = [report.acts.counts["verdict"] for report in reports]
    verdicts = {how: sum(one[how] for one in counts) for how in ("signed", "unsigned")}
    return all(report.passed for report in reports), findings, verdicts
