"""`ops-stream status`: who decides, how far, and what is stopped."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import click

from ops_stream.cli.common import Out, load_settings, output_options, run
from ops_stream.cli.output import BAD, GOOD, QUIET, WAIT, Column, Row, clean
from ops_stream.contract.errors import ExitCode

if TYPE_CHECKING:
    from ops_stream.audit.fold import PartitionFold
    from ops_stream.cli.bus import Bus
    from ops_stream.contract.settings import Settings

GROUP: Final = "supervisor"
"""The workers' consumer group, without the prefix."""
_LAGGING: Final = 1000


@click.command()
@output_options
def status(out: Out) -> int:
    """Say whether the cluster is fit, which workers run, how far each partition is, and what is killed.

    `behind` counts input records that are not journaled yet. Exit code 1 if topics are not as they must be, or
    no worker has the partitions.

    \b
    ops-stream status
    watch -n 2 ops-stream status
    ops-stream status --json | jq 'select(.part == "partition" and .behind > 0)'
    """
    settings = load_settings()
    return run(settings, _status(out, settings))


async def _status(out: Out, settings: Settings) -> int:
    from ops_stream.cli.bus import connect
    from ops_stream.cli.folding import fold
    from ops_stream.streams import cluster

    async with connect(settings) as bus:
        differences = await cluster.check(settings)
        row: dict[str, Any] = {"part": "cluster", "bootstrap_servers": settings.bootstrap_servers}
        row |= {"topic_prefix": settings.topic_prefix}
        row |= {"differences": [difference.as_dict() for difference in differences]}
        out.row(row, _cluster_line(out, settings, len(differences)))
        if any(difference.setting in ("topic", "partitions") for difference in differences):
            return ExitCode.NOT_SO
        group = await _group(settings)
        out.row({"part": "workers", **group}, _group_lines(out, group))
        folds = await fold(bus, out, "kill/", "escalation/")
        ends = await _ends(bus)
    out.table([_row(number, folded, ends) for number, folded in sorted(folds.items())], _COLUMNS)
    for key, switch in _kills(folds).items():
        out.row({"part": "kill", "scope": key, **switch}, _kill_line(out, key, switch, len(folds)))
    waiting = _waiting(folds)
    if waiting["open"] or out.as_json:
        out.row({"part": "escalations", **waiting}, _waiting_line(out, waiting))
    return ExitCode.DONE if not differences and group["members"] else ExitCode.NOT_SO


def _cluster_line(out: Out, settings: Settings, differences: int) -> str:
    where = f"Kafka at {clean(settings.bootstrap_servers)}, topics {clean(settings.topic_prefix)}*:"
    if not differences:
        return f"{where} {out.style('as they must be', GOOD)}."
    bad = out.style(f"{differences} difference(s)", BAD)
    return f"{where} {bad}; see: ops-stream topics check"


async def _group(settings: Settings) -> dict[str, Any]:
    """Ask the cluster who is in the workers' group."""
    from aiokafka.errors import KafkaError

    from ops_stream.streams.reach import admin

    name = settings.topic(GROUP)
    found: dict[str, Any] = {"group": name, "state": "unknown", "members": []}
    async with admin(settings) as client:
        try:
            (response,) = await client.describe_consumer_groups([name])
        except (KafkaError, ValueError):
            return found  # a cluster that has no group yet has no coordinator for it either
    for group in response.groups:
        _, _, state, _, _, members, *_ = group
        found["state"] = state or "none"
        found["members"] = [
            {"client": member[1].removeprefix("ops-stream-"), "host": member[2].lstrip("/")}
            for member in members
        ]
    return found


def _group_lines(out: Out, group: Mapping[str, Any]) -> str:
    members = group["members"]
    if not members:
        return f"Workers: {out.style('none', BAD)}. Start one with: ops-stream worker"
    names = ", ".join(f"{clean(member['client'])} ({clean(member['host'])})" for member in members)
    stable = group["state"] == "Stable"
    state = out.style(clean(group["state"]).lower(), GOOD if stable else WAIT)
    return f"Workers: {len(members)}, {state}: {names}\n"


async def _ends(bus: Bus) -> dict[tuple[str, int], tuple[int, int]]:
    """Give first and end offset of every input, and of the journal."""
    from ops_stream.contract.models import INPUT_TOPICS

    ranges = await bus.ends(bus.places((*INPUT_TOPICS, "forwarded", "journal")))
    return {(bus.name_of(tp.topic), tp.partition): bounds for tp, bounds in ranges.items()}


def _row(
    number: int, folded: PartitionFold, ends: Mapping[tuple[str, int], tuple[int, int]]
) -> dict[str, Any]:
    from ops_stream.contract.clocktext import format_time

    behind = {
        topic: max(0, end - max(begin, folded.positions.get(topic, 0)))
        for (topic, partition), (begin, end) in ends.items()
        if partition == number and topic != "journal"
    }
    row: dict[str, Any] = {
        "part": "partition",
        "partition": number,
        "journal_end": ends["journal", number][1],
        "records": folded.counted,
        "void": folded.voids,
        "published_through": folded.published_through,
        "behind": sum(behind.values()),
        "behind_by_topic": {topic: count for topic, count in behind.items() if count},
        "decided_at": format_time(folded.at_ms) if folded.at_ms else None,
    }
    if folded.taken_over is not None:
        takeover = folded.taken_over.takeover
        row |= {
            "owner": takeover.instance,
            "boot_id": takeover.boot_id,
            "engine": takeover.engine_version,
            "taken_over_at_offset": folded.taken_over.offset,
        }
    return row


def _kills(folds: Mapping[int, PartitionFold]) -> dict[str, dict[str, Any]]:
    """Give the kill switches that are on, by scope, and the partitions on which they are."""
    from ops_stream.contract.clocktext import format_time
    from ops_stream.core.rows import KILLS

    found: dict[str, dict[str, Any]] = {}
    for number, folded in sorted(folds.items()):
        for key, kill in folded.table(KILLS).items():
            switch = found.setdefault(
                key,
                {
                    "issued_by": kill.issued_by,
                    "reason": kill.reason,
                    "at": format_time(kill.at),
                    "command_id": kill.command_id,
                    "partitions": [],
                },
            )
            switch["partitions"].append(number)
    return found


def _kill_line(out: Out, key: str, switch: Mapping[str, Any], partitions: int) -> str:
    where = switch["partitions"]
    places = "" if len(where) == partitions else f", on partition {', '.join(map(str, where))}"
    reason = f": {clean(switch['reason'])}" if switch["reason"] else ""
    scope = clean(key.replace("|", " "))
    text = f"KILLED {scope}{places}, by {clean(switch['issued_by'])} at {switch['at']}{reason}"
    return out.style(text, BAD, bold=True)


def _waiting(folds: Mapping[int, PartitionFold]) -> dict[str, Any]:
    """Count what waits for a person, and say when the first of it expires."""
    from ops_stream.contract.clocktext import format_time
    from ops_stream.core.rows import ESCALATIONS

    rows = [row for folded in folds.values() for row in folded.table(ESCALATIONS).values()]
    rows = [row for row in rows if row.status == "open"]
    first = min((row.expires for row in rows), default=None)
    return {
        "open": len(rows),
        "critical": sum(row.severity == "critical" for row in rows),
        "first_expires_at": None if first is None else format_time(first),
    }


def _waiting_line(out: Out, waiting: Mapping[str, Any]) -> str:
    from ops_stream.cli.escalation_rows import until

    count, critical = waiting["open"], waiting["critical"]
    if not count:
        return ""
    what = f"{count} escalation{'s' if count > 1 else ''}"
    some = f" ({critical} critical)" if critical else ""
    text = out.style(f"{what} wait{'' if count > 1 else 's'} for a person{some}", BAD if critical else WAIT)
    return f"{text}; the first expires in {until(waiting['first_expires_at'])}. See: ops-stream escalations"


def _age(row: Row) -> str:
    from ops_stream.cli.escalation_rows import span
    from ops_stream.contract.clocktext import parse_time

    return f"{span(time.time() - parse_time(row['decided_at']) / 1000)} ago" if row["decided_at"] else ""


def _behind_style(row: Row) -> str:
    return BAD if row["behind"] >= _LAGGING else WAIT if row["behind"] else GOOD


_COLUMNS: Final = (
    Column("partition", "partition", right=True),
    Column("taken over by", "owner"),
    Column("at", "taken_over_at_offset", right=True),
    Column("end", "journal_end", right=True),
    Column("void", "void", lambda row: WAIT if row["void"] else QUIET, right=True),
    Column("behind", "behind", _behind_style, right=True),
    Column("decided", _age),
    Column("engine", lambda row: str(row.get("engine", "")).partition("+")[0], QUIET),
)
