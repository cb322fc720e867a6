"""`ops-stream`: the group of all verbs. A verb's module is imported only when it is called."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from types import MappingProxyType
from typing import Final, NamedTuple

try:
    import click
except ModuleNotFoundError:  # the light install, for agents only
    raise SystemExit(
        "ops-stream: the command line needs the supervisor's packages. "
        "Install them with: pip install 'ops-stream[supervisor]'"
    ) from None

from ops_stream import __version__
from ops_stream.cli.common import run_main


class Verb(NamedTuple):
    """Where a verb is defined (`module:attribute`), and what `--help` says of it."""

    place: str
    help: str


SECTIONS: Final[Mapping[str, Mapping[str, Verb]]] = MappingProxyType(
    {
        "Run": {
            "up": Verb("ops_stream.cli.up:up", "Start everything on this machine: broker, topics, worker."),
            "demo": Verb("ops_stream.cli.demo:demo", "Run a recorded day of a real agent under supervision."),
            "worker": Verb("ops_stream.cli.worker:worker", "Run one supervisor worker."),
            "notifier": Verb("ops_stream.cli.notifier:notifier", "Tell people by webhook: Slack, or JSON."),
            "views": Verb("ops_stream.cli.views:views", "The read model in Redis: run, rebuild, status."),
            "broker": Verb("ops_stream.cli.broker:broker", "The embedded Kafka: start, stop, status."),
            "topics": Verb("ops_stream.cli.topics:topics", "The topics: create, check, list, acls."),
        },
        "Look": {
            "doctor": Verb("ops_stream.cli.doctor:doctor", "Check this machine, the settings, the cluster."),
            "status": Verb("ops_stream.cli.status:status", "Say who decides, how far, and what is stopped."),
            "tail": Verb("ops_stream.cli.tail:tail", "Print the events of a topic as they come."),
            "escalations": Verb("ops_stream.cli.escalations:escalations", "List what waits for a person."),
            "agents": Verb("ops_stream.cli.agents:agents", "List agents; quarantine or reinstate one."),
            "budgets": Verb("ops_stream.cli.budgets:budgets", "The tree of budgets; set a limit."),
            "workflows": Verb("ops_stream.cli.workflows:workflows", "Workflows: list, show, submit, cancel."),
            "optimizations": Verb(
                "ops_stream.cli.optimizations:optimizations", "What could be better; apply, revert, reject."
            ),
            "kpis": Verb("ops_stream.cli.kpis:kpis", "Figures: cost, success, time to resolution, scores."),
        },
        "Decide": {
            "ask": Verb("ops_stream.cli.ask:ask", "Ask for approval, as an agent would."),
            "approve": Verb("ops_stream.cli.resolve:approve", "Approve what an escalation asks."),
            "deny": Verb("ops_stream.cli.resolve:deny", "Deny what an escalation asks."),
            "edit": Verb("ops_stream.cli.edit:edit", "Change what was asked, and approve it like that."),
            "kill": Verb("ops_stream.cli.kill:kill", "Stop everything, or everything of a scope, at once."),
            "resume": Verb("ops_stream.cli.kill:resume", "Take a kill back."),
        },
        "Rules and proof": {
            "rules": Verb("ops_stream.cli.rules:rules", "Rules: check, test, activate, list."),
            "audit": Verb("ops_stream.cli.audit:audit", "Prove that the journal is whole and right."),
            "dead-letters": Verb("ops_stream.cli.dead_letters:dead_letters", "What could not be decided."),
            "keys": Verb(
                "ops_stream.cli.keys:keys", "Keys of people and of the supervisor, and who has which."
            ),
            "contract": Verb("ops_stream.cli.contract:contract", "Schemas and the AsyncAPI document."),
        },
    }
)

VERBS: Final[Mapping[str, Verb]] = {name: verb for verbs in SECTIONS.values() for name, verb in verbs.items()}


class LazyGroup(click.Group):
    """A group whose commands come from `SECTIONS`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Give the verbs that this version has."""
        return [name for name in VERBS if _is_there(name)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a verb."""
        if cmd_name not in VERBS or not _is_there(cmd_name):
            return None
        module, _, attribute = VERBS[cmd_name].place.partition(":")
        command = getattr(import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{VERBS[cmd_name].place} is no click command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb that was called; where there is none, suggest one."""
        name = args[0]
        if name not in self.list_commands(ctx) and not name.startswith("-"):
            near = difflib.get_close_matches(name, self.list_commands(ctx), 1)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            ctx.fail(f"No such command '{name}'.{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of verbs from the table alone: nothing is imported for `--help`."""
        width = max(len(name) for name in VERBS)
        for title, verbs in SECTIONS.items():
            rows = [(name.ljust(width), verb.help) for name, verb in verbs.items() if _is_there(name)]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


def _is_there(name: str) -> bool:
    return find_spec(VERBS[name].place.partition(":")[0]) is not None


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Each verb has --help with examples. Settings come from the environment (OPS_STREAM_*). "
    "Exit codes: 0 done, 1 not so, 2 wrong use, 3 Kafka cannot be reached.",
)
@click.version_option(__version__, prog_name="ops-stream")
def cli() -> None:
    """Supervise fleets of AI agents: they ask on Kafka, ops-stream decides, journals and answers."""


def main(args: list[str] | None = None) -> None:
    """Run the command line and end the process with its exit code."""
    raise SystemExit(run_main(cli, args))
