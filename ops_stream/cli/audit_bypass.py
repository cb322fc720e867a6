"""`ops-stream audit bypass`: what agents ran without a permit, and what came of what was permitted."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import click

from ops_stream.cli.audit_plan import moment, plan_of, progress_shown
from ops_stream.cli.common import Out, load_settings, output_options, run
from ops_stream.cli.output import BAD, GOOD, WAIT, Column, Row, clean
from ops_stream.contract.errors import ExitCode

if TYPE_CHECKING:
    from ops_stream.audit.bypass import Bypassed
    from ops_stream.audit.bypass_run import Wanted
    from ops_stream.audit.bypass_summary import Summary
    from ops_stream.contract.settings import Settings


@click.command()
@click.option(
    "--from", "begin", metavar="TIME", help="Only what came about from then on: RFC 3339, or 24h, 7d ago."
)
@click.option("--to", "end", metavar="TIME", help="Only what came about before then.")
@click.option("--tenant", default="", help="Only this tenant; its partition alone is read.")
@click.option("--agent", default="", help="Only this agent.")
@output_options
def bypass(out: Out, begin: str | None, end: str | None, tenant: str, agent: str) -> int:
    """Find what went past the supervisor: joins asks, approvals, reports and outcomes, from the journal and the topic.

    Runs without a permit, recorded approvals that are not on the topic, costs above what was held, approvals that
    nobody took up or whose outcome nobody told, and costs that are still unknown. With --json one finding a line.
    Exit code 1 where something ran without a permit, or an approval was not delivered. Needs the journal key.

    \b
    ops-stream audit bypass
    ops-stream audit bypass --from 7d --tenant acme
    ops-stream audit bypass --agent support-1 --json | jq 'select(.kind == "unpermitted_run")'
    """
    from ops_stream.audit.bypass_run import Wanted

    now_ms = time.time_ns() // 1_000_000
    wanted = Wanted(moment("--from", begin, now_ms), moment("--to", end, now_ms), tenant, agent)
    settings = load_settings()
    summary = run(settings, _found(settings, wanted, out))
    if not out.as_json:
        out.table(summary.rows(), _COLUMNS, empty="Nothing went past the supervisor.")
        _explain(out, summary)
    return ExitCode.NOT_SO if summary.wrong else ExitCode.DONE


async def _found(settings: Settings, wanted: Wanted, out: Out) -> Summary:
    from ops_stream.audit.bypass_run import find_bypassed
    from ops_stream.audit.bypass_summary import Summary
    from ops_stream.contract.partitions import partition_for

    plan = await plan_of(settings)
    if wanted.tenant:
        plan = replace(plan, audited=[partition_for(wanted.tenant, plan.partitions)])
    summary = Summary()

    def tell(found: Bypassed) -> None:
        summary.add(found)
        if out.as_json:
            out.row(found.as_dict(), "")

    with progress_shown() as progress:
        await find_bypassed(plan, wanted, tell, progress)
    return summary


def _explain(out: Out, summary: Summary) -> None:
    from ops_stream.audit.bypass import KINDS, WRONG

    for kind, meaning in KINDS.items():
        if kind in summary.totals:
            style = BAD if kind in WRONG else WAIT
            out.say(f"{out.style(f'{summary.totals[kind]:,} {kind}', style)}: {meaning}")
    if not summary.wrong:
        out.say(out.style("Nothing ran without a permit, and every approval was delivered.", GOOD))


def _style(row: Row) -> str:
    from ops_stream.audit.bypass import WRONG

    return BAD if row["kind"] in WRONG else WAIT


_COLUMNS: Final = (
    Column("kind", "kind", _style),
    Column("tenant", lambda row: clean(row["tenant"])),
    Column("agent", lambda row: clean(row["agent"])),
    Column("count", "count", right=True),
    Column("USD", "usd", right=True),
    Column("examples", lambda row: clean(", ".join(row["examples"])), wrap=True),
)
