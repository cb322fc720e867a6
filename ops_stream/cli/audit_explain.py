"""`ops-stream audit explain`: the life of one ask, agent, workflow or escalation, from the journal alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from ops_stream.cli.audit_explain_show import page
from ops_stream.cli.audit_plan import plan_of, progress_shown
from ops_stream.cli.common import Out, load_settings, output_options, run
from ops_stream.contract.errors import ExitCode, NotSo

if TYPE_CHECKING:
    from ops_stream.audit.explain import Life
    from ops_stream.audit.trail import Kind
    from ops_stream.contract.settings import Settings

_KINDS: Final[tuple[Kind, ...]] = ("ask", "agent", "workflow", "escalation")


@click.command()
@click.argument("id_", metavar="ID")
@click.option(
    "--what",
    type=click.Choice(_KINDS),
    default="ask",
    show_default=True,
    help="What ID names.",
)
@click.option("--tenant", help="Whose it is; by default OPS_STREAM_TENANT.")
@click.option(
    "--whole", is_flag=True, help="Show every check and every policy, not only those that mattered."
)
@output_options
def explain(out: Out, id_: str, what: Kind, tenant: str | None, whole: bool) -> int:
    """Tell the whole life of an ask: what was asked, what every rule saw, budgets before and after, who said what.

    Each record that concerns it is decided again with the rules of that moment, so that what is shown is what the
    decision saw, and not what is so now. Also for an agent, a workflow or an escalation. Needs the journal key.
    Exit code 1 if the journal knows nothing of it.

    \b
    ops-stream audit explain r-17
    ops-stream audit explain r-17 --whole
    ops-stream audit explain r-17 --json | jq '.moments[].looks[]?.budgets'
    ops-stream audit explain support-1 --what agent --tenant acme
    """
    from ops_stream.audit.trail import Subject

    settings = load_settings()
    life = run(settings, _life(settings, Subject(what, tenant or settings.tenant, id_)))
    if not life.known:
        raise NotSo(
            f"The journal knows no {what} {id_} of tenant {life.subject.tenant}.",
            next_step="Name the tenant with --tenant, and what it is with --what (ask, agent, workflow, escalation).",
        )
    doc = life.as_dict()
    out.row(doc, "" if out.as_json else page(out, doc, whole=whole))
    return ExitCode.DONE


async def _life(settings: Settings, subject: Any) -> Life:
    from ops_stream.audit.explain import explain as explained

    plan = await plan_of(settings)
    with progress_shown() as progress:
        return await explained(plan, subject, progress)
