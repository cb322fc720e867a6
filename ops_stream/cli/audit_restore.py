"""`ops-stream audit restore`: an export back into a cluster that has nothing yet."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from ops_stream.cli.audit_export import signing_key_of
from ops_stream.cli.audit_plan import compile_rules, key_of, plan_of, progress_shown, trusted_of
from ops_stream.cli.common import Out, load_settings, output_options, run
from ops_stream.cli.output import BAD, GOOD, QUIET, Column, Row, clean
from ops_stream.contract.errors import ExitCode, NotSo, WrongUse

if TYPE_CHECKING:
    from ops_stream.audit.report import PartitionReport
    from ops_stream.audit.restore import Survey
    from ops_stream.audit.restore_run import Restored
    from ops_stream.contract.settings import Settings
    from ops_stream.core.journal.chain import JournalKey
    from ops_stream.core.journal.ledger import Written

_PUBLISHED_WITHIN_S: Final = 60.0
_POLL_S: Final = 0.02


@click.command()
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False))
@output_options
def restore(out: Out, path: Path) -> int:
    """Append an export to the topics of an empty cluster, and prove there that it is the journal that it was.

    Every record comes to stand at its old offset. The last one on each partition says that the inputs of this
    cluster begin at 0, and is sealed under the journal key, which has to be the old one: copy it first, and name it in
    OPS_STREAM_JOURNAL_KEY_FILE. Missing topics are created. Where any topic of the prefix holds anything
    nothing is done. Afterwards start workers as ever; what was written to the old inputs and not journaled there is
    not here, and agents ask again. Workers of the old cluster must not run any more.

    \b
    ops-stream audit verify --file journal.jsonl.gz
    ops-stream audit restore journal.jsonl.gz
    OPS_STREAM_TOPIC_PREFIX=copy. ops-stream audit restore journal.jsonl.gz --json
    """
    settings = load_settings()
    key = key_of(settings)
    with progress_shown() as progress:
        found = _survey(settings, key, path, progress)
        full = run(settings, _occupied(settings))
        if full:
            out.table(full, _FULL)
            out.note(
                f"These topics are not empty ({settings.topic_prefix}*), and nothing was restored. Choose another "
                "OPS_STREAM_TOPIC_PREFIX, or another cluster."
            )
            return ExitCode.NOT_SO
        run(settings, _make_topics(settings))
        try:
            restored = run(settings, _restore(settings, key, path, found, progress))
        except BaseException:
            out.note(
                f"What was restored so far ({settings.topic_prefix}*) is a part that no worker starts on. Delete those "
                "topics, or choose another OPS_STREAM_TOPIC_PREFIX, and begin anew."
            )
            raise
        reports = run(settings, _verify(settings, key, progress))
    return _show(out, restored, reports)


def _survey(settings: Settings, key: JournalKey, path: Path, progress: Any) -> Survey:
    """Read the file before anything is touched."""
    from ops_stream.audit.restore import survey
    from ops_stream.rules.engine import engine_version
    from ops_stream.streams.recovery import engine_number

    found = survey(path, key, trusted_of(settings), progress)
    if found.head.partitions != settings.partitions:
        raise WrongUse(
            f"The journal has {found.head.partitions} partitions, for life, and this cluster is to have "
            f"{settings.partitions}.",
            where=str(path),
            next_step=f"Set OPS_STREAM_PARTITIONS={found.head.partitions}, here and for every worker.",
        )
    newer = [one for one in found.engines if engine_number(one) > engine_number(engine_version())]
    if newer:
        raise NotSo(
            f"It was last decided by a newer engine ({newer[0]}); this one is {engine_version()}.",
            where=str(path),
            next_step="Restore it with the newer version of ops-stream.",
        )
    return found


async def _occupied(settings: Settings) -> list[Row]:
    """Give the topics of the prefix that hold, or have held, anything."""
    from aiokafka import TopicPartition

    from ops_stream.cli.bus import connect

    async with connect(settings) as bus:
        ends = await bus.ends(
            TopicPartition(settings.topic_prefix + name, number)
            for name, count in bus.counts.items()
            for number in range(count)
        )
    records: dict[str, int] = {}
    for tp, (_, end) in ends.items():
        records[tp.topic] = records.get(tp.topic, 0) + end
    return [{"topic": topic, "records": count} for topic, count in sorted(records.items()) if count]


async def _make_topics(settings: Settings) -> None:
    from ops_stream.streams import cluster

    await cluster.create(settings)
    differences = await cluster.check(settings)
    if differences:
        first = differences[0]
        raise NotSo(
            f"The topics are not as they must be: {first.setting} is {first.found}, not {first.expected}.",
            where=first.topic,
            next_step="See all of it with: ops-stream topics check",
        )


async def _restore(
    settings: Settings, key: JournalKey, path: Path, found: Survey, progress: Any
) -> list[Restored]:
    from ops_stream.audit.restore_run import Restore
    from ops_stream.audit.restore_run import restore as restored
    from ops_stream.rules.engine import engine_version
    from ops_stream.streams.bus import new_producer
    from ops_stream.streams.publisher import Publisher

    signing_key = signing_key_of(settings)
    producer = new_producer(settings)

    async def publish(partition: int, records: list[Written]) -> None:
        failed: list[str] = []
        publisher = Publisher(
            producer, partition, settings.topic, key, lambda topic, _: failed.append(topic), signing_key
        )
        for record in records:
            publisher.publish(record.offset, record.at_ms, record.outputs)
        try:
            async with asyncio.timeout(_PUBLISHED_WITHIN_S):
                while publisher.waiting and not failed:
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            failed.append("An output")
        finally:
            publisher.close()
        if failed:
            raise NotSo(f"{failed[0]} does not take what is to be published again.")

    await producer.start()
    try:
        plan = Restore(settings, key, engine_version(), compile_rules, producer, publish)
        return await restored(plan, path, found, progress)
    finally:
        await producer.stop()


async def _verify(settings: Settings, key: JournalKey, progress: Any) -> list[PartitionReport]:
    from ops_stream.audit.cluster import verify_cluster

    return await verify_cluster(await plan_of(settings, key), progress)


def _show(out: Out, restored: list[Restored], reports: list[PartitionReport]) -> int:
    rows = [
        {
            "partition": one.partition,
            "records": one.records,
            "rebase": one.rebase,
            "reached": one.reached,
            "published_again": one.again,
            "passed": report.passed,
            "wrong": report.wrong,
            "findings": [finding.as_dict() for finding in report.findings],
        }
        for one, report in zip(restored, reports, strict=True)
    ]
    out.table(rows, _RESTORED)
    if all(report.passed for report in reports):
        again = sum(report.decided_again for report in reports)
        out.say(
            out.style(f"Restored and proved here: {again:,} records decided again as they are.", GOOD)
            + " Start a worker with: ops-stream worker"
        )
        return ExitCode.DONE
    first = next(report.findings[0] for report in reports if report.findings)
    out.say(out.style(f"It does not hold here. First: {clean(first.place)}", BAD, bold=True))
    out.say(f"  {clean(first.explanation)}")
    out.say("See all of it with: ops-stream audit verify")
    return ExitCode.NOT_SO


_FULL: Final = (Column("topic", "topic"), Column("records", "records", BAD, right=True))
_RESTORED: Final = (
    Column("partition", "partition", right=True),
    Column("offsets", "records", right=True),
    Column("goes on at", "rebase", right=True),
    Column("published again", "published_again", right=True),
    Column("inputs read before", lambda row: ", ".join(f"{k} {v}" for k, v in row["reached"].items()), QUIET),
    Column(
        "result",
        lambda row: "passed" if row["passed"] else f"{row['wrong']} wrong",
        lambda row: GOOD if row["passed"] else BAD,
    ),
)
