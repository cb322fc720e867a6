"""`ops-stream topics`: make the catalogue's topics, compare a cluster with it, say who may do what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import click

from ops_stream.cli.common import Out, load_settings, output_options, run
from ops_stream.cli.output import BAD, GOOD, QUIET, Column, Row
from ops_stream.contract.errors import ExitCode, WrongUse

if TYPE_CHECKING:
    from ops_stream.contract.catalog import Topic
    from ops_stream.streams.cluster import Found

_DAY_MS: Final = 86_400_000


@click.group()
def topics() -> None:
    """The topics of topics/catalog.yaml, and the cluster that should have them.

    \b
    ops-stream topics create             # what is missing
    ops-stream topics create --repair    # and settings that differ
    ops-stream topics check || echo "not as it must be"
    ops-stream topics acls --principal agents=User:CN=agents > acls.sh
    """


@topics.command()
@click.option("--repair", is_flag=True, help="Also give existing topics the catalogue's settings.")
@output_options
def create(out: Out, repair: bool) -> int:
    """Create the topics that are missing."""
    from ops_stream.streams import cluster

    settings = load_settings()
    made = run(settings, cluster.create(settings, repair=repair))
    for name in made:
        out.row({"topic": name, "created": True}, f"{out.style('created', GOOD)} {name}")
    if not made:
        out.say(f"All topics are there already ({settings.topic_prefix}*).")
    return _report(out, settings.bootstrap_servers, run(settings, cluster.check(settings)), quiet=True)


@topics.command()
@output_options
def check(out: Out) -> int:
    """Compare the cluster with the catalogue; exit code 1 and a table if it differs."""
    from ops_stream.streams import cluster

    settings = load_settings()
    return _report(out, settings.bootstrap_servers, run(settings, cluster.check(settings)))


@topics.command("list")
@output_options
def list_topics(out: Out) -> None:
    """List the catalogue: what each topic is for, and what the cluster has of it."""
    from ops_stream.streams import cluster

    settings = load_settings()
    found = run(settings, cluster.list_topics(settings))
    out.table([_row(settings.topic(topic.name), topic, there) for topic, there in found], _TOPICS)


@topics.command()
@click.option(
    "--principal",
    "principals",
    multiple=True,
    metavar="ROLE=PRINCIPAL",
    help="Who a role is for Kafka, for instance agents=User:CN=agents [User:<role>].",
)
@click.option("--command-config", help="The file with the login of kafka-acls, to be put on each line.")
@output_options
def acls(out: Out, principals: tuple[str, ...], command_config: str | None) -> None:
    """Print the access control lists: who may read and write what, as lines for a shell.

    Nothing is changed. The role "people" is whatever front end writes resolutions for them.
    """
    from ops_stream.streams.acls import acls as wanted

    settings = load_settings()
    for acl in wanted(settings, _named(principals)):
        out.row(acl.as_dict(), acl.command(settings.bootstrap_servers, command_config))


def _named(principals: tuple[str, ...]) -> Mapping[str, str]:
    from ops_stream.streams.acls import roles

    named = {}
    for text in principals:
        role, _, principal = text.partition("=")
        if role not in roles() or not principal:
            raise WrongUse(
                f"'{text}' names no role and principal.",
                next_step=f"Roles are {', '.join(roles())}; for instance agents=User:CN=agents.",
            )
        named[role] = principal
    return named


def _report(out: Out, where: str, differences: tuple[object, ...], *, quiet: bool = False) -> int:
    from ops_stream.streams.cluster import Difference

    rows = [difference.as_dict() for difference in differences if isinstance(difference, Difference)]
    if not rows:
        if not quiet:
            out.say(f"{out.style('as it must be', GOOD)}: {where} has what the catalogue says.")
        return ExitCode.DONE
    out.table(rows, _DIFFERENCES)
    out.note(f"The cluster at {where} differs from the catalogue in {_count(len(rows), 'point')}.")
    return ExitCode.NOT_SO


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _row(name: str, topic: Topic, there: Found | None) -> Row:
    return {
        "topic": name,
        "exists": there is not None,
        "partitions": there.partitions if there else topic.partitions,
        "replication": there.replication if there else None,
        "retention_ms": topic.retention_ms,
        "cleanup": topic.cleanup,
        "timestamp_type": topic.timestamp_type,
        "max_message_bytes": topic.max_message_bytes,
        "key": topic.key,
        "events": topic.events,
        "writers": topic.writers,
        "readers": topic.readers,
    }


def _kept(row: Row) -> str:
    if row["cleanup"] == "compact":
        return "newest"
    return "for ever" if row["retention_ms"] is None else f"{row['retention_ms'] // _DAY_MS} days"


_DIFFERENCES: Final = (
    Column("topic", "topic"),
    Column("setting", "setting"),
    Column("should be", "expected", GOOD),
    Column("is", "found", BAD),
    Column("what to do", "remedy", wrap=True),
)
_TOPICS: Final = (
    Column("topic", "topic", lambda row: "" if row["exists"] else QUIET),
    Column("there", lambda row: "yes" if row["exists"] else "no", lambda row: GOOD if row["exists"] else BAD),
    Column("partitions", "partitions", right=True),
    Column("replicas", "replication", right=True),
    Column("kept", _kept),
    Column("record at most", lambda row: f"{row['max_message_bytes'] // 2**20} MiB", right=True),
    Column("key", "key"),
    Column("written by", lambda row: ", ".join(row["writers"])),
    Column("read by", lambda row: ", ".join(row["readers"])),
)
